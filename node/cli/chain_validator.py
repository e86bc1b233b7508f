"""``daisee chain validator``: further validators, and who is voted in or out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from node.chain.network.reach import reach_of
from node.chain.network.record import Network, load_network
from node.chain.network.status import network_status
from node.chain.network.votes import (
    current_validators,
    propose,
    refuse_unsafe_removal,
    votes_needed,
)
from node.cli.chain_newcomer import introduce, make
from node.cli.chain_options import ask_once, folder_argument, yes_option
from node.cli.output import example, json_option, say, say_document
from node.clock import SystemClock, wall_seconds
from node.errors import ChainUnreachable, Refused

__all__ = ["validator"]

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
COUNTED_WITHIN_PERIODS: Final = 20
COUNTED_WITHIN_S: Final = 20.0
PAUSE_S: Final = 0.5

Endpoints = Mapping[str, Path | str]


@click.group()
def validator() -> None:
    """Make a further validator, and vote somebody in or out."""


@validator.command(epilog=example("daisee chain validator add street 0x5c…"))
@folder_argument
@click.argument("who")
@click.option("--dry-run", is_flag=True, help="Say what would be voted, and vote nothing.")
@yes_option
@json_option
def add(*, folder: Path, who: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Vote for WHO, an address or a validator's number.

    Each validator that can be asked from here votes; more than half of all must. Start the new
    machine before, and let it catch up: one that is voted in and away makes the chain weaker.
    """
    _vote(folder, who, add=True, dry_run=dry_run, yes=yes, as_json=as_json)


@validator.command(epilog=example("daisee chain validator remove street 3"))
@folder_argument
@click.argument("who")
@click.option("--dry-run", is_flag=True, help="Say what would be voted, and vote nothing.")
@yes_option
@json_option
def remove(*, folder: Path, who: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Vote WHO, an address or a validator's number, out.

    Refused when the chain would stop without it. Stop its machine once it is out, not before.
    """
    _vote(folder, who, add=False, dry_run=dry_run, yes=yes, as_json=as_json)


for _command in (make, introduce):
    validator.add_command(_command)


def _vote(folder: Path, who: str, *, add: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    network = load_network(folder)
    address = _address(network, who)
    endpoints = {
        name: place
        for name, place in reach_of(folder, network).own.items()
        if name in {peer.name for peer in network.validators}
    }
    now, voters = asyncio.run(_who_votes(network, endpoints, address, add=add))
    if not add:
        found = asyncio.run(
            network_status(network, reach_of(folder, network), folder, SystemClock())
        )
        sealing = [one.address for one in found.validators if one.seals]
        refuse_unsafe_removal(network, address, now, sealing)
    needed = votes_needed(len(now))
    verb = "into" if add else "out of"
    effects = [
        f"Votes {address} {verb} the {len(now)} validators of {network.name}.",
        f"{len(voters)} vote from here ({', '.join(voters)}); {needed} votes are needed.",
    ]
    if dry_run:
        for line in effects:
            click.echo(line, err=True)
        changed = False
    else:
        ask_once(effects, yes=yes)
        changed = asyncio.run(_cast(network, endpoints, voters, address, add=add, needed=needed))
    if as_json:
        say_document(
            {
                "schema": "daisee.chain.vote/1",
                "address": address,
                "add": add,
                "votes": 0 if dry_run else len(voters),
                "votes_needed": needed,
                "done": changed,
            }
        )
    elif changed:
        say(f"{address} is {'now a validator' if add else 'no validator any more'}")
    elif not dry_run:
        missing = max(needed - len(voters), 0)
        say(f"voted; {missing} more votes are needed, from other operators" if missing else "voted")


def _address(network: Network, who: str) -> str:
    if _ADDRESS.fullmatch(who):
        return who.lower()
    if who.isdecimal():
        return network.peer(int(who)).address
    return network.peer(who).address


async def _who_votes(
    network: Network, endpoints: Endpoints, address: str, *, add: bool
) -> tuple[list[str], list[str]]:
    """Who validates now, and which of them can be asked from here. Raises Refused when the vote has
    no point, ChainUnreachable when nobody can vote."""
    now: list[str] = []
    voters = []
    for name, endpoint in endpoints.items():
        try:
            now = await current_validators(network, endpoint)
        except (ChainUnreachable, Refused):
            continue
        if network.peer(name).address in now:
            voters.append(name)
    if not voters:
        raise ChainUnreachable(
            "no validator can be asked from here",
            next_step="run it on a validator's machine; docs/operators.md forwards their sockets",
        )
    if (address in now) == add:
        said = "validates already" if add else "does not validate"
        raise Refused(f"{address} {said}", reason="no_change")
    return now, voters


async def _cast(
    network: Network,
    endpoints: Endpoints,
    voters: list[str],
    address: str,
    *,
    add: bool,
    needed: int,
) -> bool:
    """Vote, and where the votes suffice wait until they are counted."""
    for name in voters:
        await propose(network, endpoints[name], address, add=add)
    if len(voters) < needed:
        return False
    deadline_s = wall_seconds() + max(COUNTED_WITHIN_S, COUNTED_WITHIN_PERIODS * network.period_s)
    while wall_seconds() < deadline_s:
        if (address in await current_validators(network, endpoints[voters[0]])) == add:
            return True
        await asyncio.sleep(PAUSE_S)
    return False
