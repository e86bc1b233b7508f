"""A late correction opens the touched steps and no others; the slow oracle is the whole month."""

from __future__ import annotations

import random
from array import array
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.billing.allocation import Allocation, allocate, plain, reallocate, vector
from node.billing.keys import default_dynamic, market
from node.billing.series import MISSING
from node.errors import ConfigurationError
from tests.support.allocations import check_conservation
from tests.support.random_months import Month, random_month

SEEDS = st.integers(0, 2**32)
Curves: TypeAlias = Mapping[str, "array[int]"]


def late(rng: random.Random, case: Month) -> tuple[Curves, Curves, set[int]]:
    """The curves after late values of some points, and the steps that these touch. Under the
    market's key nothing falls below what was traded: reconciliation comes first."""
    sides = [dict(case.production), dict(case.consumption)]
    touched = set()
    for _ in range(rng.randint(0, 12)):
        side = rng.choice(sides)
        point = rng.choice(sorted(side))
        step = rng.randrange(case.steps)
        before = side[point][step]
        values = [0, 1, 900, max(before, 0) + rng.randint(0, 50)]
        value = rng.choice(values[3:] if case.key.name == "market" else values)
        side[point] = array("q", side[point])
        side[point][step] = value
        touched.add(step)
    made, used = sides
    changed = {
        step
        for step in touched
        for table, now in ((case.production, made), (case.consumption, used))
        if any(table[point][step] != curve[step] for point, curve in now.items())
    }
    return made, used, changed


def asked_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every step that any engine is asked to allocate from now on."""
    asked: list[int] = []
    for engine in (plain, vector):
        real = engine.allocate_curves

        def counted(
            stages: Any,  # noqa: ANN401 - whatever the engine takes
            steps: Sequence[int],
            *curves: Any,  # noqa: ANN401
            _real: Any = real,  # noqa: ANN401
            **into: Any,  # noqa: ANN401
        ) -> None:
            asked.extend(steps)
            _real(stages, steps, *curves, **into)

        monkeypatch.setattr(engine, "allocate_curves", counted)
    return asked


def figures(allocation: Allocation, step: int) -> list[int]:
    return [
        curve[step]
        for table in (allocation.given, allocation.allocated)
        for curve in table.values()
    ]


@pytest.mark.parametrize("engine", ["plain", "vector"])
@given(seed=SEEDS)
def test_what_is_reopened_is_what_the_whole_month_would_be(engine: str, seed: int) -> None:
    """Whatever the key and whatever comes late: touched steps are those of a whole recomputation,
    all others are as they were, and the engine is asked about the touched alone."""
    rng = random.Random(seed)
    case = random_month(rng)
    groups = [step * 7 // 48 % 3 for step in range(case.steps)]
    before = allocate(case.key, case.production, case.consumption, groups=groups)
    kept = {step: figures(before, step) for step in range(0, case.steps, 7)}
    production, consumption, touched = late(rng, case)
    with pytest.MonkeyPatch.context() as patch:
        asked = asked_of_the_engine(patch)
        again = reallocate(before, production, consumption, groups=groups, plain=engine == "plain")
    assert set(asked) <= touched == set(again.steps)
    assert len(asked) <= 2 * len(touched), "once as they were, once as they are"
    after = again.allocation
    whole = allocate(case.key, production, consumption, groups=groups)
    assert (after.given, after.allocated) == (whole.given, whole.allocated)
    assert (after.pairs, after.open_steps) == (whole.pairs, whole.open_steps)
    for step, was in kept.items():
        assert figures(before, step) == was, "what was billed is not rewritten"
        if step not in touched:
            assert figures(after, step) == was
    check_conservation(after)


@given(seed=SEEDS)
def test_corrections_sum_to_zero_in_every_step(seed: int) -> None:
    """What producers give more is what consumers get more, and what is left moves by the rest."""
    rng = random.Random(seed)
    case = random_month(rng, gaps=False)
    before = allocate(case.key, case.production, case.consumption)
    production, consumption, touched = late(rng, case)
    after = reallocate(before, production, consumption).allocation
    for step in touched:
        gained = {
            name: sum(now[point][step] - was[point][step] for point in was)
            for name, was, now in (
                ("made", before.production, after.production),
                ("used", before.consumption, after.consumption),
                ("given", before.given, after.given),
                ("got", before.allocated, after.allocated),
            )
        }
        surplus = sum(after.surplus(p)[step] - before.surplus(p)[step] for p in production)
        complement = sum(
            after.complement(c)[step] - before.complement(c)[step] for c in consumption
        )
        assert gained["given"] == gained["got"]
        assert gained["made"] == gained["given"] + surplus
        assert gained["used"] == gained["got"] + complement


@given(seed=SEEDS)
def test_one_correction_after_the_other_leads_to_the_last(seed: int) -> None:
    rng = random.Random(seed)
    case = random_month(rng)
    states = [allocate(case.key, case.production, case.consumption)]
    for _ in range(3):
        newest = states[-1]
        month = Month(case.key, newest.production, newest.consumption, case.steps)
        states.append(reallocate(newest, *late(rng, month)[:2]).allocation)
    direct = reallocate(states[0], states[-1].production, states[-1].consumption).allocation
    assert (states[-1].given, states[-1].allocated) == (direct.given, direct.allocated)
    for one, two in pairwise(states):
        assert one.steps == two.steps


def test_nothing_late_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_month(random.Random(4))
    before = allocate(case.key, case.production, case.consumption)
    asked = asked_of_the_engine(monkeypatch)
    again = reallocate(before, case.production, case.consumption)
    assert (again.steps, asked) == ((), [])
    assert again.allocation.given == before.given


def test_a_value_that_is_taken_back_opens_its_step() -> None:
    made, used = {"p": array("q", [5, 5])}, {"c": array("q", [3, 4])}
    before = allocate(default_dynamic(), made, used, groups=[0, 0])
    again = reallocate(before, made, {"c": array("q", [3, MISSING])}, groups=[0, 0])
    assert again.allocation.open_steps == (1,)
    assert again.allocation.given["p"].tolist() == [3, MISSING]
    assert again.allocation.pairs == {0: [[3]]}


def test_what_cannot_be_reopened_is_refused() -> None:
    made, used = {"p": array("q", [5, 5])}, {"c": array("q", [3, 4])}
    before = allocate(default_dynamic(), made, used, groups=[0, 1])
    with pytest.raises(ValueError, match="other points"):
        reallocate(before, made, {"d": array("q", [3, 4])}, groups=[0, 1])
    with pytest.raises(ValueError, match="summed by groups"):
        reallocate(before, made, {"c": array("q", [3, 5])})
    traded = allocate(market({"p": [3, 4]}, {"c": [3, 4]}), made, used)
    with pytest.raises(ConfigurationError, match="reconcile first"):
        reallocate(traded, made, {"c": array("q", [2, 4])})
