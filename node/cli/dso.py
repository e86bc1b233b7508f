"""``daisee dso``: the distribution operator's official curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import click

from node.billing.conformity import Finding, Treatment
from node.billing.curve_store import CurveStore, StoredImport
from node.billing.importing import FileReport, read_files
from node.billing.perimeter import read_perimeter
from node.billing.rows import Expectations
from node.billing.series import STEPS_S, Direction, TouchedSteps
from node.cli.dso_curves import LEGAL_ZONE, curves, database_option
from node.cli.dso_findings import finding_document, finding_text, findings
from node.cli.output import (
    counting,
    example,
    json_option,
    say,
    say_document,
)
from node.clock import SystemClock
from node.errors import Disagreement
from node.slots import iso_utc
from node.store.curves import CurveDatabase
from node.units import parse_duration_s

__all__ = ["dso"]

MOST_SHOWN: Final = 20
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


def _reports(
    files: Iterable[Path], perimeter_file: Path | None, step_s: int | None, direction: str | None
) -> Iterator[FileReport]:
    perimeter = None if perimeter_file is None else read_perimeter(perimeter_file, LEGAL_ZONE)
    way = None if direction is None else Direction(direction)
    expected = Expectations(LEGAL_ZONE, perimeter, step_s, way)
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
@database_option
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
    every: list[Finding] = []
    with CurveDatabase.open(database) as kept:
        store = CurveStore(kept)
        for report in _reports(files, perimeter_file, step_s, direction):
            done = store.add(report, clock.now_s())
            found = [*report.findings, *done.findings]
            every.extend(found)
            if as_json:
                documents.append(_report_document(report) | _stored_document(done))
            else:
                _say_report(report, found)
                _say_stored(done)
    if as_json:
        say_document({"files": documents})
    _end(every)


def _end(found: Iterable[Finding]) -> None:
    """Tell the exit code what a person must do."""
    counts = Counter(finding.treatment for finding in found)
    asked, estimated = counts[Treatment.ASK], counts[Treatment.ESTIMATE]
    if asked or estimated:
        raise Disagreement(
            f"{asked} findings to ask the operator about, {estimated} gaps to estimate",
            next_step="send the operator the lines above; the rest is usable",
        )


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
        "findings": [finding_document(finding) for finding in report.findings],
    }


def _stored_document(done: StoredImport) -> dict[str, object]:
    return {
        "version": done.version,
        "known": done.is_known,
        "added_steps": done.added_steps,
        "added": [_run_document(run) for run in done.added],
        "touched": [_run_document(run) for run in done.touched],
        "findings_of_keeping": [finding_document(finding) for finding in done.findings],
    }


def _run_document(run: TouchedSteps) -> dict[str, object]:
    return {
        "point": run.point_id,
        "direction": run.direction,
        "from": iso_utc(run.from_s),
        "to": iso_utc(run.to_s),
        "steps": run.steps,
    }


def _say_report(report: FileReport, found: list[Finding]) -> None:
    say(
        f"{report.file}: {report.format or 'no known format'}, {report.rows} rows:"
        f" {report.accepted} accepted, {report.empty} empty, {report.refused} refused;"
        f" {len(report.curves)} curves, {len(report.registers)} indexes,"
        f" {len(report.energies)} energies of periods"
    )
    for finding in found[:MOST_SHOWN]:
        say(f"  {finding_text(finding)}")
    if len(found) > MOST_SHOWN:
        say(f"  ... and {len(found) - MOST_SHOWN} more findings; --json has them all")


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


dso.add_command(curves)
dso.add_command(findings)
