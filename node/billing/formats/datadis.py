"""Spain's Datadis CSV: hourly kWh of a CUPS, decimal comma, hours 1 to 24 that name their END.

On the days of the clock change the files of some distributors count the hours of the day (to 23 or
25), others write what the clock showed (to 24, with an hour left out or told twice). Both are
known; a day that could be either is refused from the change on.

The portal's file calls its last column ``metodoObtencion``, others ``Metodo_obtencion``. Where it
is missing nobody says whether a value was measured or estimated, so all are doubtful.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import IO, Final

from node.billing.conformity import FindingClass, Treatment
from node.billing.formats.head import Format, Head, folded
from node.billing.formats.r63_csv import COLUMNS_FAULT, columns_of
from node.billing.formats.text_lines import cells_of, text_lines
from node.billing.identifiers import cups_fault
from node.billing.perimeter import midnight_s
from node.billing.rows import Intake, Lane, Refusal, Stamped, TooMuch, Unreadable
from node.billing.series import Direction, StepQuality
from node.billing.stamps import NO_STAMP

__all__ = ["DATADIS"]

_HOUR_S: Final = 3600
_MOST_DAYS: Final = 50_000
_MOST_HOURS: Final = 200
"""Rows of one point and day that are looked at together; a day has 25."""

_CHANGE: Final = 2
"""The clock changes after this many hours of the day."""

_COLUMNS: Final = {
    "cups": r"cups",
    "day": r"fecha",
    "hour": r"hora",
    "value": r"consumo_kwh|ae_kwh",
    "method": r"metodo([ _]?obtencion)?|obtencion|real[/_]estimado",
}
_MUST: Final = frozenset({"cups", "day", "hour", "value"})
_DAY: Final = re.compile(r"(\d{4})[/-](\d\d)[/-](\d\d)|(\d\d)/(\d\d)/(\d{4})", re.ASCII)
_HOUR: Final = re.compile(r"(\d{1,2})(?::00)?", re.ASCII)
_METHODS: Final = {
    "real": StepQuality.METERED,
    "r": StepQuality.METERED,
    "estimada": StepQuality.ESTIMATED,
    "estimado": StepQuality.ESTIMATED,
    "e": StepQuality.ESTIMATED,
}
_HOUR_FAULT: Final = Refusal(
    FindingClass.NON_STANDARD,
    Treatment.ASK,
    "hour",
    "the hour is not one of 1 to 24: hours here name the end of theirs",
)
_CHANGE_FAULT: Final = Refusal(
    FindingClass.NON_STANDARD,
    Treatment.ASK,
    "twice_told_hour",
    "a day of the clock change whose hours do not show how they are counted",
)


@dataclass(frozen=True, slots=True)
class _Hour:
    line: int
    day: date
    label: int
    value: str
    quality: StepQuality
    raw: str


def _recognises(head: Head) -> bool:
    return head.first_line.startswith("cups;fecha;hora")


def _read(stream: IO[bytes], intake: Intake, _: Head) -> None:
    lines = text_lines(stream)
    header = next(lines, (1, ""))[1]
    columns, width = columns_of(header, _COLUMNS, _MUST), len(cells_of(header))
    unread = [name for place, name in enumerate(cells_of(header)) if place not in columns.values()]
    if any(name.strip() for name in unread):
        intake.log.add(
            FindingClass.USELESS,
            Treatment.DROP,
            "columns_left_out",
            f"columns that are not read: {', '.join(unread)}"[:200],
            line=1,
        )
    changed: dict[tuple[str, date], list[_Hour]] = {}
    try:
        _rows(lines, intake, columns, width, changed)
    except Unreadable:
        intake.count(sum(map(len, changed.values())))
        raise
    for (cups, _day), hours in changed.items():
        _changed_day(intake, cups, hours)
    for cups in {cups for cups, _day in changed}:
        rows = intake.series.get((cups, Direction.WITHDRAWAL))
        if rows is not None:
            rows.in_order_of_the_file()  # those of the change waited for their whole day


def _rows(
    lines: Iterator[tuple[int, str]],
    intake: Intake,
    columns: dict[str, int],
    width: int,
    changed: dict[tuple[str, date], list[_Hour]],
) -> None:
    """All rows; those of days of the clock change wait in ``changed`` for their whole day."""
    for number, line in lines:
        if not line.strip():
            continue
        cells = [cell.strip() for cell in cells_of(line)]
        if len(cells) != width:
            intake.refuse(COLUMNS_FAULT, number, raw=line)
            continue
        of = {name: cells[place] for name, place in columns.items()}
        _row(intake, number, of, line, changed)


def _row(
    intake: Intake,
    number: int,
    of: dict[str, str],
    line: str,
    changed: dict[tuple[str, date], list[_Hour]],
) -> None:
    day, label = _day(of["day"]), _HOUR.fullmatch(of["hour"])
    lane = _lane(intake, of["cups"])
    if lane.refusal is not None:
        lane.refuse_all(number, number, 1, line)
        return
    if day is None:
        intake.refuse_stamp(NO_STAMP, of["day"], number, of["cups"], line)
        return
    if label is None:
        intake.refuse(_HOUR_FAULT, number, point_id=of["cups"], raw=line)
        return
    quality = _METHODS.get(folded(of.get("method", "")), StepQuality.DOUBTFUL)
    hour = _Hour(number, day, int(label[1]), of["value"], quality, line)
    if _hours_of(intake, day) != 24:
        waiting = changed.setdefault((of["cups"], day), [])
        if len(changed) > _MOST_DAYS or len(waiting) >= _MOST_HOURS:
            raise TooMuch("more days of the clock change than any file has")
        waiting.append(hour)
    elif 1 <= hour.label <= 24:
        _take(intake, lane, hour, hour.label)
    else:
        intake.refuse(_HOUR_FAULT, number, point_id=of["cups"], raw=line)


def _lane(intake: Intake, cups: str) -> Lane:
    return intake.lane(
        cups,
        Direction.WITHDRAWAL,
        step_s=_HOUR_S,
        unit="kWh",
        stamped=Stamped.AT_END,
        fault=cups_fault(cups),
        decimal_mark=",",
    )


def _take(intake: Intake, lane: Lane, hour: _Hour, ordinal: int) -> None:
    """The ``ordinal``-th hour of a day, counted as it passed."""
    end_s = midnight_s(hour.day, intake.expected.zone) + ordinal * _HOUR_S
    lane.add_at(hour.line, end_s, hour.value, hour.quality, hour.raw)


def _changed_day(intake: Intake, cups: str, hours: list[_Hour]) -> None:
    """A day of the clock change: the ordinals that its labels stand for."""
    lane, length = _lane(intake, cups), _hours_of(intake, hours[0].day)
    labels = [hour.label for hour in hours]
    by_count = max(labels) == length if length > 24 else max(labels) < 24 and 3 in labels
    by_clock = labels.count(3) == 2 if length > 24 else max(labels) == 24
    for hour, ordinal in _ordinals(hours, length, by_count=by_count, by_clock=by_clock):
        if ordinal is None:
            fault = _CHANGE_FAULT if 1 <= hour.label <= 25 else _HOUR_FAULT
            intake.refuse(fault, hour.line, point_id=cups, raw=hour.raw)
        else:
            _take(intake, lane, hour, ordinal)


def _ordinals(
    hours: list[_Hour], length: int, *, by_count: bool, by_clock: bool
) -> Iterator[tuple[_Hour, int | None]]:
    told = 0
    for hour in hours:
        label = hour.label
        if not 1 <= label <= max(length, 24) or (by_count and label > length):
            yield hour, None
        elif label <= _CHANGE or (by_count and not by_clock):
            yield hour, label
        elif by_count == by_clock:
            yield hour, None
        elif length > 24:
            told += label == _CHANGE + 1
            yield hour, label if label == _CHANGE + 1 and told == 1 else label + 1
        else:
            yield hour, None if label == _CHANGE + 1 else label - 1


def _day(text: str) -> date | None:
    match = _DAY.fullmatch(text)
    if match is None:
        return None
    year, month, day = match.group(1, 2, 3) if match[1] else match.group(6, 5, 4)
    try:
        found = date(int(year), int(month), int(day))
    except ValueError:
        return None
    return found if 2000 <= found.year < 2100 else None


def _hours_of(intake: Intake, day: date) -> int:
    zone = intake.expected.zone
    return (midnight_s(day + timedelta(days=1), zone) - midnight_s(day, zone)) // _HOUR_S


DATADIS: Final = Format(
    "datadis", "Datadis hourly consumption, Spain, CSV", "Europe/Madrid", _recognises, _read
)
