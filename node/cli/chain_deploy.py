"""``daisee chain deploy``: the contracts, once; and what an operator adds to them later."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.chain.network.layout import COMMUNITY_FILE, operator_files
from node.chain.network.reach import reach_of
from node.chain.network.record import Network, load_network
from node.cli.chain_options import (
    ask_once,
    folder_argument,
    given_rules,
    market_options,
    refuse_other_rules,
    rules_from,
    told_of_files,
    yes_option,
)
from node.cli.output import example, json_option, say, say_document
from node.clock import SystemClock
from node.config.endpoints import without_credentials
from node.errors import ChainUnreachable, ConfigurationError
from node.model import MarketRules

if TYPE_CHECKING:
    from node.chain.community import Community
    from node.chain.network.founding import Grant
    from node.chain.rpc import Rpc

__all__ = ["check_community", "deploy", "deploy_community"]

SCHEMA: Final = "daisee.chain.deploy/1"
MAX_GRANTS: Final = 32


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
    help="Also give a role, such as supplier=0x... or administrator=0x...; may be given again.",
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
    **market: Any,  # noqa: ANN401 - the options of rules_from, which names and checks them
) -> None:
    """Deploy the contracts, give out the roles, check the code, write the community file.

    Where that file is already, nothing is deployed: the chain is checked against it, roles that are
    missing are given, and the URLs that are said take the place of those in the file. Rules are the
    market's by then, and others than its own are refused.
    """
    from node.chain.community import load_community  # noqa: PLC0415 - loads web3

    network = load_network(folder)
    rules = rules_from(**market)
    named = _Named(rpc_urls, relay_urls, _granted(grants))
    if (folder / COMMUNITY_FILE).exists():
        community = load_community(folder / COMMUNITY_FILE)
        wanted = _Later(folder, network, community, named, given_rules(market, rules))
        wanted.revised()  # raises before anything is asked or sent
        url = rpc or _member_url(folder, network)
        asyncio.run(_settle(wanted, url, dry_run=dry_run, yes=yes, as_json=as_json))
        return
    url = rpc or _member_url(folder, network)
    effects = _effects(network, rules, url, named)
    if dry_run:
        _say_dry_run(effects, as_json=as_json)
        return
    ask_once(effects, yes=yes)
    community = asyncio.run(
        deploy_community(
            *(folder, network, rules, url),
            rpc_urls=rpc_urls or (url,),
            relay_urls=relay_urls,
            grants=named.grants,
        )
    )
    _say_community(folder, community, "deployed, and checked", deployed=True, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Named:
    """What the options named beside the rules."""

    rpc_urls: tuple[str, ...]
    relay_urls: tuple[str, ...]
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class _Later:
    """What is wanted of a community that exists."""

    folder: Path
    network: Network
    community: Community
    named: _Named
    rules: Mapping[str, object]

    def revised(self) -> Community:
        """What the community file is to say. Raises ConfigurationError."""
        from node.chain.network.founding import revised_community  # noqa: PLC0415 - loads web3

        return revised_community(
            *(self.community, self.network),
            rpc_urls=self.named.rpc_urls,
            relay_urls=self.named.relay_urls,
        )


async def deploy_community(
    folder: Path,
    network: Network,
    rules: MarketRules,
    url: str,
    *,
    rpc_urls: Sequence[str],
    relay_urls: Sequence[str] = (),
    grants: Sequence[Grant] = (),
) -> Community:
    """Found the community by the operator's key and write its file. Raises as
    ``found_community`` does."""
    from node.chain.community import save_community  # noqa: PLC0415 - these load web3
    from node.chain.http import http_rpc  # noqa: PLC0415
    from node.chain.keyfiles import open_key  # noqa: PLC0415
    from node.chain.network.founding import found_community  # noqa: PLC0415

    key = await asyncio.to_thread(open_key, operator_files(folder))
    async with http_rpc(url) as rpc:
        community = await found_community(
            rpc, network, key, rules, rpc_urls=rpc_urls, relay_urls=relay_urls, grants=grants
        )
    with told_of_files(folder):
        save_community(folder / COMMUNITY_FILE, community)
    return community


async def check_community(url: str, community: Community, rules: Mapping[str, object]) -> None:
    """Compare a chain with a community file, and its rules with those that were said. Raises
    ChainMismatch, ChainUnreachable or Refused."""
    from node.chain.http import http_rpc  # noqa: PLC0415 - loads web3

    async with http_rpc(url) as rpc:
        await _check(rpc, community, rules)


async def _settle(wanted: _Later, url: str, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Check what there is, and do what is missing of what the options say."""
    from node.chain.community import save_community  # noqa: PLC0415 - these load web3
    from node.chain.http import http_rpc  # noqa: PLC0415
    from node.chain.keyfiles import open_key  # noqa: PLC0415
    from node.chain.network.founding import grant_roles, missing_roles  # noqa: PLC0415

    folder, community, revised = wanted.folder, wanted.community, wanted.revised()
    async with http_rpc(url) as rpc:
        await _check(rpc, community, wanted.rules)
        grants = await missing_roles(rpc, community, wanted.named.grants)
        effects = [f"Gives the role {role} to {account}." for role, account in grants]
        effects += _differences(community, revised)
        if dry_run:
            _say_dry_run(effects, as_json=as_json)
            return
        if effects:
            ask_once(effects, yes=yes)
        if grants:
            key = await asyncio.to_thread(open_key, operator_files(folder))
            await grant_roles(rpc, key, community, grants)
    if revised != community:
        with told_of_files(folder):
            save_community(folder / COMMUNITY_FILE, revised)
    what = "brought up to date" if effects else "the chain is as agreed"
    said = f"deployed already; {what}"
    _say_community(folder, revised, said, changed=bool(effects), as_json=as_json)


async def _check(rpc: Rpc, community: Community, rules: Mapping[str, object]) -> None:
    from node.chain.community import verify_community  # noqa: PLC0415 - these load web3
    from node.chain.network.founding import rules_now  # noqa: PLC0415
    from node.chain.release import verify_release  # noqa: PLC0415

    await verify_community(rpc, community)
    await verify_release(rpc, community.contracts)
    if rules:
        refuse_other_rules(rules, await rules_now(rpc, community, SystemClock().now_s()))


def _effects(network: Network, rules: MarketRules, url: str, named: _Named) -> list[str]:
    """What the first deployment does. Raises ConfigurationError for what the community file could
    not say."""
    from node.chain.network.founding import draft_community  # noqa: PLC0415 - loads web3

    rpc_urls = named.rpc_urls or (url,)
    draft_community(network, rules.slot_s, rpc_urls=rpc_urls, relay_urls=named.relay_urls)
    return [
        f"Deploys five contracts on chain {network.chain_id} by {without_credentials(url)}.",
        f"The operator's account {network.operator} pays the gas.",
        f"A slot of {rules.slot_s} s and its gate of {rules.gate_s} s; the slot can never change.",
        "Roles of the operator: admits members, issues credit, may pause, schedules rules.",
        *(f"Role {role}: {account}" for role, account in named.grants),
    ]


def _differences(community: Community, revised: Community) -> list[str]:
    return [
        f"Writes {field.name} = {_shown(getattr(revised, field.name))} into {COMMUNITY_FILE},"
        f" where {_shown(getattr(community, field.name))} is; members have to be told."
        for field in fields(community)
        if getattr(revised, field.name) != getattr(community, field.name)
    ]


def _shown(value: object) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


def _granted(grants: Sequence[str]) -> tuple[Grant, ...]:
    from node.chain.network.founding import ROLES, account_of  # noqa: PLC0415 - loads web3

    found = []
    for text in grants:
        name, _, account = text.partition("=")
        role = name.lower().replace("-", "_")
        if role not in ROLES:
            raise click.BadParameter(
                f"{name!r} is no role; {', '.join(ROLES)}.", param_hint="--grant"
            )
        try:
            found.append((role, account_of(account)))
        except ConfigurationError as error:
            raise click.BadParameter(f"{error.message}.", param_hint="--grant") from error
    if len(found) > MAX_GRANTS:
        raise click.BadParameter(f"at most {MAX_GRANTS} at once.", param_hint="--grant")
    return tuple(dict.fromkeys(found))


def _member_url(folder: Path, network: Network) -> str:
    reach = reach_of(folder, network)
    for peer in network.rpc_nodes:
        if peer.name in reach.members:
            return reach.members[peer.name]
    raise ChainUnreachable(
        "no node for members runs on this machine",
        next_step="start one, or say --rpc URL",
    )


def _say_dry_run(effects: Sequence[str], *, as_json: bool) -> None:
    for line in effects:
        click.echo(line, err=True)
    if as_json:
        say_document({"schema": SCHEMA, "deployed": False, "dry_run": True})


def _say_community(
    folder: Path,
    community: Community,
    said: str,
    *,
    deployed: bool = False,
    changed: bool = True,
    as_json: bool,
) -> None:
    if as_json:
        from node.chain.community import document_of  # noqa: PLC0415 - loads web3

        say_document(
            {"schema": SCHEMA, "deployed": deployed, "changed": changed}
            | {"community": document_of(community), "file": str(folder / COMMUNITY_FILE)}
        )
        return
    say(said)
    for name, address in community.contracts.items():
        say(f"  {address}  {name}")
    say(f"The community file is {folder / COMMUNITY_FILE}; every member gets the same.")
