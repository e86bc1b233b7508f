"""Any rows of a day, in any order: the curve is what they say, and each is accounted for."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.billing.formats.hdm import steps_between
from node.billing.importing import FileReport, read_files
from node.billing.rows import Expectations, Stamped
from node.billing.series import MISSING, Curve
from tests.support.curve_files import R63_HEADER, ends, prm, r63_row

PARIS = ZoneInfo("Europe/Paris")
NORMAL, AUTUMN = date(2025, 4, 2), date(2025, 10, 26)


def read(rows: list[str]) -> FileReport:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.csv")
        path.write_text("\n".join([R63_HEADER, *rows]) + "\n", encoding="utf-8")
        (report,) = read_files(path, Expectations(PARIS))
    assert report.rows == report.accepted + report.empty + report.refused
    assert report.refused == sum(finding.rows for finding in report.findings)
    return report


def watts_by_step(curve: Curve, first_s: int) -> dict[int, int]:
    return {
        (curve.step_start_s(index) - first_s) // 1800: value // 30
        for index, value in enumerate(curve.watt_minutes)
        if value != MISSING
    }


@given(st.lists(st.tuples(st.integers(0, 47), st.none() | st.integers(0, 3)), max_size=120))
def test_rows_in_any_order_with_duplicates_and_conflicts(
    rows: list[tuple[int, int | None]],
) -> None:
    stamps = [end.strftime("%Y-%m-%d %H:%M:%S") for end in ends(NORMAL, 1, 1800)]
    first_s = int(ends(NORMAL, 1, 1800)[0].timestamp()) - 1800
    report = read(
        [r63_row(prm(1), stamps[step], "" if value is None else str(value)) for step, value in rows]
    )
    said: dict[int, set[int]] = {}
    for step, value in rows:
        if value is not None:
            said.setdefault(step, set()).add(value)
    wanted = {step: values.pop() for step, values in said.items() if len(values) == 1}
    found: dict[int, int] = {}
    for curve in report.curves:
        found |= watts_by_step(curve, first_s)
    assert found == wanted
    assert len(rows) == report.rows
    assert len(wanted) == report.accepted


@given(st.data())
def test_rows_missing_on_the_autumn_day_never_move_another(data: st.DataObject) -> None:
    """Whatever lacks, a value stands in its own step or nowhere."""
    every = ends(AUTUMN, 1, 1800)
    first_s = int(every[0].timestamp()) - 1800
    kept = sorted(data.draw(st.sets(st.integers(0, 49), min_size=1)))
    stamps = [end.strftime("%Y-%m-%d %H:%M:%S") for end in every]
    report = read([r63_row(prm(1), stamps[step], str(step)) for step in kept])
    for curve in report.curves:
        for step, watts in watts_by_step(curve, first_s).items():
            assert step == watts


@pytest.mark.parametrize("stamped", list(Stamped))
@given(st.data())
def test_a_step_read_from_distances_is_never_longer_for_missing_rows(
    stamped: Stamped, data: st.DataObject
) -> None:
    """Rows that lack one or two at a time, with whole stretches between, do not stretch a step."""
    step_s = data.draw(st.sampled_from([300, 600, 900, 1800]))
    stamps: list[int] = []
    at = 0
    for whole in data.draw(st.lists(st.integers(4, 12), min_size=2, max_size=8)):
        stamps.extend(range(at, at + whole * step_s, step_s))
        at += (whole + data.draw(st.integers(1, 2))) * step_s
    assert set(steps_between(stamps, stamped)) == {step_s}
