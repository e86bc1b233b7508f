"""``daisee person``: whom an organiser keeps, what of them, how long, and how it is erased."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from node.billing.archive import Archive
from node.billing.disputes import months_before
from node.billing.months import zone_of
from node.billing.people import Member
from node.billing.retention import (
    CONSENT,
    DEFAULT_RULES,
    Action,
    Due,
    coarser,
    due_consents,
    due_records,
    holding,
    read_rules,
)
from node.billing.vault import SealedRecord
from node.cli.office import ADDRESS, Office, office_options, open_office, say_paper
from node.cli.output import (
    Column,
    example,
    json_option,
    say,
    say_document,
    say_table,
)
from node.slots import iso_utc
from node.store.curve_upkeep import CurveUpkeep

__all__ = ["person"]

FILE: Final = click.Path(path_type=Path)
_COLUMNS: Final = tuple(
    Column(heading, figures=heading == "household")
    for heading in ("person", "household", "name", "withdrawal", "injection", "supplier")
)


@click.group(
    short_help="Keep people's papers, hand them out, and erase them.",
    epilog=example("daisee person list --database office.db"),
)
def person() -> None:
    """Keep people's papers, hand them out, and erase them.

    PERSON is a household's number, a delivery point, or the random name that the list shows.
    """


def _addresses(
    _: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...]:
    for text in given:
        if not ADDRESS.fullmatch(text):
            raise click.BadParameter(f"{text!r} is no address.", param=option)
    return given


@person.command(
    epilog=example(
        "daisee person add --database office.db --name 'Anne Martin' --household 3"
        " --withdrawal 30000000000011 --signer 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    )
)
@click.option("--name", required=True, help="Who it is; sealed, never on chain.")
@click.option("--household", type=click.IntRange(min=1), required=True, help="Its number on chain.")
@click.option("--withdrawal", default="", metavar="POINT", help="Where it draws.")
@click.option("--injection", default="", metavar="POINT", help="Where it feeds in.")
@click.option("--contact", default="", help="How it is reached.")
@click.option("--supplier", default="", help="The id of its supplier.")
@click.option(
    "--signer", "signers", multiple=True, callback=_addresses, help="A key that signs for it."
)
@click.option(
    "--sensor", "sensors", multiple=True, callback=_addresses, help="A key that its sensor has."
)
@office_options
@json_option
def add(
    database: Path,
    key_file: Path | None,
    name: str,
    household: int,
    withdrawal: str,
    injection: str,
    contact: str,
    supplier: str,
    signers: tuple[str, ...],
    sensors: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Take a person in, under a key of its own; the first one begins the database."""
    member = Member(name, household, withdrawal, injection, contact, supplier, signers, sensors)
    with open_office(database, key_file, create=True) as office:
        added = office.people.add(member, office.now_s)
        if as_json:
            say_document({"person": added, "household": household})
        else:
            say(f"{name} is kept as {added}. Keep {office.key_file} apart from every backup.")


@person.command("list", epilog=example("daisee person list --database office.db"))
@office_options
@json_option
def list_(database: Path, key_file: Path | None, *, as_json: bool) -> None:
    """List everybody who was not erased."""
    with open_office(database, key_file) as office:
        members = office.people.all()
    if as_json:
        say_document(
            {
                "persons": [
                    {
                        "person": random_name,
                        "household": member.household,
                        "name": member.name,
                        "withdrawal": member.withdrawal,
                        "injection": member.injection,
                        "supplier": member.supplier,
                    }
                    for random_name, member in members.items()
                ]
            }
        )
        return
    say_table(
        _COLUMNS,
        [
            (
                random_name,
                str(member.household),
                member.name,
                member.withdrawal or "-",
                member.injection or "-",
                member.supplier or "-",
            )
            for random_name, member in members.items()
        ],
    )


@person.command(epilog=example("daisee person export --database office.db 3 > anne.json"))
@click.argument("wanted", metavar="PERSON")
@office_options
@json_option
def export(database: Path, key_file: Path | None, wanted: str, *, as_json: bool) -> None:
    """Print all that is kept of a PERSON as one JSON document, for that person."""
    with open_office(database, key_file) as office:
        found, _ = office.people.find(wanted)
        say_paper(office.people.export(found, office.now_s), as_json=as_json)


@person.command(
    epilog=example(
        "daisee person erase --database office.db --curves curves.db --bills bills --network street"
        " 3"
    )
)
@click.argument("wanted", metavar="PERSON")
@click.option(
    "--curves",
    "curve_file",
    type=FILE,
    help="The official curves: what is of this person's points goes too.",
)
@click.option(
    "--bills",
    "folder",
    type=FILE,
    metavar="DIR",
    help="The folder of bills: the person's curves go, and close the months that they are in.",
)
@click.option(
    "--network", type=FILE, metavar="DIR", help="The network's folder: its list forgets the name."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@office_options
@json_option
def erase(
    database: Path,
    key_file: Path | None,
    wanted: str,
    curve_file: Path | None,
    folder: Path | None,
    network: Path | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase a PERSON: its key is destroyed, and with it all that was sealed under it.

    Backups do not bring it back: the master key changes too. What stands on chain stays, under a
    number that nothing leads to any more. Papers that left this database are not in its power.
    """
    with open_office(database, key_file) as office:
        found, member = office.people.find(wanted)
        if not yes:
            click.confirm(
                f"This destroys all that is kept of {member.name}, for good. Go on?", abort=True
            )
        rows, closed = 0, list[str]()
        points = {member.withdrawal, member.injection} - {""}
        if curve_file is not None:
            with CurveUpkeep.open(curve_file) as curves:
                rows = curves.forget(points)
        if folder is not None:
            closed = Archive(folder).take_out(points, office.now_s)
        if network is not None:
            _forget_name(network, member.household)
        records = office.erase(found)
    if as_json:
        erased = {"person": found, "records": records, "curve_rows": rows}
        say_document({**erased, "closed_months": closed})
    else:
        say(f"{found} is erased: {records} records, {rows} rows of curves, and the key to them.")
        if closed:
            say(f"Closed, as the person's curves are gone from them: {', '.join(closed)}.")
        left = [
            what
            for what, file in (
                ("the official curves (--curves)", curve_file),
                ("the folder of bills (--bills)", folder),
                ("the operator's list of names (--network)", network),
            )
            if file is None
        ]
        if left:
            say(f"Not looked at: {', '.join(left)}.")


def _forget_name(network: Path, household: int) -> None:
    # web3 takes longer to load than most commands take to run.
    from dataclasses import replace  # noqa: PLC0415

    from node.chain.member_book import MemberBook, book_held, load_book, save_book  # noqa: PLC0415
    from node.cli.member_options import BOOK_FILE  # noqa: PLC0415

    with book_held(network / BOOK_FILE) as path:
        entries = [
            replace(entry, name="") if entry.household == household else entry
            for entry in load_book(path).invited
        ]
        save_book(path, MemberBook(tuple(entries)))


@person.command(
    epilog=example("daisee person retention --database office.db --rules rules.toml --apply")
)
@click.option("--rules", "rules_file", type=FILE, help="Rules of your own, in TOML.")
@click.option("--curves", "curve_file", type=FILE, help="The official curves, under the same rule.")
@click.option(
    "--bills", "folder", type=FILE, metavar="DIR", help="The curves in the folder of bills too."
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
    timezone: str,
    *,
    is_applied: bool,
    as_json: bool,
) -> None:
    """Tell what has been kept long enough, and with --apply delete it or make it coarser."""
    rules = DEFAULT_RULES if rules_file is None else read_rules(rules_file)
    zone = zone_of(timezone)
    with open_office(database, key_file) as office:
        by_kind = holding(rules, office.now_s, zone)
        kinds = (kind for kind in by_kind if kind != CONSENT)
        records = [record for kind in kinds for record in office.people.vault.all_of(kind)]
        due = due_records(records, rules, office.now_s, zone)
        due += due_consents(office.people.consents(), rules, office.now_s, zone)
        days, months = 0, list[str]()
        if "curve" in by_kind:
            before_s = months_before(office.now_s, by_kind["curve"].months)
            if curve_file is not None:
                with CurveUpkeep.open(curve_file) as curves:
                    days = curves.coarsen(before_s) if is_applied else curves.days_before(before_s)
            if folder is not None:
                day, archive = datetime.fromtimestamp(before_s, zone).date(), Archive(folder)
                months = archive.kept_before(day)
                if is_applied:
                    months = archive.take_out_before(day, office.now_s)
        if is_applied:
            _apply(office, records, due, timezone)
    if as_json:
        document = _due_document(due, days, is_applied=is_applied)
        say_document({**document, "closed_months": months})
        return
    done = "done" if is_applied else "due; nothing was changed"
    for one in due:
        say(f"{one.kind} {one.number}, until {iso_utc(one.about_s)}: {one.then}")
    say(
        f"{len(due)} records, {days} days of official curves and the curves of {len(months)} billed"
        f" months are {done}."
    )


def _apply(
    office: Office, records: Sequence[SealedRecord], due: Sequence[Due], timezone: str
) -> None:
    known = {record.number: record for record in records}
    with office.storage.transaction():
        for one in due:
            if one.kind == CONSENT:
                office.storage.delete_consent(one.number)
            elif one.then is Action.DELETE:
                office.storage.delete_sealed(one.number)
            else:
                record = known[one.number]
                kind, document = coarser(record.document, one.then, zone_of(timezone))
                office.people.vault.replace(record, kind, document, office.now_s)
        office.storage.add_upkeep(office.now_s, "retention", len(due))
    office.storage.forget_log()


def _due_document(due: Sequence[Due], days: int, *, is_applied: bool) -> dict[str, object]:
    return {
        "applied": is_applied,
        "curve_days": days,
        "due": [
            {
                "number": one.number,
                "kind": one.kind,
                "about": iso_utc(one.about_s),
                "then": one.then.value,
            }
            for one in due
        ],
    }
