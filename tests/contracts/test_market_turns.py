"""Turns of a market's life that random ones meet only by luck: rings, windows, keys, versions.

Each is driven on the contract and on the reference at once; what they agree on is stated here.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Final

import pytest

from node.market.reference import WINDOW_SLOTS
from node.model import (
    MarketEvent,
    MarketRules,
    Order,
    OrderAccepted,
    OrderRefused,
    OrderSettled,
    PriceGrid,
    Refusal,
    Side,
    SlotCleared,
)
from tests.support.market_chain import FEE_RECIPIENT, GENESIS_S, Community, Moment
from tests.support.twin_market import TwinMarket

DAY_S: Final = 86_400
RING: Final = 2 * WINDOW_SLOTS
QUARTER_S: Final = RING // 4 * DAY_S
GRID: Final = PriceGrid(10, 2, 4)
RULES: Final = MarketRules(
    slot_s=DAY_S, gate_s=DAY_S // 2, grid=GRID, network_fee=3, fee_recipient=FEE_RECIPIENT
)
OTHER_RECIPIENT: Final = "0x" + "ef" * 20
SLOT: Final = GENESIS_S // DAY_S + 300
LIMITS: Final = {1: (20, 15), 2: (20, 15), 3: (20, 15)}  # Wh: import, export
CREDIT_UNITS: Final = 10_000


@cache
def opened() -> tuple[Community, Moment]:
    community = Community(RULES)
    for limits in LIMITS.values():
        community.admit(*limits)
    return community, community.save()


@pytest.fixture
def twin() -> TwinMarket:
    """Three members with credit, and the gate of SLOT open."""
    community, moment = opened()
    community.restore(moment)
    found = TwinMarket(community, LIMITS)
    for number in LIMITS:
        found.deposit(number, CREDIT_UNITS)
    found.now_s = RULES.gate_opens_s(SLOT)
    return found


def bid(household: int = 1, slot: int = SLOT, energy_wh: int = 5, price: int = 16) -> Order:
    return Order(household, slot, Side.BID, energy_wh, price)


def ask(household: int = 2, slot: int = SLOT, energy_wh: int = 5, price: int = 10) -> Order:
    return Order(household, slot, Side.ASK, energy_wh, price)


def submit(twin: TwinMarket, *orders: Order, stale: bool = False) -> list[MarketEvent]:
    opens_s = min(twin.rules_at(order.slot).gate_opens_s(order.slot) for order in orders)
    twin.now_s = max(twin.now_s, opens_s)
    events = twin.submit_batch(orders, stale=[stale] * len(orders))
    twin.check_money()
    return events


def answers(events: list[MarketEvent]) -> list[Refusal]:
    """What became of each order of a batch."""
    return [
        event.reason if isinstance(event, OrderRefused) else Refusal.NONE
        for event in events
        if isinstance(event, (OrderAccepted, OrderRefused))
    ]


def settle(twin: TwinMarket, slot: int, *households: int) -> list[OrderSettled]:
    """Close the gate and settle; what that settled."""
    twin.now_s = max(twin.now_s, twin.rules_at(slot).gate_closes_s(slot))
    events = twin.settle(slot, households or tuple(LIMITS))
    twin.check_money()
    twin.check_allocations(slot)
    return [event for event in events if isinstance(event, OrderSettled)]


def test_a_slot_clears_from_the_second_in_which_its_gate_closes(twin: TwinMarket) -> None:
    submit(twin, ask(), bid())
    twin.now_s = RULES.gate_closes_s(SLOT) - 1
    assert twin.clear(SLOT) == []
    assert twin.settle(SLOT, [1, 2]) == []
    twin.now_s += 1
    assert [type(event) for event in twin.clear(SLOT)] == [SlotCleared]
    assert twin.clear(SLOT) == []


@pytest.mark.parametrize(
    ("order", "answer"),
    [
        (bid(energy_wh=20), Refusal.NONE),
        (bid(energy_wh=21), Refusal.ENERGY_OUT_OF_LIMIT),
        (ask(energy_wh=15), Refusal.NONE),
        (ask(energy_wh=16), Refusal.ENERGY_OUT_OF_LIMIT),
        (bid(household=4), Refusal.UNKNOWN_HOUSEHOLD),
        (bid(slot=SLOT - 1), Refusal.GATE_NOT_OPEN),
        (bid(slot=SLOT + RING), Refusal.GATE_NOT_OPEN),
    ],
)
def test_limits_are_the_sides_own_and_slots_the_gates_own(
    twin: TwinMarket, order: Order, answer: Refusal
) -> None:
    assert answers(twin.submit_batch([order], stale=[False])) == [answer]


def test_an_escrow_takes_the_last_unit_and_no_more(twin: TwinMarket) -> None:
    cost = 5 * (16 + RULES.network_fee)
    for left, answer in ((cost - 1, Refusal.INSUFFICIENT_CREDIT), (cost, Refusal.NONE)):
        twin.withdraw(1, twin.community.balance_units(1) - left)
        assert answers(submit(twin, bid())) == [answer]
        twin.deposit(1, 100)


def test_a_second_order_is_a_duplicate_and_the_other_side_is_not(twin: TwinMarket) -> None:
    events = submit(twin, bid(), bid(energy_wh=1), ask(household=1), ask(household=1))
    none, duplicate = Refusal.NONE, Refusal.DUPLICATE
    assert answers(events) == [none, duplicate, none, duplicate]


def test_a_key_of_the_past_signs_nothing(twin: TwinMarket) -> None:
    twin.rotate_key(1)
    assert answers(submit(twin, bid(), stale=True)) == [Refusal.WRONG_SIGNATURE]
    assert answers(submit(twin, bid())) == [Refusal.NONE]
    twin.revoke_signer(2)
    assert answers(submit(twin, ask())) == [Refusal.NO_SIGNER]
    twin.set_active(2, active=False)
    assert answers(submit(twin, ask())) == [Refusal.SUSPENDED]
    twin.set_paused(paused=True)
    assert answers(submit(twin, ask(), bid(slot=SLOT + 9))) == [Refusal.PAUSED] * 2


def test_a_book_used_again_forgets_its_old_ticks(twin: TwinMarket) -> None:
    """Cleared or not, what stood on either side a revolution ago is not there any more."""
    submit(twin, bid(), ask(), ask(household=3, price=12))
    settle(twin, SLOT)
    again = SLOT + RING
    submit(twin, ask(slot=again, price=14))
    twin.now_s = RULES.gate_closes_s(again)
    (cleared,) = twin.clear(again)
    assert isinstance(cleared, SlotCleared)
    assert (cleared.price, cleared.ask_wh, cleared.bid_wh) == (None, 5, 0)
    thrice = again + RING
    submit(twin, bid(slot=thrice), bid(household=3, slot=thrice, price=12), ask(slot=thrice))
    fills = {(e.household, e.side): e.filled_wh for e in settle(twin, thrice)}
    assert fills == {(1, Side.BID): 5, (2, Side.ASK): 5, (3, Side.BID): 0}


def test_a_book_used_again_first_clears_what_it_held(twin: TwinMarket) -> None:
    """One side is enough, and a household that was not in it; the others' settlement finds it."""
    submit(twin, bid(), ask())
    events = submit(twin, ask(household=3, slot=SLOT + RING))
    cleared = [event for event in events if isinstance(event, SlotCleared)]
    assert [(event.slot, event.price) for event in cleared] == [(SLOT, 13)]
    # The rows stand: their households have not ordered since.
    assert [event.filled_wh for event in settle(twin, SLOT, 1, 2)] == [5, 5]
    assert settle(twin, SLOT, 1, 2) == []


def test_a_slot_that_a_book_does_not_hold_has_nothing_to_clear(twin: TwinMarket) -> None:
    """Neither before the book is used for it, nor after a slot that nobody ordered."""
    submit(twin, bid(), ask())
    twin.now_s = RULES.gate_closes_s(SLOT + 2 * RING)
    for slot in (SLOT + RING, SLOT - RING, SLOT + 1):
        assert twin.clear(slot) == []
    (cleared,) = twin.clear(SLOT)
    assert isinstance(cleared, SlotCleared)
    assert cleared.price == 13


def test_an_order_refused_for_its_credit_keeps_what_it_settled(twin: TwinMarket) -> None:
    submit(twin, bid(), ask())
    twin.withdraw(1, twin.community.balance_units(1))
    twin.now_s = RULES.gate_closes_s(SLOT)
    twin.clear(SLOT)
    events = submit(twin, bid(slot=SLOT + 1, energy_wh=20))
    assert answers(events) == [Refusal.INSUFFICIENT_CREDIT]
    assert settle(twin, SLOT, 1) == []


def test_orders_of_a_rationed_tick_share_it_by_what_came_before_them(twin: TwinMarket) -> None:
    submit(twin, ask(), ask(household=3), bid())
    fills = {(e.household, e.side): (e.filled_wh, e.price) for e in settle(twin, SLOT)}
    assert fills == {(1, Side.BID): (5, 10), (2, Side.ASK): (2, 10), (3, Side.ASK): (3, 10)}


def test_a_rationed_tick_shares_what_the_better_ones_leave(twin: TwinMarket) -> None:
    submit(twin, ask(energy_wh=2), ask(household=1, energy_wh=6, price=12), bid(household=3))
    fills = {(e.household, e.side): (e.filled_wh, e.price) for e in settle(twin, SLOT)}
    assert fills == {(1, Side.ASK): (3, 12), (2, Side.ASK): (2, 12), (3, Side.BID): (5, 12)}


def test_an_order_behind_the_window_settles_once(twin: TwinMarket) -> None:
    """Two gates open at one time, further apart than the window reaches: a late one, then an early
    one. The older slot's order comes last."""
    late = replace(RULES, gate_offset_s=QUARTER_S, gate_s=QUARTER_S)
    twin.schedule(SLOT + 2, late)
    twin.schedule(SLOT + 70, replace(late, gate_offset_s=-QUARTER_S))
    twin.now_s = (SLOT + 135) * DAY_S
    newer, older = SLOT + 190, SLOT + 10
    assert (
        answers(submit(twin, bid(slot=newer), bid(slot=older), ask(slot=older)))
        == [Refusal.NONE] * 3
    )
    assert len(settle(twin, older)) == 2
    assert settle(twin, older) == []


def test_a_marked_row_settles_once(twin: TwinMarket) -> None:
    """An uncleared slot that left its household's window settles when somebody asks, and once."""
    submit(twin, bid(), ask())
    submit(twin, ask(slot=SLOT + WINDOW_SLOTS), bid(slot=SLOT + WINDOW_SLOTS))
    assert len(settle(twin, SLOT)) == 2
    assert settle(twin, SLOT) == []
    submit(twin, ask(slot=SLOT + RING), bid(slot=SLOT + RING))
    assert len(settle(twin, SLOT + RING)) == 2


def test_a_marked_row_settles_before_it_is_used_again(twin: TwinMarket) -> None:
    submit(twin, bid(), ask())
    submit(twin, bid(slot=SLOT + WINDOW_SLOTS))
    events = submit(twin, bid(slot=SLOT + RING))
    settled = [(event.slot, event.filled_wh) for event in events if isinstance(event, OrderSettled)]
    assert settled == [(SLOT, 5)]


def test_a_window_keeps_its_last_slot_and_lets_the_next_go(twin: TwinMarket) -> None:
    """Of two slots cleared late, one is 128 slots behind the new order and settles; the other is
    127 behind and waits, hidden behind two newer ones that are not cleared."""
    for slot in range(SLOT, SLOT + 4):
        submit(twin, bid(slot=slot))
    for slot in (SLOT, SLOT + 1):
        twin.clear(slot)
    events = submit(twin, ask(household=1, slot=SLOT + WINDOW_SLOTS))
    assert [event.slot for event in events if isinstance(event, OrderSettled)] == [SLOT]
    assert [event.slot for event in settle(twin, SLOT + 1, 1)] == [SLOT + 1]
    assert [event.slot for event in settle(twin, SLOT + 2, 1)] == [SLOT + 2]


def test_a_slot_keeps_its_rules_and_their_recipient(twin: TwinMarket) -> None:
    dearer = replace(RULES, grid=PriceGrid(12, 4, 3), network_fee=40, fee_recipient=OTHER_RECIPIENT)
    twin.schedule(SLOT + 2, dearer)
    submit(twin, bid(), ask())
    settled = settle(twin, SLOT)
    assert sum(event.amount_units for event in settled) == -5 * RULES.network_fee
    assert twin.community.view("feesOf", FEE_RECIPIENT) == 5 * RULES.network_fee
    assert twin.community.view("feesOf", OTHER_RECIPIENT) == 0
    later = SLOT + 2
    submit(twin, bid(slot=later, price=20), ask(slot=later, price=12))
    settle(twin, later)
    assert twin.community.view("feesOf", OTHER_RECIPIENT) == 5 * 40


@pytest.mark.parametrize("offset_days", [-3, 0, 3])
def test_rules_begin_with_a_slot_whose_gate_has_not_opened(
    twin: TwinMarket, offset_days: int
) -> None:
    """Neither under the old rules nor under the new, and not in a slot that has begun."""
    today = twin.now_s // DAY_S
    shifted = replace(RULES, gate_offset_s=offset_days * DAY_S)
    first = today + max(1, -offset_days)
    scheduled = [type(e).__name__ for e in _schedule(twin, first - 1, shifted)]
    assert scheduled == []
    assert [type(e).__name__ for e in _schedule(twin, first, shifted)] == ["RulesScheduled"]
    assert twin.community.view("rulesAt", first)[1] == offset_days * DAY_S
    assert twin.community.view("rulesAt", first - 1)[1] == 0


def _schedule(twin: TwinMarket, from_slot: int, rules: MarketRules) -> list[MarketEvent]:
    return twin.both(
        lambda: twin.community.schedule(from_slot, rules),
        lambda: twin.reference.schedule_rules(from_slot, rules, twin.now_s),
    )
