"""How curves, findings, indexes and energies lie in rows of a database, and who keeps the rows."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from node.billing.conformity import Finding, FindingClass, Treatment
from node.billing.series import (
    DAY_S,
    Curve,
    Direction,
    PeriodEnergy,
    RegisterValue,
    empty_values,
    resampled,
)

__all__ = [
    "CurveStorage",
    "Row",
    "day_rows",
    "energy_row",
    "finding_from",
    "finding_row",
    "joined",
    "register_row",
]

Row = tuple[Any, ...]


class CurveStorage(Protocol):
    """Where rows are kept; ``node.store.curves.CurveDatabase`` is one."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing."""
        ...

    def begin_import(self, row: Row) -> int:
        """Keep an import; its number."""
        ...

    def refuse_in_import(self, number: int, rows: int) -> None:
        """Count rows as refused that were counted as accepted."""
        ...

    def import_of(self, digest: str, file: str) -> int | None:
        """The number of the import of this very file."""
        ...

    def imports(self) -> Sequence[Row]:
        """All imports: (number, file, digest, format, published, imported, ...)."""
        ...

    def import_numbered(self, number: int) -> Row:
        """One import."""
        ...

    def add_findings(self, number: int, rows: Iterable[Row]) -> None:
        """Keep findings."""
        ...

    def findings_after(self, number: int, last: int | None = None) -> Iterable[Row]:
        """Findings of imports, each after the number of its import."""
        ...

    def add_days(self, rows: Iterable[Row]) -> None:
        """Keep days of curves."""
        ...

    def say_again(self, rows: Iterable[Row]) -> None:
        """Keep who said last what days hold already."""
        ...

    def days(
        self, series: tuple[str, str], from_s: int, to_s: int, as_of: int | None = None
    ) -> Sequence[Row]:
        """Days of a curve."""
        ...

    def series(self) -> Sequence[Row]:
        """Every series."""
        ...

    def versions(self, series: tuple[str, str]) -> Sequence[int]:
        """The versions of a series."""
        ...

    def add_registers(self, rows: Iterable[Row]) -> None:
        """Keep indexes."""
        ...

    def registers(self, point_id: str, from_s: int, to_s: int) -> Sequence[Row]:
        """Indexes of a point."""
        ...

    def add_energies(self, rows: Iterable[Row]) -> None:
        """Keep energies of periods."""
        ...

    def energies(self, point_id: str, from_s: int, to_s: int) -> Sequence[Row]:
        """Energies of a point."""
        ...


def day_rows(curve: Curve, said_by: Mapping[int, str | None], version: int) -> Iterable[Row]:
    """The rows of the days in ``said_by``; days that are all gap have none."""
    per_day = DAY_S // curve.step_s
    for day_s, numbers in said_by.items():
        first = (day_s - curve.start_s) // curve.step_s
        quality = curve.quality[first : first + per_day]
        if any(quality):
            values = curve.watt_minutes[first : first + per_day]
            yield (
                curve.point_id,
                str(curve.direction),
                day_s,
                version,
                curve.step_s,
                numbers,
                packed_values(values),
                quality,
                curve.source,
            )


def joined(point_id: str, direction: Direction, rows: Sequence[Row]) -> Curve:
    """Days of one series as one curve. Days of another step than the newest are brought to it."""
    step_s = max(rows, key=lambda row: row[1])[2]
    start_s, end_s = rows[0][0], rows[-1][0] + DAY_S
    per_day = DAY_S // step_s
    values: array[int] = array("q")
    quality = bytearray()
    for day_s, version, row_step_s, _, packed, codes, source in rows:
        behind = (day_s - start_s) // step_s - len(values)
        values.extend(empty_values(behind))
        quality.extend(bytes(behind))
        day = Curve(
            point_id, direction, row_step_s, day_s, unpacked_values(packed), codes, source, version
        )
        day = resampled(day, step_s)
        values.extend(day.watt_minutes)
        quality.extend(day.quality)
    assert len(values) * step_s == end_s - start_s == len(quality) // per_day * DAY_S
    newest = max(rows, key=lambda row: row[1])
    return Curve(point_id, direction, step_s, start_s, values, bytes(quality), newest[6], newest[1])


def packed_values(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        values = array("q", values)
        values.byteswap()
    return values.tobytes()


def unpacked_values(packed: bytes) -> array[int]:
    values: array[int] = array("q")
    values.frombytes(packed)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def finding_row(finding: Finding) -> Row:
    """A finding, without its import."""
    return (
        str(finding.klass),
        str(finding.treatment),
        finding.rule,
        finding.message,
        finding.line,
        finding.last_line,
        finding.point_id,
        finding.rows,
        finding.from_s,
        finding.to_s,
        finding.raw,
    )


def finding_from(row: Row) -> tuple[int, Finding]:
    """A finding that was kept, and the number of its import."""
    number, klass, treatment, *rest = row
    return number, Finding(FindingClass(klass), Treatment(treatment), *rest)


def register_row(value: RegisterValue, version: int) -> Row:
    """An index as an import brought it."""
    return (
        value.point_id,
        str(value.direction),
        value.calendar,
        value.register,
        value.taken_at_s,
        version,
        value.value_wh,
        int(value.quality),
        value.source,
    )


def energy_row(energy: PeriodEnergy, version: int) -> Row:
    """The energy of a period as an import brought it."""
    return (
        energy.point_id,
        str(energy.direction),
        str(energy.part),
        energy.calendar,
        energy.register,
        energy.to_s,
        version,
        energy.from_s,
        energy.energy_wh,
        int(energy.quality),
        energy.source,
    )
