"""A day of a street on which everything goes wrong that a household's node must live with.

Twenty nodes, the daemon's own class, live 96 slots on the reference market. From a seed each has
its hours in which the meter is silent or lies, the chain does not answer or answers twice, the disk
is full, the clock is set, and the power goes at whatever the node is doing. The last hours are
quiet: by then every node must have recovered by itself. Of a seed the whole day follows, so a day
that goes wrong can be lived again.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from node.daemon import HouseholdNode
from node.errors import StorageBusy
from node.market.reference import ReferenceMarket
from node.market.strategies import strategy_named
from node.model import (
    Household,
    MarketEvent,
    MarketRules,
    OrderAccepted,
    OrderRefused,
    OrderSettled,
    Quality,
    RegisterReading,
    SlotCleared,
    SlotEnergy,
)
from node.ports import IntentState
from node.slots import slot_at, slot_start_s
from simulations.exchange import Unsigned
from simulations.fate import Fate, Fault
from simulations.faulty_parts import BookedMarket, FaultyMarket, FaultyMeter, true_registers
from simulations.turns import Hand, Turns
from simulations.watched import PowerCut, WatchedDatabase

RULES: Final = MarketRules()
FIRST_SLOT: Final = 1_628_064
QUIET_AT_FIRST: Final = 1
QUIET_AT_LAST: Final = 10
"""Slots without a fault, in which everything must come right again."""

LIMIT_WH: Final = 9_000
CREDIT_UNITS: Final = 10**12
AWAY_S: Final = (1, 20, 100, 290, 500, 2_000, 5_000)
STRATEGIES: Final = ("fixed-reserve", "zero-intelligence", "adaptive")


@dataclass(frozen=True, slots=True)
class FaultyDay:
    """What came of a day. ``digest`` is of every event, reading, slot and order: two days of one
    seed have the same."""

    seed: int
    homes: int
    slots: int
    happened: dict[str, int]
    orders: int
    refused: int
    late: int
    estimated_slots: int
    traded_wh: int
    double_orders: int
    energy_error_wh: int
    unmetered_order_wh: int
    money_error_units: int
    not_recovered: tuple[str, ...]
    digest: str

    @property
    def is_sound(self) -> bool:
        """Whether nothing was lost, doubled or left broken."""
        errors = (
            self.double_orders
            + abs(self.energy_error_wh)
            + abs(self.unmetered_order_wh)
            + abs(self.money_error_units)
        )
        return errors == 0 and not self.not_recovered


class FaultyHome:
    """One home and its node, which comes back after each power cut."""

    def __init__(
        self, number: int, turns: Turns, market: BookedMarket, seed: int, slots: int
    ) -> None:
        rng = random.Random(f"{seed} home {number}")
        self.number = number
        self.fate = Fate.drawn(
            random.Random(f"{seed} fate {number}"),
            slot_start_s(FIRST_SLOT + QUIET_AT_FIRST, RULES.slot_s),
            slot_start_s(FIRST_SLOT + slots - QUIET_AT_LAST, RULES.slot_s),
        )
        self.clock: Hand = turns.join(self.fate.ahead_s)
        self.storage = WatchedDatabase.watched(None, self._passing)
        self.late = 0
        self._turns = turns
        self._end_slot = FIRST_SLOT + slots
        self._strategy = strategy_named(STRATEGIES[number % len(STRATEGIES)])
        self._rng = rng
        begins_s = slot_start_s(FIRST_SLOT, RULES.slot_s)
        net_wh = [rng.randint(20, 900) for _ in range(slots + 4)]
        if number % 2:
            net_wh = [net - (1_200 if 28 < at % 96 < 76 else 0) for at, net in enumerate(net_wh)]
        self.truth = true_registers(begins_s, RULES.slot_s, net_wh, rng)
        self.market = FaultyMarket(market, self.fate, turns, self._passing)
        self.node = self._started()

    async def live(self) -> None:
        """The whole day, in as many lives as the power allows."""
        try:
            while True:
                slots = self._end_slot - slot_at(self.clock.now_s(), RULES.slot_s)
                try:
                    await self.node.run(slots=max(slots, 0))
                    break
                except PowerCut:
                    self.late += self.node.counters.orders_late
                back_s = self._turns.now_s + self.fate.rng.choice(AWAY_S)
                while self._turns.now_s < back_s:
                    await self.clock.sleep_until(self.clock.now_s() + back_s - self._turns.now_s)
                self.node = self._started()
        finally:
            self.clock.leave()

    def readings(self) -> Sequence[RegisterReading]:
        """Every reading kept, oldest first."""
        return self.storage.last_readings(1_000_000)

    def energies(self) -> list[SlotEnergy]:
        """Every slot closed; a clock that was ahead may have closed some of the next day's."""
        slots = range(FIRST_SLOT - 8, self._end_slot + 8)
        return [e for slot in slots if (e := self.storage.slot_energy(slot)) is not None]

    def energy_error_wh(self) -> int:
        """What the slots have more or less than the register grew by, from the first reading to
        the end of the day, as only the meter itself knows it."""
        first, last = self.readings()[0], self.readings()[-1]
        true_first, true_last = self.truth(first.taken_at_s), self.truth(last.taken_at_s)
        closed = self.energies()
        return sum(
            abs(wh)
            for wh in (
                first.import_wh - true_first[0],
                first.export_wh - true_first[1],
                sum(e.import_wh for e in closed) - (true_last[0] - true_first[0]),
                sum(e.export_wh for e in closed) - (true_last[1] - true_first[1]),
            )
        )

    def unmetered_order_wh(self, accepted: Iterable[OrderAccepted]) -> int:
        """What was ordered, and is not what the slot metered."""
        error_wh = 0
        for event in accepted:
            if event.household == self.number:
                energy = self.storage.slot_energy(event.slot)
                metered_wh = 0
                if energy is not None and energy.quality is Quality.METERED:
                    metered_wh = energy.import_wh if event.side else energy.export_wh
                error_wh += abs(event.energy_wh - metered_wh)
        return error_wh

    def troubles(self, accepted: Iterable[OrderAccepted]) -> list[str]:
        """What the node has not recovered from by itself."""
        found = [f"{self.number}: {t.step.word} {t.message}" for t in self.node.status().troubles]
        if self.storage.slot_energy(self._end_slot - 1) is None:
            found.append(f"{self.number}: the last slot is not closed")
        if self.storage.open_intents():
            found.append(f"{self.number}: orders are left open")
        on_chain = {(e.slot, e.side) for e in accepted if e.household == self.number}
        at_home = {
            (trade.order.slot, trade.order.side)
            for trade in self.storage.own_trades()
            if trade.state is IntentState.ACCEPTED
        }
        if on_chain != at_home:
            found.append(f"{self.number}: knows other orders than the market")
        return found

    def _started(self) -> HouseholdNode:
        return HouseholdNode(
            household=Household(self.number, LIMIT_WH, LIMIT_WH),
            slot_s=RULES.slot_s,
            meter=FaultyMeter(f"m{self.number}", self.truth, self.fate, self._turns, self.storage),
            strategy=self._strategy,
            signer=Unsigned(),
            market=self.market,
            storage=self.storage,
            clock=self.clock,
            rng=self._rng,
            evidence_key=self.number.to_bytes(32),
        )

    def _passing(self, point: str) -> None:
        now_s = self._turns.now_s
        is_a_write = point.startswith("before") and point.endswith("kept")
        if is_a_write and self.fate.strikes(Fault.DISK_FULL, now_s):
            raise StorageBusy("the disk is full")
        if self.fate.power_goes(now_s):
            raise PowerCut(point)


async def faulty_day(seed: int, *, homes: int = 20, slots: int = 96) -> FaultyDay:
    """Live it."""
    turns = Turns(slot_start_s(FIRST_SLOT, RULES.slot_s))
    reference = ReferenceMarket(RULES)
    market = BookedMarket(reference, turns)
    street = [FaultyHome(number, turns, market, seed, slots) for number in range(1, homes + 1)]
    for home in street:
        reference.admit(Household(home.number, LIMIT_WH, LIMIT_WH))
        reference.deposit(home.number, CREDIT_UNITS)
    await asyncio.gather(*(home.live() for home in street))
    settle_all(reference, market, turns.now_s)
    for home in street:
        await home.node.follow()
    return report(seed, slots, street, reference, market)


def settle_all(reference: ReferenceMarket, market: BookedMarket, now_s: int) -> None:
    """Settle what no later order of its household has settled."""
    for slot, households in sorted(market.accepted_in.items()):
        reference.settle(slot, sorted(households), now_s)


def report(
    seed: int,
    slots: int,
    street: Sequence[FaultyHome],
    reference: ReferenceMarket,
    market: BookedMarket,
) -> FaultyDay:
    """Look at the day from outside: the market's events and the homes' databases."""
    events = market.events()
    accepted = [event for event in events if isinstance(event, OrderAccepted)]
    counts = Counter((event.household, event.slot, event.side) for event in accepted)
    different = sum(len(orders) - 1 for home in street for orders in home.market.sent.values())
    happened: Counter[str] = Counter()
    for home in street:
        happened.update(home.fate.happened)
    return FaultyDay(
        seed=seed,
        homes=len(street),
        slots=slots,
        happened=dict(sorted(happened.items())),
        orders=len(accepted),
        refused=sum(isinstance(event, OrderRefused) for event in events),
        late=sum(home.late + home.node.counters.orders_late for home in street),
        estimated_slots=sum(
            energy.quality is Quality.ESTIMATED for home in street for energy in home.energies()
        ),
        traded_wh=sum(event.matched_wh for event in events if isinstance(event, SlotCleared)),
        double_orders=sum(count - 1 for count in counts.values()) + different,
        energy_error_wh=sum(home.energy_error_wh() for home in street) + _unbalanced_wh(events),
        unmetered_order_wh=sum(home.unmetered_order_wh(accepted) for home in street),
        money_error_units=len(street) * CREDIT_UNITS
        - sum(reference.balance_units(home.number) for home in street),
        not_recovered=tuple(trouble for home in street for trouble in home.troubles(accepted)),
        digest=_digest(events, street),
    )


def _unbalanced_wh(events: Iterable[MarketEvent]) -> int:
    """By how much the fills of asks and of bids differ, slot by slot."""
    filled_wh: defaultdict[int, int] = defaultdict(int)
    for event in events:
        if isinstance(event, OrderSettled):
            filled_wh[event.slot] += event.filled_wh if event.side else -event.filled_wh
    return sum(abs(wh) for wh in filled_wh.values())


def _digest(events: Sequence[MarketEvent], street: Sequence[FaultyHome]) -> str:
    digest = hashlib.sha256()
    for event in events:
        digest.update(repr(event).encode())
    for home in street:
        for record in (*home.readings(), *home.energies(), *home.storage.own_trades()):
            digest.update(repr(record).encode())
    return digest.hexdigest()
