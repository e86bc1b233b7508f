"""A live street that loses parts of its network, and what must hold of it: one for many faults.

Its homes trade in every slot, over and over. What each order's fate must be follows from the
profiles alone; what was sent when is watched at the node that members ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientSession

from node.chain.contracts import contract
from node.chain.json_rpc import block_query, number
from node.chain.network.asking import ask
from node.chain.network.genesis import sealer_of
from node.clock import SystemClock, wall_seconds
from node.errors import ChainUnreachable, Refused
from node.model import MarketRules, OrderAccepted, Side
from node.ports import IntentState
from node.slots import slot_at
from node.store import NodeDatabase
from simulations.live_network import live_homes
from simulations.live_street import LiveStreet, StreetPlan
from simulations.scenario import Scenario
from tests.support.needs import need_geth

RULES: Final = MarketRules(slot_s=16, gate_s=13)
"""A quarter of the gate, in which a household helps itself, is enough for three blocks."""

HOMES: Final = 3
PROFILE_SLOTS: Final = 4
LAPS: Final = 3_000
FOLLOWED_S: Final = 4
SENT_WITHIN_S: Final = 2
"""A transaction is seen so long after it was sent, at most."""

OrderKey = tuple[int, int, Side]


@dataclass(slots=True)
class Sent:
    """Since when each slot's orders were seen on their way, in a pool or in a block."""

    newest_s: dict[int, int] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)


class LostNetwork:
    """A street for the time of a test module, in an event loop that stands still between tests."""

    def __init__(self, runner: asyncio.Runner, street: LiveStreet) -> None:
        self.street = street
        self.network = street.network
        self._runner = runner

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        """Let the street live until a scenario has ended."""
        self._runner.run(scenario)

    @property
    def depth(self) -> int:
        """Blocks on top of one that make it final."""
        return self.street.community.finality_depth

    def slot_now(self) -> int:
        """The slot that is being metered."""
        return slot_at(self.street.now_s(), RULES.slot_s)

    async def lived_through(self, slot: int) -> None:
        """A slot's gate has closed, and everybody has heard of what came of it."""
        await self.street.until(RULES.gate_closes_s(slot) + FOLLOWED_S)

    def due(self, slots: range) -> set[OrderKey]:
        """Every order that the meters give cause for."""
        first = self.street.slots.start
        return {
            (slot, home.number, side)
            for slot in slots
            for home in self.street.homes
            for side, energies in ((Side.ASK, home.export_wh), (Side.BID, home.import_wh))
            if energies[(slot - first) % PROFILE_SLOTS] > 0
        }

    async def accepted(self, slots: range) -> dict[OrderKey, int]:
        """The orders on chain, with their blocks."""
        return {
            (event.slot, event.household, event.side): event.position.block
            for event in await self.street.events()
            if isinstance(event, OrderAccepted) and event.slot in slots
        }

    def states(self, slots: Collection[int]) -> dict[OrderKey, IntentState]:
        """What the households themselves know of their orders."""
        found: dict[OrderKey, IntentState] = {}
        for home in self.street.homes:
            with NodeDatabase.open_read_only(home.process.folder.database) as storage:
                for trade in storage.own_trades():
                    if trade.order.slot in slots:
                        found[trade.order.slot, home.number, trade.order.side] = trade.state
        return found

    async def hash_at(self, height: int, name: str = "rpc-01") -> str:
        """A block's hash, as a node has it."""
        endpoint = self.network.endpoint(name)
        block = await ask(endpoint, *block_query(height))
        return "" if block is None else str(block["hash"])

    async def until_all_have(self, height: int, block_hash: str, within_s: float = 60) -> None:
        """Every node has this very block. Fails when one has another, or none in time."""
        deadline_s = wall_seconds() + within_s
        for peer in self.network.network.peers:
            found = ""
            while not found and wall_seconds() < deadline_s:
                with contextlib.suppress(ChainUnreachable, Refused):
                    found = await self.hash_at(height, peer.name)
                await asyncio.sleep(0.2)
            assert found == block_hash, f"{peer.name}: block {height}"

    async def seals(self, name: int, within_s: float) -> float:
        """Wait until a validator seals a block that is new now; how long that took."""
        peer, begun_s = self.network.network.peer(name), wall_seconds()
        height = await self.network.head("rpc-01") + 1
        while wall_seconds() < begun_s + within_s:
            with contextlib.suppress(ChainUnreachable, Refused, TypeError):
                endpoint = self.network.endpoint("rpc-01")
                block = await ask(endpoint, *block_query(height))
                if block is not None:
                    if sealer_of(block, "geth") == peer.address:
                        return wall_seconds() - begun_s
                    height += 1
                    continue
            await asyncio.sleep(0.2)
        raise AssertionError(f"{peer.name} seals nothing within {within_s} s")

    async def relay_status(self) -> dict[str, Any]:
        """What the relay says of itself."""
        assert self.street.relay_url is not None
        async with (
            ClientSession() as session,
            session.get(self.street.relay_url + "/status") as got,
        ):
            document: dict[str, Any] = await got.json(content_type=None)
            return document

    async def recover(self) -> None:
        """``daisee chain recover``, and what ``daisee chain up`` does when it hears of it."""
        recovering: list[asyncio.Task[None]] = []

        def heard() -> None:
            recovering.append(asyncio.create_task(self.network.recover()))

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, heard)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "node.cli.main", "chain", "recover"),
                *(str(self.network.folder), "--yes"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await process.communicate()
            assert process.returncode == 0, said.decode()
            await asyncio.gather(*recovering)
        finally:
            loop.remove_signal_handler(signal.SIGHUP)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Sent]:
        """See what is sent from now on, and when."""
        sent = Sent()
        task = asyncio.create_task(self._watch(sent))
        try:
            yield sent
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _watch(self, sent: Sent) -> None:
        endpoint = self.network.endpoint("rpc-01")
        height = await self.network.head("rpc-01") + 1
        clock = SystemClock()
        while True:
            with contextlib.suppress(ChainUnreachable, Refused):
                now_s = clock.now_s()
                pool = await ask(endpoint, "txpool_content")
                for kind in ("pending", "queued"):
                    for transactions in pool[kind].values():
                        for transaction in transactions.values():
                            _see(sent, transaction, now_s)
                block = await ask(endpoint, *block_query(height, whole=True))
                while block is not None:
                    for transaction in block["transactions"]:
                        _see(sent, transaction, number(block["timestamp"]))
                    height += 1
                    block = await ask(endpoint, *block_query(height, whole=True))
            await asyncio.sleep(0.5)


def _see(sent: Sent, transaction: dict[str, Any], at_s: int) -> None:
    """Note the slots of a batch that was not seen before."""
    if transaction["hash"] in sent.known:
        return
    sent.known.add(transaction["hash"])
    for slot in slots_of(bytes.fromhex(transaction["input"].removeprefix("0x"))):
        sent.newest_s[slot] = max(at_s, sent.newest_s.get(slot, 0))


def slots_of(data: bytes) -> list[int]:
    """The slots of the orders in a batch; none of any other transaction."""
    if data[:4] != contract("EnergyMarket").functions["submitBatch"].selector:
        return []
    orders = data[4 + 64 :]  # after the list's place and its length, four words each
    return [
        int.from_bytes(orders[begin : begin + 32]) >> 32 & 0xFFFF_FFFF
        for begin in range(0, len(orders), 128)
    ]


@contextmanager
def lost_network(folder: Path) -> Iterator[LostNetwork]:
    """A street of three homes and four validators that trades; skips where there is no geth."""
    need_geth()
    homes = live_homes(Scenario(homes=HOMES, seed=22), PROFILE_SLOTS)
    street = LiveStreet(folder, homes, RULES, StreetPlan(laps=LAPS))
    with asyncio.Runner() as runner:

        async def begin() -> None:
            await street.__aenter__()
            try:
                slots = await street.open()
                await street.until(slots.start * RULES.slot_s)
            except BaseException:
                await street.__aexit__(None, None, None)
                raise

        runner.run(begin())
        try:
            yield LostNetwork(runner, street)
        finally:
            runner.run(street.__aexit__(None, None, None))
