"""N household nodes over one clock: where the simulator puts the house's rooms together.

The nodes are the daemon's own class. What is simulated is handed to them: a clock that jumps from
moment to moment, meters that replay load curves, a store in memory, and a market shared by all.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from node.clock import ManualClock
from node.daemon import HouseholdNode
from node.errors import Refused
from node.market.strategies import Strategy
from node.meter.replay import ReplayMeter
from node.model import (
    EventPage,
    LogPosition,
    MarketEvent,
    MarketRules,
    OrderAccepted,
    OrderSettled,
    SignedOrder,
    SlotCleared,
    SlotEnergy,
)
from node.slots import slot_at, slot_end_s
from node.store import LedgerDatabase, NodeDatabase
from simulations.exchange import Exchange
from simulations.feed import SharedFeed
from simulations.profiles import HomeProfile

LEDGER_CHUNK: Final = 5_000
"""Events written to the ledger at once."""

LIMIT_STEP_WH: Final = 500
"""A simulated home's limits are its highest slot, rounded up to this: they bind nobody honest."""

MAX_INITIAL_REGISTER_WH: Final = 40_000_000


@dataclass(frozen=True, slots=True)
class Home:
    """One home of the scenario."""

    profile: HomeProfile
    strategy: Strategy

    @property
    def name(self) -> str:
        """Its name in every output."""
        return self.profile.name


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, told after each slot."""

    slots_done: int
    slots: int
    slot: int
    slot_s: int
    orders: int
    traded_wh: int
    last: SlotCleared | None


@dataclass(frozen=True, slots=True)
class Member:
    """A home that was admitted: its node, its database, the credit it started with, and what its
    meter is known to count in each slot."""

    home: Home
    node: HouseholdNode
    storage: NodeDatabase
    deposit_units: int
    import_wh: array[int]
    export_wh: array[int]

    @property
    def number(self) -> int:
        """Its household's number."""
        return self.node.household.number


class SharedMarket:
    """The market as each node of the process sees it. Implements ``node.ports.Market``."""

    def __init__(self, exchange: Exchange, feed: SharedFeed) -> None:
        self._exchange = exchange
        self._feed = feed

    async def rules_at(self, _slot: int) -> MarketRules:
        """A simulated market keeps its rules for the whole run."""
        return self._exchange.rules

    async def submit(self, signed: SignedOrder) -> None:
        """Hand the order to the relay that all share."""
        self._exchange.take(signed)

    async def clear(self, slot: int) -> None:
        """Clear it on the exchange."""
        await self._exchange.clear(slot)

    async def events_after(self, position: LogPosition, household: int) -> EventPage:
        """From the feed that all share."""
        return self._feed.after(position, household)


class Neighbourhood:
    """A run: admits the homes, lives through the slots, settles what is left at the end."""

    def __init__(
        self,
        homes: Sequence[Home],
        exchange: Exchange,
        clock: ManualClock,
        ledger: LedgerDatabase,
        seed: int,
    ) -> None:
        first = homes[0].profile
        self.members: list[Member] = []
        self.orders = 0
        self.traded_wh = 0
        self._homes = homes
        self._exchange = exchange
        self._clock = clock
        self._ledger = ledger
        self._seed = seed
        self._slot_s = exchange.rules.slot_s
        self._first_slot = slot_at(first.start_s, self._slot_s)
        self._end_slot = slot_at(first.end_s, self._slot_s)
        self._feed = SharedFeed()
        self._unwritten: list[MarketEvent] = []
        self._unsettled: defaultdict[int, set[int]] = defaultdict(set)  # households by slot
        self._jitter = random.Random(f"{seed} jitter")

    @property
    def slots(self) -> range:
        """The slots of the run."""
        return range(self._first_slot, self._end_slot)

    async def run(self, tell: Callable[[Progress], None]) -> None:
        """Live through all slots; ``tell`` hears of each one that was cleared."""
        self._clock.advance_to(self.slots.start * self._slot_s)
        await self._admit_all()
        energies: dict[int, list[tuple[SlotEnergy, bytes]]] = {}
        for moment_s, step, slot in self._schedule():
            self._clock.advance_to(moment_s)
            if step == _CLOSE:
                energies[slot] = [await member.node.close_slot(slot) for member in self.members]
            elif step == _ORDER:
                for member, (energy, evidence) in zip(
                    self.members, energies.pop(slot), strict=True
                ):
                    await member.node.order_slot(energy, evidence)
                await self._exchange.flush()
            else:
                cleared = await self._clear(slot)
                done = slot + 1 - self.slots.start
                tell(
                    Progress(
                        done,
                        len(self.slots),
                        slot,
                        self._slot_s,
                        self.orders,
                        self.traded_wh,
                        cleared,
                    )
                )
        await self._settle_rest()
        self._write(self._unwritten)

    def _schedule(self) -> Iterator[tuple[int, int, int]]:
        """Every moment of the run in order: a slot ends, its gate opens, its gate closes."""
        rules = self._exchange.rules
        closes = ((slot_end_s(slot, self._slot_s), _CLOSE, slot) for slot in self.slots)
        opens = ((rules.gate_opens_s(slot), _ORDER, slot) for slot in self.slots)
        clears = ((rules.gate_closes_s(slot), _CLEAR, slot) for slot in self.slots)
        return heapq.merge(closes, opens, clears)

    async def _admit_all(self) -> None:
        market = SharedMarket(self._exchange, self._feed)
        deposits: dict[int, int] = {}
        for home in self._homes:
            member = await self._admit(home, market)
            deposits[member.node.household.number] = member.deposit_units
            self.members.append(member)
        await self._exchange.fund(deposits)
        names = {member.node.household.number: member.home.name for member in self.members}
        self._ledger.set_names(names)
        self._ledger.set_facts(self._exchange.facts)
        await self._read_events()

    async def _admit(self, home: Home, market: SharedMarket) -> Member:
        """One home: limits from its own curve, credit for all that it could ever buy."""
        profile, rules = home.profile, self._exchange.rules
        imports, exports = slot_energies(profile, self._slot_s)
        household, signer = await self._exchange.admit(
            home.name,
            import_limit_wh=_rounded_limit(imports),
            export_limit_wh=_rounded_limit(exports),
        )
        rng = random.Random(f"{self._seed} {home.name}")
        meter = ReplayMeter(
            f"replay-{home.name}",
            self._clock,
            start_s=profile.start_s,
            step_s=profile.step_s,
            load_wh=profile.load_wh,
            pv_wh=profile.pv_wh,
            initial_import_wh=rng.randrange(MAX_INITIAL_REGISTER_WH),
            initial_export_wh=rng.randrange(MAX_INITIAL_REGISTER_WH),
        )
        secret = f"daisee simulated evidence {self._seed} {home.name}"
        storage = NodeDatabase.open(None)
        node = HouseholdNode(
            household=household,
            slot_s=self._slot_s,
            meter=meter,
            strategy=home.strategy,
            signer=signer,
            market=market,
            storage=storage,
            clock=self._clock,
            rng=rng,
            evidence_key=hashlib.sha256(secret.encode()).digest(),
        )
        await node.start()
        deposit_units = sum(imports) * (rules.grid.cap_price + rules.network_fee)
        return Member(home, node, storage, deposit_units, imports, exports)

    async def _clear(self, slot: int) -> SlotCleared | None:
        """Every node would try after a jitter of its own; the first one does it for all."""
        first = self._jitter.choice(self.members)
        await first.node.clear_slot(slot)
        cleared = await self._read_events()
        for member in self.members:
            await member.node.follow()
        self._feed.forget()
        return cleared

    async def _read_events(self) -> SlotCleared | None:
        """Bring new events to the feed, the ledger and the counts; returns the last clearing."""
        last: SlotCleared | None = None
        events = await self._exchange.new_events()
        self._feed.add(events)
        self._unwritten += events
        for event in events:
            if isinstance(event, OrderAccepted):
                self.orders += 1
                self._unsettled[event.slot].add(event.household)
            elif isinstance(event, OrderSettled):
                waiting = self._unsettled.get(event.slot)
                if waiting is not None:
                    waiting.discard(event.household)
                    if not waiting:
                        del self._unsettled[event.slot]
            elif isinstance(event, SlotCleared):
                self.traded_wh += event.matched_wh
                last = event
        if len(self._unwritten) >= LEDGER_CHUNK:
            self._write(self._unwritten)
        return last

    def _write(self, events: list[MarketEvent]) -> None:
        self._ledger.append(events)
        self._unwritten = []

    async def _settle_rest(self) -> None:
        """Orders settle when their household orders again; after the last slot somebody asks."""
        for slot, households in sorted(self._unsettled.items()):
            try:
                await self._exchange.settle(slot, sorted(households))
            except Refused as refusal:
                raise AssertionError(f"slot {slot} cannot be settled: {refusal}") from refusal
        await self._read_events()
        for member in self.members:
            await member.node.follow()
        self._feed.forget()


_CLOSE, _ORDER, _CLEAR = range(3)


def slot_energies(profile: HomeProfile, slot_s: int) -> tuple[array[int], array[int]]:
    """A home's import and export in each slot, in Wh: per step first, then summed."""
    per_slot = slot_s // profile.step_s
    nets = [load - pv for load, pv in zip(profile.load_wh, profile.pv_wh, strict=True)]
    starts = range(0, len(nets), per_slot)
    imports = array("q", (sum(max(net, 0) for net in nets[i : i + per_slot]) for i in starts))
    exports = array("q", (sum(max(-net, 0) for net in nets[i : i + per_slot]) for i in starts))
    return imports, exports


def _rounded_limit(energies_wh: Sequence[int]) -> int:
    highest = max(energies_wh)
    return -(-highest // LIMIT_STEP_WH) * LIMIT_STEP_WH
