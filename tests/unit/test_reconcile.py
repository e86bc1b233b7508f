"""The operator's measure prevails: cuts, entries that sum to zero, and what they leave."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.billing.measures import DailyDifference, daily_differences
from node.billing.reconcile import (
    Account,
    Entry,
    Fill,
    Pending,
    Reason,
    Reconciliation,
    fills_of,
    reconcile,
    revised,
)
from node.billing.series import MISSING
from node.market.history import rebuild
from node.model import Order, Side, SlotEnergy
from tests.support.allocations import check_conservation
from tests.support.honest_market import FEE_RULES, SCARCE, SLOT, HonestMarket
from tests.support.official_curves import (
    FIRST_SLOT,
    SLOT_S,
    exactly,
    fills_of_book,
    market_allocation,
    measured_otherwise,
    official_curve,
    random_fills,
)

SEEDS = st.integers(0, 2**32)
STEPS = st.sampled_from((300, 900, 1_800, 3_600))
PARIS = ZoneInfo("Europe/Paris")


def traded(*orders: tuple[int, Side, int], slot: int = FIRST_SLOT, fee: int = 0) -> list[Fill]:
    return fills_of_book([Order(who, slot, side, wh, 10_000) for who, side, wh in orders], fee)


def corrected(found: Reconciliation) -> dict[tuple[int, int, Side], int]:
    return {
        (fill.slot - FIRST_SLOT, fill.household, fill.side): wh
        for fill, wh in zip(found.fills, found.corrected_wh, strict=True)
    }


def check_zero(entries: Iterable[Entry]) -> None:
    """Energy sums to zero for each household and slot, money for each slot."""
    energy_wh: Counter[tuple[int, int]] = Counter()
    amount_units: Counter[int] = Counter()
    for entry in entries:
        energy_wh[entry.slot, entry.household] += entry.energy_wh
        amount_units[entry.slot] += entry.amount_units
    assert not any(energy_wh.values())
    assert not any(amount_units.values())


@given(seed=SEEDS, step_s=STEPS)
def test_corrections_sum_to_zero_and_never_exceed_the_measure(seed: int, step_s: int) -> None:
    rng = random.Random(seed)
    fills = random_fills(rng, 8)
    official = measured_otherwise(rng, fills, 8, step_s)
    found = reconcile(fills, official, SLOT_S)
    check_zero(found.entries)
    by_period: Counter[tuple[int, int, Side]] = Counter()
    by_side: Counter[tuple[int, Side]] = Counter()
    period_s = max(step_s, SLOT_S)
    for fill, wh in zip(found.fills, found.corrected_wh, strict=True):
        assert 0 <= wh <= fill.filled_wh
        by_period[fill.slot * SLOT_S // period_s * period_s, fill.household, fill.side] += wh
        by_side[fill.slot, fill.side] += wh
    pending = {(item.start_s, item.household, item.side) for item in found.pending}
    for (start_s, household, side), wh in by_period.items():
        curve = official.get((household, side))
        if curve is None:
            assert any(item[1:] == (household, side) for item in pending)
        elif (start_s, household, side) not in pending:
            assert wh <= sum(curve.energy_wh_between(start_s, start_s + period_s))
    for slot, side in by_side:
        assert by_side[slot, side] == by_side[slot, Side(1 - side)]


@given(seed=SEEDS)
def test_entries_are_what_stands_between_the_chain_and_the_correction(seed: int) -> None:
    rng = random.Random(seed)
    fills = random_fills(rng, 4)
    found = reconcile(fills, measured_otherwise(rng, fills, 4, 1_800), SLOT_S)
    changes: Counter[tuple[int, int, Side]] = Counter()
    for entry in found.entries:
        if entry.account is Account.ALLOCATED:
            changes[entry.slot - FIRST_SLOT, entry.household, entry.side] += entry.energy_wh
    for fill, wh in zip(found.fills, found.corrected_wh, strict=True):
        assert changes[fill.slot - FIRST_SLOT, fill.household, fill.side] == wh - fill.filled_wh


@given(seed=SEEDS)
def test_a_later_measure_adds_entries_and_takes_none_back(seed: int) -> None:
    rng = random.Random(seed)
    fills = random_fills(rng, 4)
    first = reconcile(fills, measured_otherwise(rng, fills, 4, 1_800), SLOT_S).entries
    second = reconcile(fills, measured_otherwise(rng, fills, 4, 1_800), SLOT_S).entries
    more = revised(first, second)
    check_zero(more)
    assert revised((), (*first, *more)) == revised((), second)
    assert revised(first, first) == []


@given(seed=SEEDS)
def test_what_was_read_right_is_left_alone(seed: int) -> None:
    fills = random_fills(random.Random(seed), 4)
    found = reconcile(fills, exactly(fills, 4), SLOT_S)
    assert not found.entries
    assert not found.pending
    assert list(found.corrected_wh) == [fill.filled_wh for fill in found.fills]


@given(seed=SEEDS)
def test_the_order_of_fills_plays_no_part(seed: int) -> None:
    rng = random.Random(seed)
    fills = random_fills(rng, 4)
    official = measured_otherwise(rng, fills, 4, 1_800)
    shuffled = rng.sample(fills, len(fills))
    assert reconcile(shuffled, official, SLOT_S) == reconcile(fills, official, SLOT_S)


@given(seed=SEEDS, step_s=STEPS)
def test_the_corrected_market_allocates_the_official_curves(seed: int, step_s: int) -> None:
    rng = random.Random(seed)
    fills = random_fills(rng, 8)
    official = measured_otherwise(rng, fills, 8, step_s, absent=0)
    allocation = market_allocation(fills, official, 8, step_s)
    check_conservation(allocation)
    found = reconcile(fills, official, SLOT_S)
    left: Counter[tuple[Side, str, int]] = Counter()
    for fill, corrected_wh in zip(found.fills, found.corrected_wh, strict=True):
        step = (fill.slot - FIRST_SLOT) * SLOT_S // max(step_s, SLOT_S)
        if step not in allocation.open_steps:
            left[fill.side, str(fill.household), step] += corrected_wh
    assert +left == {
        (side, point, step): wh
        for side, table in ((Side.ASK, allocation.given), (Side.BID, allocation.allocated))
        for point, curve in table.items()
        for step, wh in enumerate(curve)
        if wh > 0
    }, "what supplier reconcile leaves is what is allocated"


def test_a_buyer_whom_the_operator_saw_draw_less_is_cut_and_so_is_the_seller() -> None:
    """300 Wh were traded at 10 cents and a fee of 0.2; the buyer drew 200 only."""
    fills = traded((1, Side.ASK, 500), (2, Side.BID, 300), fee=200)
    found = reconcile(
        fills,
        {(1, Side.ASK): official_curve([500]), (2, Side.BID): official_curve([200])},
        SLOT_S,
    )
    assert corrected(found) == {(0, 1, Side.ASK): 200, (0, 2, Side.BID): 200}
    at = FIRST_SLOT
    above, balance = Reason.ABOVE_OFFICIAL, Reason.BALANCE
    assert set(found.entries) == {
        Entry(at, 2, Side.BID, Account.ALLOCATED, above, -100, 100 * 10_200),
        Entry(at, 2, Side.BID, Account.RESIDUAL, above, 100, 0),
        Entry(at, 0, Side.BID, Account.NETWORK_FEE, above, 0, -100 * 200),
        Entry(at, 1, Side.ASK, Account.ALLOCATED, balance, -100, -100 * 10_000),
        Entry(at, 1, Side.ASK, Account.SURPLUS, balance, 100, 0),
    }


def test_a_half_hour_covers_two_slots() -> None:
    """100 and 300 Wh were bought; 340 were drawn in the half hour: 15 and 45 Wh too many."""
    fills = [
        *traded((1, Side.ASK, 100), (2, Side.BID, 100)),
        *traded((1, Side.ASK, 300), (2, Side.BID, 300), slot=FIRST_SLOT + 1),
    ]
    found = reconcile(
        fills,
        {(1, Side.ASK): official_curve([400]), (2, Side.BID): official_curve([340])},
        SLOT_S,
    )
    assert corrected(found)[0, 2, Side.BID] == 85
    assert corrected(found)[1, 2, Side.BID] == 255


def test_an_hour_of_the_market_covers_six_steps_of_ten_minutes() -> None:
    hour = FIRST_SLOT // 4
    fills = traded((1, Side.ASK, 100), (2, Side.BID, 100), slot=hour)
    official = {
        (1, Side.ASK): official_curve([20] * 6, 600),
        (2, Side.BID): official_curve([15] * 6, 600),
    }
    assert set(reconcile(fills, official, 3_600).corrected_wh) == {90}


def test_steps_that_fit_no_slot_are_refused() -> None:
    fills = traded((1, Side.ASK, 100), (2, Side.BID, 100))
    with pytest.raises(ValueError, match="no common period"):
        reconcile(fills, {(1, Side.ASK): official_curve([20] * 6, 600)}, SLOT_S)


def test_both_sides_cut_leave_the_smaller() -> None:
    """The seller injected 120 of 300, the buyer drew 200: 120 remain."""
    fills = traded((1, Side.ASK, 300), (2, Side.BID, 300))
    found = reconcile(
        fills,
        {(1, Side.ASK): official_curve([120]), (2, Side.BID): official_curve([200])},
        SLOT_S,
    )
    assert set(found.corrected_wh) == {120}
    assert sum(entry.energy_wh for entry in found.entries if entry.household == 2) == 0


def test_a_matched_cut_is_shared_pro_rata_of_what_is_left() -> None:
    """The seller injected 50 Wh less; buyers had 100 and 300: they lose 12.5 and 37.5, the tie
    goes to the lower number."""
    fills = traded((1, Side.ASK, 400), (2, Side.BID, 100), (3, Side.BID, 300))
    official = {
        (1, Side.ASK): official_curve([350]),
        (2, Side.BID): official_curve([100]),
        (3, Side.BID): official_curve([300]),
    }
    assert reconcile(fills, official, SLOT_S).corrected_wh == (350, 87, 263)


def test_what_the_operator_has_not_said_yet_is_pending() -> None:
    fills = traded((1, Side.ASK, 100), (2, Side.BID, 100))
    found = reconcile(fills, {(2, Side.BID): official_curve([MISSING])}, SLOT_S)
    start_s = FIRST_SLOT * SLOT_S
    assert found.entries == ()
    assert found.pending == (Pending(start_s, 1, Side.ASK, 100), Pending(start_s, 2, Side.BID, 100))


def test_fills_come_from_the_chain_settled_or_not() -> None:
    market = HonestMarket()
    market.schedule(FEE_RULES)
    for order in SCARCE:
        market.accept(order)
    assert fills_of(rebuild(market.events, FEE_RULES)) == []
    market.clear(SCARCE)
    assert fills_of(rebuild(market.events, FEE_RULES)) == [
        Fill(SLOT, 1, Side.ASK, 500, 500, 12_000, 200),
        Fill(SLOT, 2, Side.BID, 300, 300, 12_000, 200),
        Fill(SLOT, 3, Side.BID, 500, 200, 12_000, 200),
    ]


def test_a_day_on_which_node_and_operator_differ_is_found() -> None:
    """1,000 Wh of a day: 51 more are above 5 % and 50 Wh; 50 more are not."""
    energies = [SlotEnergy(FIRST_SLOT + slot, 100, 0) for slot in range(10)]
    for measured_wh, differs in (([189] * 4 + [193], True), ([190] * 5, False)):
        official = {(7, Side.BID): official_curve(measured_wh)}
        found = daily_differences({7: energies}, official, SLOT_S, PARIS)
        expected = [DailyDifference("2026-09-30", 7, Side.BID, 1_000, sum(measured_wh))]
        assert found == (expected if differs else [])


def test_days_are_local_and_only_what_both_know_is_compared() -> None:
    """The slots from 22:00 UTC on belong to the next day in Paris; half a period is left out."""
    late = FIRST_SLOT + 22 * 4
    energies = [SlotEnergy(late + slot, 0, 500) for slot in range(3)]
    official = {(7, Side.ASK): official_curve([100], start_s=late * SLOT_S)}
    assert daily_differences({7: energies, 8: []}, official, SLOT_S, PARIS) == [
        DailyDifference("2026-10-01", 7, Side.ASK, 1_000, 100)
    ]
