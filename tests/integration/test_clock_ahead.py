"""A clock that was ahead closes slots before they end: what it metered then is not their energy,
and nothing of it may be traded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.clock import Clock, ManualClock
from node.daemon import HouseholdNode
from node.errors import StorageBusy
from node.model import MarketRules, Quality, Side
from node.ports import IntentState
from node.store import NodeDatabase
from simulations.watched import PowerCut, WatchedDatabase
from tests.support.reference_street import (
    EXPORT_WH,
    IMPORT_WH,
    LOAD_WH,
    RULES,
    SLOT,
    START_S,
    Street,
    node_of,
)
from tests.support.set_clock import SetClock, StampedMeter

SLOT_S = RULES.slot_s
NEVER_S = 2**40


class Cut:
    """A clock until the power goes, at an instant of the street's."""

    def __init__(self, clock: Clock, street: ManualClock, cut_s: int) -> None:
        self._clock, self._street, self._cut_s = clock, street, cut_s

    def now_s(self) -> int:
        return self._clock.now_s()

    async def sleep_until(self, unix_s: int) -> None:
        await self._clock.sleep_until(unix_s)
        if self._street.now_s() >= self._cut_s:
            raise PowerCut("between two looks at the clock")


def true_wh(slot: int, side: Side) -> int:
    """What crossed the meter in a slot, whatever any clock said."""
    if not 0 <= slot < len(LOAD_WH):
        return 0
    return (EXPORT_WH if side is Side.ASK else IMPORT_WH)[slot]


@pytest.fixture
def street() -> Street:
    return Street(ManualClock(START_S))


def stamped(street: Street, storage: NodeDatabase, clock: Clock) -> HouseholdNode:
    return node_of(street, storage, meter=StampedMeter(street.clock, clock), clock=clock)


def live_to(street: Street, node: HouseholdNode, clock: Clock, slot: int) -> None:
    """Until the end of a slot by the street's own clock; the node's may be another."""
    ahead = (clock.now_s() - street.clock.now_s()) // SLOT_S
    left = SLOT + slot + 1 + ahead - clock.now_s() // SLOT_S
    asyncio.run(node.run(slots=max(left, 0)))


def check(street: Street, storage: NodeDatabase) -> None:
    """Every accepted order is the true energy of its slot, and the house stands by it."""
    for slot, side, energy_wh in street.accepted():
        assert energy_wh == true_wh(slot, side), f"slot {slot}"
        energy = storage.slot_energy(SLOT + slot)
        assert energy is not None
        assert energy.quality is Quality.METERED
        assert energy_wh == (energy.import_wh if side is Side.BID else energy.export_wh)
    assert storage.open_intents() == []


def check_sums(storage: NodeDatabase) -> None:
    """No Wh is lost or made by it."""
    readings, totals = storage.last_readings(10**6), storage.totals()
    first, last = readings[0], readings[-1]
    assert totals.import_wh == last.import_wh - first.import_wh
    assert totals.export_wh == last.export_wh - first.export_wh


@settings(max_examples=60, deadline=None)
@given(ahead_s=st.integers(RULES.gate_s, 6 * SLOT_S), set_after_s=st.integers(1, 5 * SLOT_S))
def test_what_a_clock_closed_too_early_is_never_ordered(ahead_s: int, set_after_s: int) -> None:
    """From a gate's length on the chain takes nothing while the clock is ahead; nor does it later,
    in whatever gate the clock is set right."""
    street = Street(ManualClock(START_S))
    clock = SetClock(street.clock, ahead_s, START_S + set_after_s)
    with NodeDatabase.open(None) as storage:
        live_to(street, stamped(street, storage, clock), clock, 2 * len(LOAD_WH))
        check(street, storage)
        check_sums(storage)


@settings(max_examples=60, deadline=None)
@given(
    ahead_s=st.integers(SLOT_S + SLOT_S // 10 + 1, 6 * SLOT_S),
    stops_after_s=st.integers(1, 4 * SLOT_S),
)
def test_a_node_that_starts_with_the_right_clock_orders_none_of_it(
    ahead_s: int, stops_after_s: int
) -> None:
    """The power goes while the clock is ahead by over a slot; it is right at the next start."""
    street = Street(ManualClock(START_S))
    ahead = SetClock(street.clock, ahead_s, NEVER_S)
    cut_s = START_S + stops_after_s
    with NodeDatabase.open(None) as storage:
        with pytest.raises(PowerCut):
            asyncio.run(stamped(street, storage, Cut(ahead, street.clock, cut_s)).run())
        for _ in range(2):  # and the second start knows as much as the first
            live_to(street, stamped(street, storage, street.clock), street.clock, len(LOAD_WH) + 8)
        check(street, storage)
        check_sums(storage)


def test_what_is_given_up_is_told_with_its_reason(
    street: Street, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SetClock(street.clock, 900, START_S + 1_000)
    with NodeDatabase.open(None) as storage:
        node = stamped(street, storage, clock)
        live_to(street, node, clock, 3)
        trade = storage.own_trades()[0]
        assert trade.order.slot == SLOT + 1
        assert (trade.state, trade.reason) == (IntentState.EXPIRED, "clock_ahead")
        assert node.counters.orders_given_up == 1
    assert f"given_up slot={SLOT + 1} side=bid reason=clock_ahead" in caplog.text


def test_a_full_disk_holds_up_every_step_until_the_doubt_is_kept(street: Street) -> None:
    """Nothing of a doubtful order leaves the house, not even before the database could say so."""
    clock = SetClock(street.clock, 900, START_S + 1_000)
    refused: list[str] = []

    def busy(point: str) -> None:
        is_full = START_S + 1_000 <= street.clock.now_s() < START_S + 1_850
        if is_full and point == "before an order's state is kept":
            refused.append(point)
            raise StorageBusy("the disk is full")

    with WatchedDatabase.watched(None, busy) as storage:
        node = stamped(street, storage, clock)
        live_to(street, node, clock, len(LOAD_WH))
        assert len(refused) > 1
        assert node.status().troubles == []
        check(street, storage)
        check_sums(storage)


def test_what_waits_for_its_gate_when_the_clock_is_set_never_gets_there(tmp_path: Path) -> None:
    """Not signed yet, and not signed after a restart either."""
    street = Street(ManualClock(START_S), MarketRules(gate_offset_s=1_800))
    clock = SetClock(street.clock, 3_600, START_S + 2_000)
    path = tmp_path / "node.sqlite"
    with NodeDatabase.open(path) as storage:
        live_to(street, stamped(street, storage, clock), clock, 3)
    with NodeDatabase.open(path) as storage:
        live_to(street, stamped(street, storage, street.clock), street.clock, 12)
        check(street, storage)
        check_sums(storage)
