"""``daisee chain recover``, ``backup`` and ``restore``: when something is lost, or before it is."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
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
from node.chain.network.record import Network, load_network
from node.chain.network.recover import (
    Restart,
    free_if_stuck,
    restart_plan,
    restart_together,
    until_newer_block,
)
from node.chain.network.status import network_status
from node.cli.chain_options import FOLDER, ask_once, folder_argument, told_of_files, yes_option
from node.cli.output import example, json_option, say, say_document
from node.clock import SystemClock, wall_seconds
from node.errors import ChainUnreachable, ConfigurationError, Refused

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
    Nothing is ever wiped, and no block that is final is given up. Ends with the first block that
    was made after the restart.
    """
    network = load_network(folder)
    reach = reach_of(folder, network)
    plan = restart_plan(folder.absolute(), network, reach)
    if dry_run:
        _say_plan(plan, as_json=as_json)
        return
    if if_stuck:
        freed = asyncio.run(free_if_stuck(network, reach))
        _say_outcome(_Recovered(freed=freed), as_json=as_json)
        return
    stood = asyncio.run(_stands(folder, network, reach))
    effects = [f"Stops all validators of {network.name} and starts them together:", *plan.lines()]
    if not stood:
        effects.append("The chain makes blocks, and does not need this; it pauses for it.")
    ask_once(effects, yes=yes)
    began_s = wall_seconds()
    height = asyncio.run(_recover(reach, plan))
    found = _Recovered(stood=stood, height=height, took_s=wall_seconds() - began_s)
    _say_outcome(found, as_json=as_json)


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
    with (
        told_of_files(file),
        tempfile.TemporaryDirectory(dir=file.absolute().parent) as work,
    ):
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
    with told_of_files(folder):
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


@dataclass(frozen=True, slots=True)
class _Recovered:
    """What came of it. ``stood`` is whether the chain made no blocks before, if that was asked."""

    freed: bool = False
    stood: bool | None = None
    height: int | None = None
    took_s: float = 0.0


async def _stands(folder: Path, network: Network, reach: Reach) -> bool:
    """Whether the chain makes no blocks, as its alarm says; also when nobody answers."""
    try:
        return (await network_status(network, reach, folder, SystemClock())).stopped
    except (ChainUnreachable, Refused):
        return True


async def _recover(reach: Reach, plan: Restart) -> int:
    await restart_together(plan)
    return await until_newer_block(reach, SystemClock().now_s(), within_s=BLOCK_WITHIN_S)


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


def _say_outcome(found: _Recovered, *, as_json: bool) -> None:
    if as_json:
        say_document(
            {
                "schema": "daisee.chain.recover/1",
                "freed": found.freed,
                "height": found.height,
                "stood": found.stood,
                "took_ms": round(1000 * found.took_s),
            }
        )
    elif found.height is None:
        say(
            "the sealers waited for each other, and are freed"
            if found.freed
            else "nothing is stuck"
        )
    else:
        what = "is back" if found.stood else "made blocks before, and was restarted"
        say(f"the chain {what}: block {found.height} after {found.took_s:.1f} s")
