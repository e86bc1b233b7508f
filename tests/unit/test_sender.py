"""An account whose transaction no block takes: it tells so in time, and gets past it later."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from eth_account import Account
from web3 import AsyncWeb3
from web3.providers.async_base import AsyncBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from node.chain import rpc as rpc_module
from node.chain.client import MARKET
from node.chain.keys import Key
from node.chain.rpc import MOST_OUTBID, Call, Rpc, Sender, created_at
from node.errors import ChainUnreachable
from tests.support.skipping_loop import SkippingLoop

KEY = Key(b"s" * 32)
TO = "0x" + "11" * 20
PRICE = 10**9


class Endpoint(AsyncBaseProvider):
    """Takes transactions, and mines them when told; like geth it takes none in place of another
    for less than a tenth more."""

    def __init__(self) -> None:
        super().__init__()
        self.mines = False
        self.nonce = 0
        self.bids: list[tuple[int, int]] = []
        self.pool: dict[int, int] = {}
        self.answers_after_s = 0.0

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:  # noqa: ANN401 - JSON
        found: Any = None
        if method == "eth_getTransactionReceipt":
            await asyncio.sleep(self.answers_after_s)
        if method == "eth_getTransactionCount":
            found = hex(self.nonce)
        elif method == "eth_sendRawTransaction":
            nonce, price = bid_of(params[0])
            self.bids.append((nonce, price))
            if price * 10 < self.pool.get(nonce, 0) * 11:
                why = "replacement transaction underpriced"
                return {"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": why}}
            self.pool[nonce] = price
            found = "0x" + "22" * 32
        elif method == "eth_getTransactionReceipt" and self.mines:
            self.nonce += self.pool.pop(self.nonce, 0) > 0
            found = {"blockNumber": "0x1", "gasUsed": "0x1", "status": "0x1"}
        return {"jsonrpc": "2.0", "id": 1, "result": found}


def bid_of(raw: str) -> tuple[int, int]:
    """Nonce and price of a legacy transaction; what it says is signed by the account."""
    assert Account.recover_transaction(raw) == KEY.address
    fields = bytes.fromhex(raw.removeprefix("0x"))
    at = 1 + max(fields[0] - 0xF7, 0)
    found = []
    for _ in range(2):
        first, at = fields[at], at + 1
        length = 0 if first < 0x80 else first - 0x80
        found.append(first if first < 0x80 else int.from_bytes(fields[at : at + length]))
        at += length
    return found[0], found[1]


def clear(sender: Sender) -> None:
    asyncio.run(_clear(sender))


async def _clear(sender: Sender) -> None:
    await sender.send(TO, MARKET, "clear", 1, within_s=0.01)


def test_what_no_block_takes_is_outbid_by_the_next_one() -> None:
    endpoint = Endpoint()
    sender = Sender(Rpc(AsyncWeb3(endpoint, middleware=[]), 5), KEY, gas_price=PRICE)
    for _ in range(3):
        with pytest.raises(ChainUnreachable, match="no receipt within"):
            clear(sender)
    endpoint.mines = True
    clear(sender)
    clear(sender)
    nonces, prices = zip(*endpoint.bids, strict=True)
    assert nonces == (0, 0, 0, 0, 1)
    assert all(10 * after >= 11 * before for before, after in pairwise(prices[:4]))
    assert (prices[0], prices[4]) == (PRICE, PRICE)
    assert sender.transactions == 2


def test_there_is_an_end_to_outbidding() -> None:
    endpoint = Endpoint()
    sender = Sender(Rpc(AsyncWeb3(endpoint, middleware=[]), 5), KEY, gas_price=PRICE)
    for _ in range(40):
        with pytest.raises(ChainUnreachable):
            clear(sender)
    assert max(price for _, price in endpoint.bids) <= MOST_OUTBID * PRICE + 1


@pytest.mark.parametrize(
    ("nonce", "address"),
    [  # of the yellow paper's rule, as known from early contracts of the public chain
        (0, "0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"),
        (1, "0x343c43a37d37dff08ae8c4a11544c718abb4fcf8"),
        (2, "0xf778b86fa74e846c4f0a1fbd1335fe81c00a0c91"),
    ],
)
def test_where_an_account_creates_its_contracts_is_known_before(nonce: int, address: str) -> None:
    assert created_at("0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0", nonce) == address


def test_transactions_in_a_row_do_not_wait_for_each_other() -> None:
    endpoint = Endpoint()
    sender = Sender(Rpc(AsyncWeb3(endpoint, middleware=[]), 5), KEY, gas_price=PRICE)
    calls = [Call.of(TO, MARKET, "clear", slot) for slot in range(200)]
    with pytest.raises(ChainUnreachable, match="no receipt"):
        asyncio.run(sender.send_all(calls, within_s=0.01))
    assert [nonce for nonce, _ in endpoint.bids] == list(range(200))
    with pytest.raises(ChainUnreachable, match="no receipt"):  # nor for too little
        asyncio.run(sender.send_all(calls, within_s=0.01))
    assert all(10 * bid >= 11 * PRICE for _, bid in endpoint.bids[200:])
    endpoint.mines = True
    assert len(asyncio.run(sender.send_all([]))) == 0


def test_a_receipt_is_not_waited_for_until_a_gate_that_is_hours_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rpc_module, "RECEIPT_WITHIN_S", 0.01)
    sender = Sender(Rpc(AsyncWeb3(Endpoint(), middleware=[]), 5), KEY, gas_price=PRICE)
    with pytest.raises(ChainUnreachable, match="no receipt within 0 s"):
        asyncio.run(sender.send(TO, MARKET, "clear", 1, within_s=7_200))


def test_the_time_that_an_endpoint_takes_to_answer_counts_as_waiting() -> None:
    """A bound of sixty seconds had a hundred answers of two seconds on top of it."""
    loop, endpoint = SkippingLoop(), Endpoint()
    endpoint.answers_after_s = 2.0
    sender = Sender(Rpc(AsyncWeb3(endpoint, middleware=[]), 5), KEY, gas_price=PRICE)

    async def lasted_s() -> float:
        with pytest.raises(ChainUnreachable, match="no receipt within 60 s"):
            await sender.send(TO, MARKET, "clear", 1)
        return loop.time()

    try:
        assert loop.run_until_complete(lasted_s()) == pytest.approx(60, abs=0.1)
    finally:
        loop.close()


def test_an_endpoint_that_never_answers_a_transaction_is_left_in_time() -> None:
    class Silent(Endpoint):
        async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:  # noqa: ANN401
            if method == "eth_sendRawTransaction":
                await asyncio.sleep(10_000)
            return await super().make_request(method, params)

    loop = SkippingLoop()
    sender = Sender(Rpc(AsyncWeb3(Silent(), middleware=[]), 5), KEY, gas_price=PRICE)

    async def lasted_s() -> float:
        with pytest.raises(ChainUnreachable):
            await sender.send(TO, MARKET, "clear", 1)
        return loop.time()

    try:
        assert loop.run_until_complete(lasted_s()) == pytest.approx(30, abs=0.1)
    finally:
        loop.close()
