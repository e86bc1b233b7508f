"""``daisee member suspend``, ``reinstate`` and ``revoke``: three things an operator may do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from node.cli.chain_options import ask_once, yes_option
from node.cli.member_options import Desk, member_document, operator_options, rpc_option
from node.cli.output import example, json_option, say, say_document

if TYPE_CHECKING:
    from node.chain.community import Community
    from node.chain.membership import Member
    from node.chain.rpc import Receipt, Sender

__all__ = ["reinstate", "revoke", "suspend"]

_F = TypeVar("_F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class _Change:
    """One of the three: its name, what it does in words, and what makes it pointless."""

    name: str
    effect: str
    done: str
    needless: Callable[[Member], bool]


def _is_suspended(member: Member) -> bool:
    return member.standing.word == "suspended"


_SUSPEND: Final = _Change(
    "suspend",
    "takes no more orders of it from the next block on; what it owns and is owed stays its own",
    "suspended",
    _is_suspended,
)
_REINSTATE: Final = _Change(
    "reinstate",
    "takes its orders again from the next block on",
    "reinstated",
    lambda member: not _is_suspended(member),
)
_REVOKE: Final = _Change(
    "revoke",
    "stops its signing key; only its owner can name another: 'daisee key rotate' there",
    "its key revoked",
    lambda member: not member.signer,
)


def _change_options(command: _F) -> _F:
    options = (
        click.argument("household", type=click.IntRange(min=1)),
        operator_options,
        rpc_option,
        click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing."),
        yes_option,
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(epilog=example("daisee member suspend 7 --network street"))
@_change_options
def suspend(
    *, household: int, folder: Path, rpc_url: str | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Take no more orders of a HOUSEHOLD; what it owns and is owed stays its own."""
    work = _change(_SUSPEND, household, folder, rpc_url, dry_run=dry_run, yes=yes, as_json=as_json)
    asyncio.run(work)


@click.command(epilog=example("daisee member reinstate 7 --network street"))
@_change_options
def reinstate(
    *, household: int, folder: Path, rpc_url: str | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Take a suspended HOUSEHOLD's orders again."""
    work = _change(
        _REINSTATE, household, folder, rpc_url, dry_run=dry_run, yes=yes, as_json=as_json
    )
    asyncio.run(work)


@click.command(epilog=example("daisee member revoke 7 --network street"))
@_change_options
def revoke(
    *, household: int, folder: Path, rpc_url: str | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Stop a HOUSEHOLD's signing key, as when its machine was stolen.

    Nobody but its owner can name the next key, with 'daisee key rotate'.
    """
    work = _change(_REVOKE, household, folder, rpc_url, dry_run=dry_run, yes=yes, as_json=as_json)
    asyncio.run(work)


async def _change(
    change: _Change,
    household: int,
    folder: Path,
    rpc_url: str | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from node.chain import membership  # noqa: PLC0415 - these load web3
    from node.chain.bootstrap import Role  # noqa: PLC0415
    from node.chain.member_book import load_book  # noqa: PLC0415

    changes: dict[str, Callable[[Sender, Community, int], Awaitable[Receipt]]] = {
        "suspend": membership.suspend,
        "reinstate": membership.reinstate,
        "revoke": membership.revoke_signer,
    }
    desk = Desk.open(folder)
    name = load_book(desk.book).name_of(household)
    who = f"household {household}" + (f" ({name})" if name else "")
    async with desk.at_work(rpc_url) as (rpc, operator):
        await membership.require_roles(rpc, desk.community, operator.address, (Role.OPERATOR,))
        found = await membership.require_known(rpc, desk.community, household)
        needless = change.needless(found)
        effect = f"{change.name.capitalize()} {who}: {change.effect}."
        if needless or dry_run:
            already = f"{who} needs no change: it is {found.standing.word}."
            click.echo(already if needless else effect, err=True)
        else:
            ask_once([effect], yes=yes)
            await changes[change.name](operator, desk.community, household)
            found = await membership.member(rpc, desk.community, household)
    changed = not (needless or dry_run)
    if as_json:
        say_document(
            {
                "schema": f"daisee.member.{change.name}/1",
                "changed": changed,
                "dry_run": dry_run,
                "member": member_document(found, name),
            }
        )
    elif changed:
        say(f"{who}: {change.done}")
