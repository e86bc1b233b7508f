"""``daisee relay make`` and ``fund``: the account that a relay pays from."""

from __future__ import annotations

import asyncio
import re
import secrets
from pathlib import Path
from typing import Final

import click

from node.cli.chain_options import FOLDER, ask_once, yes_option
from node.cli.member_options import Desk, operator_options, rpc_option
from node.cli.output import example, json_option, say, say_document
from node.errors import ConfigurationError

__all__ = ["fund", "make"]

KEYSTORE_FILE: Final = "relay.json"
PASSWORD_FILE: Final = "password"  # noqa: S105 - the name of a file

COIN_WEI: Final = 10**18
DEFAULT_COINS: Final = 50
"""Twice the most that a relay gives away in a day, and what it keeps for its own batches."""

MAX_COINS: Final = 1_000_000

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")


@click.command(
    epilog=example("daisee relay make relay", "daisee relay fund relay --network street")
)
@click.argument("folder", type=FOLDER)
@click.option("--light-keys", is_flag=True, help="A keystore that opens fast: for a trial only.")
@json_option
def make(*, folder: Path, light_keys: bool, as_json: bool) -> None:
    """Make the account that a relay pays from, in FOLDER, on the machine that will run it.

    The key is drawn here, with a password of its own, and only this user may read them. Running it
    again changes nothing.
    """
    from node.chain.network.keeping import KeyFiles, make_account  # noqa: PLC0415 - loads web3

    files = KeyFiles(folder / KEYSTORE_FILE, folder / PASSWORD_FILE)
    made = not files.keystore.exists()
    try:
        address = make_account(files, secrets.token_bytes, light=light_keys)
    except OSError as error:
        raise ConfigurationError(
            f"the account cannot be written: {error.strerror}",
            file=folder,
            next_step="choose a folder that this user may write to",
        ) from error
    if as_json:
        say_document(
            {
                "schema": "daisee.relay.make/1",
                "address": address,
                "made": made,
                "keystore": str(files.keystore),
                "password_file": str(files.password),
            }
        )
        return
    say(f"{address}  {files.keystore}" + ("" if made else "  (it was there)"))
    say()
    say(f"It has no gas yet; the operator gives it some: daisee relay fund {address}")


@click.command(epilog=example("daisee relay fund 0x5aae... --network street"))
@click.argument("account")
@operator_options
@click.option(
    "--coins",
    type=click.IntRange(1, MAX_COINS),
    default=DEFAULT_COINS,
    show_default=True,
    help="Fill the account up to this many; coins have no worth but as gas.",
)
@rpc_option
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@yes_option
@json_option
def fund(
    *,
    account: str,
    folder: Path,
    coins: int,
    rpc_url: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Give a relay's ACCOUNT gas from the operator's: its address, or the folder that 'make' wrote.

    An account that has as much already gets nothing.
    """
    work = _fund(
        _address_of(account), folder, coins, rpc_url, dry_run=dry_run, yes=yes, as_json=as_json
    )
    asyncio.run(work)


def _address_of(account: str) -> str:
    """Raises click.BadParameter, and ConfigurationError for a folder without a keystore."""
    from node.chain.network.keeping import KeyFiles  # noqa: PLC0415 - loads web3

    if _ADDRESS.fullmatch(account):
        return account.lower()
    folder = Path(account)
    if folder.is_dir():
        return KeyFiles(folder / KEYSTORE_FILE, folder / PASSWORD_FILE).address()
    raise click.BadParameter(
        f"{account!r} is neither 0x and 40 hexadecimal digits nor a folder", param_hint="ACCOUNT"
    )


async def _fund(
    address: str,
    folder: Path,
    coins: int,
    rpc_url: str | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    desk = Desk.open(folder)
    async with desk.at_work(rpc_url) as (rpc, operator):
        held_wei = await rpc.balance_wei(address)
        lack_wei = max(coins * COIN_WEI - held_wei, 0)
        effect = (
            f"Give {address} {lack_wei / COIN_WEI:.4g} coins from {operator.address}:"
            f" it has {held_wei / COIN_WEI:.4g}."
        )
        if lack_wei and not dry_run:
            ask_once([effect], yes=yes)
            await operator.pay(address, lack_wei)
            held_wei = await rpc.balance_wei(address)
        elif lack_wei:
            click.echo(effect, err=True)
    if as_json:
        say_document(
            {
                "schema": "daisee.relay.fund/1",
                "address": address,
                "given_wei": 0 if dry_run else lack_wei,
                "held_wei": held_wei,
                "dry_run": dry_run,
            }
        )
    elif not dry_run:
        given = f"given {lack_wei / COIN_WEI:.4g} coins" if lack_wei else "needs nothing"
        say(f"{address}: {given}; it has {held_wei / COIN_WEI:.4g}")
