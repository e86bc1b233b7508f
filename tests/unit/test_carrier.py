"""A carrier keeps several batches on their way, whatever the chain does to their transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import pytest
from aiohttp import ClientError
from eth_utils.crypto import keccak
from web3 import AsyncWeb3
from web3.exceptions import Web3RPCError
from web3.providers.async_base import AsyncBaseProvider

from node.chain import carrier as carrier_module
from node.chain.carrier import EAGER, MAX_IN_FLIGHT, STUCK_BLOCKS, Carrier
from node.chain.client import MAX_BATCH, MarketAddress, MarketClient
from node.chain.keys import Key
from node.chain.rpc import Rpc
from node.clock import ManualClock
from node.errors import ChainUnreachable, Refused
from node.model import Order, Side, SignedOrder

KEY: Final = Key(b"c" * 32)
MARKET: Final = "0x" + "11" * 20
OPENS_S, CLOSES_S = 1_000, 2_000


class Chain(Rpc):
    """One account's transactions: a pool, blocks made when told, and faults."""

    def __init__(self) -> None:
        super().__init__(AsyncWeb3(AsyncBaseProvider()), 5)
        self.pool: dict[int, str] = {}
        self.mined: dict[str, int] = {}
        self.nonce = 0
        self.head_number = 0
        self.posts: list[str] = []
        self.answers = True
        self.refuses = ""
        self.loses_answers = False
        self.base_fee = 7

    def block(self, count: int = 1, *, most: int = 99) -> None:
        """Make blocks, each with what is executable."""
        for _ in range(count):
            self.head_number += 1
            for _ in range(most):
                raw = self.pool.pop(self.nonce, None)
                if raw is None:
                    break
                self.mined[hash_of(raw)] = self.head_number
                self.nonce += 1

    def go_back(self, blocks: int) -> None:
        """Be as so many blocks ago, with one transaction in each."""
        self.head_number -= blocks
        self.nonce -= blocks
        self.pool.clear()
        self.mined = {raw: at for raw, at in self.mined.items() if at <= self.head_number}

    async def ask(self, method: str, *parameters: object) -> Any:  # noqa: ANN401 - JSON
        if not self.answers:
            raise ClientError("no answer")
        return getattr(self, "_" + method)(*parameters)

    def _eth_getBlockByNumber(self, *_: object) -> Mapping[str, Any]:  # noqa: N802 - JSON-RPC's name
        return {"number": hex(self.head_number), "baseFeePerGas": hex(self.base_fee)}

    def _eth_getTransactionCount(self, _: str, block: str) -> str:  # noqa: N802
        pending = self.nonce
        while block == "pending" and pending in self.pool:
            pending += 1
        return hex(pending)

    def _eth_getTransactionReceipt(self, wanted: str) -> Mapping[str, Any] | None:  # noqa: N802
        if wanted not in self.mined:
            return None
        return {"gasUsed": "0x5208", "status": "0x1", "logs": []}

    def _eth_getTransactionByHash(self, wanted: str) -> object:  # noqa: N802
        known = wanted in self.mined or wanted in map(hash_of, self.pool.values())
        return {"hash": wanted} if known else None

    def _eth_sendRawTransaction(self, raw: str) -> str:  # noqa: N802
        self.posts.append(raw)
        nonce = nonce_of(raw)
        why = self.refuses or ("nonce too low" if nonce < self.nonce else "")
        why = why or ("already known" if self.pool.get(nonce) == raw else "")
        if why:
            raise Web3RPCError(f"{{'code': -32000, 'message': '{why}'}}")
        self.pool[nonce] = raw
        if self.loses_answers:
            raise ClientError("reset by peer")
        return hash_of(raw)


def hash_of(raw: str) -> str:
    return "0x" + keccak(hexstr=raw).hex()


def fields_of(raw: str) -> list[bytes]:
    """The fields of a legacy transaction: RLP, a list of strings."""
    content, at = bytes.fromhex(raw.removeprefix("0x")), 1
    if content[0] > 0xF7:
        at += content[0] - 0xF7
    fields = []
    while at < len(content):
        first, at = content[at], at + 1
        if first < 0x80:
            fields.append(bytes([first]))
            continue
        length = first - 0x80
        if first > 0xB7:
            of_length = first - 0xB7
            length, at = int.from_bytes(content[at : at + of_length]), at + of_length
        fields.append(content[at : at + length])
        at += length
    return fields


def nonce_of(raw: str) -> int:
    return int.from_bytes(fields_of(raw)[0])


class Stage:
    def __init__(self) -> None:
        self.chain = Chain()
        self.clock = ManualClock(OPENS_S)
        client = MarketClient(self.chain, MarketAddress(MARKET, 900))
        self.carrier = Carrier(client, KEY, self.clock)

    def take(self, count: int, *, first: int = 1) -> None:
        for household in range(first, first + count):
            order = Order(household, 1, Side.BID, 100, 4_000)
            self.carrier.take(SignedOrder(order, bytes(64)), OPENS_S, CLOSES_S)

    def look(self) -> None:
        asyncio.run(self.carrier.look())


def test_several_batches_are_on_their_way_at_once_in_the_order_of_their_nonces() -> None:
    stage = Stage()
    stage.take(3 * MAX_BATCH + 7)
    stage.look()
    assert [nonce_of(raw) for raw in stage.chain.posts] == [0, 1, 2, 3]
    assert (stage.carrier.held, stage.carrier.in_flight) == (0, 4)
    stage.chain.block()
    stage.look()
    assert (stage.carrier.in_flight, stage.carrier.counts.batches) == (0, 4)
    stage.take(1, first=900)
    stage.look()
    assert nonce_of(stage.chain.posts[-1]) == 4


def test_there_is_a_bound_to_what_is_under_way() -> None:
    stage = Stage()
    stage.take((MAX_IN_FLIGHT + 2) * MAX_BATCH)
    stage.look()
    assert (stage.carrier.held, stage.carrier.in_flight) == (2 * MAX_BATCH, MAX_IN_FLIGHT)
    stage.chain.block(most=1)
    stage.look()
    assert (stage.carrier.held, stage.carrier.in_flight) == (MAX_BATCH, MAX_IN_FLIGHT)


def test_a_full_carrier_says_to_submit_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier_module, "MAX_HELD", 3)
    stage = Stage()
    stage.take(3)
    with pytest.raises(Refused) as refused:
        stage.take(1, first=9)
    assert refused.value.reason == "relay_full"
    stage.take(1)  # the same again is none more


def test_what_fell_out_of_the_pool_is_sent_again_as_the_same_bytes() -> None:
    stage = Stage()
    stage.take(2 * MAX_BATCH)
    stage.look()
    first = stage.chain.pool.pop(0)
    stage.chain.block(STUCK_BLOCKS)
    stage.look()
    assert stage.chain.posts == [*stage.chain.posts[:2], first]
    stage.chain.block()
    stage.look()
    assert stage.carrier.in_flight == 0
    assert len(stage.chain.mined) == 2


def test_as_long_as_there_are_no_blocks_nothing_is_sent_again() -> None:
    stage = Stage()
    stage.take(1)
    stage.look()
    stage.chain.pool.clear()
    for _ in range(50):
        stage.look()
    assert len(stage.chain.posts) == 1


def test_orders_are_never_sent_after_their_gate_but_their_nonce_is_filled() -> None:
    stage = Stage()
    stage.take(MAX_BATCH)
    stage.look()
    stage.chain.pool.clear()
    stage.clock.advance_to(CLOSES_S)
    stage.chain.block(STUCK_BLOCKS)
    stage.look()
    assert stage.carrier.counts.cancelled == 1
    to, data = fields_of(stage.chain.posts[-1])[3], fields_of(stage.chain.posts[-1])[5]
    assert (to.hex(), data) == (KEY.address.lower().removeprefix("0x"), b"")
    stage.chain.block()
    stage.look()
    assert stage.carrier.in_flight == 0
    order = Order(1, 2, Side.BID, 100, 4_000)
    stage.carrier.take(SignedOrder(order, bytes(64)), CLOSES_S, CLOSES_S + 100)
    stage.look()
    assert nonce_of(stage.chain.posts[-1]) == 1


def test_what_waits_is_dropped_when_its_gate_closes_and_counted() -> None:
    stage = Stage()
    stage.chain.answers = False
    stage.take(5)
    with pytest.raises(ChainUnreachable):
        stage.look()
    stage.chain.answers = True
    stage.clock.advance_to(CLOSES_S)
    stage.look()
    assert stage.carrier.counts.expired == 5
    assert stage.chain.posts == []


def test_what_comes_early_is_held_until_its_gate_opens() -> None:
    stage = Stage()
    order = Order(1, 2, Side.BID, 100, 4_000)
    stage.carrier.take(SignedOrder(order, bytes(64)), OPENS_S + 5, CLOSES_S)
    stage.take(1, first=2)
    stage.look()
    assert (stage.carrier.held, len(stage.chain.posts)) == (1, 1)
    stage.clock.advance_to(OPENS_S + 5)
    stage.look()
    assert (stage.carrier.held, len(stage.chain.posts)) == (0, 2)


def test_without_an_answer_a_batch_may_have_arrived_and_is_not_made_twice() -> None:
    stage = Stage()
    stage.take(3)
    stage.chain.loses_answers = True
    with pytest.raises(ChainUnreachable):
        stage.look()
    assert (stage.carrier.held, stage.carrier.in_flight) == (0, 1)
    stage.chain.loses_answers = False
    stage.chain.block()
    stage.look()
    assert stage.carrier.counts.batches == 1
    assert len(stage.chain.mined) == 1


def test_a_transaction_that_is_refused_leaves_its_orders_waiting() -> None:
    stage = Stage()
    stage.take(3)
    stage.chain.refuses = "insufficient funds for gas * price + value"
    with pytest.raises(Refused, match="insufficient funds"):
        stage.look()
    assert (stage.carrier.held, stage.carrier.in_flight) == (3, 0)
    stage.chain.refuses = ""
    stage.look()
    stage.chain.block()
    stage.look()
    assert stage.carrier.counts.batches == 1


def test_a_nonce_that_somebody_else_used_costs_another_batch() -> None:
    stage = Stage()
    stage.take(3)
    stage.look()
    stage.chain.pool.clear()
    stage.chain.nonce = 1
    stage.chain.block(STUCK_BLOCKS)
    stage.look()
    assert nonce_of(stage.chain.posts[-1]) == 1
    stage.chain.block()
    stage.look()
    assert (stage.carrier.held, stage.carrier.in_flight) == (0, 0)
    assert stage.carrier.counts.batches == 1


def test_a_batch_whose_block_was_replaced_is_sent_again_before_those_that_follow() -> None:
    stage = Stage()
    stage.take(1)
    stage.look()
    stage.chain.block()
    stage.look()
    first = stage.chain.posts[0]
    stage.chain.mined.clear()
    stage.chain.nonce = 0
    stage.take(1, first=5)
    stage.look()
    stage.chain.block(STUCK_BLOCKS)
    stage.look()
    assert stage.chain.posts[-1] == first
    stage.chain.block()
    stage.look()
    assert stage.carrier.in_flight == 0
    assert len(stage.chain.mined) == 2


def test_after_a_restart_it_goes_on_behind_what_is_in_the_pool() -> None:
    stage = Stage()
    stage.take(1)
    stage.look()
    again = Carrier(MarketClient(stage.chain, MarketAddress(MARKET, 900)), KEY, stage.clock)
    order = Order(7, 1, Side.BID, 100, 4_000)
    again.take(SignedOrder(order, bytes(64)), OPENS_S, CLOSES_S)
    asyncio.run(again.look())
    assert nonce_of(stage.chain.posts[-1]) == 1


def test_the_price_follows_the_base_fee() -> None:
    stage = Stage()
    stage.chain.base_fee = 10**12
    stage.take(1)
    stage.look()
    assert int.from_bytes(fields_of(stage.chain.posts[0])[1]) > 3 * 10**12


def test_it_goes_on_by_itself_when_the_chain_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier_module, "EVERY_S", 0.01)
    monkeypatch.setattr(carrier_module, "AGAIN_AFTER_S", 0.01)

    async def lived() -> None:
        stage = Stage()
        stage.chain.answers = False
        stage.take(1)
        task = asyncio.create_task(stage.carrier.run())
        async with asyncio.timeout(20):
            while not stage.carrier.trouble:  # noqa: ASYNC110 - the carrier looks by itself
                await asyncio.sleep(0.01)
            stage.chain.answers = True
            while stage.carrier.trouble or not stage.chain.pool:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(lived())


# Payments


PAID = "0x" + "AB" * 20


def test_a_payment_goes_after_the_orders_and_while_there_is_room() -> None:
    stage = Stage()
    stage.take(EAGER * MAX_BATCH)
    asyncio.run(stage.carrier.pay(PAID, 7))
    stage.look()
    assert (stage.carrier.in_flight, len(stage.chain.posts)) == (EAGER, EAGER)
    assert (stage.carrier.paying, stage.carrier.paying_wei) == (frozenset([PAID.lower()]), 7)
    stage.chain.block()
    stage.look()
    to, value = fields_of(stage.chain.posts[-1])[3:5]
    assert (to.hex(), int.from_bytes(value)) == ("ab" * 20, 7)
    assert stage.carrier.paying == {PAID.lower()}  # until it is mined
    stage.chain.block()
    stage.look()
    assert (stage.carrier.paying, stage.carrier.paying_wei) == (frozenset(), 0)
    assert stage.carrier.counts.batches == EAGER


def test_a_payment_that_fell_out_of_the_pool_leaves_no_gap() -> None:
    stage = Stage()
    asyncio.run(stage.carrier.pay(PAID, 7))
    stage.look()
    stage.chain.pool.clear()
    stage.chain.block(STUCK_BLOCKS)
    stage.look()
    to, value = fields_of(stage.chain.posts[-1])[3:5]
    assert (to.hex(), value) == (KEY.address[2:].lower(), b"")
    stage.chain.block()
    stage.look()
    assert (stage.carrier.paying, stage.carrier.counts.cancelled) == (frozenset(), 1)


def test_a_payment_that_is_refused_is_dropped_and_stops_no_order() -> None:
    stage = Stage()
    asyncio.run(stage.carrier.pay(PAID, 7))
    stage.chain.refuses = "insufficient funds"
    with pytest.raises(Refused):
        stage.look()
    assert stage.carrier.paying == frozenset()
    stage.chain.refuses = ""
    stage.take(1)
    stage.look()
    assert [nonce_of(raw) for raw in stage.chain.pool.values()] == [0]


def test_payments_that_wait_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier_module, "MAX_PAYMENTS", 1)
    stage = Stage()
    asyncio.run(stage.carrier.pay(PAID, 7))
    with pytest.raises(Refused):
        asyncio.run(stage.carrier.pay(PAID, 7))


def test_what_the_endpoint_has_and_no_validator_takes_is_told_anew_for_more() -> None:
    stage = Stage()
    stage.take(1)
    stage.look()
    (first,) = stage.chain.posts
    stage.chain.block(STUCK_BLOCKS, most=0)
    stage.look()
    again = stage.chain.posts[-1]
    assert (len(stage.chain.posts), nonce_of(again)) == (2, 0)
    assert fields_of(again)[3:6] == fields_of(first)[3:6], "to whom, and which orders"
    assert int.from_bytes(fields_of(again)[1]) * 10 >= 11 * int.from_bytes(fields_of(first)[1])
    stage.chain.block()
    stage.look()
    assert (stage.carrier.in_flight, stage.carrier.counts.resent) == (0, 1)


def test_batches_that_wait_their_turn_are_left_alone_while_blocks_take_others() -> None:
    stage = Stage()
    stage.take(3 * MAX_BATCH)
    stage.look()
    for _ in range(3):
        stage.chain.block(STUCK_BLOCKS - 1, most=0)
        stage.chain.block(most=1)
        stage.look()
    assert (stage.carrier.in_flight, stage.carrier.counts.resent) == (0, 0)
    assert len(stage.chain.posts) == 3


@pytest.mark.parametrize("back", [40, 90])
def test_after_a_chain_that_went_back_far_the_relay_carries_on(back: int) -> None:
    """As after a backup was put back on every machine: more batches are gone than are remembered,
    and so is the nonce that all later ones wait for."""
    stage = Stage()
    for household in range(1, 101):
        stage.take(1, first=household)
        stage.look()
        stage.chain.block()
        stage.look()
    assert stage.carrier.counts.batches == 100
    stage.chain.go_back(back)
    for household in range(101, 111):
        stage.take(1, first=household)
        stage.look()
        stage.chain.block()
        stage.look()
    for _ in range(4 * STUCK_BLOCKS):
        stage.look()
        stage.chain.block()
        stage.look()
    assert (stage.carrier.held, stage.carrier.in_flight) == (0, 0)
    assert stage.chain.nonce == len(stage.chain.mined)
    assert stage.chain.nonce > 100 - back
    stage.take(1, first=500)
    stage.look()
    assert nonce_of(stage.chain.posts[-1]) == stage.chain.nonce
