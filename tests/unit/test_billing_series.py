"""The canonical curve: exact energy at any step, gaps that stay gaps, and what a change touches."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.billing.series import (
    DAY_S,
    MISSING,
    STEPS_S,
    Curve,
    Direction,
    StepQuality,
    resampled,
    touched_steps,
)

MIDNIGHT_S = 1_646_092_800  # 2022-03-01T00:00:00Z


def curve_of(values: list[int | None], step_s: int = 1800, start_s: int = MIDNIGHT_S) -> Curve:
    return Curve(
        "30000000000011",
        Direction.WITHDRAWAL,
        step_s,
        start_s,
        array("q", [MISSING if value is None else value for value in values]),
        bytes(StepQuality.GAP if value is None else StepQuality.METERED for value in values),
    )


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    step_s = draw(st.sampled_from(STEPS_S))
    values = draw(st.lists(st.none() | st.integers(0, 10**7), max_size=400))
    return curve_of(values, step_s, MIDNIGHT_S + step_s * draw(st.integers(0, 300)))


def exact(curve: Curve) -> int:
    return sum(value for value in curve.watt_minutes if value != MISSING)


def test_ten_minutes_of_power_carry_their_remainder() -> None:
    # 500 W for ten minutes are 83 1/3 Wh: three of them make 250 Wh, not 249.
    assert list(curve_of([5000, 5000, 5000], 600).energy_wh()) == [83, 84, 83]


def test_the_carry_begins_anew_at_midnight() -> None:
    last_of_day = MIDNIGHT_S + DAY_S - 600
    assert list(curve_of([20, 20, 20], 600, last_of_day).energy_wh()) == [0, 0, 1]


@given(curves())
def test_a_day_in_wh_is_its_exact_energy_to_half_a_wh(curve: Curve) -> None:
    first_day = curve.start_s - curve.start_s % DAY_S
    for day_s in range(first_day, curve.end_s, DAY_S):
        wh = [v for v in curve.energy_wh_between(day_s, day_s + DAY_S) if v != MISSING]
        assert abs(sum(wh) * 60 - exact(curve.window(day_s, day_s + DAY_S))) <= 30
        assert all(value >= 0 for value in wh)


@given(curves(), st.data())
def test_a_step_has_the_same_wh_in_every_window(curve: Curve, data: st.DataObject) -> None:
    first = data.draw(st.integers(-5, len(curve) + 5))
    last = data.draw(st.integers(first, len(curve) + 10))
    from_s, to_s = curve.step_start_s(first), curve.step_start_s(last)
    day_s = min(from_s, curve.start_s) - DAY_S - min(from_s, curve.start_s) % DAY_S
    whole = curve.energy_wh_between(day_s, max(to_s, curve.end_s))
    skipped = (from_s - day_s) // curve.step_s
    assert curve.energy_wh_between(from_s, to_s) == whole[skipped : skipped + last - first]


@given(curves())
def test_gaps_are_missing_in_wh_and_nothing_else_is(curve: Curve) -> None:
    energy_wh = curve.energy_wh()
    in_gaps = {at_s for from_s, to_s in curve.gaps() for at_s in range(from_s, to_s, curve.step_s)}
    assert in_gaps == {
        curve.step_start_s(index) for index, value in enumerate(energy_wh) if value == MISSING
    }
    assert curve.values == len(curve) - len(in_gaps)


@given(curves(), st.sampled_from(STEPS_S))
def test_resampling_keeps_the_energy_of_every_whole_step(curve: Curve, step_s: int) -> None:
    other = resampled(curve, step_s)
    if MISSING not in curve.watt_minutes and not (curve.start_s % step_s or curve.end_s % step_s):
        assert exact(other) == exact(curve)
    assert exact(other) <= exact(curve)
    assert {MISSING} >= {
        value for value, code in zip(other.watt_minutes, other.quality, strict=True) if not code
    }


def test_a_finer_step_is_an_estimate_and_a_coarser_one_needs_all_its_parts() -> None:
    finer = resampled(curve_of([100, 50]), 600)
    assert list(finer.watt_minutes) == [33, 33, 34, 16, 17, 17]
    assert set(finer.quality) == {StepQuality.ESTIMATED}
    coarser = resampled(curve_of([1, 2, 3, 4, None, 6], 600), 1800)
    assert list(coarser.watt_minutes) == [6, MISSING]


def test_a_correction_touches_its_step_and_where_the_carry_moves() -> None:
    before = curve_of([60, 60, 60, 60])
    after = curve_of([60, 120, None, 60])
    (run,) = touched_steps(before, after)
    assert (run.from_s, run.to_s, run.steps) == (MIDNIGHT_S + 1800, MIDNIGHT_S + 5400, 2)
    assert touched_steps(before, before) == []


def test_a_longer_curve_touches_its_new_steps() -> None:
    (run,) = touched_steps(curve_of([60]), curve_of([60, 60, 60]))
    assert (run.from_s, run.to_s) == (MIDNIGHT_S + 1800, MIDNIGHT_S + 5400)


def test_a_window_on_nothing_is_all_gap() -> None:
    far = curve_of([60]).window(MIDNIGHT_S - 7200, MIDNIGHT_S - 3600)
    assert list(far.energy_wh()) == [MISSING, MISSING]
    later = curve_of([60]).window(MIDNIGHT_S + 7200, MIDNIGHT_S + 9000)
    assert list(later.energy_wh()) == [MISSING]


@pytest.mark.parametrize(
    ("step_s", "start_s"), [(1200, MIDNIGHT_S), (1800, MIDNIGHT_S + 600), (0, 0)]
)
def test_a_curve_off_its_grid_is_no_curve(step_s: int, start_s: int) -> None:
    with pytest.raises(ValueError, match=r"step|grid"):
        curve_of([60], step_s, start_s)
