"""A network of real clients on loopback: it makes blocks, loses parts of itself, and goes on.

The same scenarios run on geth with Clique and, where ``BESU_HOME`` names one, on Besu with QBFT.
Blocks come every second, so that a test takes one of its minute and not an hour.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from secrets import token_bytes
from typing import Any, Final

import pytest

from node.chain.community import verify_community
from node.chain.http import http_rpc
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
from node.chain.network.geth import find_geth
from node.chain.network.layout import Plan, init_network, operator_files
from node.chain.network.local import LocalNetwork
from node.chain.network.reach import reach_of
from node.chain.network.record import Network
from node.chain.network.status import NetworkStatus, network_status
from node.chain.network.unsticking import free_sealers, heads_of
from node.chain.network.votes import current_validators, propose
from node.clock import SystemClock
from node.errors import ChainUnreachable, ConfigurationError, Refused
from node.model import MarketRules

pytestmark = pytest.mark.network

WITHIN_S: Final = 60.0
ENGINES: Final = ("geth", "besu") if os.environ.get("BESU_HOME") else ("geth",)

Scenario = Callable[[LocalNetwork], Awaitable[None]]


@pytest.fixture
def geth_alone() -> str:
    """For what only Clique has."""
    try:
        find_geth()
    except ConfigurationError as error:
        pytest.skip(f"{error.message}: scripts/install-geth")
    return "geth"


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return str(request.getfixturevalue("geth_alone")) if name == "geth" else name


def live(folder: Path, engine: str, scenario: Scenario, *, validators: int = 4) -> None:
    """Run a scenario on a network that has made its first block."""

    async def run() -> None:
        plan = Plan(
            *("Trial", engine, 4_711),
            validators=validators,
            rpc_nodes=1,
            period_s=1,
            light_keys=True,
        )
        init_network(folder, plan, token_bytes)
        async with LocalNetwork(folder) as network:
            await network.until_block(1, within_s=WITHIN_S)
            await scenario(network)

    asyncio.run(run())


async def block(running: LocalNetwork, height: int, name: int | str = "rpc-01") -> dict[str, Any]:
    found: dict[str, Any] = await ask(
        running.endpoint(name),
        "eth_getBlockByNumber",
        hex(height),
        False,  # noqa: FBT003 - JSON-RPC
    )
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


def test_all_validators_seal_and_the_status_says_so(tmp_path: Path, engine: str) -> None:
    async def scenario(running: LocalNetwork) -> None:
        head = await running.until_block(12, within_s=WITHIN_S)
        sealers = {sealer_of(await block(running, height), engine) for height in range(1, head)}
        assert sealers == {peer.address for peer in running.network.validators}
        found = await status(running)
        assert (found.sealing, found.needed, found.stopped) == (4, 3, False)
        assert found.margin_words == "two more failures stop the chain"
        assert {node.peers for node in found.nodes} <= {3, 4}
        assert all(node.used_bytes for node in found.nodes)
        assert "node-away" not in {alarm.name for alarm in found.alarms}

    live(tmp_path, engine, scenario)


def test_contracts_are_deployed_at_a_price_that_the_chain_takes(
    tmp_path: Path, engine: str
) -> None:
    async def scenario(running: LocalNetwork) -> None:
        files = operator_files(tmp_path)
        key = read_keystore(files.keystore, files.password.read_text().strip())
        url = running.rpc_url()
        async with http_rpc(url) as rpc:
            community = await found_community(
                rpc, running.network, key, MarketRules(slot_s=20, gate_s=10), rpc_urls=[url]
            )
            await verify_community(rpc, community)
        head = await block(running, await running.head("rpc-01"))
        assert int(head.get("baseFeePerGas", "0x0"), 16) < community.gas_price_wei // 1_000

    live(tmp_path, engine, scenario, validators=1)


def test_no_server_opens_an_account_or_answers_what_is_the_operators(
    tmp_path: Path, geth_alone: str
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

    live(tmp_path, geth_alone, scenario, validators=1)


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


def test_one_validator_dies_and_nothing_stops(tmp_path: Path, engine: str) -> None:
    async def scenario(running: LocalNetwork) -> None:
        await running.until_block(4, within_s=WITHIN_S)
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

    live(tmp_path, engine, scenario)


def test_without_a_quorum_nothing_moves_and_no_final_block_is_replaced(
    tmp_path: Path, engine: str
) -> None:
    async def scenario(running: LocalNetwork) -> None:
        before = await running.until_block(9, within_s=WITHIN_S)
        depth = running.network.finality_depth
        final = [await block(running, height) for height in range(1, before - depth + 1)]
        await running.kill(3)
        await running.kill(4)
        await asyncio.sleep(8)
        stood = await running.head("rpc-01")
        found = await status(running)
        for _ in range(int(WITHIN_S)):
            if found.stopped:
                break
            await asyncio.sleep(1)
            found = await status(running)
        assert await running.head("rpc-01") == stood
        assert "chain-stopped" in {alarm.name for alarm in found.alarms}
        await running.restart(3)
        await running.restart(4)
        await running.recover()
        await running.until_block(stood + 2, within_s=WITHIN_S)
        again = [await block(running, number) for number in range(1, before - depth + 1)]
        assert [one["hash"] for one in again] == [one["hash"] for one in final]

    live(tmp_path, engine, scenario)


def test_a_validator_that_lost_its_disk_catches_up_and_seals_again(
    tmp_path: Path, engine: str
) -> None:
    async def scenario(running: LocalNetwork) -> None:
        await running.until_block(6, within_s=WITHIN_S)
        await running.wipe(3)
        await running.restart(3)
        head = await goes_on(running)
        await running.until_block(head, within_s=WITHIN_S, name=3)
        own = running.network.peer(3).address
        for height in range(head, head + 60):
            await running.until_block(height, within_s=WITHIN_S)
            if sealer_of(await block(running, height), engine) == own:
                return
        pytest.fail("it never sealed again")

    live(tmp_path, engine, scenario)


def test_when_all_die_at_once_no_state_is_forgotten(tmp_path: Path, engine: str) -> None:
    async def scenario(running: LocalNetwork) -> None:
        before = await running.until_block(8, within_s=WITHIN_S)
        depth = running.network.finality_depth
        known = [await block(running, height) for height in range(1, before - depth + 1)]
        for peer in running.network.peers:
            await running.kill(peer.name)
        for peer in running.network.peers:
            await running.restart(peer.name)
        await running.until_block(before + 2, within_s=WITHIN_S)
        again = [await block(running, number) for number in range(1, before - depth + 1)]
        assert [one["hash"] for one in again] == [one["hash"] for one in known]

    live(tmp_path, engine, scenario)


def test_a_validator_is_voted_out_and_in_again(tmp_path: Path, engine: str) -> None:
    async def scenario(running: LocalNetwork) -> None:
        network = running.network
        fourth = network.peer(4).address
        for add in (False, True):
            for voter in (1, 2, 3):
                await propose(network, running.endpoint(voter), fourth, add=add)
            for _ in range(int(WITHIN_S)):
                if (fourth in await current_validators(network, running.endpoint(1))) == add:
                    break
                await asyncio.sleep(1)
            else:
                pytest.fail(f"the vote (add={add}) is not counted")
            await goes_on(running)

    live(tmp_path, engine, scenario)


def test_sealers_on_two_branches_are_brought_back_to_one(tmp_path: Path, geth_alone: str) -> None:
    async def scenario(running: LocalNetwork) -> None:
        await running.until_block(4, within_s=WITHIN_S)
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
        await asyncio.sleep(4)
        heads = await heads_of(sockets)
        assert len({head.hash for head in heads.of.values()}) > 1
        common_before = [await block(running, height, 1) for height in (1, 2)]
        assert await free_sealers(network, sockets)
        after = await heads_of(sockets)
        best = heads.best()
        assert best is not None
        for name, head in after.of.items():
            was = heads.of[name]
            assert head.number <= max(was.number, best.number)
            if was.number == best.number and was.hash != best.hash:
                assert head.number < was.number, name
        assert [await block(running, height, 1) for height in (1, 2)] == common_before

    live(tmp_path, geth_alone, scenario)


def test_a_chain_is_brought_back_from_its_backup_alone(tmp_path: Path, geth_alone: str) -> None:
    known: list[dict[str, Any]] = []

    async def before(running: LocalNetwork) -> None:
        await running.until_block(5, within_s=WITHIN_S)
        count = await export_blocks(running.endpoint("rpc-01"), tmp_path / "blocks.rlp")
        known.extend([await block(running, height) for height in range(1, count + 1)])

    live(tmp_path / "old", geth_alone, before, validators=1)
    archive = tmp_path / "backup.tar.gz"
    back_up_network(tmp_path / "old", archive, tmp_path / "blocks.rlp")

    async def after() -> None:
        network, blocks = restore_network(archive, tmp_path / "new")
        assert blocks is not None
        await import_blocks(tmp_path / "new", network, blocks)
        async with LocalNetwork(tmp_path / "new") as running:
            await running.until_block(len(known) + 2, within_s=WITHIN_S)
            again = [await block(running, number) for number in range(1, len(known) + 1)]
            assert again == known

    asyncio.run(after())


def test_a_network_that_runs_is_not_started_twice(tmp_path: Path, engine: str) -> None:
    async def scenario(running: LocalNetwork) -> None:
        with pytest.raises(ConfigurationError, match="runs already"):
            await LocalNetwork(running.folder).start()
        assert all(running.runs(peer.name) for peer in running.network.peers)

    live(tmp_path, engine, scenario, validators=1)


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
