"""A node behind an endpoint that fails in every way: it orders once, never crashes, comes back."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import pytest
from web3 import AsyncHTTPProvider

from node.chain import http as http_module
from node.chain import rpc as rpc_module
from node.chain.engines.anvil import find_anvil
from node.chain.http import http_rpc
from node.daemon import HouseholdNode
from node.errors import ChainUnreachable, ConfigurationError
from node.model import Order, Side, SignedOrder
from node.ports import IntentState
from node.store import NodeDatabase
from tests.support.chain_street import RULES, SLOT, ChainStreet, chain_street, metered
from tests.support.rpc_proxy import OTHER_CHAIN, RpcFault, RpcProxy, rpc_proxy

BAD_SLOTS, GOOD_SLOTS = 3, 3
LOAD_WH: Final = (500, 300, 400, 200, 100, 700, 400, 100)
PV_WH: Final = (0, 900, 0, 500, 300, 0, 900, 0)

MOST_FAILURES_A_SLOT: Final = 64
MOST_REQUESTS_A_SLOT: Final = 400
"""Four kinds of step ask the chain, and each is tried again a minute apart for a slot's length."""

ALL: Final[Mapping[RpcFault, float]] = {
    fault: 0.1 for fault in RpcFault if fault is not RpcFault.WRONG_CHAIN
}
ALWAYS: Final[Mapping[RpcFault, float]] = {
    RpcFault.SLOW: 0.3,
    RpcFault.SERVER_ERROR: 1.0,
    RpcFault.RESET: 1.0,
    RpcFault.CUT: 1.0,
    RpcFault.WRONG_CHAIN: 1.0,
    RpcFault.STALE_HEAD: 1.0,
    RpcFault.NO_RECEIPT: 1.0,
    RpcFault.LOGS_TWICE: 1.0,
}


@dataclass(frozen=True, slots=True)
class Behind:
    """A node that reaches its chain through a proxy."""

    street: ChainStreet
    proxy: RpcProxy
    node: HouseholdNode
    storage: NodeDatabase


@asynccontextmanager
async def behind_a_proxy(seed: str) -> AsyncIterator[Behind]:
    try:
        find_anvil()
    except ConfigurationError:
        pytest.skip("there is no anvil here: scripts/setup contracts")
    async with chain_street(LOAD_WH, PV_WH, anvil=True) as street:
        provider = street.chain.rpc.w3.provider
        assert isinstance(provider, AsyncHTTPProvider)
        async with rpc_proxy(str(provider.endpoint_uri), random.Random(seed)) as proxy:
            with impatient(), NodeDatabase.open(None) as storage:
                async with http_rpc(proxy.url) as rpc:
                    node = street.node(storage, market=street.market(rpc=rpc))
                    yield Behind(street, proxy, node, storage)


@contextmanager
def impatient() -> Iterator[None]:
    """Nobody waits a minute for a receipt, or half of one for an answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rpc_module, "RECEIPT_WITHIN_S", 0.2)
        patch.setattr(http_module, "REQUEST_TIMEOUT_S", 0.4)
        yield


async def orders_once(behind: Behind) -> set[int]:
    """No order is on the chain twice, each is its slot's energy, and the node knows them all.
    Returns the slots that have theirs."""
    accepted = await behind.street.accepted()
    counts = Counter((event.slot, event.side) for event in accepted)
    assert max(counts.values(), default=1) == 1
    for event in accepted:
        assert event.energy_wh == metered(LOAD_WH, PV_WH, event.slot)[event.side]
    known = {
        (trade.order.slot, trade.order.side)
        for trade in behind.storage.own_trades()
        if trade.state is IntentState.ACCEPTED
    }
    assert known == set(counts)
    assert behind.storage.open_intents() == []
    return {slot for slot, _ in counts}


async def bad_then_good(odds: Mapping[RpcFault, float], seed: str) -> tuple[Behind, set[int]]:
    async with behind_a_proxy(seed) as behind:
        proxy, node = behind.proxy, behind.node
        proxy.odds = odds
        await node.run(slots=BAD_SLOTS)
        assert node.status().steps_failed <= MOST_FAILURES_A_SLOT * BAD_SLOTS
        assert proxy.asked.total() <= MOST_REQUESTS_A_SLOT * BAD_SLOTS
        assert sum(proxy.happened[fault] for fault in odds) > 0
        proxy.odds = {}
        await node.run(slots=GOOD_SLOTS)
        status = node.status()
        assert status.troubles == []
        assert status.chain_reachable
        ordered = await orders_once(behind)
        return behind, ordered


@pytest.mark.parametrize("fault", RpcFault)
def test_an_endpoint_that_always_fails_so_costs_no_second_order_and_is_got_over(
    fault: RpcFault,
) -> None:
    _, ordered = asyncio.run(bad_then_good({fault: ALWAYS[fault]}, fault))
    good = range(SLOT + BAD_SLOTS + 1, SLOT + BAD_SLOTS + GOOD_SLOTS)
    assert set(good) <= ordered


@pytest.mark.parametrize("seed", range(5))
def test_everything_at_once(seed: int) -> None:
    behind, _ = asyncio.run(bad_then_good(ALL, f"all {seed}"))
    assert len([fault for fault in ALL if behind.proxy.happened[fault]]) > len(ALL) // 2


def test_on_another_chain_nothing_is_sent_and_the_node_says_so() -> None:
    async def lived() -> None:
        async with behind_a_proxy("another chain") as behind:
            behind.proxy.odds = {RpcFault.WRONG_CHAIN: 1.0}
            await behind.node.run(slots=2)
            status = behind.node.status()
            assert {trouble.kind for trouble in status.troubles} == {"ChainMismatch"}
            assert f"serves chain {OTHER_CHAIN}" in status.troubles[0].message
            assert not status.chain_reachable
            assert behind.proxy.asked["eth_sendRawTransaction"] == 0
            assert behind.proxy.asked["eth_getLogs"] == 0
            assert status.counters.slots_closed == 2  # metering goes on

    asyncio.run(lived())


def test_half_an_answer_is_no_answer() -> None:
    async def asked() -> None:
        async with behind_a_proxy("half") as behind, http_rpc(behind.proxy.url) as rpc:
            behind.proxy.odds = {RpcFault.CUT: 1.0}
            for _ in range(4):
                with pytest.raises(ChainUnreachable):
                    await rpc.head()

    asyncio.run(asked())


def test_a_nonce_that_another_sender_used_is_asked_for_again() -> None:
    """Two programs with one key, on the embedded chain: no answer, and the next try is good."""

    async def sent() -> None:
        async with chain_street(LOAD_WH, PV_WH) as street:
            await street.clock.sleep_until(RULES.gate_opens_s(SLOT))
            one, other = street.market(), street.market()
            orders = [Order(1, SLOT - at, Side.BID, 100, RULES.grid.floor_price) for at in range(4)]
            signed = [SignedOrder(order, street.signer().sign(order)) for order in orders]
            await one.submit(signed[0])
            await other.submit(signed[1])
            with pytest.raises(ChainUnreachable, match="nonce"):
                await one.submit(signed[2])
            await one.submit(signed[2])
            assert len(await street.accepted()) == 1  # the other slots' gates are over

    asyncio.run(sent())
