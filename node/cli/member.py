"""``daisee member``: invite households, admit them, and see who there is."""

from __future__ import annotations

import asyncio
import secrets
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node.cli.chain_options import ask_once, yes_option
from node.cli.member_change import reinstate, revoke, suspend
from node.cli.member_invite import check_places, drawn, say_invite
from node.cli.member_options import (
    Desk,
    member_document,
    operator_options,
    rpc_option,
    text_given,
)
from node.cli.output import Column, example, json_option, money_text, say, say_document, say_table
from node.clock import SystemClock
from node.errors import Refused
from node.units import UNITS_PER_CREDIT, duration_text, parse_duration_s

if TYPE_CHECKING:
    from node.chain.admitting import Admission, Terms
    from node.chain.join_requests import JoinRequest
    from node.chain.membership import Member

__all__ = ["member"]

WEI_PER_COIN: Final = 10**18
LIMIT_MAX_WH: Final = 2**24 - 1


@click.group(short_help="Invite households, admit them, and see who there is.")
def member() -> None:
    """Invite households, admit them, and see who there is."""


@member.command(epilog=example("daisee member invite --network street --name Anne --qr anne.png"))
@operator_options
@click.option(
    "--name", required=True, help="Whom it is for: in your own list only, never on chain."
)
@click.option(
    "--valid", default="3d", show_default=True, metavar="TIME", help="For how long: 12h, 3d."
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Also to a file."
)
@click.option(
    "--qr",
    metavar="FILE",
    help="Also as a QR code: FILE.png, FILE.svg, or - for this terminal.",
)
@json_option
def invite(
    *, folder: Path, name: str, valid: str, out: Path | None, qr: str | None, as_json: bool
) -> None:
    """Write an invite for one household, signed with the operator's key.

    It is good for one household and a few days. Hand it over as you would a door key; read the four
    words of the community out with it.
    """
    from node.chain.invites import LONGEST_S, make_invite  # noqa: PLC0415 - loads web3
    from node.chain.member_book import book_held, load_book, save_book  # noqa: PLC0415

    try:
        valid_s = parse_duration_s(valid)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--valid") from error
    if valid_s > LONGEST_S:
        raise click.BadParameter(f"at most {duration_text(LONGEST_S)}.", param_hint="--valid")
    if not name.strip() or not name.isprintable():
        raise click.BadParameter("say whom it is for.", param_hint="--name")
    check_places(out, qr)
    desk = Desk.open(folder)
    made, text = make_invite(
        desk.community, desk.key(), secrets.token_bytes, SystemClock().now_s(), valid_s
    )
    code = None if qr is None else drawn(text)
    with book_held(desk.book):
        save_book(desk.book, load_book(desk.book).with_invite(made, name.strip()))
    say_invite(made, text, name.strip(), out=out, code=code, qr=qr, as_json=as_json)


@member.command(
    epilog=example(
        "daisee member approve anne.txt --network street --import-limit-wh 2250 --credit 20",
        "daisee member approve --fingerprint 'salobi matudo rivabu tisoma' \\",
        "  --import-limit-wh 2250 --export-limit-wh 750",
    )
)
@click.argument("request", required=False)
@operator_options
@click.option(
    "--fingerprint",
    metavar="WORDS",
    help="The four words that the household reads out.",
)
@click.option(
    "--import-limit-wh",
    type=click.IntRange(0, LIMIT_MAX_WH),
    required=True,
    help="Most energy of one bid: subscribed power in W, times a slot in hours.",
)
@click.option(
    "--export-limit-wh",
    type=click.IntRange(0, LIMIT_MAX_WH),
    default=0,
    show_default=True,
    help="Most energy of one ask: inverter power in W, times a slot in hours.",
)
@click.option("--supplier", type=click.IntRange(0, 65_535), default=1, show_default=True)
@click.option("--credit", default="0", show_default=True, metavar="EUR", help="To trade with.")
@click.option(
    "--gas-wei", type=click.IntRange(0, 10**24), help="Gas money.  [default: 1 coin of no value]"
)
@rpc_option
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@yes_option
@json_option
def approve(
    *,
    request: str | None,
    folder: Path,
    fingerprint: str | None,
    import_limit_wh: int,
    export_limit_wh: int,
    supplier: int,
    credit: str,
    gas_wei: int | None,
    rpc_url: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Admit the household of a join REQUEST: a file, the text itself, or - to read it.

    Without REQUEST, the one with the words of --fingerprint is taken from those that came in over
    the network. The household trades from the next block on. An approval that was interrupted goes
    on where it stopped when it is said again.
    """
    from node.chain.admitting import Terms  # noqa: PLC0415 - these load web3
    from node.chain.membership import GAS_WEI  # noqa: PLC0415

    if request is None and fingerprint is None:
        raise click.UsageError("Give the request, or its words with --fingerprint.")
    if yes and fingerprint is None:
        raise click.UsageError(
            "With --yes nobody compares the words: give those that you heard with --fingerprint."
        )
    terms = Terms(
        import_limit_wh,
        export_limit_wh,
        supplier,
        _units(credit),
        GAS_WEI if gas_wei is None else gas_wei,
    )
    desk = Desk.open(folder)
    found = _request(desk, request, fingerprint)
    asyncio.run(_approve(desk, found, terms, rpc_url, dry_run=dry_run, yes=yes, as_json=as_json))


@member.command(name="list", epilog=example("daisee member list --network street"))
@operator_options
@rpc_option
@json_option
def list_(*, folder: Path, rpc_url: str | None, as_json: bool) -> None:
    """List the households: what the chain has of each, and the name in your own list.

    No key is needed.
    """
    from node.chain.member_book import load_book  # noqa: PLC0415 - loads web3

    desk = Desk.open(folder)
    book = load_book(desk.book)
    members = asyncio.run(_members(desk, rpc_url))
    now_s = SystemClock().now_s()
    waiting = [entry for entry in book.invited if not entry.owner and entry.expires_at_s > now_s]
    if as_json:
        say_document(
            {
                "schema": "daisee.member.list/1",
                "members": [member_document(one, book.name_of(one.number)) for one in members],
                "open_invites": [
                    {"name": entry.name, "expires_at_s": entry.expires_at_s} for entry in waiting
                ],
            }
        )
        return
    columns = [
        Column("household"),
        *(Column(heading, figures=False) for heading in ("name", "standing", "signer")),
        *(Column(heading) for heading in ("import Wh", "export Wh", "supplier", "EUR", "gas")),
    ]
    rows = [
        (
            *(str(one.number), book.name_of(one.number) or "-", one.standing.word),
            *(one.signer or "-", str(one.import_limit_wh), str(one.export_limit_wh)),
            *(str(one.supplier), money_text(one.balance_units)),
            f"{one.gas_wei / WEI_PER_COIN:.3f}",
        )
        for one in members
    ]
    say_table(columns, rows)
    for entry in waiting:
        left_s = max(entry.expires_at_s - now_s, 0)
        click.echo(f"invited: {entry.name}, for {left_s // 3600} h more", err=True)


def _request(desk: Desk, given: str | None, fingerprint: str | None) -> JoinRequest:
    from node.chain.fingerprint import same_words  # noqa: PLC0415 - these load web3
    from node.chain.join_requests import find_request, read_request  # noqa: PLC0415

    if given is None:
        assert fingerprint is not None
        return find_request(desk.requests, fingerprint)
    request = read_request(text_given(given, "DAISEE-JOIN1:"))
    if fingerprint is not None and not same_words(request.words, fingerprint):
        raise Refused(
            f"the request's words are {request.words!r}, and not {fingerprint!r}",
            reason="other_words",
            next_step="have the household read out its four words; do not approve other ones",
        )
    return request


async def _approve(
    desk: Desk,
    request: JoinRequest,
    terms: Terms,
    rpc_url: str | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from node.chain.admitting import admit_household, plan_admission  # noqa: PLC0415 - load web3
    from node.chain.bootstrap import Role  # noqa: PLC0415
    from node.chain.member_book import book_held, load_book, save_book  # noqa: PLC0415
    from node.chain.membership import require_roles  # noqa: PLC0415

    with book_held(desk.book):
        book, now_s = load_book(desk.book), SystemClock().now_s()
        entry = book.entry_for(request, now_s)
        async with desk.at_work(rpc_url) as (rpc, operator):
            roles = (Role.OPERATOR, *((Role.TREASURER,) if terms.credit_units else ()))
            await require_roles(rpc, desk.community, operator.address, roles)
            plan = await plan_admission(rpc, desk.community, request, terms, now_s)
            effects = _effects(plan, entry.name)
            if dry_run or plan.is_done:
                for line in effects:
                    click.echo(line, err=True)
                if as_json:
                    _say_approved(plan, None, entry.name, dry_run=dry_run)
                return
            ask_once(effects, yes=yes)
            # The invite is used from here on, whatever happens: only this owner can go on with it.
            save_book(desk.book, book.used_by(entry, request.owner, plan.number))
            found = await admit_household(rpc, operator, desk.community, plan)
            save_book(desk.book, book.used_by(entry, request.owner, found.number))
    if as_json:
        _say_approved(plan, found, entry.name, dry_run=False)
    else:
        say(f"{entry.name} is household {found.number}, and trades from the next block on.")


def _effects(plan: Admission, name: str) -> list[str]:
    request, terms = plan.request, plan.terms
    lines = [f"{name}: the four words are  {request.words}"]
    if plan.is_done:
        return [*lines, f"Household {plan.number} is admitted already: nothing to change."]
    if plan.number:
        lines.append(f"Goes on with household {plan.number}, whose admission was interrupted.")
    else:
        lines.append(
            f"Admits the owner {request.owner}: bids up to {terms.import_limit_wh} Wh, asks up to"
            f" {terms.export_limit_wh} Wh a slot, supplier {terms.supplier}."
        )
    if plan.credit_units:
        lines.append(f"Issues EUR {money_text(plan.credit_units)} of credit to it.")
    if plan.gas_wei:
        lines.append(
            f"Pays {plan.gas_wei / WEI_PER_COIN:.3f} of gas money to its node and its owner."
        )
    if plan.names_signer:
        lines.append(f"Names its signer {request.signer}, as its owner signed.")
    return [*lines, "Are these the words that the household reads out to you?"]


def _say_approved(plan: Admission, found: Member | None, name: str, *, dry_run: bool) -> None:
    document: dict[str, object] = {
        "schema": "daisee.member.approve/1",
        "words": plan.request.words,
        "dry_run": dry_run,
        "changed": found is not None,
        "household": plan.number if found is None else found.number,
        "credit_units": plan.credit_units,
        "gas_wei": plan.gas_wei,
    }
    if found is not None:
        document["member"] = member_document(found, name)
    say_document(document)


async def _members(desk: Desk, rpc_url: str | None) -> list[Member]:
    from node.chain.joining import community_rpc  # noqa: PLC0415 - loads web3
    from node.chain.membership import members  # noqa: PLC0415

    async with community_rpc(desk.community, rpc_url) as rpc:
        return await members(rpc, desk.community)


def _units(credit: str) -> int:
    """EUR as units, exactly."""
    try:
        units = Decimal(credit) * UNITS_PER_CREDIT
    except InvalidOperation as error:
        raise click.BadParameter(f"{credit!r} is no amount.", param_hint="--credit") from error
    if not units.is_finite() or units != int(units) or not 0 <= units < 2**96:
        raise click.BadParameter(f"{credit!r} is no amount of credit.", param_hint="--credit")
    return int(units)


for _command in (suspend, reinstate, revoke):
    member.add_command(_command)
