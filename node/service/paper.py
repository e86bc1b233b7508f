"""Paper mode: a household sees what it would order before anything is signed or sent."""

from __future__ import annotations

import logging

from node.errors import Refused
from node.model import EventPage, LogPosition, MarketRules, Order, SignedOrder
from node.ports import Market

__all__ = ["PaperMarket", "PaperSigner", "told_on_paper"]

LONGEST_GATE_S = 300


class PaperSigner:
    """Signs nothing. An order without a signature is on paper only: no market takes it."""

    def sign(self, _order: Order) -> bytes:
        """No signature."""
        return b""


def told_on_paper(record: logging.LogRecord) -> bool:
    """A filter of the node's log: that an order of paper mode was never answered is no news."""
    return not record.msg.startswith("given_up ")


class PaperMarket:
    """Implements ``node.ports.Market`` without ever sending. With a market behind it, rules and
    clearings are the real ones; without, slots have the usual rules and nothing clears."""

    def __init__(self, slot_s: int, behind: Market | None) -> None:
        self._rules = MarketRules(slot_s=slot_s, gate_s=min(LONGEST_GATE_S, slot_s))
        self._behind = behind

    async def rules_at(self, slot: int) -> MarketRules:
        """The rules of the market behind, or the usual ones."""
        return self._rules if self._behind is None else await self._behind.rules_at(slot)

    async def submit(self, _signed: SignedOrder) -> None:
        """Written down is all that it is."""

    async def clear(self, _slot: int) -> None:
        """Others clear. Raises Refused."""
        raise Refused("in paper mode nothing is sent", reason="paper_mode")

    async def events_after(self, position: LogPosition, household: int) -> EventPage:
        """What happens on the market behind."""
        if self._behind is None:
            return EventPage((), position)
        return await self._behind.events_after(position, household)
