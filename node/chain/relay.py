"""Carrying a neighbourhood's signed orders to the chain in batches.

A relay can delay an order, never alter one. What it holds is bounded: a full relay refuses to take
more, and a household then submits its order itself.
"""

from __future__ import annotations

from typing import Final

from node.chain.client import MAX_BATCH, MarketClient
from node.chain.rpc import Receipt, Sender
from node.errors import Refused
from node.model import SignedOrder

MAX_HELD: Final = 20_000


class Relay:
    """Collects signed orders and sends them in batches, in the order in which they came."""

    def __init__(self, market: MarketClient, sender: Sender) -> None:
        self._market = market
        self._sender = sender
        self._held: list[SignedOrder] = []

    def take(self, signed: SignedOrder) -> None:
        """Hold an order for the next flush. Raises Refused when the relay is full."""
        if len(self._held) >= MAX_HELD:
            raise Refused(
                f"the relay already holds {MAX_HELD} orders",
                reason="relay_full",
                next_step="submit the order directly",
            )
        self._held.append(signed)

    async def flush(self) -> list[Receipt]:
        """Send what is held. An order leaves the relay only when its batch has a receipt."""
        receipts: list[Receipt] = []
        while self._held:
            batch = self._held[:MAX_BATCH]
            receipts.append(await self._market.submit_batch(self._sender, batch))
            del self._held[: len(batch)]
        return receipts
