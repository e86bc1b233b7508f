"""``daisee person retention``: what was kept long enough, and what becomes of it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import click

from node.billing.archive import Archive
from node.billing.disputes import months_before
from node.billing.inbox import Delivery, deliveries, inbox_files
from node.billing.months import Month, zone_of
from node.billing.retention import (
    CONSENT,
    DEFAULT_RULES,
    PAPERS,
    Action,
    Due,
    Rule,
    due_consents,
    due_records,
    holding,
    read_rules,
)
from node.cli.office import Office, office_options, open_office
from node.cli.output import example, json_option, say, say_document
from node.errors import ConfigurationError
from node.slots import iso_utc
from node.store.curve_ageing import CurveAgeing
from node.store.curve_upkeep import CurveUpkeep
from node.store.curves import CurveDatabase

__all__ = ["retention"]

FILE: Final = click.Path(path_type=Path)
CURVE: Final = "curve"


@dataclass(slots=True)
class _Found:
    """What is due, or done. ``waiting`` are files of the inbox that are old, and not imported."""

    due: list[Due] = field(default_factory=list)
    days: int = 0
    sums: int = 0
    rows: int = 0
    closed: list[str] = field(default_factory=list)
    bills: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Ages:
    """The rules that hold, and until when what is of a kind ended that is due."""

    rules: dict[str, Rule]
    now_s: int
    zone: ZoneInfo

    def of(self, kind: str) -> tuple[Action, int] | None:
        """What becomes of a kind, and the instant; None if no rule is about it. Curves go by whole
        local months, as bills do: what is left of a month could not be billed again."""
        rule = self.rules.get(kind)
        if rule is None:
            return None
        before_s = months_before(self.now_s, rule.months)
        return rule.then, self._month(before_s).start_s if kind == CURVE else before_s

    def month_of(self, at_s: int) -> tuple[str, int]:
        """A local month and its end."""
        month = self._month(at_s)
        return str(month), month.end_s

    def _month(self, at_s: int) -> Month:
        at = datetime.fromtimestamp(at_s, self.zone)
        return Month(at.year, at.month, self.zone)


@click.command(
    epilog=example(
        "daisee person retention --database office.db --curves curves.db --bills bills"
        " --inbox inbox --apply"
    )
)
@click.option("--rules", "rules_file", type=FILE, help="Rules of your own, in TOML.")
@click.option("--curves", "curve_file", type=FILE, help="The official curves and their sums.")
@click.option(
    "--bills", "folder", type=FILE, metavar="DIR", help="Bills, and the curves they were made from."
)
@click.option(
    "--inbox",
    type=FILE,
    metavar="DIR",
    help="The operator's files, once they were imported (--curves).",
)
@click.option("--timezone", default="Europe/Paris", show_default=True, metavar="ZONE")
@click.option("--apply", "is_applied", is_flag=True, help="Do it. Without, it is only told.")
@office_options
@json_option
def retention(
    database: Path,
    key_file: Path | None,
    rules_file: Path | None,
    curve_file: Path | None,
    folder: Path | None,
    inbox: Path | None,
    timezone: str,
    *,
    is_applied: bool,
    as_json: bool,
) -> None:
    """Tell what has been kept long enough, and with --apply delete it or make it coarser.

    The office's papers always; curves, bills and the operator's files where they are named.
    """
    if inbox is not None and curve_file is None:
        raise click.UsageError("Whether a file was imported, --curves says: give both.")
    rules = DEFAULT_RULES if rules_file is None else read_rules(rules_file)
    zone = zone_of(timezone)
    archive = None if folder is None else Archive.existing(folder)
    paths = [] if inbox is None else inbox_files(inbox)
    with ExitStack() as stack:
        office = stack.enter_context(open_office(database, key_file))
        if archive is not None and is_applied:
            stack.enter_context(archive.held("daisee person retention"))
        ages = _Ages(holding(rules, office.now_s, zone), office.now_s, zone)
        found = _Found()
        delivered: list[Delivery] = []
        if curve_file is not None:
            with CurveDatabase.open_read_only(curve_file) as kept:
                delivered = deliveries(paths, kept.import_of)
        records = [record for kind in PAPERS for record in office.people.vault.all_of(kind)]
        found.due = due_records(records, rules, office.now_s, zone)
        found.due += due_consents(office.people.consents(), rules, office.now_s, zone)
        if archive is not None:
            # Months are closed before curves go: without them, a run would take them for corrected.
            _age_bills(found, ages, archive, is_applied=is_applied)
        if curve_file is not None:
            _age_curves(found, ages, curve_file, is_applied=is_applied)
        _age_inbox(found, ages, delivered, is_applied=is_applied)
        if is_applied:
            _delete_papers(office, found)
    places = {"curves": curve_file, "bills": folder, "inbox": inbox}
    left = [name for name, place in places.items() if place is None]
    if as_json:
        say_document({**_document(found), "applied": is_applied, "not_looked_at": left})
    else:
        _say(found, left, is_applied=is_applied)


def _age_inbox(found: _Found, ages: _Ages, delivered: list[Delivery], *, is_applied: bool) -> None:
    """Files of which every step is as old as curves may be, if all of them is kept."""
    rule = ages.of(CURVE)
    old = [one for one in delivered if rule is not None and one.until_s <= rule[1]]
    found.files = [one.path.name for one in old if one.is_imported]
    found.waiting = [one.path.name for one in old if not one.is_imported]
    if not is_applied:
        return
    for one in old:
        try:
            if one.is_imported:
                one.path.unlink()
        except OSError as error:
            raise ConfigurationError(
                f"cannot be deleted ({error.strerror})", file=one.path
            ) from error


def _age_curves(found: _Found, ages: _Ages, file: Path, *, is_applied: bool) -> None:
    """Steps become days, days months, and months go; or each goes at once, as its rule says."""
    if rule := ages.of(CURVE):
        with CurveUpkeep.open(file) as curves:
            found.days = curves.coarsen(rule[1]) if is_applied else curves.days_before(rule[1])
    with CurveAgeing.open(file) as sums:
        for kind in (CURVE, "curve_day", "curve_month"):
            rule = ages.of(kind)
            if rule is None:
                continue
            then, before_s = rule
            if then is Action.DELETE:
                rows = sums.delete_old(kind, before_s) if is_applied else sums.old(kind, before_s)
                found.rows += rows
            elif then is Action.BY_MONTH and is_applied:
                found.sums = sums.to_months(before_s, ages.month_of)
            elif then is Action.BY_MONTH:
                found.sums = sums.days_due(before_s, ages.month_of)


def _age_bills(found: _Found, ages: _Ages, archive: Archive, *, is_applied: bool) -> None:
    """Bills with all that they were made from, and before them the curves."""
    if rule := ages.of("bill"):
        day = datetime.fromtimestamp(rule[1], ages.zone).date()
        found.bills = archive.bills_before(day)
        if is_applied:
            found.bills = archive.delete_bills_before(day, ages.now_s)
    if rule := ages.of(CURVE):
        day = datetime.fromtimestamp(rule[1], ages.zone).date()
        found.closed = [one for one in archive.kept_before(day) if one not in found.bills]
        if is_applied:
            found.closed = archive.take_out_before(day, ages.now_s)


def _delete_papers(office: Office, found: _Found) -> None:
    with office.storage.transaction():
        for one in found.due:
            if one.kind == CONSENT:
                office.storage.delete_consent(one.number)
            else:
                office.storage.delete_sealed(one.number)
        count = len(found.due) + found.days + found.sums + found.rows
        count += len(found.closed) + len(found.bills) + len(found.files)
        office.storage.add_upkeep(office.now_s, "retention", count)
    office.storage.forget_log()


def _document(found: _Found) -> dict[str, object]:
    return {
        "curve_days": found.days,
        "sums_to_months": found.sums,
        "sums_deleted": found.rows,
        "closed_months": found.closed,
        "deleted_bills": found.bills,
        "inbox_files": found.files,
        "inbox_not_imported": found.waiting,
        "due": [
            {
                "number": one.number,
                "kind": one.kind,
                "about": iso_utc(one.about_s),
                "then": one.then.value,
            }
            for one in found.due
        ],
    }


def _say(found: _Found, left: list[str], *, is_applied: bool) -> None:
    for one in found.due:
        say(f"{one.kind} {one.number}, until {iso_utc(one.about_s)}: {one.then}")
    for what, names in (
        ("curves and allocation deleted, the month closed", found.closed),
        ("bills deleted", found.bills),
        ("removed from the inbox", found.files),
        ("old, but not imported, and left in the inbox", found.waiting),
    ):
        if names:
            say(f"{', '.join(names)}: {what}")
    done = "done" if is_applied else "due; nothing was changed"
    say(
        f"{len(found.due)} papers, {found.days} days of curves, {found.sums} sums and indexes to"
        f" months, {found.rows} sums and indexes to delete, {len(found.closed)} months to close,"
        f" bills of {len(found.bills)} months, {len(found.files)} files of the inbox: {done}."
    )
    if left:
        say(f"Not looked at: {', '.join(f'--{name}' for name in left)}.")
