"""``daisee dispute``: from a signed claim to a ruling, and to what it changes of the bills."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click

from node.billing.claims import Claim, Series, canonical, claim_from
from node.billing.dispute_documents import dispute_document
from node.billing.disputes import (
    Deadlines,
    Dispute,
    Evidence,
    EvidenceKind,
    State,
    give_evidence,
    open_dispute,
)
from node.billing.openings import OpeningVerdict, check_opening, opening_document, opening_from
from node.cli.dispute_claim import claim, community_option, opening, papers_of
from node.cli.dispute_ruling import decide, rule
from node.cli.dispute_settle import settle
from node.cli.office import ADDRESS, Office, office_options, open_office, read_document
from node.cli.output import Column, example, json_option, say, say_document, say_table
from node.cli.sources import open_past, source_options
from node.errors import ConfigurationError, Refused
from node.model import OrderAccepted
from node.slots import iso_utc, slot_at, slot_end_s, slot_start_s

__all__ = ["dispute"]

FILE: Final = click.Path(path_type=Path)
_ROLES: Final = ("distribution_operator", "supplier")
_COLUMNS: Final = tuple(
    Column(heading, figures=heading in {"household", "steps"})
    for heading in ("dispute", "household", "side", "from", "steps", "state", "next")
)
_F = TypeVar("_F", bound=Callable[..., object])


@click.group(
    short_help="Claim, prove, rule and settle what was measured wrongly.",
    epilog=example("daisee dispute list --database office.db"),
)
def dispute() -> None:
    """Claim, prove, rule and settle what was measured wrongly.

    A household signs a claim (claim) and opens its evidence (opening), the distribution operator
    signs a ruling (decide), each on its own machine. The organiser takes them (open, evidence,
    rule) and settles (settle).
    """


def _deadline_options(command: _F) -> _F:
    for option in (
        click.option("--supplier-days", default=10, show_default=True, type=click.IntRange(1)),
        click.option("--operator-days", default=21, show_default=True, type=click.IntRange(2)),
        click.option("--depth-months", default=14, show_default=True, type=click.IntRange(1)),
    ):
        command = option(command)
    return command


@dispute.command(
    "open",
    epilog=example(
        "daisee dispute open --database office.db --community community.toml claim.json"
    ),
)
@click.argument("claim_file", metavar="CLAIM", type=FILE)
@community_option
@_deadline_options
@office_options
@json_option
def open_(
    database: Path,
    key_file: Path | None,
    claim_file: Path,
    community: Path,
    supplier_days: int,
    operator_days: int,
    depth_months: int,
    *,
    as_json: bool,
) -> None:
    """Open a dispute with a signed CLAIM.

    Refused are a claim that nobody signed who may claim for that household, one that is in the book
    already, and one about the future. What is older than the depth is informational.
    """
    try:
        deadlines = Deadlines(supplier_days, operator_days, depth_months)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    signed = claim_from(read_document(claim_file))
    with open_office(database, key_file) as office:
        person, authorised = _claimants(office, signed.claim)
        made = open_dispute(
            signed,
            papers_of(community),
            authorised,
            office.disputes.numbers(),
            deadlines,
            office.now_s,
        )
        with office.storage.transaction():
            office.disputes.keep(person, made, office.now_s)
    _say(made, as_json=as_json)


def _claimants(office: Office, made: Claim) -> tuple[str, set[str]]:
    """Who is concerned, and the addresses that may claim for it in the claim's role."""
    person, member = office.people.find(str(made.series.household))
    suppliers = office.storage.authorities(_supplier_role(member.supplier), office.now_s)
    return person, office.people.claimants(member, made.source, suppliers)


def _supplier_role(supplier: str) -> str:
    return f"supplier:{supplier}"


@dispute.command(
    epilog=example(
        "daisee dispute evidence --database office.db 3fa91c --opening opening.json"
        " --run out/october",
        "daisee dispute evidence --database office.db 3fa91c --answer letter.pdf --by supplier",
    )
)
@click.argument("wanted", metavar="DISPUTE")
@click.option("--opening", "opening_file", type=FILE, help="An opened commitment.")
@click.option("--answer", type=FILE, help="The answer of who is named with --by.")
@click.option("--document", type=FILE, help="Any other document.")
@click.option(
    "--by",
    "given_by",
    type=click.Choice(["household", "sensor", "supplier", "distribution_operator"]),
    default="household",
    show_default=True,
)
@source_options
@office_options
@json_option
def evidence(
    database: Path,
    key_file: Path | None,
    wanted: str,
    opening_file: Path | None,
    answer: Path | None,
    document: Path | None,
    given_by: str,
    run_folder: Path | None,
    rpc: str | None,
    market: str | None,
    *,
    as_json: bool,
) -> None:
    """Add a piece of evidence to a DISPUTE.

    An opening is held to the commitment by which the chain accepted the order of its slot: the
    verdict is kept with it. Ends with 6 if the slot is not in dispute, or if the dispute takes no
    more evidence.
    """
    given = [path for path in (opening_file, answer, document) if path is not None]
    if len(given) != 1:
        raise click.UsageError("Give one of --opening, --answer and --document.")
    with open_office(database, key_file) as office:
        person, found = office.disputes.find(wanted, office.now_s)
        if opening_file is not None:
            kind = EvidenceKind.OPENING
            kept, verdict = _opening(found, opening_file, run_folder, rpc, market)
        else:
            kind = EvidenceKind.DOCUMENT if answer is None else EvidenceKind.ANSWER
            kept, verdict = _paper(given[0]), ""
        digest = hashlib.sha256(canonical(kept)).digest()
        piece = Evidence(kind, given_by, office.now_s, digest, verdict)
        made = give_evidence(found, piece)
        with office.storage.transaction():
            office.disputes.keep(person, made, office.now_s)
            if len(made.evidence) > len(found.evidence):
                office.disputes.keep_evidence(person, made, kept, office.now_s)
    _say(made, as_json=as_json)
    if verdict and not OpeningVerdict(verdict).is_sound and not as_json:
        say(f"The opening does not back the order: {verdict}.")


def _opening(
    found: Dispute, path: Path, run_folder: Path | None, rpc: str | None, market: str | None
) -> tuple[dict[str, object], str]:
    """An opening and what it is worth against the chain."""
    shown = opening_from(read_document(path))
    series = found.signed.claim.series
    with open_past(run_folder, rpc, market) as past:
        slot = slot_at(shown.before.taken_at_s, past.slot_s)
        if not _is_disputed(slot, past.slot_s, series):
            raise Refused(
                f"slot {slot} is from {iso_utc(slot_start_s(slot, past.slot_s))}; in dispute is"
                f" {iso_utc(series.from_s)} to {iso_utc(series.to_s)}",
                reason="other_slot",
                next_step="open a slot of the claim: daisee dispute opening --slot",
            )
        orders = past.source.events(slot=slot, household=series.household, kinds=(OrderAccepted,))
        order = next(
            (
                event
                for event in orders
                if isinstance(event, OrderAccepted) and event.side is series.side
            ),
            None,
        )
        if order is None:
            raise Refused(
                f"household {series.household} has no {series.side.word} in slot {slot}",
                reason="no_order",
                next_step="without an order there is no commitment to open",
            )
        verdict = check_opening(shown, order, past.slot_s)
    return {"slot": slot, "opening": opening_document(shown)}, verdict.value


def _is_disputed(slot: int, slot_s: int, series: Series) -> bool:
    return slot_start_s(slot, slot_s) < series.to_s and slot_end_s(slot, slot_s) > series.from_s


_MAX_PAPER_BYTES: Final = 2**23


def _paper(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_PAPER_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})", file=path) from error
    if len(content) > _MAX_PAPER_BYTES:
        raise ConfigurationError(f"is larger than {_MAX_PAPER_BYTES} bytes", file=path)
    return {"file": path.name, "content": content.hex()}


@dispute.command("list", epilog=example("daisee dispute list --database office.db --open"))
@click.option("--open", "is_open", is_flag=True, help="Only those that are not settled.")
@office_options
@json_option
def list_(database: Path, key_file: Path | None, *, is_open: bool, as_json: bool) -> None:
    """List disputes, and what each waits for. Those of erased people are gone."""
    with open_office(database, key_file) as office:
        found = [
            one
            for _, one in office.disputes.all(office.now_s)
            if not (is_open and one.state is State.SETTLED)
        ]
    if as_json:
        say_document({"disputes": [dispute_document(one) for one in found]})
        return
    say_table(_COLUMNS, [_row(one) for one in found])


def _row(one: Dispute) -> tuple[str, ...]:
    series = one.signed.claim.series
    return (
        one.number[:12],
        str(series.household),
        series.side.word,
        iso_utc(series.from_s),
        str(len(series.values_wh)),
        one.state.value,
        _next(one),
    )


def _next(one: Dispute) -> str:
    """What a dispute waits for, in words."""
    match one.state:
        case State.OPEN:
            return f"evidence, or the supplier's answer by {iso_utc(one.answer_by_s)}"
        case State.EVIDENCE:
            return f"the operator's ruling by {iso_utc(one.rule_by_s)}"
        case State.RULED | State.EXPIRED:
            return "settling"
        case State.SETTLED:
            return "contested, nobody ruled" if one.is_contested else "-"


@dispute.command(epilog=example("daisee dispute show --database office.db 3fa91c"))
@click.argument("wanted", metavar="DISPUTE")
@office_options
@json_option
def show(database: Path, key_file: Path | None, wanted: str, *, as_json: bool) -> None:
    """Show all of a DISPUTE: its claim, evidence, deadlines, ruling."""
    with open_office(database, key_file) as office:
        _say(office.disputes.find(wanted, office.now_s)[1], as_json=as_json)


@dispute.command(
    epilog=example(
        "daisee dispute trust --database office.db distribution_operator"
        " 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    )
)
@click.argument("role", type=click.Choice(_ROLES))
@click.argument("address")
@click.option("--supplier", "supplier_id", metavar="ID", help="Of a supplier: which.")
@click.option("--end", "is_end", is_flag=True, help="Trust it no longer, from now on.")
@office_options
@json_option
def trust(
    database: Path,
    key_file: Path | None,
    role: str,
    address: str,
    supplier_id: str | None,
    *,
    is_end: bool,
    as_json: bool,
) -> None:
    """Say that an ADDRESS signs as distribution operator, or as a supplier."""
    if not ADDRESS.fullmatch(address):
        raise click.BadParameter(f"{address!r} is no address.", param_hint="ADDRESS")
    if (role == "supplier") != (supplier_id is not None):
        raise click.UsageError("--supplier ID goes with the role supplier.")
    name = role if supplier_id is None else _supplier_role(supplier_id)
    with open_office(database, key_file, create=True) as office:
        if is_end:
            office.storage.end_authority(name, address.lower(), office.now_s)
        else:
            office.storage.add_authority(name, address.lower(), office.now_s)
    if as_json:
        say_document({"role": name, "address": address, "trusted": not is_end})
    else:
        say(f"{address} {'no longer ' if is_end else ''}signs as {name}.")


def _say(one: Dispute, *, as_json: bool) -> None:
    if as_json:
        say_document(dispute_document(one))
        return
    series = one.signed.claim.series
    say(f"Dispute {one.number}: {one.state}")
    say(
        f"household {series.household}, {series.side.word}, {len(series.values_wh)} steps from"
        f" {iso_utc(series.from_s)}; claimed by the {one.signed.claim.source}"
    )
    if one.is_informational:
        say("Older than any bill that can still be changed: informational.")
    for piece in one.evidence:
        verdict = f": {piece.verdict}" if piece.verdict else ""
        say(f"  {iso_utc(piece.given_s)} {piece.kind} by {piece.given_by}{verdict}")
    if one.ruling is not None:
        ruling = one.ruling.ruling
        say(f"ruled {iso_utc(ruling.made_at_s)}: {ruling.outcome}, under rules {ruling.rules}")
        say(f"digest of the ruling: {ruling.digest().hex()}")
    say(f"Waits for: {_next(one)}")


for _command in (claim, decide, opening, rule, settle):
    dispute.add_command(_command)
