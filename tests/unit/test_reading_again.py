"""A file that is read again, because more is known of its points, fills and never undoes."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from node.billing.conformity import Finding, FindingClass, Treatment
from node.billing.curve_store import CurveStore
from node.billing.importing import FileReport
from node.billing.reading_again import named_again, refused_in_reading
from node.billing.series import (
    MISSING,
    Curve,
    Direction,
    PeriodEnergy,
    RegisterValue,
    SharedPart,
    StepQuality,
)
from node.store.curves import CurveDatabase

POINT = "30000000000011"
DAY_S = 86_400
START_S = 20_000 * DAY_S
STEPS = 48


@pytest.fixture
def store() -> Iterator[CurveStore]:
    with CurveDatabase.open(None) as kept:
        yield CurveStore(kept)


def curve(values: Sequence[int | None], step_s: int = 1800) -> Curve:
    known = [MISSING if value is None else value for value in values]
    quality = bytes(StepQuality.GAP if value is None else StepQuality.METERED for value in values)
    return Curve(POINT, Direction.WITHDRAWAL, step_s, START_S, array("q", known), quality, "f")


def index(value_wh: int) -> RegisterValue:
    return RegisterValue(
        POINT, Direction.WITHDRAWAL, "base", "EA", START_S, value_wh, StepQuality.METERED, "f"
    )


def energy(energy_wh: int) -> PeriodEnergy:
    return PeriodEnergy(
        POINT,
        Direction.WITHDRAWAL,
        SharedPart.WHOLE,
        "base",
        "EA",
        START_S,
        START_S + DAY_S,
        energy_wh,
        StepQuality.METERED,
        "f",
    )


def report(file: str, curves: list[Curve], refused: int = 0) -> FileReport:
    finding = Finding(
        FindingClass.NON_STANDARD, Treatment.ASK, "stamp_side", "which?", file, rows=refused
    )
    found = [finding] if refused else []
    rows = sum(len(one) for one in curves) + refused
    taken = rows - refused
    return FileReport(file, file * 8, "R63", None, rows, taken, 0, refused, found, curves, [], [])


def values_of(store: CurveStore) -> list[int]:
    kept = store.curve(POINT, Direction.WITHDRAWAL, START_S, START_S + DAY_S)
    assert kept is not None
    return list(kept.watt_minutes)


def test_the_same_file_does_nothing_until_fewer_rows_are_refused(store: CurveStore) -> None:
    half: list[int | None] = [600] * 24 + [None] * 24
    assert store.add(report("a", [curve(half)], refused=24), 1).version == 1
    assert store.add(report("a", [curve(half)], refused=24), 2).is_known
    assert store.add(report("a", [], refused=30), 2).is_known
    again = store.add(report("a", [curve([600] * 48)]), 3)
    assert (again.is_known, again.version, again.added_steps) == (False, 2, 24)
    assert values_of(store) == [600] * 48
    known = store.add(report("a", [curve([600] * 48)]), 4)
    assert (known.is_known, known.version) == (True, 2)


def test_it_may_be_read_again_more_than_once(store: CurveStore) -> None:
    for refused, version in ((48, 1), (24, 2), (0, 3)):
        done = store.add(report("a", [], refused=refused), 1)
        assert (done.is_known, done.version) == (False, version)
    assert [named_again("a", times) for times in range(3)] == [
        "a",
        "a, read again",
        "a, read again (2)",
    ]


@pytest.mark.parametrize("step_s", [1800, 600])
def test_what_a_later_file_said_holds(store: CurveStore, step_s: int) -> None:
    """Also if the file that is read again has another step than what is kept."""
    store.add(report("first", [curve([600] * 24 + [None] * 24)]), 1)
    store.add(report("a", [], refused=48), 2)
    store.add(report("b", [curve([None] * 20 + [900] * 8 + [None] * 20)]), 3)
    parts = 1800 // step_s
    store.add(report("a", [curve([300 // parts] * 48 * parts, step_s)]), 4)
    assert values_of(store) == [300] * 20 + [900] * 8 + [300] * 20


def test_an_index_and_an_energy_that_are_kept_hold_too(store: CurveStore) -> None:
    store.add(report("a", [], refused=2), 1)
    store.add(replace(report("b", []), registers=[index(5)], energies=[energy(50)]), 2)
    other = replace(index(9), register="HP"), replace(energy(90), register="HP")
    again = replace(
        report("a", []), registers=[index(6), other[0]], energies=[energy(60), other[1]]
    )
    store.add(again, 3)
    assert [one.value_wh for one in store.registers(POINT, 0, 2**40)] == [5, 9]
    assert [one.energy_wh for one in store.energies(POINT, 0, 2**40)] == [50, 90]


def test_rows_that_were_refused_in_keeping_do_not_count() -> None:
    read = Finding(FindingClass.CORRUPT, Treatment.ASK, "number", "", "f", rows=3)
    assert refused_in_reading([read, replace(read, rule="less_trusted", rows=5)]) == 3
