"""The sharing file of Czechia's EDC: quarter hours of a whole group, two columns for each EAN.

``IN-<EAN>-D`` and ``-O`` are what a producer fed in and a consumer drew, ``OUT-...`` what is left
of it after sharing: surplus and residual. kWh with a decimal comma; consumers come with a minus.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Final

from node.billing.conformity import FindingClass, Treatment
from node.billing.formats.head import Format, Head, folded
from node.billing.formats.r63_csv import COLUMNS_FAULT
from node.billing.formats.text_lines import cells_of, text_lines
from node.billing.identifiers import ean_fault
from node.billing.perimeter import midnight_s
from node.billing.rows import Intake, Lane, Refusal, Stamped, Unreadable
from node.billing.series import DAY_S, Direction, StepQuality
from node.billing.stamps import NO_STAMP, SKIPPED

__all__ = ["EDC"]

_STEP_S: Final = 900
_FIXED: Final = 3
"""Columns before those of the points: day, from, to."""

_HEADING: Final = re.compile(r"(in|out)-([^-;]{1,30})-([do])")
_DIRECTIONS: Final = {
    "ind": Direction.INJECTION,
    "outd": Direction.SURPLUS,
    "ino": Direction.WITHDRAWAL,
    "outo": Direction.RESIDUAL,
}
_DAY: Final = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})", re.ASCII)
_TIME: Final = re.compile(r"(\d{1,2}):(\d\d)", re.ASCII)
_SIGN_FAULT: Final = Refusal(
    FindingClass.NON_STANDARD,
    Treatment.ASK,
    "sign",
    "a sign that is not that of this column: producers are positive, consumers all of one sign",
)
_SPAN_FAULT: Final = Refusal(
    FindingClass.NON_STANDARD, Treatment.ASK, "step", "from and to are not a quarter of an hour"
)


@dataclass(slots=True)
class _Column:
    """One column; ``minus`` is known once a value other than 0 was seen."""

    ean: str
    is_consumer: bool
    lane: Lane
    minus: bool | None = None


def _recognises(head: Head) -> bool:
    return head.first_line.startswith("datum;cas od;cas do")


def _read(stream: IO[bytes], intake: Intake, _: Head) -> None:
    lines = text_lines(stream)
    header = next(lines, (1, ""))[1]
    columns = _columns(intake, header)
    for number, line in lines:
        if not line.strip():
            continue
        cells = [cell.strip() for cell in cells_of(line)]
        if len(cells) == _FIXED + len(columns) + 1 and not cells[-1]:
            cells.pop()  # rows end with a semicolon, the header need not
        if len(cells) != _FIXED + len(columns):
            intake.refuse(COLUMNS_FAULT, number, rows=len(columns), raw=line)
            continue
        _row(intake, number, cells, columns)


def _columns(intake: Intake, header: str) -> list[_Column]:
    cells = [folded(cell) for cell in cells_of(header)]
    while cells and not cells[-1]:
        cells.pop()
    columns = []
    seen: set[str] = set()
    for cell in cells[_FIXED:]:
        match = _HEADING.fullmatch(cell)
        if match is None or cell in seen:
            raise Unreadable(f"the column {cell[:40]!r} is unknown, or there twice", 1)
        seen.add(cell)
        when, ean, role = match.groups()
        lane = intake.lane(
            ean,
            _DIRECTIONS[when + role],
            step_s=_STEP_S,
            unit="kWh",
            stamped=Stamped.AT_START,
            fault=ean_fault(ean),
            decimal_mark=",",
        )
        columns.append(_Column(ean, role == "o", lane))
    if not columns:
        raise Unreadable("no columns of points", 1)
    return columns


def _row(intake: Intake, number: int, cells: list[str], columns: list[_Column]) -> None:
    stamp = " ".join(cells[:_FIXED])
    start_s = _start_s(intake, cells)
    for column, text in zip(columns, cells[_FIXED:], strict=True):
        if column.lane.refusal is not None:
            column.lane.refuse_all(number, number, 1, f"{stamp} {text}")
        elif start_s is None:
            intake.refuse(_SPAN_FAULT, number, point_id=column.ean, raw=stamp)
        elif start_s in {NO_STAMP, SKIPPED}:
            intake.refuse_stamp(start_s, stamp, number, column.ean, "")
        else:
            amount = text.removeprefix("-")
            if amount.strip("0,"):
                minus = text != amount
                if column.minus is None and (column.is_consumer or not minus):
                    column.minus = minus
                if column.minus != minus:
                    intake.refuse(_SIGN_FAULT, number, point_id=column.ean, raw=f"{stamp} {text}")
                    continue
            column.lane.add_at(number, start_s, amount, StepQuality.METERED, f"{stamp} {text}")


def _start_s(intake: Intake, cells: list[str]) -> int | None:
    """When the row's step begins, as ``StampReader`` has it; None if it is no quarter hour."""
    day, start, end = _DAY.fullmatch(cells[0]), _TIME.fullmatch(cells[1]), _TIME.fullmatch(cells[2])
    if day is None or start is None or end is None:
        return NO_STAMP
    try:
        bare = datetime(  # noqa: DTZ001  (a bare local time; the reader gives it its zone)
            int(day[3]), int(day[2]), int(day[1]), int(start[1]), int(start[2])
        )
    except ValueError:
        return NO_STAMP
    if not 2000 <= bare.year < 2100:
        return NO_STAMP
    zone, date = intake.expected.zone, bare.date()
    is_change = midnight_s(date + timedelta(days=1), zone) - midnight_s(date, zone) != DAY_S
    span = (int(end[1]) * 60 + int(end[2]) - int(start[1]) * 60 - int(start[2])) % 1440
    # Over the change of the clock, the label of the end is an hour off.
    if span != 15 and not (is_change and span in {75, 1440 - 45}):
        return None
    return intake.stamps.of_local(bare)


EDC: Final = Format("edc", "EDC sharing file, Czechia, CSV", "Europe/Prague", _recognises, _read)
