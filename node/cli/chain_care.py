"""``daisee chain recover``, ``backup`` and ``restore``: when something is lost, or before it is."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Final

import click

from node.chain.network.backup import (
    back_up_network,
    export_blocks,
    import_blocks,
    restore_network,
)
from node.chain.network.reach import Reach, reach_of
from node.chain.network.record import load_network
from node.chain.network.recover import (
    Restart,
    free_if_stuck,
    restart_plan,
    restart_together,
    until_next_block,
)
from node.chain.network.status import network_status
from node.cli.chain_options import FOLDER, ask_once, folder_argument, yes_option
from node.cli.output import example, json_option, say, say_document
from node.clock import SystemClock, wall_seconds
from node.errors import ChainUnreachable, ConfigurationError

__all__ = ["backup", "recover", "restore"]

FILE: Final = click.Path(path_type=Path, dir_okay=False)
BLOCK_WITHIN_S: Final = 120.0


@click.command(epilog=example("daisee chain recover street"))
@folder_argument
@click.option("--if-stuck", is_flag=True, help="Only free sealers that wait for each other.")
@click.option("--dry-run", is_flag=True, help="Print the commands, and run none.")
@yes_option
@json_option
def recover(*, folder: Path, if_stuck: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Restart all validators together, after the chain has stood still.

    Bring the missing machines back first. Validators on other machines are restarted through ssh.
    Nothing is ever wiped, and no block that is final is given up.
    """
    network = load_network(folder)
    reach = reach_of(folder, network)
    plan = restart_plan(network, reach)
    if dry_run:
        _say_plan(plan, as_json=as_json)
        return
    if if_stuck:
        freed = asyncio.run(free_if_stuck(network, reach))
        _say_outcome(freed=freed, height=None, took_s=0.0, as_json=as_json)
        return
    effects = [f"Stops all validators of {network.name} and starts them together:", *plan.lines()]
    ask_once(effects, yes=yes)
    began_s = wall_seconds()
    height = asyncio.run(_recover(folder, plan))
    _say_outcome(freed=False, height=height, took_s=wall_seconds() - began_s, as_json=as_json)


@click.command(epilog=example("daisee chain backup street /media/usb/street-2026-11.tar.gz"))
@folder_argument
@click.argument("file", type=FILE)
@click.option("--with-blocks", is_flag=True, help="Also every block, from a geth of this machine.")
@json_option
def backup(*, folder: Path, file: Path, with_blocks: bool, as_json: bool) -> None:
    """Write keys, settings and community file of FOLDER into FILE.

    With the passwords in it, FILE is as good as the keys: keep it where nobody finds it.
    """
    network = load_network(folder)
    blocks = 0
    with tempfile.TemporaryDirectory(dir=file.absolute().parent) as work:
        exported = None
        if with_blocks:
            if network.engine != "geth":
                raise ConfigurationError("blocks are exported of geth only: 'besu blocks export'")
            exported = Path(work, "blocks.rlp")
            blocks = asyncio.run(export_blocks(_any_socket(reach_of(folder, network)), exported))
        digests = back_up_network(folder, file, exported)
    if as_json:
        say_document(
            {
                "schema": "daisee.chain.backup/1",
                "file": str(file),
                "files": dict(digests),
                "blocks": blocks,
            }
        )
        return
    with_what = f" and {blocks} blocks" if with_blocks else ""
    say(f"{file} holds {len(digests)} files{with_what}, and was read back")
    say("Whoever has it has the keys. Try it once a quarter: daisee chain restore FILE DIR")


@click.command(epilog=example("daisee chain restore street-2026-11.tar.gz street"))
@click.argument("file", type=FILE)
@click.argument("folder", type=FOLDER)
@json_option
def restore(*, file: Path, folder: Path, as_json: bool) -> None:
    """Unpack FILE into FOLDER, which must be empty or new; blocks go to every node in it."""
    network, blocks = restore_network(file, folder)
    if blocks is not None:
        asyncio.run(import_blocks(folder, network, blocks))
        blocks.unlink()
    if as_json:
        say_document(
            {
                "schema": "daisee.chain.restore/1",
                "folder": str(folder),
                "name": network.name,
                "chain_id": network.chain_id,
                "blocks": blocks is not None,
            }
        )
        return
    say(f"{network.name} is restored into {folder}; its nodes are not started")


async def _recover(folder: Path, plan: Restart) -> int:
    network = load_network(folder)
    reach = reach_of(folder, network)
    try:
        before = (await network_status(network, reach, folder, SystemClock())).height
    except ChainUnreachable:
        before = 0  # all are down: any block tells that the chain is back
    await restart_together(plan)
    return await until_next_block(reach, before, within_s=BLOCK_WITHIN_S)


def _any_socket(reach: Reach) -> Path | str:
    """A node that answers more than members may ask: best one that does not seal."""
    for name in sorted(reach.own, key=lambda name: not name.startswith("rpc")):
        return reach.own[name]
    raise ChainUnreachable("no node runs on this machine", next_step="start one")


def _say_plan(plan: Restart, *, as_json: bool) -> None:
    if as_json:
        say_document({"schema": "daisee.chain.recover/1", "commands": plan.lines()})
        return
    for line in plan.lines():
        say(line)


def _say_outcome(*, freed: bool, height: int | None, took_s: float, as_json: bool) -> None:
    if as_json:
        say_document(
            {
                "schema": "daisee.chain.recover/1",
                "freed": freed,
                "height": height,
                "took_ms": round(1000 * took_s),
            }
        )
    elif height is not None:
        say(f"the chain is back: block {height} after {took_s:.1f} s")
    else:
        say("the sealers waited for each other, and are freed" if freed else "nothing is stuck")
