"""From the rows of one delivery point to its curve: order, duplicates, conflicts, steps, gaps."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from statistics import median_low
from typing import Final

from node.billing.conformity import FindingClass, FindingLog, Treatment, gap_findings
from node.billing.perimeter import Membership
from node.billing.rows import Expectations, Rows
from node.billing.series import (
    DAY_S,
    MISSING,
    Curve,
    StepQuality,
    empty_values,
    resampled,
)
from node.billing.stamps import settle_twice_told
from node.slots import iso_utc

__all__ = ["Draft", "draft"]

MAX_SPAN_S: Final = 5 * 366 * DAY_S
"""Operators hand out three years at most; a stamp farther off than this is a broken one."""

KVA_MARGIN_W: Final = 1_200
"""Watts of mean power that a subscribed kVA may plausibly carry."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A file's curve of one point. ``accepted`` rows had a value and gave it to the curve,
    ``empty`` ones stated a gap. ``curve`` is None if nothing of the rows could be used."""

    curve: Curve | None
    accepted: int
    empty: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one step has to say, of which row."""

    start_s: int
    step_s: int
    value: int
    quality: int
    line: int

    @property
    def end_s(self) -> int:
        return self.start_s + self.step_s


def draft(rows: Rows, expected: Expectations, log: FindingLog, source: str) -> Draft:
    """The curve of a point's rows; every row ends as a value, a stated gap, or under a finding."""
    starts, undecided = settle_twice_told(rows.starts, rows.watt_minutes)
    entries: list[_Entry] | None = None
    curve = None if undecided else _regular(rows, starts, expected, source)
    if curve is None:
        entries = _entries(rows, starts, undecided, expected, log)
        if not entries:
            return Draft(None, 0, 0)
        curve = _assembled(rows, entries, expected, log, source)
    empty = (
        rows.quality.count(StepQuality.GAP)
        if entries is None
        else sum(entry.value == MISSING for entry in entries)
    )
    accepted = (len(rows.quality) if entries is None else len(entries)) - empty
    if expected.step_s is not None and curve.step_s != expected.step_s:
        log.add(
            FindingClass.NON_STANDARD,
            Treatment.REPAIR,
            "other_step",
            f"steps of {curve.step_s // 60} min, brought to {expected.step_s // 60} min by energy",
            point_id=rows.point_id,
        )
        curve = resampled(curve, expected.step_s)
    curve = _doubted(curve, expected, log)
    if StepQuality.GAP in curve.quality:
        places = _places(rows, starts, entries)
        gap_findings(curve, log, expected.zone, lambda at_s: _line_at(places, at_s))
    return Draft(curve, accepted, empty)


def _places(rows: Rows, starts: array[int], entries: list[_Entry] | None) -> list[tuple[int, int]]:
    """The rows that count, as (start, line), in order of time."""
    if entries is None:
        return list(zip(starts, rows.lines, strict=True))
    return [(entry.start_s, entry.line) for entry in entries]


def _line_at(places: list[tuple[int, int]], at_s: int) -> int:
    """The line of the row that starts then, or of the next one after it, else of the last."""
    index = bisect_left(places, (at_s, 0))
    return places[min(index, len(places) - 1)][1]


def _regular(rows: Rows, starts: array[int], expected: Expectations, source: str) -> Curve | None:
    """The curve of rows without any surprise, which nearly all are: one step, none missing."""
    steps_s = rows.steps_s
    step_s, count = steps_s[0], len(starts)
    first_s = starts[0]
    if steps_s.count(step_s) != count or first_s % step_s:
        return None
    if starts != array("q", range(first_s, first_s + count * step_s, step_s)):
        return None
    if count * step_s > MAX_SPAN_S or not _inside(rows, expected, first_s, starts[-1] + step_s):
        return None
    return Curve(
        rows.point_id,
        rows.direction,
        step_s,
        first_s,
        rows.watt_minutes,
        bytes(rows.quality),
        source,
    )


def _memberships(rows: Rows, expected: Expectations) -> list[Membership] | None:
    if expected.perimeter is None:
        return None
    return expected.perimeter.of_point(rows.point_id, rows.direction)


def _inside(rows: Rows, expected: Expectations, from_s: int, to_s: int) -> bool:
    members = _memberships(rows, expected)
    return members is None or any(m.from_s <= from_s and to_s <= m.to_s for m in members)


def _entries(
    rows: Rows,
    starts: array[int],
    undecided: set[int],
    expected: Expectations,
    log: FindingLog,
) -> list[_Entry]:
    """The rows that hold, in order of time, one for each step."""
    entries = [
        _Entry(start_s, step_s, value, quality, line)
        for start_s, step_s, value, quality, line in zip(
            starts, rows.steps_s, rows.watt_minutes, rows.quality, rows.lines, strict=True
        )
    ]
    for index in sorted(undecided):
        _refuse(
            log,
            rows,
            entries[index],
            Treatment.ASK,
            "twice_told_hour",
            "the clock had this hour twice, and the rows do not show which of the two it is",
        )
    kept = [entry for index, entry in enumerate(entries) if index not in undecided]
    kept = _plausible(rows, kept, expected, log)
    if any(a.start_s > b.start_s for a, b in pairwise(kept)):
        log.add(
            FindingClass.NON_STANDARD,
            Treatment.REPAIR,
            "unsorted",
            "the rows are not in order of time; sorted",
            line=kept[0].line,
            last_line=kept[-1].line,
            point_id=rows.point_id,
        )
        kept.sort(key=lambda entry: (entry.start_s, entry.step_s))
    return _without_overlaps(rows, _without_duplicates(rows, kept, log), log)


def _plausible(
    rows: Rows, entries: list[_Entry], expected: Expectations, log: FindingLog
) -> list[_Entry]:
    """Entries on the grid, near the others in time, and in the dates of the perimeter."""
    if not entries:
        return []
    middle_s = median_low(entry.start_s for entry in entries)
    members = _memberships(rows, expected)
    kept = []
    for entry in entries:
        if entry.start_s % entry.step_s:
            message = f"a step of {entry.step_s // 60} min does not begin there"
            _refuse(log, rows, entry, Treatment.ASK, "off_grid", message)
        elif abs(entry.start_s - middle_s) > MAX_SPAN_S // 2:
            message = "years away from the other rows"
            _refuse(log, rows, entry, Treatment.ASK, "far_stamp", message)
        elif members is not None and not any(
            member.from_s <= entry.start_s and entry.end_s <= member.to_s for member in members
        ):
            log.add(
                FindingClass.USELESS,
                Treatment.DROP,
                "outside_dates",
                "outside the dates of the point in the perimeter",
                line=entry.line,
                point_id=rows.point_id,
                rows=1,
            )
        else:
            kept.append(entry)
    return kept


def _without_duplicates(rows: Rows, entries: list[_Entry], log: FindingLog) -> list[_Entry]:
    """One entry a step. Equal ones: dropped with a warning. A correction goes before what it
    corrects, a value before a stated gap. Two other values: neither wins, the operator is asked."""
    kept: list[_Entry] = []
    index = 0
    while index < len(entries):
        after = index + 1
        one = (entries[index].start_s, entries[index].step_s)
        while after < len(entries) and (entries[after].start_s, entries[after].step_s) == one:
            after += 1
        if after - index == 1:
            kept.append(entries[index])
        else:
            best = _settled(rows, entries[index:after], log)
            if best is not None:
                kept.append(best)
        index = after
    return kept


def _settled(rows: Rows, rivals: list[_Entry], log: FindingLog) -> _Entry | None:
    """The entry that stands among several of one step; None where they contradict each other."""
    stated = [entry for entry in rivals if entry.value != MISSING] or rivals[:1]
    corrected = [entry for entry in stated if entry.quality == StepQuality.CORRECTED]
    voices = corrected or stated
    if len({entry.value for entry in voices}) > 1:
        values = ", ".join(str(entry.value) for entry in voices[:5])
        for entry in rivals:
            _refuse(
                log,
                rows,
                entry,
                Treatment.ASK,
                "conflict",
                f"different values for the step at {iso_utc(entry.start_s)}: {values} W.min",
            )
        return None
    best = max(voices, key=lambda entry: entry.quality)
    for entry in rivals:
        if entry is not best:
            _refuse(
                log,
                rows,
                entry,
                Treatment.DROP,
                "duplicate" if entry.value == best.value else "superseded",
                "the step is there already"
                if entry.value == best.value
                else "the file has a better value for this step",
            )
    return best


def _without_overlaps(rows: Rows, entries: list[_Entry], log: FindingLog) -> list[_Entry]:
    """Entries of different steps must not cover the same time: then none of them stands."""
    if len({entry.step_s for entry in entries}) < 2:
        return entries
    clashing: set[int] = set()
    reach = 0
    for index, entry in enumerate(entries):
        if index and entry.start_s < entries[reach].end_s:
            clashing |= {reach, index}
        if entry.end_s > entries[reach].end_s:
            reach = index
    for index in sorted(clashing):
        _refuse(
            log,
            rows,
            entries[index],
            Treatment.ASK,
            "overlap",
            "steps of different lengths cover the same time",
        )
    return [entry for index, entry in enumerate(entries) if index not in clashing]


def _assembled(
    rows: Rows, entries: list[_Entry], expected: Expectations, log: FindingLog, source: str
) -> Curve:
    """One curve of entries that do not overlap; of several steps, at that of the operation, else
    at the one that covers most of the time."""
    by_step: dict[int, list[_Entry]] = {}
    for entry in entries:
        by_step.setdefault(entry.step_s, []).append(entry)
    if len(by_step) == 1:
        return _placed(rows, entries, source)
    longest_s = max(by_step, key=lambda step: (len(by_step[step]) * step, step))
    step_s = expected.step_s or longest_s
    parts = [resampled(_placed(rows, part, source), step_s) for part in by_step.values()]
    for before, after in pairwise(entries):
        if before.step_s != after.step_s:
            log.add(
                FindingClass.NON_STANDARD,
                Treatment.REPAIR,
                "step_changes",
                f"the step changes from {before.step_s // 60} to {after.step_s // 60} min at"
                f" {iso_utc(after.start_s)}; brought to {step_s // 60} min by energy",
                line=after.line,
                point_id=rows.point_id,
            )
    from_s, to_s = min(part.start_s for part in parts), max(part.end_s for part in parts)
    values, quality = empty_values((to_s - from_s) // step_s), bytearray((to_s - from_s) // step_s)
    for part in parts:
        at = (part.start_s - from_s) // step_s
        for index, (value, code) in enumerate(zip(part.watt_minutes, part.quality, strict=True)):
            if code:
                values[at + index], quality[at + index] = value, code
    return Curve(rows.point_id, rows.direction, step_s, from_s, values, bytes(quality), source)


def _placed(rows: Rows, entries: list[_Entry], source: str) -> Curve:
    """Entries of one step on their grid."""
    step_s, from_s = entries[0].step_s, entries[0].start_s
    count = (entries[-1].end_s - from_s) // step_s
    values, quality = empty_values(count), bytearray(count)
    for entry in entries:
        at = (entry.start_s - from_s) // step_s
        values[at], quality[at] = entry.value, entry.quality
    return Curve(rows.point_id, rows.direction, step_s, from_s, values, bytes(quality), source)


def _doubted(curve: Curve, expected: Expectations, log: FindingLog) -> Curve:
    """Values beyond 1.2 times the subscribed power are kept as doubtful, and asked about."""
    if expected.perimeter is None:
        return curve
    members = expected.perimeter.of_point(curve.point_id, curve.direction)
    kva = max((member.kva or 0 for member in members), default=0)
    limit = kva * KVA_MARGIN_W * curve.step_s // 60
    if not kva or max(curve.watt_minutes) <= limit:
        return curve
    quality = bytearray(curve.quality)
    for index, value in enumerate(curve.watt_minutes):
        if value > limit:
            quality[index] = min(quality[index], StepQuality.DOUBTFUL)
            log.add(
                FindingClass.NON_STANDARD,
                Treatment.ASK,
                "above_subscribed_power",
                f"{value * 60 // curve.step_s} W with {kva} kVA subscribed; kept as doubtful",
                point_id=curve.point_id,
                from_s=curve.step_start_s(index),
                to_s=curve.step_start_s(index + 1),
            )
    return Curve(
        curve.point_id,
        curve.direction,
        curve.step_s,
        curve.start_s,
        curve.watt_minutes,
        bytes(quality),
        curve.source,
        curve.version,
    )


def _refuse(
    log: FindingLog, rows: Rows, entry: _Entry, treatment: Treatment, rule: str, message: str
) -> None:
    """One row that came to nothing, with its step."""
    log.add(
        FindingClass.NON_STANDARD,
        treatment,
        rule,
        message,
        line=entry.line,
        point_id=rows.point_id,
        rows=1,
        from_s=entry.start_s,
        to_s=entry.end_s,
        raw="" if entry.value == MISSING else f"{entry.value} W.min",
    )
