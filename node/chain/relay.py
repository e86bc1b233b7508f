"""A relay inside one program: the simulator's, which sends what it holds when it is told to.

``node.chain.carrier`` serves a street in real time.
"""

from __future__ import annotations

from typing import Final

from node.chain.client import MAX_BATCH, MarketClient
from node.chain.rpc import Receipt, Sender
from node.errors import Refused
from node.model import SignedOrder

__all__ = ["MAX_HELD", "Relay", "full"]

MAX_HELD: Final = 20_000
"""Orders that wait for a batch."""


class Relay:
    """Collects signed orders and sends them in batches, in the order in which they came."""

    def __init__(self, market: MarketClient, sender: Sender) -> None:
        self._market = market
        self._sender = sender
        self._held: list[SignedOrder] = []

    def take(self, signed: SignedOrder) -> None:
        """Hold an order for the next flush. Raises Refused when the relay is full."""
        if len(self._held) >= MAX_HELD:
            raise full(MAX_HELD)
        self._held.append(signed)

    async def hand_over(self, signed: SignedOrder) -> None:
        """Implements ``node.chain.household_market.OrderRelay``."""
        self.take(signed)

    async def flush(self) -> list[Receipt]:
        """Send what is held. An order leaves the relay only when its batch has a receipt."""
        receipts: list[Receipt] = []
        while self._held:
            batch = self._held[:MAX_BATCH]
            receipts.append(await self._market.submit_batch(self._sender, batch))
            del self._held[: len(batch)]
        return receipts


def full(held: int) -> Refused:
    """What whoever hands an order to a full relay is told."""
    return Refused(
        f"the relay already holds {held} orders",
        reason="relay_full",
        next_step="submit the order directly",
    )
