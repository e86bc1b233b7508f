"""The database of official curves of version 1, brought to the newest: whole, or not at all.

The old file is described in ``tests/databases/README.md``.
"""

from __future__ import annotations

import shutil
import sqlite3
from array import array
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from node.billing.curve_store import CurveStore
from node.billing.importing import FileReport
from node.billing.series import DAY_S, Curve, Direction, SharedPart, StepQuality
from node.errors import ConfigurationError, StorageBusy
from node.store import opening
from node.store.curves import CurveDatabase
from tests.support.shared import CHECKOUT
from tests.support.sqlite_faults import failing_at

OLD: Final = CHECKOUT / "tests" / "databases" / "curves_version_1.sqlite"
HOME: Final = "30000000000011"
IN: Final = Direction.WITHDRAWAL
DAY: Final = 1_759_276_800  # 2025-10-01
NEWEST: Final = len(opening.migrations("curves"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copyfile(OLD, tmp_path / "curves.db"))


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute(query).fetchall()


def test_nothing_that_was_kept_is_lost(path: Path) -> None:
    kept = [
        "SELECT * FROM import",
        "SELECT * FROM finding",
        "SELECT * FROM register_value",
        "SELECT * FROM period_energy",
        (
            "SELECT point_id, direction, day_s, version, step_s, watt_minutes, quality, source"
            " FROM curve_day ORDER BY day_s, version"
        ),
    ]
    before = [rows(path, query) for query in kept]
    CurveDatabase.open(path).close()
    assert [rows(path, query) for query in kept] == before
    assert rows(path, "PRAGMA user_version") == [(NEWEST,)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_who_only_looks_is_told_what_brings_it_up(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="of version 1") as caught:
        CurveDatabase.open_read_only(path)
    assert "daisee supplier month" in caught.value.next_step
    CurveDatabase.open(path).close()
    CurveDatabase.open_read_only(path).close()


def test_it_is_what_its_migration_and_its_rows_still_give(path: Path, tmp_path: Path) -> None:
    """So that a migration that operators went through cannot be edited unnoticed."""
    made = tmp_path / "made.sqlite"
    with closing(sqlite3.connect(made, isolation_level=None)) as raw:
        for statement in opening.migrations("curves")[0]:
            raw.execute(statement)
        raw.executescript(OLD.with_suffix(".sql").read_text(encoding="utf-8"))
    schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
    assert rows(made, schema) == rows(path, schema)
    for (table,) in rows(path, "SELECT name FROM sqlite_schema WHERE type = 'table'"):
        query = f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4"  # noqa: S608 - names from above
        assert rows(made, query) == rows(path, query)


def test_who_said_each_step_last_is_found_in_its_versions(path: Path) -> None:
    with CurveDatabase.open(path) as database:
        store = CurveStore(database)
        told = [
            store.said(HOME, IN, at_s, at_s + 1800) for at_s in range(DAY, DAY + 2 * DAY_S, 1800)
        ]
        files = [said.file[0] for said in told if said is not None]
        assert "".join(files) == "A" * 41 + "BAAACB" + "A" * 49
        curve = store.curve(HOME, IN, DAY, DAY + 2 * DAY_S)
        assert curve is not None
        for report in late_files(curve.start_s):
            store.add(report, 1_762_500_000)
        curve = store.curve(HOME, IN, DAY, DAY + 2 * DAY_S)
        assert curve is not None
        assert [curve.watt_minutes[step] // 60 for step in (40, 41, 45, 46)] == [650, 800, 900, 700]
        assert len(store.registers(HOME, DAY, DAY)) == 1
        assert [one.part for one in store.energies(HOME, DAY, DAY + 3 * DAY_S)] == [
            SharedPart.WHOLE
        ]


def late_files(start_s: int) -> list[FileReport]:
    """A file between A and C in time that comes last of all."""
    values = array("q", (650 * 60,)) * 48
    curve = Curve(HOME, IN, 1800, start_s, values, bytes((StepQuality.METERED,)) * 48, "D")
    return [FileReport("D", "d" * 64, "R63", 1_762_070_000, 48, 48, 0, 0, [], [curve], [], [])]


@pytest.mark.parametrize("start", [0, 1])
def test_each_statement_failing_leaves_a_database_that_opens(
    start: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in count(1):
        path = tmp_path / f"{number}.db"
        if start:
            shutil.copyfile(OLD, path)
        with monkeypatch.context() as patch:
            patch.setattr(sqlite3, "connect", failing_at(number))
            try:
                CurveDatabase.open(path).close()
            except StorageBusy:
                opened = False
            else:
                opened = True
        if opened:
            break
        assert rows(path, "PRAGMA user_version")[0][0] in range(start, NEWEST)
        CurveDatabase.open(path).close()
        assert rows(path, "PRAGMA user_version") == [(NEWEST,)]
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert number > sum(map(len, opening.migrations("curves")[start:]))
