"""One reading of the market's events for all nodes of a process.

Every household follows the chain for itself; N of them in one process need not ask for and decode
the same logs N times. The feed hands each node exactly the page that its own query would give: all
clearings and changes of rules, and what concerns its household.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from node.model import (
    BEFORE_ALL,
    EventPage,
    LogPosition,
    MarketEvent,
    RulesScheduled,
    SlotCleared,
)


class SharedFeed:
    """Events since the nodes last followed; older ones are forgotten by ``forget``."""

    def __init__(self) -> None:
        self._for_all: list[MarketEvent] = []
        self._by_household: defaultdict[int, list[MarketEvent]] = defaultdict(list)
        self._upto = BEFORE_ALL
        self._forgotten = BEFORE_ALL

    def add(self, events: Iterable[MarketEvent]) -> None:
        """The next events in chain order."""
        for event in events:
            if isinstance(event, SlotCleared | RulesScheduled):
                self._for_all.append(event)
            else:
                self._by_household[event.household].append(event)
            self._upto = event.position

    def after(self, position: LogPosition, household: int) -> EventPage:
        """What a household has not seen yet. It must not lie before what was forgotten."""
        assert position >= self._forgotten, (position, self._forgotten)
        own = self._by_household.get(household, ())
        fresh = [event for event in self._for_all if event.position > position]
        if own:
            fresh += [event for event in own if event.position > position]
            fresh.sort(key=_position)
        return EventPage(fresh, max(self._upto, position))

    def forget(self) -> None:
        """Drop everything: all nodes have followed up to here."""
        self._for_all.clear()
        self._by_household.clear()
        self._forgotten = self._upto


def _position(event: MarketEvent) -> LogPosition:
    return event.position
