"""A household's own orders while they are under way, and what became of the last ones.

The steps of ``node.daemon`` ask here what waits for the chain's answer, what a strategy may look
back on, and what is not to be ordered any more. All of it is drawn from the database: after a
start, and again when the chain took blocks back.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from node.agenda import Counters
from node.chain.outbox import Outbox
from node.market.strategies import OwnOutcome
from node.model import (
    MarketEvent,
    Order,
    OrderAccepted,
    OrderRefused,
    OrderSettled,
    SignedOrder,
    SlotCleared,
)
from node.ports import IntentState, OrderSigner
from node.store import NodeDatabase

log = logging.getLogger("daisee.node")

OUTCOMES_KEPT: Final = 64
"""Own outcomes that strategies may look back on."""

CLOCK_AHEAD: Final = "clock_ahead"
"""Why an order was given up whose energy may be that of other hours."""

Learned = OrderAccepted | OrderSettled


class OwnOrders:
    """``ordered_wh`` is by slot and side, until settled; ``last`` the order that was made last."""

    def __init__(
        self, household: int, storage: NodeDatabase, signer: OrderSigner, counters: Counters
    ) -> None:
        self.last: Order | None = None
        self.outcomes: deque[OwnOutcome] = deque(maxlen=OUTCOMES_KEPT)
        self.ordered_wh: dict[tuple[int, int], int] = {}
        self.outbox = Outbox(storage, signer)
        self._household = household
        self._storage = storage
        self._signer = signer
        self._counters = counters
        self._unanswered: set[tuple[int, int]] = set()
        self.remember()

    def remember(self) -> None:
        """From what is durable alone: what strategies look back on, and what is under way."""
        self.outcomes.clear()
        self.ordered_wh.clear()
        self._unanswered = {(s.order.slot, s.order.side) for s, _ in self._storage.open_intents()}
        recent = self._storage.recent_clearings(OUTCOMES_KEPT)
        if not recent and not self._unanswered:
            return
        for trade in self._storage.own_trades(recent[0].slot if recent else None):
            order = trade.order
            if trade.settled is not None:
                self.outcomes.append(
                    OwnOutcome(order.slot, order.side, order.energy_wh, trade.settled.filled_wh)
                )
            elif trade.state is not IntentState.EXPIRED:
                self.ordered_wh[order.slot, order.side] = order.energy_wh

    def keep(self, orders: Sequence[Order]) -> list[SignedOrder]:
        """Sign orders and make them durable; then they may be sent. None for a slot and side that
        have their order on the chain already, from elsewhere."""
        orders = [o for o in orders if not self._storage.is_elsewhere(o.slot, o.side)]
        if not orders:
            return []
        with self._storage.transaction():
            kept = [self.outbox.prepare(order) for order in orders]
        for signed in kept:
            order = self.last = signed.order
            self.ordered_wh[order.slot, order.side] = order.energy_wh
            self._unanswered.add((order.slot, order.side))
        return kept

    def project(self, event: MarketEvent) -> Learned | None:
        """Store what an event tells, in the transaction around. Returns what is to be learned from
        it as soon as that is durable."""
        if isinstance(event, SlotCleared):
            self._storage.add_clearing(event)
        elif isinstance(event, OrderAccepted | OrderRefused):
            if event.household == self._household:
                return self._answered(event)
        elif isinstance(event, OrderSettled) and event.household == self._household:
            self._storage.add_settlement(event)
            return event
        return None

    def learn(self, learned: Iterable[Learned]) -> None:
        """Remember what became of orders, now that it is durable."""
        for event in learned:
            key = (event.slot, event.side)
            if isinstance(event, OrderAccepted):
                self._counters.orders_accepted += self._storage.intent(*key) is not None
                self._unanswered.discard(key)
                self.ordered_wh.setdefault(key, event.energy_wh)
            else:
                ordered_wh = self.ordered_wh.pop(key, event.filled_wh)
                self.outcomes.append(OwnOutcome(*key, ordered_wh, event.filled_wh))

    def unanswered_slots(self) -> list[int]:
        """The slots whose orders the chain has not answered yet, in their order."""
        return sorted({slot for slot, _ in self._unanswered})

    def give_up(self, slot: int) -> None:
        """What the chain has not accepted of a slot, or of one before, is never sent again."""
        for signed, reason in self.outbox.expire(slot):
            self._given_up(signed.order, reason)
        self._unanswered = {key for key in self._unanswered if key[0] > slot}

    def doubt(self, closed: Iterable[int]) -> None:
        """Give up every open order, and call estimates what is ``closed`` and has no order yet: the
        clock was ahead, and what it closed may hold the energy of other hours. Durable on return.
        """
        with self._storage.transaction():
            given_up = [signed.order for signed, _ in self._storage.open_intents()]
            for order in given_up:
                self._storage.set_intent_state(
                    order.slot, order.side, IntentState.EXPIRED, CLOCK_AHEAD
                )
            for slot in closed:
                self._storage.call_estimated(slot)
        for order in given_up:
            self._given_up(order, CLOCK_AHEAD)
        self._unanswered.clear()
        self.outbox = Outbox(self._storage, self._signer)  # nothing of the other one is open

    def _answered(self, event: OrderAccepted | OrderRefused) -> OrderAccepted | None:
        is_own = self.outbox.observe(event)
        if isinstance(event, OrderRefused):
            return None
        if is_own:
            return event
        self._counters.orders_unknown += 1
        log.warning("order_unknown_here slot=%d side=%s", event.slot, event.side.word)
        if self._storage.intent(event.slot, event.side) is not None:
            return None  # it stands in the place of another one, which is over
        self._storage.add_elsewhere(event)
        return event

    def _given_up(self, order: Order, reason: str) -> None:
        self.ordered_wh.pop((order.slot, order.side), None)
        self._counters.orders_given_up += 1
        log.warning("given_up slot=%d side=%s reason=%s", order.slot, order.side.word, reason)
