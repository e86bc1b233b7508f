"""The market's own allocation as a key: what was stated, on the curves of the operator."""

from __future__ import annotations

import random
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.billing.allocation import Key, allocate, reallocate
from node.billing.curve_files import CurveTable
from node.billing.keys import MARKET, default_dynamic, key_from
from node.billing.market_key import (
    MARKET_FILES,
    StatedMarket,
    in_market_steps,
    kept_market,
    key_on,
    market_entry,
    market_files,
    stated_by,
)
from node.billing.series import MISSING
from node.errors import ConfigurationError, Refused
from node.model import Order, Side
from tests.support.allocations import check_conservation, check_pairs
from tests.support.official_curves import (
    FIRST_SLOT,
    SLOT_S,
    fills_of_book,
    market_tables,
    measured_otherwise,
    random_fills,
)

SEEDS = st.integers(0, 2**32)
START_S = FIRST_SLOT * SLOT_S
OF_MARKET = Key(MARKET, ())


def by_number(household: int, _: Side) -> str:
    return str(household)


def stated_of(*orders: tuple[int, Side, int]) -> StatedMarket:
    fills = fills_of_book([Order(who, FIRST_SLOT, side, wh, 10_000) for who, side, wh in orders])
    return stated_by(fills, SLOT_S, by_number)


def half_hour(**points: int) -> dict[str, array[int]]:
    return {point[1:]: array("q", (wh,)) for point, wh in points.items()}


@given(seed=SEEDS, step_s=st.sampled_from((900, 1_800, 3_600)))
def test_a_correction_opens_its_steps_and_comes_to_what_all_anew_comes_to(
    seed: int, step_s: int
) -> None:
    """In any order, above or below what was stated, and where a value goes or comes."""
    rng = random.Random(seed)
    fills = random_fills(rng, 8)
    stated = stated_by(fills, SLOT_S, by_number)
    steps_s = range(START_S, START_S + 8 * SLOT_S, step_s)
    groups = [step % 2 for step in range(len(steps_s))]
    states = []
    for _ in range(3):
        official = measured_otherwise(rng, fills, 8, step_s, absent=0)
        made, used = market_tables(official, 8, step_s)
        key = key_on(OF_MARKET, stated, made.points, used.points, steps_s)
        states.append((key, made.points, used.points))
    now = allocate(*states[0], groups=groups)
    for key, made_wh, used_wh in states[1:]:
        before, again = now, reallocate(now, made_wh, used_wh, groups=groups, key=key)
        now = again.allocation
        check_conservation(now)
        check_pairs(now)
        for old, new in (
            *zip(before.given.values(), now.given.values(), strict=True),
            *zip(before.allocated.values(), now.allocated.values(), strict=True),
        ):
            changed = {n for n, (a, b) in enumerate(zip(old, new, strict=True)) if a != b}
            assert changed <= set(again.steps)
    anew = allocate(*states[-1], groups=groups)
    assert (now.given, now.allocated, now.pairs) == (anew.given, anew.allocated, anew.pairs)
    assert now.open_steps == anew.open_steps


@given(seed=SEEDS)
def test_what_was_stated_is_kept_as_it_was(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stated = stated_by(random_fills(random.Random(seed), 6), SLOT_S, by_number)
    folder = tmp_path_factory.mktemp("kept")
    for name, text in market_files(stated).items():
        (folder / name).write_text(text)
    kept = kept_market(folder, market_entry(stated))
    assert kept == stated
    assert [list(side) for side in (kept.given, kept.taken)] == [
        list(side) for side in (stated.given, stated.taken)
    ], "the order of points settles who bears the last Wh"


def test_nothing_filled_is_kept_too(tmp_path: Path) -> None:
    nothing = StatedMarket(SLOT_S, {}, {})
    assert market_files(nothing) == {}
    assert kept_market(tmp_path, market_entry(nothing)) == nothing
    made = half_hour(p1=500)
    key = key_on(
        OF_MARKET, nothing, made, half_hour(p2=500), range(START_S, START_S + 1_800, 1_800)
    )
    assert allocate(key, made, half_hour(p2=500)).given["1"][0] == 0


@pytest.mark.parametrize("change", ["", "start,1\n", "start,1\nnever,100\n", "start,1\n1,2,3\n"])
def test_what_is_not_what_was_billed_is_told(tmp_path: Path, change: str) -> None:
    stated = stated_of((1, Side.ASK, 500), (2, Side.BID, 300))
    for name, text in market_files(stated).items():
        (tmp_path / name).write_text(text)
    (tmp_path / MARKET_FILES[0]).write_text(change)
    with pytest.raises(Refused, match=MARKET_FILES[0]) as refused:
        kept_market(tmp_path, market_entry(stated))
    assert refused.value.reason == "market_lost"


def test_a_point_without_a_curve_and_a_household_without_a_point_are_refused() -> None:
    stated = stated_of((1, Side.ASK, 500), (2, Side.BID, 300))
    span = range(START_S, START_S + 1_800, 1_800)
    with pytest.raises(Refused, match="2 traded in the market, and has no withdrawal curve"):
        key_on(OF_MARKET, stated, half_hour(p1=500), {}, span)
    fills = fills_of_book(
        [Order(1, FIRST_SLOT, Side.ASK, 5, 4_000), Order(2, FIRST_SLOT, Side.BID, 5, 9_000)]
    )
    with pytest.raises(Refused, match="household 2 bought in the market"):
        stated_by(fills, SLOT_S, lambda who, _: "1" if who == 1 else None)


def test_slots_outside_the_steps_play_no_part() -> None:
    stated = stated_of((1, Side.ASK, 500), (2, Side.BID, 300))
    later = range(START_S + 1_800, START_S + 3_600, 1_800)
    key = key_on(OF_MARKET, stated, half_hour(p1=500), half_hour(p2=500), later)
    assert allocate(key, half_hour(p1=500), half_hour(p2=500)).allocated["2"][0] == 0
    assert key_on(default_dynamic(), stated, {}, {}, later) == default_dynamic()
    assert key_on(OF_MARKET, None, {}, {}, later) == OF_MARKET


def test_curves_are_brought_to_the_steps_of_longer_slots() -> None:
    made = CurveTable(START_S, 1_800, {"1": array("q", (1, 2, 3, MISSING))})
    nobody = CurveTable(START_S, 1_800, {})
    wide, empty = in_market_steps(made, nobody, 3_600)
    assert (wide.step_s, list(wide.points["1"])) == (3_600, [3, MISSING])
    assert (empty.step_s, dict(empty.points)) == (3_600, {})
    assert in_market_steps(made, nobody, 900)[0] is made
    for start_s, steps, slot_s in (
        (START_S, 4, 7_200),
        (START_S, 3, 3_600),
        (START_S + 1_800, 4, 3_600),
    ):
        odd = CurveTable(start_s, 1_800, {"1": array("q", (1,)) * steps})
        with pytest.raises(Refused) as refused:
            in_market_steps(odd, nobody, slot_s)
        assert refused.value.reason == "market_steps"
    tens = CurveTable(START_S, 600, {"1": array("q", (1, 2, 3))})
    with pytest.raises(Refused, match="do not fit each other"):
        in_market_steps(tens, nobody, 900)


def test_the_key_alone_allocates_nothing_and_says_so() -> None:
    key = key_from({"kind": "market"})
    assert key == OF_MARKET
    with pytest.raises(ConfigurationError, match="nobody says what was filled"):
        allocate(key, half_hour(p1=500), half_hour(p2=500))
