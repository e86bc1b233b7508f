"""The database of official curves: imports, the quarantine, and days of curves in versions.

It keeps and gives back rows; what they mean is ``node.billing.curve_store``'s. Rows are tuples in
the order of the schema's columns, or as a method says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from node.store.database import Database, make_private
from node.store.opening import open_for_writing, open_read_only
from node.store.sqlite import DatabaseKind, Row

__all__ = ["CurveDatabase"]

KIND: Final = DatabaseKind(
    title="database of official curves",
    schema="curves",
    application_id=int.from_bytes(b"dsCV"),
    repair="put the last backup in its place, or import the operator's files into a new one",
    upgrade="daisee supplier month, or daisee dso import, brings it to this version; keep a copy",
)

_NEWEST: Final = 2**62

_BEGIN: Final = (
    "INSERT INTO import (file, digest, format, published_s, imported_s, row_count, accepted, empty,"
    " refused) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number"
)
_IMPORT_OF: Final = "SELECT number FROM import WHERE digest = ? AND file = ?"
_IMPORT: Final = (
    "SELECT number, file, digest, format, published_s, imported_s, row_count, accepted, empty,"
    " refused FROM import"
)
_IMPORTS: Final = f"{_IMPORT} ORDER BY number"
_IMPORT_NUMBERED: Final = f"{_IMPORT} WHERE number = ?"
_COUNT_STALE: Final = (
    "UPDATE import SET accepted = accepted - ?, refused = refused + ? WHERE number = ?"
)
_ADD_FINDING: Final = "INSERT INTO finding VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FINDINGS: Final = (
    "SELECT f.import, f.klass, f.treatment, f.rule, f.message, i.file, f.line, f.last_line,"
    " f.point_id, f.row_count, f.from_s, f.to_s, f.raw"
    " FROM finding AS f JOIN import AS i ON i.number = f.import"
    " WHERE f.import > ? AND f.import <= ? ORDER BY f.import, f.rowid"
)
_DAY_COLUMNS: Final = (
    "point_id, direction, day_s, version, step_s, said_by, watt_minutes, quality, source"
)
_ADD_DAY: Final = f"INSERT INTO curve_day ({_DAY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - names from above
_SAY_AGAIN: Final = (
    "UPDATE curve_day SET said_by = ?"
    " WHERE point_id = ? AND direction = ? AND day_s = ? AND version = ?"
)
_DAYS: Final = """
SELECT day_s, version, step_s, said_by, watt_minutes, quality, source
FROM curve_day AS d
WHERE point_id = ? AND direction = ? AND day_s >= ? AND day_s < ? AND version = (
    SELECT max(version) FROM curve_day AS n
    WHERE n.point_id = d.point_id AND n.direction = d.direction AND n.day_s = d.day_s
      AND n.version <= ?)
ORDER BY day_s
"""
_SERIES: Final = """
SELECT point_id, direction, min(day_s), max(day_s), max(version), count(DISTINCT day_s)
FROM curve_day GROUP BY point_id, direction ORDER BY point_id, direction
"""
_VERSIONS: Final = (
    "SELECT DISTINCT version FROM curve_day WHERE point_id = ? AND direction = ? ORDER BY version"
)
_ADD_REGISTER: Final = (
    "INSERT INTO register_value VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_REGISTERS: Final = """
SELECT point_id, direction, calendar, register, taken_at_s, value_wh, quality, source
FROM register_value AS r
WHERE point_id = ? AND taken_at_s >= ? AND taken_at_s <= ? AND version = (
    SELECT max(version) FROM register_value AS n
    WHERE n.point_id = r.point_id AND n.direction = r.direction AND n.calendar = r.calendar
      AND n.register = r.register AND n.taken_at_s = r.taken_at_s)
ORDER BY direction, calendar, register, taken_at_s
"""
_ADD_ENERGY: Final = (
    "INSERT INTO period_energy VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_ENERGIES: Final = """
SELECT point_id, direction, part, calendar, register, from_s, to_s, energy_wh, quality, source
FROM period_energy AS e
WHERE point_id = ? AND to_s > ? AND to_s <= ? AND version = (
    SELECT max(version) FROM period_energy AS n
    WHERE n.point_id = e.point_id AND n.direction = e.direction AND n.part = e.part
      AND n.calendar = e.calendar AND n.register = e.register AND n.to_s = e.to_s)
ORDER BY direction, part, calendar, register, to_s
"""


_OF_POINT: Final = {
    table: f"SELECT {columns} FROM {table} WHERE point_id = ? ORDER BY {order}"  # noqa: S608 - from here
    for table, columns, order in (
        ("curve_day", _DAY_COLUMNS, "direction, day_s, version"),
        ("register_value", "*", "direction, calendar, register, taken_at_s, version"),
        ("period_energy", "*", "direction, part, calendar, register, to_s, version"),
    )
}
_FINDINGS_OF_POINT: Final = _FINDINGS.replace("f.import > ? AND f.import <= ?", "f.point_id = ?")


class CurveDatabase(Database):
    """Official curves on SQLite. Use as a context manager, or ``close`` it.

    Every method may raise Transient (disk full, file held by another program) or
    ConfigurationError (damaged or read-only file); see ``node.store.sqlite``.
    """

    @classmethod
    def open(cls, path: Path | None) -> CurveDatabase:
        """Open or create one, readable by its owner alone; None keeps it in memory.

        Raises ConfigurationError (no such folder, no access, damaged, newer or foreign file).
        """
        if path is not None:
            make_private(KIND, path)
        return cls(open_for_writing(KIND, path, synchronous="FULL"))

    @classmethod
    def open_read_only(cls, path: Path) -> CurveDatabase:
        """Open an existing one to look at it."""
        return cls(open_read_only(KIND, path))

    def begin_import(self, row: Row) -> int:
        """Keep an import (file, digest, format, published, imported, rows, accepted, empty,
        refused); its number."""
        kept = self._connection.one(_BEGIN, row)
        assert kept is not None
        return int(kept[0])

    def refuse_in_import(self, number: int, rows: int) -> None:
        """Rows that were accepted from the file, but not into what is kept already."""
        self._connection.execute(_COUNT_STALE, (rows, rows, number))

    def import_of(self, digest: str, file: str) -> int | None:
        """The import of exactly this file; None if it was not read yet."""
        row = self._connection.one(_IMPORT_OF, (digest, file))
        return None if row is None else int(row[0])

    def imports(self) -> Sequence[Row]:
        """All imports, oldest first."""
        return self._connection.all(_IMPORTS)

    def import_numbered(self, number: int) -> Row:
        """One import, as ``imports`` gives it."""
        row = self._connection.one(_IMPORT_NUMBERED, (number,))
        assert row is not None, number
        return row

    def add_findings(self, number: int, rows: Iterable[Row]) -> None:
        """Keep the findings of an import."""
        self._connection.execute_many(_ADD_FINDING, ((number, *row) for row in rows))

    def findings_after(self, number: int, last: int | None = None) -> Iterator[Row]:
        """The findings of the imports after this one, up to a last one, each after the number of
        its import."""
        return self._connection.rows(_FINDINGS, (number, _NEWEST if last is None else last))

    def add_days(self, rows: Iterable[Row]) -> None:
        """Keep days of curves: (point, direction, day, version, step, said by, values, quality,
        source)."""
        self._connection.execute_many(_ADD_DAY, rows)

    def say_again(self, rows: Iterable[Row]) -> None:
        """Keep who said last what days hold already: (said by, point, direction, day, version)."""
        self._connection.execute_many(_SAY_AGAIN, rows)

    def days(
        self, series: tuple[str, str], from_s: int, to_s: int, as_of: int | None = None
    ) -> Sequence[Row]:
        """The days of a series (point, direction) that begin in ``[from_s, to_s)``, each as the
        newest import up to ``as_of`` left it: (day, version, step, said by, values, quality,
        source)."""
        version = _NEWEST if as_of is None else as_of
        return self._connection.all(_DAYS, (*series, from_s, to_s, version))

    def series(self) -> Sequence[Row]:
        """Every series: (point, direction, first day, last day, version, days)."""
        return self._connection.all(_SERIES)

    def versions(self, series: tuple[str, str]) -> Sequence[int]:
        """The imports that changed a series."""
        return [int(row[0]) for row in self._connection.all(_VERSIONS, series)]

    def add_registers(self, rows: Iterable[Row]) -> None:
        """Keep indexes."""
        self._connection.execute_many(_ADD_REGISTER, rows)

    def registers(self, point_id: str, from_s: int, to_s: int) -> Sequence[Row]:
        """A point's newest indexes taken in ``[from_s, to_s]``."""
        return self._connection.all(_REGISTERS, (point_id, from_s, to_s))

    def add_energies(self, rows: Iterable[Row]) -> None:
        """Keep energies of periods."""
        self._connection.execute_many(_ADD_ENERGY, rows)

    def energies(self, point_id: str, from_s: int, to_s: int) -> Sequence[Row]:
        """A point's newest energies of periods that end in ``(from_s, to_s]``."""
        return self._connection.all(_ENERGIES, (point_id, from_s, to_s))

    def all_of(self, point_id: str) -> dict[str, Sequence[Row]]:
        """Every row that is kept of a point, whichever version, by table; findings as
        ``findings_after`` gives them."""
        found = {
            table: self._connection.all(query, (point_id,)) for table, query in _OF_POINT.items()
        }
        return {**found, "finding": self._connection.all(_FINDINGS_OF_POINT, (point_id,))}
