"""What is rebuilt from events is what the market that wrote them says of itself."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import Refused
from node.market.accounts import accounts_from, with_due
from node.market.audit import audit
from node.market.history import completed, rebuild
from node.market.reference import ReferenceMarket
from node.model import Household, MarketEvent, MarketRules, Order, PriceGrid, Side

RULES = MarketRules(network_fee=150, fee_recipient="0xfee")
DEARER = MarketRules(network_fee=400, fee_recipient="0xfee", grid=PriceGrid(5_000, 200, 50))
HOUSEHOLDS = range(1, 6)
FIRST, COUNT = 1_628_064, 12


def lively_market(seed: int) -> tuple[ReferenceMarket, list[MarketEvent]]:
    """A market of five households, some poor, with late clearings and a change of rules."""
    rng = random.Random(seed)
    market = ReferenceMarket(RULES)
    for number in HOUSEHOLDS:
        market.admit(Household(number, 9_000, 9_000))
        market.deposit(number, rng.choice((10**6, 10**9)))
    market.schedule_rules(FIRST + COUNT // 2, DEARER, RULES.gate_opens_s(FIRST) - 1000)
    for slot in range(FIRST, FIRST + COUNT):
        rules = market.rules_at(slot)
        orders = [
            Order(
                number,
                slot,
                side,
                rng.randint(1, 9_500),
                rules.grid.price_of(rng.choice((0, 1, 20, 49))),
            )
            for number in HOUSEHOLDS
            for side in Side
            if rng.random() < 0.5
        ]
        rng.shuffle(orders)
        market.submit_batch(orders, rules.gate_opens_s(slot))
        for late in (slot, slot - 3):
            if rng.random() < 0.5:
                with suppress(Refused):  # it has no orders
                    market.settle(late, HOUSEHOLDS, rules.gate_closes_s(slot))
    with suppress(Refused):  # it spent all it had
        market.withdraw(1, 1_000)
    return market, market.drain_events()


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_the_audit_agrees_with_the_reference_market(seed: int) -> None:
    _, events = lively_market(seed)
    report = audit(events, RULES)
    assert [difference.text for difference in report.differences] == []
    assert report.orders > 0


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_accounts_are_the_balances_of_the_reference_market(seed: int) -> None:
    market, events = lively_market(seed)
    accounts = accounts_from(events, RULES)
    for number in HOUSEHOLDS:
        assert accounts.by_household[number].balance_units == market.balance_units(number)
    assert accounts.network_fees_units == market.fees_units("0xfee")


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_what_is_due_is_what_settling_brings(seed: int) -> None:
    market, events = lively_market(seed)
    before = with_due(accounts_from(events, RULES), rebuild(events, RULES))
    cleared = [slot for slot in range(FIRST, FIRST + COUNT) if market.result(slot) is not None]
    for slot in cleared:
        market.settle(slot, HOUSEHOLDS, 2**40)
    for number, account in before.by_household.items():
        assert account.balance_units + account.due_units == market.balance_units(number)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_fills_are_the_allocations_of_the_reference_market(seed: int) -> None:
    market, events = lively_market(seed)
    for record in rebuild(events, RULES):
        if record.cleared is None:
            continue
        for order in completed(record).orders:
            allocation = market.allocation(record.slot, order.household)
            if order.side is Side.ASK:
                assert order.filled_wh == allocation.sold_wh
                assert order.amount_units == allocation.earned_units
            else:
                assert order.filled_wh == allocation.bought_wh
                assert order.amount_units == -allocation.paid_units


def test_the_material_is_lively_enough() -> None:
    """Refusals, unsettled orders and both versions of the rules occur in it."""
    _, events = lively_market(1)
    kinds = {type(event).__name__ for event in events}
    assert kinds >= {"OrderRefused", "OrderSettled", "SlotCleared", "RulesScheduled"}
    accounts = accounts_from(events, RULES)
    assert accounts.unsettled
    assert {record.rules.network_fee for record in rebuild(events, RULES)} == {150, 400}
    with pytest.raises(Refused):
        lively_market(1)[0].withdraw(1, 10**15)
