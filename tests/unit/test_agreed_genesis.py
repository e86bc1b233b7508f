"""Another chain may have the agreed id: its first block tells, and then nothing is traded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from web3 import AsyncWeb3

from node.chain import http as http_module
from node.chain.client import MarketAddress, MarketClient
from node.chain.household_market import ChainMarket
from node.chain.keys import Key
from node.chain.rpc import Rpc, Sender
from node.clock import ManualClock
from node.config import load_config
from node.errors import ChainMismatch, ChainUnreachable, ConfigurationError
from node.model import BEFORE_ALL, Order, Side, SignedOrder
from node.service.market import LateMarket
from tests.support.absurd_answers import ADDRESS, CHAIN_ID, AbsurdEndpoint, words
from tests.support.reference_street import SLOT, START_S

ITS_OWN, ANOTHER = "0x" + "11" * 32, "0x" + "99" * 32


def settings(folder: Path, line: str) -> Path:
    path = folder / "config.toml"
    path.write_text(
        '[meter]\nkind = "linky"\nport = "/dev/null"\n[chain]\nrpc = "http://127.0.0.1:1"\n'
        f'chain_id = {CHAIN_ID}\nmarket = "{ADDRESS}"\n{line}\n'
    )
    return path


@pytest.mark.parametrize(
    ("line", "is_right"),
    [
        ("", True),  # of settings that were written before there was such a key
        (f'genesis_hash = "{ITS_OWN.upper().replace("X", "x")}"', True),
        (f'genesis_hash = "{ANOTHER}"', False),
    ],
)
def test_a_chain_with_another_beginning_is_told_and_not_traded_on(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_right: bool
) -> None:
    endpoint = AbsurdEndpoint()
    endpoint.answers["eth_call"] = words(900, 0, 300, 4_000, 100, 224, 0, 0)

    @asynccontextmanager
    async def this_one(_place: str) -> AsyncIterator[Rpc]:
        yield Rpc(AsyncWeb3(endpoint, middleware=[]), CHAIN_ID)

    monkeypatch.setattr(http_module, "http_rpc", this_one)
    chain = load_config(settings(tmp_path, line), {}).chain
    assert chain is not None

    async def lived() -> None:
        async with LateMarket(chain, 900, 1, ManualClock(START_S), None) as market:
            if is_right:
                await market.events_after(BEFORE_ALL, 1)
                assert market.trouble == ""
                return
            with pytest.raises(ChainUnreachable, match="began with 0x1111"):
                await market.events_after(BEFORE_ALL, 1)
            assert ANOTHER in market.trouble

    asyncio.run(lived())


def test_an_endpoint_that_is_pointed_at_another_chain_later_is_noticed() -> None:
    endpoint = AbsurdEndpoint()
    rpc = Rpc(AsyncWeb3(endpoint, middleware=[]), CHAIN_ID)
    market = ChainMarket(
        MarketClient(rpc, MarketAddress(ADDRESS, 900)),
        Sender(rpc, Key(b"k" * 32), gas_price=1),
        ManualClock(START_S + 10),
        genesis_hash=ITS_OWN,
    )
    order = SignedOrder(Order(1, SLOT - 1, Side.BID, 5, 9_000), bytes(64))

    async def lived() -> None:
        await market.events_after(BEFORE_ALL, 1)
        endpoint.answers["eth_getBlockByNumber"] = {"number": "0x5", "hash": ANOTHER}
        with pytest.raises(ChainMismatch, match="began with 0x9999"):
            await market.events_after(BEFORE_ALL, 1)
        with pytest.raises(ChainMismatch):
            await market.submit(order)

    asyncio.run(lived())


def test_a_hash_has_64_digits(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config.toml:8: chain.genesis_hash is '0x12'"):
        load_config(settings(tmp_path, 'genesis_hash = "0x12"'), {})
