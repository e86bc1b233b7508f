"""``daisee join``: make this household's keys, on its own machine, and ask to be admitted."""

from __future__ import annotations

import asyncio
import os
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli.chain_options import ask_once, yes_option
from node.cli.config import CONFIG_VARIABLE, find_config
from node.cli.member_options import rpc_option, text_given
from node.cli.output import example, json_option, say, say_document
from node.cli.paths import places
from node.clock import SystemClock
from node.config import load_config
from node.config.adding import (
    Scalar,
    replace_file,
    require_writable,
    with_settings,
    writing,
)
from node.config.endpoints import FILE, file_of, from_folder, url_with_token
from node.errors import ChainUnreachable, ConfigurationError, Refused
from node.units import parse_duration_s

if TYPE_CHECKING:
    from node.chain.community import Community
    from node.chain.invites import Invite
    from node.chain.join_requests import JoinRequest
    from node.chain.keyfiles import HouseholdKeys

__all__ = ["join"]

COMMUNITY_FILE: Final = "community.toml"
REQUEST_FILE: Final = "join-request.txt"
RPC_FILE: Final = "rpc-url"
LOOK_EVERY_S: Final = 1
RELAYS_TRIED: Final = 3
DEFAULT_SLOT_S: Final = 900

_HEADING: Final = """\
# The settings of this household's node. 'daisee meter detect' finds the meter and says what to
# write under [meter]; 'daisee config check' then checks everything.
"""


@dataclass(frozen=True, slots=True)
class _Home:
    """Where this household's files are."""

    config: Path
    keystore: Path
    owner: Path | None
    out: Path | None

    @property
    def community(self) -> Path:
        return self.config.with_name(COMMUNITY_FILE)

    @property
    def request(self) -> Path:
        return self.out or self.config.with_name(REQUEST_FILE)

    def settings(self) -> tuple[str, dict[str, Any]]:
        """The settings as they are, as text and as tables; a new file's heading if there is none.

        Raises ConfigurationError.
        """
        try:
            text = self.config.read_text(encoding="utf-8")
        except FileNotFoundError:
            return _HEADING, {}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"the settings cannot be read: {error}", file=self.config
            ) from error
        try:
            return text, tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"this is not TOML: {error}", file=self.config) from error

    def asked(self, settings: Mapping[str, Any]) -> str | None:
        """The file with a token from which the chain is asked; None where it wants none, and then
        the community's own endpoints are as good."""
        said = str(settings.get("chain", {}).get("rpc", ""))
        if file_of(said) is None:
            return None
        return from_folder(said, self.config.absolute().parent)

    def keys(self, settings: Mapping[str, Any]) -> HouseholdKeys:
        """Where the keys are or will be: where the settings say, else in the usual folder."""
        from node.chain.keyfiles import HouseholdKeys  # noqa: PLC0415 - loads web3
        from node.chain.network.keeping import KeyFiles  # noqa: PLC0415

        usual = HouseholdKeys.below(self.keystore, self.owner)
        said = settings.get("key", {})
        here = self.config.absolute().parent
        signer = KeyFiles(
            here / Path(said.get("keystore", usual.signer.keystore)).expanduser(),
            here / Path(said.get("password_file", usual.signer.password)).expanduser(),
        )
        return HouseholdKeys(usual.owner, signer)


@click.command(
    short_help="Join a community with its operator's invite.",
    epilog=example(
        "daisee join anne.invite           # checks, makes the keys, writes the request",
        "daisee join anne.invite --rpc file:rpc-url   # an endpoint that wants a token: its URL",
        "daisee join --wait 10m            # afterwards: is the household admitted?",
    ),
)
@click.argument("invite", required=False)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=CONFIG_VARIABLE,
    metavar="FILE",
    help="The settings; else the user's or the service's, see 'daisee paths'.",
)
@click.option(
    "--keystore",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the keys are kept.  [default: see 'daisee paths']",
)
@click.option(
    "--owner-folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the owner's key goes: a USB stick.  [default: owner, below the keys]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where the request goes.  [default: join-request.txt, beside the settings]",
)
@click.option("--wait", metavar="TIME", help="Wait so long for the operator's approval: 10m.")
@rpc_option
@click.option("--dry-run", is_flag=True, help="Check everything, and write nothing.")
@yes_option
@json_option
def join(
    *,
    invite: str | None,
    config_file: Path | None,
    keystore: Path | None,
    owner_folder: Path | None,
    out: Path | None,
    wait: str | None,
    rpc_url: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Join a community: INVITE is the file, the text itself, or - to read it.

    Checks the chain, its contracts, its operator and the clock; makes the household's keys on this
    machine; writes the settings, in paper mode; and writes a request for the operator, with four
    words to read out. A relay of the community hands it over; if none does, you do. Without INVITE
    it looks whether the operator has approved, and writes down the household's number.
    """
    try:
        wait_s = 0 if wait is None else parse_duration_s(wait)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--wait") from error
    home = _home(config_file, keystore, owner_folder, out)
    if invite is None:
        asyncio.run(_look(home, rpc_url, wait_s, as_json=as_json))
        return
    from node.chain.invites import read_invite  # noqa: PLC0415 - loads web3

    read = read_invite(text_given(invite, "DAISEE-INVITE1:"), SystemClock().now_s())
    asyncio.run(_join(home, read, rpc_url, dry_run=dry_run, yes=yes, as_json=as_json))
    if wait_s and not dry_run:
        asyncio.run(_look(home, rpc_url, wait_s, as_json=False))


def _home(
    config_file: Path | None, keystore: Path | None, owner: Path | None, out: Path | None
) -> _Home:
    config = config_file or find_config(os.environ, Path.home())
    found = places(os.environ, Path.home())
    who = "service" if config == found["config"]["service"] and config.parent.exists() else "user"
    if config_file is None and who == "user":
        config = found["config"]["user"]
    return _Home(config, keystore or found["keystore"][who], owner, out)


async def _join(
    home: _Home,
    invite: Invite,
    rpc_url: str | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from node.chain.invites import community_words  # noqa: PLC0415 - these load web3
    from node.chain.joining import check_invited, community_rpc  # noqa: PLC0415

    community, clock = invite.community, SystemClock()
    _, settings = home.settings()
    _refuse_another(home, settings, community)
    keys = home.keys(settings)
    async with community_rpc(community, rpc_url or home.asked(settings)) as rpc:
        found = await check_invited(rpc, community, clock)
    words = community_words(community)
    effects = [
        f"{community.name}: chain {community.chain_id}, operator {community.operator}",
        f"Its four words are  {words}",
        "The chain, the contracts, the operator's role and the clock are as the invite says.",
        _key_effect("signing", keys.signer.keystore, made="signer" in keys.made),
        _key_effect("owner's", keys.owner.keystore, made="owner" in keys.made),
        f"Writes {home.config} (paper mode), {home.community} and {home.request}.",
        "Are these the words that the operator gave you?",
    ]
    if dry_run:
        for line in effects:
            click.echo(line, err=True)
        if as_json:
            say_document(_document(community, words, None, home, dry_run=True))
        return
    ask_once(effects, yes=yes)
    request, request_text = await asyncio.to_thread(_write, home, invite, rpc_url, found.households)
    relay = await _handed_over(community, request_text)
    if as_json:
        said = {"request": request_text, "handed_over_to": relay}
        say_document(_document(community, words, request, home) | said)
        return
    say(request_text)
    click.echo("", err=True)
    if relay:
        click.echo(f"The operator has it, through {relay}; it is in {home.request} too.", err=True)
    else:
        click.echo(
            f"The request is above and in {home.request}: give it to the operator.", err=True
        )
    click.echo(f"Read these four words out:  {request.words}", err=True)
    click.echo(f"Keep {keys.owner.keystore.parent} elsewhere too: it owns the money.", err=True)
    click.echo("Then look here: daisee join --wait 10m", err=True)


def _write(
    home: _Home, invite: Invite, rpc_url: str | None, households: int
) -> tuple[JoinRequest, str]:
    """Keys, settings, community and request, which is given; no key where the rest cannot be."""
    from node.chain.community import save_community  # noqa: PLC0415 - these load web3
    from node.chain.join_requests import make_request  # noqa: PLC0415
    from node.chain.keyfiles import household_keys  # noqa: PLC0415
    from node.chain.network.keeping import write_secret  # noqa: PLC0415

    for place in (home.config, home.community, home.request):
        require_writable(place)
    community = invite.community
    text, settings = home.settings()
    keys = home.keys(settings)
    owner, signer = household_keys(keys, secrets.token_bytes)
    asked = settings.get("chain", {}).get("rpc") or community.rpc_urls[0]
    if rpc_url is not None:
        asked = _kept(rpc_url, keys)
    changed = _with_chain(text, settings, community, asked)
    folder = keys.signer.keystore.parent
    replace_file(home.config, _with_key(changed, settings, keys), reader=folder)
    with writing(home.community):
        save_community(home.community, community)
    request, request_text = make_request(
        invite, owner, signer.address, households, SystemClock().now_s()
    )
    with writing(home.request):
        write_secret(home.request, request_text + "\n")
    return request, request_text


def _kept(place: str, keys: HouseholdKeys) -> str:
    """Where the node is to ask. A file with a token is copied to the signing key, for the node's
    user alone: the one that was given may be on a stick, or somebody else's."""
    from node.chain.keyfiles import keep_secret  # noqa: PLC0415 - loads web3

    given = file_of(place)
    if given is None:
        return place
    kept = keys.signer.keystore.absolute().with_name(RPC_FILE)
    if not kept.exists() or not kept.samefile(given):
        with writing(kept):
            keep_secret(kept, url_with_token(given) + "\n")
    return f"{FILE}{kept}"


async def _handed_over(community: Community, request: str) -> str:
    """The relay that took the request for the operator; empty if none did, which is no failure."""
    from node.chain.request_desk import hand_over_request  # noqa: PLC0415 - loads web3

    for url in community.relay_urls[:RELAYS_TRIED]:
        try:
            await hand_over_request(url, request)
        except (ChainUnreachable, Refused) as error:
            click.echo(f"Not handed over: {error.message}", err=True)
        else:
            return url
    return ""


async def _look(home: _Home, rpc_url: str | None, wait_s: int, *, as_json: bool) -> None:
    """Whether the operator has approved; if so, the number goes into the settings."""
    from node.chain.community import load_community  # noqa: PLC0415 - these load web3
    from node.chain.join_requests import read_request, request_text  # noqa: PLC0415
    from node.chain.joining import community_rpc, number_of  # noqa: PLC0415
    from node.chain.membership import member  # noqa: PLC0415

    if not home.request.exists() or not home.community.exists():
        raise ConfigurationError(
            "no request was made with these settings",
            file=home.request,
            next_step="give the operator's invite: daisee join INVITE",
        )
    community = load_community(home.community)
    request = read_request(request_text(home.request))
    _, settings = home.settings()
    async with community_rpc(community, rpc_url or home.asked(settings)) as rpc:
        number, left_s = await number_of(rpc, community, request), wait_s
        while not number and left_s > 0:
            await asyncio.sleep(LOOK_EVERY_S)
            left_s -= LOOK_EVERY_S
            number = await number_of(rpc, community, request)
        if not number:
            raise Refused(
                "the operator has not approved yet",
                reason="not_admitted",
                next_step=f"read out the four words: {request.words}",
            )
        found = await member(rpc, community, number)
    text, settings = home.settings()
    if settings.get("household", {}).get("number", 0) != number:
        replace_file(home.config, with_settings(text, "household", {"number": number}))
    if settings.get("meter"):
        load_config(home.config, os.environ)
    if as_json:
        say_document(
            _document(community, "", request, home)
            | {"household": number, "standing": found.standing.word}
        )
        return
    say(f"This is household {number} of {community.name}: {found.standing.word}.")
    click.echo("Still in paper mode. To trade: trade = true in [chain], and restart.", err=True)


def _refuse_another(home: _Home, settings: Mapping[str, Any], community: Community) -> None:
    """One node is of one community: its number and its key count in one only."""
    chain = settings.get("chain", {})
    said = (chain.get("chain_id"), str(chain.get("market", "")).lower())
    if chain and said != (community.chain_id, community.market.lower()):
        raise ConfigurationError(
            f"this node is of another market already: {said[1]} on chain {said[0]}",
            file=home.config,
            next_step="remove [chain], and number in [household]; or name other settings: --config",
        )


def _with_chain(text: str, settings: Mapping[str, Any], community: Community, url: str) -> str:
    """The settings with [chain], in paper mode unless they trade already."""
    said = settings.get("chain", {})
    values: dict[str, Scalar] = {
        "rpc": url,
        "chain_id": community.chain_id,
        "market": community.market,
        "trade": bool(said.get("trade", False)),
        "created_in_block": community.created_in_block,
        "genesis_hash": community.genesis_hash,
        "gas_price_wei": community.gas_price_wei,
        "finality_depth": community.finality_depth,
    }
    if community.relay_urls and not said:  # one that was taken out again stays out
        values["relay"] = community.relay_urls[0]
    text = with_settings(text, "chain", values)
    if settings.get("household", {}).get("slot_s", DEFAULT_SLOT_S) != community.slot_s:
        text = with_settings(text, "household", {"slot_s": community.slot_s})
    return text


def _with_key(text: str, settings: Mapping[str, Any], keys: HouseholdKeys) -> str:
    said = settings.get("key", {})
    wanted = {
        "keystore": keys.signer.keystore.absolute(),
        "password_file": keys.signer.password.absolute(),
    }
    missing = {key: str(path) for key, path in wanted.items() if key not in said}
    return with_settings(text, "key", missing) if missing else text


def _key_effect(whose: str, path: Path, *, made: bool) -> str:
    return f"Keeps the {whose} key {path}." if made else f"Makes the {whose} key {path}."


def _document(
    community: Community,
    words: str,
    request: JoinRequest | None,
    home: _Home,
    *,
    dry_run: bool = False,
) -> dict[str, object]:
    document: dict[str, object] = {
        "schema": "daisee.join/1",
        "community": community.name,
        "chain_id": community.chain_id,
        "dry_run": dry_run,
        "config_file": str(home.config),
        "request_file": str(home.request),
    }
    if words:
        document["community_words"] = words
    if request is not None:
        document |= {"words": request.words, "owner": request.owner, "signer": request.signer}
    return document
