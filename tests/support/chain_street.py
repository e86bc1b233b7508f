"""Households on the real contracts, each with its own key and account: embedded chain or anvil."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from eth_account import Account

from node.chain.bootstrap import (
    Deployment,
    Role,
    admit,
    deploy,
    grant,
    issue_and_deposit,
    market_client,
)
from node.chain.client import MarketClient
from node.chain.engines.anvil import AnvilChain
from node.chain.engines.embedded import EmbeddedChain
from node.chain.engines.engine import Engine
from node.chain.household_market import ChainMarket
from node.chain.keys import Key, MarketSigner
from node.chain.rpc import Rpc, Sender
from node.clock import Clock, ManualClock
from node.daemon import HouseholdNode
from node.market.strategies import FixedReserve
from node.meter.replay import ReplayMeter
from node.model import BEFORE_ALL, Household, MarketEvent, MarketRules, OrderAccepted, Side
from node.ports import Market, MeterSource, OrderSigner
from node.slots import slot_start_s
from node.store import NodeDatabase
from simulations.turns import Hand

RULES: Final = MarketRules()
SLOT: Final = 1_628_064
START_S: Final = slot_start_s(SLOT, RULES.slot_s)
CREDIT: Final = 10**13
LIMIT_WH: Final = 9_000


class ChainClock(ManualClock):
    """A clock that the chain's blocks follow."""

    def __init__(self, start_s: int, chain: Engine) -> None:
        super().__init__(start_s)
        self._chain = chain

    async def sleep_until(self, unix_s: int) -> None:
        await super().sleep_until(unix_s)
        await stamp(self._chain, self.now_s())


class ChainHand:
    """The clock of one of several tasks that take turns, which the chain's blocks follow."""

    def __init__(self, hand: Hand, chain: Engine) -> None:
        self._hand = hand
        self._chain = chain

    def now_s(self) -> int:
        return self._hand.now_s()

    async def sleep_until(self, unix_s: int) -> None:
        await self._hand.sleep_until(unix_s)
        await stamp(self._chain, self.now_s())

    def leave(self) -> None:
        self._hand.leave()


async def stamp(chain: Engine, now_s: int) -> None:
    """Give the next block this time, unless the last one is as late."""
    latest: Any = await chain.rpc.w3.eth.get_block("latest")
    if now_s > int(latest["timestamp"]):
        await chain.stamp(now_s)


@dataclass(frozen=True, slots=True)
class ChainStreet:
    """Contracts on a chain, members with credit, and what a node of theirs is made of."""

    chain: Engine
    clock: ChainClock
    operator: Sender
    deployment: Deployment
    client: MarketClient
    keys: Sequence[Key]
    load_wh: Sequence[int]
    pv_wh: Sequence[int]

    def signer(self, number: int = 1, key: Key | None = None) -> MarketSigner:
        """Signs a household's orders."""
        own = self.keys[number - 1] if key is None else key
        return MarketSigner(own, self.chain.rpc.chain_id, self.client.where.address)

    def market(
        self, number: int = 1, rpc: Rpc | None = None, clock: Clock | None = None
    ) -> ChainMarket:
        """The market as a household meets it, over a connection of its own if one is given."""
        rpc = self.chain.rpc if rpc is None else rpc
        sender = Sender(rpc, self.keys[number - 1], gas_price=self.chain.gas_price)
        return ChainMarket(MarketClient(rpc, self.client.where), sender, clock or self.clock)

    def meter(self, number: int = 1, clock: Clock | None = None) -> ReplayMeter:
        """A household's meter; all have the same curve."""
        return ReplayMeter(
            f"m{number}",
            clock or self.clock,
            start_s=START_S,
            step_s=RULES.slot_s,
            load_wh=self.load_wh,
            pv_wh=self.pv_wh,
            initial_import_wh=1_000_000,
        )

    def node(
        self,
        storage: NodeDatabase,
        *,
        number: int = 1,
        market: Market | None = None,
        meter: MeterSource | None = None,
        signer: OrderSigner | None = None,
        clock: Clock | None = None,
        evidence_key: bytes = b"k" * 32,
    ) -> HouseholdNode:
        """A household's daemon."""
        return HouseholdNode(
            household=Household(number, LIMIT_WH, LIMIT_WH),
            slot_s=RULES.slot_s,
            meter=self.meter(number, clock) if meter is None else meter,
            strategy=FixedReserve(),
            signer=self.signer(number) if signer is None else signer,
            market=self.market(number, clock=clock) if market is None else market,
            storage=storage,
            clock=clock or self.clock,
            rng=random.Random(number),
            evidence_key=evidence_key,
        )

    async def events(self) -> list[MarketEvent]:
        """Everything that the contract has told."""
        events: list[MarketEvent] = []
        position, more = BEFORE_ALL, True
        while more:
            page = await self.client.events_after(position)
            events += page.events
            position, more = page.upto, page.more
        return events

    async def accepted(self) -> list[OrderAccepted]:
        """The orders that the contract has accepted, from its own events."""
        return [event for event in await self.events() if isinstance(event, OrderAccepted)]


def metered(load_wh: Sequence[int], pv_wh: Sequence[int], slot: int) -> dict[Side, int]:
    """What a home of these curves orders for a slot."""
    net_wh = load_wh[slot - SLOT] - pv_wh[slot - SLOT]
    energies = {Side.ASK: -net_wh, Side.BID: net_wh}
    return {side: energy_wh for side, energy_wh in energies.items() if energy_wh > 0}


@asynccontextmanager
async def chain_street(
    load_wh: Sequence[int], pv_wh: Sequence[int], *, homes: int = 1, anvil: bool = False
) -> AsyncIterator[ChainStreet]:
    """A street on a new chain."""
    funder = Key(b"f" * 32)
    kind = AnvilChain if anvil else EmbeddedChain
    chain: Engine = await kind.start(genesis_s=START_S - 3_600, funder=funder)
    try:
        keys = [Key(bytes([number]) * 32) for number in range(1, homes + 1)]
        for nonce, key in enumerate(keys):
            await give_gas(chain, key.address, nonce)
        operator = Sender(chain.rpc, funder, gas_price=chain.gas_price)
        deployment = await deploy(chain.rpc, operator, RULES)
        for role in Role:
            await grant(operator, deployment, role, operator.address)
        for key in keys:
            await admit(
                *(chain.rpc, operator, deployment, key, key.address),
                import_limit_wh=LIMIT_WH,
                export_limit_wh=LIMIT_WH,
            )
        amounts = dict.fromkeys(range(1, homes + 1), CREDIT)
        await issue_and_deposit(operator, deployment, amounts)
        yield ChainStreet(
            chain,
            ChainClock(START_S, chain),
            operator,
            deployment,
            market_client(chain.rpc, deployment),
            keys,
            load_wh,
            pv_wh,
        )
    finally:
        await chain.close()


async def give_gas(chain: Engine, to: str, nonce: int) -> None:
    """Pay for an account's transactions."""
    transfer = {
        "to": to,
        "value": 10**24,
        "gas": 21_000,
        "gasPrice": chain.gas_price,
        "nonce": nonce,
        "chainId": chain.rpc.chain_id,
    }
    signed = Account.sign_transaction(transfer, chain.funder.secret)
    sent = await chain.rpc.w3.eth.send_raw_transaction(signed.raw_transaction)
    await chain.rpc.w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)
