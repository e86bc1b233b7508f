"""``daisee dso``: the distribution operator's official curves."""

from __future__ import annotations

import csv
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import click

from node.billing.conformity import Finding, Treatment
from node.billing.curve_store import CurveStore, StoredImport
from node.billing.estimating import with_short_gaps_estimated
from node.billing.importing import FileReport, read_files
from node.billing.perimeter import midnight_s, read_perimeter
from node.billing.rows import Expectations
from node.billing.series import DAY_S, MISSING, STEPS_S, Curve, Direction, StepQuality, TouchedSteps
from node.cli.output import (
    Column,
    counting,
    energy_text,
    example,
    json_option,
    say,
    say_document,
    say_table,
)
from node.clock import SystemClock
from node.errors import Disagreement
from node.slots import iso_utc
from node.store.curves import CurveDatabase
from node.units import parse_duration_s

__all__ = ["dso"]

MOST_SHOWN: Final = 20
_ZONE: Final = ZoneInfo("Europe/Paris")
"""In which dates on the command line and in the perimeter begin: Datadis's and EDC's zones have
the same midnights."""

_F = TypeVar("_F", bound=Callable[..., object])


@click.group(
    short_help="Import and check the distribution operator's curves.",
    epilog=example("daisee dso check R63.zip", "daisee dso import --database curves.db R63.zip"),
)
def dso() -> None:
    """Import and check the distribution operator's curves."""


def _step(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        step_s = parse_duration_s(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if step_s not in STEPS_S:
        known = ", ".join(f"{step // 60}min" for step in STEPS_S)
        raise click.BadParameter(f"operators publish steps of {known}")
    return step_s


def _reading_options(command: _F) -> _F:
    """What must be known to read a file."""
    for option in (
        click.option(
            "--direction",
            type=click.Choice([Direction.WITHDRAWAL.value, Direction.INJECTION.value]),
            help="Of files that do not say whether they are of consumption or production.",
        ),
        click.option(
            "--step",
            "step_s",
            callback=_step,
            help="Bring every curve to this step, such as 30min.  [default: that of the file]",
        ),
        click.option(
            "--perimeter",
            "perimeter_file",
            type=click.Path(path_type=Path),
            help="CSV of the delivery points of the operation, with their dates.",
        ),
        click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


def _database_option(command: _F) -> _F:
    return click.option(
        "--database",
        type=click.Path(path_type=Path),
        required=True,
        envvar="DAISEE_CURVES",
        show_envvar=True,
        help="Where official curves are kept.",
    )(command)


def _reports(
    files: Iterable[Path], perimeter_file: Path | None, step_s: int | None, direction: str | None
) -> Iterator[FileReport]:
    perimeter = None if perimeter_file is None else read_perimeter(perimeter_file, _ZONE)
    way = None if direction is None else Direction(direction)
    expected = Expectations(_ZONE, perimeter, step_s, way)
    with counting("rows") as advance:
        for path in files:
            for report in read_files(path, expected):
                advance(report.rows)
                yield report


@dso.command(
    short_help="Check files for conformity; keep nothing.",
    epilog=example(
        "daisee dso check ENEDIS_R63_P_CdC_M0123.zip",
        "daisee dso check --perimeter perimeter.csv --json *.xml",
    ),
)
@_reading_options
@json_option
def check(
    files: tuple[Path, ...],
    perimeter_file: Path | None,
    step_s: int | None,
    direction: str | None,
    *,
    as_json: bool,
) -> None:
    """Check files for conformity; keep nothing.

    Ends with 7 if something must be asked of the operator or estimated: what was dropped without
    loss, or repaired, is only told.
    """
    reports = list(_reports(files, perimeter_file, step_s, direction))
    if as_json:
        say_document({"files": [_report_document(report) for report in reports]})
    else:
        for report in reports:
            _say_report(report, report.findings)
    _end(finding for report in reports for finding in report.findings)


@dso.command(
    "import",
    short_help="Import files into the database of official curves.",
    epilog=example("daisee dso import --database curves.db --perimeter perimeter.csv R63.zip"),
)
@_reading_options
@_database_option
@json_option
def import_(
    files: tuple[Path, ...],
    perimeter_file: Path | None,
    step_s: int | None,
    direction: str | None,
    database: Path,
    *,
    as_json: bool,
) -> None:
    """Import files into the database of official curves.

    A file that was imported before changes nothing; a correction makes a new version, and tells
    which steps it touches. Ends with 7 as ``check`` does; what could be taken is kept all the same.
    """
    clock = SystemClock()
    documents: list[dict[str, object]] = []
    findings: list[Finding] = []
    with CurveDatabase.open(database) as kept:
        store = CurveStore(kept)
        for report in _reports(files, perimeter_file, step_s, direction):
            done = store.add(report, clock.now_s())
            found = [*report.findings, *done.findings]
            findings.extend(found)
            if as_json:
                documents.append(_report_document(report) | _stored_document(done))
            else:
                _say_report(report, found)
                _say_stored(done)
    if as_json:
        say_document({"files": documents})
    _end(findings)


def _end(findings: Iterable[Finding]) -> None:
    """Tell the exit code what a person must do."""
    counts = Counter(finding.treatment for finding in findings)
    asked, estimated = counts[Treatment.ASK], counts[Treatment.ESTIMATE]
    if asked or estimated:
        raise Disagreement(
            f"{asked} findings to ask the operator about, {estimated} gaps to estimate",
            next_step="send the operator the lines above; the rest is usable",
        )


@dso.command(
    short_help="List official curves, or the steps of one.",
    epilog=example(
        "daisee dso curves --database curves.db",
        "daisee dso curves --database curves.db --point 30000000000011 --month 2026-10 --csv",
    ),
)
@_database_option
@click.option("--point", help="The delivery point whose steps are shown.")
@click.option(
    "--direction",
    type=click.Choice([direction.value for direction in Direction]),
    default=Direction.WITHDRAWAL.value,
    show_default=True,
)
@click.option("--month", help="The month of the steps, such as 2026-10.")
@click.option("--as-of", type=int, help="As this version left it.  [default: the newest]")
@click.option("--estimate", is_flag=True, help="Fill gaps of up to two hours, marked as estimated.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead.")
@json_option
def curves(
    database: Path,
    point: str | None,
    direction: str,
    month: str | None,
    as_of: int | None,
    *,
    estimate: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """List official curves, or the steps of one point in one month.

    Steps without a value are gaps, shown as such: never as 0.
    """
    if (point is None) != (month is None):
        raise click.UsageError("--point and --month go together")
    with CurveDatabase.open_read_only(database) as kept:
        store = CurveStore(kept)
        if point is None or month is None:
            _say_series(store, as_json=as_json)
            return
        from_s, to_s = _month(month)
        first_day, after = from_s - from_s % DAY_S, to_s + (-to_s) % DAY_S
        days = store.curve(point, Direction(direction), first_day, after, as_of=as_of)
        versions = store.versions(point, Direction(direction))
    if days is None:
        raise click.UsageError(f"no {direction} curve of {point} in {month}")
    if estimate:
        days = with_short_gaps_estimated(days)
    curve, energy_wh = days.window(from_s, to_s), days.energy_wh_between(from_s, to_s)
    if as_json:
        say_document(_curve_document(curve, energy_wh, versions))
    elif as_csv:
        _say_csv(curve, energy_wh)
    else:
        _say_curve(curve, energy_wh, versions)


def _month(text: str) -> tuple[int, int]:
    try:
        first = date.fromisoformat(f"{text}-01")
        after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    except ValueError as error:
        raise click.UsageError(f"{text!r} is no month; write 2026-10") from error
    return midnight_s(first, _ZONE), midnight_s(after, _ZONE)


def _finding_document(finding: Finding) -> dict[str, object]:
    return {
        "class": finding.klass,
        "treatment": finding.treatment,
        "rule": finding.rule,
        "message": finding.message,
        "file": finding.file,
        "line": finding.line,
        "last_line": finding.last_line,
        "point": finding.point_id,
        "rows": finding.rows,
        "from": None if finding.from_s is None else iso_utc(finding.from_s),
        "to": None if finding.to_s is None else iso_utc(finding.to_s),
        "raw": finding.raw,
    }


def _report_document(report: FileReport) -> dict[str, object]:
    return {
        "file": report.file,
        "sha256": report.digest,
        "format": report.format,
        "published": None if report.published_s is None else iso_utc(report.published_s),
        "rows": report.rows,
        "accepted": report.accepted,
        "empty": report.empty,
        "refused": report.refused,
        "curves": [
            {
                "point": curve.point_id,
                "direction": curve.direction,
                "step_s": curve.step_s,
                "from": iso_utc(curve.start_s),
                "to": iso_utc(curve.end_s),
                "values": curve.values,
                "energy_wh": sum(max(value, 0) for value in curve.energy_wh()),
            }
            for curve in report.curves
        ],
        "indexes": len(report.registers),
        "period_energies": len(report.energies),
        "findings": [_finding_document(finding) for finding in report.findings],
    }


def _stored_document(done: StoredImport) -> dict[str, object]:
    return {
        "version": done.version,
        "known": done.is_known,
        "added_steps": done.added_steps,
        "added": [_run_document(run) for run in done.added],
        "touched": [_run_document(run) for run in done.touched],
        "findings_of_keeping": [_finding_document(finding) for finding in done.findings],
    }


def _run_document(run: TouchedSteps) -> dict[str, object]:
    return {
        "point": run.point_id,
        "direction": run.direction,
        "from": iso_utc(run.from_s),
        "to": iso_utc(run.to_s),
        "steps": run.steps,
    }


def _say_report(report: FileReport, findings: list[Finding]) -> None:
    say(
        f"{report.file}: {report.format or 'no known format'}, {report.rows} rows:"
        f" {report.accepted} accepted, {report.empty} empty, {report.refused} refused;"
        f" {len(report.curves)} curves, {len(report.registers)} indexes,"
        f" {len(report.energies)} energies of periods"
    )
    for finding in findings[:MOST_SHOWN]:
        lines = "" if not finding.line else f" line {finding.line}"
        if finding.last_line > finding.line:
            lines = f" lines {finding.line}-{finding.last_line}"
        point = f" {finding.point_id}:" if finding.point_id else ""
        say(f"  {finding.klass}, {finding.treatment}:{lines}{point} {finding.message}")
    if len(findings) > MOST_SHOWN:
        say(f"  ... and {len(findings) - MOST_SHOWN} more findings; --json has them all")


def _say_stored(done: StoredImport) -> None:
    if done.is_known:
        say(f"  imported before, as version {done.version}: nothing done")
        return
    say(f"  version {done.version}: {done.added_steps} steps added")
    for run in done.touched[:MOST_SHOWN]:
        say(
            f"  touched: {run.point_id} {run.direction}, {run.steps} steps from"
            f" {iso_utc(run.from_s)} to {iso_utc(run.to_s)}"
        )
    if len(done.touched) > MOST_SHOWN:
        say(f"  ... and {len(done.touched) - MOST_SHOWN} more touched runs; --json has them all")


def _say_series(store: CurveStore, *, as_json: bool) -> None:
    kept = store.series()
    if as_json:
        documents = [
            {
                "point": one.point_id,
                "direction": one.direction,
                "from": iso_utc(one.from_s),
                "to": iso_utc(one.to_s),
                "days": one.days,
                "version": one.version,
            }
            for one in kept
        ]
        say_document({"curves": documents})
        return
    headings = ("point", "direction", "from", "to")
    say_table(
        [*(Column(text, figures=False) for text in headings), Column("days"), Column("version")],
        [
            (
                one.point_id,
                one.direction,
                iso_utc(one.from_s),
                iso_utc(one.to_s),
                str(one.days),
                str(one.version),
            )
            for one in kept
        ],
    )


def _steps(curve: Curve, energy_wh: array[int]) -> Iterator[tuple[int, int | None, StepQuality]]:
    for index, (value, code) in enumerate(zip(energy_wh, curve.quality, strict=True)):
        yield curve.step_start_s(index), None if value == MISSING else value, StepQuality(code)


def _curve_document(curve: Curve, energy_wh: array[int], versions: list[int]) -> dict[str, object]:
    return {
        "point": curve.point_id,
        "direction": curve.direction,
        "step_s": curve.step_s,
        "version": curve.version,
        "versions": versions,
        "source": curve.source,
        "steps": [
            {"start": iso_utc(at_s), "energy_wh": value, "quality": quality.word}
            for at_s, value, quality in _steps(curve, energy_wh)
        ],
    }


def _say_csv(curve: Curve, energy_wh: array[int]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("start", "energy_wh", "quality"))
    for at_s, value, quality in _steps(curve, energy_wh):
        writer.writerow((iso_utc(at_s), "" if value is None else value, quality.word))


def _say_curve(curve: Curve, energy_wh: array[int], versions: list[int]) -> None:
    total_wh = sum(value for value in energy_wh if value != MISSING)
    say(
        f"{curve.point_id} {curve.direction}: {energy_text(total_wh)} kWh in {curve.values} of"
        f" {len(curve)} steps of {curve.step_s // 60} min; version {curve.version} of"
        f" {', '.join(map(str, versions))}; {curve.source}"
    )
    words = Counter(StepQuality(code).word for code in curve.quality)
    for word, count in sorted(words.items()):
        say(f"  {count} steps {word}")
    for from_s, to_s in list(curve.gaps())[:MOST_SHOWN]:
        say(f"  gap from {iso_utc(from_s)} to {iso_utc(to_s)}")
