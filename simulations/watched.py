"""A node's store and market, watched: told of each point that is passed, a test or a simulation can
fail there, or cut the power.

The node itself knows nothing of it: the points are those at which something becomes durable, or is
sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from node.model import (
    EventPage,
    LogPosition,
    MarketRules,
    RegisterReading,
    SignedOrder,
    SlotEnergy,
)
from node.ports import IntentState, Market
from node.store import NodeDatabase

POINTS: Final = (
    "before the slot is kept",
    "after the slot is kept",
    "before the order is kept",
    "after the order is kept",
    "before sending",
    "after sending",
    "before clearing",
    "after clearing",
    "before events are kept",
    "after events are kept",
)

Passing = Callable[[str], None]
"""Is told of each point as it is passed; may raise PowerCut, or what its step can fail with."""


class PowerCut(BaseException):
    """The power is gone. Nothing in a node may catch it."""


class Cutter:
    """Cuts the power when a point is passed for the n-th time from when it was armed."""

    def __init__(self) -> None:
        self._point = ""
        self._left = 0

    def arm(self, point: str, nth: int) -> None:
        """Be ready."""
        self._point, self._left = point, nth

    def passing(self, point: str) -> None:
        """Told by what is watched. Raises PowerCut once."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                self._point = ""
                raise PowerCut(point)


class WatchedDatabase(NodeDatabase):
    """A node's database that tells when it is about to keep what, and when it has."""

    passing: Passing = staticmethod(lambda _point: None)
    _keeps = ""

    @classmethod
    def watched(cls, path: Path | None, passing: Passing) -> WatchedDatabase:
        """Open it, and tell of what it keeps."""
        storage = cls.open(path)
        assert isinstance(storage, WatchedDatabase)
        storage.passing = passing
        return storage

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, and told of."""
        return self._watched()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        self._keeps = ""
        with super().transaction():
            yield
            keeps = self._keeps
            if keeps:
                self.passing(f"before {keeps} kept")
        if keeps:
            self.passing(f"after {keeps} kept")

    def add_reading(self, reading: RegisterReading) -> None:
        """Keep a reading."""
        self.passing("before a reading is kept")
        super().add_reading(reading)

    def set_intent_state(
        self,
        slot: int,
        side: int,
        state: IntentState,
        reason: str = "",
        *,
        at: LogPosition | None = None,
    ) -> None:
        """Move an order on."""
        self.passing("before an order's state is kept")
        super().set_intent_state(slot, side, state, reason, at=at)

    def add_slot_energy(self, energy: SlotEnergy) -> None:
        """Keep a closed slot."""
        super().add_slot_energy(energy)
        self._keeps = "the slot is"

    def add_intent(self, signed: SignedOrder) -> None:
        """Persist a new order."""
        super().add_intent(signed)
        self._keeps = "the order is"

    def set_cursor(self, position: LogPosition) -> None:
        """Remember up to where events were projected."""
        super().set_cursor(position)
        self._keeps = "events are"


class WatchedMarket:
    """A market that tells when something is about to be sent, and when it has been."""

    def __init__(self, market: Market, passing: Passing) -> None:
        self._market = market
        self._passing = passing
        self.sent: list[SignedOrder] = []

    async def rules_at(self, slot: int) -> MarketRules:
        """The rules of a slot."""
        return await self._market.rules_at(slot)

    async def submit(self, signed: SignedOrder) -> None:
        """Hand an order over."""
        self._passing("before sending")
        await self._market.submit(signed)
        self.sent.append(signed)
        self._passing("after sending")

    async def clear(self, slot: int) -> None:
        """Clear a slot."""
        self._passing("before clearing")
        await self._market.clear(slot)
        self._passing("after clearing")

    async def events_after(self, position: LogPosition, household: int) -> EventPage:
        """What happened after a position."""
        return await self._market.events_after(position, household)
