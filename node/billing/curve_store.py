"""Official curves in versions: a late correction adds a version and says which steps it touches.

A later file goes before an earlier one, with three exceptions, each under a finding: a gap erases
nothing; a value of a lower trust (an estimate after a reading, a raw value after a correction) does
not replace a higher one; and a file that the operator wrote before what is kept undoes nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from node.billing.conformity import (
    Finding,
    FindingClass,
    FindingLog,
    Treatment,
    against_registers,
)
from node.billing.curve_rows import (
    CurveStorage,
    Row,
    day_rows,
    energy_row,
    finding_from,
    finding_row,
    joined,
    register_row,
)
from node.billing.importing import FileReport
from node.billing.reading_again import named_again, refused_in_reading, without_later
from node.billing.series import (
    DAY_S,
    Curve,
    Direction,
    PeriodEnergy,
    RegisterValue,
    SharedPart,
    StepQuality,
    TouchedSteps,
    empty_values,
    resampled,
    touched_steps,
)

__all__ = ["MAX_RUNS", "CurveStorage", "CurveStore", "Said", "SeriesSummary", "StoredImport"]


MAX_RUNS: Final = 100_000
"""Runs of steps that one import reports, of either kind."""

_INDEX_MARGIN_S: Final = 35 * DAY_S
"""How far around a file an index is looked for: some are read once a month."""

_TRUST: Final = {
    StepQuality.CORRECTED: 3,
    StepQuality.METERED: 2,
    StepQuality.MANUAL: 2,
}
"""How far a value is trusted; 1 for every other quality."""


@dataclass(frozen=True, slots=True)
class StoredImport:
    """What an import changed. ``is_known``: this very file was imported before, as ``version``, and
    nothing was done. ``added`` are runs of steps that had no value before, ``touched`` of steps
    that had one and now have another (each at most MAX_RUNS): what is billed already of either has
    to be opened again. ``findings`` are those of keeping, not of reading."""

    version: int
    is_known: bool = False
    added: tuple[TouchedSteps, ...] = ()
    touched: tuple[TouchedSteps, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def added_steps(self) -> int:
        """How many steps got their first value."""
        return sum(run.steps for run in self.added)


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """A series that is kept: the UTC days that it covers, and its newest version."""

    point_id: str
    direction: Direction
    from_s: int
    to_s: int
    days: int
    version: int


@dataclass(frozen=True, slots=True)
class Said:
    """Who said last what is kept of a step: a file, as of when the operator wrote it (or, where it
    does not say, it was imported), and whether it marked the value as corrected."""

    file: str
    at_s: int
    is_corrected: bool


class CurveStore:
    """Keeps what imports give, and gives back curves as of any version."""

    def __init__(self, storage: CurveStorage) -> None:
        self._storage = storage

    def add(self, report: FileReport, now_s: int) -> StoredImport:
        """Keep a file's curves and findings, all or nothing. The same file again does nothing,
        unless fewer of its rows are refused than before: then it fills what is missing."""
        with self._storage.transaction():
            known, times = self._known(report)
            if known:
                kept = [finding for _, finding in self.findings(known - 1, known)]
                if report.refused >= refused_in_reading(kept):
                    return StoredImport(known, is_known=True)
                report = self._again(report, known, times)
            version = self._storage.begin_import(
                (
                    report.file,
                    report.digest,
                    report.format,
                    report.published_s,
                    now_s,
                    report.rows,
                    report.accepted,
                    report.empty,
                    report.refused,
                )
            )
            merges = [self._keep(curve, report, version) for curve in report.curves]
            findings = [finding for merge in merges for finding in merge.findings]
            self._storage.add_registers(register_row(value, version) for value in report.registers)
            findings += self._held_to_indexes(report)
            self._storage.refuse_in_import(version, sum(finding.rows for finding in findings))
            kept = [*report.findings, *findings]
            self._storage.add_findings(version, (finding_row(finding) for finding in kept))
            self._storage.add_energies(energy_row(energy, version) for energy in report.energies)
        return StoredImport(
            version,
            added=tuple(run for merge in merges for run in merge.added)[:MAX_RUNS],
            touched=tuple(run for merge in merges for run in merge.touched)[:MAX_RUNS],
            findings=tuple(findings),
        )

    def findings(self, after: int = 0, last: int | None = None) -> Iterator[tuple[int, Finding]]:
        """The findings of the imports after one, up to a last one, with the import of each."""
        return map(finding_from, self._storage.findings_after(after, last))

    def curve(
        self,
        point_id: str,
        direction: Direction,
        from_s: int,
        to_s: int,
        *,
        as_of: int | None = None,
    ) -> Curve | None:
        """A curve over ``[from_s, to_s)`` (on its grid), with gaps where nothing is kept, as the
        imports up to ``as_of`` left it; None if there is nothing at all of it there."""
        first_day = from_s - from_s % DAY_S
        rows = self._storage.days((point_id, str(direction)), first_day, to_s, as_of)
        if not rows:
            return None
        return joined(point_id, direction, rows).window(from_s, to_s)

    def energy_wh(
        self,
        point_id: str,
        direction: Direction,
        from_s: int,
        to_s: int,
        *,
        as_of: int | None = None,
    ) -> array[int]:
        """The Wh of the steps of ``curve`` over the same window; none if there is no curve.

        Read from the beginning of the UTC day, so that a step has the same Wh in every window.
        """
        first_day = from_s - from_s % DAY_S
        whole_days = self.curve(point_id, direction, first_day, to_s, as_of=as_of)
        return array("q") if whole_days is None else whole_days.energy_wh_between(from_s, to_s)

    def said(self, point_id: str, direction: Direction, from_s: int, to_s: int) -> Said | None:
        """Who said last what is kept of ``[from_s, to_s)``, within one UTC day: a file that only
        repeats what is kept says nothing. None if nothing is kept."""
        key, day_s = (point_id, str(direction)), from_s - from_s % DAY_S
        newest: Curve | None = None
        said_in: int | None = None
        as_of: int | None = None
        while rows := self._storage.days(key, day_s, to_s, as_of):
            cell = joined(point_id, direction, rows).window(from_s, to_s)
            if newest is None:
                newest = cell
            if (cell.watt_minutes, cell.quality) != (newest.watt_minutes, newest.quality):
                break
            said_in = rows[0][1]
            as_of = said_in - 1
        if newest is None or said_in is None or not any(newest.quality):
            return None
        (row,) = (row for row in self._storage.imports() if row[0] == said_in)
        return Said(
            file=row[1],
            at_s=row[5] if row[4] is None else row[4],
            is_corrected=all(code == StepQuality.CORRECTED for code in newest.quality),
        )

    def series(self) -> list[SeriesSummary]:
        """Every series that is kept."""
        return [
            SeriesSummary(point, Direction(way), first_s, last_s + DAY_S, days, version)
            for point, way, first_s, last_s, version, days in self._storage.series()
        ]

    def versions(self, point_id: str, direction: Direction) -> list[int]:
        """The versions of a series, oldest first."""
        return list(self._storage.versions((point_id, str(direction))))

    def registers(self, point_id: str, from_s: int, to_s: int) -> list[RegisterValue]:
        """A point's indexes taken in ``[from_s, to_s]``."""
        return [
            RegisterValue(
                row[0],
                Direction(row[1]),
                row[2],
                row[3],
                row[4],
                row[5],
                StepQuality(row[6]),
                row[7],
            )
            for row in self._storage.registers(point_id, from_s, to_s)
        ]

    def energies(self, point_id: str, from_s: int, to_s: int) -> list[PeriodEnergy]:
        """A point's energies of periods that end in ``(from_s, to_s]``."""
        return [
            PeriodEnergy(
                row[0],
                Direction(row[1]),
                SharedPart(row[2]),
                row[3],
                row[4],
                row[5],
                row[6],
                row[7],
                StepQuality(row[8]),
                row[9],
            )
            for row in self._storage.energies(point_id, from_s, to_s)
        ]

    def _known(self, report: FileReport) -> tuple[int, int]:
        """The newest import of this very file, and how often it was read; 0 and 0 for none."""
        known = times = 0
        while number := self._storage.import_of(report.digest, named_again(report.file, times)):
            known, times = number, times + 1
        return known, times

    def _again(self, report: FileReport, known: int, times: int) -> FileReport:
        """What a file gives that is read again, without what later imports say otherwise."""
        curves = []
        for curve in report.curves:
            span = (curve.point_id, curve.direction, *_whole_days(curve))
            then = self.curve(*span, as_of=known)
            curves.append(without_later(curve, then, self.curve(*span)))
        return replace(
            report,
            file=named_again(report.file, times),
            curves=curves,
            registers=[value for value in report.registers if not self._has_index(value)],
            energies=[energy for energy in report.energies if not self._has_energy(energy)],
        )

    def _has_index(self, value: RegisterValue) -> bool:
        kept = self.registers(value.point_id, value.taken_at_s, value.taken_at_s)
        wanted = (value.direction, value.calendar, value.register)
        return wanted in [(one.direction, one.calendar, one.register) for one in kept]

    def _has_energy(self, energy: PeriodEnergy) -> bool:
        kept = self.energies(energy.point_id, energy.to_s - 1, energy.to_s)
        wanted = (energy.direction, energy.part, energy.calendar, energy.register)
        return wanted in [(one.direction, one.part, one.calendar, one.register) for one in kept]

    def _held_to_indexes(self, report: FileReport) -> list[Finding]:
        """What the file's curves or indexes show against what is kept of the other kind."""
        spans: dict[tuple[str, Direction], list[int]] = {}
        for curve in report.curves:
            span = spans.setdefault((curve.point_id, curve.direction), [])
            span += (curve.start_s, curve.end_s)
        for value in report.registers:
            span = spans.setdefault((value.point_id, value.direction), [])
            span.append(value.taken_at_s)
        log = FindingLog(report.file)
        for (point_id, direction), span in spans.items():
            from_s, to_s = min(span) - _INDEX_MARGIN_S, max(span) + _INDEX_MARGIN_S
            registers = self.registers(point_id, from_s, to_s)
            if len(registers) < 2:
                continue
            first_day, after = from_s - from_s % DAY_S, to_s + (-to_s) % DAY_S
            kept = self.curve(point_id, direction, first_day, after)
            if kept is not None:
                against_registers(kept, registers, log)
        return log.all()

    def _keep(self, curve: Curve, report: FileReport, version: int) -> _Merge:
        from_s, to_s = _whole_days(curve)
        rows = self._storage.days((curve.point_id, str(curve.direction)), from_s, to_s)
        if not rows:
            whole = curve.window(from_s, to_s)
            days = range(from_s, to_s, DAY_S)
            self._storage.add_days(
                day_rows(whole, dict.fromkeys(days, report.published_s), version)
            )
            return _Merge(_valued(whole))
        before = joined(curve.point_id, curve.direction, rows).window(from_s, to_s)
        merge = _merged(before, curve, _published(rows), report)
        changed = [day for day in range(from_s, to_s, DAY_S) if _differ(before, merge.curve, day)]
        published = _published(rows)
        self._storage.add_days(
            day_rows(
                merge.curve,
                {day: _later(published.get(day), report.published_s) for day in changed},
                version,
            )
        )
        return merge


class _Merge:
    """What came of a new curve over what was kept."""

    def __init__(self, added: list[TouchedSteps]) -> None:
        self.added = added
        self.touched: list[TouchedSteps] = []
        self.findings: list[Finding] = []
        self.curve: Curve = _NOTHING


_NOTHING: Final = Curve("", Direction.WITHDRAWAL, 1800, 0, empty_values(0), b"")


def _merged(
    before: Curve, arrived: Curve, published: dict[int, int | None], report: FileReport
) -> _Merge:
    merge = _Merge([])
    rows_a_step = int(arrived.step_s == before.step_s)
    if arrived.step_s != before.step_s:
        merge.findings.append(
            _finding(
                report,
                arrived,
                Treatment.REPAIR,
                "other_step",
                f"steps of {arrived.step_s // 60} min, kept are {before.step_s // 60} min;"
                " normalised by energy",
            )
        )
        arrived = resampled(arrived, before.step_s)
    new = arrived.window(before.start_s, before.end_s)
    values, quality = array("q", before.watt_minutes), bytearray(before.quality)
    refused: dict[str, list[int]] = {}
    first_values: list[int] = []
    for index, (value, code) in enumerate(zip(new.watt_minutes, new.quality, strict=True)):
        if not code or (value == values[index] and code == quality[index]):
            continue
        at_s = before.step_start_s(index)
        if not quality[index]:
            first_values.append(index)
        else:
            is_older = _is_older(report.published_s, published.get(at_s - at_s % DAY_S))
            rule = _refusal((values[index], quality[index]), (value, code), is_older=is_older)
            if rule:
                refused.setdefault(rule, []).append(at_s)
                continue
        values[index], quality[index] = value, code
    merge.curve = replace(
        before, watt_minutes=values, quality=bytes(quality), source=arrived.source
    )
    added = bytearray(len(before))
    for index in first_values:
        added[index] = 1
    merge.added = _valued(replace(before, quality=bytes(added)))
    merge.touched = _without_added(before, touched_steps(before, merge.curve))
    for rule, places in refused.items():
        finding = _refused(report, arrived, rule, places)
        merge.findings.append(replace(finding, rows=len(places) * rows_a_step))
    return merge


def _refusal(kept: tuple[int, int], arrived: tuple[int, int], *, is_older: bool) -> str:
    """Why a (value, quality) does not replace the one that is kept; empty if it does."""
    trust, new_trust = (_TRUST.get(StepQuality(code), 1) for _, code in (kept, arrived))
    if new_trust < trust:
        return "same_value" if kept[0] == arrived[0] else "less_trusted"
    return "older_file" if new_trust == trust and is_older else ""


def _refused(report: FileReport, curve: Curve, rule: str, places: list[int]) -> Finding:
    messages = {
        "same_value": (Treatment.DROP, "the value is kept already, with a better quality"),
        "less_trusted": (Treatment.ASK, "a less trusted value does not replace what is kept"),
        "older_file": (Treatment.DROP, "the operator wrote what is kept after this file"),
    }
    treatment, message = messages[rule]
    steps = f"{len(places)} {'step' if len(places) == 1 else 'steps'}"
    return replace(
        _finding(report, curve, treatment, rule, f"{steps}: {message}"),
        from_s=places[0],
        to_s=places[-1] + curve.step_s,
    )


def _finding(
    report: FileReport, curve: Curve, treatment: Treatment, rule: str, message: str
) -> Finding:
    return Finding(
        FindingClass.NON_STANDARD,
        treatment,
        rule,
        message,
        report.file,
        point_id=curve.point_id,
    )


def _valued(curve: Curve) -> list[TouchedSteps]:
    """The runs of steps that have a quality."""
    ends = [curve.start_s, *(at_s for gap in curve.gaps() for at_s in gap), curve.end_s]
    return [
        TouchedSteps(curve.point_id, curve.direction, curve.step_s, from_s, to_s)
        for from_s, to_s in zip(ends[::2], ends[1::2], strict=True)
        if from_s < to_s
    ]


def _without_added(before: Curve, runs: list[TouchedSteps]) -> list[TouchedSteps]:
    """The parts of these runs in which there was a value before."""
    kept: list[TouchedSteps] = []
    for run in runs:
        for at_s in range(run.from_s, run.to_s, run.step_s):
            if not before.quality[(at_s - before.start_s) // before.step_s]:
                continue
            if kept and kept[-1].to_s == at_s:
                kept[-1] = replace(kept[-1], to_s=at_s + run.step_s)
            else:
                kept.append(replace(run, from_s=at_s, to_s=at_s + run.step_s))
    return kept


def _whole_days(curve: Curve) -> tuple[int, int]:
    """The UTC days that a curve is in."""
    return curve.start_s - curve.start_s % DAY_S, curve.end_s + (-curve.end_s) % DAY_S


def _is_older(published_s: int | None, kept_s: int | None) -> bool:
    return published_s is not None and kept_s is not None and published_s < kept_s


def _later(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)


def _published(rows: Sequence[Row]) -> dict[int, int | None]:
    return {row[0]: row[3] for row in rows}


def _differ(before: Curve, after: Curve, day_s: int) -> bool:
    first = (day_s - before.start_s) // before.step_s
    part = slice(first, first + DAY_S // before.step_s)
    return (
        before.watt_minutes[part] != after.watt_minutes[part]
        or before.quality[part] != after.quality[part]
    )
