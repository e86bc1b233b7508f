"""``daisee chain up`` and ``deploy``: from an empty chain to a community that trades."""

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

from node.chain.network.layout import COMMUNITY_FILE, Plan, init_network, operator_files
from node.chain.network.reach import reach_of
from node.chain.network.record import FILE, Network, load_network
from node.cli.chain_options import (
    FOLDER,
    ask_once,
    folder_argument,
    market_options,
    rules_from,
    yes_option,
)
from node.cli.output import example, json_option, say, say_document
from node.clock import wall_seconds
from node.errors import ChainUnreachable, ConfigurationError
from node.model import MarketRules

if TYPE_CHECKING:
    from node.chain.bootstrap import Role
    from node.chain.community import Community
    from node.chain.network.local import LocalNetwork

__all__ = ["deploy", "up"]

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
    one command from nothing to a market. Real machines run their nodes by systemd instead.
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
        init_network(folder, plan, secrets.token_bytes)
    asyncio.run(_up(folder, None if no_deploy else rules, as_json=as_json))


@click.command(
    epilog=example("daisee chain deploy street --slot 900 --public-rpc https://rpc.example/")
)
@folder_argument
@click.option("--rpc", metavar="URL", help="A node of the chain.  [default: one of this machine]")
@click.option(
    "--public-rpc",
    "rpc_urls",
    multiple=True,
    metavar="URL",
    help="Where members ask; may be given again.  [default: --rpc]",
)
@click.option(
    "--relay", "relay_urls", multiple=True, metavar="URL", help="A relay; may be given again."
)
@click.option(
    "--grant",
    "grants",
    multiple=True,
    metavar="ROLE=ADDRESS",
    help="Also give a role, such as supplier=0x...; may be given again.",
)
@market_options
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@yes_option
@json_option
def deploy(
    *,
    folder: Path,
    rpc: str | None,
    rpc_urls: tuple[str, ...],
    relay_urls: tuple[str, ...],
    grants: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **market: Any,  # noqa: ANN401 - as above
) -> None:
    """Deploy the contracts, give out the roles, check the code, write the community file.

    Where that file is already, the chain is checked against it, and nothing is deployed.
    """
    from node.chain.community import load_community  # noqa: PLC0415 - loads web3

    network = load_network(folder)
    rules = rules_from(**market)
    granted = _roles(grants)
    url = rpc or _member_url(folder, network)
    if (folder / COMMUNITY_FILE).exists():
        community = load_community(folder / COMMUNITY_FILE)
        asyncio.run(_check(url, community))
        _say_community(folder, community, deployed=False, as_json=as_json)
        return
    effects = [
        f"Deploys five contracts on chain {network.chain_id} by {url}.",
        f"The operator's account {network.operator} pays the gas.",
        f"A slot of {rules.slot_s} s and its gate of {rules.gate_s} s; the slot can never change.",
        "Roles of the operator: admits members, issues credit, may pause, schedules rules.",
        *(f"Role {role.name.lower()}: {account}" for role, account in granted.items()),
    ]
    if dry_run:
        for line in effects:
            click.echo(line, err=True)
        if as_json:
            say_document({"schema": "daisee.chain.deploy/1", "deployed": False, "dry_run": True})
        return
    ask_once(effects, yes=yes)
    community = asyncio.run(
        _deploy(folder, network, rules, url, rpc_urls or (url,), relay_urls, granted)
    )
    _say_community(folder, community, deployed=True, as_json=as_json)


async def _up(folder: Path, rules: MarketRules | None, *, as_json: bool) -> None:
    from node.chain.network.local import LocalNetwork  # noqa: PLC0415 - the commands share this file

    began_s = wall_seconds()
    async with _signals() as (ended, recover):
        running = LocalNetwork(folder)
        async with running:
            await running.until_block(1, within_s=FIRST_BLOCK_WITHIN_S)
            first_block_s = wall_seconds() - began_s
            community = None if rules is None else await _community_of(folder, running, rules)
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


async def _community_of(folder: Path, running: LocalNetwork, rules: MarketRules) -> Community:
    """The community of a trial, deployed once; its URLs are those of this run."""
    from node.chain.community import load_community, save_community  # noqa: PLC0415 - loads web3

    path = folder / COMMUNITY_FILE
    if not path.exists():
        urls = tuple(_urls(running))
        return await _deploy(folder, running.network, rules, urls[0], urls, (), {})
    community = replace(load_community(path), rpc_urls=tuple(_urls(running)))
    await _check(community.rpc_urls[0], community)
    save_community(path, community)
    return community


async def _deploy(
    folder: Path,
    network: Network,
    rules: MarketRules,
    url: str,
    rpc_urls: tuple[str, ...],
    relay_urls: tuple[str, ...],
    grants: Mapping[Role, str],
) -> Community:
    from node.chain.community import save_community  # noqa: PLC0415 - these load web3
    from node.chain.http import http_rpc  # noqa: PLC0415
    from node.chain.keystore import read_keystore  # noqa: PLC0415
    from node.chain.network.founding import found_community  # noqa: PLC0415

    files = operator_files(folder)
    try:
        password = files.password.read_text().rstrip("\n")
    except OSError as error:
        raise ConfigurationError(
            f"the operator's password cannot be read ({error.strerror})", file=files.password
        ) from error
    key = await asyncio.to_thread(read_keystore, files.keystore, password)
    async with http_rpc(url) as rpc:
        community = await found_community(
            rpc, network, key, rules, rpc_urls=rpc_urls, relay_urls=relay_urls, grants=grants
        )
    save_community(folder / COMMUNITY_FILE, community)
    return community


async def _check(url: str, community: Community) -> None:
    from node.chain.community import verify_community  # noqa: PLC0415 - these load web3
    from node.chain.http import http_rpc  # noqa: PLC0415
    from node.chain.release import verify_release  # noqa: PLC0415

    async with http_rpc(url) as rpc:
        await verify_community(rpc, community)
        await verify_release(rpc, community.contracts)


def _roles(grants: tuple[str, ...]) -> dict[Role, str]:
    from node.chain.bootstrap import Role  # noqa: PLC0415 - loads web3

    found = {}
    for text in grants:
        name, equals, account = text.partition("=")
        try:
            role = Role[name.upper().replace("-", "_")]
        except KeyError:
            known = ", ".join(known.name.lower() for known in Role)
            raise click.BadParameter(
                f"{name!r} is no role; {known}.", param_hint="--grant"
            ) from None
        if not equals or len(account) != len("0x") + 40:
            raise click.BadParameter(f"{account!r} is no address.", param_hint="--grant")
        found[role] = account
    return found


def _member_url(folder: Path, network: Network) -> str:
    reach = reach_of(folder, network)
    for peer in network.rpc_nodes:
        if peer.name in reach.members:
            return reach.members[peer.name]
    raise ChainUnreachable(
        "no node for members runs on this machine",
        next_step="start one, or say --rpc URL",
    )


def _urls(running: LocalNetwork) -> list[str]:
    return [running.rpc_url(peer.number) for peer in running.network.rpc_nodes]


def _say_community(folder: Path, community: Community, *, deployed: bool, as_json: bool) -> None:
    if as_json:
        from node.chain.community import document_of  # noqa: PLC0415 - loads web3

        say_document(
            {"schema": "daisee.chain.deploy/1", "deployed": deployed}
            | {"community": document_of(community), "file": str(folder / COMMUNITY_FILE)}
        )
        return
    say("deployed, and checked" if deployed else "deployed already; the chain is as agreed")
    for name, address in community.contracts.items():
        say(f"  {address}  {name}")
    say(f"The community file is {folder / COMMUNITY_FILE}; every member gets the same.")


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
