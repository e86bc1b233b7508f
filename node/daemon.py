"""A household's node: one slot's life, from the meter's registers to the settled credit.

Here the rooms meet: meter, market, chain and store. The same class serves the daemon on a Raspberry
Pi and every home of the simulator; only what it is handed differs (clock, meter, market, storage).

A slot, seen from one house::

    slot ends          close_slot   registers -> energy of the slot, made durable
    gate opens         order_slot   energy -> strategy -> order -> signed -> made durable -> sent
    a quarter is left  resend       what is not on chain by now goes out again, the same bytes
    gate closes        clear_slot   anybody may clear; every node tries, with jitter
    afterwards         follow       events -> own acceptances, clearings, settlements

Nothing is sent before it is durable, nothing is sent after its gate has closed, and a node that
stops anywhere goes on from what it made durable.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from dataclasses import dataclass
from typing import Final

from node.chain.outbox import Outbox
from node.clock import Clock
from node.errors import Refused
from node.market.orders import evidence_commitment, evidence_salt, orders_for
from node.market.strategies import MarketView, OwnOutcome, Strategy
from node.meter.registers import energy_between
from node.model import (
    Household,
    MarketEvent,
    OrderAccepted,
    OrderRefused,
    OrderSettled,
    Quality,
    RegisterReading,
    SlotCleared,
    SlotEnergy,
)
from node.ports import IntentState, Market, MeterSource, OrderSigner
from node.slots import slot_at, slot_end_s
from node.store import NodeDatabase

log = logging.getLogger("daisee.node")

OUTCOMES_KEPT: Final = 64
"""Own outcomes that strategies may look back on."""

MAX_PAGES: Final = 1_000
"""Event pages that one call of follow reads at most; the rest waits for the next call."""

CLEAR_JITTER_S: Final = 20
"""Nodes spread their tries to clear a slot over so many seconds: the first one does it for all."""


@dataclass(slots=True)
class Counters:
    """What this process has seen, for status pages and metrics."""

    orders_sent: int = 0
    orders_resent: int = 0
    orders_accepted: int = 0
    orders_late: int = 0
    orders_given_up: int = 0
    slots_cleared_here: int = 0


class HouseholdNode:
    """One household's node. Methods are called in the order of a slot's life, by one task."""

    def __init__(
        self,
        *,
        household: Household,
        slot_s: int,
        meter: MeterSource,
        strategy: Strategy,
        signer: OrderSigner,
        market: Market,
        storage: NodeDatabase,
        clock: Clock,
        rng: random.Random,
        evidence_key: bytes,
    ) -> None:
        self.household = household
        self.counters = Counters()
        self._slot_s = slot_s
        self._meter = meter
        self._strategy = strategy
        self._market = market
        self._storage = storage
        self._outbox = Outbox(storage, signer)
        self._clock = clock
        self._rng = rng
        self._evidence_key = evidence_key
        self._last_reading = storage.last_reading()
        self._outcomes: deque[OwnOutcome] = deque(maxlen=OUTCOMES_KEPT)
        self._unsettled_wh: dict[tuple[int, int], int] = {}  # by slot and side
        self._unanswered = {(s.order.slot, s.order.side) for s, _ in storage.open_intents()}
        self._remember_own_trades()

    async def start(self) -> None:
        """Take the first reading: the node answers for energy from here on. Later calls of a
        restarted node find the last reading of the one before and change nothing."""
        if self._last_reading is None:
            self._last_reading = await self._meter.read()
            self._storage.add_reading(self._last_reading)

    async def run(self, *, slots: int | None = None) -> None:
        """Live slot after slot, for ever or for a number of them, as the clock tells."""
        await self.start()
        await self._catch_up()  # what this node ordered before it stopped may still be in time
        slot = slot_at(self._clock.now_s(), self._slot_s)
        last = None if slots is None else slot + slots
        while last is None or slot < last:
            await self._clock.sleep_until(slot_end_s(slot, self._slot_s))
            energy, evidence = await self.close_slot(slot)
            rules = await self._market.rules_at(slot)
            await self._clock.sleep_until(rules.gate_opens_s(slot))
            await self.order_slot(energy, evidence)
            await self._clock.sleep_until(rules.gate_closes_s(slot) - rules.gate_s // 4)
            await self._catch_up()
            # Not into the next slot's end: its reading would be late.
            spare_s = self._slot_s - rules.gate_offset_s - rules.gate_s
            jitter_s = self._rng.randrange(min(max(spare_s, 1), CLEAR_JITTER_S))
            await self._clock.sleep_until(rules.gate_closes_s(slot) + jitter_s)
            await self.clear_slot(slot)
            await self.follow()
            slot += 1

    async def close_slot(self, slot: int) -> tuple[SlotEnergy, bytes]:
        """Read the registers at the end of a slot; what they grew by is the slot's energy.

        Returns it with the commitment to the evidence behind it. Raises MeterError or MeterSilent;
        then the slot stays open, and its energy is in the next one's.
        """
        before, after = self._last_reading, await self._meter.read()
        assert before is not None, "start() comes first"
        energy = energy_between(slot, self._slot_s, before, after)
        with self._storage.transaction():
            self._storage.add_reading(after)
            self._storage.add_slot_energy(energy)
        self._last_reading = after
        return energy, self._commit_to(slot, before, after)

    async def order_slot(self, energy: SlotEnergy, evidence: bytes) -> None:
        """Order what the slot metered: signed and durable first, then sent.

        Estimated energy is not ordered: it may belong to another slot, and stays with the supplier.
        An order whose gate has closed by this node's clock is not made at all, and counted.
        """
        if energy.quality is Quality.ESTIMATED:
            log.warning("slot_estimated slot=%d household=%d", energy.slot, self.household.number)
            return
        rules = await self._market.rules_at(energy.slot)
        if not rules.gate_is_open(energy.slot, self._clock.now_s()):
            self.counters.orders_late += 1
            log.warning("order_late slot=%d household=%d", energy.slot, self.household.number)
            return
        view = MarketView(
            rules=rules,
            rng=self._rng,
            recent=self._storage.recent_clearings(OUTCOMES_KEPT),
            own=list(self._outcomes),
        )
        orders = orders_for(self.household, energy, self._strategy, view, evidence)
        if not orders:
            return
        with self._storage.transaction():
            prepared = [self._outbox.prepare(order) for order in orders]
        for order in (signed.order for signed in prepared):
            self._unsettled_wh[order.slot, order.side] = order.energy_wh
            self._unanswered.add((order.slot, order.side))
        for signed in prepared:
            await self._market.submit(signed)
            self._outbox.sent(signed)
            self.counters.orders_sent += 1

    async def resend(self) -> None:
        """Send what is not accepted yet once more, as the very bytes that were signed, as long as
        its gate is open. The market takes only one of them."""
        for signed, _ in self._storage.open_intents():
            slot = signed.order.slot
            rules = await self._market.rules_at(slot)
            if rules.gate_is_open(slot, self._clock.now_s()):
                await self._market.submit(signed)
                self._outbox.sent(signed)
                self.counters.orders_resent += 1

    async def clear_slot(self, slot: int) -> None:
        """Clear a slot whose gate has closed, unless somebody already did or nobody ordered."""
        try:
            await self._market.clear(slot)
        except Refused as refusal:
            log.debug("clear_refused slot=%d reason=%s", slot, refusal.reason)
        else:
            self.counters.slots_cleared_here += 1

    async def follow(self) -> None:
        """Project what happened on chain since the last time into the household's database."""
        for _ in range(MAX_PAGES):
            page = await self._market.events_after(self._storage.cursor(), self.household.number)
            with self._storage.transaction():
                for event in page.events:
                    self._project(event)
                self._storage.set_cursor(page.upto)
            if not page.more:
                break
        await self._give_up_late_orders()

    async def _catch_up(self) -> None:
        await self.follow()
        await self.resend()

    def _project(self, event: MarketEvent) -> None:
        if isinstance(event, SlotCleared):
            self._storage.add_clearing(event)
        elif isinstance(event, OrderAccepted | OrderRefused):
            if event.household != self.household.number:
                return
            known = self._outbox.observe(event)
            if isinstance(event, OrderAccepted):
                self.counters.orders_accepted += 1
                self._unanswered.discard((event.slot, event.side))
                if not known:
                    log.warning("order_unknown_here slot=%d side=%s", event.slot, event.side.word)
        elif isinstance(event, OrderSettled) and event.household == self.household.number:
            self._storage.add_settlement(event)
            ordered_wh = self._unsettled_wh.pop((event.slot, event.side), event.filled_wh)
            self._outcomes.append(OwnOutcome(event.slot, event.side, ordered_wh, event.filled_wh))

    async def _give_up_late_orders(self) -> None:
        """What the chain has not accepted by the end of its gate is never sent again."""
        if not self._unanswered:
            return
        now_s = self._clock.now_s()
        newest = max(slot for slot, _ in self._unanswered)
        rules = await self._market.rules_at(newest)
        closed = slot_at(now_s - rules.gate_offset_s - rules.gate_s, rules.slot_s) - 1
        for signed, reason in self._outbox.expire(closed):
            order = signed.order
            self._unsettled_wh.pop((order.slot, order.side), None)
            self._unanswered.discard((order.slot, order.side))
            self.counters.orders_given_up += 1
            log.warning(
                "order_given_up slot=%d side=%s reason=%s", order.slot, order.side.word, reason
            )

    def _commit_to(self, slot: int, before: RegisterReading, after: RegisterReading) -> bytes:
        return evidence_commitment(evidence_salt(self._evidence_key, slot), before, after)

    def _remember_own_trades(self) -> None:
        """After a restart: what strategies look back on, and which orders are still under way."""
        recent = self._storage.recent_clearings(OUTCOMES_KEPT)
        if not recent and not self._unanswered:
            return
        for trade in self._storage.own_trades(recent[0].slot if recent else None):
            order = trade.order
            if trade.settled is not None:
                self._outcomes.append(
                    OwnOutcome(order.slot, order.side, order.energy_wh, trade.settled.filled_wh)
                )
            elif trade.state is not IntentState.EXPIRED:
                self._unsettled_wh[order.slot, order.side] = order.energy_wh
