"""Versions of official curves: what replaces what, and what a correction re-opens."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.billing.conformity import FindingClass, Treatment
from node.billing.curve_store import CurveStore
from node.billing.importing import FileReport
from node.billing.series import (
    DAY_S,
    MISSING,
    Curve,
    Direction,
    PeriodEnergy,
    RegisterValue,
    SharedPart,
    StepQuality,
)
from node.store.curves import CurveDatabase

HOME = "30000000000011"
MIDNIGHT_S = 1_743_552_000  # 2025-04-02T00:00:00Z
IN = Direction.WITHDRAWAL


@pytest.fixture
def database() -> Iterator[CurveDatabase]:
    with CurveDatabase.open(None) as opened:
        yield opened


@pytest.fixture
def store(database: CurveDatabase) -> CurveStore:
    return CurveStore(database)


def curve_of(
    values: list[int | None],
    quality: StepQuality = StepQuality.METERED,
    start_s: int = MIDNIGHT_S,
    step_s: int = 1800,
) -> Curve:
    return Curve(
        HOME,
        IN,
        step_s,
        start_s,
        array("q", [MISSING if value is None else value for value in values]),
        bytes(StepQuality.GAP if value is None else quality for value in values),
        "file",
    )


def report_of(
    *curves: Curve,
    name: str = "file",
    published_s: int | None = None,
    registers: list[RegisterValue] | None = None,
    energies: list[PeriodEnergy] | None = None,
) -> FileReport:
    rows = sum(curve.values for curve in curves)
    return FileReport(
        name,
        name,
        "r63-csv",
        published_s,
        rows,
        rows,
        0,
        0,
        [],
        list(curves),
        registers or [],
        energies or [],
    )


def day_of(store: CurveStore, as_of: int | None = None) -> list[int]:
    curve = store.curve(HOME, IN, MIDNIGHT_S, MIDNIGHT_S + DAY_S, as_of=as_of)
    assert curve is not None
    return list(curve.watt_minutes)


def test_a_correction_is_a_version_and_the_old_one_can_still_be_asked_for(
    store: CurveStore,
) -> None:
    first = store.add(report_of(curve_of([600] * 48), name="a"), 1)
    late = store.add(
        report_of(curve_of([1200], StepQuality.CORRECTED, MIDNIGHT_S + 1800), name="b"), 2
    )
    (run,) = late.touched
    assert (first.added_steps, late.added_steps, run.steps) == (48, 0, 1)
    assert run.from_s == MIDNIGHT_S + 1800
    assert day_of(store)[:3] == [600, 1200, 600]
    assert day_of(store, as_of=first.version)[:3] == [600, 600, 600]
    assert store.versions(HOME, IN) == [first.version, late.version]


def test_a_step_has_the_same_wh_in_every_window(store: CurveStore) -> None:
    store.add(report_of(curve_of([5_000] * 144, step_s=600), name="a"), 1)
    whole = list(store.energy_wh(HOME, IN, MIDNIGHT_S, MIDNIGHT_S + DAY_S))
    part = list(store.energy_wh(HOME, IN, MIDNIGHT_S + 600, MIDNIGHT_S + 3_600))
    assert (sum(whole), part) == (12_000, whole[1:6])
    assert not store.energy_wh(HOME, Direction.INJECTION, MIDNIGHT_S, MIDNIGHT_S + DAY_S)


def test_a_gap_erases_nothing_and_a_late_value_fills_one(store: CurveStore) -> None:
    store.add(report_of(curve_of([600, None, 600]), name="a"), 1)
    again = store.add(report_of(curve_of([None, 60, None]), name="b"), 2)
    (run,) = again.added
    assert (run.from_s, run.to_s, again.touched) == (MIDNIGHT_S + 1800, MIDNIGHT_S + 3600, ())
    assert day_of(store)[:3] == [600, 60, 600]


def test_a_raw_value_does_not_undo_a_correction(store: CurveStore) -> None:
    store.add(report_of(curve_of([600], StepQuality.CORRECTED), name="a"), 1)
    raw = store.add(report_of(curve_of([500]), name="b"), 2)
    (finding,) = raw.findings
    assert (finding.rule, finding.treatment, finding.rows) == ("less_trusted", Treatment.ASK, 1)
    assert (raw.touched, day_of(store)[0]) == ((), 600)


def test_an_older_file_undoes_nothing_of_a_newer(store: CurveStore) -> None:
    store.add(report_of(curve_of([600]), name="a", published_s=200), 1)
    older = store.add(report_of(curve_of([500]), name="b", published_s=100), 2)
    (finding,) = older.findings
    assert (finding.rule, finding.treatment) == ("older_file", Treatment.DROP)
    assert day_of(store)[0] == 600
    newer = store.add(report_of(curve_of([500]), name="c", published_s=300), 3)
    assert (len(newer.touched), day_of(store)[0]) == (1, 500)


def test_refused_in_keeping_is_counted_as_refused(
    store: CurveStore, database: CurveDatabase
) -> None:
    store.add(report_of(curve_of([600, 600], StepQuality.CORRECTED), name="a"), 1)
    store.add(report_of(curve_of([500, 600, 700]), name="b"), 2)
    rows, accepted, empty, refused = database.imports()[1][6:]
    assert (rows, accepted, empty, refused) == (3, 1, 0, 2)
    assert len(list(database.findings_after(1))) == 2


def test_another_step_is_brought_to_the_one_that_is_kept(store: CurveStore) -> None:
    store.add(report_of(curve_of([600] * 48), name="a"), 1)
    finer = store.add(report_of(curve_of([400, 400, 400], step_s=600), name="b"), 2)
    (finding,) = finer.findings
    assert (finding.rule, finding.klass) == ("other_step", FindingClass.NON_STANDARD)
    assert day_of(store)[:2] == [1200, 600]


def test_a_failure_keeps_nothing(store: CurveStore, database: CurveDatabase) -> None:
    bad = RegisterValue(HOME, IN, "c", "r", 1, 2**70)
    with pytest.raises(OverflowError):
        store.add(report_of(curve_of([600]), registers=[bad]), 1)
    assert (database.imports(), store.series()) == ([], [])


def test_a_curve_is_held_to_the_index_of_its_meter(store: CurveStore) -> None:
    store.add(report_of(curve_of([6_000] * 48), name="curve"), 1)  # 4,800 Wh
    for name, wh, rules in (("good", 4_810, []), ("bad", 6_000, ["index_differs"])):
        registers = [
            RegisterValue(HOME, IN, name, "BASE", MIDNIGHT_S, 1_000),
            RegisterValue(HOME, IN, name, "BASE", MIDNIGHT_S + DAY_S, 1_000 + wh),
        ]
        done = store.add(report_of(name=name, registers=registers), 2)
        assert [finding.rule for finding in done.findings] == rules


def test_indexes_and_energies_come_back(store: CurveStore) -> None:
    value = RegisterValue(HOME, IN, "DI", "HP", MIDNIGHT_S, 5, StepQuality.ESTIMATED, "f")
    energy = PeriodEnergy(
        HOME, IN, SharedPart.AUTOPRODUITE, "DI", "HP", None, MIDNIGHT_S, 7, source="f"
    )
    store.add(report_of(registers=[value], energies=[energy]), 1)
    assert store.registers(HOME, MIDNIGHT_S, MIDNIGHT_S) == [value]
    assert store.energies(HOME, MIDNIGHT_S - 1, MIDNIGHT_S) == [energy]


def test_the_file_is_the_owners_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "curves.db"
    with CurveDatabase.open(path) as database:
        CurveStore(database).add(report_of(curve_of([600] * 48)), 1)
    assert path.stat().st_mode & 0o077 == 0
    with CurveDatabase.open_read_only(path) as database:
        assert day_of(CurveStore(database)) == [600] * 48


@st.composite
def arrivals(draw: st.DrawFn) -> list[Curve]:
    pieces = []
    for _ in range(draw(st.integers(1, 6))):
        values = draw(st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=60))
        quality = draw(st.sampled_from([StepQuality.METERED, StepQuality.ESTIMATED]))
        pieces.append(curve_of(list(values), quality, MIDNIGHT_S + 1800 * draw(st.integers(0, 90))))
    return pieces


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(arrivals())
def test_any_sequence_of_files_equals_the_rule_told_step_by_step(pieces: list[Curve]) -> None:
    wanted: dict[int, tuple[int, int]] = {}
    with CurveDatabase.open(None) as database:
        store = CurveStore(database)
        for number, piece in enumerate(pieces):
            before = dict(wanted)
            for index, (value, code) in enumerate(
                zip(piece.watt_minutes, piece.quality, strict=True)
            ):
                at_s = piece.step_start_s(index)
                kept = wanted.get(at_s)
                if code and (kept is None or code >= kept[1]):
                    wanted[at_s] = (value, code)
            done = store.add(report_of(piece, name=str(number)), number)
            added = {at_s for run in done.added for at_s in range(run.from_s, run.to_s, run.step_s)}
            assert added == set(wanted) - set(before)
            changed = {at_s for at_s, kept in before.items() if wanted[at_s] != kept}
            touched = {
                at_s for run in done.touched for at_s in range(run.from_s, run.to_s, run.step_s)
            }
            assert touched <= set(before)
            days = {at_s - at_s % DAY_S for at_s in changed | (set(wanted) - set(before))}
            assert {at_s - at_s % DAY_S for at_s in touched} <= days
        curve = store.curve(HOME, IN, MIDNIGHT_S, MIDNIGHT_S + 5 * DAY_S)
        found = (
            {}
            if curve is None
            else {
                curve.step_start_s(index): (value, code)
                for index, (value, code) in enumerate(
                    zip(curve.watt_minutes, curve.quality, strict=True)
                )
                if code
            }
        )
        assert found == wanted
