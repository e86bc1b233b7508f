"""The history and the audit: rebuilt from events, and no wrong event goes unseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.market.audit import MAX_DIFFERENCES, audit
from node.market.history import (
    RuleVersions,
    completed,
    explain,
    rebuild,
    slot_line,
)
from node.model import (
    Deposited,
    LogPosition,
    MarketEvent,
    MarketRules,
    Order,
    OrderAccepted,
    OrderRefused,
    OrderSettled,
    PriceGrid,
    Refusal,
    RulesScheduled,
    Side,
    SlotCleared,
    Withdrawn,
)
from tests.support.honest_market import CREDIT, FEE_RULES, NAMES, SCARCE, SLOT, HonestMarket

RULES = FEE_RULES


@st.composite
def books(draw: st.DrawFn) -> list[Order]:
    keys = draw(
        st.lists(
            st.tuples(st.integers(1, 6), st.sampled_from(Side)),
            min_size=1,
            max_size=10,
            unique=True,
        )
    )
    ticks = st.sampled_from([0, 1, 2, 100, 223])
    return [
        Order(household, SLOT, side, draw(st.integers(1, 9_000)), RULES.grid.price_of(draw(ticks)))
        for household, side in keys
    ]


def test_a_slot_is_rebuilt_with_its_fills_and_amounts() -> None:
    (record,) = rebuild(HonestMarket().trade(SCARCE), RULES)
    assert record.cleared is not None
    assert (record.slot, record.cleared.price, record.cleared.matched_wh) == (SLOT, 12_000, 500)
    assert [(order.seq, order.household, order.filled_wh) for order in record.orders] == [
        (0, 1, 500),
        (1, 2, 300),
        (2, 3, 200),
    ]
    assert [order.amount_units for order in record.orders] == [6_000_000, -3_660_000, -2_440_000]


def test_a_slot_line_is_the_documented_one() -> None:
    (record,) = rebuild(HonestMarket().trade(SCARCE), RULES)
    assert slot_line(record, 900, NAMES) == {
        "slot": SLOT,
        "start": "2016-06-07T00:00:00Z",
        "price": 12_000,
        "matched_wh": 500,
        "orders": [
            {
                "household": "roof",
                "side": "ask",
                "energy_wh": 500,
                "limit_price": 4_000,
                "seq": 0,
                "filled_wh": 500,
                "amount": 6_000_000,
            },
            {
                "household": "flat",
                "side": "bid",
                "energy_wh": 300,
                "limit_price": 25_000,
                "seq": 1,
                "filled_wh": 300,
                "amount": -3_660_000,
            },
            {
                "household": "mill",
                "side": "bid",
                "energy_wh": 500,
                "limit_price": 12_000,
                "seq": 2,
                "filled_wh": 200,
                "amount": -2_440_000,
            },
        ],
    }


def test_a_household_without_a_name_goes_by_its_number() -> None:
    (record,) = rebuild(HonestMarket().trade(SCARCE), RULES)
    line = slot_line(record, 900, {})
    assert isinstance(line["orders"], list)
    assert [order["household"] for order in line["orders"]] == ["1", "2", "3"]


@given(book=books(), kept=st.lists(st.booleans(), min_size=10, max_size=10))
def test_what_is_not_settled_yet_gets_the_figures_it_will_have(
    book: list[Order], kept: list[bool]
) -> None:
    events = HonestMarket().trade(book)
    settlements = iter(kept)
    early = [event for event in events if not isinstance(event, OrderSettled) or next(settlements)]
    (whole,) = rebuild(events, RULES)
    (partly,) = rebuild(early, RULES)
    assert completed(partly) == whole
    assert slot_line(partly, 900, NAMES) == slot_line(whole, 900, NAMES)


def test_a_slot_that_is_not_cleared_says_nothing_about_its_outcome() -> None:
    market = HonestMarket()
    market.accept(SCARCE[0])
    (record,) = rebuild(market.events, RULES)
    line = slot_line(record, 900, NAMES)
    assert line["price"] is None
    assert line["matched_wh"] is None
    assert isinstance(line["orders"], list)
    assert line["orders"][0]["filled_wh"] is None
    assert line["orders"][0]["amount"] is None


def test_a_slot_in_which_nothing_crosses_has_no_price() -> None:
    book = [Order(1, SLOT, Side.ASK, 500, 12_000), Order(2, SLOT, Side.BID, 500, 11_000)]
    line = slot_line(rebuild(HonestMarket().trade(book), RULES)[0], 900, NAMES)
    assert (line["price"], line["matched_wh"]) == (None, 0)


def test_slots_come_in_the_order_of_time_with_the_rules_of_their_version() -> None:
    market = HonestMarket()
    dearer = replace(RULES, network_fee=900)
    market.schedule(dearer, version=2, from_slot=SLOT + 1)
    for slot in (SLOT + 1, SLOT):
        for order in SCARCE:
            market.accept(replace(order, slot=slot))
    records = rebuild(market.events, RULES)
    assert [(record.slot, record.rules.network_fee) for record in records] == [
        (SLOT, 200),
        (SLOT + 1, 900),
    ]


def test_the_newest_version_that_has_begun_holds() -> None:
    versions = RuleVersions(RULES)
    second, third = replace(RULES, network_fee=2), replace(RULES, network_fee=3)
    versions.add(RulesScheduled(LogPosition(2, 0), 3, 20, third))
    versions.add(RulesScheduled(LogPosition(1, 0), 2, 10, second))
    assert [versions.at(slot) for slot in (9, 10, 19, 20)] == [RULES, second, second, third]


def test_the_explanation_shows_the_book_the_interval_and_who_is_rationed() -> None:
    (record,) = rebuild(HonestMarket().trade(SCARCE), RULES)
    explanation = explain(record)
    assert [
        (row.price, row.ask_wh, row.bid_wh, row.supply_wh, row.demand_wh, row.volume_wh)
        for row in explanation.rows
    ] == [
        (4_000, 500, 0, 500, 800, 500),
        (12_000, 0, 500, 500, 800, 500),
        (25_000, 0, 300, 500, 300, 300),
    ]
    assert (explanation.low, explanation.high, explanation.price) == (12_000, 12_000, 12_000)
    assert explanation.rationed is Side.BID
    assert (explanation.left_wh, explanation.rationed_wh) == (200, 500)


@given(book=books())
def test_the_explanation_agrees_with_the_fills(book: list[Order]) -> None:
    (record,) = rebuild(HonestMarket().trade(book), RULES)
    explanation = explain(record)
    assert record.cleared is not None
    assert explanation.matched_wh == record.cleared.matched_wh
    assert explanation.matched_wh == max(row.volume_wh for row in explanation.rows)
    cut = {
        order.side
        for order in record.orders
        if order.limit_price == explanation.price and order.filled_wh != order.energy_wh
    }
    assert cut == (set() if explanation.rationed is None else {explanation.rationed})


@given(book=books())
def test_an_honest_market_agrees(book: list[Order]) -> None:
    report = audit(HonestMarket().trade(book), RULES)
    assert report.agrees
    assert (report.slots, report.orders, report.clearings) == (1, len(book), 1)
    assert report.settlements == len(book)


def unsettled(book: list[Order]) -> list[MarketEvent]:
    market = HonestMarket()
    for order in book:
        market.accept(order)
    market.clear(book)
    return market.events


@given(book=books())
def test_a_market_agrees_before_it_settled(book: list[Order]) -> None:
    assert audit(unsettled(book), RULES).agrees


@given(book=books(), place=st.integers(0, 40), change=st.integers(1, 10**6))
def test_no_changed_figure_goes_unseen(book: list[Order], place: int, change: int) -> None:
    events = HonestMarket().trade(book)
    figures = {
        OrderAccepted: ("energy_wh", "prefix_wh"),
        SlotCleared: ("matched_wh", "ask_wh", "bid_wh"),
        OrderSettled: ("filled_wh", "amount_units"),
    }
    places = [
        (index, figure)
        for index, event in enumerate(events)
        for figure in figures.get(type(event), ())
    ]
    index, figure = places[place % len(places)]
    event = events[index]
    events[index] = replace(event, **{figure: getattr(event, figure) + change})
    assert not audit(events, RULES).agrees


def settlement(events: list[MarketEvent], number: int = 0) -> OrderSettled:
    return [event for event in events if isinstance(event, OrderSettled)][number]


def twice_accepted(events: list[MarketEvent]) -> None:
    order = next(event for event in events if isinstance(event, OrderAccepted))
    events.insert(events.index(order) + 1, order)


def late(events: list[MarketEvent]) -> None:
    order = next(event for event in events if isinstance(event, OrderAccepted))
    events.append(replace(order, household=9))


def off_grid(events: list[MarketEvent]) -> None:
    order = next(event for event in events if isinstance(event, OrderAccepted))
    events[events.index(order)] = replace(order, limit_price=4_050)


def wrong_price(events: list[MarketEvent]) -> None:
    index = next(i for i, event in enumerate(events) if isinstance(event, SlotCleared))
    event = events[index]
    assert isinstance(event, SlotCleared)
    events[index] = replace(event, price=12_100)


def twice_cleared(events: list[MarketEvent]) -> None:
    events.append(next(event for event in events if isinstance(event, SlotCleared)))


def twice_settled(events: list[MarketEvent]) -> None:
    events.insert(-1, settlement(events))


def settled_again_later(events: list[MarketEvent]) -> None:
    events.append(settlement(events))


def never_accepted(events: list[MarketEvent]) -> None:
    events.insert(-1, replace(settlement(events), household=9))


def settled_early(events: list[MarketEvent]) -> None:
    event = settlement(events)
    events.remove(event)
    events.insert(5, event)


def short_paid(events: list[MarketEvent]) -> None:
    event = settlement(events, 1)
    events[events.index(event)] = replace(event, amount_units=event.amount_units + 1)


def one_wh_moved(events: list[MarketEvent]) -> None:
    event = settlement(events, 2)
    events[events.index(event)] = replace(event, filled_wh=199)


def overdrawn(events: list[MarketEvent]) -> None:
    events.append(Withdrawn(LogPosition(99, 0), 2, CREDIT))


def bid_without_credit(events: list[MarketEvent]) -> None:
    events.remove(next(e for e in events if isinstance(e, Deposited) and e.household == 3))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (twice_accepted, "ask of roof was accepted twice"),
        (late, "ask of household 9 was accepted after clearing"),
        (off_grid, "ask of roof: limit 4050 is off the grid"),
        (wrong_price, "clearing price, units/Wh: recorded 12100, the reference has 12000"),
        (twice_cleared, "cleared twice"),
        (twice_settled, "ask of roof was settled once too often"),
        (settled_again_later, "ask of roof was settled once too often"),
        (never_accepted, "ask of household 9 was settled but never accepted"),
        (settled_early, "ask of roof was settled before its slot was cleared"),
        (short_paid, "amount, units: recorded -3659999, the reference has -3660000"),
        (one_wh_moved, "bid of mill: filled Wh: recorded 199, the reference has 200"),
        (overdrawn, "flat is overdrawn: free credit -3660000 units"),
        (bid_without_credit, "mill is overdrawn: free credit -6100000 units"),
    ],
)
def test_the_first_difference_is_named(
    spoil: Callable[[list[MarketEvent]], None], sentence: str
) -> None:
    events = HonestMarket().trade(SCARCE)
    spoil(events)
    report = audit(events, RULES, NAMES)
    assert sentence in report.differences[0].text


def test_a_difference_says_in_which_slot_and_when() -> None:
    events = HonestMarket().trade(SCARCE)
    short_paid(events)
    first = audit(events, RULES, NAMES).differences[0]
    assert first.slot == SLOT
    assert first.text.startswith(f"slot {SLOT} (2016-06-07T00:00:00Z): bid of flat")


def test_differences_are_counted_beyond_those_spelt_out() -> None:
    market = HonestMarket()
    for slot in range(SLOT, SLOT + 2 * MAX_DIFFERENCES):
        market.trade([replace(order, slot=slot) for order in SCARCE])
    dearer = [
        replace(event, price=12_100) if isinstance(event, SlotCleared) else event
        for event in market.events
    ]
    report = audit(dearer, RULES)
    assert len(report.differences) == MAX_DIFFERENCES < report.difference_count


def test_the_audit_settles_a_slot_under_the_rules_it_was_ordered_under() -> None:
    grid = PriceGrid(floor_price=2_000, tick_size=50, ticks=11)
    other = MarketRules(grid=grid, network_fee=0)
    market = HonestMarket(other)
    market.schedule(other, version=2, from_slot=SLOT)
    book = [Order(1, SLOT, Side.ASK, 10, 2_050), Order(2, SLOT, Side.BID, 10, 2_500)]
    assert audit(market.trade(book), RULES).agrees


def test_refusals_and_an_empty_history_are_no_differences() -> None:
    refused = OrderRefused(LogPosition(0, 0), SLOT, 1, 7, Refusal.MALFORMED_SIDE)
    assert audit([refused], RULES).agrees
    assert rebuild([], RULES) == []
