"""A meter and a market that fail as a home's fate has it."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from heapq import merge
from typing import Final

from node.errors import ChainUnreachable, MeterSilent
from node.market.reference import ReferenceMarket
from node.meter.arrivals import Arrived
from node.meter.believing import STATE_KEY, MeterBook
from node.meter.codec import MeterFrame
from node.meter.settings import MeterSettings
from node.model import (
    EventPage,
    EvidenceClass,
    LogPosition,
    MarketEvent,
    MarketRules,
    Order,
    OrderAccepted,
    RegisterReading,
    RulesScheduled,
    SignedOrder,
    SlotCleared,
)
from node.ports import MeterStorage
from simulations.fate import Fate, Fault
from simulations.turns import Turns
from simulations.watched import Passing

Truth = Callable[[int], tuple[int, int]]
"""The import and the export register at any instant, in Wh."""

FRAMES_AT_S: Final = (0, 30, 60, 300, 450, 600, 840, 870)
"""When the meter speaks in each slot of 900 s: often where a slot ends, seldom else."""

METER: Final = MeterSettings(kind="shelly", url="http://meter", period_s=30)


def true_registers(begins_s: int, slot_s: int, net_wh: Sequence[int], rng: random.Random) -> Truth:
    """Registers that grow evenly within each slot by what it takes in, or gives out."""
    imports, exports = [rng.randrange(40_000_000)], [rng.randrange(40_000_000)]
    for net in net_wh:
        imports.append(imports[-1] + max(net, 0))
        exports.append(exports[-1] + max(-net, 0))

    def truth(instant_s: int) -> tuple[int, int]:
        slot, passed_s = divmod(instant_s - begins_s, slot_s)
        if slot < 0:
            return imports[0], exports[0]
        if slot >= len(net_wh):
            return imports[-1], exports[-1]
        grown_wh = abs(net_wh[slot]) * passed_s // slot_s
        is_import = net_wh[slot] > 0
        return (
            imports[slot] + (grown_wh if is_import else 0),
            exports[slot] + (0 if is_import else grown_wh),
        )

    return truth


class FaultyMeter:
    """A meter behind the node's own guards, as ``node.ports.MeterSource``. It speaks whether or not
    the node listens; what it says while nobody does, or in its silent hours, is lost."""

    def __init__(
        self, meter_id: str, truth: Truth, fate: Fate, turns: Turns, storage: MeterStorage
    ) -> None:
        self._meter_id = meter_id
        self._truth = truth
        self._fate = fate
        self._turns = turns
        self._book = MeterBook(METER, storage.meter_state(STATE_KEY))
        self._heard_s = turns.now_s - 1

    async def read(self) -> RegisterReading:
        """The registers as the meter told them last."""
        self._hear()
        return self._or_silent(self._book.latest())

    async def read_at(self, instant_s: int) -> RegisterReading:
        """The registers at an instant."""
        self._hear()
        return self._or_silent(self._book.at(instant_s))

    def keep(self, storage: MeterStorage) -> None:
        """Hand over samples and state."""
        self._book.keep(storage)

    def _or_silent(self, reading: RegisterReading | None) -> RegisterReading:
        if reading is not None:
            return reading
        if self._book.fault is not None:
            raise self._book.fault
        raise MeterSilent("no sample that settles it")

    def _hear(self) -> None:
        """All that was said since the last time, stamped by the clock of the node."""
        now_s, since_s = self._turns.now_s, self._heard_s
        self._heard_s = now_s
        for slot_s in range((since_s + 1) // 900 * 900, now_s + 1, 900):
            for at_s in (slot_s + frame_s for frame_s in FRAMES_AT_S):
                if since_s < at_s <= now_s and not self._fate.strikes(
                    Fault.METER_SILENT, at_s, odds=1
                ):
                    self._say(at_s)

    def _say(self, at_s: int) -> None:
        import_wh, export_wh = self._truth(at_s)
        if self._fate.strikes(Fault.METER_LIES, at_s):
            rng = self._fate.rng
            import_wh = rng.choice((0, import_wh + 10**6, import_wh - 500, rng.randrange(10**9)))
        frame = MeterFrame(METER.kind, EvidenceClass.B, self._meter_id, import_wh, export_wh)
        self._book.observe(Arrived(at_s + self._fate.ahead_s(at_s), frame))


class BookedMarket:
    """The reference market, with its events where every home can find its own."""

    def __init__(self, reference: ReferenceMarket, turns: Turns) -> None:
        self.accepted_in: defaultdict[int, set[int]] = defaultdict(set)
        self._reference = reference
        self._turns = turns
        self._events: list[MarketEvent] = []
        self._for_all: list[MarketEvent] = []
        self._own: defaultdict[int, list[MarketEvent]] = defaultdict(list)

    def rules_at(self, slot: int) -> MarketRules:
        """The rules of a slot."""
        return self._reference.rules_at(slot)

    def submit(self, orders: Sequence[Order]) -> None:
        """Orders arrive, in one batch."""
        self._reference.submit_batch(orders, self._turns.now_s)

    def clear(self, slot: int) -> None:
        """Clear a slot."""
        self._reference.clear(slot, self._turns.now_s)

    def events(self) -> Sequence[MarketEvent]:
        """All that happened."""
        for event in self._reference.drain_events():
            self._events.append(event)
            if isinstance(event, SlotCleared | RulesScheduled):
                self._for_all.append(event)
            else:
                self._own[event.household].append(event)
            if isinstance(event, OrderAccepted):
                self.accepted_in[event.slot].add(event.household)
        return self._events

    def after(self, position: LogPosition, household: int) -> EventPage:
        """What a household has not seen."""
        events = self.events()
        parts = (_after(position, self._for_all), _after(position, self._own[household]))
        return EventPage(
            list(merge(*parts, key=_position)),
            max(position, events[-1].position) if events else position,
        )


def _position(event: MarketEvent) -> LogPosition:
    return event.position


def _after(position: LogPosition, events: list[MarketEvent]) -> list[MarketEvent]:
    return events[bisect_right(events, position, key=_position) :]


class FaultyMarket:
    """The market as one home reaches it. Implements ``node.ports.Market``."""

    def __init__(self, market: BookedMarket, fate: Fate, turns: Turns, passing: Passing) -> None:
        self.sent: defaultdict[tuple[int, int], set[Order]] = defaultdict(set)
        self._market = market
        self._fate = fate
        self._turns = turns
        self._passing = passing

    async def rules_at(self, slot: int) -> MarketRules:
        """The rules of a slot."""
        self._may_fail()
        return self._market.rules_at(slot)

    async def submit(self, signed: SignedOrder) -> None:
        """An order goes out: once, twice, or not at all; or it arrives and nobody says so."""
        self._passing("before sending")
        self._may_fail()
        order = signed.order
        self.sent[order.slot, order.side].add(order)
        is_twice = self._fate.strikes(Fault.DELIVERED_TWICE, self._turns.now_s)
        self._market.submit([order] * (1 + is_twice))
        self._passing("after sending")
        self._may_fail()

    async def clear(self, slot: int) -> None:
        """Clear a slot, and perhaps not hear of it."""
        self._passing("before clearing")
        self._may_fail()
        self._market.clear(slot)
        self._passing("after clearing")
        self._may_fail()

    async def events_after(self, position: LogPosition, household: int) -> EventPage:
        """What happened since, perhaps told twice."""
        self._may_fail()
        page = self._market.after(position, household)
        if not self._fate.strikes(Fault.DELIVERED_TWICE, self._turns.now_s):
            return page
        return EventPage([event for event in page.events for _ in range(2)], page.upto)

    def _may_fail(self) -> None:
        if self._fate.strikes(Fault.CHAIN_UNREACHABLE, self._turns.now_s, odds=0.5):
            raise ChainUnreachable("no answer")
