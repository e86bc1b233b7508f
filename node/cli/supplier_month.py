"""``daisee supplier month``: the month's round, for a timer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Final

import click

from node.billing.archive import Archive
from node.billing.conformity import Finding
from node.billing.curve_store import CurveStore
from node.billing.importing import read_files
from node.billing.inbox import inbox_files
from node.billing.keys import default_dynamic, read_key
from node.billing.monthly import MonthRun, Outcome, Stage, Terms, due_months, run_month
from node.billing.note_lines import items_document, unplaced
from node.billing.operation import Operation
from node.billing.operation_file import read_operation
from node.billing.perimeter import Perimeter
from node.billing.reading_again import KEEPING
from node.billing.rows import Expectations
from node.billing.tariffs import read_tariffs
from node.billing.time_of_use import Period
from node.cli.dso_findings import finding_document, finding_text, needs_person, next_step
from node.cli.market_source import (
    MarketChoice,
    awaited_market,
    check_source,
    market_options,
)
from node.cli.output import counting, example, json_option, say, say_document
from node.cli.supplier_bills import (
    eur_text,
    member_curves,
    month_period,
    names_of,
    perimeter_of,
)
from node.cli.supplier_options import FILE, month_of
from node.clock import SystemClock
from node.errors import Disagreement
from node.slots import parse_iso_utc
from node.store.curves import CurveDatabase

__all__ = ["month", "read_terms", "run_from_store"]

DEFAULT_KEY: Final = 'kind = "default_dynamic"\n'
_MOST_SHOWN: Final = 20


@dataclass(slots=True)
class _Collected:
    """What came in: files read, files that were new or of which more was taken than before, steps
    that were added or corrected, and what a person must see to in any file of the inbox."""

    files: int = 0
    new: int = 0
    added: int = 0
    corrected: int = 0
    refused: int = 0
    asked: list[Finding] = field(default_factory=list)


@click.command(
    short_help="Run the month: collect, check, bill, send.",
    epilog=example(
        "daisee supplier month --operation street.toml --inbox inbox --curves curves.db --out bills"
    ),
)
@click.option("--operation", "operation_file", type=FILE, required=True, help="Members and prices.")
@click.option("--curves", "database", type=FILE, required=True, help="Where curves are kept.")
@click.option("--inbox", type=FILE, metavar="DIR", help="Where the operator's files arrive.")
@click.option("--out", type=FILE, required=True, metavar="DIR", help="Where bills lie.")
@click.option("--month", "month_text", metavar="YYYY-MM", help="Only this one.  [default: all due]")
@click.option("--key", "key_file", type=FILE, help="The key.  [default: pro rata of consumption]")
@market_options
@click.option("--tariffs", "own", type=FILE, help="Tariff rows of your own, as TOML.")
@click.option(
    "--least-note",
    "threshold_cents",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    metavar="CENTS",
    help="Smaller sums of two parties' corrections wait for more.",
)
@click.option("--at", metavar="INSTANT", help="As if it were then, such as 2025-11-02T06:00:00Z.")
@json_option
def month(
    operation_file: Path,
    database: Path,
    inbox: Path | None,
    out: Path,
    month_text: str | None,
    key_file: Path | None,
    source: MarketChoice,
    own: Path | None,
    threshold_cents: int,
    at: str | None,
    *,
    as_json: bool,
) -> None:
    """Collect and store the operator's files, then check, bill and send every month that is due.

    Meant for a timer: again is harmless. A month with gaps waits, and says what for. One whose
    curves were corrected after it was billed gets a further revision: the touched steps are
    allocated again, no others, and what changed becomes lines of the next month that is billed,
    once. A month keeps the key that it was billed with; under one whose kind is "market" also what
    the market had filled, for which --run or --rpc is asked the first time. Ends with 7 if a month
    waits, if the operator said otherwise than it ruled, or if a file of the inbox has what a person
    must see to.
    """
    paths = [] if inbox is None else inbox_files(inbox)
    terms = read_terms(operation_file, key_file, own, source)
    operation, archive, now_s = terms.operation, Archive(out), _now_s(at)
    with archive.held("daisee supplier month"), CurveDatabase.open(database) as kept:
        store = CurveStore(kept)
        collected = _collect(paths, store, operation, now_s)
        if month_text is None:
            periods = due_months(operation.zone, now_s, archive.periods())
        else:
            periods = [month_period(month_of(month_text, operation.zone.key))]
        runs = [
            run_from_store(period, terms, store, archive, now_s, threshold_cents=threshold_cents)
            for period in periods
        ]
        waiting_notes = unplaced(archive.history(), archive.note_items())
    for run in runs:
        run.stages[:0] = [Stage.COLLECT, Stage.STORE]
    if as_json:
        notes_document = items_document(waiting_notes)
        say_document({**_month_document(collected, runs), "waiting_notes": notes_document})
    else:
        _say_month(collected, runs, out)
        if waiting_notes:
            say(f"{len(waiting_notes)} lines of corrections wait for a later month.")
    _end(runs, collected.asked)


def read_terms(
    operation_file: Path,
    key_file: Path | None,
    own: Path | None,
    source: MarketChoice | None = None,
) -> Terms:
    """Under what months are billed, from files. Raises ConfigurationError as these do, and
    click.UsageError for a market that the key does not mean."""
    operation = read_operation(operation_file)
    key = default_dynamic() if key_file is None else read_key(key_file)
    chosen = source or MarketChoice()
    check_source(key, chosen)
    return Terms(
        operation,
        read_tariffs(own).accepting(operation.accepted),
        key,
        DEFAULT_KEY if key_file is None else key_file.read_text("utf-8"),
        partial(awaited_market, chosen, operation) if chosen.is_given else None,
    )


def run_from_store(
    period: Period,
    terms: Terms,
    store: CurveStore,
    archive: Archive,
    now_s: int,
    *,
    threshold_cents: int = 0,
) -> MonthRun:
    """Run a month on the curves that are kept and the rulings that were taken."""
    operation = terms.operation
    return run_month(
        period,
        lambda period: member_curves(operation, store, period, archive.rulings()),
        terms,
        archive,
        names_of(operation),
        now_s,
        threshold_cents=threshold_cents,
    )


def _end(runs: Sequence[MonthRun], asked: Sequence[Finding]) -> None:
    """Raise Disagreement if something is left to a person."""
    waiting = [_waits(run) for run in runs if run.outcome is Outcome.WAITING]
    held = [text for run in runs for text in run.held]
    if waiting:
        raise Disagreement(
            f"{'; '.join(waiting)}: see problems.txt",
            next_step="see to what it says (a value is the operator's to give, a tariff row or a"
            " price yours); the next run bills it",
        )
    if held:
        raise Disagreement(
            "; ".join(held),
            next_step="ask the operator for a corrected curve, or for another ruling",
        )
    if asked:
        raise Disagreement(
            f"to see to in the inbox: {len(asked)}; refused rows: {sum(one.rows for one in asked)}",
            next_step="each says what; what could be taken of the files is kept",
        )


def _waits(run: MonthRun) -> str:
    state = f"stays at revision {run.revision}" if run.revision else "is not billed"
    return f"{run.period} {state}"


def _now_s(at: str | None) -> int:
    try:
        return SystemClock().now_s() if at is None else parse_iso_utc(at)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--at") from error


def _collect(
    paths: Sequence[Path], store: CurveStore, operation: Operation, now_s: int
) -> _Collected:
    """Import files; one that was imported before changes nothing, unless the operation's file says
    now what more of it can be taken with."""
    expected = Expectations(operation.zone, _whole_perimeter(operation), None, None)
    found = _Collected(len(paths))
    with counting("rows") as advance:
        for path in paths:
            for report in read_files(path, expected):
                advance(report.rows)
                stored = store.add(report, now_s)
                version = stored.version
                kept = [one for _, one in store.findings(version - 1, version)]
                of_keeping = [one for one in kept if one.rule in KEEPING]
                found.asked += filter(needs_person, [*report.findings, *of_keeping])
                if not stored.is_known:
                    found.new += 1
                    found.added += stored.added_steps
                    found.corrected += sum(run.steps for run in stored.touched)
                    found.refused += report.refused
    return found


def _whole_perimeter(operation: Operation) -> Perimeter:
    """The members at any time."""
    return perimeter_of(operation, Period(date(1971, 1, 1), date(2999, 1, 1), operation.zone))


def _month_document(collected: _Collected, runs: list[MonthRun]) -> Mapping[str, object]:
    return {
        "files": collected.files,
        "new_files": collected.new,
        "added_steps": collected.added,
        "corrected_steps": collected.corrected,
        "refused_rows": collected.refused,
        "asked": [{**finding_document(one), "next": next_step(one)} for one in collected.asked],
        "months": [
            {
                "month": str(run.period),
                "outcome": run.outcome.value,
                "revision": run.revision,
                "stages": [stage.value for stage in run.stages],
                "problems": list(run.problems),
                "collected_cents": run.bills.collected_cents if run.bills else None,
                "note_lines": _note_lines(run),
                "reopened_steps": None if run.steps is None else len(run.steps),
                "rulings": [ruled.document() for ruled in run.ruled],
            }
            for run in runs
        ],
    }


def _note_lines(run: MonthRun) -> int:
    bills = run.bills.consumers if run.bills else ()
    return sum(line.kind.is_note for bill in bills for line in bill.lines)


def _say_month(collected: _Collected, runs: list[MonthRun], out: Path) -> None:
    say(
        f"{collected.files} files, {collected.new} of them new: {collected.added} steps added,"
        f" {collected.corrected} corrected, {collected.refused} rows refused."
    )
    for one in collected.asked[:_MOST_SHOWN]:
        say(f"{one.file}: {finding_text(one)} (next: {next_step(one)})")
    if len(collected.asked) > _MOST_SHOWN:
        say(f"... and {len(collected.asked) - _MOST_SHOWN} more: daisee dso findings")
    for run in runs:
        if run.outcome is Outcome.WAITING:
            say(f"{run.period} waits: {'; '.join(run.problems)}.")
        elif run.outcome is Outcome.CLOSED:
            say(f"{run.period} is closed: curves of it were taken out; its bills stay.")
        elif run.bills is None:
            say(f"{run.period} is as it was billed, under other rules.")
        else:
            say(
                f"{run.period} {run.outcome}, revision {run.revision}:"
                f" {eur_text(run.bills.collected_cents)} EUR collected,"
                f" {len(run.bills.every)} bills in {out / 'outbox'},"
                f" {_note_lines(run)} lines of corrections."
            )
            if run.has_other_key:
                say(f"{run.period} keeps the key that it was first billed with.")
