"""``daisee relay``: carry the orders of a street to its chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node.cli.config import settings_of
from node.cli.member_options import BOOK_FILE, REQUESTS_FOLDER, rpc_option
from node.cli.output import example, json_option, say_document
from node.cli.relay_account import fund, make
from node.clock import SystemClock
from node.config import LogSection
from node.errors import ConfigurationError
from node.units import parse_duration_s

if TYPE_CHECKING:
    from node.chain.client import MarketAddress
    from node.chain.keys import Key
    from node.chain.rpc import Rpc
    from node.service.relaying import RelayPlace

__all__ = ["relay"]

DEFAULT_PLACE: Final = "127.0.0.1:8770"

_WEI: Final = click.IntRange(1, 10**27)
_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.group(short_help="Carry the orders of a street to its chain.")
def relay() -> None:
    """Carry the orders of a street to its chain."""


relay.add_command(make)
relay.add_command(fund)


@relay.command(
    epilog=example(
        "daisee relay run --community community.toml --key relay.json --password-file password",
        "curl http://127.0.0.1:8770/status",
    )
)
@click.option("--community", "community_file", type=_FILE, help="The community's file.")
@rpc_option
@click.option("--config", "config_file", type=_FILE, help="Or a node's settings: their [chain].")
@click.option(
    "--key", "keystore", type=_FILE, required=True, help="The keystore of the relay's own account."
)
@click.option(
    "--password-file", type=_FILE, required=True, help="Its password, in a file of mode 0600."
)
@click.option(
    "--requests",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep households' join requests here; see --network.",
)
@click.option(
    "--network",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="The operator's folder: take join requests that answer its invites, and no others.",
)
@click.option(
    "--listen", default=DEFAULT_PLACE, show_default=True, metavar="HOST:PORT", help="Where."
)
@click.option(
    "--beyond-loopback", is_flag=True, help="The street's own network may reach it: no TLS here."
)
@click.option(
    "--behind-front", is_flag=True, help="Believe X-Forwarded-For of a front on this machine."
)
@click.option("--no-top-up", is_flag=True, help="Give nobody gas money.")
@click.option(
    "--top-up-every",
    default="10m",
    show_default=True,
    metavar="TIME",
    help="Look for who runs low.",
)
@click.option(
    "--top-up-below-wei", type=_WEI, help="A signer with less gets some.  [default: 0.2 coins]"
)
@click.option("--top-up-wei", type=_WEI, help="So much of it.  [default: 1 coin of no value]")
@click.option(
    "--top-up-daily-wei", type=_WEI, help="At most so much a day, for all.  [default: 20 coins]"
)
@click.option(
    "--top-up-reserve-wei", type=_WEI, help="The relay keeps so much.  [default: 5 coins]"
)
@json_option
def run(
    *,
    community_file: Path | None,
    rpc_url: str | None,
    config_file: Path | None,
    keystore: Path,
    password_file: Path,
    requests: Path | None,
    network: Path | None,
    listen: str,
    beyond_loopback: bool,
    behind_front: bool,
    no_top_up: bool,
    top_up_every: str,
    top_up_below_wei: int | None,
    top_up_wei: int | None,
    top_up_daily_wei: int | None,
    top_up_reserve_wei: int | None,
    as_json: bool,
) -> None:
    """Take signed orders over HTTP and send them in batches, until SIGTERM or Ctrl-C.

    The relay pays for its batches from an account that nothing else uses; it needs no role. What it
    takes, it can delay, but not alter. From the same account it gives gas money to members' signers
    that run low, once a day each. See docs/relay.md.
    """
    # The chain's rooms take longer to load than the other commands take to run.
    from node.chain.network.layout import COMMUNITY_FILE  # noqa: PLC0415
    from node.chain.top_ups import TopUps  # noqa: PLC0415
    from node.service.logs import set_up_logging  # noqa: PLC0415
    from node.service.relaying import RelayPlace  # noqa: PLC0415

    if network is not None and community_file is None and config_file is None:
        community_file = network / COMMUNITY_FILE
    if (community_file is None) == (config_file is None):
        raise click.UsageError("say either --community or --config")
    if behind_front and beyond_loopback:
        raise click.UsageError("a relay behind a front stays on loopback")
    host, port = _place_of(listen)
    said = {
        "below_wei": top_up_below_wei,
        "amount_wei": top_up_wei,
        "daily_wei": top_up_daily_wei,
        "reserve_wei": top_up_reserve_wei,
    }
    try:
        top_ups = TopUps(
            every_s=parse_duration_s(top_up_every),
            **{name: wei for name, wei in said.items() if wei is not None},
        )
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--top-up-every") from error
    place = RelayPlace(
        host,
        port,
        beyond_loopback=beyond_loopback,
        behind_front=behind_front,
        requests=requests or (network and network / REQUESTS_FOLDER),
        book=network and network / BOOK_FILE,
        top_ups=None if no_top_up else top_ups,
    )
    set_up_logging(LogSection())
    asked = _Asked(community_file, rpc_url, config_file, keystore, password_file)
    document = asyncio.run(_run(asked, place))
    if as_json:
        say_document(document)


@dataclass(frozen=True, slots=True)
class _Asked:
    community_file: Path | None
    rpc_url: str | None
    config_file: Path | None
    keystore: Path
    password_file: Path


async def _run(asked: _Asked, place: RelayPlace) -> Mapping[str, object]:
    from node.service.relaying import run_relay  # noqa: PLC0415 - see run

    key = _key_of(asked)
    async with _market_of(asked) as (rpc, where):
        return await run_relay(rpc, where, key, SystemClock(), place)


@asynccontextmanager
async def _market_of(asked: _Asked) -> AsyncIterator[tuple[Rpc, MarketAddress]]:
    """A checked connection, and the market on it."""
    from node.chain.client import MarketAddress, MarketClient  # noqa: PLC0415 - see run
    from node.chain.community import load_community  # noqa: PLC0415
    from node.chain.http import http_rpc  # noqa: PLC0415
    from node.chain.joining import community_rpc  # noqa: PLC0415

    if asked.community_file is not None:
        community = load_community(asked.community_file)
        async with community_rpc(community, asked.rpc_url) as rpc:
            yield (
                rpc,
                MarketAddress(community.market, community.slot_s, community.created_in_block),
            )
        return
    config = settings_of(asked.config_file, ())
    chain = config.chain
    if chain is None:
        raise ConfigurationError("there is no [chain] to relay to", file=config.file)
    async with http_rpc(asked.rpc_url or chain.rpc) as rpc:
        if rpc.chain_id != chain.chain_id:
            raise config.complaint("chain.rpc", f"serves chain {rpc.chain_id}")
        found = await MarketClient.connect(rpc, chain.market)
        yield rpc, MarketAddress(chain.market, found.where.slot_s, chain.created_in_block)


def _key_of(asked: _Asked) -> Key:
    """The relay's account. Raises ConfigurationError."""
    from node.chain.keyfiles import open_key  # noqa: PLC0415 - see run
    from node.chain.network.keeping import KeyFiles  # noqa: PLC0415

    return open_key(KeyFiles(asked.keystore, asked.password_file))


def _place_of(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise click.BadParameter(f"{listen!r} is not HOST:PORT", param_hint="--listen")
    return host.strip("[]"), int(port)
