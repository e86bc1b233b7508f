"""Strategies: always on the grid, a function of what they are shown, and each does what it says."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import ConfigurationError
from node.market.strategies import (
    DEFAULT_STRATEGY,
    STRATEGIES,
    AdaptivePrice,
    FixedReserve,
    LinearScarcity,
    MarketView,
    OwnOutcome,
    ZeroIntelligenceConstrained,
    strategy_named,
)
from node.model import LogPosition, MarketRules, PriceGrid, Side, SlotCleared

RULES = MarketRules()
FLOOR, CAP = RULES.grid.floor_price, RULES.grid.cap_price


def cleared(slot: int, price: int | None, ask_wh: int = 100, bid_wh: int = 100) -> SlotCleared:
    return SlotCleared(
        position=LogPosition(slot, 0),
        slot=slot,
        price=price,
        matched_wh=0 if price is None else min(ask_wh, bid_wh),
        ask_wh=ask_wh,
        bid_wh=bid_wh,
    )


def view(
    recent: Sequence[SlotCleared] = (),
    own: Sequence[OwnOutcome] = (),
    rules: MarketRules = RULES,
    seed: int = 1,
) -> MarketView:
    return MarketView(rules=rules, rng=random.Random(seed), recent=recent, own=own)


grids = st.builds(
    PriceGrid,
    floor_price=st.integers(1, 10_000),
    tick_size=st.integers(1, 500).map(lambda half: 2 * half),
    ticks=st.integers(1, 224),
)
sides = st.sampled_from(Side)
energies = st.integers(0, 2**42)
clearings = st.lists(
    st.builds(
        cleared,
        slot=st.integers(0, 10**6),
        price=st.none() | st.integers(0, 2**32 - 1),
        ask_wh=energies,
        bid_wh=energies,
    ),
    max_size=12,
)
outcomes = st.lists(
    st.builds(
        OwnOutcome,
        slot=st.integers(0, 10**6),
        side=sides,
        energy_wh=st.integers(0, 2**24 - 1),
        filled_wh=st.integers(0, 2**24 - 1),
    ),
    max_size=12,
)


@given(
    name=st.sampled_from(sorted(STRATEGIES)),
    side=sides,
    grid=grids,
    recent=clearings,
    own=outcomes,
    seed=st.integers(0, 2**32),
)
def test_every_price_stands_on_the_grid_and_equal_views_give_equal_prices(
    name: str,
    side: Side,
    grid: PriceGrid,
    recent: list[SlotCleared],
    own: list[OwnOutcome],
    seed: int,
) -> None:
    rules = MarketRules(grid=grid)
    strategy = strategy_named(name)
    price = strategy.limit_price(side, view(recent, own, rules, seed))
    assert grid.contains(price)
    assert price == strategy_named(name).limit_price(side, view(recent, own, rules, seed))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_carries_the_name_it_is_found_under(name: str) -> None:
    assert strategy_named(name).name == name


def test_the_default_is_the_fixed_reserve() -> None:
    assert isinstance(strategy_named(DEFAULT_STRATEGY), FixedReserve)


@given(grid=grids)
def test_fixed_reserves_cross_whatever_the_grid(grid: PriceGrid) -> None:
    shown = view(rules=MarketRules(grid=grid))
    ask = FixedReserve().limit_price(Side.ASK, shown)
    bid = FixedReserve().limit_price(Side.BID, shown)
    assert (ask, bid) == (grid.floor_price, grid.cap_price)


def test_given_reserves_hold() -> None:
    strategy = strategy_named("fixed-reserve", ask_price=9_000, bid_price=18_000)
    assert strategy.limit_price(Side.ASK, view()) == 9_000
    assert strategy.limit_price(Side.BID, view()) == 18_000


@pytest.mark.parametrize("price", [FLOOR + 50, FLOOR - 100, CAP + 100, 0])
def test_a_reserve_off_the_grid_is_refused(price: int) -> None:
    with pytest.raises(ConfigurationError, match=r"ask_price .* not on the price grid"):
        FixedReserve(ask_price=price).limit_price(Side.ASK, view())


def test_zero_intelligence_draws_from_the_whole_band_and_no_price_twice_as_often() -> None:
    shown = view()
    strategy = ZeroIntelligenceConstrained()
    drawn = [strategy.limit_price(Side.ASK, shown) for _ in range(22_400)]
    counts = [drawn.count(price) for price in sorted(set(drawn))]
    assert len(counts) == RULES.grid.ticks
    assert 50 < min(counts) <= max(counts) < 150


@given(cost=st.integers(0, CAP), seed=st.integers(0, 2**32))
def test_a_zero_intelligence_seller_makes_no_loss(cost: int, seed: int) -> None:
    strategy = ZeroIntelligenceConstrained(seller_cost=cost)
    assert strategy.limit_price(Side.ASK, view(seed=seed)) >= cost


@given(
    value=st.integers(FLOOR + 1_500, 40_000), fee=st.integers(0, 1_500), seed=st.integers(0, 2**32)
)
def test_a_zero_intelligence_buyer_makes_no_loss_with_the_fee(
    value: int, fee: int, seed: int
) -> None:
    strategy = ZeroIntelligenceConstrained(buyer_value=value)
    rules = MarketRules(network_fee=fee)
    assert strategy.limit_price(Side.BID, view(rules=rules, seed=seed)) + fee <= value


@pytest.mark.parametrize(
    ("side", "strategy"),
    [
        (Side.ASK, ZeroIntelligenceConstrained(seller_cost=CAP + 1)),
        (Side.BID, ZeroIntelligenceConstrained(buyer_value=FLOOR - 1)),
    ],
)
def test_a_valuation_outside_the_band_is_refused(
    side: Side, strategy: ZeroIntelligenceConstrained
) -> None:
    with pytest.raises(ConfigurationError, match="every price of the band is a loss"):
        strategy.limit_price(side, view())


@pytest.mark.parametrize(
    ("ask_wh", "bid_wh", "expected"),
    [(100, 0, FLOOR), (0, 100, CAP), (300, 100, 9_600), (0, 0, 15_200)],
)
def test_linear_scarcity_runs_from_floor_to_cap(ask_wh: int, bid_wh: int, expected: int) -> None:
    strategy = LinearScarcity(concession_ticks=0)
    shown = view([cleared(1, None, ask_wh, bid_wh)])
    assert strategy.limit_price(Side.ASK, shown) == expected
    assert strategy.limit_price(Side.BID, shown) == expected


def test_linear_scarcity_sees_only_its_window() -> None:
    strategy = LinearScarcity(window=2, concession_ticks=0)
    scarce = cleared(1, None, 0, 100)
    plenty = [cleared(2, None, 100, 0), cleared(3, None, 100, 0)]
    assert strategy.limit_price(Side.ASK, view([scarce, *plenty])) == FLOOR


@given(recent=clearings)
def test_linear_scarcity_neighbours_of_one_view_always_meet(recent: list[SlotCleared]) -> None:
    strategy = LinearScarcity()
    ask = strategy.limit_price(Side.ASK, view(recent))
    assert ask <= strategy.limit_price(Side.BID, view(recent))


def test_adaptive_expects_the_middle_of_the_band_then_the_prices_it_saw() -> None:
    strategy = AdaptivePrice(start_ticks=0)
    assert strategy.limit_price(Side.ASK, view()) == RULES.grid.nearest((FLOOR + CAP) / 2)
    assert strategy.limit_price(Side.ASK, view([cleared(1, 8_000)])) == 8_000
    rising = view([cleared(1, 8_000), cleared(2, None), cleared(3, 18_000)])
    assert strategy.limit_price(Side.ASK, rising) == 10_000


def test_adaptive_widens_when_filled_and_narrows_when_not() -> None:
    strategy = AdaptivePrice()
    prices = [cleared(1, 15_000)]
    for side, better in ((Side.ASK, 1), (Side.BID, -1)):
        filled = OwnOutcome(1, side, 100, 100)
        missed = OwnOutcome(1, side, 100, 0)
        at_first = strategy.limit_price(side, view(prices))
        assert (strategy.limit_price(side, view(prices, [filled])) - at_first) * better > 0
        assert (strategy.limit_price(side, view(prices, [missed])) - at_first) * better < 0


def test_adaptive_learns_each_side_for_itself() -> None:
    strategy = AdaptivePrice()
    bought = [OwnOutcome(slot, Side.BID, 100, 100) for slot in range(5)]
    assert strategy.limit_price(Side.ASK, view((), bought)) == strategy.limit_price(
        Side.ASK, view()
    )


@given(own=outcomes)
def test_adaptive_stays_within_its_margin(own: list[OwnOutcome]) -> None:
    strategy = AdaptivePrice(most_ticks=20)
    price = strategy.limit_price(Side.BID, view([cleared(1, 15_000)], own))
    assert abs(price - 15_000) <= 20 * RULES.grid.tick_size


def test_an_unknown_strategy_lists_those_that_exist_and_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"did you mean adaptive\?.*fixed-reserve"):
        strategy_named("adaptiv")


def test_an_unknown_parameter_lists_those_that_exist() -> None:
    with pytest.raises(ValueError, match=r"parameter of strategy linear-scarcity.*window"):
        strategy_named("linear-scarcity", windows=3)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("linear-scarcity", {"window": 0}),
        ("linear-scarcity", {"window": 2.5}),
        ("linear-scarcity", {"concession_ticks": -1}),
        ("adaptive", {"alpha": 0}),
        ("adaptive", {"alpha": float("nan")}),
        ("adaptive", {"start_ticks": 50}),
        ("adaptive", {"widen_ticks": -1.0}),
        ("fixed-reserve", {"ask_price": True}),
    ],
)
def test_a_parameter_it_cannot_work_with_is_refused(
    name: str, parameters: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match=next(iter(parameters))):
        strategy_named(name, **parameters)
