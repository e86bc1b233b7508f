"""Databases of every version that ever was, brought to the newest: whole, or not at all.

A later schema is played by adding statements to the real one. The old files are described in
``tests/databases/README.md``.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from node.errors import StorageBusy
from node.model import LogPosition, Quality, SampleBatch, Side, SlotEnergy
from node.ports import IntentState
from node.store import NodeDatabase, opening
from tests.support.shared import CHECKOUT
from tests.support.slot_life import SLOT, bid, cleared, settled
from tests.support.sqlite_faults import failing_at, watching

OLD: Final = CHECKOUT / "tests" / "databases"
NEWEST: Final = len(opening.migrations("node"))
STARTS: Final = range(NEWEST)
"""Versions from which a migration to the newest may set out; 0 is a new file."""

LATER: Final = (
    "CREATE TABLE weather (slot INTEGER PRIMARY KEY, cloud_pct INTEGER NOT NULL) STRICT",
    "INSERT INTO weather SELECT slot, 50 FROM slot_energy",
    "ALTER TABLE weather ADD COLUMN rain_mm INTEGER",
)
FAILURES: Final = {
    "input_output": (sqlite3.SQLITE_IOERR, "disk I/O error"),
    "full": (sqlite3.SQLITE_FULL, "database or disk is full"),
    "locked": (sqlite3.SQLITE_BUSY, "database is locked"),
}


@pytest.mark.parametrize("version", STARTS[1:])
class TestOldFiles:
    def test_the_newest_daisee_finds_everything_that_it_held(
        self, version: int, tmp_path: Path
    ) -> None:
        path = begin(version, tmp_path)
        before = contents(path)
        NodeDatabase.open(path).close()
        after = contents(path)
        assert rows(path, "PRAGMA user_version") == [(NEWEST,)]
        assert integrity(path) == ["ok"]
        for table, (columns, held) in before.items():
            kept_columns, kept = after[table]
            assert kept_columns[: len(columns)] == columns
            assert [row[: len(columns)] for row in kept] == held

    def test_it_is_what_its_migrations_and_its_rows_still_give(
        self, version: int, tmp_path: Path
    ) -> None:
        """So that a migration that households went through cannot be edited unnoticed."""
        made = tmp_path / "made.sqlite"
        with closing(sqlite3.connect(made, isolation_level=None)) as raw:
            for statements in opening.migrations("node")[:version]:
                for statement in statements:
                    raw.execute(statement)
            raw.executescript(old(version).with_suffix(".sql").read_text(encoding="utf-8"))
        schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
        path = begin(version, tmp_path)
        assert rows(made, schema) == rows(path, schema)
        assert contents(made) == contents(path)


def test_the_household_of_version_1_goes_on(tmp_path: Path) -> None:
    path = begin(1, tmp_path)
    with NodeDatabase.open(path) as database:
        last = database.last_reading()
        assert last is not None
        assert (last.import_wh, last.quality) == (4_121_200, Quality.METERED)
        assert database.cursor() == LogPosition(310, 2**32 - 1)
        assert [trade.state.value for trade in database.own_trades()] == [
            *("accepted", "accepted", "refused", "expired", "pending", "sent")
        ]
        assert [signed.order.slot for signed, _ in database.open_intents()] == [1_622_308] * 2
        # Where version 1 saw its orders accepted is not known: no rewind reaches them.
        database.rewind(LogPosition(200, 0))
        accepted = [t for t in database.own_trades() if t.state is IntentState.ACCEPTED]
        assert [trade.cleared is not None for trade in accepted] == [True, False]
        assert database.cursor() == LogPosition(200, 0)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("failure", FAILURES)
def test_each_statement_failing_leaves_a_database_that_opens(
    start: int, failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in count(1):
        path = begin(start, tmp_path, str(number))
        with monkeypatch.context() as patch:
            patch.setattr(sqlite3, "connect", failing_at(number, *FAILURES[failure]))
            opened = opens(path)
        if opened:
            break
        assert integrity(path) == ["ok"]
        assert rows(path, "PRAGMA user_version")[0][0] in range(start, NEWEST)
        live(path)
    assert number > sum(map(len, opening.migrations("node")[start:]))


@pytest.mark.parametrize("start", STARTS)
def test_dying_at_each_statement_leaves_a_database_that_opens(
    start: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = begin(start, tmp_path, "live")
    deaths: list[Path] = []

    def snapshot(_: sqlite3.Connection) -> None:
        deaths.append(tmp_path / f"dead{len(deaths)}")
        shutil.copytree(path.parent, deaths[-1])

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", watching(snapshot))
        NodeDatabase.open(path).close()
    assert len(deaths) > sum(map(len, opening.migrations("node")[start:]))
    for death in deaths:
        live(death / path.name)


@pytest.mark.parametrize("start", range(NEWEST + 1))
def test_a_later_schema_comes_on_top_and_resumes_where_it_failed(
    start: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = begin(start, tmp_path)
    with NodeDatabase.open(path) as database:
        for slot in range(3):
            database.add_slot_energy(SlotEnergy(slot, 1, 1))
        slots = database.totals().slots
    grown = (*opening.migrations("node"), LATER)
    monkeypatch.setattr(opening, "migrations", lambda _: grown)
    for number in range(1, len(LATER) + 3):  # its statements, the version, the commit
        with monkeypatch.context() as patch:
            patch.setattr(sqlite3, "connect", failing_at(number))
            assert not opens(path)
        assert rows(path, "PRAGMA user_version") == [(NEWEST,)]
        assert rows(path, "SELECT count(*) FROM slot_energy") == [(slots,)]
    NodeDatabase.open(path).close()
    assert rows(path, "PRAGMA user_version") == [(NEWEST + 1,)]
    weather = rows(path, "SELECT slot, cloud_pct, rain_mm FROM weather ORDER BY slot LIMIT 3")
    assert weather == [(0, 50, None), (1, 50, None), (2, 50, None)]


@pytest.mark.parametrize("schema", ["node", "ledger"])
def test_every_statement_is_one(schema: str) -> None:
    for statements in opening.migrations(schema):
        for statement in statements:
            assert sqlite3.complete_statement(statement)
            assert not sqlite3.complete_statement(statement.rstrip(";"))


def old(version: int) -> Path:
    return OLD / f"node_version_{version}.sqlite"


def begin(version: int, folder: Path, name: str = "begun") -> Path:
    """A copy of the old file in a folder of its own; of version 0, no file."""
    path = folder / name / "node.sqlite"
    path.parent.mkdir()
    if version in STARTS[1:]:
        shutil.copyfile(old(version), path)
    return path


def live(path: Path) -> None:
    """Open a database for good and live a slot in it, with what the newest version brought."""
    with NodeDatabase.open(path) as database:
        with database.transaction():
            database.add_slot_energy(SlotEnergy(SLOT + 9, 1, 1))
            database.add_intent(bid(SLOT + 9))
            database.add_samples(SampleBatch("m", 0, 900, 1, b""))
            database.set_meter_state("m", "state")
        at = LogPosition(SLOT, 1)
        database.set_intent_state(SLOT + 9, Side.BID, IntentState.ACCEPTED, at=at)
        database.add_clearing(cleared(SLOT + 9))
        database.add_settlement(settled(SLOT + 9))
        assert database.own_trades()[-1].settled == settled(SLOT + 9)
        database.rewind(LogPosition(SLOT, 0))
        assert database.own_trades()[-1].state is IntentState.SENT
        assert database.integrity() == []


def opens(path: Path) -> bool:
    try:
        NodeDatabase.open(path).close()
    except StorageBusy:
        return False
    return True


def contents(path: Path) -> dict[str, tuple[list[str], list[tuple[Any, ...]]]]:
    """Each table's columns and rows."""
    every = "SELECT name, 'SELECT * FROM ' || name || ' ORDER BY 1, 2' FROM sqlite_schema"
    return {
        name: (
            [column[1] for column in rows(path, f"PRAGMA table_info({name})")],
            rows(path, query),
        )
        for name, query in rows(path, every + " WHERE type = 'table'")
    }


def integrity(path: Path) -> list[str]:
    return [row[0] for row in rows(path, "PRAGMA integrity_check")]


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute(query).fetchall()
