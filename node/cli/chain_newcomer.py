"""``daisee chain validator make``, ``introduce`` and ``forget``: machines that come and go while a
chain runs."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from node.chain.network.leaving import forget_node, without
from node.chain.network.newcomers import PEER_FILE, introduce_validator, make_validator
from node.chain.network.node_keys import Written
from node.chain.network.reach import reach_of
from node.chain.network.record import Peer, load_network
from node.chain.network.votes import refuse_while_it_seals
from node.cli.chain_options import ask_once, folder_argument, told_of_files, yes_option
from node.cli.output import Column, example, json_option, say, say_document, say_table

__all__ = ["forget", "introduce", "make"]

FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.command(
    epilog=example("daisee chain validator make /var/lib/daisee-chain 5 --host 10.77.0.5")
)
@folder_argument
@click.argument("number", type=int)
@click.option("--host", required=True, metavar="IP", help="This machine's address.")
@click.option("--light-keys", is_flag=True, help="A keystore that opens fast: for a trial only.")
@json_option
def make(*, folder: Path, number: int, host: str, light_keys: bool, as_json: bool) -> None:
    """Make the keys and settings of validator NUMBER, on the machine that will run it.

    FOLDER holds the network's network.toml and genesis.json, copied from the operator. The keys are
    drawn here, with a password of their own, and only this user may read them. Running it again
    changes nothing.
    """
    with told_of_files(folder):
        peer, written = make_validator(folder, number, host, secrets.token_bytes, light=light_keys)
    if as_json:
        say_document(_document("daisee.chain.validator.make/1", peer, written))
        return
    _say_files(written)
    say()
    say(f"{peer.name} is {peer.address}; it may not seal before the others voted for it")
    say(f"Give {folder / peer.folder / PEER_FILE} to the operator: nothing in it is secret")
    say(f"Back {folder / peer.folder} up yourself: nobody else has these keys")


@click.command(epilog=example("daisee chain validator introduce street peer.toml"))
@folder_argument
@click.argument("file", type=FILE)
@json_option
def introduce(*, folder: Path, file: Path, as_json: bool) -> None:
    """Take the validator that FILE describes into the peers of everybody in FOLDER.

    FILE is what 'daisee chain validator make' wrote on its machine. Nothing is voted yet.
    """
    with told_of_files(folder):
        peer, written = introduce_validator(folder, file)
    if as_json:
        say_document(_document("daisee.chain.validator.introduce/1", peer, written))
        return
    _say_files(written)
    say()
    say("Copy network.toml and each machine's config to it, and restart them one after the other")
    say(f"When {peer.name} is up to date: daisee chain validator add {folder} {peer.number}")


@click.command(epilog=example("daisee chain validator forget street 3"))
@folder_argument
@click.argument("who")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@yes_option
@json_option
def forget(*, folder: Path, who: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Take WHO, a validator's number or any node's name, from everybody's peers in FOLDER.

    For a machine that is gone, or was stolen. A validator must have been voted out before, which
    has to be final. The first block stays as it is, and WHO stays in network.toml as removed; its
    number is given to nobody else.
    """
    network = load_network(folder)
    peer = network.peer(int(who) if who.isdecimal() else who)
    left = without(network, peer)
    if peer.kind == "validator":
        own = reach_of(folder, network).own
        asyncio.run(refuse_while_it_seals(network, own, peer.address))
    effects = [f"Takes {peer.name} from the peers of {len(left.peers)} nodes of {network.name}."]
    if any(other.host == peer.host for other in left.peers):
        effects.append(f"Another node stands on {peer.host}: that address stays allowed for it.")
    if not dry_run:
        ask_once(effects, yes=yes)
    else:
        for line in effects:
            click.echo(line, err=True)
    with told_of_files(folder):
        written = [] if dry_run else forget_node(folder, peer)
    if as_json:
        say_document(_document("daisee.chain.validator.forget/1", peer, written))
        return
    if written:
        _say_files(written)
        say()
        say("Copy network.toml and each machine's config to it, restart them one after the other")


def _document(schema: str, peer: Peer, written: Sequence[Written]) -> dict[str, object]:
    return {
        "schema": schema,
        "name": peer.name,
        "address": peer.address,
        "enode": peer.enode,
        "files": [
            {"path": str(file.path), "state": file.state, "secret": file.secret} for file in written
        ],
    }


def _say_files(written: Sequence[Written]) -> None:
    columns = [Column(heading, figures=False) for heading in ("file", "state", "secret")]
    say_table(
        columns, [(str(file.path), file.state, "yes" if file.secret else "") for file in written]
    )
