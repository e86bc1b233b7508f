"""The month's round: plan, check, format, bill, send, record. Again is harmless.

An operator's curves come daily and are corrected later, so a month is due a day after its end, and
looked at again for as long as corrections count. The archive knows what was billed from which
curves: the same curves make nothing new; others make a further revision, whose notes say what
changed. Nothing that was sent is ever rewritten.

The names of the stages are those of the customer's sequence: consumers and producers, operator,
data tool, scheduler and job exchange ten messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from node.billing.bill_files import (
    bill_files,
    bills_document,
    notes_text,
    period_files,
    write_file,
)
from node.billing.bill_making import revised
from node.billing.bills import PeriodBills
from node.billing.curve_files import CurveTable, curve_table_text
from node.billing.time_of_use import Period
from node.errors import ConfigurationError, Refused
from node.slots import iso_utc

__all__ = ["Archive", "Curves", "MonthRun", "Outcome", "Stage", "due_months", "run_month"]

DELAY_DAYS: Final = 1
MOST_MONTHS: Final = 14
"""How far back a correction re-opens a month."""

HISTORY: Final = "history.jsonl"


class Stage(StrEnum):
    """The ten messages of a month, in order; TREAT is the error's way, the next four the other."""

    COLLECT = "collect"
    STORE = "store"
    PLAN = "plan"
    CHECK = "check"
    TREAT = "treat"
    FORMAT = "format"
    BILL = "bill"
    SEND = "send"
    RECORD = "record"
    SHOW = "show"


class Outcome(StrEnum):
    """What became of a month: billed now; billed before, from the same curves; or waiting for what
    only a person or the operator can give."""

    BILLED = "billed"
    UNCHANGED = "unchanged"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Curves:
    """A month's curves of an operation, and what is wrong with them: nothing, if they may be
    billed."""

    production: CurveTable
    consumption: CurveTable
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class MonthRun:
    """What a run did with one month. ``bills`` are those of this run, if it made any."""

    period: Period
    outcome: Outcome = Outcome.WAITING
    stages: list[Stage] = field(default_factory=list)
    problems: tuple[str, ...] = ()
    revision: int = 0
    bills: PeriodBills | None = None


def due_months(zone: ZoneInfo, now_s: int, billed: Sequence[str]) -> list[Period]:
    """The months to run: the last that ended a day ago or more, and those billed before, as far
    back as corrections count."""
    today = datetime.fromtimestamp(now_s, zone).date() - timedelta(days=DELAY_DAYS)
    until = today.replace(day=1)
    found = []
    for place in range(MOST_MONTHS):
        first = (until - timedelta(days=1)).replace(day=1)
        period = Period(first, until, zone)
        if not place or str(period) in billed:
            found.append(period)
        until = first
    return found[::-1]


class Archive:
    """The folder in which bills lie: ``<period>/<revision>/`` for the organiser,
    ``outbox/<point>/`` for each member, and the history of all runs, one line each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def history(self) -> list[dict[str, Any]]:
        """Every entry, oldest first. Raises ConfigurationError for a line that is none."""
        path = self.folder / HISTORY
        if not path.exists():
            return []
        entries = []
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            try:
                entries.append(dict(json.loads(line)))
            except ValueError as error:
                raise ConfigurationError(
                    f"is no entry of a history: {error}", file=path, line=number
                ) from error
        return entries

    def newest(self, period: Period) -> dict[str, Any]:
        """The newest entry of a period; empty if there is none."""
        mine = [entry for entry in self.history() if entry["period"] == str(period)]
        return mine[-1] if mine else {}

    def billed(self, period: Period) -> dict[str, Any]:
        """The newest entry of a period that was billed; empty if none was."""
        mine = [entry for entry in self.history() if entry["period"] == str(period)]
        return next((e for e in reversed(mine) if e["outcome"] == Outcome.BILLED), {})

    def periods(self) -> list[str]:
        """The periods that were ever billed or waited for."""
        return sorted({entry["period"] for entry in self.history()})

    def record(self, entry: Mapping[str, object]) -> None:
        """Add a line to the history, whole or not at all."""
        lines = [json.dumps(known, sort_keys=True) for known in (*self.history(), entry)]
        write_file(self.folder / HISTORY, "\n".join(lines) + "\n")

    def bills_of(self, period: Period, revision: int) -> dict[str, Any]:
        """The document of bills that were made."""
        path = self.folder / str(period) / str(revision) / "bills.json"
        try:
            return dict(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"cannot be read ({error})", file=path) from error


def run_month(
    period: Period,
    curves_of: Callable[[Period], Curves],
    bill: Callable[[Curves, Period], PeriodBills],
    archive: Archive,
    names: Mapping[str, str],
    now_s: int,
    *,
    notes: Sequence[Mapping[str, object]] = (),
) -> MonthRun:
    """Take one month through its stages, from the plan on; files were collected and stored before.
    ``notes`` are those that ``bill`` makes lines of: the history says that they stand here.

    Raises ConfigurationError for an archive that cannot be read or written.
    """
    run = MonthRun(period, stages=[Stage.PLAN, Stage.CHECK])
    curves = curves_of(period)
    made: PeriodBills | None = None
    run.problems = curves.problems
    if not run.problems:
        try:
            made = bill(curves, period)
        except Refused as error:
            run.problems = (f"{error.reason}: {error.message}",)
    if made is None:
        _treat(run, archive, now_s)
        return run
    known = archive.billed(period)
    digest = sha256(json.dumps(bills_document(made), sort_keys=True).encode()).hexdigest()
    is_new = known.get("bills") != digest
    run.outcome = Outcome.BILLED if is_new else Outcome.UNCHANGED
    run.revision = known.get("revision", 0) + is_new
    run.bills = revised(made, run.revision)
    _keep(run, run.bills, curves, archive, is_new=is_new)
    if is_new:
        # Before anything is sent: a run that dies while sending goes on, and sends no other bill.
        run.stages.append(Stage.RECORD)
        entry = _entry(run, now_s, run.bills, digest)
        archive.record({**entry, "notes": list(notes)} if notes else entry)
    run.stages.append(Stage.SEND)
    for each in run.bills.every:
        for name, text in bill_files(each, names).items():
            _write(archive.folder / "outbox" / each.point / name, text, is_new=is_new)
    (archive.folder / str(period) / "problems.txt").unlink(missing_ok=True)
    run.stages.append(Stage.SHOW)
    return run


def _treat(run: MonthRun, archive: Archive, now_s: int) -> None:
    """The error's way: say what is missing, once, and wait."""
    run.outcome = Outcome.WAITING
    run.stages.append(Stage.TREAT)
    text = "".join(f"{problem}\n" for problem in run.problems)
    write_file(archive.folder / str(run.period) / "problems.txt", text)
    if archive.newest(run.period).get("problems") != list(run.problems):
        run.stages.append(Stage.RECORD)
        archive.record(_entry(run, now_s, None))


def _keep(
    run: MonthRun, bills: PeriodBills, curves: Curves, archive: Archive, *, is_new: bool
) -> None:
    """Write what the organiser keeps: the curves as they were billed, all bills, the notes."""
    folder = archive.folder / str(run.period) / str(run.revision)
    run.stages.append(Stage.FORMAT)
    for name, table in (
        ("production.csv", curves.production),
        ("consumption.csv", curves.consumption),
    ):
        if table.points:
            _write(folder / name, "".join(curve_table_text(table)), is_new=is_new)
    run.stages.append(Stage.BILL)
    for name, text in period_files(bills).items():
        _write(folder / name, text, is_new=is_new)
    if run.revision > 1:
        before = archive.bills_of(run.period, run.revision - 1)
        _write(folder / "notes.csv", notes_text(before, bills), is_new=is_new)


def _write(path: Path, text: str, *, is_new: bool) -> None:
    """Files of bills that were made before are put back where they are missing, and never
    rewritten."""
    if is_new or not path.exists():
        write_file(path, text)


def _entry(
    run: MonthRun, now_s: int, bills: PeriodBills | None, digest: str = ""
) -> dict[str, object]:
    at = iso_utc(now_s)
    entry: dict[str, object] = {"period": str(run.period), "outcome": run.outcome.value, "at": at}
    if bills is None:
        return {**entry, "problems": list(run.problems)}
    return {
        **entry,
        "revision": run.revision,
        "rules": bills.stamp.rules,
        "tariffs": bills.stamp.tariffs,
        "inputs": bills.stamp.inputs,
        "bills": digest,
        "collected_cents": bills.collected_cents,
    }
