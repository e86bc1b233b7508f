"""A household's node lives through slots on the reference market: restarts, gaps, forgeries.

What is under test is the daemon's own class. The clock jumps, the meter replays, the market is the
reference, and the database is a file where a restart needs one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

import pytest

from node.clock import ManualClock
from node.daemon import HouseholdNode
from node.errors import MeterError, Refused
from node.market.strategies import FixedReserve
from node.model import (
    LogPosition,
    Order,
    OrderAccepted,
    OrderRefused,
    OrderSettled,
    Quality,
    Refusal,
    RegisterReading,
    Side,
    SignedOrder,
)
from node.ports import IntentState, MeterStorage
from node.slots import slot_start_s
from node.store import NodeDatabase
from node.store.node_rows import OwnTrade
from tests.support.reference_street import (
    CREDIT,
    EXPORT_WH,
    HOME,
    IMPORT_WH,
    LOAD_WH,
    RULES,
    SLOT,
    START_S,
    Signer,
    Street,
    meter_of,
    node_of,
)


class Stopped(Exception):
    """The power went."""


@pytest.fixture
def street() -> Street:
    return Street(ManualClock(START_S))


def lived(street: Street, storage: NodeDatabase, slots: int) -> HouseholdNode:
    node = node_of(street, storage)
    asyncio.run(node.run(slots=slots))
    return node


def states(storage: NodeDatabase) -> list[tuple[int, IntentState, str]]:
    return [(t.order.slot - SLOT, t.state, t.reason) for t in storage.own_trades()]


def run(*steps: Awaitable[object]) -> None:
    async def one_after_the_other() -> None:
        for step in steps:
            await step

    asyncio.run(one_after_the_other())


# A day like any other


def test_what_is_metered_is_ordered_traded_and_known_at_home(street: Street) -> None:
    with NodeDatabase.open(None) as storage:
        node = lived(street, storage, len(LOAD_WH))
        assert street.accepted() == [
            (slot, side, energy_wh)
            for slot, energies in enumerate(zip(EXPORT_WH, IMPORT_WH, strict=True))
            for side, energy_wh in zip(Side, energies, strict=True)
            if energy_wh
        ]
        energies = [storage.slot_energy(SLOT + i) for i in range(len(LOAD_WH))]
        assert [(e.import_wh, e.export_wh) for e in energies if e] == list(
            zip(IMPORT_WH, EXPORT_WH, strict=True)
        )
        assert {e.quality for e in energies if e} == {Quality.METERED}
        assert node.counters.orders_sent == node.counters.orders_accepted == 6
        assert node.counters.slots_cleared_here == 6
        assert node.counters.orders_late == node.counters.orders_resent == 0
        # The last order settles with the next one; those before have.
        settled = [trade for trade in storage.own_trades() if trade.settled is not None]
        assert len(settled) == 5
        assert all(trade.settled.filled_wh == trade.order.energy_wh for trade in settled)  # type: ignore[union-attr] # filtered above


def test_each_order_commits_to_the_readings_at_both_ends(street: Street) -> None:
    with NodeDatabase.open(None) as storage:
        lived(street, storage, len(LOAD_WH))
    evidence = [signed.order.evidence for signed in street.sent]
    assert len(set(evidence)) == len(evidence)
    assert all(len(commitment) == 32 and any(commitment) for commitment in evidence)


def test_an_idle_slot_sends_nothing(street: Street) -> None:
    with NodeDatabase.open(None) as storage:
        lived(street, storage, 4)
    assert [signed.order.slot - SLOT for signed in street.sent] == [0, 1, 2]


def test_a_node_begins_in_the_middle_of_a_slot(street: Street) -> None:
    """It answers for energy from its first reading on, and for none before."""
    street.clock.advance_to(START_S + 1_000)
    with NodeDatabase.open(None) as storage:
        lived(street, storage, 2)
        first, second = storage.slot_energy(SLOT + 1), storage.slot_energy(SLOT + 2)
        assert storage.slot_energy(SLOT) is None
        assert first is not None
        assert second is not None
        assert (first.export_wh, second.export_wh) == (150, 500)


# Restarts


@pytest.mark.parametrize("stop_at", range(6))
@pytest.mark.parametrize("sent", [False, True], ids=["before sending", "after sending"])
def test_a_restart_makes_no_second_order_and_loses_none_in_time(
    tmp_path: Path, street: Street, stop_at: int, *, sent: bool
) -> None:
    """The power goes as the n-th order is sent; the node comes back within the gate."""

    def stop(signed: SignedOrder) -> None:
        if len(street.sent) == stop_at + sent and (not sent or signed == street.sent[-1]):
            street.before_submit = street.after_submit = lambda _: None
            raise Stopped

    if sent:
        street.after_submit = stop
    else:
        street.before_submit = stop
    path = tmp_path / "node.sqlite"
    with NodeDatabase.open(path) as storage, pytest.raises(Stopped):
        lived(street, storage, len(LOAD_WH))
    made = Signer.made
    with NodeDatabase.open(path) as storage:
        ((kept, state),) = storage.open_intents()
        assert state is IntentState.PENDING
        street.clock.advance_to(street.clock.now_s() + 60)
        end = SLOT + len(LOAD_WH)
        node = node_of(street, storage)
        run(node.run(slots=end - street.clock.now_s() // 900), node.follow())
        assert storage.open_intents() == []
        assert [state for _, state, _ in states(storage)] == [IntentState.ACCEPTED] * 6
    assert len(street.accepted()) == 6
    # What had arrived was not sent again; what had not, went out as the very bytes that were kept.
    assert len(street.sent) == 6
    assert street.sent[stop_at] == kept
    assert Signer.made == made + 6 - (stop_at + 1)


def test_a_node_that_comes_back_after_the_gate_gives_the_order_up(
    tmp_path: Path, street: Street
) -> None:
    def stop(_: SignedOrder) -> None:
        street.before_submit = lambda _: None
        raise Stopped

    street.before_submit = stop
    path = tmp_path / "node.sqlite"
    with NodeDatabase.open(path) as storage, pytest.raises(Stopped):
        lived(street, storage, 2)
    street.clock.advance_to(RULES.gate_closes_s(SLOT))
    with NodeDatabase.open(path) as storage:
        node = lived(street, storage, 1)
        assert states(storage)[0] == (0, IntentState.EXPIRED, "not_heard_of")
        assert node.counters.orders_given_up == 1
        assert node.counters.orders_resent == 0
    assert all(signed.order.slot > SLOT for signed in street.sent)


def test_the_same_slot_ordered_again_is_the_same_bytes(tmp_path: Path, street: Street) -> None:
    """Even where a strategy would now ask for another price."""
    path = tmp_path / "node.sqlite"
    with NodeDatabase.open(path) as storage:
        node = node_of(street, storage)
        asyncio.run(node.start())
        street.clock.advance_to(START_S + 900)
        energy, evidence = asyncio.run(node.close_slot(SLOT))
        asyncio.run(node.order_slot(energy, evidence))
    with NodeDatabase.open(path) as storage:
        again = node_of(street, storage, strategy=FixedReserve(bid_price=9_000))
        asyncio.run(again.order_slot(energy, evidence))
        run(again.follow())
        assert [state for _, state, _ in states(storage)] == [IntentState.ACCEPTED]
    first, second = street.sent
    assert first == second
    assert len(street.accepted()) == 1


def test_a_restarted_node_has_the_same_past_to_learn_from(tmp_path: Path) -> None:
    """Cut in two anywhere, a run trades as if it had never stopped."""
    straight = Street(ManualClock(START_S))
    with NodeDatabase.open(None) as storage:
        lived(straight, storage, len(LOAD_WH))
        whole = list(storage.own_trades())
    for cut in range(1, len(LOAD_WH)):
        street = Street(ManualClock(START_S))
        path = tmp_path / f"{cut}.sqlite"
        with NodeDatabase.open(path) as storage:
            lived(street, storage, cut)
        with NodeDatabase.open(path) as storage:
            lived(street, storage, len(LOAD_WH) - cut)
            parts = list(storage.own_trades())
        assert [_fact(trade) for trade in parts] == [_fact(trade) for trade in whole]


def _fact(trade: OwnTrade) -> tuple[object, ...]:
    filled_wh = trade.settled and trade.settled.filled_wh
    return trade.order, trade.state, trade.cleared and trade.cleared.price, filled_wh


# Late, gaps, meters


def test_late_is_refused_here_and_counted(street: Street) -> None:
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage)
        asyncio.run(node.start())
        street.clock.advance_to(START_S + 900)
        energy, evidence = asyncio.run(node.close_slot(SLOT))
        street.clock.advance_to(RULES.gate_closes_s(SLOT))
        asyncio.run(node.order_slot(energy, evidence))
        assert node.counters.orders_late == 1
        assert storage.own_trades() == []
    assert street.sent == []


@pytest.mark.parametrize("away_slots", [1, 3])
def test_slots_missed_while_away_are_closed_at_their_own_ends(
    tmp_path: Path, street: Street, away_slots: int
) -> None:
    """A meter that still knows its past leaves no gap; only the gates that closed are lost."""
    path = tmp_path / "node.sqlite"
    with NodeDatabase.open(path) as storage:
        lived(street, storage, 2)
    back = SLOT + 2 + away_slots
    street.clock.advance_to(slot_start_s(back, 900) + 450)
    with NodeDatabase.open(path) as storage:
        node = lived(street, storage, len(LOAD_WH) - 2 - away_slots)
        energies = [storage.slot_energy(SLOT + i) for i in range(len(LOAD_WH))]
        assert [(e.import_wh, e.export_wh, e.quality) for e in energies if e] == [
            (import_wh, export_wh, Quality.METERED)
            for import_wh, export_wh in zip(IMPORT_WH, EXPORT_WH, strict=True)
        ]
        assert node.counters.orders_late == away_slots
    ordered = {signed.order.slot for signed in street.sent}
    assert not ordered & set(range(SLOT + 2, back))
    assert any(slot >= back for slot in ordered)


class ForgetfulMeter:
    """Can tell nothing of the time before an instant; its registers go on as they are."""

    def __init__(self, clock: ManualClock, knows_from_s: int) -> None:
        self._meter, self._knows_from_s = meter_of(clock), knows_from_s

    async def read(self) -> RegisterReading:
        return await self._meter.read()

    async def read_at(self, instant_s: int) -> RegisterReading:
        if instant_s < self._knows_from_s:
            raise MeterError("that was before everything that is known")
        return await self._meter.read_at(instant_s)

    def keep(self, storage: MeterStorage) -> None:
        pass


@pytest.mark.parametrize("away_slots", [1, 3])
def test_a_gap_that_nobody_can_split_is_kept_whole_marked_and_not_ordered(
    tmp_path: Path, street: Street, away_slots: int
) -> None:
    path = tmp_path / "node.sqlite"
    with NodeDatabase.open(path) as storage:
        lived(street, storage, 2)
    back = SLOT + 2 + away_slots
    back_s = slot_start_s(back, 900) + 450
    street.clock.advance_to(back_s)
    with NodeDatabase.open(path) as storage:
        node = node_of(street, storage, meter=ForgetfulMeter(street.clock, back_s))
        asyncio.run(node.run(slots=len(LOAD_WH) - 2 - away_slots))
        gap = storage.slot_energy(back)
        assert gap is not None
        assert gap.quality is Quality.ESTIMATED
        assert gap.import_wh == sum(IMPORT_WH[2 : 3 + away_slots])
        assert gap.export_wh == sum(EXPORT_WH[2 : 3 + away_slots])
        assert [storage.slot_energy(slot) for slot in range(SLOT + 2, back)] == [None] * away_slots
        totals = storage.totals()
        assert (totals.import_wh, totals.export_wh) == (sum(IMPORT_WH), sum(EXPORT_WH))
        assert node.counters.slots_estimated == 1
    ordered = {signed.order.slot for signed in street.sent}
    assert not ordered & set(range(SLOT + 2, back + 1))
    assert any(slot > back for slot in ordered)


class SwappedMeter:
    """One meter until an instant, then another with registers of its own."""

    def __init__(self, clock: ManualClock, swap_s: int) -> None:
        self._clock, self._swap_s = clock, swap_s
        self._old = meter_of(clock)
        self._new = meter_of(clock, "m2", initial_import_wh=70_000)

    async def read(self) -> RegisterReading:
        return await self.read_at(self._clock.now_s())

    async def read_at(self, instant_s: int) -> RegisterReading:
        return await (self._new if instant_s >= self._swap_s else self._old).read_at(instant_s)

    def keep(self, storage: MeterStorage) -> None:
        pass


def test_a_swapped_meter_closes_no_slot_says_so_and_invents_nothing(street: Street) -> None:
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage, meter=SwappedMeter(street.clock, START_S + 2_000))
        asyncio.run(node.run(slots=5))
        (trouble,) = node.status().troubles
        assert trouble.kind == "MeterError"
        assert "begins on meter m1 and ends on meter m2" in trouble.message
        assert "confirm the meter swap" in trouble.next_step
        assert node.status().chain_reachable
        totals = storage.totals()
        assert (totals.import_wh, totals.export_wh) == (IMPORT_WH[0], EXPORT_WH[1])
        last = storage.last_reading()
        assert last is not None
        assert last.meter_id == "m1"
    assert [signed.order.slot - SLOT for signed in street.sent] == [0, 1]


# What others may do


def test_forged_refusals_do_not_end_an_order(street: Street) -> None:
    """Anybody can send an order in this household's name and have it refused by the market."""
    forged = [
        OrderRefused(LogPosition(10_000, i), SLOT, HOME, Side.BID, reason)
        for i, reason in enumerate(list(Refusal)[1:])
    ]
    street.neighbour_trades = False
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage)
        asyncio.run(node.start())
        street.clock.advance_to(START_S + 900)
        energy, evidence = asyncio.run(node.close_slot(SLOT))
        street.before_submit = lambda _: street.events.extend(forged)
        asyncio.run(node.order_slot(energy, evidence))
        accepted = [e for e in street.market.drain_events() if isinstance(e, OrderAccepted)]
        run(node.follow())  # the forgeries are all that it hears of
        ((_, state),) = storage.open_intents()
        assert state is IntentState.SENT
        late = replace(accepted[0], position=LogPosition(10_001, 0))
        street.events.append(late)
        run(node.follow())
        assert states(storage) == [(0, IntentState.ACCEPTED, "")]


def test_what_was_refused_for_credit_is_sent_again_and_taken(street: Street) -> None:
    """With a quarter of the gate left; meanwhile somebody has filled the account up."""
    street.market.withdraw(HOME, CREDIT)
    street.after_submit = lambda _: street.market.deposit(HOME, CREDIT)
    with NodeDatabase.open(None) as storage:
        node = lived(street, storage, 1)
        assert states(storage) == [(0, IntentState.ACCEPTED, "")]
        assert (node.counters.orders_sent, node.counters.orders_resent) == (1, 1)
    first, second = street.sent
    assert first == second


def test_an_order_that_stays_refused_ends_with_its_reason(street: Street) -> None:
    street.market.set_standing(HOME, active=False, signer_named=True)
    with NodeDatabase.open(None) as storage:
        node = lived(street, storage, 1)
        assert states(storage) == [(0, IntentState.EXPIRED, "suspended")]
        assert node.counters.orders_given_up == 1


def test_an_order_of_its_household_that_it_did_not_make_is_noticed(
    street: Street, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody else holds the key: the log says so."""
    other = Order(HOME, SLOT - 1, Side.BID, 5, RULES.grid.cap_price)
    street.market.submit(other, RULES.gate_opens_s(SLOT - 1))
    with NodeDatabase.open(None) as storage:
        lived(street, storage, 1)
    assert f"order_unknown_here slot={SLOT - 1} side=bid" in caplog.text


def test_somebody_else_may_have_cleared_the_slot(street: Street) -> None:
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage)
        asyncio.run(node.start())
        street.clock.advance_to(START_S + 900)
        energy, evidence = asyncio.run(node.close_slot(SLOT))
        asyncio.run(node.order_slot(energy, evidence))
        street.clock.advance_to(RULES.gate_closes_s(SLOT))
        street.market.clear(SLOT, street.clock.now_s())
        run(node.clear_slot(SLOT), node.clear_slot(SLOT + 50), node.follow())
        assert node.counters.slots_cleared_here == 0
        assert [cleared.slot for cleared in storage.recent_clearings(5)] == [SLOT]


def test_settlement_without_the_household_reaches_it(street: Street) -> None:
    with NodeDatabase.open(None) as storage:
        node = lived(street, storage, 1)
        street.market.settle(SLOT, [HOME], street.clock.now_s())
        run(node.follow())
        (trade,) = storage.own_trades()
        assert isinstance(trade.settled, OrderSettled)
        totals = storage.totals()
        assert totals.bought_wh == IMPORT_WH[0]
        assert street.market.balance_units(HOME) == CREDIT - totals.paid_units


def test_nobody_trades_before_the_gate_closes(street: Street) -> None:
    with NodeDatabase.open(None) as storage:
        lived(street, storage, 3)
    with pytest.raises(Refused):
        street.market.clear(SLOT, 2**40)  # each slot was cleared exactly once
