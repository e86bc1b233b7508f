"""``daisee dispute settle``: what a ruling changes, of bills or of a market's allocations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from node.billing.archive import Archive
from node.billing.bill_files import write_file
from node.billing.claims import canonical
from node.billing.curve_store import CurveStore, Said
from node.billing.dispute_book import NOTE
from node.billing.disputes import Dispute
from node.billing.disputes import settle as close
from node.billing.in_force import TakenRuling
from node.billing.notes import notes_digest
from node.billing.reconcile import Entry, SideOf, fills_of, period_of
from node.billing.rulings import MarketRuling, market_entries
from node.billing.series import Curve
from node.cli.entry_files import (
    Earlier,
    earlier_option,
    market_ruling_document,
    read_earlier,
    said_in,
)
from node.cli.office import Office, office_options, open_office
from node.cli.output import Column, example, json_option, money_text, say, say_document, say_table
from node.cli.settling import SettledMonth, settle_ruling
from node.cli.sources import MarketPast, open_past, source_options
from node.cli.supplier_bills import eur_text
from node.cli.supplier_month import read_terms
from node.cli.supplier_options import FILE, month_of, timezone_option
from node.cli.supplier_reconcile import entry_row, official_curves, operator_curves
from node.errors import ConfigurationError, Refused
from node.store.curves import CurveDatabase

__all__ = ["settle"]

_NOTE_COLUMNS: Final = (
    Column("party", figures=False),
    Column("other", figures=False),
    Column("note", figures=False),
    Column("EUR"),
)
_ENTRY_COLUMNS: Final = (
    Column("slot"),
    Column("household"),
    Column("side", figures=False),
    Column("account", figures=False),
    Column("Wh"),
    Column("EUR"),
)


@dataclass(frozen=True, slots=True)
class _Carried:
    """A ruling carried out: what is told of it, its digest (empty if nothing changed), what each
    point (or, of a market, household) is to keep, and the table."""

    document: Mapping[str, object] = field(default_factory=dict)
    digest: bytes = b""
    papers: Sequence[tuple[str, dict[str, object]]] = ()
    columns: Sequence[Column] = _NOTE_COLUMNS
    rows: Sequence[tuple[str, ...]] = ()


@click.command(
    short_help="Carry a ruling out: credit and debit notes that sum to zero.",
    epilog=example(
        "daisee dispute settle --database office.db 3fa91c --operation street.toml"
        " --curves curves.db --bills bills --out 3fa91c.json",
        "daisee dispute settle --database office.db 3fa91c --run out/october"
        " --withdrawals drawn.csv --injections fed.csv --points points.csv",
    ),
)
@click.argument("wanted", metavar="DISPUTE")
@click.option("--operation", "operation_file", type=FILE, help="Members and prices of that time.")
@click.option("--bills", "folder", type=FILE, metavar="DIR", help="Where bills lie.")
@click.option("--tariffs", "own", type=FILE, help="Tariff rows of your own, as TOML.")
@click.option("--month", metavar="YYYY-MM", help="Of a market: the month of --curves.")
@click.option("--withdrawals", type=FILE, help="Of a market: what the operator saw drawn before.")
@click.option("--injections", type=FILE, help="Of a market: what it saw fed in before.")
@click.option("--curves", "curve_file", type=FILE, help="The imported curves.")
@click.option("--points", "points_file", type=FILE, help="household,point: whose point is whose.")
@earlier_option
@timezone_option
@click.option("--out", type=FILE, help="Write the notes or entries there, as JSON.")
@source_options
@office_options
@json_option
def settle(
    database: Path,
    key_file: Path | None,
    wanted: str,
    operation_file: Path | None,
    folder: Path | None,
    own: Path | None,
    month: str | None,
    withdrawals: Path | None,
    injections: Path | None,
    curve_file: Path | None,
    points_file: Path | None,
    earlier: tuple[Path, ...],
    timezone: str,
    out: Path | None,
    run_folder: Path | None,
    rpc: str | None,
    market: str | None,
    *,
    as_json: bool,
) -> None:
    """Settle a DISPUTE: what was ruled is carried out, what expired or was rejected is closed.

    Of bills (--operation, --curves and --bills), the ruling is taken into the ledger of months that
    were billed: each that it touches gets a further revision, in which only the touched steps are
    allocated again, under the key they were billed with. The credit and debit notes are what
    differs from the revision before, and become lines of the next month that is billed. Of a market
    (--run, or --rpc and --market), only its periods are reconciled again, at the price and fee of
    each slot; correction entries are what differs from all --earlier ones, or, without these, from
    the curves as they are. Both sum to zero.
    """
    is_market = run_folder is not None or rpc is not None
    if is_market and operation_file is not None:
        raise click.UsageError("Settle bills (--operation) or a market (--run, --rpc), not both.")
    with open_office(database, key_file) as office:
        person, found = office.disputes.find(wanted, office.now_s)
        _refuse_early(found, office.now_s, out, earlier)
        reference = None if found.ruling is None else found.ruling.ruling.reference
        carried = _Carried()
        if reference is not None and not found.is_informational and is_market:
            chosen = None if month is None else month_of(month, timezone)
            assert found.ruling is not None
            ruled = MarketRuling(reference, found.ruling.ruling.made_at_s)
            known = read_earlier(earlier)
            with open_past(run_folder, rpc, market) as past, said_in(curve_file) as said:
                curves = operator_curves(withdrawals, injections, curve_file, chosen)
                official = official_curves(past, curves, points_file)
                carried = _of_market(past, official, ruled, known, said)
        elif reference is not None and not found.is_informational:
            if operation_file is None or folder is None or curve_file is None:
                raise click.UsageError(
                    "Say what was billed: --operation, --curves and --bills;"
                    " or which market: --run, or --rpc and --market."
                )
            terms = read_terms(operation_file, None, own)
            _same_rules(found, terms.operation.rules)
            point = office.people.find(person)[1].point(reference.side)
            ruling = _taken(found, point)
            archive = Archive.existing(folder)
            with (
                CurveDatabase.open_read_only(curve_file) as kept,
                archive.held("daisee dispute settle"),
            ):
                done = settle_ruling(ruling, terms, CurveStore(kept), archive, office.now_s)
            carried = _of_bills(done)
        closed = close(found, carried.digest, office.now_s)
        with office.storage.transaction():
            document = _document(closed, carried, _keep(office, closed, carried.papers))
            _write(out, document)
            office.disputes.keep(person, closed, office.now_s)
    if as_json:
        say_document(document)
        return
    say(f"Dispute {closed.number[:12]} is settled; {len(carried.rows)} rows, which sum to zero.")
    say_table(carried.columns, carried.rows)


def _refuse_early(found: Dispute, now_s: int, out: Path | None, earlier: Sequence[Path]) -> None:
    """Refuse, before anything is changed, a dispute that cannot be closed, and to write where
    nothing can be, or over entries that were made before."""
    close(found, b"", now_s)
    if out is None:
        return
    if not out.parent.is_dir():
        raise ConfigurationError(
            "there is no such folder", file=out.parent, next_step="check --out, or make it"
        )
    if out.resolve() in {path.resolve() for path in earlier}:
        raise click.UsageError("--out would replace a file of --earlier: give it another name.")


def _write(out: Path | None, document: Mapping[str, object]) -> None:
    """A market's entries are kept nowhere else: without them nothing is settled."""
    if out is not None:
        write_file(out, json.dumps(document, sort_keys=True, ensure_ascii=False) + "\n")


def _same_rules(found: Dispute, rules: str) -> None:
    assert found.ruling is not None
    if found.ruling.ruling.rules != rules:
        raise Refused(
            f"the ruling is under rules {found.ruling.ruling.rules}, this operation has {rules}",
            reason="other_rules",
            next_step="give the operation's file of that time",
        )


def _taken(found: Dispute, point: str) -> TakenRuling:
    assert found.ruling is not None
    ruling = found.ruling.ruling
    assert ruling.reference is not None
    if not point:
        raise Refused(
            "the household has no delivery point on the side that was ruled on",
            reason="no_point",
            next_step="correct it: daisee person add names both points of a household",
        )
    return TakenRuling.of(found.number, point, ruling.reference, ruling.rules, ruling.made_at_s)


def _of_bills(done: Sequence[SettledMonth]) -> _Carried:
    """The notes of the months that were billed."""
    notes = [note for month in done for note in month.notes]
    papers = [
        (str(note["party"]), {**note, "month": str(m.period)}) for m in done for note in m.notes
    ]
    return _Carried(
        {
            "months": [
                {
                    "month": str(month.period),
                    "revision": month.revision,
                    "steps": month.steps,
                    "rulings": [ruled.document() for ruled in month.ruled],
                }
                for month in done
            ],
            "notes": notes,
        },
        notes_digest(notes) if notes else b"",
        papers,
        _NOTE_COLUMNS,
        [_note_row(note) for note in notes],
    )


def _note_row(note: Mapping[str, Any]) -> tuple[str, ...]:
    advice = ", advice" if note["advice"] else ""
    return note["party"], note["other"], note["kind"] + advice, eur_text(note["amount_cents"])


def _of_market(
    past: MarketPast,
    official: Mapping[SideOf, Curve],
    ruling: MarketRuling,
    known: Earlier,
    said: Callable[[Curve, int], Said | None],
) -> _Carried:
    """The correction entries of the periods that a ruling touches."""
    reference = ruling.reference
    try:
        period_s = period_of(past.slot_s, official.values())
        from_s = reference.from_s - reference.from_s % period_s
        to_s = reference.to_s + -reference.to_s % period_s
        records = past.records(from_s // past.slot_s, to_s // past.slot_s)
        entries = market_entries(
            list(fills_of(records)),
            official,
            ruling,
            past.slot_s,
            earlier=known.entries,
            rulings=known.rulings,
            said=said,
        )
    except ValueError as error:
        raise ConfigurationError(
            str(error), next_step="ask the operator for curves that fit the slots"
        ) from error
    rows = [entry_row(past, entry) for entry in entries]
    papers: dict[int, list[dict[str, object]]] = {}
    for entry, row in zip(entries, rows, strict=True):
        if entry.household:
            papers.setdefault(entry.household, []).append(row)
    return _Carried(
        {
            "entries": rows,
            "rulings": [market_ruling_document(ruling)],
            "earlier": list(known.digests),
        },
        hashlib.sha256(canonical({"entries": rows})).digest() if rows else b"",
        [(str(household), {"entries": own}) for household, own in papers.items()],
        _ENTRY_COLUMNS,
        [_entry_cells(past, entry) for entry in entries],
    )


def _entry_cells(past: MarketPast, entry: Entry) -> tuple[str, ...]:
    return (
        str(entry.slot),
        past.name_of(entry.household) if entry.household else "-",
        entry.side.word,
        entry.account.value,
        str(entry.energy_wh),
        money_text(entry.amount_units),
    )


def _keep(
    office: Office, closed: Dispute, papers: Iterable[tuple[str, Mapping[str, object]]]
) -> list[str]:
    """Seal each member's papers under its own key; the parties that nobody here is."""
    whose = {
        name: person
        for person, member in office.people.all().items()
        for name in (member.withdrawal, member.injection, str(member.household))
        if name
    }
    about_s = closed.signed.claim.series.to_s
    strangers = set()
    for party, paper in papers:
        person = whose.get(party)
        if person is None:
            strangers.add(party)
            continue
        document = {"dispute": closed.number, **paper}
        if "other" in paper:
            # Others by their random names: when they are erased, this leads nowhere.
            document["other"] = whose.get(str(paper["other"]), paper["other"])
        office.people.vault.put(person, NOTE, document, about_s, office.now_s)
    return sorted(strangers)


def _document(closed: Dispute, carried: _Carried, strangers: Iterable[str]) -> dict[str, object]:
    return {
        "dispute": closed.number,
        "state": closed.state.value,
        "contested": closed.is_contested,
        "settlement": closed.settlement.hex(),
        "notes": [],
        "entries": [],
        "months": [],
        "not_kept": list(strangers),
        **carried.document,
    }
