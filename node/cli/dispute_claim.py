"""What a household does in a dispute: sign a claim, and open its evidence."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from node.billing.claims import SALT_BYTES, Claim, Series, SignedClaim, Source, claim_document
from node.billing.curve_files import read_curve_table
from node.billing.openings import Opening, opening_document
from node.cli.office import say_paper
from node.cli.output import example, json_option
from node.clock import SystemClock
from node.errors import ConfigurationError, Refused
from node.market.orders import evidence_salt
from node.model import RegisterReading, Side
from node.slots import slot_end_s, slot_start_s
from node.store import NodeDatabase

if TYPE_CHECKING:
    from node.chain.claims import Papers
    from node.chain.keys import Key

__all__ = [
    "claim",
    "community_option",
    "key_of",
    "key_options",
    "opening",
    "papers_of",
    "series_of",
]

FILE: Final = click.Path(path_type=Path)
MOST_READINGS: Final = 100_000
"""How far back an opening looks: three years of quarter hours."""

_F = TypeVar("_F", bound=Callable[..., object])


def community_option(command: _F) -> _F:
    """The community whose book of records signatures are made for."""
    return click.option(
        "--community",
        type=FILE,
        required=True,
        envvar="DAISEE_COMMUNITY",
        metavar="FILE",
        help="The community's file.",
    )(command)


def key_options(command: _F) -> _F:
    """Whose key signs."""
    for option in (
        click.option("--password-file", type=FILE, required=True, help="Its password."),
        click.option("--keystore", type=FILE, required=True, help="The key that signs."),
    ):
        command = option(command)
    return command


def papers_of(community: Path) -> Papers:
    """What signs and checks signatures in a community. Raises ConfigurationError."""
    from node.chain.claims import Papers  # noqa: PLC0415 - loads web3
    from node.chain.community import load_community  # noqa: PLC0415

    agreed = load_community(community)
    return Papers(agreed.chain_id, agreed.contracts["RecordBook"])


def key_of(keystore: Path, password_file: Path) -> Key:
    """The key of a keystore; takes a second. Raises ConfigurationError."""
    from node.chain.keyfiles import open_key  # noqa: PLC0415 - loads web3
    from node.chain.network.keeping import KeyFiles  # noqa: PLC0415

    return open_key(KeyFiles(keystore, password_file))


def series_of(path: Path, household: int, side: Side) -> Series:
    """A series from a table of one point's curve: ``start,<anything>``, whole Wh, empty where
    nothing is said. Raises ConfigurationError."""
    table = read_curve_table(path)
    if len(table.points) != 1:
        raise ConfigurationError("a series is of one point: start,wh", file=path, line=1)
    (values,) = table.points.values()
    try:
        return Series(household, side, table.start_s, table.step_s, tuple(values))
    except ValueError as error:
        raise ConfigurationError(str(error), file=path) from error


@click.command(
    short_help="Sign a claim.",
    epilog=example(
        "daisee dispute claim --community community.toml --household 3 --side bid"
        " --values read.csv --keystore household.json --password-file password > claim.json"
    ),
)
@click.option("--household", type=click.IntRange(min=1), required=True, help="Its number on chain.")
@click.option("--side", type=click.Choice(["bid", "ask"]), required=True, help="Drawn, or fed in.")
@click.option("--values", type=FILE, required=True, help="What is right, as start,wh.")
@click.option(
    "--as",
    "source",
    type=click.Choice([source.value for source in Source]),
    default=Source.HOUSEHOLD.value,
    show_default=True,
    help="In which role.",
)
@click.option("--text", default="", help="What happened.")
@community_option
@key_options
@json_option
def claim(
    household: int,
    side: str,
    values: Path,
    source: str,
    text: str,
    community: Path,
    keystore: Path,
    password_file: Path,
    *,
    as_json: bool,
) -> None:
    """Sign a claim, and print it as the document that the organiser takes."""
    series = series_of(values, household, {one.word: one for one in Side}[side])
    try:
        made = Claim(
            Source(source), series, SystemClock().now_s(), secrets.token_bytes(SALT_BYTES), text
        )
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    key = key_of(keystore, password_file)
    signed = SignedClaim(made, papers_of(community).sign_claim(key, made.head()))
    say_paper(claim_document(signed), as_json=as_json)


@click.command(
    short_help="Open the evidence of a slot.",
    epilog=example(
        "daisee dispute opening --node node.db --slot 1989701 --slot-s 900 > opening.json"
    ),
)
@click.option("--node", "database", type=FILE, required=True, help="The household's database.")
@click.option("--slot", type=click.IntRange(min=0), required=True, help="Which slot.")
@click.option("--slot-s", type=click.IntRange(min=1), default=900, show_default=True)
@click.option(
    "--evidence-key", type=FILE, help="The secret beside it.  [default: evidence.key there]"
)
@json_option
def opening(
    database: Path, slot: int, slot_s: int, evidence_key: Path | None, *, as_json: bool
) -> None:
    """Print what opens the commitment of a slot's orders: its salt, and the readings at both ends.

    Other slots stay closed: each has a salt of its own.
    """
    from node.service.run import EVIDENCE_KEY_BYTES  # noqa: PLC0415 - loads the node
    from node.service.upkeep import EVIDENCE_KEY  # noqa: PLC0415

    path = evidence_key or database.with_name(EVIDENCE_KEY)
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the evidence key cannot be read ({error.strerror})", file=path
        ) from error
    if len(key) != EVIDENCE_KEY_BYTES:
        raise ConfigurationError(f"an evidence key of {len(key)} bytes", file=path)
    with NodeDatabase.open_read_only(database) as kept:
        readings = {reading.taken_at_s: reading for reading in kept.last_readings(MOST_READINGS)}
    ends = (slot_start_s(slot, slot_s), slot_end_s(slot, slot_s))
    before, after = (_at(readings, end_s, slot) for end_s in ends)
    shown = Opening(evidence_salt(key, slot), before, after)
    say_paper(opening_document(shown), as_json=as_json)


def _at(readings: dict[int, RegisterReading], instant_s: int, slot: int) -> RegisterReading:
    found = readings.get(instant_s)
    if found is None:
        raise Refused(
            f"the node has no reading at an end of slot {slot}",
            reason="no_reading",
            next_step="check the slot and its length; readings are kept for a time only",
        )
    return found
