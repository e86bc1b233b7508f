"""``daisee person``: whom an organiser keeps, what of them, how long, and how it is erased."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from node.billing.archive import Archive
from node.billing.own_copy import copy_of_bills, copy_of_curves
from node.billing.people import Member
from node.cli.office import ADDRESS, office_options, open_office, say_paper
from node.cli.output import (
    Column,
    example,
    json_option,
    say,
    say_document,
    say_table,
)
from node.cli.person_erase import erase
from node.cli.person_retention import retention
from node.store.curves import CurveDatabase

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


@person.command(
    epilog=example(
        "daisee person export --database office.db --curves curves.db --bills bills 3 > anne.json"
    )
)
@click.argument("wanted", metavar="PERSON")
@click.option("--curves", "curve_file", type=FILE, help="The official curves: those of the person.")
@click.option(
    "--bills", "folder", type=FILE, metavar="DIR", help="The folder of bills: those of the person."
)
@office_options
@json_option
def export(
    database: Path,
    key_file: Path | None,
    wanted: str,
    curve_file: Path | None,
    folder: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print what is kept of a PERSON as one JSON document, for that person.

    It holds the office's papers, and what is kept in the places that are named; it says which were
    not looked at.
    """
    with open_office(database, key_file) as office:
        found, member = office.people.find(wanted)
        document = office.people.export(found, office.now_s)
    points = {member.withdrawal, member.injection} - {""}
    curves = bills = None
    if curve_file is not None:
        with CurveDatabase.open_read_only(curve_file) as kept:
            curves = copy_of_curves(kept, points)
    if folder is not None:
        bills = copy_of_bills(Archive.existing(folder), points)
    places = {"curves": curves, "bills": bills}
    left = [name for name, place in places.items() if place is None]
    say_paper({**document, **places, "not_looked_at": left}, as_json=as_json)


person.add_command(erase)
person.add_command(retention)
