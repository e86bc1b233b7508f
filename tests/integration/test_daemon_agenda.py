"""The daemon's agenda: steps that overlap, fail, wait, are missed, or meet a clock that was set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from node import daemon as daemon_module
from node.chain.bootstrap import REGISTRY
from node.chain.keys import Key
from node.chain.rpc import Sender
from node.clock import ManualClock
from node.errors import ChainUnreachable, Disagreement, MeterSilent, Refused, StorageBusy
from node.market.strategies import FixedReserve, MarketView
from node.model import (
    EventPage,
    LogPosition,
    MarketRules,
    Order,
    OrderAccepted,
    OrderRefused,
    Quality,
    Refusal,
    RegisterReading,
    Side,
    SignedOrder,
)
from node.ports import IntentState, Market, MeterStorage
from node.slots import slot_start_s
from node.store import NodeDatabase
from simulations.watched import WatchedDatabase
from tests.support.chain_street import chain_street
from tests.support.reference_street import (
    EXPORT_WH,
    HOME,
    IMPORT_WH,
    LOAD_WH,
    SLOT,
    START_S,
    Street,
    meter_of,
    node_of,
)
from tests.support.set_clock import SetClock, StampedMeter

TRADED = [
    (slot, side, energy_wh)
    for slot, energies in enumerate(zip(EXPORT_WH, IMPORT_WH, strict=True))
    for side, energy_wh in zip(Side, energies, strict=True)
    if energy_wh
]


@pytest.fixture
def street() -> Street:
    return Street(ManualClock(START_S))


def sums(storage: NodeDatabase) -> tuple[int, int]:
    totals = storage.totals()
    return totals.import_wh, totals.export_wh


def qualities(storage: NodeDatabase) -> list[Quality | None]:
    energies = [storage.slot_energy(SLOT + at) for at in range(len(LOAD_WH))]
    return [None if energy is None else energy.quality for energy in energies]


@dataclass(slots=True)
class Flaky:
    """A market in which each call may fail, before it has had its effect or after."""

    market: Market
    before: Callable[[str], None] = lambda _call: None
    after: Callable[[str], None] = lambda _call: None
    calls: list[str] = field(default_factory=list)

    def _passes(self, call: str) -> None:
        self.calls.append(call)
        self.before(call)

    async def rules_at(self, slot: int) -> MarketRules:
        self._passes("rules")
        return await self.market.rules_at(slot)

    async def submit(self, signed: SignedOrder) -> None:
        self._passes("submit")
        await self.market.submit(signed)
        self.after("submit")

    async def clear(self, slot: int) -> None:
        self._passes("clear")
        await self.market.clear(slot)

    async def events_after(self, position: LogPosition, household: int) -> EventPage:
        self._passes("events")
        return await self.market.events_after(position, household)


class ReluctantMeter:
    """Says nothing in a span of time, and remembers afterwards what it was."""

    def __init__(self, clock: ManualClock, from_s: int, to_s: int) -> None:
        self._meter = meter_of(clock)
        self._clock, self._from_s, self._to_s = clock, from_s, to_s

    async def read(self) -> RegisterReading:
        return await self.read_at(self._clock.now_s())

    async def read_at(self, instant_s: int) -> RegisterReading:
        if self._from_s <= self._clock.now_s() < self._to_s:
            raise MeterSilent("no frame")
        return await self._meter.read_at(instant_s)

    def keep(self, storage: MeterStorage) -> None:
        pass


# Gates


@pytest.mark.parametrize("gate_s", [900, 2_000, 5_000])
def test_gates_may_be_longer_than_a_slot(gate_s: int) -> None:
    rules = MarketRules(gate_s=gate_s)
    street = Street(ManualClock(START_S), rules)
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage)
        asyncio.run(node.run(slots=len(LOAD_WH)))
        assert street.accepted() == TRADED
        assert node.counters.slots_cleared_here == len(TRADED)
        assert storage.open_intents() == []
        assert node.status().troubles == []


def test_a_gate_that_opens_later_is_waited_for() -> None:
    street = Street(ManualClock(START_S), MarketRules(gate_offset_s=1_800))
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage)
        asyncio.run(node.run(slots=len(LOAD_WH)))
        assert street.accepted() == TRADED
        assert node.counters.orders_late == 0


# A meter that is silent


def test_a_silent_meter_holds_up_its_own_steps_only(street: Street) -> None:
    """Slots that end meanwhile are closed when it speaks again, each at its own end."""
    meter = ReluctantMeter(street.clock, START_S + 1_700, START_S + 2_850)
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage, meter=meter)
        asyncio.run(node.run(slots=len(LOAD_WH)))
        assert qualities(storage) == [Quality.METERED] * len(LOAD_WH)
        assert sums(storage) == (sum(IMPORT_WH), sum(EXPORT_WH))
        late = [slot for slot, _, _ in TRADED if slot not in {s for s, _, _ in street.accepted()}]
        assert late == [1]  # its gate closed meanwhile; that of slot 2 was still open
        assert node.counters.orders_late == 1
        assert node.status().troubles == []
        assert 0 < node.status().steps_failed < 30


def test_a_meter_that_is_silent_at_the_start_is_waited_for(street: Street) -> None:
    meter = ReluctantMeter(street.clock, START_S, START_S + 950)
    with NodeDatabase.open(None) as storage:
        asyncio.run(node_of(street, storage, meter=meter).run(slots=3))
        first = storage.last_readings(9)[0]
        assert first.taken_at_s >= START_S + 950
        assert storage.slot_energy(SLOT) is None
        assert storage.slot_energy(SLOT + 1) is not None


def test_trouble_is_told_once_and_so_is_its_end(
    street: Street, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "daisee.node")
    meter = ReluctantMeter(street.clock, START_S + 1_700, START_S + 3_000)
    with NodeDatabase.open(None) as storage:
        asyncio.run(node_of(street, storage, meter=meter).run(slots=4))
    told = [record.message for record in caplog.records if "step=close" in record.message]
    assert told == [
        "fails step=close kind=MeterSilent no frame",
        f"works_again step=close since_s={START_S + 1_800}",
    ]


def test_a_replaced_meter_goes_on_with_its_owners_word(street: Street) -> None:
    """The source has the totals go on from the old meter's: one slot is an estimate."""

    class Replaced(ReluctantMeter):
        async def read_at(self, instant_s: int) -> RegisterReading:
            reading = await super().read_at(instant_s)
            is_new = instant_s > START_S + 2_000
            return replace(reading, meter_id="m2", continues="m1") if is_new else reading

    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage, meter=Replaced(street.clock, 0, 0))
        asyncio.run(node.run(slots=len(LOAD_WH)))
        estimated = [at for at, q in enumerate(qualities(storage)) if q is Quality.ESTIMATED]
        assert estimated == [2]
        assert sums(storage) == (sum(IMPORT_WH), sum(EXPORT_WH))
        assert node.status().troubles == []


# A chain that is away


def test_an_order_goes_out_as_soon_as_the_chain_is_back(street: Street) -> None:
    back_s = START_S + 900 + 100

    def away(_call: str) -> None:
        if START_S + 900 <= street.clock.now_s() < back_s:
            raise ChainUnreachable("no answer")

    market = Flaky(street, before=away)
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage, market=market)
        asyncio.run(node.run(slots=2))
        assert street.accepted() == TRADED[:2]
        assert node.counters.orders_late == node.counters.orders_resent == 0
        status = node.status()
        assert status.chain_reachable
        assert back_s <= status.chain_since_s < back_s + 120


@pytest.mark.parametrize("failures", [1, 3])
def test_an_answer_that_is_lost_makes_no_second_order(street: Street, failures: int) -> None:
    """The order arrived; before anything goes out again, the chain is asked."""
    left = [failures]

    def lost(_call: str) -> None:
        if left[0]:
            left[0] -= 1
            raise ChainUnreachable("connection reset")

    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage, market=Flaky(street, after=lost))
        asyncio.run(node.run(slots=len(LOAD_WH)))
        assert street.accepted() == TRADED
        assert len(street.sent) == len(TRADED)
        assert node.counters.orders_resent == 0


def test_a_chain_that_stays_away_costs_the_order_and_nothing_else(street: Street) -> None:
    """Late is refused here: nothing is sent when the gate has closed."""

    def away(_call: str) -> None:
        if START_S + 900 <= street.clock.now_s() < START_S + 2_000:
            raise ChainUnreachable("no answer")

    market = Flaky(street, before=away)
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage, market=market)
        asyncio.run(node.run(slots=len(LOAD_WH)))
        assert [slot for slot, _, _ in street.accepted()] == [s for s, _, _ in TRADED[1:]]
        assert sums(storage) == (sum(IMPORT_WH), sum(EXPORT_WH))
        assert node.counters.orders_late == 1
    during = market.calls.count("rules") + market.calls.count("events")
    assert during < 150


def test_what_only_a_person_can_mend_is_shown_and_stops_no_other_step(street: Street) -> None:
    def differs(call: str) -> None:
        if call == "events":
            raise Disagreement("two records of one fact differ", next_step="run daisee audit")

    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage, market=Flaky(street, before=differs))
        asyncio.run(node.run(slots=4))
        assert sums(storage) == (sum(IMPORT_WH[:4]), sum(EXPORT_WH[:4]))
        assert [signed.order.slot - SLOT for signed in street.sent] == [0, 1, 2]
        status = node.status()
        assert {trouble.kind for trouble in status.troubles} == {"Disagreement"}
        assert status.troubles[0].next_step == "run daisee audit"
        assert status.chain_reachable


def test_a_gate_that_the_chain_calls_open_is_cleared_a_little_later(street: Street) -> None:
    early = [True]

    def too_early(call: str) -> None:
        if call == "clear" and early[0]:
            early[0] = False
            raise Refused("not yet", reason="gate_still_open")

    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage, market=Flaky(street, before=too_early))
        asyncio.run(node.run(slots=1))
        assert node.counters.slots_cleared_here == 1
        assert [cleared.slot for cleared in storage.recent_clearings(3)] == [SLOT]


def test_what_could_not_be_sent_goes_out_a_second_later(street: Street) -> None:
    """Not only with a quarter of the gate left."""
    sent_at_s: list[int] = []
    left = [2]

    def fails(call: str) -> None:
        if call == "submit" and left[0]:
            left[0] -= 1
            raise ChainUnreachable("connection refused")

    street.after_submit = lambda _: sent_at_s.append(street.clock.now_s())
    with NodeDatabase.open(None) as storage:
        asyncio.run(node_of(street, storage, market=Flaky(street, before=fails)).run(slots=1))
    assert len(sent_at_s) == 1
    assert sent_at_s[0] <= START_S + 900 + 5


def test_events_that_are_told_twice_count_once(street: Street) -> None:
    class Twice(Flaky):
        async def events_after(self, position: LogPosition, household: int) -> EventPage:
            page = await super().events_after(position, household)
            return EventPage([event for event in page.events for _ in range(2)], page.upto)

    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage, market=Twice(street))
        asyncio.run(node.run(slots=len(LOAD_WH)))
        assert node.counters.orders_accepted == len(TRADED)


# A disk that is full


def busy_at(point: str, times: int) -> Callable[[str], None]:
    left = [times]

    def passing(passed: str) -> None:
        if passed == point and left[0]:
            left[0] -= 1
            raise StorageBusy("the disk is full")

    return passing


@pytest.mark.parametrize("kept", ["the slot is", "the order is", "events are"])
def test_a_full_disk_is_waited_for_and_nothing_is_sent_before_it_is_kept(
    street: Street, kept: str
) -> None:
    with WatchedDatabase.watched(None, busy_at(f"before {kept} kept", 4)) as storage:
        node = node_of(street, storage)
        street.before_submit = lambda signed: _is_kept(storage, signed)
        asyncio.run(node.run(slots=len(LOAD_WH)))
        assert street.accepted() == TRADED
        assert sums(storage) == (sum(IMPORT_WH), sum(EXPORT_WH))
        assert node.status().troubles == []
        assert node.status().steps_failed >= 4
        assert node.counters.orders_accepted == len(TRADED)


def _is_kept(storage: NodeDatabase, signed: SignedOrder) -> None:
    assert storage.intent(signed.order.slot, signed.order.side) == signed


def test_what_was_not_kept_was_not_learned(street: Street) -> None:
    """A projection that the disk refused is made again, and teaches a strategy only once."""
    seen: list[tuple[int, Side]] = []

    class Attentive(FixedReserve):
        def limit_price(self, side: Side, view: MarketView) -> int:
            seen[:] = [(outcome.slot, outcome.side) for outcome in view.own]
            return super().limit_price(side, view)

    with WatchedDatabase.watched(None, busy_at("before events are kept", 40)) as storage:
        asyncio.run(node_of(street, storage, strategy=Attentive()).run(slots=len(LOAD_WH)))
    assert len(seen) > 1
    assert len(set(seen)) == len(seen)


# Clocks


@pytest.mark.parametrize("ahead_s", [3, 200, 3_600, 86_400 * 365, -200, -3_600])
def test_a_clock_that_is_set_loses_no_wh_and_orders_nothing_twice(
    street: Street, ahead_s: int
) -> None:
    clock = SetClock(street.clock, ahead_s, START_S + 2_000)
    with NodeDatabase.open(None) as storage:
        meter = StampedMeter(street.clock, clock)
        node = node_of(street, storage, meter=meter, clock=clock)
        asyncio.run(node.run(slots=len(LOAD_WH)))
        later = node_of(street, storage, meter=meter, clock=clock)
        asyncio.run(later.run(slots=12))
        readings = storage.last_readings(10**6)
        first, last = readings[0], readings[-1]
        assert sums(storage) == (
            last.import_wh - first.import_wh,
            last.export_wh - first.export_wh,
        )
        accepted = street.accepted()
        assert len({(slot, side) for slot, side, _ in accepted}) == len(accepted)
        for slot, side, energy_wh in accepted:
            energy = storage.slot_energy(SLOT + slot)
            assert energy is not None
            assert energy.quality is Quality.METERED
            assert energy_wh == (energy.import_wh if side is Side.BID else energy.export_wh)
        assert later.status().troubles == []
        assert node.status().clock_set_back == (1 if ahead_s > 90 else 0)


def test_a_clock_that_was_ahead_when_the_node_stopped_is_noticed(street: Street) -> None:
    with NodeDatabase.open(None) as storage:
        ahead = SetClock(street.clock, 1_800, 2**40)
        asyncio.run(node_of(street, storage, clock=ahead).run(slots=1))
        assert storage.last_readings(1)[0].taken_at_s == START_S + 2_700
        asyncio.run(node_of(street, storage).run(slots=4))
        metered, estimated = Quality.METERED, Quality.ESTIMATED
        kept = [reading.quality for reading in storage.last_readings(9)]
        assert kept == [metered] * 4 + [estimated] + [metered] * 2
        next_slot = storage.slot_energy(SLOT + 3)
        assert next_slot is not None
        assert next_slot.quality is estimated


# Away


def test_a_long_absence_is_closed_in_bounds(
    tmp_path: Path, street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies farther back than the bound is in the oldest slot closed, as an estimate."""
    monkeypatch.setattr(daemon_module, "MISSED_SLOTS", 3)
    monkeypatch.setattr(daemon_module, "CLOSED_AT_ONCE", 2)
    path = tmp_path / "node.sqlite"
    with NodeDatabase.open(path) as storage:
        asyncio.run(node_of(street, storage).run(slots=1))
    street.clock.advance_to(slot_start_s(SLOT + 7, 900) + 10)
    with NodeDatabase.open(path) as storage:
        node = node_of(street, storage)
        asyncio.run(node.run(slots=1))
        metered, estimated = Quality.METERED, Quality.ESTIMATED
        assert qualities(storage) == [
            metered,
            None,
            None,
            None,
            estimated,
            metered,
            metered,
            metered,
        ]
        assert sums(storage) == (sum(IMPORT_WH), sum(EXPORT_WH))


def test_the_status_tells_where_the_node_stands(street: Street) -> None:
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage)
        before = node.status()
        assert (before.household, before.slot, before.last_energy) == (HOME, SLOT, None)
        asyncio.run(node.run(slots=1))
        status = node.status()
        assert status.last_energy == storage.slot_energy(SLOT)
        assert status.last_order == street.sent[0].order
        assert status.cursor == storage.cursor()
        assert status.counters == node.counters
        assert status.counters is not node.counters
        assert status.looks > before.looks == 0
        assert status.since_s == START_S


# Keys


def test_a_changed_key_signs_the_same_order_anew_and_only_then() -> None:
    """The owner names another signer while an order is on its way: on the contracts."""

    async def lived(*, is_named: bool) -> tuple[list[OrderAccepted], list[SignedOrder]]:
        async with chain_street(LOAD_WH, PV) as chain:
            anew = chain.signer(1, Key(b"n" * 32))
            with NodeDatabase.open(None) as storage:
                node = chain.node(storage)
                await node.start()
                await chain.clock.sleep_until(START_S + 900)
                cut = Flaky(chain.market(), before=_unreachable)
                node = chain.node(storage, market=cut)
                with pytest.raises(ChainUnreachable):
                    await node.order_slot(*await node.close_slot(SLOT))
                if is_named:
                    owner = Sender(chain.chain.rpc, chain.keys[0], gas_price=chain.chain.gas_price)
                    new = Key(b"n" * 32).address
                    registry = chain.deployment.registry
                    await owner.send(registry, REGISTRY, "nameSigner", 1, new)
                again = chain.node(storage, signer=anew)
                await again.run(slots=1)
                accepted = [event for event in await chain.accepted() if event.slot == SLOT]
                kept = [storage.intent(SLOT, side) for side in Side]
                return accepted, [signed for signed in kept if signed is not None]

    def _unreachable(call: str) -> None:
        if call == "submit":
            raise ChainUnreachable("no answer")

    signatures = []
    for is_named in (False, True):
        accepted, kept = asyncio.run(lived(is_named=is_named))
        assert [event.energy_wh for event in accepted] == [LOAD_WH[0]]
        assert [signed.order.energy_wh for signed in kept] == [LOAD_WH[0]]
        signatures.append(kept[0].signature)
    assert signatures[0] != signatures[1]


def test_a_forged_refusal_has_nothing_signed_anew(street: Street) -> None:
    class SameBytes:
        def sign(self, order: Order) -> bytes:
            return order.slot.to_bytes(64)

    forged = OrderRefused(LogPosition(10_000, 0), SLOT, HOME, Side.BID, Refusal.WRONG_SIGNATURE)
    street.market.withdraw(HOME, street.market.balance_units(HOME))
    street.after_submit = lambda _: street.events.append(forged)
    with NodeDatabase.open(None) as storage:
        asyncio.run(node_of(street, storage, signer=SameBytes()).run(slots=1))
        assert len(street.sent) > 1
        assert len(set(street.sent)) == 1
        assert [trade.state for trade in storage.own_trades()] == [IntentState.EXPIRED]


PV = (0,) * len(LOAD_WH)
