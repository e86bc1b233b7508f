"""The register guard believes what can be true, holds the rest, and never loses or invents a Wh."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.guard import (
    AGREEING_TO_MOVE,
    AGREEING_TO_RECOVER,
    GuardState,
    Limits,
    Verdict,
    confirm_restart,
    first_sample,
    observe,
    stepped_back,
)

HOME = Limits(max_power_w=9_000)
SENSOR = Limits(max_power_w=9_000, may_restart=True)


def live(
    state: GuardState, limits: Limits, *samples: tuple[int, int]
) -> tuple[GuardState, list[Verdict]]:
    verdicts = []
    for register_wh, at_s in samples:
        state, verdict = observe(state, limits, register_wh, at_s)
        verdicts.append(verdict)
    return state, verdicts


def test_a_register_that_grows_is_believed() -> None:
    state, verdicts = live(first_sample(1_000, 0), HOME, (1_001, 1), (1_001, 2), (1_030, 12))
    assert verdicts == [Verdict.ACCEPTED] * 3
    assert state.counted_wh == 1_030


def test_the_bound_is_the_connection_and_the_time() -> None:
    assert HOME.may_grow_wh(900) == 9_000 * 900 * 12 // 36_000 + 1
    _, at_bound = live(first_sample(0, 0), HOME, (HOME.may_grow_wh(900), 900))
    _, beyond = live(first_sample(0, 0), HOME, (HOME.may_grow_wh(900) + 1, 900))
    assert (at_bound, beyond) == ([Verdict.ACCEPTED], [Verdict.HELD])


def test_a_glitch_is_held_and_forgotten() -> None:
    state, verdicts = live(
        first_sample(50_000, 0), HOME, (0, 1), (50_001, 2), (50_002, 3), (50_003, 4), (50_004, 5)
    )
    assert verdicts == [
        Verdict.HELD,
        *[Verdict.HELD] * (AGREEING_TO_RECOVER - 1),
        Verdict.RECOVERED,
        Verdict.ACCEPTED,
    ]
    assert state.counted_wh == 50_004
    assert not state.is_holding


def test_a_gap_is_bounded_by_its_own_length() -> None:
    state, verdicts = live(first_sample(0, 0), HOME, (30_000, 6 * 3_600))
    assert verdicts == [Verdict.ACCEPTED]
    assert state.counted_wh == 30_000


def test_a_rollover_counts_through() -> None:
    start = first_sample(999_999_990, 0)
    samples = [(i, 20 * (i + 1)) for i in range(AGREEING_TO_MOVE)]
    state, verdicts = live(start, HOME, *samples)
    assert verdicts[-1] is Verdict.ROLLED_OVER
    assert state.counted_wh == 999_999_990 + 10 + AGREEING_TO_MOVE - 1


def test_a_certified_register_that_fell_waits_for_its_owner() -> None:
    samples = [(i, 20 * (i + 1)) for i in range(50)]
    state, verdicts = live(first_sample(500_000, 0), HOME, *samples)
    assert set(verdicts) == {Verdict.HELD}
    assert state.counted_wh == 500_000
    confirmed = confirm_restart(state)
    after, verdict = observe(confirmed, HOME, 60, 20 * 51)
    assert verdict is Verdict.ACCEPTED
    assert after.counted_wh == 500_000 + 60 - 49


def test_confirming_without_a_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to confirm"):
        confirm_restart(first_sample(0, 0))


def test_a_sensor_restarts_by_itself_and_claims_nothing_for_it() -> None:
    samples = [(3 + i, 20 * (i + 1)) for i in range(AGREEING_TO_MOVE)]
    state, verdicts = live(first_sample(500_000, 0), SENSOR, *samples)
    assert verdicts[-1] is Verdict.RESTARTED
    assert state.counted_wh == 500_000
    after, _ = observe(state, SENSOR, samples[-1][0] + 2, samples[-1][1] + 10)
    assert after.counted_wh == 500_002


def test_a_restart_of_the_node_in_a_hold_changes_nothing() -> None:
    held, _ = live(first_sample(500_000, 0), HOME, (0, 1))
    stored = replace(held)
    assert live(stored, HOME, (1, 2), (2, 3)) == live(held, HOME, (1, 2), (2, 3))
    assert stored.counted_wh == 500_000


def test_a_clock_that_steps_back_allows_no_growth() -> None:
    state, verdicts = live(first_sample(1_000, 100), HOME, (1_000, 50), (1_010, 40))
    assert verdicts == [Verdict.ACCEPTED, Verdict.HELD]
    assert state.at_s == 100


def test_a_clock_that_was_set_back_and_says_so_allows_growth_at_once() -> None:
    state, _ = live(first_sample(1_000, 5_000), HOME, (0, 5_010))
    moved = stepped_back(state, 4_000)
    assert moved.suspect is not None
    assert (moved.at_s, moved.suspect.at_s, moved.suspect.since_s) == (1_000, 1_010, 1_010)
    _, verdicts = live(moved, HOME, (1_010, 1_010), (1_020, 1_020), (1_030, 1_030))
    assert verdicts[-1] is Verdict.RECOVERED


def test_samples_may_arrive_closer_together_than_they_were_taken() -> None:
    late = replace(HOME, lateness_s=3)
    grown_wh = late.may_grow_wh(0)
    assert grown_wh == HOME.may_grow_wh(3)
    _, verdicts = live(first_sample(0, 0), late, (grown_wh, 0), (2 * grown_wh + 1, 0))
    assert verdicts == [Verdict.ACCEPTED, Verdict.HELD]


def test_only_a_steady_series_is_a_move() -> None:
    state = first_sample(500_000, 0)
    moved = []
    for at in range(AGREEING_TO_MOVE + 2):
        state, _ = observe(state, HOME, at, 20 * (at + 1))
        moved.append(state.is_moved)
    assert moved == [*[False] * (AGREEING_TO_MOVE - 1), True, True, True]


growth = st.lists(st.tuples(st.integers(1, 600), st.integers(0, 100)), min_size=1, max_size=60)


@given(start=st.integers(0, 10**8), steps=growth)
def test_an_honest_register_is_counted_to_the_wh(start: int, steps: list[tuple[int, int]]) -> None:
    state, register, now = first_sample(start, 0), start, 0
    for seconds, share in steps:
        now += seconds
        register += HOME.may_grow_wh(seconds) * share // 100
        state, verdict = observe(state, HOME, register, now)
        assert verdict is Verdict.ACCEPTED
    assert state.counted_wh == register


@given(
    samples=st.lists(
        st.tuples(st.integers(0, 2 * 10**9), st.integers(-5, 600)), min_size=1, max_size=80
    ),
    may_restart=st.booleans(),
)
def test_whatever_comes_the_total_never_falls_and_never_outruns_the_connection(
    samples: list[tuple[int, int]], *, may_restart: bool
) -> None:
    limits = Limits(max_power_w=9_000, may_restart=may_restart)
    state, now, latest, accepted = first_sample(samples[0][0], 0), 0, 0, 0
    first_wh = state.counted_wh
    for register, seconds in samples:
        now += seconds
        latest = max(latest, now)
        before_wh = state.counted_wh
        state, verdict = observe(state, limits, register, now)
        assert state.counted_wh >= before_wh
        if verdict not in (Verdict.HELD, Verdict.RESTARTED):
            accepted += 1
        if verdict is Verdict.HELD:
            assert state.counted_wh == before_wh
    # A rollover claims up to what five samples over a minute support, and is counted like one.
    bound_wh = limits.may_grow_wh(latest + 5 * len(samples)) + accepted * limits.range_wh // 50
    assert state.counted_wh - first_wh <= bound_wh + accepted


@given(glitches=st.lists(st.integers(0, 10**9 - 1), min_size=1, max_size=4))
def test_a_few_glitches_leave_no_trace(glitches: list[int]) -> None:
    state, now = first_sample(400_000_000, 0), 0
    for glitch in glitches:
        now += 1
        state, _ = observe(state, HOME, glitch, now)
    for i in range(AGREEING_TO_RECOVER + 1):
        now += 1
        state, _ = observe(state, HOME, 400_000_002 + i, now)
    assert state.counted_wh == 400_000_002 + AGREEING_TO_RECOVER
    assert not state.is_holding
