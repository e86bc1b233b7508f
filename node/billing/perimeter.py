"""The perimeter of an operation: which delivery points take part, in which direction, from when.

One CSV file that people own, with a header. ``point`` and ``from`` must be there::

    point,direction,from,until,segment,kva
    30000000000011,withdrawal,2025-01-01,,C5,9
    30000000000029,injection,2025-01-01,2026-01-01,P4,

``until`` is the first day that no longer counts. ``segment`` (C1..C5, P1..P4) settles on which side
of a step an operator stamps it; ``kva`` is the subscribed power, against which values are checked.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from node.billing.series import Direction
from node.errors import ConfigurationError

__all__ = [
    "MAX_PERIMETER_BYTES",
    "Membership",
    "Perimeter",
    "midnight_s",
    "parse_segment",
    "read_perimeter",
]

MAX_PERIMETER_BYTES: Final = 16 * 2**20

_COLUMNS: Final = ("point", "direction", "from", "until", "segment", "kva")
_SEGMENT: Final = re.compile(r"(C[1-5]|P[1-4])?")
LINKY: Final = frozenset({"C5", "P4"})
_FOREVER_S: Final = 2**62


@dataclass(frozen=True, slots=True)
class Membership:
    """One point's part in the operation, in ``[from_s, to_s)``. ``direction`` None: both ways."""

    point_id: str
    direction: Direction | None
    from_s: int
    to_s: int = _FOREVER_S
    segment: str = ""
    kva: int | None = None


@dataclass(frozen=True, slots=True)
class Perimeter:
    """All memberships by point. An empty perimeter has no points: everything is outside it."""

    members: Mapping[str, Sequence[Membership]] = field(default_factory=dict)

    @classmethod
    def of(cls, memberships: Sequence[Membership]) -> Perimeter:
        """The perimeter with these memberships."""
        members: dict[str, list[Membership]] = {}
        for membership in memberships:
            members.setdefault(membership.point_id, []).append(membership)
        return cls(members)

    def __contains__(self, point_id: str) -> bool:
        """Whether the point takes part at any time."""
        return point_id in self.members

    def of_point(self, point_id: str, direction: Direction) -> list[Membership]:
        """A point's memberships for one direction; a residual counts as a withdrawal."""
        whole = _WHOLE[direction]
        return [
            membership
            for membership in self.members.get(point_id, ())
            if membership.direction in {None, whole}
        ]

    def segment(self, point_id: str) -> str:
        """The segment that the perimeter states for a point; empty where it states none, or two of
        different meters. A Linky that draws and feeds in is C5 and P4 at once."""
        segments = {membership.segment for membership in self.members.get(point_id, ())} - {""}
        return min(segments) if len({one in LINKY for one in segments}) == 1 else ""


_WHOLE: Final = {
    Direction.WITHDRAWAL: Direction.WITHDRAWAL,
    Direction.RESIDUAL: Direction.WITHDRAWAL,
    Direction.INJECTION: Direction.INJECTION,
    Direction.SURPLUS: Direction.INJECTION,
}


def parse_segment(text: str) -> str:
    """A segment, or none. Raises ValueError."""
    if not _SEGMENT.fullmatch(text):
        raise ValueError(f"segment {text!r} is not C1..C5 or P1..P4")
    return text


def midnight_s(day: date, zone: ZoneInfo) -> int:
    """The instant at which a local day begins."""
    return int(datetime.combine(day, time(), zone).timestamp())


def read_perimeter(path: Path, zone: ZoneInfo) -> Perimeter:
    """Read the perimeter file. Raises ConfigurationError with the line that cannot be used."""
    try:
        if path.stat().st_size > MAX_PERIMETER_BYTES:
            raise ConfigurationError("is too large for a perimeter", file=path)
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the perimeter cannot be read ({error})", file=path, next_step="check the name"
        ) from error
    lines = text.splitlines()
    delimiter = ";" if lines and ";" in lines[0] else ","
    rows = csv.reader(lines, delimiter=delimiter)
    header = [name.strip().lower() for name in next(rows, [])]
    if not {"point", "from"} <= set(header) <= set(_COLUMNS):
        raise ConfigurationError(
            f"the columns are {', '.join(header)}",
            file=path,
            line=1,
            next_step=f"use {', '.join(_COLUMNS)}; point and from must be there",
        )
    memberships: list[Membership] = []
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        try:
            memberships.append(_membership(header, row, zone))
        except ValueError as error:
            raise ConfigurationError(str(error), file=path, line=rows.line_num) from error
        _refuse_overlap(memberships, path, rows.line_num)
    return Perimeter.of(memberships)


def _membership(header: Sequence[str], row: Sequence[str], zone: ZoneInfo) -> Membership:
    if len(row) != len(header):
        raise ValueError(f"{len(row)} columns, {len(header)} in the header")
    cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
    if not cells["point"]:
        raise ValueError("no delivery point")
    directions = {"": None, "both": None, "withdrawal": Direction.WITHDRAWAL}
    directions["injection"] = Direction.INJECTION
    direction = cells.get("direction", "")
    if direction not in directions:
        raise ValueError(f"direction {direction!r} is not withdrawal, injection or both")
    segment, kva = parse_segment(cells.get("segment", "")), cells.get("kva", "")
    if kva and not (kva.isascii() and kva.isdecimal()):
        raise ValueError(f"subscribed power {kva!r} is no whole number of kVA")
    until = cells.get("until", "")
    from_s = midnight_s(date.fromisoformat(cells["from"]), zone)
    to_s = midnight_s(date.fromisoformat(until), zone) if until else _FOREVER_S
    if to_s <= from_s:
        raise ValueError(f"until {until} is not after {cells['from']}")
    return Membership(
        cells["point"], directions[direction], from_s, to_s, segment, int(kva) if kva else None
    )


def _refuse_overlap(memberships: Sequence[Membership], path: Path, line: int) -> None:
    new = memberships[-1]
    for old in memberships[:-1]:
        same_way = None in {old.direction, new.direction} or old.direction == new.direction
        same_time = old.from_s < new.to_s and new.from_s < old.to_s
        if old.point_id == new.point_id and same_way and same_time:
            raise ConfigurationError(
                f"point {new.point_id} is there twice at the same time", file=path, line=line
            )
