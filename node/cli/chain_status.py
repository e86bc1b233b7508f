"""``daisee chain status``: how the network is, and what may still fail."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

import click

from node.chain.network.reach import reach_of
from node.chain.network.record import Network, load_network
from node.chain.network.status import NetworkStatus, NodeStatus, network_status
from node.cli.chain_options import folder_argument
from node.cli.output import Column, example, json_option, say, say_document, say_table
from node.clock import SystemClock

__all__ = ["status"]

PROBLEMS = 7


@click.command(epilog=example("daisee chain status street"))
@folder_argument
@json_option
def status(*, folder: Path, as_json: bool) -> None:
    """Show height, who seals, how much may still fail, peers and disks.

    Every alarm has a page of the same name in docs/operators.md; with one, the exit code is 7.
    """
    network = load_network(folder)
    found = asyncio.run(network_status(network, reach_of(folder, network), folder, SystemClock()))
    if as_json:
        say_document(_document(network, found))
    else:
        _say(network, found)
    if found.alarms:
        raise click.exceptions.Exit(PROBLEMS)


def _document(network: Network, found: NetworkStatus) -> dict[str, object]:
    return asdict(found) | {
        "schema": "daisee.chain.status/1",
        "name": network.name,
        "engine": network.engine,
        "chain_id": network.chain_id,
        "period_s": network.period_s,
        "finality_depth": network.finality_depth,
        "sealing": found.sealing,
    }


def _say(network: Network, found: NetworkStatus) -> None:
    say(f"{network.name}: chain {network.chain_id} on {network.engine}")
    say(f"head     block {found.height}, {found.head_age_s} s old; one every {network.period_s} s")
    if network.finality_depth:
        say(f"final    blocks up to {max(found.height - network.finality_depth, 0)}")
    total = len(found.validators)
    say(f"quorum   {found.sealing} of {total} validators seal, {found.needed} are needed")
    say(f"         {found.margin_words}")
    columns = [Column("validator", figures=False), Column("last block"), Column("seals")]
    say_table(
        columns,
        [
            (
                validator.name if validator.name != "unknown" else validator.address,
                "-" if validator.last_block is None else str(validator.last_block),
                "yes" if validator.seals else "no",
            )
            for validator in found.validators
        ],
    )
    say()
    say_table(
        [
            Column("node", figures=False),
            Column("block"),
            Column("peers"),
            Column("used MB"),
            Column("free MB"),
        ],
        [_row(node) for node in found.nodes],
    )
    for alarm in found.alarms:
        say(f"ALARM {alarm.name}: {alarm.of}: {alarm.message}")


def _row(node: NodeStatus) -> tuple[str, ...]:
    height = "elsewhere" if not node.asked else "away" if node.height is None else str(node.height)
    return (
        node.name,
        height,
        "-" if node.peers is None else str(node.peers),
        "-" if node.used_bytes is None else str(node.used_bytes // 10**6),
        "-" if node.free_bytes is None else str(node.free_bytes // 10**6),
    )
