"""What ``daisee view`` shows, gathered: the archive of months, the office, and the market."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from node.billing.access import Subject, View
from node.billing.allocation import Key
from node.billing.archive import Archive
from node.billing.bill_energy import BilledEnergy, billed_energy
from node.billing.curve_files import CurveTable, read_curve_table
from node.billing.keys import MARKET, default_dynamic, is_of_market, read_key
from node.billing.market_key import kept_market
from node.billing.months import Month
from node.billing.operation import Consumer, Operation, Producer
from node.billing.operation_file import read_operation
from node.billing.people import Member, consent_document
from node.billing.perimeter import midnight_s
from node.billing.report import HouseholdTotals, members, report_rows, totals
from node.billing.role_views import CommunityMonth, Presence
from node.billing.series import MISSING
from node.billing.tariffs import read_tariffs
from node.billing.time_of_use import Period
from node.billing.views import MemberMonth
from node.cli.office import Office
from node.cli.sources import open_past
from node.cli.supplier_bills import month_period
from node.cli.supplier_options import month_of
from node.errors import ConfigurationError, Refused
from node.model import OrderAccepted, Side
from node.slots import iso_utc

__all__ = ["MonthFiles", "community_month"]

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class MonthFiles:
    """Where a month is: as the options of ``daisee view`` name it. ``market`` is a run's folder, a
    node's URL, a contract's address."""

    operation: Path
    month: str
    archive: Path | None
    key: Path | None
    tariffs: Path | None
    groups: Sequence[str]
    market: tuple[Path | None, str | None, str | None]


@dataclass(frozen=True, slots=True)
class _Billed:
    """A month as it was billed."""

    energy: BilledEnergy
    bills: Sequence[Mapping[str, object]]


def community_month(office: Office, files: MonthFiles) -> CommunityMonth:
    """All of a month, by person.

    Raises Refused (``not_billed``), ConfigurationError for files that do not belong together.
    """
    operation = read_operation(files.operation)
    month = month_of(files.month, operation.zone.key)
    period = month_period(month)
    billed = None if files.archive is None else _billed(operation, files, files.archive, period)
    people = office.people.all()
    if billed is not None:
        _all_known(billed.energy, people.values())
    papers = {person: _papers(office, person, member) for person, member in people.items()}
    _add_disputes(office, papers, period)
    _add_market(papers, people, files, month)
    months = []
    for person, member in people.items():
        subject = Subject(person, member.supplier, office.people.consents(person))
        made = MemberMonth(subject)
        if billed is not None:
            made = _member_month(subject, member, billed.energy)
            papers[person] |= _billed_papers(member, made, billed)
        months.append(made)
    energy = None if billed is None else billed.energy
    return CommunityMonth(
        from_s=period.start_s,
        to_s=period.end_s,
        first_s=period.start_s if energy is None else energy.first_s,
        step_s=900 if energy is None else energy.step_s,
        steps=0 if energy is None else energy.allocation.steps,
        months=tuple(months),
        papers=papers,
        presences=() if energy is None else tuple(_presences(operation, people, energy)),
        groups=dict(_group(office, text) for text in files.groups),
    )


def _billed(operation: Operation, files: MonthFiles, folder: Path, period: Period) -> _Billed:
    archive = Archive(folder)
    entry = archive.billed(period)
    if not entry:
        raise Refused(
            f"{period} was not billed yet",
            reason="not_billed",
            next_step="daisee supplier month bills it",
        )
    if archive.closed(period):
        raise Refused(
            f"{period} is closed: curves of it were taken out",
            reason="closed_month",
            next_step="its bills are in the folder; leave --bills away for the rest",
        )
    kept = folder / str(period) / str(entry["revision"])
    document = archive.bills_of(period, entry["revision"])
    key = _key(files.key, kept / "key.toml")
    is_stated = is_of_market(key) and MARKET in entry
    energy = billed_energy(
        operation,
        read_tariffs(files.tariffs).accepting(operation.accepted),
        key,
        _table(kept / "production.csv", period),
        _table(kept / "consumption.csv", period),
        period,
        stated=kept_market(kept, entry[MARKET]) if is_stated else None,
    )
    if energy.digest() != entry["inputs"]:
        raise ConfigurationError(
            f"{period} was billed from another operation or key",
            file=kept,
            next_step="give the operation's file and the key that it was billed with",
        )
    return _Billed(energy, document["bills"])


def _key(given: Path | None, kept: Path) -> Key:
    """The key that was handed over, else the one that the month was billed with."""
    if given is None and not kept.exists():
        return default_dynamic()
    return read_key(kept if given is None else given)


def _table(path: Path, period: Period) -> CurveTable:
    """A table of the archive; one that was not written had no curves."""
    return read_curve_table(path) if path.exists() else CurveTable(period.start_s, 1800, {})


def _all_known(energy: BilledEnergy, people: Iterable[Member]) -> None:
    """Raise ConfigurationError if points are nobody's: no sum over members would be one."""
    known = {point for member in people for point in (member.withdrawal, member.injection)}
    allocation = energy.allocation
    strangers = sorted({*allocation.production, *allocation.consumption} - known)
    if strangers:
        raise ConfigurationError(
            f"the office knows nobody with {', '.join(strangers[:5])}",
            next_step="take them in: daisee person add; who was erased has no month to show",
        )


def _member_month(subject: Subject, member: Member, energy: BilledEnergy) -> MemberMonth:
    allocation, drawn, fed_in = energy.allocation, member.withdrawal, member.injection
    return MemberMonth(
        subject,
        drawn_wh=allocation.consumption.get(drawn, ()),
        received_wh=allocation.allocated.get(drawn, ()),
        fed_in_wh=allocation.production.get(fed_in, ()),
        given_wh=allocation.given.get(fed_in, ()),
    )


def _papers(office: Office, person: str, member: Member) -> dict[View, object]:
    return {
        View.IDENTITY: {
            "name": member.name,
            "household": member.household,
            "withdrawal": member.withdrawal,
            "injection": member.injection,
            "supplier": member.supplier,
        },
        View.CONSENTS: [consent_document(one) for one in office.people.consents(person)],
    }


def _billed_papers(member: Member, month: MemberMonth, billed: _Billed) -> dict[View, object]:
    """Its bills, and what of each step's sharing was its: parts of a million, rounded down."""
    points = {member.withdrawal, member.injection} - {""}
    bills = [
        {name: bill[name] for name in ("number", "kind", "total_cents", "vat_cents")}
        for bill in billed.bills
        if bill["point"] in points
    ]
    found: dict[View, object] = {View.BILL: bills}
    if month.received_wh:
        found[View.COEFFICIENTS] = {
            "received_ppm": _parts(month.received_wh, billed.energy.allocation.given.values())
        }
    return found


def _parts(received_wh: Sequence[int], given: Iterable[Sequence[int]]) -> list[int]:
    sums = (sum(values) for values in zip(*given, strict=True))
    return [
        MISSING if own == MISSING else own * MILLION // total if total > 0 else 0
        for own, total in zip(received_wh, sums, strict=True)
    ]


def _add_disputes(office: Office, papers: Mapping[str, dict[View, object]], period: Period) -> None:
    """The disputes about steps of the period."""
    found: dict[str, list[Mapping[str, object]]] = {person: [] for person in papers}
    for person, dispute in office.disputes.all(office.now_s):
        series = dispute.signed.claim.series
        if series.from_s < period.end_s and series.to_s > period.start_s:
            found[person].append(
                {
                    "number": dispute.number,
                    "state": dispute.state.value,
                    "side": series.side.word,
                    "from": iso_utc(series.from_s),
                    "to": iso_utc(series.to_s),
                    "contested": dispute.is_contested,
                }
            )
    for person, disputes in found.items():
        papers[person][View.DISPUTE] = disputes


def _add_market(
    papers: Mapping[str, dict[View, object]],
    people: Mapping[str, Member],
    files: MonthFiles,
    month: Month,
) -> None:
    """What the market allocated to each, as the totals of its month."""
    run_folder, rpc, market = files.market
    if run_folder is None and rpc is None:
        return
    with open_past(run_folder, rpc, market) as past:
        known, wanted = past.source.slots(), month.slots(past.slot_s)
        start = max(known.start, wanted.start)
        slots = range(start, max(min(known.stop, wanted.stop), start))
        accepted = past.source.events(kinds=(OrderAccepted,), to_slot=wanted.stop)
        sums = {number: HouseholdTotals() for number in members(accepted)}
        rows = report_rows(past.records(slots.start, slots.stop), slots, list(sums))
        for _ in totals(rows, sums):
            pass
    for person, member in people.items():
        if member.household in sums:
            papers[person][View.MARKET] = asdict(sums[member.household])


def _presences(
    operation: Operation, people: Mapping[str, Member], energy: BilledEnergy
) -> Iterator[Presence]:
    """The steps that begin within each membership."""
    sides: tuple[tuple[Side, Mapping[str, Consumer] | Mapping[str, Producer]], ...] = (
        (Side.BID, operation.consumers),
        (Side.ASK, operation.producers),
    )
    period, steps = energy.period, energy.allocation.steps
    for person, member in people.items():
        for side, listed in sides:
            one = listed.get(member.point(side))
            if one is None:
                continue
            first, until = (
                -(
                    (
                        energy.first_s
                        - midnight_s(min(max(day, period.first), period.until), period.zone)
                    )
                    // energy.step_s
                )
                for day in (one.first, one.until)
            )
            inside = range(max(first, 0), min(until, steps))
            if inside:
                yield Presence(person, side, inside)


def _group(office: Office, text: str) -> tuple[str, frozenset[str]]:
    name, equals, listed = text.partition("=")
    if not equals or not name or name == "community":
        raise click.BadParameter(f"{text!r} is not NAME=P,P,...", param_hint="--group")
    return name, frozenset(office.people.find(one)[0] for one in listed.split(","))
