"""A street's signed orders to the chain in real time, several batches on their way at once.

A carrier can delay an order, never alter one. What it holds is bounded: a full one refuses to take
more, and a household then submits its order itself. Nothing here is kept on disk: what a carrier
loses when it stops, households send again by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from web3.exceptions import Web3RPCError

from node.chain.client import (
    GAS_PER_BATCH,
    GAS_PER_ORDER,
    MARKET,
    MAX_BATCH,
    MarketClient,
    order_argument,
)
from node.chain.events import LogDecoder
from node.chain.json_rpc import block_query, field_of, list_of, number, table_of
from node.chain.keys import Key
from node.chain.relay import MAX_HELD, full
from node.chain.rpc import MOST_OUTBID, NO_ANSWER, signed_transaction
from node.chain.rpc import SignedTransaction as Signed
from node.clock import Clock
from node.errors import ChainUnreachable, DaiseeError, Refused
from node.model import OrderAccepted, OrderRefused, SignedOrder

__all__ = ["Carrier", "OrderId"]

log = logging.getLogger("daisee.relay")

MAX_KNOWN: Final = 60_000
"""Orders that are remembered until their gate has closed: waiting, on their way, or mined."""

MAX_IN_FLIGHT: Final = 16
"""Batches that are on their way at once."""

MAX_MINED: Final = 64
"""Mined batches that are remembered, should their blocks be replaced."""

STUCK_BLOCKS: Final = 3
"""After so many blocks that took none of its batches, a relay looks after them."""

EAGER: Final = 4
"""While fewer batches than this are on their way, an order goes at once; beyond that, orders gather
until a batch is full, or for EVERY_S."""

EVERY_S: Final = 0.5
"""How often a relay looks at the least."""

AGAIN_AFTER_S: Final = 1.0

MOST_HASHES: Final = 8
"""Transactions of one nonce that are asked for: any of them may be the one that is mined."""

BASE_FEE_END_WEI: Final = 10**15
"""A full batch at such a price would cost thousands of times what the account holds: an endpoint
that asks for it is broken."""

GAS_CANCEL: Final = 21_000
GAS_PAYMENT: Final = 21_000
MAX_PAYMENTS: Final = 1_024
TIP_WEI: Final = 10**9
BASE_FEE_ROOM: Final = 4
"""A block may cost an eighth more than the one before: this lasts for eleven full ones."""

OrderId = tuple[int, int, int]
"""Household, slot, side: what there is one order of."""


@dataclass(frozen=True, slots=True)
class _Known:
    """An order that was taken, and the gate in which it may be sent."""

    signed: SignedOrder
    opens_s: int
    closes_s: int


@dataclass(frozen=True, slots=True)
class _Payment:
    """Gas money for somebody, in lower case."""

    to: str
    amount_wei: int


@dataclass(slots=True)
class _Flight:
    """A transaction on its way: its nonce is its own for ever, whatever is sent under it. It has
    orders, or a payment."""

    nonce: int
    orders: Sequence[_Known]
    raw: str
    hashes: list[str]
    sent_in_block: int
    price_wei: int
    payment: _Payment | None = None


@dataclass(frozen=True, slots=True)
class _Head:
    number: int
    base_fee_wei: int


@dataclass(slots=True)
class Counts:
    """What a carrier has done since it started."""

    batches: int = 0
    accepted: int = 0
    gas_used: int = 0
    resent: int = 0
    cancelled: int = 0
    expired: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class Carrier:
    """Sends orders in batches from an account of its own, several batches at once.

    The account belongs to this carrier alone: it counts the nonces itself. ``gas_price_wei`` 0
    follows the chain's base fee.
    """

    def __init__(
        self, client: MarketClient, key: Key, clock: Clock, *, gas_price_wei: int = 0
    ) -> None:
        self.address = key.address
        self.counts = Counts()
        self.trouble = ""
        self._client = client
        self._rpc = client.rpc
        self._key = key
        self._clock = clock
        self._gas_price_wei = gas_price_wei
        self._decoder = LogDecoder(client.where.slot_s)
        self._known: dict[OrderId, _Known] = {}
        self._held: dict[OrderId, _Known] = {}
        self._payments: deque[_Payment] = deque()
        self._flights: deque[_Flight] = deque()
        self._mined: deque[_Flight] = deque(maxlen=MAX_MINED)
        self._nonce: int | None = None
        self._head: _Head | None = None
        self._went_on_in_block = 0
        self._taken = asyncio.Event()

    @property
    def held(self) -> int:
        """Orders that wait for a batch."""
        return len(self._held)

    @property
    def head(self) -> int:
        """The newest block that it has seen; -1 before the first."""
        return -1 if self._head is None else self._head.number

    @property
    def in_flight(self) -> int:
        """Batches on their way."""
        return len(self._flights)

    def take(self, signed: SignedOrder, opens_s: int, closes_s: int) -> None:
        """Carry an order while its gate is open. The same one again changes nothing.

        Raises Refused: ``duplicate`` for another order of the same household, slot and side,
        ``relay_full``.
        """
        order = signed.order
        key = (order.household, order.slot, int(order.side))
        known = self._known.get(key)
        if known is not None:
            if known.signed != signed:
                raise Refused("there is another order of this slot and side", reason="duplicate")
            return
        if len(self._held) >= MAX_HELD or len(self._known) >= MAX_KNOWN:
            raise full(len(self._held))
        self._known[key] = self._held[key] = _Known(signed, opens_s, closes_s)
        self._taken.set()

    @property
    def paying(self) -> frozenset[str]:
        """Accounts whose payment waits or is on its way."""
        return frozenset(payment.to for payment in self._unpaid())

    @property
    def paying_wei(self) -> int:
        """What these payments come to."""
        return sum(payment.amount_wei for payment in self._unpaid())

    async def pay(self, to: str, amount_wei: int) -> None:
        """Give an account gas money, after the orders that wait: only the carrier counts nonces.

        A payment that got lost is not made up for. Raises Refused (``relay_full``).
        """
        if len(self._payments) >= MAX_PAYMENTS:
            raise full(MAX_PAYMENTS)
        self._payments.append(_Payment(to.lower(), amount_wei))

    async def run(self) -> None:
        """Carry until cancelled. A chain that is away is told once, and waited for."""
        while True:
            try:
                await self.look()
            except DaiseeError as error:
                if error.message != self.trouble:
                    log.warning("relay_stuck why=%r", error.message)
                self.trouble = error.message
                await asyncio.sleep(AGAIN_AFTER_S)
                continue
            if self.trouble:
                log.info("relay_works_again")
            self.trouble = ""
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._until_worth_a_batch()

    async def look(self) -> None:
        """Once: learn what was mined, look after what is stuck, send what is held.

        Raises ChainUnreachable, and Refused when the chain takes no transaction of this account.
        """
        self._forget_closed()
        try:
            if self._head is not None:
                await self._send(self._head)  # at once: what was sent before can be asked later
            self._head = head = await self._newest()
            self._went_on_in_block = min(self._went_on_in_block, head.number)
            for flight in self._flights:  # a chain that went back is no reason to wait longer
                flight.sent_in_block = min(flight.sent_in_block, head.number)
            await self._collect(head)
            await self._look_after(head)
            await self._send(head)
        except NO_ANSWER as error:
            raise ChainUnreachable(f"the relay's chain does not answer: {error}") from error

    async def _until_worth_a_batch(self) -> None:
        while True:
            await self._taken.wait()
            self._taken.clear()
            room = len(self._flights) < MAX_IN_FLIGHT
            if room and (len(self._flights) < EAGER or len(self._held) >= MAX_BATCH):
                return

    async def _send(self, head: _Head) -> None:
        while self._held and len(self._flights) < MAX_IN_FLIGHT:
            if not await self._send_batch(head):
                break
        while self._payments and len(self._flights) < EAGER:
            await self._send_payment(head)

    def _unpaid(self) -> list[_Payment]:
        on_their_way = [flight.payment for flight in self._flights if flight.payment is not None]
        return [*self._payments, *on_their_way]

    async def _newest(self) -> _Head:
        block = table_of(await self._rpc.ask(*block_query()))
        base_fee_wei = number(block.get("baseFeePerGas") or 0, BASE_FEE_END_WEI)
        return _Head(number(field_of(block, "number")), base_fee_wei)

    def _forget_closed(self) -> None:
        """An order whose gate has closed is never sent."""
        now_s = self._clock.now_s()
        for key in [key for key, known in self._held.items() if known.closes_s <= now_s]:
            del self._held[key]
            self.counts.expired += 1
        for key in [key for key, known in self._known.items() if known.closes_s <= now_s]:
            del self._known[key]

    async def _collect(self, head: _Head) -> None:
        """The receipts that there are, oldest first."""
        while self._flights:
            flight = self._flights[0]
            receipt = await self._receipt(flight)
            if receipt is None:
                return
            gas_used = number(field_of(receipt, "gasUsed"))
            went_well = number(field_of(receipt, "status")) == 1
            events = self._decoder.decode(list_of(field_of(receipt, "logs")))
            self._flights.popleft()
            self._mined.append(flight)
            self._went_on_in_block = head.number
            self.counts.gas_used += gas_used
            if flight.payment is not None:
                continue
            self.counts.batches += 1
            if not went_well:
                log.error("batch_reverted orders=%d", len(flight.orders))
            for event in events:
                if isinstance(event, OrderAccepted):
                    self.counts.accepted += 1
                elif isinstance(event, OrderRefused):
                    self.counts.refused[event.reason.word] += 1

    async def _receipt(self, flight: _Flight) -> Mapping[str, Any] | None:
        for transaction_hash in flight.hashes:
            receipt = await self._rpc.ask("eth_getTransactionReceipt", transaction_hash)
            if receipt is not None:
                return table_of(receipt)
        return None

    async def _look_after(self, head: _Head) -> None:
        """Blocks come and take no batch: the oldest fell out of the pools, or the one before it did
        when its block was replaced. What is missing is sent again; the others wait their turn."""
        oldest = self._flights[0].sent_in_block if self._flights else head.number
        if head.number - max(oldest, self._went_on_in_block) < STUCK_BLOCKS:
            return
        mined = number(await self._rpc.ask("eth_getTransactionCount", self.address, "latest"))
        while self._mined and self._mined[-1].nonce >= mined:
            self._flights.appendleft(self._mined.pop())
        if self._flights and mined < self._flights[0].nonce:
            self._begin_anew(mined)
            return
        is_missing = False
        for flight in list(self._flights):
            if flight.nonce < mined:
                if await self._receipt(flight) is None:
                    log.warning(
                        "nonce_used_elsewhere nonce=%d account=%s", flight.nonce, self.address
                    )
                    self._give_back(flight)
            elif not await self._is_known(flight):
                await self._send_again(flight, head)
                is_missing = True
            elif not is_missing:  # those after a missing one only wait for it
                await self._outbid(flight, head)
            flight.sent_in_block = head.number

    def _begin_anew(self, mined: int) -> None:
        """The chain went back further than is remembered here: nobody can fill the nonces that are
        missing now, and whatever was sent after them would wait for ever."""
        log.warning(
            "chain_went_back account=%s nonce=%d remembered_from=%d",
            self.address,
            mined,
            self._flights[0].nonce,
        )
        for flight in list(self._flights):
            self._give_back(flight)

    async def _is_known(self, flight: _Flight) -> bool:
        for transaction_hash in flight.hashes:
            found = await self._rpc.ask("eth_getTransactionByHash", transaction_hash)
            if found is not None:
                return True
        return False

    async def _send_again(self, flight: _Flight, head: _Head) -> None:
        """The very same transaction; if no gate of its orders is open any more, or if it has none,
        an empty one in its place, because a nonce that is left out stops all that follow."""
        now_s = self._clock.now_s()
        if all(known.closes_s <= now_s for known in flight.orders):
            signed = self._empty(flight.nonce, 2 * self._price(head))
            flight.raw = signed.raw
            if signed.hash not in flight.hashes:
                flight.hashes = [*flight.hashes[:1], signed.hash]
            self.counts.cancelled += 1
        self.counts.resent += 1
        await self._post(flight.raw)

    async def _outbid(self, flight: _Flight, head: _Head) -> None:
        """The endpoint has it, and no validator takes it: pools tell each other of a transaction
        once, and who was away has not heard. The same for more is told anew."""
        most = MOST_OUTBID * self._price(head)
        flight.price_wei = min(max(self._price(head), flight.price_wei * 5 // 4 + 1), most)
        now_s = self._clock.now_s()
        if flight.orders and all(known.closes_s <= now_s for known in flight.orders):
            signed = self._empty(flight.nonce, flight.price_wei)
            self.counts.cancelled += 1
        else:
            signed = self._signed(flight.nonce, flight.orders, flight.payment, flight.price_wei)
        flight.raw = signed.raw
        if signed.hash not in flight.hashes:
            flight.hashes = [*flight.hashes[-MOST_HASHES + 1 :], signed.hash]
        self.counts.resent += 1
        with contextlib.suppress(Refused):  # it was mined this moment
            await self._post(flight.raw)

    def _give_back(self, flight: _Flight) -> None:
        """Its nonce is of no use any more: the orders wait for another batch."""
        self._flights.remove(flight)
        self._nonce = None
        now_s = self._clock.now_s()
        for known in flight.orders:
            if now_s < known.closes_s:
                order = known.signed.order
                self._held[order.household, order.slot, int(order.side)] = known

    async def _send_batch(self, head: _Head) -> bool:
        """Send the oldest orders whose gate is open; False if there is none."""
        now_s = self._clock.now_s()
        open_now = [key for key, known in self._held.items() if known.opens_s <= now_s][:MAX_BATCH]
        if not open_now:
            return False
        nonce = await self._next_nonce()
        orders = [self._held[key] for key in open_now]
        price_wei = self._price(head)
        signed = self._signed(nonce, orders, None, price_wei)
        flight = _Flight(nonce, orders, signed.raw, [signed.hash], head.number, price_wei)
        # It counts as sent from here on: without an answer it may have arrived all the same.
        self._flights.append(flight)
        self._nonce = nonce + 1
        for key in open_now:
            del self._held[key]
        try:
            await self._post(signed.raw)
        except Refused:
            self._flights.pop()
            self._nonce = None
            self._held = dict(zip(open_now, orders, strict=True)) | self._held
            raise
        return True

    async def _send_payment(self, head: _Head) -> None:
        """Send the oldest payment; one that the chain refuses is dropped."""
        nonce = await self._next_nonce()
        payment = self._payments.popleft()
        price_wei = self._price(head)
        signed = self._signed(nonce, [], payment, price_wei)
        flight = _Flight(nonce, [], signed.raw, [signed.hash], head.number, price_wei, payment)
        self._flights.append(flight)
        self._nonce = nonce + 1
        try:
            await self._post(signed.raw)
        except Refused:
            self._flights.pop()
            self._nonce = None
            raise

    async def _next_nonce(self) -> int:
        if self._nonce is None:
            pending = await self._rpc.ask("eth_getTransactionCount", self.address, "pending")
            self._nonce = number(pending)
        return self._nonce

    async def _post(self, raw: str) -> None:
        """Raises Refused when the chain's node answers that it does not want it."""
        try:
            await self._rpc.ask("eth_sendRawTransaction", raw)
        except Web3RPCError as error:
            if "already known" in str(error) or "already imported" in str(error):
                return
            raise Refused(
                f"the chain takes no transaction of {self.address}: {error}",
                reason="transaction_refused",
                next_step="check that the relay's account has gas, and that nobody else uses it",
            ) from error

    def _price(self, head: _Head) -> int:
        return self._gas_price_wei or BASE_FEE_ROOM * head.base_fee_wei + TIP_WEI

    def _signed(
        self, nonce: int, orders: Sequence[_Known], payment: _Payment | None, price_wei: int
    ) -> Signed:
        """A batch of orders, or a payment."""
        checked = self._rpc.w3.to_checksum_address
        if payment is not None:
            transaction = self._transaction(nonce, price_wei, GAS_PAYMENT)
            what: dict[str, Any] = {"to": checked(payment.to), "value": payment.amount_wei}
            return signed_transaction(transaction | what, self._key)
        gas = GAS_PER_BATCH + GAS_PER_ORDER * len(orders)
        data = MARKET.call("submitBatch", [order_argument(known.signed) for known in orders])
        what = {"to": checked(self._client.where.address), "data": data}
        return signed_transaction(self._transaction(nonce, price_wei, gas) | what, self._key)

    def _empty(self, nonce: int, price_wei: int) -> Signed:
        transaction = self._transaction(nonce, price_wei, GAS_CANCEL)
        return signed_transaction(transaction | {"to": self.address}, self._key)

    def _transaction(self, nonce: int, gas_price: int, gas: int) -> dict[str, Any]:
        return {
            "nonce": nonce,
            "value": 0,
            "gas": gas,
            "gasPrice": gas_price,
            "chainId": self._rpc.chain_id,
        }
