"""A network of real clients on loopback: it makes blocks, loses parts of itself, and goes on.

The same scenarios run on geth with Clique and, where ``BESU_HOME`` names one, on Besu with QBFT.
Blocks come every second, so that a test takes one of its minute and not an hour. Most scenarios
share one network, each beginning with it whole.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from secrets import token_bytes
from typing import Any, Final

import pytest

from node.chain.community import verify_community
from node.chain.http import http_rpc
from node.chain.json_rpc import block_query
from node.chain.keystore import read_keystore
from node.chain.network.asking import ask
from node.chain.network.backup import (
    back_up_network,
    export_blocks,
    import_blocks,
    restore_network,
)
from node.chain.network.founding import found_community
from node.chain.network.genesis import sealer_of
from node.chain.network.layout import Plan, init_network, operator_files
from node.chain.network.local import LocalNetwork
from node.chain.network.newcomers import make_validator
from node.chain.network.reach import reach_of
from node.chain.network.record import Network
from node.chain.network.status import NetworkStatus, network_status
from node.chain.network.unsticking import free_sealers, heads_of
from node.chain.network.votes import current_validators, propose
from node.clock import SystemClock, wall_seconds
from node.errors import ChainUnreachable, ConfigurationError, Refused
from node.model import MarketRules
from tests.support.needs import need_geth

pytestmark = pytest.mark.network

WITHIN_S: Final = 90.0
"""For what takes seconds: only liveness is proved, and the machine may be busy."""

ENGINES: Final = ("geth", "besu") if os.environ.get("BESU_HOME") else ("geth",)

GETH_ALONE: Final = pytest.mark.parametrize("engine", ["geth"], indirect=True)
"""For what only Clique has."""

Scenario = Callable[[LocalNetwork], Awaitable[None]]


class SharedNetwork:
    """Four validators and a node for members, in an event loop that stands still between tests."""

    def __init__(self, runner: asyncio.Runner, network: LocalNetwork) -> None:
        self._runner = runner
        self._network = network

    def live(self, scenario: Scenario) -> None:
        """Make the network whole, whatever a test before left of it, and run a scenario."""

        async def run() -> None:
            network = self._network
            for peer in network.network.peers:
                if not network.runs(peer.name):
                    await network.restart(peer.name)
            await goes_on(network, 2)
            await scenario(network)

        self._runner.run(run())


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "geth":
        need_geth()
    return name


@pytest.fixture(scope="module")
def shared(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedNetwork]:
    network = LocalNetwork(founded(tmp_path_factory.mktemp(engine), engine))
    with asyncio.Runner() as runner:
        runner.run(network.start())
        try:
            yield SharedNetwork(runner, network)
        finally:
            runner.run(network.stop())


def founded(folder: Path, engine: str, *, validators: int = 4) -> Path:
    """A network that was not started yet."""
    plan = Plan(
        *("Trial", engine, 4_711), validators=validators, rpc_nodes=1, period_s=1, light_keys=True
    )
    init_network(folder, plan, token_bytes)
    return folder


def live(folder: Path, engine: str, scenario: Scenario) -> None:
    """Run a scenario on a network of its own, of one validator, that has made its first block."""

    async def run() -> None:
        async with LocalNetwork(founded(folder, engine, validators=1)) as network:
            await network.until_block(1, within_s=WITHIN_S, name=1)
            await scenario(network)

    asyncio.run(run())


async def block(running: LocalNetwork, height: int, name: int | str = "rpc-01") -> dict[str, Any]:
    found: dict[str, Any] = await ask(running.endpoint(name), *block_query(height))
    return found


async def status(running: LocalNetwork) -> NetworkStatus:
    network: Network = running.network
    return await network_status(
        network, reach_of(running.folder, network), running.folder, SystemClock()
    )


async def goes_on(running: LocalNetwork, blocks: int = 2, name: int | str = "rpc-01") -> int:
    """The head after so many more blocks."""
    head = await running.head(name)
    return await running.until_block(head + blocks, within_s=WITHIN_S, name=name)


async def hashes(running: LocalNetwork, blocks: dict[int, str]) -> dict[int, str]:
    """These very blocks, as they are now."""
    return {height: str((await block(running, height))["hash"]) for height in blocks}


async def final_blocks(running: LocalNetwork) -> dict[int, str]:
    """The newest blocks that cannot be replaced any more."""
    newest = await running.head("rpc-01") - running.network.finality_depth
    return await hashes(running, dict.fromkeys(range(max(newest - 20, 1), newest + 1), ""))


async def stands(running: LocalNetwork, names: Iterable[int]) -> None:
    """Wait until none of some validators makes a block any more."""
    sockets = {str(name): running.endpoint(name) for name in names}
    deadline_s, quiet = wall_seconds() + WITHIN_S, 0
    before = (await heads_of(sockets)).of
    while quiet < 5:
        assert wall_seconds() < deadline_s, "they go on"
        await asyncio.sleep(1)
        now = (await heads_of(sockets)).of
        quiet = quiet + 1 if now == before else 0
        before = now


async def seals(running: LocalNetwork, address: str, engine: str) -> None:
    """Wait for a block of a validator's."""
    head = await running.head("rpc-01")
    for height in range(head, head + 60):
        await running.until_block(height, within_s=WITHIN_S)
        if sealer_of(await block(running, height), engine) == address:
            return
    pytest.fail(f"{address} seals none of 60 blocks")


async def vote(running: LocalNetwork, voters: Iterable[int], address: str, *, add: bool) -> None:
    """Vote, and wait until that is counted."""
    network, first = running.network, running.endpoint(1)
    for voter in voters:
        await propose(network, running.endpoint(voter), address, add=add)
    for _ in range(int(WITHIN_S)):
        if (address in await current_validators(network, first)) == add:
            return
        await asyncio.sleep(1)
    pytest.fail(f"the vote (add={add}) is not counted")


def test_all_validators_seal_and_the_status_says_so(shared: SharedNetwork, engine: str) -> None:
    async def scenario(running: LocalNetwork) -> None:
        everybody, sealers = {peer.address for peer in running.network.validators}, set[str]()
        head = await running.head("rpc-01")
        for height in range(head, head + 60):
            await running.until_block(height, within_s=WITHIN_S)
            sealers.add(str(sealer_of(await block(running, height), engine)))
            if sealers == everybody:
                break
        assert sealers == everybody
        found = await status(running)
        assert (found.sealing, found.needed, found.stopped) == (4, 3, False)
        assert found.margin_words == "two more failures stop the chain"
        assert {node.peers for node in found.nodes} <= {3, 4}
        assert all(node.used_bytes for node in found.nodes)
        assert "node-away" not in {alarm.name for alarm in found.alarms}

    shared.live(scenario)


def test_contracts_are_deployed_at_a_price_that_the_chain_takes(shared: SharedNetwork) -> None:
    async def scenario(running: LocalNetwork) -> None:
        files = operator_files(running.folder)
        key = read_keystore(files.keystore, files.password.read_text().strip())
        url = running.rpc_url()
        async with http_rpc(url) as rpc:
            community = await found_community(
                rpc, running.network, key, MarketRules(slot_s=20, gate_s=10), rpc_urls=[url]
            )
            await verify_community(rpc, community)
        head = await block(running, await running.head("rpc-01"))
        assert int(head.get("baseFeePerGas", "0x0"), 16) < community.gas_price_wei // 1_000

    shared.live(scenario)


@GETH_ALONE
def test_no_server_opens_an_account_or_answers_what_is_the_operators(
    shared: SharedNetwork,
) -> None:
    def refused(url: str, method: str, *parameters: object) -> str:
        with pytest.raises(Refused) as caught:
            asyncio.run(ask(url, method, *parameters))
        return caught.value.message

    async def scenario(running: LocalNetwork) -> None:
        url = running.rpc_url()
        assert set(await ask(url, "rpc_modules")) == {"eth", "net", "web3", "rpc"}
        assert await ask(url, "eth_accounts") == []
        sealer = running.network.validators[0].address
        for method, parameters in (
            ("personal_listAccounts", ()),
            ("personal_unlockAccount", (sealer, "", 0)),
            ("admin_peers", ()),
            ("debug_setHead", ("0x0",)),
            ("clique_propose", (sealer, False)),
            ("miner_stop", ()),
            ("txpool_content", ()),
        ):
            said = await asyncio.to_thread(refused, url, method, *parameters)
            assert "does not exist" in said, method
        transfer = {"from": sealer, "to": sealer, "value": "0x0"}
        assert "unknown account" in await asyncio.to_thread(
            refused, url, "eth_sendTransaction", transfer
        )
        socket_path = running.endpoint(1)
        assert isinstance(socket_path, Path)
        assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
        assert await ask(socket_path, "eth_accounts") == [sealer]
        for port in listening_ports(running.pid(1)):
            assert_closed_to_strangers(port, sealer)

    shared.live(scenario)


def listening_ports(pid: int) -> set[int]:
    """TCP ports that a process listens on."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def assert_closed_to_strangers(port: int, sealer: str) -> None:
    """Whatever speaks HTTP there wants the token of the node's own folder."""
    question = {"jsonrpc": "2.0", "id": 1, "method": "eth_accounts", "params": []}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - loopback
            assert sealer not in answer.read().decode()
            pytest.fail(f"port {port} answers anybody")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code not in (401, 403):
            pytest.fail(f"port {port} answers {error.code}")
    except (OSError, ValueError):
        return  # the port of its peers: no HTTP is spoken there


def test_one_validator_dies_and_nothing_stops(shared: SharedNetwork) -> None:
    async def scenario(running: LocalNetwork) -> None:
        await running.until_block(8, within_s=WITHIN_S)  # a young chain says nothing of silence
        await running.kill(2)
        await goes_on(running, 14)
        found = await status(running)
        assert (found.sealing, found.margin) == (3, 0)
        assert found.margin_words == "one more failure stops the chain"
        alarms = {(alarm.name, alarm.of) for alarm in found.alarms}
        assert {
            ("no-margin", "chain"),
            ("validator-silent", "validator-02"),
            ("node-away", "validator-02"),
        } <= alarms
        await running.restart(2)
        await running.until_block(await running.head("rpc-01"), within_s=WITHIN_S, name=2)

    shared.live(scenario)


def test_without_a_quorum_nothing_moves_and_no_final_block_is_replaced(
    shared: SharedNetwork,
) -> None:
    async def scenario(running: LocalNetwork) -> None:
        await running.until_block(9, within_s=WITHIN_S)
        final = await final_blocks(running)
        await running.kill(3)
        await running.kill(4)
        found = await status(running)
        for _ in range(int(WITHIN_S)):
            if found.stopped:
                break
            await asyncio.sleep(1)
            found = await status(running)
        assert "chain-stopped" in {alarm.name for alarm in found.alarms}
        stood = await running.head("rpc-01")
        await asyncio.sleep(3)
        assert await running.head("rpc-01") == stood
        await running.restart(3)
        await running.restart(4)
        await running.recover()
        await running.until_block(stood + 2, within_s=WITHIN_S)
        assert await hashes(running, final) == final

    shared.live(scenario)


def test_a_validator_that_lost_its_disk_catches_up_and_seals_again(
    shared: SharedNetwork, engine: str
) -> None:
    async def scenario(running: LocalNetwork) -> None:
        await running.until_block(6, within_s=WITHIN_S)
        await running.wipe(3)
        await running.restart(3)
        head = await goes_on(running)
        await running.until_block(head, within_s=WITHIN_S, name=3)
        await seals(running, running.network.peer(3).address, engine)

    shared.live(scenario)


def test_when_all_die_at_once_no_state_is_forgotten(shared: SharedNetwork) -> None:
    async def scenario(running: LocalNetwork) -> None:
        before = await running.until_block(8, within_s=WITHIN_S)
        final = await final_blocks(running)
        for peer in running.network.peers:
            await running.kill(peer.name)
        for peer in running.network.peers:
            await running.restart(peer.name)
        await running.until_block(before + 2, within_s=WITHIN_S)
        assert await hashes(running, final) == final

    shared.live(scenario)


def test_a_validator_is_voted_out_and_in_again(shared: SharedNetwork) -> None:
    async def scenario(running: LocalNetwork) -> None:
        fourth = running.network.peer(4).address
        for add in (False, True):
            await vote(running, (1, 2, 3), fourth, add=add)
            await goes_on(running)

    shared.live(scenario)


@GETH_ALONE
def test_halves_that_went_on_without_each_other_become_one_chain_again(
    shared: SharedNetwork,
) -> None:
    """Each half makes the two blocks that it can; then they meet, and may wait for each other."""

    async def scenario(running: LocalNetwork) -> None:
        await running.until_block(9, within_s=WITHIN_S)
        final = await final_blocks(running)
        halves = ((1, 2), (3, 4))
        for here, there in (halves, halves[::-1]):
            for name in there:
                await running.kill(name)
            for name in here:
                if not running.runs(name):
                    await running.restart(name)
            await stands(running, here)
        heads = await heads_of({str(name): running.endpoint(name) for name in halves[1]})
        for name in halves[0]:
            await running.restart(name)
        for peer in running.network.peers:
            await running.until_block(heads.highest + 3, within_s=WITHIN_S, name=peer.name)
        assert await hashes(running, final) == final

    shared.live(scenario)


@GETH_ALONE
def test_sealers_on_two_branches_are_taken_back_to_where_they_parted(
    shared: SharedNetwork,
) -> None:
    async def scenario(running: LocalNetwork) -> None:
        network = running.network
        await running.kill("rpc-01")
        # Cut off from all others, the two sealers whose turn it may be make a block each, and wait.
        sockets = {peer.name: running.endpoint(peer.name) for peer in network.validators}
        for _ in range(2):  # who was cut off first may have been dialled again
            for name in sockets:
                for peer in await ask(running.endpoint(name), "admin_peers"):
                    await ask(running.endpoint(name), "admin_removePeer", peer["enode"])
                for known in network.peers:
                    await ask(running.endpoint(name), "admin_removePeer", known.enode)
        deadline_s = wall_seconds() + WITHIN_S
        while len({head.hash for head in (await heads_of(sockets)).of.values()}) < 2:
            assert wall_seconds() < deadline_s, "they stay on one branch"
            await asyncio.sleep(0.5)
        await stands(running, range(1, 5))
        heads = await heads_of(sockets)
        lowest = min(head.number for head in heads.of.values())
        before = [await block(running, height, 1) for height in range(1, lowest - 2)]
        assert await free_sealers(network, sockets)
        for name, socket in sockets.items():
            assert await running.head(name) <= heads.of[name].number
            assert await ask(socket, "eth_mining") is True
        assert [await block(running, height, 1) for height in range(1, lowest - 2)] == before
        for name in sockets:
            await running.restart(name)  # and meets the others again

    shared.live(scenario)


def test_a_machine_that_came_later_is_voted_in_and_seals(tmp_path: Path, engine: str) -> None:
    folder = founded(tmp_path, engine, validators=1)
    newcomer, _ = make_validator(folder, 2, "127.0.0.1", token_bytes, light=True)

    async def run() -> None:
        async with LocalNetwork(folder) as running:
            await running.until_block(3, within_s=WITHIN_S)
            await running.until_block(3, within_s=WITHIN_S, name=newcomer.name)
            await vote(running, (1,), newcomer.address, add=True)
            await seals(running, newcomer.address, engine)

    asyncio.run(run())


@GETH_ALONE
def test_a_chain_is_brought_back_from_its_backup_alone(tmp_path: Path, engine: str) -> None:
    known: list[dict[str, Any]] = []

    async def before(running: LocalNetwork) -> None:
        await running.until_block(5, within_s=WITHIN_S, name=1)
        count = await export_blocks(running.endpoint(1), tmp_path / "blocks.rlp")
        known.extend([await block(running, height, 1) for height in range(1, count + 1)])

    live(tmp_path / "old", engine, before)
    archive = tmp_path / "backup.tar.gz"
    back_up_network(tmp_path / "old", archive, tmp_path / "blocks.rlp")

    async def after() -> None:
        network, blocks = restore_network(archive, tmp_path / "new")
        assert blocks is not None
        await import_blocks(tmp_path / "new", network, blocks)
        async with LocalNetwork(tmp_path / "new") as running:
            await running.until_block(len(known) + 2, within_s=WITHIN_S, name=1)
            again = [await block(running, number, 1) for number in range(1, len(known) + 1)]
            assert again == known

    asyncio.run(after())


def test_a_network_that_runs_is_not_started_twice(shared: SharedNetwork) -> None:
    async def scenario(running: LocalNetwork) -> None:
        with pytest.raises(ConfigurationError, match="runs already"):
            await LocalNetwork(running.folder).start()
        assert all(running.runs(peer.name) for peer in running.network.peers)

    shared.live(scenario)


def test_a_node_that_cannot_start_is_named_with_its_log(tmp_path: Path, engine: str) -> None:
    plan = Plan("Trial", engine, 4_711, validators=1, rpc_nodes=1, period_s=1, light_keys=True)
    init_network(tmp_path, plan, token_bytes)
    (tmp_path / "rpc/01/nodekey").write_text("no key")

    async def run() -> None:
        running = LocalNetwork(tmp_path)
        with pytest.raises(ChainUnreachable, match="rpc-01 ended") as caught:
            await running.start()
        assert str(running.log_path("rpc-01")) in caught.value.next_step
        assert not any(running.runs(peer.name) for peer in running.network.peers)

    asyncio.run(run())
