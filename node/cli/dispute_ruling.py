"""The distribution operator's ruling, and the notes that it leads to."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node.billing.bill_energy import billed_energy
from node.billing.claims import SALT_BYTES, Series
from node.billing.curve_files import read_curve_table
from node.billing.dispute_book import NOTE
from node.billing.dispute_documents import dispute_document, dispute_from
from node.billing.disputes import Dispute
from node.billing.disputes import rule as take_ruling
from node.billing.disputes import settle as close
from node.billing.keys import default_dynamic, read_key
from node.billing.notes import Note, Settlement, note_document, settlement_of
from node.billing.operation_file import read_operation
from node.billing.rulings import Outcome, Ruling, SignedRuling, ruling_document, ruling_from
from node.billing.tariffs import read_tariffs
from node.cli.dispute_claim import (
    community_option,
    key_of,
    key_options,
    papers_of,
    series_of,
)
from node.cli.office import Office, office_options, open_office, read_document, say_paper
from node.cli.output import Column, example, json_option, say, say_document, say_table
from node.cli.supplier_bills import eur_text, month_period
from node.cli.supplier_options import FILE, month_of
from node.clock import SystemClock
from node.errors import ConfigurationError, Refused
from node.slots import iso_utc, slot_at

if TYPE_CHECKING:
    from node.chain.keys import Key

__all__ = ["decide", "rule", "settle"]

OPERATOR: Final = "distribution_operator"
_COLUMNS: Final = (
    Column("party", figures=False),
    Column("other", figures=False),
    Column("note", figures=False),
    Column("EUR"),
)


@click.command(
    short_help="Sign a ruling, and put its digest on chain.",
    epilog=example(
        "daisee dispute decide dispute.json --outcome upheld --rules 2025-1"
        " --community community.toml --keystore grid.json --password-file password > ruling.json"
    ),
)
@click.argument("dispute_file", metavar="FILE", type=FILE)
@click.option("--outcome", type=click.Choice([outcome.value for outcome in Outcome]), required=True)
@click.option("--values", type=FILE, help="Of an adjusted claim: what was measured, as start,wh.")
@click.option("--rules", required=True, help="The version of the rules of that time.")
@click.option("--text", default="", help="The reasons.")
@click.option("--record/--no-record", "is_recorded", default=True, help="Put the digest on chain.")
@click.option("--rpc", "rpc_url", metavar="URL", help="Ask this node.  [default: the community's]")
@community_option
@key_options
@json_option
def decide(
    dispute_file: Path,
    outcome: str,
    values: Path | None,
    rules: str,
    text: str,
    community: Path,
    keystore: Path,
    password_file: Path,
    rpc_url: str | None,
    *,
    is_recorded: bool,
    as_json: bool,
) -> None:
    """Decide, as the distribution operator, on the dispute in FILE: what the organiser's `daisee
    dispute show --json` printed. Print the signed ruling, for the organiser to take.

    Upheld takes the claim's values, adjusted those of --values, rejected none. The ruling's salted
    digest goes into the community's book of records.
    """
    try:
        found = dispute_from(read_document(dispute_file))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"this is no dispute ({error})", file=dispute_file) from error
    made = Ruling(
        found.signed.claim.digest(),
        Outcome(outcome),
        _reference(found, Outcome(outcome), values),
        rules,
        SystemClock().now_s(),
        secrets.token_bytes(SALT_BYTES),
        text,
    )
    key, digest = key_of(keystore, password_file), made.digest()
    signature = papers_of(community).sign_ruling(key, made.claim, made.outcome.value, digest)
    if is_recorded:
        asyncio.run(_record(community, rpc_url, key, found.signed.claim.series.from_s, digest))
    say_paper(ruling_document(SignedRuling(made, signature)), as_json=as_json)


def _reference(found: Dispute, outcome: Outcome, values: Path | None) -> Series | None:
    series = found.signed.claim.series
    if (outcome is Outcome.ADJUSTED) != (values is not None):
        raise click.UsageError("--values goes with --outcome adjusted.")
    if values is not None:
        return series_of(values, series.household, series.side)
    return series if outcome is Outcome.UPHELD else None


async def _record(
    community: Path, rpc_url: str | None, key: Key, from_s: int, digest: bytes
) -> None:
    from node.chain.claims import record_ruling  # noqa: PLC0415 - loads web3
    from node.chain.community import load_community  # noqa: PLC0415
    from node.chain.joining import community_rpc  # noqa: PLC0415
    from node.chain.rpc import Sender  # noqa: PLC0415

    agreed = load_community(community)
    async with community_rpc(agreed, rpc_url) as rpc:
        sender = Sender(rpc, key, gas_price=agreed.gas_price_wei)
        slot = slot_at(from_s, agreed.slot_s)
        await record_ruling(sender, agreed.contracts["RecordBook"], slot, digest)


@click.command(
    short_help="Take the distribution operator's ruling on a dispute.",
    epilog=example(
        "daisee dispute rule --database office.db 3fa91c ruling.json --community community.toml"
    ),
)
@click.argument("wanted", metavar="DISPUTE")
@click.argument("ruling_file", metavar="RULING", type=FILE)
@click.option(
    "--recorded/--unrecorded",
    "is_checked",
    default=True,
    help="Refuse a ruling whose digest is not on chain; or take it all the same.",
)
@click.option("--rpc", "rpc_url", metavar="URL", help="Ask this node.  [default: the community's]")
@community_option
@office_options
@json_option
def rule(
    database: Path,
    key_file: Path | None,
    wanted: str,
    ruling_file: Path,
    community: Path,
    rpc_url: str | None,
    *,
    is_checked: bool,
    as_json: bool,
) -> None:
    """Take the signed RULING of the distribution operator on a DISPUTE.

    Refused are another signature than one that is trusted, what was not in dispute, a ruling after
    the deadline, and one whose digest is not in the community's book of records.
    """
    signed = ruling_from(read_document(ruling_file))
    digest = signed.ruling.digest()
    with open_office(database, key_file) as office:
        person, found = office.disputes.find(wanted, office.now_s)
        rulers = office.storage.authorities(OPERATOR, office.now_s)
        ruled = take_ruling(found, signed, papers_of(community), rulers, office.now_s)
        if is_checked and not asyncio.run(_is_recorded(community, rpc_url, digest)):
            raise Refused(
                "the ruling's digest is not on chain",
                reason="not_recorded",
                next_step="have the distribution operator record it: daisee dispute decide",
            )
        with office.storage.transaction():
            office.disputes.keep(person, ruled, office.now_s)
    if as_json:
        say_document({**dispute_document(ruled), "digest": digest.hex(), "recorded": is_checked})
    else:
        say(f"Dispute {ruled.number[:12]} is ruled: {signed.ruling.outcome}.")
        say(f"digest {digest.hex()}, {'on chain' if is_checked else 'not looked for on chain'}")


async def _is_recorded(community: Path, rpc_url: str | None, digest: bytes) -> bool:
    from node.chain.claims import is_recorded  # noqa: PLC0415 - loads web3
    from node.chain.community import load_community  # noqa: PLC0415
    from node.chain.joining import community_rpc  # noqa: PLC0415

    agreed = load_community(community)
    async with community_rpc(agreed, rpc_url) as rpc:
        return await is_recorded(
            rpc, agreed.contracts["RecordBook"], agreed.created_in_block, digest
        )


@click.command(
    short_help="Carry a ruling out: credit and debit notes that sum to zero.",
    epilog=example(
        "daisee dispute settle --database office.db 3fa91c --operation street.toml --month 2025-10"
        " --production roofs.csv --consumption homes.csv --out notes.json"
    ),
)
@click.argument("wanted", metavar="DISPUTE")
@click.option("--operation", "operation_file", type=FILE, help="Members and prices of that time.")
@click.option("--month", metavar="YYYY-MM", help="The month that was billed.")
@click.option("--production", "produced", type=FILE, help="The curves that it was billed from ...")
@click.option("--consumption", "consumed", type=FILE, help="... as tables.")
@click.option("--key", "rule_file", type=FILE, help="Its key.  [default: pro rata of consumption]")
@click.option("--tariffs", "own", type=FILE, metavar="DIR", help="Rows of your own, in addition.")
@click.option("--provisional", is_flag=True, help="It was billed with steps left out.")
@click.option("--revision", default=2, show_default=True, type=click.IntRange(2))
@click.option("--out", type=FILE, help="Write the notes there, as JSON.")
@office_options
@json_option
def settle(
    database: Path,
    key_file: Path | None,
    wanted: str,
    operation_file: Path | None,
    month: str | None,
    produced: Path | None,
    consumed: Path | None,
    rule_file: Path | None,
    own: Path | None,
    revision: int,
    out: Path | None,
    *,
    provisional: bool,
    as_json: bool,
) -> None:
    """Settle a DISPUTE: what was ruled is carried out, what expired or was rejected is closed.

    Only the steps that the ruling touches are allocated again, under the key they were billed with.
    The bills stay as they are; the notes are what differs.
    """
    with open_office(database, key_file) as office:
        person, found = office.disputes.find(wanted, office.now_s)
        reference = None if found.ruling is None else found.ruling.ruling.reference
        done: Settlement | None = None
        if reference is not None and not found.is_informational:
            if operation_file is None or month is None or produced is None or consumed is None:
                raise click.UsageError(
                    "Say what was billed: --operation, --month, --production, --consumption."
                )
            operation = read_operation(operation_file)
            _same_rules(found, operation.rules)
            tables = read_tariffs(own).accepting(operation.accepted)
            billed = billed_energy(
                operation,
                tables,
                default_dynamic() if rule_file is None else read_key(rule_file),
                read_curve_table(produced),
                read_curve_table(consumed),
                month_period(month_of(month, operation.zone.key)),
            )
            point = office.people.find(person)[1].point(reference.side)
            done = settlement_of(
                operation,
                tables,
                billed,
                reference,
                point,
                provisional=provisional,
                revision=revision,
            )
        notes = () if done is None else done.notes
        closed = close(found, done.digest() if done is not None and notes else b"", office.now_s)
        with office.storage.transaction():
            strangers = _keep_notes(office, closed, notes)
            office.disputes.keep(person, closed, office.now_s)
    document = _document(closed, done, strangers)
    if out is not None:
        out.write_text(json.dumps(document, sort_keys=True, ensure_ascii=False) + "\n")
    if as_json:
        say_document(document)
        return
    say(f"Dispute {closed.number[:12]} is settled; {len(notes)} notes, which sum to zero.")
    say_table(_COLUMNS, [_row(note) for note in notes])


def _same_rules(found: Dispute, rules: str) -> None:
    assert found.ruling is not None
    if found.ruling.ruling.rules != rules:
        raise Refused(
            f"the ruling is under rules {found.ruling.ruling.rules}, this operation has {rules}",
            reason="other_rules",
            next_step="give the operation's file of that time",
        )


def _keep_notes(office: Office, closed: Dispute, notes: Iterable[Note]) -> list[str]:
    """Seal each member's notes under its own key; the parties that nobody here is."""
    by_point = {
        point: person
        for person, member in office.people.all().items()
        for point in (member.withdrawal, member.injection)
        if point
    }
    about_s = closed.signed.claim.series.to_s
    strangers = set()
    for note in notes:
        person = by_point.get(note.party)
        if person is None:
            strangers.add(note.party)
            continue
        # Others by their random names: when they are erased, this leads nowhere.
        other = by_point.get(note.other, note.other)
        document = {"dispute": closed.number, **note_document(note), "other": other}
        office.people.vault.put(person, NOTE, document, about_s, office.now_s)
    return sorted(strangers)


def _document(
    closed: Dispute, done: Settlement | None, strangers: Iterable[str]
) -> dict[str, object]:
    document: dict[str, object] = {
        "dispute": closed.number,
        "state": closed.state.value,
        "contested": closed.is_contested,
        "settlement": closed.settlement.hex(),
        "notes": [],
        "steps": [],
        "not_kept": list(strangers),
    }
    if done is not None:
        stamp = done.bills.stamp
        start_s, step_s = stamp.period.start_s, closed.signed.claim.series.step_s
        first_s = start_s + -start_s % step_s
        document |= {
            "rules": stamp.rules,
            "revision": stamp.revision,
            "notes": [note_document(note) for note in done.notes],
            "steps": [iso_utc(first_s + step * step_s) for step in done.steps],
        }
    return document


def _row(note: Note) -> tuple[str, ...]:
    advice = ", advice" if note.is_advice else ""
    return note.party, note.other, note.word + advice, eur_text(note.amount_cents)
