"""A relay that drops, delays, doubles or alters what it is given: nobody loses a slot by it, and
nobody orders twice.

The relay says that it took everything. The homes are real nodes on the real contracts, on anvil,
with a clock that jumps; the neighbour's book is checked from the contract's own events.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

import pytest

from node.chain.client import MarketClient
from node.chain.engines.anvil import find_anvil
from node.chain.household_market import ChainMarket
from node.chain.rpc import Sender
from node.clock import Clock
from node.daemon import HouseholdNode
from node.errors import ChainUnreachable, ConfigurationError, Refused
from node.model import SignedOrder
from node.ports import IntentState
from node.store import NodeDatabase
from simulations.turns import Turns
from tests.support.chain_street import RULES, SLOT, ChainHand, ChainStreet, chain_street, metered

HOMES: Final = 3
SLOTS: Final = 4
LOAD_WH: Final = (500, 300, 400, 200, 100, 700)
PV_WH: Final = (0, 900, 0, 500, 300, 0)
"""All homes have the same: what is traded is not the point here."""


class LyingRelay:
    """Says yes to everything. ``lie`` is what it does instead."""

    def __init__(self, street: ChainStreet, lie: str, rng: random.Random) -> None:
        self.happened: Counter[str] = Counter()
        self._client = street.client
        self._sender = street.operator
        self._lie = lie
        self._rng = rng
        self._kept: list[SignedOrder] = []

    async def hand_over(self, signed: SignedOrder) -> None:
        """Implements ``node.chain.household_market.OrderRelay``."""
        lie = self._rng.choice(LIES[:-1]) if self._lie == "all at once" else self._lie
        self.happened[lie] += 1
        match lie:
            case "delays":
                kept, self._kept = self._kept, [signed]
                await self._carry(kept)
            case "doubles":
                await self._carry([signed, signed])
                await self._carry([signed])
            case "alters":
                await self._carry(self._altered(signed))
            case "refuses":
                raise Refused("not today", reason="relay_full")
            case "breaks":
                raise ChainUnreachable("reset by peer")
            case "fails after carrying":
                await self._carry([signed])
                raise ChainUnreachable("no answer")
            case _:
                assert lie == "drops"

    async def _carry(self, orders: Sequence[SignedOrder]) -> None:
        if orders:
            await self._client.submit_batch(self._sender, orders)

    def _altered(self, signed: SignedOrder) -> list[SignedOrder]:
        order = signed.order
        other = order.household % HOMES + 1
        return [
            SignedOrder(replace(order, energy_wh=order.energy_wh + 1), signed.signature),
            SignedOrder(replace(order, limit_price=RULES.grid.cap_price), signed.signature),
            SignedOrder(replace(order, household=other), signed.signature),
            SignedOrder(replace(order, slot=order.slot - 1), signed.signature),
            SignedOrder(order, bytes(64)),
        ]


LIES: Final = (
    "drops",
    "delays",
    "doubles",
    "alters",
    "refuses",
    "breaks",
    "fails after carrying",
    "all at once",
)


@pytest.mark.parametrize("lie", LIES)
def test_a_relay_that_lies_costs_nobody_a_slot(lie: str) -> None:
    try:
        find_anvil()
    except ConfigurationError:
        pytest.skip("there is no anvil here: scripts/setup contracts")
    asyncio.run(lived(lie))


async def lived(lie: str) -> None:
    async with chain_street(LOAD_WH, PV_WH, homes=HOMES, anvil=True) as street:
        relay = LyingRelay(street, lie, random.Random(lie))
        turns = Turns(street.clock.now_s())
        with ExitStack() as open_stores:
            stores = [open_stores.enter_context(NodeDatabase.open(None)) for _ in range(HOMES)]
            hands = [ChainHand(turns.join(), street.chain) for _ in range(HOMES)]
            nodes = [
                street.node(
                    store,
                    number=number,
                    market=market_of(street, number, hand, relay),
                    clock=hand,
                    evidence_key=bytes([number]) * 32,
                )
                for number, (store, hand) in enumerate(zip(stores, hands, strict=True), 1)
            ]
            async with asyncio.TaskGroup() as group:
                for node, hand in zip(nodes, hands, strict=True):
                    group.create_task(live(node, hand))
            await nobody_lost_a_slot(street, stores)
            assert relay.happened.total() == HOMES * SLOTS  # each order was handed over once


def market_of(street: ChainStreet, number: int, clock: Clock, relay: LyingRelay) -> ChainMarket:
    sender = Sender(street.chain.rpc, street.keys[number - 1], gas_price=street.chain.gas_price)
    client = MarketClient(street.chain.rpc, street.client.where)
    return ChainMarket(client, sender, clock, relay)


async def live(node: HouseholdNode, hand: ChainHand) -> None:
    try:
        await node.run(slots=SLOTS)
    finally:
        hand.leave()


async def nobody_lost_a_slot(street: ChainStreet, stores: Sequence[NodeDatabase]) -> None:
    """On chain: each home has for each slot what it metered, once; and each home knows it."""
    accepted = Counter(
        (event.slot, event.household, event.side, event.energy_wh)
        for event in await street.accepted()
    )
    wanted = Counter(
        (slot, home, side, energy_wh)
        for slot in range(SLOT, SLOT + SLOTS)
        for home in range(1, HOMES + 1)
        for side, energy_wh in metered(LOAD_WH, PV_WH, slot).items()
    )
    assert accepted == wanted
    for store in stores:
        trades = store.own_trades()
        assert [trade.state for trade in trades] == [IntentState.ACCEPTED] * len(trades)
        assert store.open_intents() == []
