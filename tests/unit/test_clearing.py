"""The clearing rule, held to its vectors and, for any book, to its own words by brute force."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from node.market.clearing import Clearing, clear, share_at_price
from node.model import MAX_ENERGY_WH, Order, PriceGrid, Side
from tests.support.shared import shared_path

GRID = PriceGrid()
SLOT = 1_628_064
BAND = range(GRID.floor_price, GRID.cap_price + 1, GRID.tick_size // 2)
"""Every price of the band, and the midpoints between."""

ENERGIES = st.one_of(st.integers(1, 9), st.integers(1, 9_000), st.just(MAX_ENERGY_WH))
FEW_TICKS = st.sampled_from([0, 1, 2, 3, 100, 222, 223])
ALL_TICKS = st.integers(0, GRID.ticks - 1)


def order(household: int, side: Side, energy_wh: int, limit_price: int) -> Order:
    return Order(household, SLOT, side, energy_wh, limit_price)


@st.composite
def books(draw: st.DrawFn, min_size: int = 0, max_size: int = 14) -> list[Order]:
    """Books in which ties are common: each side of a household at most once."""
    ticks = draw(st.sampled_from([FEW_TICKS, ALL_TICKS]))
    lines = draw(
        st.lists(
            st.tuples(st.sampled_from(Side), ENERGIES, ticks),
            min_size=min_size,
            max_size=max_size,
        )
    )
    return [
        order(number, side, energy, GRID.price_of(tick))
        for number, (side, energy, tick) in enumerate(lines, 1)
    ]


def energy(book: list[Order], side: Side, low: int, high: int) -> int:
    """The energy of a side with limits from low to high, both included."""
    return sum(o.energy_wh for o in book if o.side is side and low <= o.limit_price <= high)


def supply(book: list[Order], at_most: int) -> int:
    return energy(book, Side.ASK, 0, at_most)


def demand(book: list[Order], at_least: int) -> int:
    return energy(book, Side.BID, at_least, 2**62)


def filled(book: list[Order], clearing: Clearing, side: Side) -> int:
    fills = zip(book, clearing.filled_wh, strict=True)
    return sum(fill for o, fill in fills if o.side is side)


def vectors() -> list[Any]:
    found: list[Any] = json.loads(shared_path("vectors/clearing.json").read_text())["vectors"]
    return found


def test_the_worked_books_clear_as_written() -> None:
    for vector in vectors():
        lines = sorted(vector["orders"], key=lambda line: int(line["seq"]))
        book = [
            order(number, Side[line["side"].upper()], line["energy_wh"], line["limit_price"])
            for number, line in enumerate(lines, 1)
        ]
        clearing = clear(book)
        assert clearing.price == vector["price"], vector["name"]
        assert clearing.matched_wh == vector["matched_wh"], vector["name"]
        wanted = [line["filled_wh"] for line in lines]
        assert list(clearing.filled_wh) == wanted, vector["name"]


def test_an_empty_book_has_no_price() -> None:
    assert clear([]) == Clearing(None, 0, 0, 0, None, None, ())


@pytest.mark.parametrize("side", Side)
def test_one_side_alone_has_no_price(side: Side) -> None:
    clearing = clear([order(1, side, 500, 9_000), order(2, side, 700, 4_000)])
    assert (clearing.price, clearing.matched_wh, clearing.filled_wh) == (None, 0, (0, 0))
    assert (clearing.ask_wh, clearing.bid_wh) == ((1_200, 0) if side is Side.ASK else (0, 1_200))


@given(books())
def test_the_volume_is_the_most_that_any_price_allows(book: list[Order]) -> None:
    best = max(min(supply(book, p), demand(book, p)) for p in BAND)
    assert clear(book).matched_wh == best


@given(books())
def test_low_and_high_are_what_the_specification_calls_them(book: list[Order]) -> None:
    clearing = clear(book)
    if clearing.matched_wh == 0:
        assert (clearing.price, clearing.low, clearing.high) == (None, None, None)
        return
    occurring = sorted({o.limit_price for o in book})
    low = min(p for p in occurring if supply(book, p) >= demand(book, p + 1))
    high = max(p for p in occurring if demand(book, p) >= supply(book, p - 1))
    assert (clearing.low, clearing.high) == (low, high)
    assert low <= high
    assert 2 * (clearing.price or 0) == low + high
    # Nothing is missed between the prices that occur: the whole interval clears, and no more.
    assert [
        p
        for p in BAND
        if supply(book, p) >= demand(book, p + 1) and demand(book, p) >= supply(book, p - 1)
    ] == [p for p in BAND if low <= p <= high]


@given(books())
def test_both_sides_trade_exactly_the_volume(book: list[Order]) -> None:
    clearing = clear(book)
    for side in Side:
        assert filled(book, clearing, side) == clearing.matched_wh
    assert clearing.ask_wh == supply(book, 2**62)
    assert clearing.bid_wh == demand(book, 0)
    assert all(0 <= f <= o.energy_wh for o, f in zip(book, clearing.filled_wh, strict=True))


@given(books(min_size=2))
def test_nobody_trades_worse_than_its_limit_and_better_limits_trade_whole(
    book: list[Order],
) -> None:
    clearing = clear(book)
    price = clearing.price
    for o, fill in zip(book, clearing.filled_wh, strict=True):
        if price is None:
            assert fill == 0
            continue
        gain = price - o.limit_price if o.side is Side.ASK else o.limit_price - price
        if gain < 0:
            assert fill == 0
        elif gain > 0:
            assert fill == o.energy_wh


@given(books(min_size=2))
def test_at_most_one_side_is_rationed(book: list[Order]) -> None:
    clearing = clear(book)
    assume(clearing.price is not None)
    rationed = {
        o.side
        for o, fill in zip(book, clearing.filled_wh, strict=True)
        if o.limit_price == clearing.price and fill < o.energy_wh
    }
    assert len(rationed) <= 1


@given(books(min_size=2))
def test_fills_at_the_price_are_pro_rata_within_one_wh(book: list[Order]) -> None:
    clearing = clear(book)
    assume(clearing.price is not None)
    for side in Side:
        at_price = [
            (o.energy_wh, fill)
            for o, fill in zip(book, clearing.filled_wh, strict=True)
            if o.side is side and o.limit_price == clearing.price
        ]
        total = sum(wanted for wanted, _ in at_price)
        left = sum(fill for _, fill in at_price)
        for wanted, fill in at_price:
            assert abs(fill * total - wanted * left) < total  # |fill - wanted * left / total| < 1


@given(
    energies=st.lists(st.integers(1, MAX_ENERGY_WH), min_size=1, max_size=40),
    share=st.fractions(0, 1),
)
@example(energies=[1] * 40, share=Fraction(1, 3))
def test_shares_of_a_tick_sum_to_what_is_left(energies: list[int], share: Fraction) -> None:
    total = sum(energies)
    left = int(total * share)
    before = accumulate(energies, initial=0)
    shares = [share_at_price(c, q, left, total) for c, q in zip(before, energies, strict=False)]
    assert sum(shares) == left
    assert all(0 <= got <= wanted for got, wanted in zip(shares, energies, strict=True))


@given(
    loads=st.lists(st.integers(1, 5_000), min_size=1, max_size=10),
    suns=st.lists(st.integers(1, 5_000), min_size=1, max_size=10),
)
def test_with_one_price_only_it_is_the_default_dynamic_key(
    loads: list[int], suns: list[int]
) -> None:
    """Floor = cap: the French key, pro rata of consumption (or production) of what there is."""
    book = [order(n, Side.BID, load, 9_000) for n, load in enumerate(loads)]
    book += [order(100 + n, Side.ASK, sun, 9_000) for n, sun in enumerate(suns)]
    clearing = clear(book)
    shared = min(sum(loads), sum(suns))
    assert (clearing.price, clearing.matched_wh) == (9_000, shared)
    for o, fill in zip(book, clearing.filled_wh, strict=True):
        side_wh = sum(loads) if o.side is Side.BID else sum(suns)
        assert abs(fill - o.energy_wh * shared / side_wh) < 1


@given(book=books(min_size=1), energy_wh=ENERGIES, tick=ALL_TICKS)
def test_one_order_more_moves_the_price_its_own_way_and_never_lowers_the_volume(
    book: list[Order], energy_wh: int, tick: int
) -> None:
    before = clear(book)
    for side in Side:
        after = clear([*book, order(99, side, energy_wh, GRID.price_of(tick))])
        assert after.matched_wh >= before.matched_wh
        if before.price is None or after.price is None:
            continue
        if side is Side.BID:
            assert after.price >= before.price
        else:
            assert after.price <= before.price


@given(book=books(min_size=2), data=st.data())
def test_a_better_limit_never_trades_less(book: list[Order], data: st.DataObject) -> None:
    """Up to the one Wh by which rounding moves between the orders of a tick."""
    index = data.draw(st.integers(0, len(book) - 1))
    known = book[index]
    tick = GRID.tick_of(known.limit_price)
    better = st.integers(0, tick) if known.side is Side.ASK else st.integers(tick, GRID.ticks - 1)
    changed = replace(known, limit_price=GRID.price_of(data.draw(better)))
    before = clear(book).filled_wh[index]
    after = clear([*book[:index], changed, *book[index + 1 :]]).filled_wh[index]
    assert after + 1 >= before


@given(book=books(min_size=2), rng=st.randoms(use_true_random=False))
def test_the_order_of_acceptance_moves_nothing_but_the_rounding(
    book: list[Order], rng: random.Random
) -> None:
    clearing = clear(book)
    shuffled = book.copy()
    rng.shuffle(shuffled)
    again = clear(shuffled)
    assert (again.price, again.matched_wh) == (clearing.price, clearing.matched_wh)
    fills = {o.household: f for o, f in zip(book, clearing.filled_wh, strict=True)}
    for o, fill in zip(shuffled, again.filled_wh, strict=True):
        assert abs(fill - fills[o.household]) <= 1


@given(books())
def test_evenly_spread_ticks_keep_the_midpoint_an_integer_inside_the_band(
    book: list[Order],
) -> None:
    price = clear(book).price
    assert price is None or GRID.floor_price <= price <= GRID.cap_price
