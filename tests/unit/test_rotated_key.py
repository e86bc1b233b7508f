"""The keystore is replaced while the node runs: the new key signs the orders and pays the gas."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from eth_account import Account
from web3 import AsyncWeb3
from web3.types import RPCEndpoint, RPCResponse

from node.chain import http as http_module
from node.chain.client import MARKET
from node.chain.keys import Key
from node.chain.rpc import Rpc
from node.clock import ManualClock
from node.config import load_config
from node.model import Order, Side, SignedOrder
from node.service.market import HouseholdKey, LateMarket
from tests.support.absurd_answers import ADDRESS, CHAIN_ID, AbsurdEndpoint, words
from tests.support.reference_street import SLOT, START_S

PASSWORD: Final = "of this household"
OLD, NEW = Key(b"a" * 32), Key(b"b" * 32)


class Endpoint(AbsurdEndpoint):
    """A market with slots of 900 s, and whose account paid for each transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.paid_by: list[str] = []

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:  # noqa: ANN401 - JSON
        if method == "eth_sendRawTransaction":
            self.paid_by.append(Account.recover_transaction(params[0]))
        if method == "eth_call":
            asked = bytes.fromhex(str(params[0]["data"]).removeprefix("0x"))[:4]
            if asked == MARKET.functions["slotSeconds"].selector:
                return {"jsonrpc": "2.0", "id": 1, "result": words(900)}
        return await super().make_request(method, params)


def keep(key: Key, keystore: Path) -> None:
    made = keystore.with_suffix(".new")
    made.write_text(json.dumps(Account.encrypt(key.secret, PASSWORD, iterations=2)))
    made.chmod(0o600)
    made.replace(keystore)


def test_the_new_keys_account_pays_as_soon_as_the_keystore_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint()

    @asynccontextmanager
    async def this_one(_place: str) -> AsyncIterator[Rpc]:
        yield Rpc(AsyncWeb3(endpoint, middleware=[]), CHAIN_ID)

    monkeypatch.setattr(http_module, "http_rpc", this_one)
    keystore, password = tmp_path / "household.json", tmp_path / "password"
    keep(OLD, keystore)
    password.write_text(PASSWORD)
    password.chmod(0o600)
    settings = tmp_path / "config.toml"
    settings.write_text(
        '[meter]\nkind = "linky"\nport = "/dev/null"\n[household]\nnumber = 1\n'
        f'[chain]\nrpc = "http://127.0.0.1:1"\nchain_id = {CHAIN_ID}\nmarket = "{ADDRESS}"\n'
        f'trade = true\n[key]\nkeystore = "{keystore}"\npassword_file = "{password}"\n'
    )
    config = load_config(settings, {})
    chain = config.chain
    assert chain is not None
    key = HouseholdKey(config, {})

    async def lived() -> None:
        async with LateMarket(chain, 900, 1, ManualClock(START_S + 10), key) as market:
            order = Order(1, SLOT - 1, Side.BID, 5, 9_000)
            await market.submit(SignedOrder(order, key.sign(order)))
            keep(NEW, keystore)
            await market.clear(SLOT - 2)
            await market.submit(SignedOrder(order, key.sign(order)))

    asyncio.run(lived())
    assert endpoint.paid_by == [OLD.address, NEW.address, NEW.address]
