"""``daisee relay run`` in a process of its own, and the service of a household that names it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession
from click.testing import CliRunner
from eth_account import Account

from node.cli.main import cli
from node.config import load_config
from node.errors import ConfigurationError
from node.model import Side
from node.service.market import HouseholdKey, LateMarket
from tests.support.relay_campaign import PASSWORD, RELAYER, relay_process
from tests.support.relay_street import GAS_PRICE, RULES, RelayStreet, street_on_anvil

ADDRESS: Final = "0x" + "11" * 20


def settings(folder: Path, street: RelayStreet, relay: str) -> Path:
    """Of household 1."""
    keystore, password = folder / "household.json", folder / "household-password"
    keystore.write_text(json.dumps(Account.encrypt(street.keys[0].secret, PASSWORD, iterations=2)))
    password.write_text(PASSWORD)
    for secret in (keystore, password):
        secret.chmod(0o600)
    path = folder / "config.toml"
    path.write_text(
        '[meter]\nkind = "linky"\nport = "/dev/null"\n'
        f"[household]\nnumber = 1\nslot_s = {RULES.slot_s}\n"
        f'[chain]\nrpc = "{street.url}"\nchain_id = {street.rpc.chain_id}\ntrade = true\n'
        f'market = "{street.where.address}"\ngas_price_wei = {GAS_PRICE}\nrelay = "{relay}"\n'
        f'[key]\nkeystore = "{keystore}"\npassword_file = "{password}"\n'
    )
    return path


def test_a_household_whose_settings_name_a_relay_orders_through_it(tmp_path: Path) -> None:
    async def lived() -> None:
        async with street_on_anvil(2) as street:
            async with relay_process(street, tmp_path) as url:
                config = load_config(settings(tmp_path, street, url), {})
                assert config.chain is not None
                key = HouseholdKey(config, {})
                async with LateMarket(config.chain, RULES.slot_s, 1, street.clock, key) as market:
                    await market.submit(street.order(1))
                    (accepted,) = await street.until_accepted(1)
                    assert (accepted.household, accepted.side) == (1, Side.BID)
                    # The household has no gas: nobody else can have carried it.
                async with ClientSession() as session, session.get(f"{url}/status") as page:
                    document = await page.json()
                assert document["account"] == RELAYER.address
                assert document["orders_taken"] == 1
            said = (tmp_path / "relay.log").read_text()
            assert "relay_stopped" in said
            assert PASSWORD not in said

    asyncio.run(lived())


@pytest.mark.parametrize("url", ["relay.example", "ftp://relay.example", "https://a b", "https://"])
def test_a_relay_is_named_by_a_url(tmp_path: Path, url: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[meter]\nkind = "linky"\nport = "/dev/null"\n[chain]\nrpc = "http://127.0.0.1:1"\n'
        f'chain_id = 1\nmarket = "{ADDRESS}"\nrelay = "{url}"\n'
    )
    with pytest.raises(ConfigurationError, match=r"config.toml:8: chain.relay is .* and a host"):
        load_config(path, {})


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "either --community or --config"),
        (("--config", "c", "--community", "d"), "either --community or --config"),
        (("--config", "c", "--behind-front", "--beyond-loopback"), "stays on loopback"),
        (("--config", "c", "--listen", "8770"), "not HOST:PORT"),
        (("--config", "c", "--listen", "127.0.0.1:99999"), "not HOST:PORT"),
    ],
)
def test_a_command_line_that_says_too_little_or_too_much(
    arguments: tuple[str, ...], why: str
) -> None:
    key = ("--key", "k", "--password-file", "p")
    result = CliRunner().invoke(cli, ["relay", "run", *key, *arguments])
    assert result.exit_code == 2
    assert why in result.stderr


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    keystore, password = tmp_path / "relay.json", tmp_path / "password"
    keystore.write_text(json.dumps(Account.encrypt(RELAYER.secret, PASSWORD, iterations=2)))
    password.write_text(PASSWORD)
    keystore.chmod(0o600)
    password.chmod(0o644)
    key = ("--key", str(keystore), "--password-file", str(password))
    result = CliRunner().invoke(cli, ["relay", "run", "--config", "none.toml", *key])
    assert result.exit_code == 3
    assert "others" in result.stderr
