"""The edges of what the market takes: one second, one tick, one Wh to either side of each."""

from __future__ import annotations

import pytest

from node.model import MarketRules, Order, Refusal, Side, SlotCleared
from node.slots import slot_at
from tests.support.evm import Reverted
from tests.support.market_chain import FEE_RECIPIENT, GENESIS_S, Community, refused

RULES = MarketRules()
SLOT = slot_at(GENESIS_S, RULES.slot_s) + 4
LIMIT_WH = 5_000
OPENS_S, CLOSES_S = RULES.gate_opens_s(SLOT), RULES.gate_closes_s(SLOT)


def answer(
    at_s: int, *, energy_wh: int = LIMIT_WH, limit_price: int = RULES.grid.cap_price
) -> Refusal:
    """What the market says to an ask at an instant."""
    community = Community(RULES)
    member = community.admit(LIMIT_WH, LIMIT_WH, units=10**12)
    order = Order(member.number, SLOT, Side.ASK, energy_wh, limit_price)
    community.evm.now_s = at_s
    try:
        community.submit(community.signed(order))
    except Reverted as error:
        return Refusal(refused(error))
    return Refusal.NONE


@pytest.mark.parametrize(
    ("at_s", "said"),
    [
        (OPENS_S - 1, Refusal.GATE_NOT_OPEN),
        (OPENS_S, Refusal.NONE),
        (CLOSES_S - 1, Refusal.NONE),
        (CLOSES_S, Refusal.GATE_NOT_OPEN),
    ],
)
def test_the_gate_is_open_from_its_first_second_to_its_last(at_s: int, said: Refusal) -> None:
    assert answer(at_s) is said


@pytest.mark.parametrize(
    ("limit_price", "said"),
    [
        (RULES.grid.floor_price - RULES.grid.tick_size, Refusal.PRICE_OFF_GRID),
        (RULES.grid.floor_price, Refusal.NONE),
        (RULES.grid.floor_price + 1, Refusal.PRICE_OFF_GRID),
        (RULES.grid.cap_price, Refusal.NONE),
        (RULES.grid.cap_price + RULES.grid.tick_size, Refusal.PRICE_OFF_GRID),
        (2**32 - 1, Refusal.PRICE_OFF_GRID),
    ],
)
def test_a_price_stands_on_the_grid_from_floor_to_cap(limit_price: int, said: Refusal) -> None:
    assert answer(OPENS_S, limit_price=limit_price) is said


@pytest.mark.parametrize(
    ("energy_wh", "said"),
    [
        (0, Refusal.ENERGY_OUT_OF_LIMIT),
        (1, Refusal.NONE),
        (LIMIT_WH, Refusal.NONE),
        (LIMIT_WH + 1, Refusal.ENERGY_OUT_OF_LIMIT),
        (2**24, Refusal.ENERGY_OUT_OF_LIMIT),
    ],
)
def test_energy_is_at_least_one_wh_and_at_most_the_limit(energy_wh: int, said: Refusal) -> None:
    assert answer(OPENS_S, energy_wh=energy_wh) is said


def test_a_fee_goes_to_the_recipient_of_the_slots_own_rules() -> None:
    other = "0x" + "fd" * 20
    rules = MarketRules(network_fee=100, fee_recipient=FEE_RECIPIENT)
    community = Community(rules)
    seller, buyer = (community.admit(LIMIT_WH, LIMIT_WH, units=10**12) for _ in range(2))
    community.evm.now_s = OPENS_S
    for member, side in ((seller, Side.ASK), (buyer, Side.BID)):
        order = Order(member.number, SLOT, side, 1_000, rules.grid.floor_price)
        community.submit(community.signed(order))
    community.schedule(SLOT + 8, MarketRules(network_fee=500, fee_recipient=other))
    community.evm.now_s = rules.gate_closes_s(SLOT)
    community.settle(SLOT, [seller.number, buyer.number])
    assert community.view("feesOf", FEE_RECIPIENT) == 1_000 * 100
    assert community.view("feesOf", other) == 0


def test_a_slot_of_bids_alone_sees_no_asks_of_the_slot_that_had_the_book_before() -> None:
    rules = MarketRules(slot_s=86_400)
    community = Community(rules)
    seller, buyer = (community.admit(LIMIT_WH, LIMIT_WH, units=10**12) for _ in range(2))
    first = slot_at(GENESIS_S, rules.slot_s) + 1
    for slot, member, side in (
        (first, seller, Side.ASK),
        (first + int(community.view("ringSlots")), buyer, Side.BID),
    ):
        community.evm.now_s = rules.gate_opens_s(slot)
        order = Order(member.number, slot, side, 1_000, rules.grid.floor_price)
        community.submit(community.signed(order))
    community.evm.now_s = rules.gate_closes_s(slot)
    (cleared,) = community.events(community.clear(slot))
    assert isinstance(cleared, SlotCleared)
    assert (cleared.price, cleared.ask_wh, cleared.bid_wh) == (None, 0, 1_000)
