"""Whatever an endpoint answers, a household's node and a relay go on: nothing but the house's own
errors comes out of a question, and when the answers are sensible again, both trade."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from web3 import AsyncWeb3

from node.chain import carrier as carrier_module
from node.chain import rpc as rpc_module
from node.chain.bootstrap import REGISTRY
from node.chain.claims import recorded_rulings
from node.chain.client import MARKET, MarketAddress, MarketClient
from node.chain.community import genesis_hash_of
from node.chain.household_market import ChainMarket
from node.chain.joining import verify_clock
from node.chain.keys import Key
from node.chain.membership import standing_signer
from node.chain.relay_desk import Limits
from node.chain.rpc import Rpc, Sender
from node.clock import ManualClock
from node.errors import ChainMismatch, ChainUnreachable, DaiseeError
from node.model import LogPosition, Order, Side, SignedOrder
from node.service.relaying import RelayService
from node.store import NodeDatabase
from tests.support.absurd_answers import (
    ADDRESS,
    BLOCK,
    CHAIN_ID,
    SENSIBLE,
    AbsurdEndpoint,
    log_of,
    results,
    words,
)
from tests.support.reference_street import SLOT, START_S, Street, node_of

EXAMPLES: Final = int(os.environ.get("DAISEE_ABSURD_ANSWERS", "400"))
NOW_S: Final = START_S + 10
ORDER: Final = SignedOrder(Order(1, SLOT - 1, Side.BID, 5, 9_000), b"s" * 64)
SEEN: Final = LogPosition(3, 5, b"x" * 32)


@pytest.fixture(autouse=True)
def _nobody_waits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rpc_module, "RECEIPT_WITHIN_S", 0.02)
        patch.setattr(carrier_module, "EVERY_S", 0.001)
        patch.setattr(carrier_module, "AGAIN_AFTER_S", 0.001)
        yield


class Signer:
    def sign(self, order: Order) -> bytes:
        return order.slot.to_bytes(64)


class Stage:
    """A household's market and a relay on one endpoint."""

    def __init__(self) -> None:
        self.endpoint = AbsurdEndpoint()
        self.rpc = Rpc(AsyncWeb3(self.endpoint, middleware=[]), CHAIN_ID)
        self.clock = ManualClock(NOW_S)
        self.client = MarketClient(self.rpc, MarketAddress(ADDRESS, 900))
        key = Key(b"s" * 32)
        self.market = ChainMarket(self.client, Sender(self.rpc, key, gas_price=10**9), self.clock)
        self.relay = RelayService(self.client, ADDRESS, Key(b"r" * 32), self.clock, Limits())

    def questions(self) -> dict[str, Callable[[], Awaitable[object]]]:
        """Everything that a node and a relay ask."""
        rpc = self.rpc
        return {
            "chain id": lambda: Rpc.connect(rpc.w3),
            "genesis": lambda: genesis_hash_of(rpc),
            "clock": lambda: verify_clock(rpc, self.clock, within_s=0),
            "market": lambda: MarketClient.connect(rpc, ADDRESS),
            "rules": lambda: self.client.rules_at(SLOT),
            "limits": lambda: rpc.call(ADDRESS, REGISTRY, "limitsOf", 1),
            "registry": lambda: rpc.call(ADDRESS, MARKET, "REGISTRY"),
            "signer": lambda: standing_signer(rpc, ADDRESS, 1),
            "credit": lambda: self.client.balance_units(1),
            "gas": lambda: rpc.balance_wei(ADDRESS),
            "all events": lambda: self.client.events(0, BLOCK),
            "own events": lambda: self.market.events_after(SEEN, 1),
            "rulings": lambda: recorded_rulings(rpc, ADDRESS, 0, BLOCK),
            "submit": lambda: self.market.submit(ORDER),
            "clear": lambda: self.market.clear(SLOT - 1),
            "members": self.relay.members.follow,
            "carry": self.relay.carrier.look,
            "carry on": self.relay.carrier.look,
        }


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(absurd=results(), slot_s=st.integers(0, 10))
def test_only_errors_of_the_house_come_out_of_a_question(
    absurd: tuple[str, Any], slot_s: int
) -> None:
    async def asked() -> None:
        stage = Stage()
        stage.relay.carrier.take(ORDER, NOW_S - 5, NOW_S + 500 + slot_s)
        stage.endpoint.absurd = absurd
        for name, question in stage.questions().items():
            try:
                await question()
            except DaiseeError as error:
                event(f"{name}: {type(error).__name__}")
        stage.endpoint.absurd = None
        await stage.client.rules_at(SLOT)
        await stage.market.submit(ORDER)
        await stage.relay.members.follow()
        for _ in range(3):
            await stage.relay.carrier.look()
        assert stage.relay.carrier.in_flight == 0

    asyncio.run(asked())


@settings(
    max_examples=max(EXAMPLES // 4, 1), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(absurd=results())
def test_a_node_lives_its_slots_and_trades_when_the_answers_are_sensible_again(
    absurd: tuple[str, Any],
) -> None:
    stage = Stage()
    street = Street(stage.clock)
    stage.endpoint.absurd = absurd
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage, market=stage.market, signer=Signer())
        asyncio.run(node.run(slots=2))
        closed = node.status().counters.slots_closed
        assert closed >= 1
        stage.endpoint.absurd = None
        sent = len(storage.own_trades())
        asyncio.run(node.run(slots=2))
        assert node.status().counters.slots_closed > closed
        assert node.status().counters.orders_sent >= 1 or len(storage.own_trades()) > sent


SYNCING: Final = {
    "eth_call": "0x",
    "eth_getBlockByNumber": {"number": "0x0", "hash": "0x" + "33" * 32},
    "eth_blockNumber": "0x0",
}
ABSURD: Final[dict[str, dict[str, Any]]] = {
    "an endpoint that syncs from the beginning": SYNCING,
    "a clearing of slot 2**200": {"eth_getLogs": [log_of("SlotCleared", (2**200,), 1, 7, 1, 1, 1)]},
    "a price of 2**70": {"eth_getLogs": [log_of("SlotCleared", (5,), 1, 2**70, 1, 1, 1)]},
    "a log of a slot beyond the calendar": {
        "eth_getLogs": [log_of("SlotCleared", (2**62,), 1, 7_000, 1, 1, 1)]
    },
    "a log of another block": {
        "eth_getLogs": [log_of("SlotCleared", (5,), 1, 7, 1, 1, 1) | {"blockNumber": "0x99"}]
    },
    "a log of no block": {
        "eth_getLogs": [log_of("SlotCleared", (5,), 1, 7, 1, 1, 1) | {"blockNumber": None}]
    },
    "rules that are all zero": {"eth_call": words(*[0] * 8)},
    "rules that are all ones": {"eth_call": words(*[-1] * 8)},
    "a gate of 68 years": {"eth_call": words(1, 0, 2**31, 4_000, 100, 224, 0, 0)},
    "a block number of 2**70": {
        "eth_getBlockByNumber": {"number": hex(2**70), "hash": "0x" + "11" * 32}
    },
    "a block without its hash": {"eth_getBlockByNumber": {"number": "0x5", "hash": None}},
    "no block": {"eth_getBlockByNumber": None},
    "a receipt that does not say how it went": {
        "eth_getTransactionReceipt": {"blockNumber": "0x5", "gasUsed": "0x1"}
    },
}


@pytest.mark.parametrize("name", ABSURD)
def test_an_endpoint_that_cannot_be_used_is_a_trouble_that_passes(name: str) -> None:
    stage = Stage()
    street = Street(stage.clock)
    stage.endpoint.answers |= ABSURD[name]
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage, market=stage.market, signer=Signer())
        asyncio.run(node.run(slots=2))
        assert {trouble.kind for trouble in node.status().troubles} <= {
            ChainUnreachable.__name__,
            ChainMismatch.__name__,
        }
        closed = node.status().counters.slots_closed
        stage.endpoint.answers |= SENSIBLE
        asyncio.run(node.run(slots=2))
        assert not node.status().troubles
        assert node.status().counters.slots_closed > closed


@pytest.mark.parametrize("block", [None, {}, {"number": None}, [], "0x", 5])
def test_a_relay_goes_on_after_a_block_that_is_none(block: object) -> None:
    async def lived() -> None:
        stage = Stage()
        carrier = stage.relay.carrier
        stage.endpoint.answers["eth_getBlockByNumber"] = block
        carrier.take(ORDER, NOW_S - 5, NOW_S + 500)
        task = asyncio.create_task(carrier.run())
        async with asyncio.timeout(20):
            while not carrier.trouble:  # noqa: ASYNC110 - the carrier looks by itself
                await asyncio.sleep(0.001)
            stage.endpoint.answers |= SENSIBLE
            while carrier.counts.batches < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert not task.done()
        assert carrier.trouble == ""
        with ExitStack() as stopping:
            stopping.enter_context(suppress(asyncio.CancelledError))
            task.cancel()
            await task

    asyncio.run(lived())
