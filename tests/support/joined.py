"""A community on a development chain that lives in real time, and its operator's folder."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result
from eth_account import Account
from web3.exceptions import Web3Exception

from node.chain.bootstrap import REGISTRY, Role, deploy, grant
from node.chain.client import MARKET, MarketAddress, MarketClient, order_argument
from node.chain.community import (
    CONTRACTS,
    Community,
    code_hash_at,
    genesis_hash_of,
    save_community,
)
from node.chain.engines.anvil import find_anvil
from node.chain.http import http_rpc
from node.chain.json_rpc import block_query, number
from node.chain.keys import Key, MarketSigner
from node.chain.network.layout import COMMUNITY_FILE, operator_files
from node.chain.rpc import Rpc, Sender
from node.cli.main import cli
from node.clock import SystemClock
from node.errors import ChainUnreachable, ConfigurationError
from node.model import MarketRules, Order, OrderAccepted, Side, SignedOrder
from node.slots import slot_at
from tests.support.node_process import free_port, pause

GAS_PRICE_WEI: Final = 2 * 10**9
OPERATOR: Final = Key(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
"""The first account that every development chain of this kind funds."""

PASSWORD: Final = "canary-operators-password"
RULES: Final = MarketRules(slot_s=2, gate_s=60)
_UP_TRIES: Final = 200


@dataclass(frozen=True, slots=True)
class Street:
    """A running community. ``folder`` is its operator's."""

    url: str
    folder: Path
    community: Community

    def say(self, *words: str, text: str = "") -> Result:
        """Run a command of daisee in this process."""
        return CliRunner().invoke(cli, list(words), input=text or None)

    def document(self, *words: str) -> dict[str, Any]:
        """Run a command that must succeed, for its one document."""
        result = self.say(*words, "--json")
        assert result.exit_code == 0, result.stderr
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    @property
    def network(self) -> tuple[str, str]:
        """The option by which the operator's commands find the folder."""
        return ("--network", str(self.folder))


async def trades_from_its_approval_on(
    rpc: Rpc, community: Community, signer: Key, household: int
) -> None:
    """Check that the very next block after the one that named the signer takes its orders, and no
    earlier one; then order in earnest.

    What the next block would take is asked of the chain as it was then: how busy this machine is
    does not matter.
    """
    named_in = await _named_in(rpc, community, household)
    assert await _takes_orders(rpc, community, signer, household, after=named_in)
    assert not await _takes_orders(rpc, community, signer, household, after=named_in - 1)
    slot = slot_at(SystemClock().now_s(), community.slot_s) - 5
    sender = Sender(rpc, signer, gas_price=community.gas_price_wei)
    client = MarketClient(rpc, MarketAddress(community.market, community.slot_s))
    receipt = await client.submit(sender, _ask(rpc, community, signer, household, slot))
    events = await client.events(receipt.block, receipt.block, household)
    assert any(isinstance(event, OrderAccepted) for event in events), events


async def _named_in(rpc: Rpc, community: Community, household: int) -> int:
    registry = community.contracts["HouseholdRegistry"]
    topics = ["0x" + REGISTRY.topics["SignerNamed"].hex(), f"0x{household:064x}"]
    logs = await rpc.logs(registry, community.created_in_block, await rpc.head(), topics)
    return number(logs[-1]["blockNumber"])


async def _takes_orders(
    rpc: Rpc, community: Community, signer: Key, household: int, *, after: int
) -> bool:
    block = await rpc.ask(*block_query(after))
    slot = slot_at(number(block["timestamp"]), community.slot_s) - 1
    order = order_argument(_ask(rpc, community, signer, household, slot))
    call = {"to": community.market, "data": "0x" + MARKET.call("submitOrder", order).hex()}
    try:
        await rpc.ask("eth_call", call, hex(after))
    except Web3Exception as error:
        if "revert" not in str(error):
            raise
        return False
    return True


def _ask(rpc: Rpc, community: Community, signer: Key, household: int, slot: int) -> SignedOrder:
    """An ask needs no credit."""
    order = Order(household, slot, Side.ASK, 100, 10_000)
    return SignedOrder(order, MarketSigner(signer, rpc.chain_id, community.market).sign(order))


@contextmanager
def street(folder: Path) -> Iterator[Street]:
    """A chain with a community on it; skips where there is no anvil. It makes a block a second, and
    one for each transaction."""
    try:
        program = find_anvil()
    except ConfigurationError as error:
        pytest.skip(error.message)
    port = free_port()
    command = [str(program), "--port", str(port), "--hardfork", "london", "--silent"]
    command += ["--block-time", "1", "--mixed-mining"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            community = asyncio.run(_founded(url))
            write_operator(folder, community)
            yield Street(url, folder, community)
        finally:
            process.terminate()


def write_operator(folder: Path, community: Community, key: Key = OPERATOR) -> None:
    """An operator's folder as ``daisee chain init`` and ``deploy`` leave it."""
    files = operator_files(folder)
    files.keystore.parent.mkdir(parents=True, exist_ok=True)
    files.keystore.write_text(json.dumps(Account.encrypt(key.secret, PASSWORD, iterations=2)))
    files.password.write_text(PASSWORD + "\n")
    for secret in (files.keystore, files.password):
        secret.chmod(0o600)
    save_community(folder / COMMUNITY_FILE, community)


async def founded(rpc: Rpc, operator: Key, *, url: str, gas_price_wei: int) -> Community:
    """Contracts with the roles that an operator has, and what was agreed."""
    sender = Sender(rpc, operator, gas_price=gas_price_wei)
    deployment = await deploy(rpc, sender, RULES)
    for role in (Role.OPERATOR, Role.TREASURER):
        await grant(sender, deployment, role, operator.address)
    contracts = {name: deployment.address_of(name) for name in CONTRACTS}
    return Community(
        name="Rue des Lilas",
        operator=operator.address,
        chain_id=rpc.chain_id,
        genesis_hash=await genesis_hash_of(rpc),
        engine="anvil",
        finality_depth=0,
        rpc_urls=(url,),
        relay_urls=(),
        slot_s=RULES.slot_s,
        contracts=contracts,
        code_hashes={name: await code_hash_at(rpc, contracts[name]) for name in CONTRACTS},
        created_in_block=deployment.created_in_block,
        gas_price_wei=gas_price_wei,
    )


async def _founded(url: str) -> Community:
    await _until_up(url)
    async with http_rpc(url) as rpc:
        return await founded(rpc, OPERATOR, url=url, gas_price_wei=GAS_PRICE_WEI)


async def _until_up(url: str) -> None:
    for _ in range(_UP_TRIES):
        try:
            async with http_rpc(url) as rpc:
                assert isinstance(rpc, Rpc)
                return
        except ChainUnreachable:
            pause(0.05)
    pytest.fail("anvil does not come up")
