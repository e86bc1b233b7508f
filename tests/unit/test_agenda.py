"""Steps fall due in order, are tried again within bounds, and trouble is told once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from node.agenda import LONGEST_PAUSE_S, Agenda, Due, Step
from node.clock import ManualClock
from node.errors import ChainUnreachable, DaiseeError, MeterError, MeterSilent

Plan = tuple[Step, int, int, int | None]
"""A step, when it is due, its slot, and until when it is tried."""


def kept(
    plans: Sequence[Plan],
    fails: Callable[[Due, int], DaiseeError | None] = lambda _due, _now_s: None,
    *,
    answers: bool = True,
) -> tuple[Agenda, list[tuple[int, Step, int]]]:
    """Keep an agenda of these steps; when which step was taken."""
    clock = ManualClock(1_000)
    agenda = Agenda(clock, tolerance_s=90)
    taken: list[tuple[int, Step, int]] = []

    async def do(due: Due) -> bool:
        taken.append((clock.now_s(), due.step, due.slot))
        error = fails(due, clock.now_s())
        if error is not None:
            raise error
        return answers

    def plan_anew() -> None:
        for step, at_s, slot, until_s in plans:
            agenda.plan(step, at_s, slot=slot, until_s=until_s)

    asyncio.run(agenda.keep(do, plan_anew, lambda: None))
    return agenda, taken


def test_what_is_due_first_is_taken_first() -> None:
    _, taken = kept(
        [
            (Step.FOLLOW, 2_000, 7, None),
            (Step.CLEAR, 2_000, 8, None),
            (Step.CLEAR, 2_000, 7, None),
            (Step.CLOSE, 2_000, 0, None),
            (Step.ORDER, 1_500, 0, None),
        ]
    )
    assert taken == [
        (1_500, Step.ORDER, 0),
        (2_000, Step.CLOSE, 0),
        (2_000, Step.CLEAR, 7),
        (2_000, Step.CLEAR, 8),
        (2_000, Step.FOLLOW, 7),
    ]


def test_a_step_is_planned_once_for_each_slot_the_last_word_counts() -> None:
    _, taken = kept([(Step.CLEAR, 1_100, 7, None), (Step.CLEAR, 1_200, 7, None)])
    assert taken == [(1_200, Step.CLEAR, 7)]


def test_a_step_whose_time_is_over_is_not_planned() -> None:
    assert kept([(Step.CLEAR, 1_100, 7, 1_100)])[1] == []


def test_pauses_double_up_to_a_minute() -> None:
    _, taken = kept(
        [(Step.CLOSE, 1_000, 0, None)],
        lambda _due, now_s: MeterSilent("no frame") if now_s < 1_300 else None,
    )
    moments = [at_s for at_s, _, _ in taken]
    pauses = [after - before for before, after in pairwise(moments)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_what_a_person_must_mend_is_looked_at_once_a_minute() -> None:
    _, taken = kept(
        [(Step.CLOSE, 1_000, 0, None)],
        lambda _due, now_s: MeterError("swapped") if now_s < 1_150 else None,
    )
    assert [at_s for at_s, _, _ in taken] == [1_000 + i * LONGEST_PAUSE_S for i in range(4)]


def test_a_step_is_not_tried_when_its_time_is_over() -> None:
    agenda, taken = kept(
        [(Step.CATCH_UP, 1_000, 7, 1_020)], lambda _due, _now_s: ChainUnreachable("no answer")
    )
    assert [at_s for at_s, _, _ in taken] == [1_000, 1_001, 1_003, 1_007, 1_015]
    assert agenda.failures == 5
    assert [trouble.step for trouble in agenda.troubles] == [Step.CATCH_UP]


def test_a_failing_step_does_not_hold_up_another() -> None:
    _, taken = kept(
        [(Step.CATCH_UP, 1_000, 7, 1_100), (Step.CLOSE, 1_030, 0, None)],
        lambda due, _now_s: ChainUnreachable("no") if due.step is Step.CATCH_UP else None,
    )
    assert (1_030, Step.CLOSE, 0) in taken


def test_the_chain_is_back_when_it_answers_and_not_before() -> None:
    plans = [(Step.CATCH_UP, 1_000, 7, 1_001), (Step.ORDER, 1_500, 0, None)]

    def fails(due: Due, _now_s: int) -> DaiseeError | None:
        return ChainUnreachable("no answer") if due.step is Step.CATCH_UP else None

    silent, _ = kept(plans, fails, answers=False)
    assert not silent.chain_is_reachable
    assert silent.chain_since_s == 1_000
    answered, _ = kept(plans, fails)
    assert answered.chain_is_reachable
    assert answered.chain_since_s == 1_500
    assert answered.troubles == []


def test_trouble_has_a_beginning_and_changes_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "daisee.node")

    def fails(_due: Due, now_s: int) -> DaiseeError | None:
        if now_s < 1_100:
            return MeterSilent("no frame")
        return MeterError("swapped", next_step="confirm it") if now_s < 1_400 else None

    kept([(Step.CLOSE, 1_000, 0, None)], fails)
    assert [record.message for record in caplog.records] == [
        "fails step=close kind=MeterSilent no frame",
        "fails step=close kind=MeterError swapped",
        "works_again step=close since_s=1000",
    ]


def test_a_bug_is_no_trouble() -> None:
    def fails(_due: Due, _now_s: int) -> DaiseeError | None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        kept([(Step.CLOSE, 1_000, 0, None)], fails)
