"""A market on a development chain that lives in real time: a block every second, as in a street."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from eth_account import Account

from node.chain.bootstrap import Role, admit, deploy, grant, issue_and_deposit
from node.chain.client import MarketClient
from node.chain.engines.anvil import find_anvil
from node.chain.http import http_rpc
from node.chain.keys import Key
from node.chain.rpc import Rpc, Sender
from node.errors import ChainUnreachable, ConfigurationError
from node.model import BEFORE_ALL, MarketEvent, MarketRules
from tests.support.node_process import free_port, pause

GAS_PRICE: Final = 2 * 10**9
CREDIT_UNITS: Final = 10**12
PASSWORD: Final = "canary-correct-horse-battery"

_FUNDER: Final = Key(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
"""The first account that every development chain of this kind funds."""

_UP_TRIES: Final = 200


@dataclass(frozen=True, slots=True)
class LiveChain:
    """Where one household trades."""

    url: str
    chain_id: int
    market: str
    household: int
    key: Key

    def settings(self, folder: Path, *, chain_id: int | None = None) -> str:
        """``[chain]`` and ``[key]`` of a household that trades, with its keystore in a folder."""
        keystore, password = folder / "household.json", folder / "password"
        # As fast as a keystore can be: its password guards a key of a test.
        keystore.write_text(json.dumps(Account.encrypt(self.key.secret, PASSWORD, iterations=2)))
        password.write_text(PASSWORD + "\n")
        for secret in (keystore, password):
            secret.chmod(0o600)
        return (
            f'[chain]\nrpc = "{self.url}"\nchain_id = {chain_id or self.chain_id}\n'
            f'market = "{self.market}"\ntrade = true\ngas_price_wei = {GAS_PRICE}\n'
            f'[key]\nkeystore = "{keystore}"\npassword_file = "{password}"\n'
        )

    def events(self) -> list[MarketEvent]:
        """Everything that the contract has told."""
        return asyncio.run(self._events())

    async def _events(self) -> list[MarketEvent]:
        async with http_rpc(self.url) as rpc:
            client = await MarketClient.connect(rpc, self.market)
            events: list[MarketEvent] = []
            position, more = BEFORE_ALL, True
            while more:
                page = await client.events_after(position)
                events += page.events
                position, more = page.upto, page.more
            return events


@contextmanager
def live_chain(rules: MarketRules, *, limit_wh: int = 9_000) -> Iterator[LiveChain]:
    """A chain with a market and one member; skips where there is no anvil."""
    try:
        program = find_anvil()
    except ConfigurationError as error:
        pytest.skip(error.message)
    port = free_port()
    command = [str(program), "--port", str(port), "--hardfork", "london", "--silent"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield asyncio.run(_with_market(f"http://127.0.0.1:{port}", rules, limit_wh))
        finally:
            process.terminate()


async def _with_market(url: str, rules: MarketRules, limit_wh: int) -> LiveChain:
    key = Key(b"\x07" * 32)
    await _until_up(url)
    async with http_rpc(url) as rpc:
        sender = Sender(rpc, _FUNDER, gas_price=GAS_PRICE)
        deployment = await deploy(rpc, sender, rules)
        for role in (Role.OPERATOR, Role.TREASURER):
            await grant(sender, deployment, role, _FUNDER.address)
        number = await admit(
            *(rpc, sender, deployment, key, key.address),
            import_limit_wh=limit_wh,
            export_limit_wh=limit_wh,
        )
        await issue_and_deposit(sender, deployment, {number: CREDIT_UNITS})
        await rpc.ask("anvil_setBalance", key.address, hex(10**20))
        await rpc.ask("evm_setAutomine", False)  # noqa: FBT003 - JSON-RPC has no names
        await rpc.ask("evm_setIntervalMining", 1)
        return LiveChain(url, rpc.chain_id, deployment.market, number, key)


async def _until_up(url: str) -> None:
    for _ in range(_UP_TRIES):
        try:
            async with http_rpc(url) as rpc:
                assert isinstance(rpc, Rpc)
                return
        except ChainUnreachable:
            pause(0.05)
    pytest.fail("anvil does not come up")
