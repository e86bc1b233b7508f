"""The month's round: plan, check, format, bill, send, record. Again is harmless.

An operator's curves come daily and are corrected later, so a month is due a day after its end, and
looked at again for as long as corrections count. The archive knows what was billed from which
curves, under which key and rules: the same curves make nothing new; others make a further revision,
in which only the touched steps are allocated again, under the key of that time, and whose notes say
what changed. A ruling is a correction like any other. Nothing that was sent is ever rewritten.

The names of the stages are those of the customer's sequence: consumers and producers, operator,
data tool, scheduler and job exchange ten messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from node.billing.allocation import Key, allocate
from node.billing.archive import Archive
from node.billing.bill_energy import (
    BilledEnergy,
    Frame,
    energy_of,
    frame_key,
    frame_of,
    reopened,
)
from node.billing.bill_files import (
    bill_file_names,
    bill_files,
    bills_document,
    notes_text,
    period_files,
    write_file,
)
from node.billing.bill_keeping import (
    PAIRS,
    energy_files,
    kept_energy,
    kept_table,
    pairs_digest,
    same_table,
)
from node.billing.bill_making import bill_energy, refuse_virtual, revised
from node.billing.bills import PeriodBills
from node.billing.curve_files import CurveTable, curve_table_text
from node.billing.in_force import RuledSteps, RulingState, held_of
from node.billing.keys import MARKET, is_of_market, read_key
from node.billing.market_key import (
    StatedMarket,
    in_market_steps,
    kept_market,
    market_entry,
    market_files,
)
from node.billing.note_lines import NoteItem, items_document, plan_notes, with_notes
from node.billing.notes import note_document, notes_between
from node.billing.operation import Operation
from node.billing.tariffs import TariffTables
from node.billing.time_of_use import Period
from node.errors import ConfigurationError, Refused
from node.slots import iso_utc

__all__ = ["Curves", "MonthRun", "Outcome", "Stage", "Terms", "due_months", "run_month"]

DELAY_DAYS: Final = 1
MOST_MONTHS: Final = 14
"""How far back a correction re-opens a month."""

KEY: Final = "key.toml"
PERIOD_FILES: Final = ("bills.json", "lines.csv", "index.html")


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
    """What became of a month: billed now; billed before, from the same curves; waiting for what
    only a person or the operator can give; or closed, as curves of it were taken out."""

    BILLED = "billed"
    UNCHANGED = "unchanged"
    WAITING = "waiting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Curves:
    """A month's curves of an operation as they are in force, what became of rulings in them, and
    what is wrong with them: nothing, if they may be billed."""

    production: CurveTable
    consumption: CurveTable
    problems: tuple[str, ...] = ()
    ruled: tuple[RuledSteps, ...] = ()
    stated: StatedMarket | None = None
    """What the market filled, if its allocation is billed; the curves are in steps of its slots."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Under what a month is billed: members, prices and rules; tariffs, those that the operation
    accepts; the key, and as it was written. A month keeps the key that it was first billed with.
    ``market`` tells what the market filled in a month that is billed first by its allocation."""

    operation: Operation
    tables: TariffTables
    key: Key
    key_text: str
    market: Callable[[Period], StatedMarket] | None = None


@dataclass(slots=True)
class MonthRun:
    """What a run did with one month. ``bills`` are those of this run, if it made any; ``steps`` the
    places of those that were allocated again, None for all."""

    period: Period
    outcome: Outcome = Outcome.WAITING
    stages: list[Stage] = field(default_factory=list)
    problems: tuple[str, ...] = ()
    revision: int = 0
    bills: PeriodBills | None = None
    steps: tuple[int, ...] | None = None
    ruled: tuple[RuledSteps, ...] = ()
    has_other_key: bool = False

    @property
    def held(self) -> list[str]:
        """What is billed as it was ruled, and a person must see to."""
        return held_of(self.ruled)


@dataclass(frozen=True, slots=True)
class _Made:
    """The bills of a month, what they were made from, and the steps that were allocated again."""

    bills: PeriodBills
    curves: Curves
    energy: BilledEnergy
    key_text: str
    steps: tuple[int, ...] | None


def due_months(zone: ZoneInfo, now_s: int, known: Iterable[str]) -> list[Period]:
    """The months to run, as far back as corrections count: the last that ended a day ago or more,
    and all before it from the first that is ``known`` (was billed, or waited) on. So one in which
    nothing ran is made up for, or asked about."""
    today = datetime.fromtimestamp(now_s, zone).date() - timedelta(days=DELAY_DAYS)
    until, oldest = today.replace(day=1), min(known, default="")
    found = []
    for place in range(MOST_MONTHS):
        first = (until - timedelta(days=1)).replace(day=1)
        period = Period(first, until, zone)
        if not place or (oldest and str(period) >= oldest):
            found.append(period)
        until = first
    return found[::-1]


def run_month(
    period: Period,
    curves_of: Callable[[Period], Curves],
    terms: Terms,
    archive: Archive,
    names: Mapping[str, str],
    now_s: int,
    *,
    threshold_cents: int = 0,
) -> MonthRun:
    """Take one month through its stages, from the plan on; files were collected and stored before.
    Notes of earlier months that stand nowhere yet become lines of one that is billed first now.

    Raises ConfigurationError for an archive that cannot be read or written.
    """
    run = MonthRun(period, stages=[Stage.PLAN, Stage.CHECK])
    known = archive.billed(period)
    run.revision = known.get("revision", 0)
    if archive.closed(period):
        run.outcome = Outcome.CLOSED
        return run
    history, operation = archive.history(), terms.operation
    notes = plan_notes(period, history, archive.note_items(), operation, threshold_cents)
    try:
        curves = curves_of(period)
        run.problems, run.ruled = curves.problems, curves.ruled
        if not run.problems:
            curves = _of_market(period, curves, terms, archive, known)
        if not run.problems and known and known["rules"] != operation.rules:
            return _under_other_rules(run, known, curves, archive, now_s)
        made = None if run.problems else _make(period, curves, terms, archive, known, notes)
    except Refused as error:
        more = f" (next: {error.next_step})" if error.next_step else ""
        run.problems = (f"{error.reason}: {error.message}{more}",)
        made = None
    if made is None:
        _treat(run, archive, now_s)
        return run
    run.has_other_key = made.key_text != terms.key_text
    digest = sha256(json.dumps(bills_document(made.bills), sort_keys=True).encode()).hexdigest()
    is_new = known.get("bills") != digest
    run.outcome = Outcome.BILLED if is_new else Outcome.UNCHANGED
    run.revision += is_new
    run.steps = made.steps
    run.bills = revised(made.bills, run.revision)
    _keep(run, made, archive, is_new=is_new)
    if is_new:
        # Before anything is sent: a run that dies while sending goes on, and sends no other bill.
        run.stages.append(Stage.RECORD)
        archive.record(_billed_entry(run, now_s, made, digest, notes))
    run.stages.append(Stage.SEND)
    for each in run.bills.every:
        folder = archive.folder / "outbox" / each.point
        if is_new or not _has(folder, bill_file_names(each)):
            for name, text in bill_files(each, names).items():
                _write(folder / name, text, is_new=is_new)
    (archive.folder / str(period) / "problems.txt").unlink(missing_ok=True)
    run.stages.append(Stage.SHOW)
    return run


def _key_of(folder: Path | None, terms: Terms) -> tuple[Key, str]:
    """The key that a month was first billed with, else the terms', and as it was written."""
    if folder is None or not (folder / KEY).exists():
        return terms.key, terms.key_text
    return read_key(folder / KEY), (folder / KEY).read_text("utf-8")


def _of_market(
    period: Period, curves: Curves, terms: Terms, archive: Archive, known: Mapping[str, Any]
) -> Curves:
    """With what the market filled, if the key is the market's: as the month was billed with, or as
    the market tells. Raises Refused for what is not there and what does not fit."""
    folder = archive.of(period, known["revision"]) if known else None
    if not is_of_market(_key_of(folder, terms)[0]):
        return curves
    if folder is not None and MARKET in known:
        stated = kept_market(folder, known[MARKET])
    elif terms.market is not None:
        stated = terms.market(period)
    else:
        raise Refused(
            "the key is the market's, and nobody says what it filled",
            reason="market_source",
            next_step="say which: --run DIR, or --rpc URL --market ADDRESS, with --points FILE",
        )
    tables = in_market_steps(curves.production, curves.consumption, stated.slot_s)
    return replace(curves, production=tables[0], consumption=tables[1], stated=stated)


def _make(
    period: Period,
    curves: Curves,
    terms: Terms,
    archive: Archive,
    known: Mapping[str, Any],
    notes: Sequence[NoteItem],
) -> _Made:
    """Bill a month: the first time as a whole, later from what was billed and the touched steps.

    Raises Refused for what bills need and nobody says.
    """
    folder = archive.of(period, known["revision"]) if known else None
    key, key_text = _key_of(folder, terms)
    refuse_virtual(key)
    operation, tables = terms.operation, terms.tables
    frame = frame_of(operation, tables, curves.production, curves.consumption, period)
    before = None if folder is None else _kept(folder, frame, key, curves.stated, terms, known)
    steps, key_now = None, frame_key(key, curves.stated, frame)
    if before is None:
        made = allocate(key_now, frame.production, frame.consumption, groups=frame.groups)
        energy = energy_of(frame, made)
    else:
        again = reopened(before, frame, None if curves.stated is None else key_now)
        energy, steps = again.energy, again.steps
    bills = with_notes(bill_energy(operation, tables, energy), notes)
    return _Made(bills, curves, energy, key_text, steps)


def _kept(
    folder: Path,
    now: Frame,
    key: Key,
    stated: StatedMarket | None,
    terms: Terms,
    known: Mapping[str, Any],
) -> BilledEnergy | None:
    """What the newest revision was billed from, if the touched steps of it can be opened alone."""
    start_s = now.period.start_s
    production = kept_table(folder / "production.csv", start_s, now.step_s)
    consumption = kept_table(folder / "consumption.csv", start_s, now.step_s)
    if {production.step_s, consumption.step_s} != {now.step_s}:
        return None
    try:
        before = frame_of(terms.operation, terms.tables, production, consumption, now.period)
    except (Refused, ConfigurationError):
        return None  # other members than were billed: the month is allocated anew
    return kept_energy(folder, before, frame_key(key, stated, before), known)


def _under_other_rules(
    run: MonthRun, known: Mapping[str, Any], curves: Curves, archive: Archive, now_s: int
) -> MonthRun:
    """A month that was billed under another version of the rules: nothing of it is made again under
    these. If its curves changed, it waits for the operation's file of that time."""
    folder = archive.of(run.period, known["revision"])
    same = all(
        same_table(kept_table(folder / name, table.start_s, table.step_s), table)
        for name, table in (
            ("production.csv", curves.production),
            ("consumption.csv", curves.consumption),
        )
    )
    if same:
        run.outcome = Outcome.UNCHANGED
        return run
    text = (
        f"other_rules: its curves were corrected, and it was billed under rules {known['rules']};"
        f" run it with the operation's file of that time (--month {run.period})"
    )
    run.problems = (text,)
    _treat(run, archive, now_s)
    return run


def _treat(run: MonthRun, archive: Archive, now_s: int) -> None:
    """The error's way: say what is missing, once, and wait."""
    run.outcome = Outcome.WAITING
    run.stages.append(Stage.TREAT)
    text = "".join(f"{problem}\n" for problem in run.problems)
    write_file(archive.folder / str(run.period) / "problems.txt", text)
    if archive.newest(run.period).get("problems") != list(run.problems):
        run.stages.append(Stage.RECORD)
        archive.record({**_entry(run, now_s), "problems": list(run.problems)})


def _keep(run: MonthRun, made: _Made, archive: Archive, *, is_new: bool) -> None:
    """Write what the organiser keeps: curves, key and allocation as billed, all bills, notes."""
    assert run.bills is not None
    folder = archive.of(run.period, run.revision)
    run.stages.append(Stage.FORMAT)
    for name, table in (
        ("production.csv", made.curves.production),
        ("consumption.csv", made.curves.consumption),
    ):
        if table.points:
            _write(folder / name, "".join(curve_table_text(table)), is_new=is_new)
    if is_new or not _has(folder, (KEY, PAIRS, "given.csv", "allocated.csv")):
        stated = market_files(made.curves.stated)
        for name, text in {KEY: made.key_text, **stated, **energy_files(made.energy)}.items():
            _write(folder / name, text, is_new=is_new)
    run.stages.append(Stage.BILL)
    if is_new or not _has(folder, PERIOD_FILES):
        for name, text in period_files(run.bills).items():
            _write(folder / name, text, is_new=is_new)
    _write_ruled(run, archive)
    if run.revision > 1 and is_new:
        before = archive.bills_of(run.period, run.revision - 1)
        _write(folder / "notes.csv", notes_text(before, run.bills), is_new=is_new)
        changed = notes_between(before, bills_document(run.bills))
        document = {
            "disputes": _new_disputes(run, archive),
            "steps": None if made.steps is None else _starts(made.energy, made.steps),
            "notes": [note_document(note) for note in changed],
        }
        _write(folder / "notes.json", json.dumps(document, sort_keys=True) + "\n", is_new=is_new)


def _new_disputes(run: MonthRun, archive: Archive) -> list[str]:
    """The disputes whose rulings no revision before was made with."""
    known = {
        ruled["dispute"]
        for entry in archive.revisions(run.period)
        for ruled in entry.get("ruled", ())
    }
    holds = {RulingState.IN_FORCE, RulingState.HELD}
    return sorted({ruled.dispute for ruled in run.ruled if ruled.state in holds} - known)


def _starts(energy: BilledEnergy, steps: Sequence[int]) -> list[str]:
    return [iso_utc(energy.first_s + step * energy.step_s) for step in steps]


def _write_ruled(run: MonthRun, archive: Archive) -> None:
    """What became of each ruling in the month, for the organiser."""
    if not run.ruled:
        return
    lines = [json.dumps(ruled.document(), sort_keys=True) for ruled in run.ruled]
    write_file(archive.folder / str(run.period) / "ruled.jsonl", "\n".join(lines) + "\n")


def _has(folder: Path, names: Iterable[str]) -> bool:
    return all((folder / name).exists() for name in names)


def _write(path: Path, text: str, *, is_new: bool) -> None:
    """Files of bills that were made before are put back where they are missing, and never
    rewritten."""
    if is_new or not path.exists():
        write_file(path, text)


def _entry(run: MonthRun, now_s: int) -> dict[str, object]:
    return {"period": str(run.period), "outcome": run.outcome.value, "at": iso_utc(now_s)}


def _billed_entry(
    run: MonthRun, now_s: int, made: _Made, digest: str, notes: Sequence[NoteItem]
) -> dict[str, object]:
    """What the history says of a revision."""
    stamp = made.bills.stamp
    entry = {
        **_entry(run, now_s),
        "revision": run.revision,
        "rules": stamp.rules,
        "tariffs": stamp.tariffs,
        "inputs": stamp.inputs,
        "pairs": pairs_digest(made.energy),
        "key": sha256(made.key_text.encode()).hexdigest(),
        "reopened_steps": "all" if made.steps is None else len(made.steps),
        "bills": digest,
        "collected_cents": made.bills.collected_cents,
    }
    if made.curves.stated is not None:
        entry[MARKET] = market_entry(made.curves.stated)
    if run.ruled:
        entry["ruled"] = [ruled.document() for ruled in run.ruled]
    if notes:
        entry["notes"] = items_document(notes)
    return entry
