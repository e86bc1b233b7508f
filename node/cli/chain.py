"""``daisee chain``: found a community's chain, and look after it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import click

from node.chain.network.layout import LOOPBACK, Plan, init_network, planned_files
from node.chain.network.node_keys import Written
from node.chain.network.record import FILE, Network, load_network
from node.cli.chain_care import backup, recover, restore
from node.cli.chain_deploy import deploy
from node.cli.chain_options import FOLDER, told_of_files
from node.cli.chain_status import status
from node.cli.chain_up import up
from node.cli.chain_validator import validator
from node.cli.output import Column, example, json_option, say, say_document, say_table

__all__ = ["chain"]

FIRST_CHAIN_ID: Final = 2**20
"""Above most numbers that public chains have taken: signatures must not count on two chains."""


@click.group(short_help="Found a community's chain, and look after it.")
def chain() -> None:
    """Found a community's chain, and look after it."""


@chain.command(
    epilog=example(
        "daisee chain init --engine besu --out street --name 'Rue des Lilas' \\",
        "  --host 10.77.0.1 --host 10.77.0.2 --host 10.77.0.3 --host 10.77.0.4",
    )
)
@click.option("--out", type=FOLDER, required=True, metavar="DIR", help="Where it is written.")
@click.option(
    "--engine",
    type=click.Choice(["geth", "besu"]),
    required=True,
    help="besu: QBFT, maintained, final at once. geth: Clique, light, no longer maintained.",
)
@click.option("--validators", default=4, show_default=True, help="4 or 7; 5 buys nothing.")
@click.option("--rpc-nodes", default=2, show_default=True, help="Nodes that members ask.")
@click.option("--name", default="", help="The community's name.")
@click.option("--chain-id", type=int, help="The chain's number.  [default: drawn]")
@click.option(
    "--period", "period_s", default=5, show_default=True, metavar="S", help="Between two blocks."
)
@click.option(
    "--host", "hosts", multiple=True, metavar="IP", help="A validator's machine; once for each."
)
@click.option("--light-keys", is_flag=True, help="Keystores that open fast: for a trial only.")
@click.option("--rewrite", is_flag=True, help="Write anew what follows from network.toml.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@json_option
def init(
    *,
    out: Path,
    engine: str,
    validators: int,
    rpc_nodes: int,
    name: str,
    chain_id: int | None,
    period_s: int,
    hosts: tuple[str, ...],
    light_keys: bool,
    rewrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write a chain's first block, keys, peers, systemd units and a compose file.

    Running it again completes what is missing and changes nothing that is there; with --rewrite
    everything but keys and the first block follows a network.toml that was changed. Keys that are
    not here any more are not made again: they are "elsewhere". Each validator's folder is for the
    machine that runs it, and for nobody else.
    """
    with told_of_files(out):
        known = load_network(out) if (out / FILE).exists() else None
        plan = Plan(
            name=name or (known.name if known else out.absolute().name),
            engine=engine,
            chain_id=chain_id or (known.chain_id if known else _drawn_chain_id()),
            validators=validators,
            rpc_nodes=rpc_nodes,
            period_s=period_s,
            hosts=hosts,
            light_keys=light_keys,
        )
        if dry_run:
            written, network = planned_files(out, plan), None
        else:
            network, written = init_network(out, plan, secrets.token_bytes, rewrite=rewrite)
    if as_json:
        say_document(_document(plan, network, written))
        return
    columns = [Column(heading, figures=False) for heading in ("file", "state", "secret")]
    say_table(
        columns,
        [(str(file.path), file.state, "yes" if file.secret else "") for file in written],
    )
    if network is not None:
        _say_next(out, network)


def _drawn_chain_id() -> int:
    return FIRST_CHAIN_ID + secrets.randbelow(2**31 - FIRST_CHAIN_ID)


def _document(plan: Plan, network: Network | None, written: list[Written]) -> dict[str, object]:
    return {
        "schema": "daisee.chain.init/1",
        "name": plan.name,
        "engine": plan.engine,
        "chain_id": plan.chain_id,
        "operator": None if network is None else network.operator,
        "validators": [] if network is None else [peer.address for peer in network.validators],
        "files": [
            {"path": str(file.path), "state": file.state, "secret": file.secret} for file in written
        ],
    }


def _say_next(out: Path, network: Network) -> None:
    total, needed = len(network.validators), network.needed
    say()
    say(
        f"{network.name}: chain {network.chain_id}, {total} validators, of which {needed} must"
        f" work; a block every {network.period_s} s"
    )
    if total not in (1, 4, 7):
        say("4 or 7 validators are what a community needs; see docs/operators.md")
    hosts = [peer.host for peer in network.validators]
    for host in sorted(set(hosts) - {LOOPBACK}):
        if hosts.count(host) > 1:
            say(f"{hosts.count(host)} validators stand on {host}: if it fails, they all do")
    say(f"Keep {out} as you keep keys: 'daisee chain backup {out} FILE'")
    say(f"A trial on this machine: daisee chain up --local {out}")
    say("On real machines: docs/operators.md tells which folder goes where")


for _command in (up, deploy, status, validator, recover, backup, restore):
    chain.add_command(_command)
