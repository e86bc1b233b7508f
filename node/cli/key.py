"""``daisee key``: see and change this household's keys."""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node.cli.chain_options import ask_once, yes_option
from node.cli.config import config_options, settings_of
from node.cli.join import COMMUNITY_FILE
from node.cli.member_options import rpc_option
from node.cli.output import example, json_option, say, say_document
from node.clock import SystemClock
from node.config import NodeConfig, password_of, refuse_open_secrets
from node.errors import ConfigurationError, Refused

if TYPE_CHECKING:
    from node.chain.community import Community
    from node.chain.keyfiles import PendingKey
    from node.chain.keys import Key
    from node.chain.rpc import Rpc, Sender

__all__ = ["key"]

GAS_NEEDED: Final = 300_000
FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.group(short_help="See and change this household's keys.")
def key() -> None:
    """See and change this household's keys."""


@key.command(epilog=example("daisee key show"))
@config_options
@json_option
def show(*, config_file: Path | None, changes: tuple[str, ...], as_json: bool) -> None:
    """Show the address of the key that signs, without opening it."""
    from node.chain.network.keeping import KeyFiles  # noqa: PLC0415 - loads web3

    config = settings_of(config_file, changes)
    keystore = _keystore(config)
    address = KeyFiles(keystore, keystore).address()
    if as_json:
        say_document({"schema": "daisee.key.show/1", "signer": address, "keystore": str(keystore)})
    else:
        say(f"{address}  {keystore}")


@key.command(epilog=example("daisee key rotate --owner-keystore /media/stick/owner.json"))
@config_options
@click.option(
    "--owner-keystore",
    type=FILE,
    metavar="FILE",
    help="The owner's key.  [default: owner/owner.json, beside the signing key]",
)
@click.option(
    "--owner-password-file",
    type=FILE,
    metavar="FILE",
    help="Its password.  [default: owner-password, beside it]",
)
@rpc_option
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@yes_option
@json_option
def rotate(
    *,
    config_file: Path | None,
    changes: tuple[str, ...],
    owner_keystore: Path | None,
    owner_password_file: Path | None,
    rpc_url: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Give the node a new signing key, named with the owner's.

    For a key that may be known to others, or that the operator revoked. The household keeps its
    number, its credit and its history. The node takes the new key up with its next order.
    """
    from node.chain.community import load_community  # noqa: PLC0415 - these load web3
    from node.chain.keyfiles import open_key  # noqa: PLC0415
    from node.chain.network.keeping import KeyFiles  # noqa: PLC0415

    config = settings_of(config_file, changes)
    keystore = _keystore(config)
    if not config.household.number:
        raise config.complaint(
            "household.number",
            "is 0: this household is not admitted yet",
            next_step="'daisee join' looks whether it is, and writes the number down",
        )
    if keystore.exists():  # a machine that was replaced has none: the owner names another
        refuse_open_secrets(config)
    community = load_community(config.file.with_name(COMMUNITY_FILE))
    owners = owner_keystore or keystore.parent / "owner" / "owner.json"
    owner = open_key(KeyFiles(owners, owner_password_file or owners.with_name("owner-password")))
    rotation = _Rotation(config, community, owner, keystore, yes=yes, dry_run=dry_run)
    asyncio.run(rotation.run(rpc_url, as_json=as_json))


class _Rotation:
    """One change of the signing key: made, named on the chain, then put in place. Interrupted
    anywhere, it goes on when it is said again."""

    def __init__(
        self,
        config: NodeConfig,
        community: Community,
        owner: Key,
        keystore: Path,
        *,
        yes: bool,
        dry_run: bool,
    ) -> None:
        self._config = config
        self._community = community
        self._owner = owner
        self._keystore = keystore
        self._yes = yes
        self._dry_run = dry_run

    async def run(self, rpc_url: str | None, *, as_json: bool) -> None:
        """Do it, or say what would be done."""
        from node.chain.joining import community_rpc  # noqa: PLC0415 - these load web3
        from node.chain.keyfiles import pending_key, put_in_place  # noqa: PLC0415
        from node.chain.keystore import read_keystore  # noqa: PLC0415
        from node.chain.membership import require_known  # noqa: PLC0415

        number = self._config.household.number
        async with community_rpc(self._community, rpc_url or self._url()) as rpc:
            before = await require_known(rpc, self._community, number)
            self._refuse_stranger(before.owner)
            password = password_of(self._config, os.environ)
            lost = not self._keystore.exists()
            old = None if lost else await asyncio.to_thread(read_keystore, self._keystore, password)
            old_signer = before.signer or "none"
            effects = [
                f"Names a new signing key for household {number}; now it is {old_signer}.",
                "Orders that the old key signs are refused from the next block on.",
                "The old key is gone."
                if lost
                else f"The old key stays beside the new one, in {self._keystore.parent}.",
            ]
            if self._dry_run:
                for line in effects:
                    click.echo(line, err=True)
                if as_json:
                    self._say(before.signer, None, None)
                return
            ask_once(effects, yes=self._yes)
            pending = pending_key(self._keystore, password, secrets.token_bytes)
            if before.signer.lower() != pending.key.address.lower():
                await self._name(rpc, old, pending)
        kept = put_in_place(pending, self._keystore)
        if as_json:
            self._say(before.signer, pending.key.address, kept)
        else:
            say(f"Household {number} now signs with {pending.key.address}.")
            if kept is not None:
                click.echo(f"The old key is kept as {kept}.", err=True)

    async def _name(self, rpc: Rpc, old: Key | None, pending: PendingKey) -> None:
        """Name the new key on the chain; half of the old one's gas money goes with it, so that a
        node that still runs can send, too."""
        from node.chain.membership import name_signer  # noqa: PLC0415 - loads web3

        carrier = await self._carrier(rpc, old)
        await name_signer(
            rpc,
            carrier,
            self._community,
            self._owner,
            household=self._config.household.number,
            signer=pending.key.address,
            now_s=SystemClock().now_s(),
        )
        left_wei = await rpc.balance_wei(carrier.address)
        if left_wei // 2 > GAS_NEEDED * self._community.gas_price_wei:
            await carrier.pay(pending.key.address, left_wei // 2)

    async def _carrier(self, rpc: Rpc, old: Key | None) -> Sender:
        """The account that pays: the old key's, else the owner's. Raises Refused (``no_gas``)."""
        from node.chain.rpc import Sender  # noqa: PLC0415 - loads web3

        price = self._community.gas_price_wei
        for candidate in (old, self._owner):
            if candidate is None:
                continue
            if await rpc.balance_wei(candidate.address) >= GAS_NEEDED * price:
                return Sender(rpc, candidate, gas_price=price)
        raise Refused(
            f"neither the old key nor the owner's, {self._owner.address}, can pay the gas",
            reason="no_gas",
            next_step="ask the operator for some gas money; nothing was changed on the chain",
        )

    def _refuse_stranger(self, owner: str) -> None:
        if owner.lower() != self._owner.address.lower():
            raise Refused(
                f"{self._owner.address} does not own this household, {owner} does",
                reason="not_owner",
                next_step="give the owner's keystore with --owner-keystore",
            )

    def _url(self) -> str:
        assert self._config.chain is not None
        return self._config.chain.rpc

    def _say(self, old: str, new: str | None, kept: Path | None) -> None:
        say_document(
            {
                "schema": "daisee.key.rotate/1",
                "household": self._config.household.number,
                "changed": new is not None,
                "dry_run": self._dry_run,
                "old_signer": old,
                "signer": new or old,
                "old_keystore": None if kept is None else str(kept),
            }
        )


def _keystore(config: NodeConfig) -> Path:
    if config.chain is None or config.key.keystore is None:
        raise ConfigurationError(
            "this node has no signing key: there is no [chain], or no keystore in [key]",
            file=config.file,
            next_step="join a community first: 'daisee join INVITE'",
        )
    return config.key.keystore
