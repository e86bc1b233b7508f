"""Sums of official curves as they age: days become months, and none claims more than it holds."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from node.billing.months import Month
from node.errors import ConfigurationError
from node.slots import parse_iso_utc
from node.store.curve_ageing import CurveAgeing
from node.store.curves import CurveDatabase

PARIS = ZoneInfo("Europe/Paris")
DAY_S = 86_400
POINT = "30000000000011"
OCTOBER_S = parse_iso_utc("2025-10-01T00:00:00Z")
DECEMBER_S = parse_iso_utc("2025-12-01T00:00:00Z")


def month_of(at_s: int) -> tuple[str, int]:
    at = datetime.fromtimestamp(at_s, PARIS)
    month = Month(at.year, at.month, PARIS)
    return str(month), month.end_s


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "curves.db"
    with CurveDatabase.open(path) as kept:
        for number in range(3):
            kept.begin_import((f"{number}.csv", "d" * 64, "hdm", None, 0, 1, 1, 0, 0))
    return path


def add(
    file: Path,
    energies: list[tuple[int, int, int]],
    register: str = "day",
    version: int = 1,
    quality: int = 7,
) -> None:
    """Energies (from, to, Wh) of a point."""
    with CurveDatabase.open(file) as kept:
        kept.add_energies(
            (
                POINT,
                "withdrawal",
                "whole",
                "retention",
                register,
                to_s,
                version,
                from_s,
                wh,
                quality,
                "f",
            )
            for from_s, to_s, wh in energies
        )


def days(first: int, count: int, wh: int = 10) -> list[tuple[int, int, int]]:
    starts = [OCTOBER_S + (first + number) * DAY_S for number in range(count)]
    return [(start_s, start_s + DAY_S, wh) for start_s in starts]


def kept_of(file: Path) -> list[tuple[str, int, int, int, int]]:
    """Register, from, to, Wh, quality."""
    with CurveDatabase.open_read_only(file) as kept:
        return [(row[4], row[5], row[6], row[7], row[8]) for row in kept.energies(POINT, 0, 2**40)]


def test_days_of_a_month_become_one_and_a_hole_makes_two(file: Path) -> None:
    add(file, [*days(0, 9), *days(10, 20, 100)])
    add(file, days(30, 1), quality=1)
    with CurveAgeing.open(file) as sums:
        assert sums.days_due(DECEMBER_S, month_of) == 30
        assert sums.to_months(DECEMBER_S, month_of) == 30
        assert sums.days_due(DECEMBER_S, month_of) == 0
    assert kept_of(file) == [
        ("day/month", OCTOBER_S, OCTOBER_S + 9 * DAY_S, 90, 7),
        ("day/month", OCTOBER_S + 10 * DAY_S, OCTOBER_S + 31 * DAY_S, 2_010, 1),
    ]


def test_a_month_that_is_not_over_stays_days(file: Path) -> None:
    add(file, days(0, 61))
    before_s = parse_iso_utc("2025-11-30T22:59:00Z")
    with CurveAgeing.open(file) as sums:
        assert sums.to_months(before_s, month_of) == 31
    assert [row[0] for row in kept_of(file)] == ["day"] * 30 + ["day/month"]


def test_local_days_belong_to_the_month_of_their_noon(file: Path) -> None:
    """Local days of October: the 26th has 25 hours, and the first begins in September's UTC."""
    starts = [Month(2025, 10, PARIS).start_s + number * DAY_S for number in range(26)]
    ends = [*starts[1:], starts[-1] + 25 * 3_600]
    spans = list(zip(starts, ends, strict=True))
    add(file, [(*span, 5) for span in spans], register="EA")
    with CurveAgeing.open(file) as sums:
        sums.to_months(DECEMBER_S, month_of)
    assert kept_of(file) == [("EA/month", starts[0], ends[-1], 130, 7)]


def test_the_newest_version_counts_and_none_stays(file: Path) -> None:
    add(file, days(0, 1))
    add(file, days(0, 1, 12), version=2)
    with CurveAgeing.open(file) as sums:
        sums.to_months(DECEMBER_S, month_of)
    assert [row[3] for row in kept_of(file)] == [12]
    add(file, days(0, 1, 99), version=3)
    with CurveAgeing.open(file) as sums:
        sums.to_months(DECEMBER_S, month_of)
    assert [row[3] for row in kept_of(file)] == [12], "what is in a month's sum counts once"


def test_of_indexes_the_first_of_each_month_stays(file: Path) -> None:
    times = [OCTOBER_S - 7_200 + number * DAY_S for number in range(40)]
    with CurveDatabase.open(file) as kept:
        kept.add_registers(
            (POINT, "withdrawal", "base", "EA", at_s, version, 1_000 + at_s, 7, "f")
            for at_s in times
            for version in (1, 2)
        )
    with CurveAgeing.open(file) as sums:
        assert sums.days_due(DECEMBER_S, month_of) == 38
        sums.to_months(DECEMBER_S, month_of)
    with CurveDatabase.open_read_only(file) as kept:
        rows = kept.registers(POINT, 0, 2**40)
    assert [month_of(row[4])[0] for row in rows] == ["2025-10", "2025-11"]
    assert [row[4] for row in rows] == [times[0], times[32]]


def test_what_is_deleted_is_counted_before_and_after(file: Path) -> None:
    add(file, days(0, 3))
    add(file, [(OCTOBER_S, DECEMBER_S, 7)], register="HP")
    with CurveAgeing.open(file) as sums:
        assert [sums.old(kind, DECEMBER_S) for kind in ("curve", "curve_day", "curve_month")] == [
            3,
            3,
            4,
        ]
        assert sums.delete_old("curve_day", OCTOBER_S + 2 * DAY_S) == 2
        assert sums.delete_old("curve_month", DECEMBER_S) == 2
    assert kept_of(file) == []


def test_a_database_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no database of official curves"):
        CurveAgeing.open(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []
