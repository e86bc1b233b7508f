"""What becomes in time of sums that were kept: days become months, and months go.

``curve_upkeep`` makes days of curves. Here days (those, and the ones that an operator sent) become
months, and of indexes the first of each month stays. A month with missing days becomes one sum for
each run of days without a hole, so that no sum claims more than it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from node.store.curve_upkeep import opened_to_take_out
from node.store.database import Database
from node.store.sqlite import Row

__all__ = ["CurveAgeing"]

_LONGEST_DAY_S: Final = 25 * 3_600
_MONTH: Final = "/month"
"""Ends the name of a register whose days were made months."""

_DAYS: Final = f"""
SELECT point_id, direction, part, calendar, register, from_s, to_s, energy_wh, quality, source,
    version
FROM period_energy AS e
WHERE to_s <= ? AND to_s - from_s <= {_LONGEST_DAY_S} AND register NOT LIKE '%{_MONTH}'
  AND version = (
    SELECT max(version) FROM period_energy AS n
    WHERE n.point_id = e.point_id AND n.direction = e.direction AND n.part = e.part
      AND n.calendar = e.calendar AND n.register = e.register AND n.to_s = e.to_s)
ORDER BY point_id, direction, part, calendar, register, from_s
"""  # noqa: S608 - numbers and names from above
_OF_SERIES: Final = "point_id = ? AND direction = ? AND part = ? AND calendar = ? AND register = ?"
_IS_THERE: Final = f"SELECT 1 FROM period_energy WHERE {_OF_SERIES} AND from_s < ? AND to_s > ?"  # noqa: S608
_DELETE_DAY: Final = (
    f"DELETE FROM period_energy WHERE {_OF_SERIES} AND to_s = ?"  # noqa: S608
    f" AND to_s - from_s <= {_LONGEST_DAY_S}"
)
_ADD: Final = "INSERT INTO period_energy VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INDEXES: Final = """
SELECT point_id, direction, calendar, register, taken_at_s FROM register_value
WHERE taken_at_s <= ? GROUP BY point_id, direction, calendar, register, taken_at_s
ORDER BY point_id, direction, calendar, register, taken_at_s
"""
_DELETE_INDEX: Final = (
    "DELETE FROM register_value WHERE point_id = ? AND direction = ? AND calendar = ?"
    " AND register = ? AND taken_at_s = ?"
)
_OLD_MADE: Final = (
    ("period_energy", "to_s <= ?1 AND calendar = 'retention' AND register = 'day'"),
)
_OLD_DAYS: Final = (
    ("period_energy", f"to_s <= ?1 AND to_s - from_s <= {_LONGEST_DAY_S}"),
    ("register_value", "taken_at_s <= ?1"),
)
_OLD_MONTHS: Final = (("period_energy", "to_s <= ?1"), ("register_value", "taken_at_s <= ?1"))
_OLD: Final = {"curve": _OLD_MADE, "curve_day": _OLD_DAYS, "curve_month": _OLD_MONTHS}

MonthOf = Callable[[int], tuple[str, int]]
"""The name of the month that an instant is in, and the instant at which it ends."""


class CurveAgeing(Database):
    """A database of official curves, opened to make it coarser. Use as a context manager."""

    @classmethod
    def open(cls, path: Path) -> CurveAgeing:
        """Open an existing one. Raises ConfigurationError as ``CurveDatabase`` does."""
        return cls(opened_to_take_out(path))

    def days_due(self, before_s: int, month_of: MonthOf) -> int:
        """How many energies of days and indexes lie in months that ended by an instant, and would
        become one a month."""
        return len(self._days(before_s, month_of)) + len(self._indexes(before_s, month_of))

    def to_months(self, before_s: int, month_of: MonthOf) -> int:
        """Make energies of days one for each run of days of a month, the quality that of the worst
        day, and keep the first index of each month; how many rows went."""
        days, indexes = self._days(before_s, month_of), self._indexes(before_s, month_of)
        with self._connection.transaction():
            for run in _runs(days, month_of):
                series = (*run[0][:4], run[0][4] + _MONTH)
                from_s, to_s = run[0][5], run[-1][6]
                if not self._connection.all(_IS_THERE, (*series, to_s, from_s)):
                    version = max(row[10] for row in run)
                    energy_wh, quality = sum(row[7] for row in run), min(row[8] for row in run)
                    row = (*series, to_s, version, from_s, energy_wh, quality, run[-1][9])
                    self._connection.execute(_ADD, row)
            self._connection.execute_many(_DELETE_DAY, ((*row[:5], row[6]) for row in days))
            self._connection.execute_many(_DELETE_INDEX, indexes)
        self._empty_log()
        return len(days) + len(indexes)

    def old(self, kind: str, before_s: int) -> int:
        """How many sums ended by an instant: those of days that curves became (``curve``), of days
        (``curve_day``), all (``curve_month``); indexes count among the last two."""
        counts = (f"SELECT count(*) FROM {table} WHERE {term}" for table, term in _OLD[kind])  # noqa: S608
        return sum(int(self._connection.all(count, (before_s,))[0][0]) for count in counts)

    def delete_old(self, kind: str, before_s: int) -> int:
        """Delete them; how many rows."""
        with self._connection.transaction():
            rows = sum(
                self._connection.execute(f"DELETE FROM {table} WHERE {term}", (before_s,))  # noqa: S608
                for table, term in _OLD[kind]
            )
        self._empty_log()
        return rows

    def _days(self, before_s: int, month_of: MonthOf) -> list[Row]:
        rows = self._connection.all(_DAYS, (before_s,))
        return [row for row in rows if month_of(_middle_s(row))[1] <= before_s]

    def _indexes(self, before_s: int, month_of: MonthOf) -> list[Row]:
        """All but the first of each month that is over."""
        rows = [
            row
            for row in self._connection.all(_INDEXES, (before_s,))
            if month_of(row[4])[1] <= before_s
        ]
        months = groupby(rows, lambda row: (row[:4], month_of(row[4])[0]))
        return [row for _, of_month in months for row in list(of_month)[1:]]

    def _empty_log(self) -> None:
        self._connection.all("PRAGMA wal_checkpoint(TRUNCATE)")


def _middle_s(row: Row) -> int:
    """The middle of a day says which month is its own, whichever midnight it begins at."""
    return int(row[5] + row[6]) // 2


def _runs(days: Sequence[Row], month_of: MonthOf) -> Iterator[list[Row]]:
    """Days of one series and month that follow each other without a hole."""
    run: list[Row] = []
    key: tuple[Any, ...] = ()
    for row in days:
        of_row = (*row[:5], month_of(_middle_s(row))[0])
        if run and (of_row != key or row[5] != run[-1][6]):
            yield run
            run = []
        run, key = [*run, row], of_row
    if run:
        yield run
