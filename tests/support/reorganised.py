"""An engine double that takes blocks back, as Clique does: a household's events, block by block.

The last ``DEPTH`` blocks of the longest branch so far may be replaced, by fewer or by more; older
ones are final. It can do so in the middle of being read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from node.chain.client import END_OF_BLOCK
from node.chain.heads import FollowedChain
from node.model import (
    EventPage,
    LogPosition,
    MarketEvent,
    MarketRules,
    Order,
    OrderAccepted,
    OrderSettled,
    Side,
    SignedOrder,
    SlotCleared,
)

HOUSEHOLD: Final = 7
DEPTH: Final = 12
SLOTS: Final = 6

Block = tuple[MarketEvent, ...]
Draws = Sequence[int]


class ForkingChain:
    """Implements ``node.chain.heads.Blocks``. Block 0 is there from the beginning."""

    def __init__(self) -> None:
        self.blocks: list[Block] = [()]
        self.longest = 0
        self.on_question: Callable[[], None] | None = None
        self._hashes = [b"genesis"]
        self._made = 0

    @property
    def head(self) -> int:
        """The number of the newest block."""
        return len(self.blocks) - 1

    async def end_of(self, block: int | None = None) -> LogPosition | None:
        """The end of a block."""
        self._asked()
        wanted = self.head if block is None else block
        if wanted > self.head:
            return None
        return LogPosition(wanted, END_OF_BLOCK, self._hashes[wanted])

    async def events(
        self, from_block: int, to_block: int, household: int | None = None
    ) -> Sequence[MarketEvent]:
        """What the blocks hold now."""
        assert household == HOUSEHOLD
        self._asked()
        return [event for block in self.blocks[from_block : to_block + 1] for event in block]

    def mine(self, chosen: Draws) -> None:
        """A block with some of the events that may come now; each draw also varies its numbers."""
        block: list[MarketEvent] = []
        for draw in chosen:
            past = [event for made in (*self.blocks, block) for event in made]
            possible = _possible(past)
            if possible:
                kind, slot, side = possible[draw % len(possible)]
                block.append(_event(kind, LogPosition(self.head + 1, len(block)), slot, side, draw))
        self.add(block)

    def add(self, block: Sequence[MarketEvent]) -> None:
        """A block with these events."""
        self._made += 1
        self.blocks.append(tuple(block))
        self._hashes.append(f"block {self._made}".encode())
        self.longest = max(self.longest, self.head)

    def fork(self, depth: int, blocks: Sequence[Draws]) -> None:
        """Take the last blocks back, no final one, and put others in their place."""
        kept = max(len(self.blocks) - depth, self.longest - DEPTH + 1, 1)
        del self.blocks[kept:], self._hashes[kept:]
        for chosen in blocks:
            self.mine(chosen)

    def _asked(self) -> None:
        """Perhaps the chain changes just before it answers."""
        happening, self.on_question = self.on_question, None
        if happening is not None:
            happening()


class ForkingMarket:
    """The market of one household on such a chain. Implements ``node.ports.Market``."""

    def __init__(self, chain: ForkingChain, rules: MarketRules) -> None:
        self.submitted: list[SignedOrder] = []
        self._rules = rules
        self._followed = FollowedChain(chain, blocks_per_page=5, most_behind=DEPTH)

    async def rules_at(self, _slot: int) -> MarketRules:
        """They never change."""
        return self._rules

    async def submit(self, signed: SignedOrder) -> None:
        """Remembered."""
        self.submitted.append(signed)

    async def clear(self, slot: int) -> None:
        """Nobody does here."""
        raise AssertionError(slot)

    async def events_after(self, position: LogPosition, household: int) -> EventPage:
        """As a node reads a real chain."""
        return await self._followed.events_after(position, household)


def order_of(slot: int, side: Side) -> SignedOrder:
    """The order that the household has under way."""
    return SignedOrder(Order(HOUSEHOLD, slot, side, 500, 9_000), b"s" * 64)


def accepted(at: LogPosition, slot: int, side: Side) -> OrderAccepted:
    """The chain took it."""
    return OrderAccepted(at, slot, HOUSEHOLD, side, 500, 9_000, 0)


def _possible(past: Sequence[MarketEvent]) -> list[tuple[type[MarketEvent], int, Side]]:
    taken = {(e.slot, e.side) for e in past if isinstance(e, OrderAccepted)}
    cleared = {e.slot for e in past if isinstance(e, SlotCleared)}
    settled = {(e.slot, e.side) for e in past if isinstance(e, OrderSettled)}
    found: list[tuple[type[MarketEvent], int, Side]] = []
    for slot in range(SLOTS):
        if slot not in cleared:
            found.append((SlotCleared, slot, Side.BID))
        for side in Side:
            if (slot, side) not in taken and slot not in cleared:
                found.append((OrderAccepted, slot, side))
            if (slot, side) in taken - settled and slot in cleared:
                found.append((OrderSettled, slot, side))
    return found


def _event(
    kind: type[MarketEvent], at: LogPosition, slot: int, side: Side, draw: int
) -> MarketEvent:
    if kind is OrderAccepted:
        # Sometimes another node of the same household was quicker, with another order.
        energy_wh = 400 if draw % 7 == 0 else 500
        return OrderAccepted(at, slot, HOUSEHOLD, side, energy_wh, 9_000, draw)
    if kind is SlotCleared:
        return SlotCleared(at, slot, 7_000 if draw % 2 else None, draw, draw, draw)
    return OrderSettled(at, slot, HOUSEHOLD, side, draw, 7_000, draw)
