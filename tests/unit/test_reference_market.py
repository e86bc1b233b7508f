"""The reference market, act by act: what it refuses, what it sets aside, pays and remembers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Final

import pytest

from node.errors import Refused
from node.market.reference import Allocation, ReferenceMarket
from node.model import (
    Household,
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
)

FEE: Final = "0xfee"
RULES: Final = MarketRules(network_fee=150, fee_recipient=FEE)
SLOT: Final = 1_628_064
SELLER, BUYER, OTHER = 1, 2, 3
CREDIT: Final = 10**9

ASK: Final = Order(SELLER, SLOT, Side.ASK, 500, 4_000)
BID: Final = Order(BUYER, SLOT, Side.BID, 800, 25_000)


def opens(slot: int = SLOT, rules: MarketRules = RULES) -> int:
    return rules.gate_opens_s(slot)


def closes(slot: int = SLOT, rules: MarketRules = RULES) -> int:
    return rules.gate_closes_s(slot)


def market_of(rules: MarketRules = RULES, households: int = 3) -> ReferenceMarket:
    market = ReferenceMarket(rules)
    for number in range(1, households + 1):
        market.admit(Household(number, import_limit_wh=9_000, export_limit_wh=6_000))
        market.deposit(number, CREDIT)
    market.drain_events()
    return market


@pytest.fixture
def market() -> ReferenceMarket:
    return market_of()


def reason_of(market: ReferenceMarket, order: Order, now_s: int, *, signed: bool = True) -> Refusal:
    """Why an order is refused: the same in a batch and alone, and nothing changes."""
    balances = {n: market.balance_units(n) for n in (SELLER, BUYER, OTHER)}
    with pytest.raises(Refused) as refused:
        market.submit(order, now_s, signed=signed)
    assert market.drain_events() == []
    market.submit_batch([order], now_s, signed=[signed])
    (event,) = market.drain_events()
    assert isinstance(event, OrderRefused)
    assert (event.slot, event.household, event.side) == (order.slot, order.household, order.side)
    assert event.reason.word == refused.value.reason
    assert balances == {n: market.balance_units(n) for n in (SELLER, BUYER, OTHER)}
    return event.reason


def trade(market: ReferenceMarket, slot: int = SLOT) -> None:
    """One ask and one bid of a slot, cleared and not settled: 500 Wh at the bid's limit."""
    market.submit_batch([replace(ASK, slot=slot), replace(BID, slot=slot)], opens(slot))
    market.clear(slot, closes(slot))
    market.drain_events()


# Orders


def test_the_first_check_that_fails_is_the_one_reported(market: ReferenceMarket) -> None:
    """One order that is wrong in every way, put right from the first check to the last."""
    market.withdraw(BUYER, CREDIT)
    market.drain_events()
    market.submit(replace(BID, household=OTHER), opens())
    market.set_standing(BUYER, active=False, signer_named=False)
    market.paused = True
    order, now_s, signed = Order(77, SLOT, Side.BID, 0, 4_001), opens() - 1, False
    market.drain_events()

    def reason() -> Refusal:
        return reason_of(market, order, now_s, signed=signed)

    assert reason() is Refusal.PAUSED
    market.paused = False
    assert reason() is Refusal.GATE_NOT_OPEN
    now_s = opens()
    assert reason() is Refusal.UNKNOWN_HOUSEHOLD
    order = replace(order, household=BUYER)
    assert reason() is Refusal.SUSPENDED
    market.set_standing(BUYER, active=True, signer_named=False)
    assert reason() is Refusal.NO_SIGNER
    market.set_standing(BUYER, active=True, signer_named=True)
    assert reason() is Refusal.ENERGY_OUT_OF_LIMIT
    order = replace(order, energy_wh=100)
    assert reason() is Refusal.PRICE_OFF_GRID
    order = replace(order, limit_price=4_000)
    assert reason() is Refusal.WRONG_SIGNATURE
    signed = True
    assert reason() is Refusal.INSUFFICIENT_CREDIT
    market.deposit(BUYER, 100 * (4_000 + 150))
    market.submit(order, now_s)
    signed = False
    market.drain_events()
    assert reason() is Refusal.DUPLICATE


@pytest.mark.parametrize(
    ("now_s", "accepted"),
    [(opens() - 1, False), (opens(), True), (closes() - 1, True), (closes(), False)],
)
def test_the_gate_is_open_from_the_slots_end_for_gate_seconds(
    market: ReferenceMarket, now_s: int, *, accepted: bool
) -> None:
    assert opens() == (SLOT + 1) * 900
    assert closes() == opens() + 300
    if accepted:
        market.submit(BID, now_s)
        assert isinstance(market.drain_events()[0], OrderAccepted)
    else:
        assert reason_of(market, BID, now_s) is Refusal.GATE_NOT_OPEN


@pytest.mark.parametrize(
    ("side", "energy_wh", "accepted"),
    [
        (Side.BID, 9_000, True),
        (Side.BID, 9_001, False),
        (Side.ASK, 6_000, True),
        (Side.ASK, 6_001, False),
        (Side.ASK, 0, False),
        (Side.BID, -1, False),
    ],
)
def test_each_side_has_its_own_limit(
    market: ReferenceMarket, side: Side, energy_wh: int, *, accepted: bool
) -> None:
    order = Order(OTHER, SLOT, side, energy_wh, 4_000)
    if accepted:
        market.submit(order, opens())
    else:
        assert reason_of(market, order, opens()) is Refusal.ENERGY_OUT_OF_LIMIT


@pytest.mark.parametrize("price", [3_900, 4_050, 26_400, 0, -100])
def test_a_price_stands_on_the_grid(market: ReferenceMarket, price: int) -> None:
    order = replace(ASK, limit_price=price)
    assert reason_of(market, order, opens()) is Refusal.PRICE_OFF_GRID


def test_a_home_without_a_producer_cannot_ask(market: ReferenceMarket) -> None:
    market.admit(Household(SELLER, 9_000, 0))
    assert reason_of(market, replace(ASK, energy_wh=1), opens()) is Refusal.ENERGY_OUT_OF_LIMIT


def test_an_accepted_order_is_final_on_its_side(market: ReferenceMarket) -> None:
    market.submit(replace(ASK, household=OTHER), opens())
    market.submit(replace(BID, household=OTHER), opens())
    market.drain_events()
    again = replace(ASK, household=OTHER, energy_wh=1)
    assert reason_of(market, again, opens()) is Refusal.DUPLICATE


def test_a_batch_skips_the_bad_and_reports_them_in_their_place(market: ReferenceMarket) -> None:
    orders = [
        replace(ASK, household=77),
        ASK,
        replace(ASK, limit_price=1),
        replace(BID, energy_wh=700),
        replace(BID, household=OTHER),
    ]
    market.submit_batch(orders, opens(), signed=[True, True, True, True, False])
    kinds = [type(event).__name__ for event in market.drain_events()]
    assert kinds == [
        "OrderRefused",
        "OrderAccepted",
        "OrderRefused",
        "OrderAccepted",
        "OrderRefused",
    ]


def test_an_acceptance_tells_everything_and_the_energy_before_it(market: ReferenceMarket) -> None:
    first = replace(BID, energy_wh=300)
    elsewhere = Order(SELLER, SLOT, Side.BID, 50, 9_000)
    second = replace(BID, household=OTHER, evidence=b"e" * 32)
    market.submit_batch([first, elsewhere, second], opens())
    events = market.drain_events()
    assert [event.prefix_wh for event in events if isinstance(event, OrderAccepted)] == [0, 0, 300]
    last = events[-1]
    assert isinstance(last, OrderAccepted)
    assert (last.slot, last.household, last.side) == (SLOT, OTHER, Side.BID)
    assert (last.energy_wh, last.limit_price, last.evidence) == (800, 25_000, b"e" * 32)


# Money


def test_a_bid_sets_its_worst_case_aside_and_an_ask_nothing(market: ReferenceMarket) -> None:
    market.submit(BID, opens())
    market.submit(ASK, opens())
    assert market.balance_units(BUYER) == CREDIT - 800 * (25_000 + 150)
    assert market.balance_units(SELLER) == CREDIT


def test_a_bid_needs_its_worst_case_to_the_unit(market: ReferenceMarket) -> None:
    worst = 800 * 25_150
    market.withdraw(BUYER, CREDIT - worst + 1)
    market.drain_events()
    assert reason_of(market, BID, opens()) is Refusal.INSUFFICIENT_CREDIT
    market.deposit(BUYER, 1)
    market.submit(BID, opens())
    assert market.balance_units(BUYER) == 0


def test_settlement_pays_both_sides_and_the_fee(market: ReferenceMarket) -> None:
    trade(market)  # one rationed bid: its limit is the price
    market.settle(SLOT, [SELLER, BUYER], closes())
    assert market.result(SLOT) == (25_000, 500)
    assert market.balance_units(SELLER) == CREDIT + 500 * 25_000
    assert market.balance_units(BUYER) == CREDIT - 500 * (25_000 + 150)
    assert market.fees_units(FEE) == 500 * 150
    settled = market.drain_events()
    assert [
        (event.household, event.side, event.filled_wh, event.price, event.amount_units)
        for event in settled
        if isinstance(event, OrderSettled)
    ] == [
        (SELLER, Side.ASK, 500, 25_000, 12_500_000),
        (BUYER, Side.BID, 500, 25_000, -12_575_000),
    ]


def test_a_slot_without_a_price_gives_the_escrow_back(market: ReferenceMarket) -> None:
    market.submit(BID, opens())
    market.clear(SLOT, closes())
    market.settle(SLOT, [BUYER], closes())
    assert market.result(SLOT) == (None, 0)
    assert market.balance_units(BUYER) == CREDIT


def test_settling_twice_moves_nothing(market: ReferenceMarket) -> None:
    trade(market)
    market.settle(SLOT, [SELLER, SELLER, BUYER, 77], closes())
    balances = [market.balance_units(n) for n in (SELLER, BUYER)]
    market.drain_events()
    market.settle(SLOT, [SELLER, BUYER, OTHER], closes())
    assert [market.balance_units(n) for n in (SELLER, BUYER)] == balances
    assert market.drain_events() == []


def test_the_order_in_which_households_settle_changes_nothing() -> None:
    ends = set()
    for turn in permutations((SELLER, BUYER, OTHER)):
        market = market_of()
        market.submit_batch([ASK, BID, replace(BID, household=OTHER, energy_wh=33)], opens())
        for household in turn:
            market.settle(SLOT, [household], closes())
        balances = tuple(market.balance_units(n) for n in (SELLER, BUYER, OTHER))
        ends.add((*balances, market.fees_units(FEE)))
    assert len(ends) == 1
    assert sum(ends.pop()) == 3 * CREDIT


def test_the_fee_recipient_takes_out_no_more_than_its_fees(market: ReferenceMarket) -> None:
    trade(market)
    market.settle(SLOT, [BUYER], closes())
    with pytest.raises(Refused, match="75000") as refused:
        market.withdraw_fees(FEE, 75_001)
    assert refused.value.reason == "insufficient_balance"
    market.withdraw_fees(FEE, 75_000)
    assert market.fees_units(FEE) == 0


def test_escrow_cannot_be_withdrawn(market: ReferenceMarket) -> None:
    market.submit(BID, opens())
    free = market.balance_units(BUYER)
    with pytest.raises(Refused) as refused:
        market.withdraw(BUYER, free + 1)
    assert refused.value.reason == "insufficient_balance"
    market.withdraw(BUYER, free)
    assert market.balance_units(BUYER) == 0


# Clearing and lazy settlement


def test_a_slot_is_cleared_once_after_its_gate_and_only_if_somebody_ordered(
    market: ReferenceMarket,
) -> None:
    def refusal(slot: int, now_s: int) -> str:
        with pytest.raises(Refused) as refused:
            market.clear(slot, now_s)
        return refused.value.reason

    assert refusal(SLOT, closes()) == "no_orders"
    market.submit(ASK, opens())
    assert refusal(SLOT, closes() - 1) == "gate_still_open"
    market.clear(SLOT, closes())
    assert refusal(SLOT, closes()) == "already_cleared"
    assert refusal(SLOT + 1, closes()) == "no_orders"


def test_settling_clears_what_it_needs_and_not_before_the_gate_closed(
    market: ReferenceMarket,
) -> None:
    market.submit_batch([ASK, BID], opens())
    with pytest.raises(Refused) as refused:
        market.settle(SLOT, [SELLER], closes() - 1)
    assert refused.value.reason == "gate_still_open"
    market.settle(SLOT, [SELLER], closes())
    assert market.result(SLOT) == (25_000, 500)


def test_slots_may_be_cleared_in_any_order(market: ReferenceMarket) -> None:
    for slot in (SLOT, SLOT + 1):
        market.submit_batch([replace(ASK, slot=slot), replace(BID, slot=slot)], opens(slot))
    market.clear(SLOT + 1, closes(SLOT + 1))
    market.clear(SLOT, closes(SLOT + 1))
    assert market.result(SLOT) == market.result(SLOT + 1) == (25_000, 500)


def test_the_next_order_settles_the_last_slot(market: ReferenceMarket) -> None:
    trade(market)
    market.submit(replace(ASK, slot=SLOT + 1), opens(SLOT + 1))
    assert market.balance_units(SELLER) == CREDIT + 12_500_000
    assert market.allocation(SLOT, SELLER).settled
    assert not market.allocation(SLOT, BUYER).settled


def test_what_was_earned_pays_for_the_next_bid(market: ReferenceMarket) -> None:
    market.withdraw(SELLER, CREDIT)
    trade(market)
    bid = Order(SELLER, SLOT + 1, Side.BID, 497, 25_000)
    assert 497 * 25_150 <= 12_500_000 < 498 * 25_150
    too_much = replace(bid, energy_wh=498)
    with pytest.raises(Refused) as refused:
        market.submit(too_much, opens(SLOT + 1))
    assert refused.value.reason == "insufficient_credit"
    market.submit(bid, opens(SLOT + 1))
    assert market.balance_units(SELLER) == 12_500_000 - 497 * 25_150


def test_an_order_refused_for_credit_in_a_batch_still_settles(market: ReferenceMarket) -> None:
    """Its household is paid all the same: settlement is nobody's favour."""
    market.withdraw(SELLER, CREDIT)
    trade(market)
    market.submit_batch([Order(SELLER, SLOT + 1, Side.BID, 9_000, 25_000)], opens(SLOT + 1))
    settled, refused = market.drain_events()
    assert isinstance(settled, OrderSettled)
    assert isinstance(refused, OrderRefused)
    assert refused.reason is Refusal.INSUFFICIENT_CREDIT
    assert market.balance_units(SELLER) == 12_500_000


def test_a_withdrawal_settles_first(market: ReferenceMarket) -> None:
    trade(market)
    market.withdraw(SELLER, CREDIT + 12_500_000)
    assert market.balance_units(SELLER) == 0


@pytest.mark.parametrize("stop", ["pause", "suspend"])
def test_pause_and_suspension_touch_new_orders_only(market: ReferenceMarket, stop: str) -> None:
    market.submit_batch([ASK, BID], opens())
    market.drain_events()
    if stop == "pause":
        market.paused = True
        expected = Refusal.PAUSED
    else:
        for household in (SELLER, BUYER):
            market.set_standing(household, active=False, signer_named=True)
        expected = Refusal.SUSPENDED
    assert reason_of(market, replace(ASK, slot=SLOT + 1), opens(SLOT + 1)) is expected
    market.clear(SLOT, closes())
    market.settle(SLOT, [SELLER, BUYER], closes())
    market.withdraw(SELLER, CREDIT + 12_500_000)
    market.withdraw(BUYER, CREDIT - 500 * 25_150)


def test_an_allocation_tells_both_sides(market: ReferenceMarket) -> None:
    assert market.allocation(SLOT, SELLER) == Allocation()
    market.submit_batch(
        [ASK, replace(ASK, side=Side.BID, energy_wh=70), BID, replace(BID, household=OTHER)],
        opens(),
    )
    assert market.allocation(SLOT, SELLER) == Allocation(ask_wh=500, bid_wh=70)
    market.clear(SLOT, closes())
    before = market.allocation(SLOT, BUYER)
    assert before == Allocation(
        cleared=True,
        price=25_000,
        bid_wh=800,
        bought_wh=250,
        paid_units=250 * 25_150,
    )
    market.settle(SLOT, [BUYER], closes())
    assert market.allocation(SLOT, BUYER) == replace(before, settled=True)
    assert market.allocation(SLOT, SELLER) == Allocation(
        cleared=True, price=25_000, ask_wh=500, sold_wh=500, earned_units=12_500_000, bid_wh=70
    )


# The ring


def test_the_ring_holds_thirty_days(market: ReferenceMarket) -> None:
    assert market.ring_slots * RULES.slot_s >= 30 * 86_400
    assert ReferenceMarket(MarketRules(slot_s=86_400, gate_s=60)).ring_slots >= 30


def test_reusing_a_book_clears_the_slot_that_it_held_and_a_row_settles(
    market: ReferenceMarket,
) -> None:
    market.submit_batch([ASK, BID], opens())  # nobody ever clears it
    market.drain_events()
    later = SLOT + market.ring_slots
    market.submit(replace(ASK, slot=later), opens(later))
    kinds = [type(event) for event in market.drain_events()]
    assert kinds == [SlotCleared, OrderSettled, OrderAccepted]
    assert market.balance_units(SELLER) == CREDIT + 12_500_000
    assert market.result(SLOT) == (25_000, 500)
    # The buyer's row stands until it orders again itself: still open to settlement.
    assert market.allocation(SLOT, BUYER).bought_wh == 500
    market.settle(SLOT, [BUYER], opens(later))
    assert market.balance_units(BUYER) == CREDIT - 500 * 25_150
    with pytest.raises(Refused) as refused:
        market.allocation(SLOT, SELLER)
    assert refused.value.reason == "row_recycled"


def test_results_outlast_the_ring(market: ReferenceMarket) -> None:
    trade(market)
    for turn in range(1, 4):
        slot = SLOT + turn * market.ring_slots
        market.submit_batch([replace(ASK, slot=slot), replace(BID, slot=slot)], opens(slot))
    assert market.result(SLOT) == (25_000, 500)
    with pytest.raises(Refused) as refused:
        market.clear(SLOT, 2**40)
    assert refused.value.reason == "already_cleared"


@pytest.mark.parametrize("gap", [1, 2, 127, 128, 129, 1_000, 5_000])
def test_no_entitlement_is_lost_however_long_a_household_stays_away(
    market: ReferenceMarket, gap: int
) -> None:
    """It may come back after any time: it is paid by its own order, or by anybody's settle."""
    trade(market)
    later = SLOT + gap
    market.submit_batch([replace(BID, slot=later), replace(ASK, slot=later)], opens(later))
    market.settle(later, [SELLER, BUYER], closes(later))
    market.settle(SLOT, [SELLER, BUYER], closes(later))
    assert market.balance_units(SELLER) == CREDIT + 2 * 12_500_000
    assert market.balance_units(BUYER) == CREDIT - 2 * 500 * 25_150


# Rules


def test_a_slot_lives_under_the_rules_it_was_ordered_under(market: ReferenceMarket) -> None:
    dearer = replace(RULES, network_fee=400, fee_recipient="0xother", grid=PriceGrid(5_000, 200, 9))
    market.schedule_rules(SLOT + 1, dearer, opens() - 1)
    (event,) = market.drain_events()
    assert isinstance(event, RulesScheduled)
    assert (event.version, event.from_slot, event.rules) == (1, SLOT + 1, dearer)
    assert (market.rules_at(SLOT), market.rules_at(SLOT + 1)) == (RULES, dearer)
    market.submit_batch([ASK, BID], opens())
    market.drain_events()
    new_bid = Order(BUYER, SLOT + 1, Side.BID, 500, 5_200)
    assert (
        reason_of(market, replace(new_bid, limit_price=25_000), opens(SLOT + 1))
        is Refusal.PRICE_OFF_GRID
    )
    new_ask = replace(ASK, slot=SLOT + 1, limit_price=5_000)
    market.submit_batch([new_bid, new_ask], opens(SLOT + 1))
    for slot in (SLOT, SLOT + 1):
        market.settle(slot, [SELLER, BUYER], closes(slot))
    assert market.result(SLOT + 1) == (5_100, 500)
    assert market.fees_units(FEE) == 500 * 150
    assert market.fees_units("0xother") == 500 * 400


def test_rules_change_in_the_future_only(market: ReferenceMarket) -> None:
    def refused(from_slot: int, now_s: int, rules: MarketRules = RULES) -> bool:
        try:
            market.schedule_rules(from_slot, rules, now_s)
        except Refused as refusal:
            return refusal.reason == "not_future"
        return False

    start_s = SLOT * 900
    assert refused(SLOT, start_s)  # the slot has begun
    assert refused(SLOT, start_s - 1, replace(RULES, gate_offset_s=-1_000))  # the new gate has
    assert not refused(SLOT, start_s - 1)
    assert refused(SLOT, start_s - 1)  # a version takes effect after the one before it
    assert refused(SLOT - 1, start_s - 1_000_000)
    forward = replace(RULES, gate_offset_s=-3_600)
    assert not refused(SLOT + 10, start_s, forward)
    assert refused(SLOT + 12, forward.gate_opens_s(SLOT + 12))  # its gate is open already
    assert not refused(SLOT + 12, forward.gate_opens_s(SLOT + 12) - 1)


def test_a_forward_session_has_its_gate_before_delivery() -> None:
    forward = replace(RULES, gate_offset_s=-1_800)
    market = market_of(forward)
    assert forward.gate_opens_s(SLOT) == SLOT * 900 - 900
    market.submit(ASK, forward.gate_opens_s(SLOT))
    market.clear(SLOT, forward.gate_closes_s(SLOT))


def test_an_unknown_household_has_no_account(market: ReferenceMarket) -> None:
    calls: list[Callable[[], object]] = [
        lambda: market.balance_units(77),
        lambda: market.deposit(77, 1),
        lambda: market.withdraw(77, 1),
    ]
    for call in calls:
        with pytest.raises(Refused) as refused:
            call()
        assert refused.value.reason == "unknown_household"


def test_positions_of_events_rise_in_every_call(market: ReferenceMarket) -> None:
    rng = random.Random(1)
    for slot in range(SLOT, SLOT + 20):
        orders = [
            Order(n, slot, side, rng.randint(0, 7_000), 4_000 + 100 * rng.randint(0, 250))
            for n in range(1, 5)
            for side in Side
        ]
        market.submit_batch(orders, opens(slot))
        market.settle(slot, range(5), closes(slot))
    positions = [event.position for event in market.drain_events()]
    assert len(positions) > 100
    assert positions == sorted(set(positions))
