"""A ruling taken into the ledger of months: what it changes of each that was billed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from node.billing.archive import Archive
from node.billing.curve_store import CurveStore
from node.billing.in_force import RuledSteps, TakenRuling
from node.billing.monthly import MonthRun, Outcome, Terms
from node.billing.time_of_use import Period
from node.cli.supplier_month import run_from_store
from node.errors import Refused

__all__ = ["SettledMonth", "settle_ruling"]

MOST_MONTHS: Final = 14


@dataclass(frozen=True, slots=True)
class SettledMonth:
    """A month that was billed, after a ruling: its revision, the steps that were allocated again
    (none if the ruling changed nothing there, None for all), the notes, and what became of the
    ruling."""

    period: Period
    revision: int
    steps: Sequence[str] | None
    notes: Sequence[Mapping[str, Any]]
    ruled: tuple[RuledSteps, ...]


def settle_ruling(
    ruling: TakenRuling, terms: Terms, store: CurveStore, archive: Archive, now_s: int
) -> list[SettledMonth]:
    """Take a ruling, and revise the months that were billed and are touched by it.

    First each is brought to what the operator's curves say, so that the notes are the ruling's
    alone; a month that is billed later is made with the ruling. Again, after a power cut, the same
    notes come out. Raises Refused (``not_settled``) for a month that cannot be billed again.
    """
    periods = [period for period in _months(ruling, terms.operation.zone) if archive.billed(period)]
    for period in periods:
        if archive.closed(period):
            raise Refused(
                f"{period} is closed: its curves were taken out",
                reason="closed_month",
                next_step="nothing of it can be made again; tell the parties",
            )
        rules = archive.billed(period)["rules"]
        if rules != ruling.rules:
            raise Refused(
                f"{period} was billed under rules {rules}, the ruling is under {ruling.rules}",
                reason="other_rules",
                next_step="ask the operator to rule under the rules of that time",
            )
    if all(taken.dispute != ruling.dispute for taken in archive.rulings()):
        for period in periods:
            _run(period, terms, store, archive, now_s)
        archive.take(ruling)
    done = []
    for period in periods:
        run = _run(period, terms, store, archive, now_s)
        brought = _brought(archive, period, ruling.dispute)
        changed = archive.notes_of(str(period), brought) if brought else {"notes": [], "steps": []}
        own = tuple(ruled for ruled in run.ruled if ruled.dispute == ruling.dispute)
        done.append(
            SettledMonth(period, brought or run.revision, changed["steps"], changed["notes"], own)
        )
    return done


def _months(ruling: TakenRuling, zone: ZoneInfo) -> Iterator[Period]:
    """The local months that a ruling states something of."""
    from_s, to_s = ruling.span
    day = datetime.fromtimestamp(from_s, zone).date().replace(day=1)
    for _ in range(MOST_MONTHS):
        until = (day + timedelta(days=32)).replace(day=1)
        period = Period(day, until, zone)
        if period.start_s >= to_s:
            return
        yield period
        day = until


def _run(period: Period, terms: Terms, store: CurveStore, archive: Archive, now_s: int) -> MonthRun:
    run = run_from_store(period, terms, store, archive, now_s)
    if run.outcome is Outcome.WAITING:
        raise Refused(
            f"{period} cannot be billed again: {'; '.join(run.problems)}",
            reason="not_settled",
            next_step="see to what it waits for, then settle again",
        )
    return run


def _brought(archive: Archive, period: Period, dispute: str) -> int:
    """The revision that was the first to be made with a dispute's ruling; 0 if none was, or if it
    was the month's first bill."""
    for entry in archive.revisions(period):
        if any(ruled["dispute"] == dispute for ruled in entry.get("ruled", ())):
            return int(entry["revision"]) if entry["revision"] > 1 else 0
    return 0
