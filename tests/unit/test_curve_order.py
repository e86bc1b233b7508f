"""Files of the operator's in any order, and more than once: what is kept is the same."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.billing.conformity import Finding, FindingClass, Treatment
from node.billing.curve_store import CurveStore, Said
from node.billing.importing import FileReport
from node.billing.series import DAY_S, MISSING, Curve, Direction, StepQuality
from node.store.curves import CurveDatabase

HOME: Final = "30000000000011"
IN: Final = Direction.WITHDRAWAL
START_S: Final = 20_000 * DAY_S
STEP_S: Final = 1800
SPAN: Final = (START_S, START_S + 3 * DAY_S)
TRUST: Final = {StepQuality.CORRECTED: 3, StepQuality.METERED: 2, StepQuality.MANUAL: 2}


@dataclass(frozen=True, slots=True)
class File:
    """What a file says, by step from the start on, and when it says that it was written."""

    name: str
    published_s: int | None
    steps: dict[int, tuple[int, StepQuality]]

    def report(self) -> FileReport:
        last = max(self.steps) + 1
        values = array("q", (MISSING,)) * last
        quality = bytearray(last)
        for step, (value, code) in self.steps.items():
            values[step], quality[step] = value, code
        curve = Curve(HOME, IN, STEP_S, START_S, values, bytes(quality), self.name)
        rows = len(self.steps)
        return FileReport(
            self.name, self.name * 2, "R63", self.published_s, rows, rows, 0, 0, [], [curve], [], []
        )


def kept(files: Sequence[File], now_s: int = 0) -> tuple[list[int], bytes, list[int]]:
    """What these files leave in this order: values, qualities, Wh."""
    with CurveDatabase.open(None) as database:
        store = CurveStore(database)
        for file in files:
            store.add(file.report(), now_s)
        curve = store.curve(HOME, IN, *SPAN)
        assert curve is not None
        return list(curve.watt_minutes), curve.quality, list(store.energy_wh(HOME, IN, *SPAN))


def said(files: Sequence[File], now_s: int = 0) -> list[Said | None]:
    """Who said each step, after these files in this order."""
    with CurveDatabase.open(None) as database:
        store = CurveStore(database)
        for file in files:
            store.add(file.report(), now_s)
        return [store.said(HOME, IN, at_s, at_s + STEP_S) for at_s in range(*SPAN, STEP_S)]


def metered(name: str, published_s: int | None, watts: dict[int, int]) -> File:
    return File(
        name,
        published_s,
        {step: (value * 30, StepQuality.METERED) for step, value in watts.items()},
    )


A: Final = metered("A", 1, dict.fromkeys(range(96), 1_000))


@pytest.mark.parametrize("order", list(permutations("ABC")))
def test_a_file_that_repeats_a_value_takes_back_what_came_between(order: tuple[str, ...]) -> None:
    files = {
        "A": A,
        "B": metered("B", 2, dict.fromkeys(range(96), 1_600)),
        "C": metered("C", 3, dict.fromkeys(range(96), 1_000)),
    }
    values, _, energy_wh = kept([files[name] for name in order])
    assert set(values[:96]) == {30_000}
    assert sum(energy_wh[:96]) == 48_000


@pytest.mark.parametrize("order", list(permutations("ABC")))
def test_corrections_of_two_steps_of_one_day_both_hold(order: tuple[str, ...]) -> None:
    files = {"A": A, "B": metered("B", 2, {41: 1_600}), "C": metered("C", 3, {45: 1_800})}
    values, _, _ = kept([files[name] for name in order])
    assert (values[41], values[45], values[42]) == (48_000, 54_000, 30_000)


def test_what_a_repeat_took_back_is_told_of_the_file_that_comes_late() -> None:
    with CurveDatabase.open(None) as database:
        store = CurveStore(database)
        store.add(A.report(), 10)
        again = store.add(replace(A, name="C", published_s=3).report(), 11)
        assert (again.added, again.touched, again.findings) == ((), (), ())
        late = store.add(metered("B", 2, {41: 1_600}).report(), 12)
        (finding,) = late.findings
        assert (finding.rule, finding.rows, late.touched) == ("older_file", 1, ())
        assert store.versions(HOME, IN) == [1], "a repeat makes no version"


def test_a_file_without_a_date_stands_where_it_came() -> None:
    dated, undated = metered("A", 5, {0: 100}), metered("B", None, {0: 200})
    assert kept([dated, undated], now_s=4)[0][0] == 3_000
    assert kept([undated, dated], now_s=4)[0][0] == 3_000
    assert kept([dated, undated], now_s=6)[0][0] == 6_000
    assert kept([undated, dated], now_s=6)[0][0] == 6_000


def test_of_two_files_of_one_second_the_later_by_name_holds() -> None:
    files = [metered("A", 5, {0: 100}), metered("B", 5, {0: 200})]
    assert [kept(order)[0][0] for order in (files, files[::-1])] == [6_000, 6_000]


@pytest.mark.parametrize(
    ("dated", "between", "watts"), [(2, 1, 100), (2, 3, 200), (None, None, 200), (None, 5, 100)]
)
def test_a_file_that_is_read_again_stands_where_it_did(
    dated: int | None, between: int | None, watts: int
) -> None:
    """More of it can be taken now; what came in between holds only where it is later."""
    whole = metered("A", dated, {0: 100}).report()
    refused = Finding(FindingClass.NON_STANDARD, Treatment.ASK, "stamp_side", "which?", "A", rows=1)
    with CurveDatabase.open(None) as database:
        store = CurveStore(database)
        store.add(replace(whole, curves=[], accepted=0, refused=1, findings=[refused]), 10)
        store.add(metered("B", between, {0: 200}).report(), 11)
        assert store.add(whole, 12).version == 3
        curve = store.curve(HOME, IN, *SPAN)
        assert curve is not None
        assert curve.watt_minutes[0] == watts * 30


@pytest.mark.parametrize("step_s", [600, 3_600])
def test_who_said_a_step_is_known_on_other_steps_too(step_s: int) -> None:
    with CurveDatabase.open(None) as database:
        store = CurveStore(database)
        store.add(A.report(), 10)
        store.add(metered("C", 3, {41: 1_000, 45: 1_800}).report(), 11)
        steps = 2 * DAY_S // step_s
        other = Curve(
            *(HOME, IN, step_s, START_S, array("q", (20 * step_s,)) * steps),
            bytes((StepQuality.METERED,)) * steps,
            "B",
        )
        store.add(replace(A.report(), file="B", digest="B", published_s=2, curves=[other]), 12)
        curve = store.curve(HOME, IN, *SPAN)
        assert curve is not None
        for step in range(96):
            told = store.said(HOME, IN, START_S + step * STEP_S, START_S + (step + 1) * STEP_S)
            assert told is not None
            assert (told.file == "C") == (step in {41, 45}), step


def rule_told(files: Sequence[File], now_s: int) -> dict[int, tuple[int, int]]:
    """The rule of docs/curves.md, step by step: the more trusted, then the later file."""
    found: dict[int, list[tuple[int, int, str, int, int]]] = {}
    for file in files:
        at_s = now_s if file.published_s is None else file.published_s
        for step, (value, code) in file.steps.items():
            said_then = (TRUST.get(code, 1), at_s, file.name, value, int(code))
            found.setdefault(step, []).append(said_then)
    return {step: max(values)[3:] for step, values in found.items()}


FILES: Final = st.lists(
    st.builds(
        File,
        st.just(""),
        st.none() | st.integers(1, 4),
        st.dictionaries(
            st.integers(0, 99),
            st.tuples(
                st.integers(0, 2),
                st.sampled_from(
                    [
                        *(StepQuality.METERED, StepQuality.METERED, StepQuality.MANUAL),
                        *(StepQuality.CORRECTED, StepQuality.ESTIMATED),
                    ]
                ),
            ),
            min_size=1,
            max_size=8,
        )
        | st.builds(
            lambda value: dict.fromkeys(range(70), (value, StepQuality.METERED)),
            st.integers(0, 2),
        ),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200)
@given(files=FILES, seed=st.integers(0, 2**32), now_s=st.integers(0, 5))
def test_in_any_order_and_with_repeats_the_same_is_kept(
    files: list[File], seed: int, now_s: int
) -> None:
    rng = random.Random(seed)
    named = [replace(file, name="abcdef"[number]) for number, file in enumerate(files)]
    wanted = rule_told(named, now_s)
    before = kept(named, now_s)
    values, quality, energy_wh = before
    assert {
        step: (value, code)
        for step, (value, code) in enumerate(zip(values, quality, strict=True))
        if code
    } == wanted
    for day in range(0, 144, 48):
        exact = sum(value for value in values[day : day + 48] if value != MISSING)
        assert sum(wh for wh in energy_wh[day : day + 48] if wh != MISSING) == (exact + 30) // 60
    shuffled = [*named, *rng.choices(named, k=2)]
    rng.shuffle(shuffled)
    assert kept(shuffled, now_s) == before
    assert said(shuffled, now_s) == said(named, now_s)
