"""Accounts rebuilt from events: no unit appears or is lost, settled or not."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from node.market.accounts import Account, Accounts, accounts_from, with_due
from node.market.history import rebuild
from node.model import MarketEvent, OrderSettled, Side, Withdrawn
from tests.support.honest_market import CREDIT, FEE_RULES, SCARCE, SLOT, HonestMarket


def accounts(events: Iterable[MarketEvent]) -> Accounts:
    found = list(events)
    return with_due(accounts_from(found, FEE_RULES), rebuild(found, FEE_RULES))


def test_a_settled_slot_moves_the_money_of_its_fills() -> None:
    found = accounts(HonestMarket().trade(SCARCE))
    assert found.by_household == {
        1: Account(1, deposited_units=CREDIT, earned_units=6_000_000),
        2: Account(2, deposited_units=CREDIT, paid_units=3_660_000),
        3: Account(3, deposited_units=CREDIT, paid_units=2_440_000),
    }
    assert found.by_household[1].balance_units == CREDIT + 6_000_000
    assert found.by_household[2].balance_units == CREDIT - 3_660_000
    assert found.network_fees_units == 500 * 200
    assert not found.unsettled


def test_an_open_bid_sets_its_worst_case_aside() -> None:
    market = HonestMarket()
    for order in SCARCE:
        market.accept(order)
    found = accounts(market.events)
    assert found.by_household[1] == Account(1, deposited_units=CREDIT)
    assert found.by_household[3].escrow_units == 500 * (12_000 + 200)
    assert found.by_household[3].balance_units == CREDIT - 500 * 12_200
    assert found.unsettled_slots == [SLOT]


def test_a_cleared_order_that_is_not_settled_is_due() -> None:
    market = HonestMarket()
    for order in SCARCE:
        market.accept(order)
    market.clear(SCARCE)
    found = accounts(market.events).by_household
    assert found[1].due_units == 6_000_000
    assert found[2].due_units == 300 * 25_200 - 3_660_000
    assert found[3].due_units == 500 * 12_200 - 2_440_000


def test_a_withdrawal_leaves_the_account() -> None:
    market = HonestMarket()
    market.trade(SCARCE)
    market.events.append(Withdrawn(market.next_position(), 1, 6_000_000))
    account = accounts(market.events).by_household[1]
    assert (account.balance_units, account.withdrawn_units) == (CREDIT, 6_000_000)


@given(settled=st.lists(st.booleans(), min_size=3, max_size=3))
def test_money_is_conserved_to_the_unit_whoever_has_settled(settled: list[bool]) -> None:
    market = HonestMarket()
    kept = iter(settled)
    events = [
        event for event in market.trade(SCARCE) if not isinstance(event, OrderSettled) or next(kept)
    ]
    found = accounts(events)
    held = sum(a.balance_units + a.due_units for a in found.by_household.values())
    # An open bid's fee is neither the bidder's any more nor collected yet.
    fees_to_come = sum(
        event.filled_wh * FEE_RULES.network_fee
        for event in market.events
        if isinstance(event, OrderSettled) and event.side is Side.BID and event not in events
    )
    unpaid = sum(
        event.amount_units
        for event in market.events
        if isinstance(event, OrderSettled) and event not in events
    )
    assert held + found.network_fees_units + fees_to_come == 3 * CREDIT
    assert unpaid == sum(a.due_units - a.escrow_units for a in found.by_household.values())
