"""What is wrong with a file of an operator, where, and what is to be done about it.

The customer's three classes: **corrupt** (cannot be read to its end, or is not built as its flow
is), **non-standard** (can be read, but step, unit, stamp, number or identifier are not the flow's,
or steps are missing), **useless** (of no delivery point of the perimeter, outside its dates, or a
quantity that nothing here asks for). Every row of a file is either a value, a gap that the operator
states, or refused under a finding: the counts of a report add up to the rows of its file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from enum import StrEnum
from itertools import pairwise
from typing import Final

from node.billing.series import WATT_MINUTES_PER_WH, Curve, RegisterValue, StepQuality

__all__ = [
    "ESTIMABLE_GAP_S",
    "MAX_FINDINGS",
    "Finding",
    "FindingClass",
    "FindingLog",
    "Treatment",
    "against_registers",
    "as_text",
    "gap_findings",
]

MAX_FINDINGS: Final = 5_000
"""Findings of one file that are kept apart; those beyond are counted in one per class."""

ADJACENT_LINES: Final = 10
"""Rows of one fault this close together are one finding: XML writes a row over several lines."""

MAX_RAW_CHARS: Final = 200
"""How much of a refused row is kept, so that a person sees what came."""

ESTIMABLE_GAP_S: Final = 7_200
"""A gap up to here may be filled by interpolation, marked estimated; a longer one is asked for."""

REGISTER_TOLERANCE: Final = 100
"""A curve and its meter's index may differ by one part in this many."""


class FindingClass(StrEnum):
    """The customer's three classes of data that cannot be used as they are."""

    CORRUPT = "corrupt"
    NON_STANDARD = "non-standard"
    USELESS = "useless"


class Treatment(StrEnum):
    """What becomes of the rows, or what a person or a later step has to do.

    DROP: nothing is lost by leaving them out. REPAIR: brought to the standard form and accepted.
    ASK: only the operator knows. ESTIMATE: a gap short enough to be estimated, provisionally.
    """

    DROP = "drop"
    REPAIR = "repair"
    ASK = "ask"
    ESTIMATE = "estimate"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found in a file, over the lines ``line`` to ``last_line`` (0: the file as a whole).

    ``rule`` is the machine-readable word, ``rows`` how many rows of the file were refused under it
    (0 where they were accepted, or never came). ``from_s`` and ``to_s`` say which steps it is
    about. ``raw`` is the first refused row as it came; of points outside the perimeter nothing is
    kept, because they are other people's.
    """

    klass: FindingClass
    treatment: Treatment
    rule: str
    message: str
    file: str
    line: int = 0
    last_line: int = 0
    point_id: str = ""
    rows: int = 0
    from_s: int | None = None
    to_s: int | None = None
    raw: str = ""


@dataclass(slots=True)
class FindingLog:
    """The findings of one file, in its order; runs of the same finding become one."""

    file: str
    found: list[Finding] = field(default_factory=list)
    refused: int = 0
    _beyond: dict[tuple[FindingClass, Treatment], int] = field(default_factory=dict)

    def add(
        self,
        klass: FindingClass,
        treatment: Treatment,
        rule: str,
        message: str,
        *,
        line: int = 0,
        last_line: int = 0,
        point_id: str = "",
        rows: int = 0,
        from_s: int | None = None,
        to_s: int | None = None,
        raw: str = "",
    ) -> None:
        """Note a finding; ``rows`` of the file are refused by it. What came is kept and shown in
        printable characters only, whatever it was."""
        point_id, message = printable(point_id), as_text(message)
        self.refused += rows
        last_line = max(line, last_line)
        if self.found and from_s is None:
            last = self.found[-1]
            same = (last.klass, last.treatment, last.rule, last.message, last.point_id)
            if same == (klass, treatment, rule, message, point_id) and (
                0 <= line - last.last_line <= ADJACENT_LINES
            ):
                self.found[-1] = replace(last, last_line=last_line, rows=last.rows + rows)
                return
        if len(self.found) >= MAX_FINDINGS:
            self._beyond[klass, treatment] = self._beyond.get((klass, treatment), 0) + rows
            return
        self.found.append(
            Finding(
                klass,
                treatment,
                rule,
                message,
                self.file,
                line,
                last_line,
                point_id,
                rows,
                from_s,
                to_s,
                printable(raw),
            )
        )

    def all(self) -> list[Finding]:
        """Every finding, with one more for each class of which there were too many."""
        return self.found + [
            Finding(
                klass,
                treatment,
                "too_many_findings",
                f"more findings than the {MAX_FINDINGS} that are told apart",
                self.file,
                rows=rows,
            )
            for (klass, treatment), rows in sorted(self._beyond.items())
        ]


def printable(raw: str) -> str:
    """The beginning of what came, with everything escaped that is no printable text."""
    return as_text(raw[:MAX_RAW_CHARS])


def as_text(came: str) -> str:
    """What came, with everything escaped that is no printable text: controls, and the bytes that
    were no UTF-8. Without that, neither a database nor a terminal takes it."""
    if came.isprintable():
        return came
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "replace").decode("ascii")
        for char in came
    )


def gap_findings(
    curve: Curve, log: FindingLog, zone: tzinfo, line_at: Callable[[int], int]
) -> None:
    """Note every run of steps without a value inside a curve. A gap is never filled with 0.

    ``line_at`` tells the line of the row at an instant, or of the first row after it.
    """
    for from_s, to_s in curve.gaps():
        steps = (to_s - from_s) // curve.step_s
        span = f"{_legal_time(from_s, zone)} to {_legal_time(to_s, zone)}"
        estimable = to_s - from_s <= ESTIMABLE_GAP_S
        log.add(
            FindingClass.NON_STANDARD,
            Treatment.ESTIMATE if estimable else Treatment.ASK,
            "gap",
            f"{steps} {'step' if steps == 1 else 'steps'} without a value, {span}",
            line=line_at(from_s),
            point_id=curve.point_id,
            from_s=from_s,
            to_s=to_s,
        )


def _legal_time(unix_s: int, zone: tzinfo) -> str:
    """An instant as the operator would write it, with the offset."""
    return datetime.fromtimestamp(unix_s, zone).isoformat(timespec="minutes")


def against_registers(curve: Curve, registers: Iterable[RegisterValue], log: FindingLog) -> None:
    """Hold a curve to its meter's cumulative indexes, where two readings of the same registers
    enclose whole steps without a gap: more than 1 % apart (and more than a kWh, since some indexes
    are whole kWh) is asked.
    """
    readings: dict[tuple[str, int], dict[str, int]] = {}
    for value in registers:
        if (value.point_id, value.direction) == (curve.point_id, curve.direction):
            reading = readings.setdefault((value.calendar, value.taken_at_s), {})
            reading[value.register] = value.value_wh
    for (before, after), (calendar, from_s, to_s) in _enclosed(curve, readings):
        by_curve_wh = sum(curve.window(from_s, to_s).watt_minutes) // WATT_MINUTES_PER_WH
        by_index_wh = sum(after.values()) - sum(before.values())
        if abs(by_curve_wh - by_index_wh) > max(abs(by_index_wh) // REGISTER_TOLERANCE, 1_000):
            log.add(
                FindingClass.NON_STANDARD,
                Treatment.ASK,
                "index_differs",
                f"the curve has {by_curve_wh} Wh, the index {calendar} moved by {by_index_wh} Wh",
                point_id=curve.point_id,
                from_s=from_s,
                to_s=to_s,
            )


def _enclosed(
    curve: Curve, readings: Mapping[tuple[str, int], Mapping[str, int]]
) -> Iterator[tuple[tuple[Mapping[str, int], Mapping[str, int]], tuple[str, int, int]]]:
    """Neighbouring readings of the same registers, between which the curve is whole."""
    for (calendar, from_s), (other, to_s) in pairwise(sorted(readings)):
        before, after = readings[calendar, from_s], readings[other, to_s]
        if calendar != other or set(before) != set(after):
            continue
        on_grid = not (from_s % curve.step_s or to_s % curve.step_s)
        inside = on_grid and curve.start_s <= from_s and to_s <= curve.end_s
        if inside and StepQuality.GAP not in curve.window(from_s, to_s).quality:
            yield (before, after), (calendar, from_s, to_s)
