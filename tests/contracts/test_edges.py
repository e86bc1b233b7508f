"""The edges of what the market takes: one second, one tick, one Wh to either side of each."""

from __future__ import annotations

import pytest

from node.model import MarketRules, Order, Refusal, Side
from node.slots import slot_at
from tests.support.evm import Reverted
from tests.support.market_chain import GENESIS_S, Community, refused

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
