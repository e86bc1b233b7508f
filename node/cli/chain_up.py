"""``daisee chain up``: a whole network on one machine, from an empty chain to a market."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.chain.network.layout import COMMUNITY_FILE, Plan, init_network
from node.chain.network.record import FILE
from node.cli.chain_deploy import check_community, deploy_community
from node.cli.chain_options import (
    FOLDER,
    given_rules,
    market_options,
    rules_from,
    told_of_files,
)
from node.cli.output import example, json_option, say, say_document
from node.clock import wall_seconds
from node.model import MarketRules

if TYPE_CHECKING:
    from node.chain.community import Community
    from node.chain.network.local import LocalNetwork

__all__ = ["up"]

FIRST_BLOCK_WITHIN_S: Final = 60.0
LOOK_EVERY_S: Final = 1.0
TRIAL_CHAIN_ID: Final = 1_337_077


@click.command(epilog=example("daisee chain up --local trial"))
@click.argument("folder", type=FOLDER, default="chain")
@click.option("--local", is_flag=True, help="All on this machine's loopback interface.")
@click.option(
    "--engine",
    type=click.Choice(["geth", "besu"]),
    default="geth",
    show_default=True,
    help="Of a new network.",
)
@click.option("--validators", default=4, show_default=True, help="Of a new network.")
@click.option("--no-deploy", is_flag=True, help="Start the nodes alone.")
@market_options
@json_option
def up(
    *,
    folder: Path,
    local: bool,
    engine: str,
    validators: int,
    no_deploy: bool,
    as_json: bool,
    **market: Any,  # noqa: ANN401 - the options of rules_from, which names and checks them
) -> None:
    """Start a whole network on this machine for a trial, and stay until Ctrl-C.

    Makes the network first if FOLDER holds none, and deploys the contracts if that was not done:
    one command from nothing to a market. Rules are those of a new market; others than its own are
    refused later. Real machines run their nodes by systemd instead.
    """
    if not local:
        raise click.UsageError(
            "Say --local for a trial on this machine. On real machines systemd starts the nodes:"
            " docs/operators.md."
        )
    rules = rules_from(**market)
    if not (folder / FILE).exists():
        plan = Plan(
            folder.absolute().name,
            engine,
            TRIAL_CHAIN_ID,
            validators=validators,
            period_s=1,
            light_keys=True,
        )
        with told_of_files(folder):
            init_network(folder, plan, secrets.token_bytes)
    said = given_rules(market, rules)
    asyncio.run(_up(folder, None if no_deploy else rules, said, as_json=as_json))


async def _up(
    folder: Path, rules: MarketRules | None, said: Mapping[str, object], *, as_json: bool
) -> None:
    from node.chain.network.local import LocalNetwork  # noqa: PLC0415 - the commands share this file

    began_s = wall_seconds()
    async with _signals() as (ended, recover):
        running = LocalNetwork(folder)
        async with running:
            await running.until_block(1, within_s=FIRST_BLOCK_WITHIN_S)
            first_block_s = wall_seconds() - began_s
            community = None
            if rules is not None:
                community = await _community_of(folder, running, rules, said)
            document = {
                "schema": "daisee.chain.up/1",
                "name": running.network.name,
                "engine": running.network.engine,
                "chain_id": running.network.chain_id,
                "rpc_urls": _urls(running),
                "community": None if community is None else str(folder / COMMUNITY_FILE),
                "market": None if community is None else community.market,
                "validators": {peer.name: running.pid(peer.name) for peer in running.network.peers},
                "first_block_ms": round(1000 * first_block_s),
                "ready_ms": round(1000 * (wall_seconds() - began_s)),
            }
            _say_up(folder, document, as_json=as_json)
            await _stay(running, ended, recover)


async def _stay(running: LocalNetwork, ended: asyncio.Event, recover: asyncio.Event) -> None:
    """Until somebody ends it; say which nodes die, and restart the validators when asked to."""
    dead: set[str] = set()
    while not ended.is_set():
        if recover.is_set():
            recover.clear()
            click.echo("restarting all validators together", err=True)
            await running.recover()
        for peer in running.network.peers:
            if running.runs(peer.name):
                dead.discard(peer.name)
            elif peer.name not in dead:
                dead.add(peer.name)
                click.echo(f"{peer.name} ended; its log: {running.log_path(peer.name)}", err=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), LOOK_EVERY_S)


@asynccontextmanager
async def _signals() -> AsyncIterator[tuple[asyncio.Event, asyncio.Event]]:
    """Ctrl-C and SIGTERM end it, SIGHUP restarts the validators together."""
    ended, recover = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    meanings = {signal.SIGINT: ended, signal.SIGTERM: ended, signal.SIGHUP: recover}
    for number, event in meanings.items():
        loop.add_signal_handler(number, event.set)
    try:
        yield ended, recover
    finally:
        for number in meanings:
            loop.remove_signal_handler(number)


async def _community_of(
    folder: Path, running: LocalNetwork, rules: MarketRules, said: Mapping[str, object]
) -> Community:
    """The community of a trial, deployed once; its URLs are those of this run."""
    from node.chain.community import load_community, save_community  # noqa: PLC0415 - loads web3

    path = folder / COMMUNITY_FILE
    if not path.exists():
        urls = tuple(_urls(running))
        return await deploy_community(folder, running.network, rules, urls[0], rpc_urls=urls)
    community = replace(load_community(path), rpc_urls=tuple(_urls(running)))
    await check_community(community.rpc_urls[0], community, said)
    save_community(path, community)
    return community


def _urls(running: LocalNetwork) -> list[str]:
    return [running.rpc_url(peer.number) for peer in running.network.rpc_nodes]


def _say_up(folder: Path, document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_document(document)
        return
    say(f"{document['name']} runs: chain {document['chain_id']} on {document['engine']}")
    for url in document["rpc_urls"]:
        say(f"  members ask    {url}")
    if document["community"]:
        say(f"  market         {document['market']}")
        say(f"  community      {document['community']}")
    say(f"  ready after    {document['ready_ms'] / 1000:.1f} s")
    say(f"Look at it: daisee chain status {folder}. Ctrl-C stops it; nothing is lost.")
