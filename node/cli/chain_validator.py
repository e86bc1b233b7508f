"""``daisee chain validator``: further validators, and who is voted in or out."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

import click

from node.chain.network.reach import reach_of
from node.chain.network.record import Network, load_network
from node.chain.network.status import network_status
from node.chain.network.votes import (
    Endpoints,
    cast_votes,
    current_validators,
    refuse_too_many,
    refuse_unsafe_removal,
    take_back_if_done,
    votes_needed,
)
from node.cli.chain_newcomer import forget, introduce, make
from node.cli.chain_options import ask_once, folder_argument, yes_option
from node.cli.output import example, json_option, say, say_document
from node.clock import SystemClock
from node.errors import ChainUnreachable, Refused

__all__ = ["validator"]

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")


@click.group()
def validator() -> None:
    """Make a further validator, vote somebody in or out, and forget who is gone."""


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
    Votes that are counted are taken back, also when this is said again. Clique may have 7.
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

    Refused when the chain would stop without it. Stop its machine once it is out, not before; then
    'daisee chain validator forget' takes it from everybody's peers.
    """
    _vote(folder, who, add=False, dry_run=dry_run, yes=yes, as_json=as_json)


for _command in (make, introduce, forget):
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
    if add:
        refuse_too_many(network, now)
    else:
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
        changed = asyncio.run(cast_votes(network, endpoints, voters, address, add=add))
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
    if now and (address in now) == add:
        await take_back_if_done(network, endpoints, address, add=add)
        said = "validates already" if add else "does not validate"
        raise Refused(f"{address} {said}", reason="no_change")
    if not voters:
        raise ChainUnreachable(
            "no validator can be asked from here",
            next_step="run it on a validator's machine; docs/operators.md forwards their sockets",
        )
    return now, voters
