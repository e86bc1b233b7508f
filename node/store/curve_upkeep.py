"""What becomes of official curves in time, and when somebody is erased.

Curves are of delivery points, in clear: whoever imports them needs them so. Steps that no claim can
touch any more become days, and what is erased is overwritten in the file.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError
from node.store.curves import KIND
from node.store.database import Database
from node.store.opening import open_for_writing
from node.store.sqlite import Connection, Row

__all__ = ["OLD_FINDING", "CurveUpkeep", "opened_to_take_out"]

_DAY_S: Final = 86_400
_TABLES: Final = ("curve_day", "register_value", "period_energy")
_FORGET: Final = {table: f"DELETE FROM {table} WHERE point_id = ?" for table in _TABLES}  # noqa: S608 - names from above
_FORGET_FINDINGS: Final = """
DELETE FROM finding
WHERE point_id = ?1 OR instr(point_id, ?1) OR instr(message, ?1) OR instr(raw, ?1)
"""
"""Older versions kept rows without saying whose they are, and a point may stand in a broken one."""

_OLD_IMPORTS: Final = """
SELECT number FROM import WHERE coalesce(published_s, imported_s) <= ?1
UNION SELECT version FROM (
    SELECT version, day_s + 86400 AS until_s FROM curve_day
    UNION ALL SELECT version, taken_at_s FROM register_value
    UNION ALL SELECT version, to_s FROM period_energy)
GROUP BY version HAVING max(until_s) <= ?1
"""
OLD_FINDING: Final = f"(to_s <= ?1 OR to_s IS NULL AND import IN ({_OLD_IMPORTS}))"
"""Which findings ended by an instant. Many are of no step: these are as old as the last that their
file told of, or as the file. So this has to be asked while the file's days are still there."""

_OLD_DAYS: Final = """
SELECT point_id, direction, day_s, version, watt_minutes, quality, source FROM curve_day AS d
WHERE day_s + 86400 <= ? AND version = (
    SELECT max(version) FROM curve_day AS n
    WHERE n.point_id = d.point_id AND n.direction = d.direction AND n.day_s = d.day_s)
ORDER BY point_id, direction, day_s
"""
_ADD_ENERGY: Final = (
    "INSERT INTO period_energy VALUES (?, ?, 'whole', 'retention', 'day', ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO NOTHING"
)


def opened_to_take_out(path: Path) -> Connection:
    """A database that is there, and in which what is deleted is overwritten. Raises
    ConfigurationError as ``CurveDatabase`` does."""
    if not path.is_file():
        raise ConfigurationError(f"there is no {KIND.title}", file=path, next_step="check the name")
    connection = open_for_writing(KIND, path, synchronous="FULL")
    connection.execute("PRAGMA secure_delete = ON")
    return connection


class CurveUpkeep(Database):
    """A database of official curves, opened to take things out of it. Use as a context manager."""

    @classmethod
    def open(cls, path: Path) -> CurveUpkeep:
        """Open an existing one. Raises ConfigurationError as ``CurveDatabase`` does."""
        return cls(opened_to_take_out(path))

    def forget(self, points: Iterable[str]) -> int:
        """Delete all that is kept of some delivery points, findings with their raw rows included;
        how many rows."""
        rows = 0
        with self._connection.transaction():
            for point in points:
                for statement in (*_FORGET.values(), _FORGET_FINDINGS):
                    rows += self._connection.execute(statement, (point,))
        self._empty_log()
        return rows

    def days_before(self, before_s: int) -> int:
        """How many days of curves ended by an instant, of which steps are still kept."""
        return len(self._connection.all(_OLD_DAYS, (before_s,)))

    def coarsen(self, before_s: int) -> int:
        """Make those days one energy each, the quality that of the worst step; a day with a gap
        leaves none. Findings of then go too, for they hold raw rows. How many days."""
        days = self._connection.all(_OLD_DAYS, (before_s,))
        with self._connection.transaction():
            self._connection.execute(f"DELETE FROM finding WHERE {OLD_FINDING}", (before_s,))  # noqa: S608 - from above
            self._connection.execute_many(_ADD_ENERGY, (row for row in map(_energy, days) if row))
            self._connection.execute("DELETE FROM curve_day WHERE day_s + 86400 <= ?", (before_s,))
        self._empty_log()
        return len(days)

    def _empty_log(self) -> None:
        self._connection.all("PRAGMA wal_checkpoint(TRUNCATE)")


def _energy(row: Row) -> Row | None:
    """A day's row of ``period_energy``; None if a step has no value."""
    point, direction, day_s, version, packed, quality, source = row
    if not quality or min(quality) == 0:
        return None
    values = array("q", packed)
    if sys.byteorder == "big":
        values.byteswap()
    energy_wh = (sum(values) + 30) // 60
    return point, direction, day_s + _DAY_S, version, day_s, energy_wh, min(quality), source
