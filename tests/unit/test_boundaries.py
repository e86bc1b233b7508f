"""A register at a slot's end: exact in sum, honest about its split."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from node.meter.boundaries import (
    CLOSE_S,
    MARK_S,
    MAX_MARKS,
    MAX_POINTS,
    MAX_SAMPLES,
    MOST_UNSURE_S,
    UNSURE_S,
    AtBoundary,
    RegisterTrack,
)
from node.model import Quality


def track(*samples: tuple[int, int]) -> RegisterTrack:
    register = RegisterTrack()
    for at_s, counted_wh in samples:
        register.add(at_s, counted_wh)
    return register


def test_a_sample_on_the_boundary_is_the_value() -> None:
    assert track((0, 100), (900, 130)).at(900) == AtBoundary(130, Quality.METERED)


def test_close_samples_give_a_metered_value_between_them() -> None:
    assert track((890, 100), (910, 110)).at(900) == AtBoundary(105, Quality.METERED)


def test_a_gap_gives_an_estimate() -> None:
    assert track((0, 100), (1800, 300)).at(900) == AtBoundary(200, Quality.ESTIMATED)


def test_a_gap_in_which_nothing_flowed_is_no_estimate() -> None:
    assert track((0, 100), (1800, 100)).at(900) == AtBoundary(100, Quality.METERED)


def test_nothing_is_known_outside_the_samples() -> None:
    register = track((100, 5), (200, 6))
    assert register.at(99) is None
    assert register.at(201) is None
    assert RegisterTrack().at(0) is None


def test_a_clock_that_stands_still_keeps_the_newest_total() -> None:
    assert track((100, 5), (100, 7), (90, 8)).at(100) == AtBoundary(8, Quality.METERED)


def test_old_samples_are_forgotten() -> None:
    register = track(*((second, second) for second in range(MAX_SAMPLES + 10)))
    assert register.at(5) is None
    assert register.at(MAX_SAMPLES) == AtBoundary(MAX_SAMPLES, Quality.METERED)


def test_the_full_minutes_of_two_days_are_answered_exactly() -> None:
    days_s = MAX_MARKS // 2 * MARK_S
    register = track(*((second, 7 * second) for second in range(0, 3 * days_s, 10)))
    first_s = register.begins_at_s
    assert first_s is not None
    assert 2 * days_s - MARK_S <= first_s <= 2 * days_s + MARK_S
    for boundary_s in range(2 * days_s + MARK_S, 3 * days_s, MARK_S):
        assert register.at(boundary_s) == AtBoundary(7 * boundary_s, Quality.METERED)
    assert register.at(first_s - 1) is None


@given(st.integers(0, 3_000), st.integers(1, 60))
def test_a_later_track_goes_on_from_its_points(hours: int, step_s: int) -> None:
    register = track(*((second, second // 3) for second in range(0, 60 * hours, step_s)))
    points = register.points_after(-1)
    assert len(points) <= MAX_POINTS
    later = RegisterTrack(points)
    assert later.last == register.last
    for boundary_s in range(0, 60 * hours, MARK_S):
        here, there = register.at(boundary_s), later.at(boundary_s)
        if here is not None and there is not None and there.quality is Quality.METERED:
            assert there == here


def test_points_after_the_last_answer_are_few() -> None:
    register = track(*((second, second) for second in range(2_000)))
    assert register.points_after(1_990) == [(1_999, 1_999)]
    assert register.points_after(1_799) == [(1_800, 1_800), (1_999, 1_999)]
    assert RegisterTrack().points_after(0) == []


def test_a_clock_that_is_set_back_far_forgets_what_it_will_live_again() -> None:
    register = track(*((second, second) for second in range(0, 4_000, 10)))
    register.add(1_000, 3_995)
    assert register.at(1_500) is None
    register.add(2_000, 4_000)
    assert register.at(1_000) == AtBoundary(3_995, Quality.ESTIMATED)
    assert register.at(995) == AtBoundary((990 + 3_995) // 2, Quality.ESTIMATED)
    assert register.unsure_until_s == 3_990 + UNSURE_S


def test_a_clock_that_was_years_ahead_is_doubted_for_a_day() -> None:
    register = track((10**9, 5), (1_000, 6), (1_010, 7))
    assert register.unsure_until_s == 1_000 + MOST_UNSURE_S + UNSURE_S
    assert register.at(1_005) == AtBoundary(6, Quality.ESTIMATED)


@given(
    st.lists(st.tuples(st.integers(1, 4_000), st.integers(0, 3_000)), min_size=2, max_size=80),
    st.integers(1, 900),
)
def test_slots_add_up_to_the_registers_growth(steps: list[tuple[int, int]], slot_s: int) -> None:
    register, now, total = RegisterTrack(), 0, 1_000
    register.add(now, total)
    for seconds, energy_wh in steps:
        now, total = now + seconds, total + energy_wh
        register.add(now, total)
    ends = [*range(0, now, slot_s), now]
    values = [register.at(end) for end in ends]
    totals = [value.register_wh for value in values if value is not None]
    assert len(totals) == len(ends)
    assert totals == sorted(totals)
    slot_energies = [after - before for before, after in itertools.pairwise(totals)]
    assert sum(slot_energies) == total - 1_000


@given(st.integers(1, CLOSE_S), st.integers(0, 100))
def test_a_value_lies_between_its_samples(gap_s: int, energy_wh: int) -> None:
    register = track((0, 10), (gap_s, 10 + energy_wh))
    for instant in range(gap_s + 1):
        found = register.at(instant)
        assert found is not None
        assert found.quality is Quality.METERED
        assert 10 <= found.register_wh <= 10 + energy_wh
