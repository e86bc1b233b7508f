"""``daisee person erase``: what is kept of a person, and the key to it, destroyed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from node.billing.archive import Archive
from node.billing.conformity import Finding
from node.billing.curve_store import CurveStore
from node.billing.inbox import deliveries, inbox_files, naming
from node.billing.people import Member
from node.cli.office import office_options, open_office
from node.cli.output import example, json_option, say, say_document
from node.errors import ConfigurationError, Refused
from node.store.curve_upkeep import CurveUpkeep
from node.store.curves import CurveDatabase

__all__ = ["erase"]

FILE: Final = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where somebody is looked for; None where nobody looks."""

    curves: Path | None
    bills: Path | None
    inbox: Path | None
    network: Path | None

    @property
    def left(self) -> list[str]:
        """Those that were not named."""
        named = (
            ("the official curves (--curves)", self.curves),
            ("the folder of bills (--bills)", self.bills),
            ("the operator's files (--inbox)", self.inbox),
            ("the operator's list of names (--network)", self.network),
        )
        return [what for what, place in named if place is None]


@dataclass(frozen=True, slots=True)
class _Gone:
    """What was taken out."""

    rows: int
    closed: Sequence[str]
    files: Sequence[str]
    names: int


@click.command(
    epilog=example(
        "daisee person erase --database office.db --curves curves.db --bills bills --inbox inbox"
        " --network street 3"
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
    "--inbox",
    type=FILE,
    metavar="DIR",
    help="The operator's files: those that name the person's points go, once imported (--curves).",
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
    inbox: Path | None,
    network: Path | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase a PERSON: its key is destroyed, and with it all that was sealed under it.

    Every place that is named is looked at before anything is touched: one that is not there, or is
    something else, ends it. Backups do not bring the person back: the master key changes too. What
    stands on chain stays, under a number that nothing leads to any more. Papers that left these
    places are not in its power.
    """
    places = _Places(curve_file, folder, inbox, network)
    with open_office(database, key_file) as office:
        found, member = office.people.find(wanted)
        points = {member.withdrawal, member.injection} - {""}
        _looked_at(places, points)
        if not yes:
            click.confirm(
                f"This destroys all that is kept of {member.name}, for good. Go on?", abort=True
            )
        with ExitStack() as stack:
            if folder is not None:
                stack.enter_context(Archive.existing(folder).held("daisee person erase"))
            files = _looked_at(places, points)  # again: until now another command might write
            gone = _take_out(places, member, points, files, office.now_s)
            # The key goes last: until then the person is found; who was interrupted begins again.
            records = office.erase(found)
    if as_json:
        erased = {"person": found, "records": records, "curve_rows": gone.rows}
        say_document(
            {
                **erased,
                "closed_months": list(gone.closed),
                "inbox_files": list(gone.files),
                "names": gone.names,
                "not_looked_at": places.left,
            }
        )
        return
    say(f"{found} is erased: {records} records, {gone.rows} rows of curves, and the key to them.")
    if gone.closed:
        say(f"Closed, as the person's curves are gone from them: {', '.join(gone.closed)}.")
    if gone.files:
        say(f"Removed from the inbox: {', '.join(gone.files)}.")
    if network is not None:
        say(f"Names taken off the operator's list: {gone.names}.")
    if places.left:
        say(f"Not looked at: {', '.join(places.left)}.")


def _looked_at(places: _Places, points: set[str]) -> list[Path]:
    """Check every place, and find the files of the inbox that name these points.

    Raises ConfigurationError for a place that is not what it is named as, and Refused
    (``not_imported``) for a file that holds what is kept nowhere else.
    """
    if places.bills is not None:
        Archive.existing(places.bills)
    if places.network is not None:
        _book(places.network)
    if places.curves is None:
        if places.inbox is not None:
            raise click.UsageError("Whether a file was imported, --curves says: give both.")
        return []
    with CurveDatabase.open_read_only(places.curves) as kept:
        if places.inbox is None:
            return []
        files = naming(inbox_files(places.inbox), points)
        store = CurveStore(kept)

        def findings_of(number: int) -> list[Finding]:
            return [finding for _, finding in store.findings(number - 1, number)]

        found = deliveries(files, kept.import_of, findings_of, points)
    waiting = [one.path.name for one in found if not one.is_imported]
    if waiting:
        raise Refused(
            f"{', '.join(waiting)} in the inbox would go with other people's curves: not imported,"
            " or not all rows of it",
            reason="not_imported",
            next_step="daisee supplier month, and see to what it asks; or take the person's rows"
            " out of it yourself",
        )
    return files


def _take_out(
    places: _Places, member: Member, points: set[str], files: Sequence[Path], now_s: int
) -> _Gone:
    """Take the person out of every place but the office."""
    rows, closed, names = 0, list[str](), 0
    with ExitStack() as stack:
        curves = None
        if places.curves is not None:
            curves = stack.enter_context(CurveUpkeep.open(places.curves))
        if places.bills is not None:
            # Months are closed before curves go: without them, a run would take them for corrected.
            closed = Archive.existing(places.bills).take_out(points, now_s)
        if curves is not None:
            rows = curves.forget(points)
    for path in files:
        try:
            path.unlink()
        except OSError as error:
            raise ConfigurationError(f"cannot be deleted ({error.strerror})", file=path) from error
    if places.network is not None:
        names = _forget_name(places.network, member.household)
    return _Gone(rows, closed, [path.name for path in files], names)


def _book(network: Path) -> Path:
    """The operator's list of names. Raises ConfigurationError if there is none, or another."""
    # web3 takes longer to load than most commands take to run.
    from node.chain.member_book import load_book  # noqa: PLC0415
    from node.cli.member_options import BOOK_FILE  # noqa: PLC0415

    path = network / BOOK_FILE
    if not path.is_file():
        raise ConfigurationError(
            "there is no list of members", file=path, next_step="give the network's folder"
        )
    load_book(path)
    return path


def _forget_name(network: Path, household: int) -> int:
    """Take a household's name off the list; how many entries had one."""
    from dataclasses import replace  # noqa: PLC0415

    from node.chain.member_book import MemberBook, book_held, load_book, save_book  # noqa: PLC0415

    with book_held(_book(network)) as path:
        before = load_book(path).invited
        entries = [
            replace(entry, name="") if entry.household == household else entry for entry in before
        ]
        save_book(path, MemberBook(tuple(entries)))
        return sum(old != new for old, new in zip(before, entries, strict=True))
