"""A relay batches, in order, within its bound, and loses nothing when the chain does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from node.chain import relay as relay_module
from node.chain.client import MAX_BATCH, MarketClient
from node.chain.relay import Relay
from node.chain.rpc import Receipt, Sender
from node.errors import ChainUnreachable, Refused
from node.model import Order, Side, SignedOrder


class Carried(MarketClient):
    """Remembers the batches, and fails when told to."""

    def __init__(self) -> None:
        self.batches: list[list[SignedOrder]] = []
        self.failures = 0

    async def submit_batch(
        self, sender: Sender, orders: Sequence[SignedOrder], *, within_s: float = 1.0
    ) -> Receipt:
        assert isinstance(sender, NoSender)
        assert within_s > 0
        if self.failures:
            self.failures -= 1
            raise ChainUnreachable("no answer")
        self.batches.append(list(orders))
        return Receipt(len(self.batches), 0, None)


class NoSender(Sender):
    """Is handed through."""

    def __init__(self) -> None:
        pass


def orders(count: int) -> list[SignedOrder]:
    return [SignedOrder(Order(n, 5, Side.BID, 1, 4_000), bytes(64)) for n in range(1, count + 1)]


def test_orders_go_in_batches_in_the_order_in_which_they_came() -> None:
    market = Carried()
    relay = Relay(market, NoSender())
    wanted = orders(2 * MAX_BATCH + 7)
    for signed in wanted:
        relay.take(signed)
    receipts = asyncio.run(relay.flush())
    assert [len(batch) for batch in market.batches] == [MAX_BATCH, MAX_BATCH, 7]
    assert [signed for batch in market.batches for signed in batch] == wanted
    assert [receipt.block for receipt in receipts] == [1, 2, 3]
    assert asyncio.run(relay.flush()) == []


def test_what_has_no_receipt_stays() -> None:
    market = Carried()
    relay = Relay(market, NoSender())
    for signed in orders(MAX_BATCH + 1):
        relay.take(signed)
    market.failures = 1
    with pytest.raises(ChainUnreachable):
        asyncio.run(relay.flush())
    asyncio.run(relay.flush())
    assert [signed for batch in market.batches for signed in batch] == orders(MAX_BATCH + 1)


def test_a_full_relay_says_to_submit_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "MAX_HELD", 3)
    relay = Relay(Carried(), NoSender())
    for signed in orders(3):
        relay.take(signed)
    with pytest.raises(Refused) as refused:
        relay.take(orders(1)[0])
    assert refused.value.reason == "relay_full"
    assert "directly" in refused.value.next_step
    asyncio.run(relay.flush())
    relay.take(orders(1)[0])
