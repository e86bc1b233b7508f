"""The supplier's report, from events alone; and months in local time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from node.billing.months import Month, local_text, zone_of
from node.billing.report import (
    HouseholdTotals,
    ReportRow,
    RowStatus,
    members,
    report_rows,
    totals,
)
from node.errors import ConfigurationError
from node.market.history import rebuild
from node.model import MarketEvent, Order, OrderSettled, Side
from node.slots import iso_utc, parse_iso_utc
from tests.support.honest_market import FEE_RULES, SCARCE, SLOT, HonestMarket

PARIS = ZoneInfo("Europe/Paris")


def neighbourhood() -> list[MarketEvent]:
    """A slot settled, one without orders, one cleared, one still open."""
    market = HonestMarket()
    market.schedule(FEE_RULES)
    market.trade(SCARCE)
    for slot in (SLOT + 2, SLOT + 3):
        book = [replace(order, slot=slot) for order in SCARCE[:2]]
        for order in book:
            market.accept(order)
        if slot == SLOT + 2:
            market.clear(book)
    return market.events


def rows_of(events: Sequence[MarketEvent], slots: Sequence[int]) -> list[ReportRow]:
    return list(report_rows(rebuild(events, FEE_RULES), slots, members(events)))


def test_each_household_has_a_row_in_each_slot() -> None:
    rows = rows_of(neighbourhood(), range(SLOT, SLOT + 4))
    assert [(row.slot - SLOT, row.household) for row in rows] == [
        (slot, household) for slot in range(4) for household in (1, 2, 3)
    ]


def test_allocation_residual_and_surplus_are_those_of_the_orders() -> None:
    roof, flat, mill = rows_of(neighbourhood(), [SLOT])
    assert roof == ReportRow(
        SLOT, 1, RowStatus.ORDERED, sold_wh=500, surplus_wh=0, price=12_000, earned_units=6_000_000
    )
    assert flat == ReportRow(
        SLOT, 2, RowStatus.ORDERED, 300, 0, price=12_000, paid_units=300 * 12_200
    )
    assert mill == ReportRow(
        SLOT, 3, RowStatus.ORDERED, 200, 300, price=12_000, paid_units=200 * 12_200
    )


def test_who_did_not_order_is_marked() -> None:
    rows = rows_of(neighbourhood(), [SLOT + 1, SLOT + 2])
    assert [row.status for row in rows[:3]] == [RowStatus.NO_ORDER] * 3
    assert rows[5] == ReportRow(SLOT + 2, 3, RowStatus.NO_ORDER)


def test_a_slot_that_has_not_cleared_is_open() -> None:
    rows = rows_of(neighbourhood(), [SLOT + 3])
    assert rows[0] == ReportRow(SLOT + 3, 1, RowStatus.OPEN)


def test_settled_or_not_the_report_is_the_same() -> None:
    """Settlements only say when money moved."""
    events = neighbourhood()
    unsettled = [event for event in events if not isinstance(event, OrderSettled)]
    slots = range(SLOT, SLOT + 4)
    assert rows_of(unsettled, slots) == rows_of(events, slots)


def test_a_household_on_both_sides_has_both_figures() -> None:
    market = HonestMarket()
    market.schedule(FEE_RULES)
    market.trade(
        [
            Order(1, SLOT, Side.ASK, 500, 4_000),
            Order(1, SLOT, Side.BID, 40, 4_000),
            Order(2, SLOT, Side.BID, 300, 25_000),
        ]
    )
    row = rows_of(market.events, [SLOT])[0]
    assert (row.bought_wh, row.residual_wh, row.sold_wh, row.surplus_wh) == (40, 0, 340, 160)


def test_nothing_traded_is_all_residual_and_surplus() -> None:
    market = HonestMarket()
    market.schedule(FEE_RULES)
    market.trade([Order(1, SLOT, Side.ASK, 500, 9_000), Order(2, SLOT, Side.BID, 300, 8_000)])
    roof, flat = rows_of(market.events, [SLOT])
    assert (roof.sold_wh, roof.surplus_wh, roof.earned_units, roof.price) == (0, 500, 0, None)
    assert (flat.bought_wh, flat.residual_wh, flat.paid_units) == (0, 300, 0)


def test_totals_add_up_on_the_way() -> None:
    sums: dict[int, HouseholdTotals] = {}
    rows = list(totals(rows_of(neighbourhood(), range(SLOT, SLOT + 4)), sums))
    assert len(rows) == 12
    assert sums[3] == HouseholdTotals(
        ordered_slots=1,
        no_order_slots=3,
        bought_wh=200,
        residual_wh=300,
        paid_units=200 * 12_200,
    )
    assert sums[1] == HouseholdTotals(
        ordered_slots=2,
        open_slots=1,
        no_order_slots=1,
        sold_wh=800,
        surplus_wh=200,
        earned_units=500 * 12_000 + 300 * sums_price(rows),
    )


def sums_price(rows: Sequence[ReportRow]) -> int:
    """The price of the third slot, with the roof and the flat only."""
    (price,) = {row.price for row in rows if row.slot == SLOT + 2 and row.price is not None}
    return price


@pytest.mark.parametrize(
    ("text", "start", "slots"),
    [
        ("2026-10", "2026-09-30T22:00:00Z", 31 * 96 + 4),
        ("2026-03", "2026-02-28T23:00:00Z", 31 * 96 - 4),
        ("2026-12", "2026-11-30T23:00:00Z", 31 * 96),
        ("2028-02", "2028-01-31T23:00:00Z", 29 * 96),
    ],
)
def test_months_are_local_and_whole(text: str, start: str, slots: int) -> None:
    month = Month.parse(text, PARIS)
    assert iso_utc(month.start_s) == start
    assert len(month.slots(900)) == slots
    assert str(month) == text
    assert month.slots(900)[0] * 900 == month.start_s


def test_months_follow_each_other_without_gap() -> None:
    for slot_s in (600, 900, 3_600):
        months = [Month.parse(f"2026-{number:02d}", PARIS) for number in range(1, 13)]
        ends = [month.slots(slot_s).stop for month in months]
        assert [month.slots(slot_s).start for month in months[1:]] == ends[:-1]


def test_a_zone_off_the_hour_gives_a_slot_to_the_month_in_which_it_starts() -> None:
    month = Month.parse("2026-10", ZoneInfo("Asia/Kathmandu"))
    start_s = month.slots(3_600).start * 3_600
    assert start_s == parse_iso_utc("2026-09-30T19:00:00Z")
    assert month.start_s == start_s - 2_700


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "2026-1", "10-2026", "2026-10-01"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no month"):
        Month.parse(text, PARIS)


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "/etc/passwd", "../x"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no time zone"):
        zone_of(name)


def test_the_autumn_hour_is_told_apart() -> None:
    first_s = parse_iso_utc("2026-10-25T00:00:00Z")
    assert local_text(first_s, zone_of("Europe/Paris")) == "2026-10-25T02:00:00+02:00"
    assert local_text(first_s + 3_600, PARIS) == "2026-10-25T02:00:00+01:00"
