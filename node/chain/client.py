"""A market on a chain: what a household, a relayer and an observer ask of it and send to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from web3.exceptions import BlockNotFound

from node.chain.contracts import contract
from node.chain.events import LogDecoder, rules_of
from node.chain.json_rpc import BadAnswer, as_bytes, block_query, field_of, number, table_of
from node.chain.rpc import NO_ANSWER, RECEIPT_WITHIN_S, Receipt, Rpc, Sender
from node.errors import ChainMismatch, ChainUnreachable
from node.model import EventPage, LogPosition, MarketEvent, MarketRules, SignedOrder

MARKET: Final = contract("EnergyMarket")

BLOCKS_PER_PAGE: Final = 5_000
"""Blocks of which logs are asked for at once."""

END_OF_BLOCK: Final = 2**31 - 1
"""An index after every log of a block."""

GAS_PER_BATCH: Final = 1_500_000
GAS_PER_ORDER: Final = 130_000
"""Limits, not estimates: a slot's first order may have to clear the slot that its book held."""

GAS_CLEAR: Final = 1_500_000
GAS_PER_SETTLEMENT: Final = 60_000

HASH_BYTES: Final = 32

MAX_BATCH: Final = 100
"""Orders in one transaction."""


@dataclass(frozen=True, slots=True)
class MarketAddress:
    """Where a market lives, and since which block."""

    address: str
    slot_s: int
    created_in_block: int = 0


class MarketClient:
    """Reads one market, and writes to it through whoever sends."""

    def __init__(self, rpc: Rpc, where: MarketAddress) -> None:
        self.rpc = rpc
        self.where = where
        self._decoder = LogDecoder(where.slot_s)

    @classmethod
    async def connect(cls, rpc: Rpc, address: str) -> MarketClient:
        """Find out what stands at an address. Raises ChainMismatch if it is no market."""
        if not await rpc.code_at(address):
            raise ChainMismatch(
                f"there is no contract at {address} on chain {rpc.chain_id}",
                next_step="check the market's address and the RPC URL",
            )
        slot_s = await rpc.call(address, MARKET, "slotSeconds")
        if slot_s < 1:
            raise ChainMismatch(f"the market at {address} says that its slots have {slot_s} s")
        return cls(rpc, MarketAddress(address, slot_s))

    # Reading

    async def rules_at(self, slot: int) -> MarketRules:
        """The rules of a slot. Raises ChainMismatch for what no market can have."""
        _, offset, gate, floor, tick, ticks, fee, recipient = await self.rpc.call(
            self.where.address, MARKET, "rulesAt", slot
        )
        try:
            return rules_of(
                self.where.slot_s,
                offset % 2**256,
                gate,
                floor,
                tick,
                ticks,
                fee,
                int(recipient, 16),
            )
        except ValueError as error:
            raise ChainMismatch(
                f"no market has such rules: {error}",
                next_step="check the market's address, and that the endpoint is to be trusted",
            ) from error

    async def balance_units(self, household: int) -> int:
        """A household's free credit."""
        return int(await self.rpc.call(self.where.address, MARKET, "balanceOf", household))

    async def fees_units(self, recipient: str) -> int:
        """What a fee recipient may withdraw."""
        return int(await self.rpc.call(self.where.address, MARKET, "feesOf", recipient))

    async def events(
        self, from_block: int, to_block: int, household: int | None = None
    ) -> list[MarketEvent]:
        """The market's events in a range of blocks, both ends included, in chain order.

        With a household: every clearing and change of rules, and what concerns that household.
        """
        address = self.where.address
        if household is None:
            return self._decoder.decode(await self.rpc.logs(address, from_block, to_block))
        topics = {name: "0x" + topic.hex() for name, topic in MARKET.topics.items()}
        number = f"0x{household:064x}"
        of_all = [[topics["SlotCleared"], topics["RulesScheduled"]]]
        in_slots = [
            [topics["OrderAccepted"], topics["OrderRefused"], topics["OrderSettled"]],
            None,
            number,
        ]
        money = [[topics["Deposited"], topics["Withdrawn"]], number]
        events = [
            event
            for query in (of_all, in_slots, money)
            for event in self._decoder.decode(
                await self.rpc.logs(address, from_block, to_block, query)
            )
        ]
        return sorted(events, key=lambda event: event.position)

    async def end_of(self, block: int | None = None) -> LogPosition | None:
        """The end of a block with the block's hash, of the newest one if none is named; None if
        the chain has no such block."""
        which = "latest" if block is None else hex(block)
        try:
            found = await self.rpc.ask(*block_query(which))
            return None if found is None else _end_of(found, block)
        except BlockNotFound:
            return None
        except NO_ANSWER as error:
            raise ChainUnreachable(f"no block {which} from the chain: {error}") from error

    async def events_after(self, position: LogPosition, household: int | None = None) -> EventPage:
        """The next page of events after a position: at most BLOCKS_PER_PAGE blocks of them. For a
        chain that takes no block back; a node follows with ``node.chain.heads``."""
        head = await self.rpc.head()
        first = max(position.block, self.where.created_in_block)
        last = min(first + BLOCKS_PER_PAGE - 1, head)
        if last < first:
            return EventPage((), position)
        found = await self.events(first, last, household)
        events = tuple(event for event in found if event.position > position)
        # Blocks are followed whole: the next page begins with the block after the last one.
        return EventPage(events, LogPosition(last, END_OF_BLOCK), more=last < head)

    # Writing

    async def submit_batch(
        self,
        sender: Sender,
        orders: Sequence[SignedOrder],
        *,
        within_s: float = RECEIPT_WITHIN_S,
    ) -> Receipt:
        """Carry signed orders to the chain in one transaction, at most MAX_BATCH of them. Raises
        ChainUnreachable when no block takes it in time; one may still do so later."""
        assert 0 < len(orders) <= MAX_BATCH, len(orders)
        return await sender.send(
            self.where.address,
            MARKET,
            "submitBatch",
            [order_argument(signed) for signed in orders],
            gas=GAS_PER_BATCH + GAS_PER_ORDER * len(orders),
            within_s=within_s,
        )

    async def submit(self, sender: Sender, order: SignedOrder) -> Receipt:
        """Carry one order. Raises Refused with the market's reason."""
        return await sender.send(
            self.where.address,
            MARKET,
            "submitOrder",
            order_argument(order),
            gas=GAS_PER_BATCH + GAS_PER_ORDER,
        )

    async def clear(
        self, sender: Sender, slot: int, *, within_s: float = RECEIPT_WITHIN_S
    ) -> Receipt:
        """Clear a slot. Raises Refused (gate open, already cleared, no orders), ChainUnreachable
        when no block takes it in time."""
        return await sender.send(
            self.where.address, MARKET, "clear", slot, gas=GAS_CLEAR, within_s=within_s
        )

    async def settle(self, sender: Sender, slot: int, households: Iterable[int]) -> Receipt:
        """Settle households' orders of a slot, clearing it first if need be."""
        numbers = list(households)
        return await sender.send(
            self.where.address,
            MARKET,
            "settle",
            slot,
            numbers,
            gas=GAS_CLEAR + GAS_PER_SETTLEMENT * len(numbers),
        )


def _end_of(answer: object, wanted: int | None) -> LogPosition:
    """Raises BadAnswer, also for another block than the one that was asked for."""
    found = table_of(answer)
    at, block_hash = number(field_of(found, "number")), as_bytes(field_of(found, "hash"))
    if len(block_hash) != HASH_BYTES or (wanted is not None and at != wanted):
        raise BadAnswer(f"block {at} with a hash of {len(block_hash)} bytes")
    return LogPosition(at, END_OF_BLOCK, block_hash)


def order_argument(signed: SignedOrder) -> tuple[int, bytes, bytes, bytes]:
    """A signed order as the contract takes it: its five numbers share one word of calldata."""
    order, signature = signed.order, signed.signature
    assert len(signature) == 64, len(signature)
    word = (
        order.household
        | order.slot << 32
        | order.energy_wh << 64
        | order.limit_price << 96
        | order.side << 128
    )
    return (word, order.evidence, signature[:32], signature[32:])
