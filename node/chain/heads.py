"""Following a chain that may take its last blocks back: noticing it, and finding where it forked.

A block's hash stands for everything before it. The position up to which a household has read has
its block's hash with it; if the chain has another block there now, what was read since the fork is
void. Clique replaces a few blocks in ordinary life, engines with finality none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from node.chain.client import BLOCKS_PER_PAGE, END_OF_BLOCK
from node.errors import ChainUnreachable
from node.model import EventPage, LogPosition, MarketEvent

__all__ = ["MAX_BEHIND", "Blocks", "FollowedChain"]

MAX_BEHIND: Final = 64
"""An endpoint that is so many blocks behind has not heard of the last ones yet; behind more, it
still reads the chain, or the chain was put back. Twice a majority of 21 validators is 22."""

SEEN: Final = 64
"""Ends of pages that are remembered, to find a fork by; a position may bring older ones."""

READS: Final = 4
"""Tries to read a page while the chain's last blocks change."""


class Blocks(Protocol):
    """What is asked of a chain to follow it. Every method may raise ChainUnreachable."""

    async def end_of(self, block: int | None = None) -> LogPosition | None:
        """The end of a block with the block's hash, of the newest one if none is named; None if
        there is no such block."""
        ...

    async def events(
        self, from_block: int, to_block: int, household: int | None = None
    ) -> Sequence[MarketEvent]:
        """Events in a range of blocks, both ends included, in chain order."""
        ...


class FollowedChain:
    """Reads a market's events page by page, each of one branch as a whole.

    ``first_block`` is the first one that can hold any. What it remembers only saves reading: all
    that matters is in the positions that it gives and gets.
    """

    def __init__(
        self,
        blocks: Blocks,
        first_block: int = 0,
        *,
        blocks_per_page: int = BLOCKS_PER_PAGE,
        most_behind: int = MAX_BEHIND,
    ) -> None:
        self._blocks = blocks
        self._first_block = first_block
        self._blocks_per_page = blocks_per_page
        self._most_behind = most_behind
        self._seen: deque[LogPosition] = deque(maxlen=SEEN)

    async def events_after(self, position: LogPosition, household: int | None = None) -> EventPage:
        """The next page of events after a position: at most so many blocks of them.

        Raises ChainUnreachable, also when the last blocks change as often as they are read.
        """
        for _ in range(READS):
            page = await self._read(position, household)
            if page is not None:
                return page
        raise ChainUnreachable(f"the chain's last blocks changed {READS} times while being read")

    async def _read(self, position: LogPosition, household: int | None) -> EventPage | None:
        """A page, or None when the branch changed meanwhile."""
        head = await self._blocks.end_of()
        if head is None:
            raise ChainUnreachable("the chain answers without its newest block")
        if (position, position.block_hash) == (head, head.block_hash):
            return EventPage((), position)
        begin = await self._still_there(position, head)
        first = max(begin.block, self._first_block)
        last = min(first + self._blocks_per_page - 1, head.block)
        replaces = None if begin == position else begin
        if last < first:
            return EventPage((), begin, replaces=replaces)
        end = head if last == head.block else await self._blocks.end_of(last)
        found = await self._blocks.events(first, last, household)
        if end is None or not await self._is_there(end):
            return None
        self._remember(begin, end)
        events = tuple(event for event in found if event.position > begin)
        return EventPage(events, end, more=last < head.block, replaces=replaces)

    async def _still_there(self, position: LogPosition, head: LogPosition) -> LogPosition:
        """Where to go on from: the position itself, or the last one known before the fork; the
        beginning if none of them stands any more.

        An endpoint may also be behind the one that was asked before: then its blocks are those that
        are known, and there is nothing new. Raises ChainUnreachable if it is far behind.
        """
        if not position.block_hash:
            return position
        if position.block <= head.block and await self._is_there(position):
            return position
        end = min(position.block, head.block + 1)
        known = {seen.block: seen for seen in (*position.before, *self._seen) if seen.block < end}
        is_behind = position.block > head.block
        for tried, block in enumerate(sorted(known, reverse=True)):
            if await self._is_there(known[block]):
                return self._waiting(position, head) if is_behind and not tried else known[block]
        if is_behind and not known:
            return self._waiting(position, head)
        return LogPosition(self._first_block - 1, END_OF_BLOCK)

    def _waiting(self, position: LogPosition, head: LogPosition) -> LogPosition:
        """For an endpoint that is behind: nothing shows yet that its blocks are others."""
        if position.block - head.block > self._most_behind:
            raise ChainUnreachable(
                f"the endpoint is at block {head.block}; block {position.block} was read before",
                next_step="it may still read the chain; if the chain was put back, this ends by"
                " itself as soon as new blocks show it",
            )
        return position

    async def _is_there(self, position: LogPosition) -> bool:
        now = await self._blocks.end_of(position.block)
        return now is not None and now.block_hash == position.block_hash

    def _remember(self, begin: LogPosition, end: LogPosition) -> None:
        kept = [seen for seen in self._seen if seen.block <= begin.block and seen != end]
        if begin.block_hash and begin not in (*kept, end):
            kept.append(begin)
        self._seen = deque([*kept, end], maxlen=SEEN)
