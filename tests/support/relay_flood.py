"""Ten thousand orders that are none, at a relay and at the chain itself, while neighbours trade.

They come from a member with a good key and from an outsider without one; from two addresses that
are soon too busy, and from hundreds that are not. Meanwhile honest homes order, each from its own
address, and are timed in blocks.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Final

from aiohttp import ClientError, ClientSession

from node.chain.bootstrap import REGISTRY
from node.chain.client import MAX_BATCH, MarketClient
from node.chain.keys import Key, MarketSigner
from node.chain.relay_orders import BINARY, JSON, MAX_BODY_BYTES, answers_of, packed
from node.chain.rpc import Sender
from node.errors import ChainUnreachable
from node.model import Order, OrderAccepted, OrderRefused, Side, SignedOrder
from tests.support.relay_street import GAS_PRICE, OPEN_SLOTS, RelayStreet

OUTSIDER: Final = Key(b"o" * 32)
MEMBER: Final = 1
SUSPENDED: Final = 2
FIRST_HONEST: Final = 3

IN_A_REQUEST: Final = 5
AT_ONCE: Final = 4
ADDRESSES: Final = 400
HONEST_EVERY_S: Final = 0.7
CALM: Final = 10
"""Honest orders before the flood, to compare with."""
TO_THE_CHAIN: Final = 10
"""One bad order of so many goes to the chain itself."""


@dataclass(slots=True)
class FloodOutcome:
    """What came of it. ``blocks`` are, for each honest order, how many there were from the newest
    one when it was handed to the relay up to the one that has it: 1 is the very next. ``calm`` is
    the same before the flood."""

    sent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    on_chain: Counter[str] = field(default_factory=Counter)
    accepted_bad: int = 0
    honest: int = 0
    honest_accepted: int = 0
    blocks: list[int] = field(default_factory=list)
    calm: list[int] = field(default_factory=list)


class Flood:
    """Bad orders of every kind, for one street."""

    def __init__(self, street: RelayStreet, rng: random.Random) -> None:
        self._street = street
        self._rng = rng
        slot = street.slots(1)[0]
        self.spent = street.order(MEMBER, slot=slot)
        """An order that the chain has accepted before the flood."""

        member = self.spent.order
        other_market = replace(street.where, address="0x" + "ab" * 20).address
        chain_id, market = street.rpc.chain_id, street.where.address
        key = street.keys[MEMBER - 1]
        next_slot = replace(member, slot=slot - 1)
        self._kinds: dict[str, Callable[[], SignedOrder]] = {
            "unsigned": lambda: SignedOrder(self._own(next_slot), bytes(64)),
            "random signature": lambda: SignedOrder(self._own(next_slot), rng.randbytes(64)),
            "forged": lambda: street.sign(self._of_somebody(slot), OUTSIDER),
            "signed by a member for another": lambda: street.sign(self._of_somebody(slot), key),
            "altered": lambda: replace(self.spent, order=self._own(next_slot)),
            "other chain": lambda: _signed(self._own(next_slot), key, chain_id + 1, market),
            "other market": lambda: _signed(self._own(next_slot), key, chain_id, other_market),
            "old slot": lambda: street.sign(
                replace(member, slot=slot - rng.randrange(OPEN_SLOTS, 9_999))
            ),
            "slot to come": lambda: street.sign(replace(member, slot=slot + rng.randrange(2, 999))),
            "over the limit": lambda: street.sign(
                replace(next_slot, energy_wh=rng.randrange(9_001, 2**32))
            ),
            "nothing": lambda: street.sign(replace(next_slot, energy_wh=0)),
            "off the grid": lambda: street.sign(
                replace(next_slot, limit_price=4_001 + 100 * rng.randrange(200))
            ),
            "beyond the grid": lambda: street.sign(
                replace(next_slot, limit_price=rng.choice((0, 100, 26_400, 2**32 - 1)))
            ),
            "a second one": lambda: street.sign(replace(member, energy_wh=rng.randrange(1, 99))),
            "the same again": lambda: self.spent,
            "nobody's": lambda: street.sign(
                replace(member, household=rng.randrange(10_000, 2**32)), OUTSIDER
            ),
            "suspended": lambda: street.sign(replace(member, household=SUSPENDED, slot=slot - 1)),
        }

    def order(self, kind: str) -> SignedOrder:
        """A bad order of a kind."""
        return self._kinds[kind]()

    @property
    def kinds(self) -> Sequence[str]:
        """All of them."""
        return list(self._kinds)

    def body(self, orders: Sequence[SignedOrder]) -> tuple[bytes, str]:
        """A request with these orders; now and then damaged, so that it holds none."""
        body = packed(orders)
        damage = self._rng.randrange(8)
        if damage == 0:
            return body[: self._rng.randrange(len(body))], BINARY
        if damage == 1:
            return self._rng.randbytes(self._rng.randrange(1, 2_000)), BINARY
        if damage == 2:
            junk = json.dumps({"orders": [{"household": self._rng.random()}] * len(orders)})
            return junk.encode()[: self._rng.randrange(20, 9_999)], JSON
        if damage == 3:
            return b"[" * self._rng.randrange(1, MAX_BODY_BYTES + 9_000), JSON
        return body, BINARY

    def _own(self, order: Order) -> Order:
        return replace(order, energy_wh=self._rng.randrange(1, 9_000))

    def _of_somebody(self, slot: int) -> Order:
        household = self._rng.randrange(FIRST_HONEST, len(self._street.keys) + 1)
        return Order(household, slot, Side.BID, self._rng.randrange(1, 9_000), 4_000)


async def flood(street: RelayStreet, url: str, count: int, rng: random.Random) -> FloodOutcome:
    """Send so many bad orders, and let honest homes order as long as that takes."""
    outcome = FloodOutcome()
    storm = Flood(street, rng)
    await street.give_gas(street.keys[MEMBER - 1].address)
    operator = Sender(street.rpc, street.operator, gas_price=GAS_PRICE)
    await operator.send(street.registry, REGISTRY, "suspend", SUSPENDED)
    async with ClientSession() as session:
        await _post(session, url, "198.51.100.1", packed([storm.spent]), BINARY)
        await street.until_accepted(1)
        over, calm = asyncio.Event(), range(FIRST_HONEST, FIRST_HONEST + CALM)
        heads = await _trade(street, session, url, calm, over)
        during = range(calm.stop, len(street.keys) + 1)
        honest = asyncio.create_task(_trade(street, session, url, during, over))
        await _rage(street, storm, session, url, count, rng, outcome)
        over.set()
        heads |= await honest
        await street.until_accepted(1 + len(heads))
    outcome.honest = len(heads)
    await _judge(street, storm, heads, outcome)
    return outcome


async def _rage(
    street: RelayStreet,
    storm: Flood,
    session: ClientSession,
    url: str,
    count: int,
    rng: random.Random,
    outcome: FloodOutcome,
) -> None:
    kinds = cycle(storm.kinds)
    at_chain: list[SignedOrder] = []
    requests: asyncio.Queue[tuple[str, bytes, str, int]] = asyncio.Queue(maxsize=2 * AT_ONCE)

    async def sender() -> None:
        while True:
            address, body, kind, orders = await requests.get()
            for reason in await _post(session, url, address, body, kind, orders):
                outcome.answered[reason] += 1
            requests.task_done()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(sender()) for _ in range(AT_ONCE)]
        for first in range(0, count, IN_A_REQUEST):
            named = [next(kinds) for _ in range(min(IN_A_REQUEST, count - first))]
            outcome.sent.update(named)
            orders = [storm.order(kind) for kind in named]
            if first // IN_A_REQUEST % TO_THE_CHAIN == 0:
                at_chain += orders
                if len(at_chain) >= MAX_BATCH:
                    await _to_the_chain(street, at_chain[:MAX_BATCH], outcome)
                    del at_chain[:MAX_BATCH]
                continue
            body, kind = storm.body(orders)
            few = rng.random() < 0.5
            address = f"203.0.113.{rng.randrange(2)}" if few else f"10.9.{rng.randrange(ADDRESSES)}"
            await requests.put((address + ("" if few else ".1"), body, kind, len(orders)))
        await requests.join()
        if at_chain:
            await _to_the_chain(street, at_chain, outcome)
        for task in tasks:
            task.cancel()


async def _to_the_chain(
    street: RelayStreet, orders: Sequence[SignedOrder], outcome: FloodOutcome
) -> None:
    """The member pays for it from its own account; the outsider has nothing to pay with."""
    client = MarketClient(street.rpc, street.where)
    nobody = Sender(street.rpc, OUTSIDER, gas_price=GAS_PRICE)
    try:
        await client.submit_batch(nobody, orders)
    except ChainUnreachable:
        outcome.answered["no gas"] += len(orders)
    member = Sender(street.rpc, street.keys[MEMBER - 1], gas_price=GAS_PRICE)
    await client.submit_batch(member, orders)
    outcome.answered["sent to the chain"] += len(orders)


async def _post(
    session: ClientSession, url: str, address: str, body: bytes, kind: str, orders: int = 1
) -> list[str]:
    """What was answered, order by order; the empty reason is that of an order that was taken."""
    headers = {"Content-Type": kind, "X-Forwarded-For": address}
    try:
        async with session.post(f"{url}/orders", data=body, headers=headers) as said:
            content = await said.read()
            if said.status != 200:
                return [f"status {said.status}"] * orders
    except (ClientError, OSError):
        return ["cut off"] * orders
    count = len(json.loads(content)["orders"])
    return [answer.reason for answer in answers_of(content, count)]


async def _trade(
    street: RelayStreet,
    session: ClientSession,
    url: str,
    households: range,
    over: asyncio.Event,
) -> dict[int, int]:
    """Honest homes order one after the other; gives the head when each hands its order over."""
    heads: dict[int, int] = {}
    for household in households:
        if over.is_set() and heads:
            break
        body = packed([street.order(household)])
        heads[household] = await street.rpc.head()
        (reason,) = await _post(session, url, f"10.8.0.{household}", body, BINARY)
        assert reason == "", f"an honest order was not taken: {reason}"
        await asyncio.sleep(HONEST_EVERY_S)
    return heads


async def _judge(
    street: RelayStreet, storm: Flood, heads: dict[int, int], outcome: FloodOutcome
) -> None:
    """From the contract's own events."""
    await asyncio.sleep(2.0)
    for event in await street.events():
        if isinstance(event, OrderRefused):
            outcome.on_chain[event.reason.word] += 1
        elif isinstance(event, OrderAccepted):
            honest = street.order(event.household, event.side, event.slot).order
            is_honest = event.household in heads and honest.energy_wh == event.energy_wh
            is_spent = event.household == MEMBER and event.slot == storm.spent.order.slot
            if is_honest:
                outcome.honest_accepted += 1
                is_calm = event.household < FIRST_HONEST + CALM
                waited = event.position.block - heads[event.household]
                (outcome.calm if is_calm else outcome.blocks).append(waited)
            elif not is_spent:
                outcome.accepted_bad += 1


def _signed(order: Order, key: Key, chain_id: int, market: str) -> SignedOrder:
    return SignedOrder(order, MarketSigner(key, chain_id, market).sign(order))
