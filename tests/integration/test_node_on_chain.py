"""Household nodes wired to the contracts with nothing in between: no shared exchange, no feed.

Three homes live some slots on the embedded chain, each with its own key, account and market; what
each knows in the end is what the simulator's shared feed would have told it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import pytest
from eth_account import Account

from node.chain import relay as relay_module
from node.chain.bootstrap import (
    Role,
    admit,
    deploy,
    grant,
    issue_and_deposit,
    market_client,
    rules_argument,
)
from node.chain.client import MARKET, MarketClient
from node.chain.engines.embedded import EmbeddedChain
from node.chain.household_market import ChainMarket
from node.chain.keys import Key, MarketSigner
from node.chain.relay import Relay
from node.chain.rpc import Sender
from node.clock import ManualClock
from node.daemon import HouseholdNode
from node.errors import ChainUnreachable, Refused
from node.market.strategies import FixedReserve
from node.meter.replay import ReplayMeter
from node.model import (
    BEFORE_ALL,
    EventPage,
    Household,
    LogPosition,
    MarketRules,
    Order,
    OrderAccepted,
    OrderRefused,
    Refusal,
    Side,
    SignedOrder,
    SlotCleared,
)
from node.ports import IntentState, Market
from node.slots import slot_start_s
from node.store import NodeDatabase
from simulations.feed import SharedFeed

RULES: Final = MarketRules(network_fee=100, fee_recipient="0x" + "fe" * 20)
DEARER: Final = replace(RULES, network_fee=300, gate_s=200)
SLOT: Final = 1_628_064
START_S: Final = slot_start_s(SLOT, RULES.slot_s)
CREDIT: Final = 10**10
LIMIT_WH: Final = 9_000
HOMES: Final[Sequence[tuple[Sequence[int], Sequence[int]]]] = (
    ((100, 100, 300, 200, 0), (600, 700, 100, 200, 0)),
    ((500, 200, 400, 200, 0), (0, 0, 0, 0, 0)),
    ((400, 300, 100, 200, 0), (0, 500, 700, 200, 0)),
)
"""Load and PV of each home and slot, in Wh: in the last but one nobody sells, in the last nobody
orders at all."""
SLOTS: Final = 5


class ChainClock(ManualClock):
    """A clock that the chain's blocks follow."""

    def __init__(self, start_s: int, chain: EmbeddedChain) -> None:
        super().__init__(start_s)
        self._chain = chain

    async def sleep_until(self, unix_s: int) -> None:
        await super().sleep_until(unix_s)
        await self._chain.stamp(self.now_s())


@dataclass(frozen=True, slots=True)
class Community:
    """Contracts on a chain, three members with credit, and who may do what for them."""

    chain: EmbeddedChain
    clock: ChainClock
    operator: Sender
    client: MarketClient
    keys: Sequence[Key]

    def signer(self, number: int) -> MarketSigner:
        return MarketSigner(
            self.keys[number - 1], self.chain.rpc.chain_id, self.client.where.address
        )

    def sender(self, number: int) -> Sender:
        """A household's own account, which pays for its transactions."""
        return Sender(self.chain.rpc, self.keys[number - 1], gas_price=self.chain.gas_price)

    def market(self, number: int = 1, relay: Relay | None = None) -> ChainMarket:
        return ChainMarket(self.client, self.sender(number), self.clock, relay)

    def signed(self, number: int, side: Side, energy_wh: int, *, slot: int = SLOT) -> SignedOrder:
        price = RULES.grid.floor_price if side is Side.ASK else RULES.grid.cap_price
        order = Order(number, slot, side, energy_wh, price)
        return SignedOrder(order, self.signer(number).sign(order))

    def node(self, number: int, market: Market, storage: NodeDatabase) -> HouseholdNode:
        load_wh, pv_wh = HOMES[number - 1]
        return HouseholdNode(
            household=Household(number, LIMIT_WH, LIMIT_WH),
            slot_s=RULES.slot_s,
            meter=ReplayMeter(
                f"m{number}",
                self.clock,
                start_s=START_S,
                step_s=RULES.slot_s,
                load_wh=load_wh,
                pv_wh=pv_wh,
            ),
            strategy=FixedReserve(),
            signer=self.signer(number),
            market=market,
            storage=storage,
            clock=self.clock,
            rng=random.Random(number),
            evidence_key=bytes([number]) * 32,
        )


@asynccontextmanager
async def community() -> AsyncIterator[Community]:
    funder = Key(b"f" * 32)
    chain = await EmbeddedChain.start(genesis_s=START_S - 3_600, funder=funder)
    keys = [Key(bytes([number]) * 32) for number in range(1, len(HOMES) + 1)]
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
    await issue_and_deposit(operator, deployment, dict.fromkeys(range(1, len(HOMES) + 1), CREDIT))
    clock = ChainClock(START_S, chain)
    yield Community(chain, clock, operator, market_client(chain.rpc, deployment), keys)


async def give_gas(chain: EmbeddedChain, to: str, nonce: int) -> None:
    transfer = {
        "to": to,
        "value": 10**24,
        "gas": 21_000,
        "gasPrice": chain.gas_price,
        "nonce": nonce,
        "chainId": chain.rpc.chain_id,
    }
    signed = Account.sign_transaction(transfer, chain.funder.secret)
    await chain.rpc.w3.eth.send_raw_transaction(signed.raw_transaction)


async def live(street: Community, nodes: Sequence[HouseholdNode], relay: Relay | None) -> None:
    """All nodes through all slots, at the same moments."""
    for node in nodes:
        await node.start()
    for slot in range(SLOT, SLOT + SLOTS):
        await street.clock.sleep_until(RULES.gate_opens_s(slot))
        for node in nodes:
            await node.order_slot(*await node.close_slot(slot))
        if relay is not None:
            await relay.flush()
        await street.clock.sleep_until(RULES.gate_closes_s(slot))
        for node in nodes:
            await node.clear_slot(slot)
        for node in nodes:
            await node.follow()


class FeedMarket:
    """What the simulator hands a node to follow: pages of the shared feed."""

    def __init__(self, feed: SharedFeed) -> None:
        self._feed = feed

    async def rules_at(self, _slot: int) -> MarketRules:
        return RULES

    async def submit(self, signed: SignedOrder) -> None:
        raise NotImplementedError(signed)

    async def clear(self, slot: int) -> None:
        raise NotImplementedError(slot)

    async def events_after(self, position: LogPosition, household: int) -> EventPage:
        return self._feed.after(position, household)


@pytest.mark.parametrize("relayed", [True, False], ids=["relayed", "directly"])
def test_a_node_on_the_chain_knows_what_the_shared_feed_would_tell(*, relayed: bool) -> None:
    async def lived() -> None:
        async with community() as street:
            relay = Relay(street.client, street.operator) if relayed else None
            with ExitStack() as open_stores:
                stores = [open_stores.enter_context(NodeDatabase.open(None)) for _ in HOMES]
                markets = [street.market(number, relay) for number in (1, 2, 3)]
                nodes = [street.node(n, markets[n - 1], stores[n - 1]) for n in (1, 2, 3)]
                await live(street, nodes, relay)
                feed = SharedFeed()
                feed.add((await street.client.events_after(BEFORE_ALL)).events)
                for number, (node, market, store) in enumerate(
                    zip(nodes, markets, stores, strict=True), 1
                ):
                    own = await market.events_after(BEFORE_ALL, number)
                    assert list(own.events) == list(feed.after(BEFORE_ALL, number).events)
                    await _same_projection(street, feed, number, store)
                    orders = sum(1 for trade in store.own_trades())
                    assert node.counters.orders_accepted == orders
                assert sum(node.counters.slots_cleared_here for node in nodes) == 4
                assert [c.matched_wh for c in stores[0].recent_clearings(9)] == [500, 200, 600, 0]

    asyncio.run(lived())


async def _same_projection(
    street: Community, feed: SharedFeed, number: int, store: NodeDatabase
) -> None:
    """A second database with the same orders, told by the feed, comes to the same knowledge."""
    with NodeDatabase.open(None) as copy:
        for trade in store.own_trades():
            signed = store.intent(trade.order.slot, trade.order.side)
            assert signed is not None
            copy.add_intent(signed)
        await street.node(number, FeedMarket(feed), copy).follow()
        assert copy.own_trades() == store.own_trades()
        assert copy.recent_clearings(99) == store.recent_clearings(99)
        assert copy.open_intents() == store.open_intents() == []


def test_run_lives_on_the_chain_by_itself_and_its_money_is_the_contracts() -> None:
    """The daemon's own loop, submitting by itself; the neighbours order through the relay."""

    async def lived() -> None:
        async with community() as street:
            relay = Relay(street.client, street.operator)
            market = WithNeighbours(street, relay)
            with NodeDatabase.open(None) as store:
                node = street.node(1, market, store)
                await node.run(slots=SLOTS)
                trades = store.own_trades()
                assert [trade.state for trade in trades] == [IntentState.ACCEPTED] * 3
                assert node.counters.slots_cleared_here == 3
                await street.client.settle(street.operator, SLOT + 2, [1])
                await node.follow()
                totals = store.totals()
                balance = await street.client.balance_units(1)
                assert balance == CREDIT + totals.earned_units - totals.paid_units
                assert (totals.sold_wh, totals.bought_wh) == (1_100, 200)

    asyncio.run(lived())


class WithNeighbours(ChainMarket):
    """Whenever its household orders, a neighbour takes the other side whole."""

    def __init__(self, street: Community, relay: Relay) -> None:
        super().__init__(street.client, street.sender(1), street.clock)
        self._street = street
        self._neighbours = relay

    async def submit(self, signed: SignedOrder) -> None:
        await super().submit(signed)
        other = Side(1 - signed.order.side)
        self._neighbours.take(self._street.signed(2, other, 9_000, slot=signed.order.slot))
        await self._neighbours.flush()


def on_chain(test: Callable[[Community], object]) -> None:
    """Run a test's coroutine on a new community, in the gate of SLOT."""

    async def run() -> None:
        async with community() as street:
            await street.clock.sleep_until(RULES.gate_opens_s(SLOT))
            result = test(street)
            assert asyncio.iscoroutine(result)
            await result

    asyncio.run(run())


def test_clearing_is_refused_in_the_words_of_every_market() -> None:
    async def refusals(street: Community) -> None:
        market = street.market()

        async def reason(slot: int = SLOT) -> str:
            with pytest.raises(Refused) as refused:
                await market.clear(slot)
            return refused.value.reason

        assert await reason() == "no_orders"
        await market.submit(street.signed(1, Side.BID, 100))
        assert await reason() == "gate_still_open"
        assert await reason(SLOT - 1) == "no_orders"
        await street.clock.sleep_until(RULES.gate_closes_s(SLOT))
        await market.clear(SLOT)
        assert await reason() == "already_cleared"

    on_chain(refusals)


def test_who_comes_too_late_to_clear_does_not_pay_for_it() -> None:
    async def late(street: Community) -> None:
        await street.market().submit(street.signed(1, Side.BID, 100))
        await street.clock.sleep_until(RULES.gate_closes_s(SLOT))
        await street.market().clear(SLOT)
        head = await street.chain.rpc.head()
        for slot in (SLOT, SLOT + 1):
            with pytest.raises(Refused):
                await street.market(2).clear(slot)
        assert await street.chain.rpc.head() == head  # no transaction, so no block

    on_chain(late)


def test_a_clearing_that_no_block_takes_does_not_hold_up_the_next_slots_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stopped(street: Community) -> None:
        await street.market().submit(street.signed(1, Side.BID, 100))
        await street.clock.sleep_until(RULES.gate_closes_s(SLOT))
        ask = street.chain.rpc.ask

        async def no_receipt(method: str, *parameters: object) -> object:
            return None if method.endswith("Receipt") else await ask(method, *parameters)

        async def short_gate(_slot: int) -> MarketRules:
            return replace(RULES, gate_s=24)

        market = street.market()
        monkeypatch.setattr(market, "rules_at", short_gate)
        monkeypatch.setattr(street.chain.rpc, "ask", no_receipt)
        with pytest.raises(ChainUnreachable, match="no receipt within 6 s"):  # a quarter of a gate
            await market.clear(SLOT)

    on_chain(stopped)


def test_a_refused_order_is_an_event_and_no_exception() -> None:
    async def forged(street: Community) -> None:
        market = street.market()
        good = street.signed(1, Side.BID, 100)
        await market.submit(replace(good, order=replace(good.order, energy_wh=101)))
        await market.submit(good)
        page = await market.events_after(BEFORE_ALL, 1)
        told = [e for e in page.events if isinstance(e, OrderAccepted | OrderRefused)]
        assert [type(event) for event in told] == [OrderRefused, OrderAccepted]
        assert isinstance(told[0], OrderRefused)
        assert told[0].reason is Refusal.WRONG_SIGNATURE

    on_chain(forged)


def test_a_relay_has_one_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order handed over again goes to the chain itself, and so does one that finds it full."""

    async def impatient(street: Community) -> None:
        relay = Relay(street.client, street.operator)
        market = street.market(relay=relay)
        bid = street.signed(1, Side.BID, 100)
        before = await street.chain.rpc.head()
        await market.submit(bid)
        assert await street.chain.rpc.head() == before  # the relay has it, and sleeps
        await market.submit(bid)
        assert await _accepted(street, 1) == [100]
        monkeypatch.setattr(relay_module, "MAX_HELD", 1)
        await market.submit(street.signed(2, Side.BID, 200))
        assert await _accepted(street, 2) == [200]
        await relay.flush()  # at last: a second one of the same, which the market refuses
        assert await _accepted(street, 1) == [100]

    on_chain(impatient)


async def _accepted(street: Community, number: int) -> list[int]:
    page = await street.client.events_after(BEFORE_ALL, number)
    return [event.energy_wh for event in page.events if isinstance(event, OrderAccepted)]


def test_rules_are_asked_for_once_when_they_are_final_and_again_until_then() -> None:
    async def asked(street: Community) -> None:
        market = street.market()
        assert await market.rules_at(SLOT) == RULES
        assert await market.rules_at(SLOT + 5) == RULES
        await street.operator.send(
            street.client.where.address, MARKET, "scheduleRules", rules_argument(SLOT + 3, DEARER)
        )
        assert await market.rules_at(SLOT + 5) == DEARER
        assert await market.rules_at(SLOT + 2) == RULES
        await street.clock.sleep_until(RULES.gate_opens_s(SLOT + 20))
        for slot in range(SLOT - 20, SLOT + 20):
            assert await market.rules_at(slot) == (DEARER if slot >= SLOT + 3 else RULES)
        street.client.rpc = None  # type: ignore[assignment] # from here on nothing can be asked
        for slot in range(SLOT + 5, SLOT + 20):
            assert await market.rules_at(slot) == DEARER

    on_chain(asked)


def test_the_filter_passes_over_other_households_events() -> None:
    async def filtered(street: Community) -> None:
        market = street.market()
        for number, side in ((1, Side.ASK), (2, Side.BID), (3, Side.BID)):
            await market.submit(  # anybody may carry an order
                street.signed(number, side, 100)
            )
        await street.clock.sleep_until(RULES.gate_closes_s(SLOT))
        await market.clear(SLOT)
        page = await market.events_after(BEFORE_ALL, 2)
        assert {event.household for event in page.events if isinstance(event, OrderAccepted)} == {2}
        assert any(isinstance(event, SlotCleared) for event in page.events)
        assert not page.more
        nothing = await market.events_after(page.upto, 2)
        assert list(nothing.events) == []
        assert nothing.upto >= page.upto

    on_chain(filtered)
