"""``daisee view``: what each role gets to see of a month, and no more."""

from __future__ import annotations

import csv
import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from node.billing.access import Role, View, Viewer
from node.billing.anonymity import LEAST_K
from node.billing.role_views import RoleView, role_view
from node.billing.told import TellingBook, tellings_from
from node.cli.office import Office, office_options, open_office
from node.cli.output import Column, energy_text, example, json_option, say, say_document, say_table
from node.cli.slot_view import ACCOUNTING
from node.cli.sources import source_options
from node.cli.supplier_bills import eur_text
from node.cli.supplier_options import FILE, csv_option, one_form
from node.cli.view_month import MonthFiles, community_month
from node.errors import ConfigurationError
from node.slots import iso_utc

__all__ = ["view"]

TOGETHER: Final = (
    "Production and consumption of a step are told together or not at all: with its own share, a"
    " member works out one from the other. Where producers are few, they may agree to publication."
)

_ROLES: Final = {
    "member": Role.MEMBER,
    "supplier": Role.SUPPLIER,
    "dso": Role.DISTRIBUTION_OPERATOR,
    "organiser": Role.ORGANISER,
    "financier": Role.FINANCIER,
    "public": Role.PUBLIC,
}
_COLUMNS: Final = (
    Column("person", figures=False),
    Column("name", figures=False),
    *(Column(f"{what} kWh") for what in ("drawn", "received", "complement", "fed in", "given")),
    Column("surplus kWh"),
    Column("bills EUR"),
    Column("disputes"),
)


@click.command(
    short_help="Show each role what is its to see of a month.",
    epilog=example(
        "daisee view member --as 3 --month 2025-10 --database office.db --operation street.toml"
        " --bills bills",
        "daisee view public --month 2025-10 --database office.db --operation street.toml"
        " --bills bills --csv",
        "daisee view supplier --as 7 --of 3 --view curve --month 2025-10 --database office.db"
        " --operation street.toml --bills bills --json",
    ),
)
@click.argument("role_name", metavar="ROLE", type=click.Choice(list(_ROLES)))
@click.option("--month", required=True, metavar="YYYY-MM", help="The month, in local time.")
@click.option(
    "--as", "who", metavar="WHO", help="Which member (as in daisee person list) or supplier (id)."
)
@click.option("--of", "of", metavar="PERSON", help="Only of this member.")
@click.option(
    "--view",
    "views",
    multiple=True,
    type=click.Choice([one.value for one in View]),
    help="Only this view; may be given again.  [default: all that may be seen]",
)
@click.option("--operation", "operation_file", type=FILE, required=True, help="Members and prices.")
@click.option("--bills", "archive", type=FILE, metavar="DIR", help="The folder of bills.")
@click.option("--key", "rule_file", type=FILE, help="Its key.  [default: pro rata of consumption]")
@click.option("--tariffs", "own", type=FILE, help="Tariff rows of your own, as TOML.")
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME=P,P,...",
    help="Sums of a group of members too, if they betray nobody; may be given again.",
)
@click.option(
    "--k",
    "least",
    default=5,
    show_default=True,
    type=click.IntRange(LEAST_K),
    help="Members a sum needs.",
)
@click.option(
    "--told",
    "told_file",
    type=FILE,
    help="Where sums that were told are kept.  [default: the office's name, with .told]",
)
@source_options
@office_options
@csv_option
@json_option
def view(
    role_name: str,
    month: str,
    who: str | None,
    of: str | None,
    views: tuple[str, ...],
    operation_file: Path,
    archive: Path | None,
    rule_file: Path | None,
    own: Path | None,
    groups: tuple[str, ...],
    least: int,
    told_file: Path | None,
    run_folder: Path | None,
    rpc: str | None,
    market: str | None,
    database: Path,
    key_file: Path | None,
    *,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show a ROLE what is its to see of a month: member, supplier, dso, organiser, financier or
    public. For the organiser, who hands it on.

    The table of docs/privacy.md decides. Sums over members are told if nobody can be worked out
    from them and all that was told before, to anybody; that is kept. Ends with 6 for what was asked
    for and may not be seen.
    """
    one_form(as_csv=as_csv, as_json=as_json)
    role = _ROLES[role_name]
    if (role in {Role.MEMBER, Role.SUPPLIER}) != (who is not None):
        raise click.UsageError("--as says which member or supplier looks; others need none.")
    if archive is None and run_folder is None and rpc is None:
        raise click.UsageError("Say of what: --bills DIR, a market (--run, --rpc), or both.")
    files = MonthFiles(
        operation_file, month, archive, rule_file, own, groups, (run_folder, rpc, market)
    )
    told_path = told_file or database.with_name(database.name + ".told")
    with open_office(database, key_file) as office, _told(told_path) as book:
        viewer = _viewer(office, role, who)
        person = None if of is None else office.people.find(of)[0]
        community = community_month(office, files)
        seen = role_view(
            viewer,
            community,
            book,
            least,
            office.now_s,
            person=person,
            views=[View(one) for one in views],
        )
    starts = [community.first_s + n * community.step_s for n in range(community.steps)]
    if as_json:
        say_document(_document(role, month, starts, community.step_s, seen))
    elif as_csv:
        _say_csv(starts, seen)
    else:
        _say(seen)


def _viewer(office: Office, role: Role, who: str | None) -> Viewer:
    if role is Role.MEMBER:
        return Viewer(role, office.people.find(who or "")[0])
    return Viewer(role, who or "")


@contextmanager
def _told(path: Path) -> Iterator[TellingBook]:
    """The book of what was told, held by this run alone; what is new in it is on disk before
    anything is shown. Raises ConfigurationError."""
    try:
        with os.fdopen(
            os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8"
        ) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            book = TellingBook(tellings_from(file))
            yield book
            if book.new:
                file.seek(0, os.SEEK_END)
                file.write("".join(f"{one.line()}\n" for one in book.new))
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise ConfigurationError(
            f"what was told cannot be kept ({error.strerror})", file=path
        ) from error


def _document(
    role: Role, month: str, starts: list[int], step_s: int, seen: RoleView
) -> dict[str, object]:
    return {
        "role": role.value,
        "month": month,
        "start": iso_utc(starts[0]) if starts else None,
        "step_s": step_s,
        "members": [{"person": person, **shown} for person, shown in seen.members.items()],
        "community": [
            {
                "group": one.name,
                "produced_wh": one.produced_wh,
                "consumed_wh": one.consumed_wh,
                "shared_wh": one.shared_wh,
            }
            for one in seen.figures
        ],
        "mix": [
            {
                "start": iso_utc(start_s),
                "produced_wh": step.produced_wh,
                "consumed_wh": step.consumed_wh,
                "shared_wh": step.shared_wh,
            }
            for start_s, step in zip(starts, seen.mix, strict=False)
        ],
    }


def _say_csv(starts: list[int], seen: RoleView) -> None:
    """``who,view,figure,start,value``: one figure a row."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("who", "view", "figure", "start", "value"))
    for person, shown in seen.members.items():
        for name, found in shown.items():
            for figure, start, value in _rows("", found, starts):
                writer.writerow((person, name, figure, start, value))
    for one in seen.figures:
        for figure, wh in (
            ("produced_wh", one.produced_wh),
            ("consumed_wh", one.consumed_wh),
            ("shared_wh", one.shared_wh),
        ):
            told = "" if wh is None else wh
            writer.writerow((one.name, View.COMMUNITY_FIGURES, figure, "", told))
    for start_s, step in zip(starts, seen.mix, strict=False):
        for figure, wh in (
            ("produced_wh", step.produced_wh),
            ("consumed_wh", step.consumed_wh),
            ("shared_wh", step.shared_wh),
        ):
            told = "" if wh is None else wh
            writer.writerow(("community", View.COMMUNAL_MIX, figure, iso_utc(start_s), told))


def _rows(name: str, found: object, starts: list[int]) -> Iterator[tuple[str, str, object]]:
    """Figure, start and value of all that a view holds: a list of figures is one by step."""
    if isinstance(found, Mapping):
        for key, value in found.items():
            yield from _rows(f"{name}.{key}" if name else str(key), value, starts)
    elif isinstance(found, list) and found and all(isinstance(one, int) for one in found):
        for start_s, value in zip(starts, found, strict=True):
            yield name, iso_utc(start_s), value
    elif isinstance(found, list):
        for number, value in enumerate(found, start=1):
            yield from _rows(f"{name}.{number}" if name else str(number), value, starts)
    else:
        yield name, "", "" if found is None else found


def _say(seen: RoleView) -> None:
    if seen.members:
        say_table(_COLUMNS, [_row(person, shown) for person, shown in seen.members.items()])
    for one in seen.figures:
        say(
            f"{one.name}: produced {energy_text(one.produced_wh)} kWh, consumed"
            f" {energy_text(one.consumed_wh)} kWh, shared {energy_text(one.shared_wh)} kWh"
        )
    if seen.mix:
        told = sum((step.produced_wh, step.consumed_wh) != (None, None) for step in seen.mix)
        say(f"communal mix: {told} of {len(seen.mix)} steps may be told; --csv or --json has them")
        if told < len(seen.mix):
            say(TOGETHER)
    if not (seen.members or seen.figures or seen.mix):
        say("Nothing of this month is this role's to see.")
    say("Where - stands, this role may not see it, or there is none.")
    say(ACCOUNTING)


def _row(person: str, shown: Mapping[str, object]) -> tuple[str, ...]:
    figures: dict[str, object] = {}
    for found in (View.IDENTITY, View.TOTALS, View.COMPLEMENT, View.PRODUCER_TOTALS):
        part = shown.get(found.value)
        if isinstance(part, Mapping):
            figures |= part
    bills, disputes = shown.get(View.BILL.value), shown.get(View.DISPUTE.value)
    owed = [
        int(one["total_cents"])
        for one in (bills if isinstance(bills, list) else [])
        if one["kind"] != "shadow"
    ]

    def wh(name: str) -> str:
        value = figures.get(name)
        return energy_text(value if isinstance(value, int) else None)

    return (
        person,
        str(figures.get("name", "-")),
        wh("drawn_wh"),
        wh("received_wh"),
        wh("complement_wh"),
        wh("fed_in_wh") if "fed_in_wh" in figures else wh("produced_wh"),
        wh("given_wh"),
        wh("surplus_wh"),
        ", ".join(map(eur_text, owed)) or "-",
        str(len(disputes)) if isinstance(disputes, list) else "-",
    )
