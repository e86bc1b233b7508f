"""Curves as a plain table: one row per step, one column per delivery point, whole Wh.

``start,<point>,<point>...``; starts in ISO 8601 with an offset, equal steps without a break, whole
Wh. An empty cell is a gap, never 0. This is what the commands exchange; the operators' own formats
come in through their importers.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.billing.series import MISSING, STEPS_S, WATT_MINUTES_PER_WH, Curve, Direction, StepQuality
from node.errors import ConfigurationError
from node.slots import iso_utc, parse_iso_utc

__all__ = ["CurveTable", "curve_table_text", "read_curve_table"]

MAX_FILE_BYTES: Final = 512 * 2**20
MAX_WH: Final = 10**9
"""More than any delivery point moves in a step: 1 GWh."""


@dataclass(frozen=True, slots=True)
class CurveTable:
    """Wh per step by delivery point, MISSING for a gap."""

    start_s: int
    step_s: int
    points: Mapping[str, array[int]]

    @property
    def steps(self) -> int:
        """How many steps."""
        return len(next(iter(self.points.values())))

    @property
    def starts_s(self) -> range:
        """Where each step begins."""
        return range(self.start_s, self.start_s + self.steps * self.step_s, self.step_s)

    def curve(self, point: str, direction: Direction) -> Curve:
        """One point's values in the canonical form."""
        values = self.points[point]
        return Curve(
            point_id=point,
            direction=direction,
            step_s=self.step_s,
            start_s=self.start_s,
            watt_minutes=array(
                "q", (wh if wh == MISSING else wh * WATT_MINUTES_PER_WH for wh in values)
            ),
            quality=bytes(
                StepQuality.GAP if wh == MISSING else StepQuality.METERED for wh in values
            ),
        )


def curve_table_text(table: CurveTable) -> Iterator[str]:
    """The table's lines, as ``read_curve_table`` takes them."""
    yield ",".join(("start", *table.points)) + "\n"
    for start_s, row in zip(table.starts_s, zip(*table.points.values(), strict=True), strict=True):
        yield ",".join((iso_utc(start_s), *("" if wh == MISSING else str(wh) for wh in row))) + "\n"


def read_curve_table(path: Path) -> CurveTable:
    """A table, checked whole. Raises ConfigurationError, with file and line."""
    lines = _lines(path)
    points = _points(path, next(lines, ""))
    columns = [array("q") for _ in points]
    starts_s: array[int] = array("q")
    for number, line in enumerate(lines, start=2):
        stamp, *cells = line.split(",")
        if len(cells) != len(points):
            raise ConfigurationError(
                f"{len(cells)} values for {len(points)} points", file=path, line=number
            )
        starts_s.append(_start(path, number, stamp, starts_s))
        for column, cell in zip(columns, cells, strict=True):
            column.append(_energy(path, number, cell))
    if len(starts_s) < 2:
        raise ConfigurationError("two rows at least say how long a step is", file=path)
    return CurveTable(
        starts_s[0], starts_s[1] - starts_s[0], dict(zip(points, columns, strict=True))
    )


def _lines(path: Path) -> Iterator[str]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"is larger than {MAX_FILE_BYTES} bytes", file=path)
        with path.open(encoding="utf-8-sig") as stream:
            for line in stream:
                yield line.rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})", file=path) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError("is not text in UTF-8", file=path) from error


def _points(path: Path, line: str) -> list[str]:
    first, *points = line.split(",")
    if first != "start" or not all(points) or not points:
        raise ConfigurationError("does not begin with start,<point>,...", file=path, line=1)
    if len(set(points)) < len(points):
        raise ConfigurationError("names a delivery point twice", file=path, line=1)
    return points


def _start(path: Path, number: int, text: str, before: Sequence[int]) -> int:
    try:
        start_s = parse_iso_utc(text)
    except ValueError as error:
        raise ConfigurationError(str(error), file=path, line=number) from error
    if len(before) == 1 and (
        start_s - before[0] not in STEPS_S or before[0] % (start_s - before[0])
    ):
        raise ConfigurationError(
            f"steps begin at full steps and last {', '.join(map(str, STEPS_S))} s",
            file=path,
            line=number,
        )
    if len(before) > 1 and start_s != 2 * before[-1] - before[-2]:
        raise ConfigurationError(f"{text} does not follow the step before", file=path, line=number)
    return start_s


def _energy(path: Path, number: int, cell: str) -> int:
    if not cell:
        return MISSING
    if not cell.isdecimal() or int(cell) > MAX_WH:
        raise ConfigurationError(f"{cell!r} is no whole number of Wh", file=path, line=number)
    return int(cell)
