"""Official curves in versions: a late correction adds a version and says which steps it touches.

Of two files the later one goes before the earlier, by when they were written and not by when they
came, with two exceptions: a gap erases nothing, and a value of a lower trust (an estimate after a
reading, a raw value after a correction) does not replace a higher one. What is not taken is told
under a finding.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from node.billing.conformity import Finding, FindingLog, against_registers
from node.billing.curve_merge import Merge, merged, valued_runs
from node.billing.curve_rows import (
    CurveStorage,
    day_rows,
    energy_row,
    finding_from,
    finding_row,
    joined,
    register_row,
)
from node.billing.importing import FileReport
from node.billing.reading_again import named_again, newest_reading, refused_in_reading
from node.billing.sayings import NOBODY, Sayings, said_text
from node.billing.series import (
    DAY_S,
    Curve,
    Direction,
    PeriodEnergy,
    RegisterValue,
    SharedPart,
    StepQuality,
    TouchedSteps,
)

__all__ = ["MAX_RUNS", "CurveStorage", "CurveStore", "Said", "SeriesSummary", "StoredImport"]


MAX_RUNS: Final = 100_000
"""Runs of steps that one import reports, of either kind."""

_INDEX_MARGIN_S: Final = 35 * DAY_S
"""How far around a file an index is looked for: some are read once a month."""


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
            known, times = newest_reading(self._storage.import_of, report.digest, report.file)
            if known:
                kept = [finding for _, finding in self.findings(known - 1, known)]
                if report.refused >= refused_in_reading(kept):
                    return StoredImport(known, is_known=True)
                report = self._again(report, times)
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
            sayings = Sayings(self._storage)
            merges = [self._keep(curve, report.file, version, sayings) for curve in report.curves]
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
        """Who said last what is kept of ``[from_s, to_s)``, within one UTC day: the latest of the
        files that say it, whether or not it was said before. None if nothing is kept."""
        day_s = from_s - from_s % DAY_S
        rows = self._storage.days((point_id, str(direction)), day_s, to_s)
        if not rows:
            return None
        kept, sayings = joined(point_id, direction, rows), Sayings(self._storage)
        first, after = ((at_s - day_s) // kept.step_s for at_s in (from_s, to_s))
        number = sayings.last(sayings.over(rows, day_s, kept.end_s, kept.step_s)[first:after])
        quality = kept.window(from_s, to_s).quality
        if number == NOBODY or not any(quality):
            return None
        return Said(
            file=self._storage.import_numbered(number)[1],
            at_s=sayings.stand(number).at_s,
            is_corrected=all(code == StepQuality.CORRECTED for code in quality),
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

    def _again(self, report: FileReport, times: int) -> FileReport:
        """A file that is read again: of its curves what is later holds, of its indexes and energies
        what is kept."""
        return replace(
            report,
            file=named_again(report.file, times),
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

    def _keep(self, curve: Curve, file: str, version: int, sayings: Sayings) -> Merge:
        key = curve.point_id, str(curve.direction)
        from_s, to_s = _whole_days(curve)
        rows = self._storage.days(key, from_s, to_s)
        if not rows:
            whole = curve.window(from_s, to_s)
            nobody_else = dict.fromkeys(range(from_s, to_s, DAY_S))
            self._storage.add_days(day_rows(whole, nobody_else, version))
            return Merge(whole, (), valued_runs(whole))
        before = joined(curve.point_id, curve.direction, rows).window(from_s, to_s)
        said = sayings.over(rows, from_s, to_s, before.step_s)
        merge = merged(before, said, curve, version, sayings.stand, file)
        changed: dict[int, str | None] = {}
        said_again = []
        versions = {row[0]: row[1] for row in rows}
        for day_s in range(from_s, to_s, DAY_S):
            part = _of_day(before, day_s)
            quality, now = merge.curve.quality[part], merge.said[part]
            if _differ(before, merge.curve, part):
                changed[day_s] = said_text(now, quality, version)
            elif said[part] != now:
                numbers = said_text(now, quality, versions[day_s])
                said_again.append((numbers, *key, day_s, versions[day_s]))
        self._storage.add_days(day_rows(merge.curve, changed, version))
        self._storage.say_again(said_again)
        return merge


def _whole_days(curve: Curve) -> tuple[int, int]:
    """The UTC days that a curve is in."""
    return curve.start_s - curve.start_s % DAY_S, curve.end_s + (-curve.end_s) % DAY_S


def _of_day(curve: Curve, day_s: int) -> slice:
    first = (day_s - curve.start_s) // curve.step_s
    return slice(first, first + DAY_S // curve.step_s)


def _differ(before: Curve, after: Curve, part: slice) -> bool:
    return (
        before.watt_minutes[part] != after.watt_minutes[part]
        or before.quality[part] != after.quality[part]
    )
