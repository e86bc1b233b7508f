"""The kernel's records: grids, rules, limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.model import (
    BEFORE_ALL,
    MAX_PRICE,
    EvidenceClass,
    Household,
    LogPosition,
    MarketRules,
    PriceGrid,
    Refusal,
    Side,
)


def test_the_default_band_is_the_specifications() -> None:
    grid = PriceGrid()
    assert (grid.floor_price, grid.tick_size, grid.cap_price) == (4_000, 100, 26_300)
    assert MarketRules().gate_s == 300


@pytest.mark.parametrize(
    ("floor", "tick", "ticks"),
    [
        (0, 100, 10),
        (-100, 100, 10),
        (4_000, 0, 10),
        (4_000, -2, 10),
        (4_000, 99, 10),
        (4_000, 100, 0),
        (4_000, 100, 225),
        (MAX_PRICE, 2, 2),
    ],
)
def test_a_grid_that_cannot_be_is_refused(floor: int, tick: int, ticks: int) -> None:
    with pytest.raises(ValueError, match=r"price|tick"):
        PriceGrid(floor, tick, ticks)


@given(
    floor=st.integers(1, 10**6),
    half_tick=st.integers(1, 5_000),
    ticks=st.integers(1, 224),
    price=st.integers(-(10**6), 10**7),
)
def test_a_grid_knows_its_own(floor: int, half_tick: int, ticks: int, price: int) -> None:
    grid = PriceGrid(floor, 2 * half_tick, ticks)
    prices = range(floor, grid.cap_price + 1, grid.tick_size)
    assert len(prices) == ticks
    assert grid.contains(price) is (price in prices)
    near = grid.nearest(price)
    assert near in prices
    assert all(abs(near - price) <= abs(other - price) for other in (prices[0], prices[-1]))
    assert grid.price_of(grid.tick_of(near)) == near


def test_nearest_takes_any_number() -> None:
    grid = PriceGrid()
    assert [grid.nearest(p) for p in (-1e9, 4_049.9, 4_050.1, 1e9)] == [4_000, 4_000, 4_100, 26_300]


@pytest.mark.parametrize(
    "wrong", [{"slot_s": 0}, {"gate_s": 0}, {"network_fee": -1}, {"network_fee": MAX_PRICE + 1}]
)
def test_rules_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"slot|gate|fee"):
        MarketRules(**wrong)  # type: ignore[arg-type] # all of them are numbers


@given(
    slot_s=st.integers(10, 86_400),
    offset_s=st.integers(-86_400, 86_400),
    gate_s=st.integers(1, 86_400),
    slot=st.integers(100, 10**7),
)
def test_a_gate_is_open_for_gate_seconds_and_no_longer(
    slot_s: int, offset_s: int, gate_s: int, slot: int
) -> None:
    rules = MarketRules(slot_s=slot_s, gate_offset_s=offset_s, gate_s=gate_s)
    opens, closes = rules.gate_opens_s(slot), rules.gate_closes_s(slot)
    assert opens == (slot + 1) * slot_s + offset_s
    assert closes - opens == gate_s
    open_at = [rules.gate_is_open(slot, s) for s in (opens - 1, opens, closes - 1, closes)]
    assert open_at == [False, True, True, False]


def test_words_of_outputs() -> None:
    assert [side.word for side in Side] == ["ask", "bid"]
    assert Refusal.INSUFFICIENT_CREDIT.word == "insufficient_credit"
    assert [str(letter) for letter in EvidenceClass] == ["A", "B", "C", "D"]


def test_limits_are_per_side() -> None:
    household = Household(1, import_limit_wh=9_000, export_limit_wh=0)
    assert (household.limit_wh(Side.BID), household.limit_wh(Side.ASK)) == (9_000, 0)


def test_positions_are_in_chain_order() -> None:
    assert BEFORE_ALL < LogPosition(0, 0) < LogPosition(0, 7) < LogPosition(1, 0)
