"""A household's node: one slot's life, from the meter's registers to the settled credit.

Here the rooms meet: meter, market, chain and store. The same class serves the daemon on a Raspberry
Pi and every home of the simulator; only what it is handed differs (clock, meter, market, storage).

A slot, seen from one house::

    slot ends          close_slot   registers -> energy of the slot, made durable
    gate opens         order_slot   energy -> strategy -> order -> signed -> made durable -> sent
    a quarter is left  resend       what is not on chain by now goes out again, the same bytes
    gate closes        clear_slot   anybody may clear; every node tries, with jitter
    afterwards         follow       events -> own acceptances, clearings, settlements

``run`` takes whichever step is due first: gates may overlap, and what fails is tried again while
the others go their way. Nothing is sent before it is durable, nothing after its gate has closed,
and a node that stops anywhere goes on from its store and the clock alone.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from node.agenda import Agenda, Counters, Due, NodeStatus, Step
from node.clock import Clock
from node.errors import MeterError, MeterNotYet, Refused
from node.market.orders import evidence_commitment, evidence_salt, orders_for
from node.market.strategies import MarketView, Strategy
from node.meter.registers import energy_between
from node.model import (
    EventPage,
    Household,
    MarketRules,
    Quality,
    RegisterReading,
    Side,
    SignedOrder,
    SlotEnergy,
)
from node.own_orders import OUTCOMES_KEPT, Learned, OwnOrders
from node.ports import Market, MeterSource, OrderSigner
from node.slots import slot_at, slot_end_s
from node.store import NodeDatabase

log = logging.getLogger("daisee.node")

MAX_PAGES: Final = 1_000
"""Event pages that one call of follow reads at most; the rest waits for the next call."""

CLEAR_JITTER_S: Final = 20
"""Nodes spread their tries to clear a slot over so many seconds: the first one does it for all."""

MISSED_SLOTS: Final = 2_976
"""Slots that a node which was away closes one by one when it is back: 31 days of 15 minutes. What
was metered before them is booked on the oldest of them, as an estimate."""

CLOSED_AT_ONCE: Final = 96
"""Slots that one step closes at most: other steps have their turn in between."""

WAITING: Final = 128
"""Closed slots that wait for their order at most; what is older is too late in any market."""

DROPPED_AT_ONCE: Final = 16
"""Slots found to be too late in one step at most: the chain is asked for the rules of each."""


class HouseholdNode:
    """One household's node: ``run``, or the steps of a slot's life in their order. One task."""

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
        self._orders = OwnOrders(household.number, storage, signer, self.counters)
        self._clock = clock
        self._rng = rng
        self._evidence_key = evidence_key
        self._last_reading = storage.last_reading()
        self._last_energy: SlotEnergy | None = None
        self._waiting: dict[int, tuple[SlotEnergy, bytes]] = {}  # closed, not ordered yet
        self._doubted: set[int] | None = None  # waited when the clock was found to be ahead
        self._tolerance_s = slot_s // 10
        self._agenda = Agenda(clock, self._tolerance_s)
        self._end_slot: int | None = None
        self._has_followed = False  # to the chain's end, once at least
        self._until_s: int | None = None  # closing is tried for ever: the energy must be booked
        self._since_s = clock.now_s()
        self._resumed_upto = self._remember_closed_slots()

    async def start(self) -> None:
        """Take the first reading: the node answers for energy from here on. Later calls of a
        restarted node find the last reading of the one before and change nothing."""
        if self._last_reading is None:
            reading = await self._meter.read()
            with self._storage.transaction():
                self._storage.add_reading(reading)
                self._meter.keep(self._storage)
            self._last_reading = reading

    # A slot's life, step by step

    async def close_slot(self, slot: int) -> tuple[SlotEnergy, bytes]:
        """Ask for the registers at the end of a slot; what they grew by is the slot's energy.

        Returns it with the commitment to the evidence behind it. Raises MeterError or MeterSilent:
        then the slot is closed later, or its energy is in the next one's.
        """
        before = self._last_reading
        assert before is not None, "start() comes first"
        after = await self._meter.read_at(slot_end_s(slot, self._slot_s))
        energy = energy_between(slot, self._slot_s, before, after)
        with self._storage.transaction():
            self._storage.add_reading(after)
            self._storage.add_slot_energy(energy)
            self._meter.keep(self._storage)
        self._last_reading, self._last_energy = after, energy
        self.counters.slots_closed += 1
        return energy, self._commit_to(slot, before, after)

    async def order_slot(self, energy: SlotEnergy, evidence: bytes) -> None:
        """Order what the slot metered: signed and durable first, then sent.

        Estimated energy is not ordered: it may belong to another slot, and stays with the supplier.
        An order whose gate has closed by this node's clock is not made at all, and counted.
        """
        await self._send(await self._prepare(energy, evidence))

    async def resend(self) -> None:
        """Send what is not accepted yet once more, as the very bytes that were signed, as long as
        its gate is open. The market takes only one of them."""
        for kept, _ in self._storage.open_intents():
            slot = kept.order.slot
            rules = await self._market.rules_at(slot)
            if rules.gate_is_open(slot, self._clock.now_s()):
                signed = self._orders.outbox.to_resend(kept)
                await self._market.submit(signed)
                self._orders.outbox.sent(signed)
                self.counters.orders_resent += 1

    async def clear_slot(self, slot: int) -> str:
        """Clear a slot whose gate has closed, unless somebody already did or nobody ordered.
        Returns the reason of a refusal; empty when this node did it."""
        try:
            await self._market.clear(slot)
        except Refused as refusal:
            log.debug("clear_refused slot=%d reason=%s", slot, refusal.reason)
            return refusal.reason
        self.counters.slots_cleared_here += 1
        return ""

    async def follow(self) -> None:
        """Project what happened on chain since the last time into the household's database."""
        for _ in range(MAX_PAGES):
            seen = self._storage.cursor()
            page = await self._market.events_after(seen, self.household.number)
            learned: list[Learned | None] = []
            with self._storage.transaction():
                if page.replaces is not None:
                    self._storage.rewind(page.replaces)
                    seen = min(seen, page.replaces)
                for event in page.events:
                    if event.position > seen:  # an endpoint may tell an event twice
                        seen = event.position
                        learned.append(self._orders.project(event))
                self._storage.set_cursor(page.upto)
            if page.replaces is None:
                self._orders.learn(event for event in learned if event is not None)
            else:
                await self._learn_anew(page)
            if not page.more:
                self._has_followed = True
                break
        await self._give_up_late_orders()

    # The agenda

    async def run(self, *, slots: int | None = None) -> None:
        """Live slot after slot, for ever or for a number of them, as the clock tells.

        No expected failure ends it: what cannot be done now is shown in ``status`` and tried again
        within the bounds of ``node.agenda``, while the other steps go on.
        """
        if slots is not None:
            self._end_slot = slot_at(self._clock.now_s(), self._slot_s) + slots
            self._until_s = slot_end_s(self._end_slot, self._slot_s)
        await self._agenda.keep(self._do, self._plan_anew, self._doubt)

    def status(self) -> NodeStatus:
        """The node as it is now."""
        agenda = self._agenda
        return NodeStatus(
            household=self.household.number,
            since_s=self._since_s,
            looks=agenda.looks,
            slot=slot_at(self._clock.now_s(), self._slot_s),
            last_energy=self._last_energy,
            last_order=self._orders.last,
            cursor=self._storage.cursor(),
            chain_reachable=agenda.chain_is_reachable,
            chain_since_s=agenda.chain_since_s,
            troubles=agenda.troubles,
            steps_failed=agenda.failures,
            clock_set_back=agenda.clock_set_back,
            counters=replace(self.counters),
        )

    def _plan_anew(self) -> None:
        """From what is durable and the clock alone: after a start, or when the clock was set."""
        last, now_s = self._last_reading, self._clock.now_s()
        if last is not None and last.taken_at_s > now_s + self._tolerance_s:
            self._doubt()
        self._agenda.plan(Step.CLOSE, now_s, until_s=self._until_s)
        for step in (Step.CATCH_UP, Step.ORDER):
            self._agenda.plan(step, now_s, until_s=now_s + self._slot_s)

    def _doubt(self) -> None:
        """The clock was ahead: nobody can tell which slots it closed before they ended, with the
        energy of other hours. What has no accepted order yet stays with the supplier."""
        self._doubted = {*self._waiting, *(self._doubted or ())}
        self._waiting.clear()

    def _keep_doubts(self) -> None:
        """No restart may order it either. What was closed stays closed, with what it was booked;
        the next slot holds energy of hours that never were, so the reading that it begins with is
        kept again as an estimate. Raises StorageBusy: then no step is taken before."""
        if self._doubted is None:
            return
        last = self._last_reading
        if last is not None and last.quality is not Quality.ESTIMATED:
            estimate = replace(last, quality=Quality.ESTIMATED)
            self._storage.add_reading(estimate)
            self._last_reading = estimate
        self._orders.doubt(self._doubted)
        self.counters.slots_estimated += len(self._doubted)
        self._doubted = None

    async def _do(self, due: Due) -> bool:
        """Take a step; whether the chain answered in it."""
        self._keep_doubts()
        match due.step:
            case Step.CLOSE:
                await self._close()
            case Step.CATCH_UP:
                await self._catch_up()
            case Step.ORDER:
                return await self._order_waiting()
            case Step.CLEAR:
                await self._clear(due)
            case Step.FOLLOW:
                await self.follow()
        return due.step is not Step.CLOSE

    async def _close(self) -> None:
        """Close what has ended. A meter that speaks seldom is asked again and again until it has
        spoken: that is no trouble, and the other steps have their turn in between."""
        try:
            await self._close_ended()
        except MeterNotYet:
            self._agenda.plan(Step.CLOSE, self._clock.now_s() + 1, until_s=self._until_s)

    async def _close_ended(self) -> None:
        """Close what has ended, oldest first: one slot, or all that were missed while the node or
        its meter was away."""
        await self.start()
        now_s = self._clock.now_s()
        for _ in range(CLOSED_AT_ONCE):
            slot = self._slot_to_close(now_s)
            if self._end_slot is not None and slot >= self._end_slot:
                return
            end_s = slot_end_s(slot, self._slot_s)
            if now_s < end_s:
                self._agenda.plan(Step.CLOSE, end_s, until_s=self._until_s)
                return
            energy, evidence = await self._close_first(slot, slot_at(now_s, self._slot_s))
            self._waiting[energy.slot] = energy, evidence
            self._drop_late(sorted(self._waiting)[:-WAITING], now_s)
            self._agenda.plan(Step.ORDER, now_s, until_s=now_s + 2 * self._slot_s)
        self._agenda.plan(Step.CLOSE, now_s + 1, until_s=self._until_s)

    def _slot_to_close(self, now_s: int) -> int:
        """The first slot since the last reading that is not closed yet."""
        last, slot_now = self._last_reading, slot_at(now_s, self._slot_s)
        assert last is not None
        slot = slot_at(last.taken_at_s, self._slot_s)
        slot = min(max(slot, slot_now - MISSED_SLOTS), slot_now)
        while self._storage.slot_energy(slot) is not None:
            slot += 1
        return slot

    async def _close_first(self, slot: int, slot_now: int) -> tuple[SlotEnergy, bytes]:
        """Close the first slot of whose end the meter still knows: the energy of those before is in
        it, as an estimate. Raises MeterError if there is none."""
        for ended in range(slot, slot_now):
            if ended == slot or self._storage.slot_energy(ended) is None:
                with contextlib.suppress(MeterError):
                    return await self.close_slot(ended)
        return await self.close_slot(slot)

    async def _order_waiting(self) -> bool:
        """Order the closed slots whose gate is open, the newest first; the others are too late, or
        wait on. Each is judged by its own rules. Returns whether anything was sent."""
        has_sent, late = False, 0
        for slot in sorted(self._waiting, reverse=True):
            rules = await self._market.rules_at(slot)
            opens_s, closes_s = rules.gate_opens_s(slot), rules.gate_closes_s(slot)
            now_s = self._clock.now_s()
            if closes_s <= now_s:
                self._drop_late([slot], now_s)
                late += 1
                if late == DROPPED_AT_ONCE:
                    self._agenda.plan(Step.ORDER, now_s, until_s=now_s + self._slot_s)
                    break
            elif now_s < opens_s:
                self._agenda.plan(Step.ORDER, opens_s, slot=slot, until_s=closes_s)
            elif not self._has_followed and slot_end_s(slot, self._slot_s) <= self._since_s:
                # It may have its order already, and this database be a backup that was put back.
                self._agenda.plan(Step.CATCH_UP, now_s + 1, slot=slot, until_s=closes_s)
            else:
                has_sent = await self._order(slot, rules) or has_sent
        return has_sent

    async def _order(self, slot: int, rules: MarketRules) -> bool:
        prepared = await self._prepare(*self._waiting[slot])
        del self._waiting[slot]
        again_s, closes_s = self._clock.now_s() + 1, rules.gate_closes_s(slot)
        self._agenda.plan(Step.CATCH_UP, again_s, slot=slot, until_s=closes_s)
        await self._send(prepared)  # if that fails, the line before holds
        self._plan_gate(slot, rules)
        return bool(prepared)

    def _plan_gate(self, slot: int, rules: MarketRules) -> None:
        """What is left to do for a slot that was ordered, while its gate is open and after."""
        closes_s = rules.gate_closes_s(slot)
        if self._clock.now_s() < (quarter_s := closes_s - rules.gate_s // 4):
            self._agenda.plan(Step.CATCH_UP, quarter_s, slot=slot, until_s=closes_s)
        clear_s = closes_s + self._rng.randrange(min(self._slot_s, CLEAR_JITTER_S))
        for step in (Step.CLEAR, Step.FOLLOW):
            self._agenda.plan(step, clear_s, slot=slot, until_s=closes_s + self._slot_s)

    def _drop_late(self, late: Sequence[int], now_s: int) -> None:
        for slot in late:
            energy, _ = self._waiting.pop(slot)
            if slot > self._resumed_upto and energy.quality is Quality.METERED:
                self.counters.orders_late += 1
                log.warning("order_late slot=%d household=%d", slot, self.household.number)
            self._agenda.plan(Step.FOLLOW, now_s, until_s=now_s + self._slot_s)

    async def _catch_up(self) -> None:
        await self.follow()
        await self.resend()
        await self._order_waiting()
        for slot in sorted({slot for slot, _ in self._orders.ordered_wh})[-WAITING:]:
            rules = await self._market.rules_at(slot)
            if self._clock.now_s() < rules.gate_closes_s(slot):
                self._plan_gate(slot, rules)

    async def _clear(self, due: Due) -> None:
        if await self.clear_slot(due.slot) == "gate_still_open":  # by its last block's clock
            again_s = self._clock.now_s() + CLEAR_JITTER_S
            for step in (Step.CLEAR, Step.FOLLOW):
                self._agenda.plan(step, again_s, slot=due.slot, until_s=due.until_s)

    # What is behind the steps

    async def _prepare(self, energy: SlotEnergy, evidence: bytes) -> list[SignedOrder]:
        """The orders of a slot, signed and durable. None for an estimate, nor after the gate."""
        if energy.quality is Quality.ESTIMATED:
            self.counters.slots_estimated += 1
            log.info("slot_estimated slot=%d household=%d", energy.slot, self.household.number)
            return []
        rules = await self._market.rules_at(energy.slot)
        if not rules.gate_is_open(energy.slot, self._clock.now_s()):
            self.counters.orders_late += 1
            log.warning("order_late slot=%d household=%d", energy.slot, self.household.number)
            return []
        view = MarketView(
            rules=rules,
            rng=self._rng,
            recent=self._storage.recent_clearings(OUTCOMES_KEPT),
            own=list(self._orders.outcomes),
        )
        return self._orders.keep(orders_for(self.household, energy, self._strategy, view, evidence))

    async def _send(self, prepared: Sequence[SignedOrder]) -> None:
        for signed in prepared:
            await self._market.submit(signed)
            self._orders.outbox.sent(signed)
            self.counters.orders_sent += 1

    async def _learn_anew(self, page: EventPage) -> None:
        """The chain took blocks back, and the database followed: so does what is remembered. What
        may be missing on the new branch is done again: orders sent, slots cleared."""
        assert page.replaces is not None
        self.counters.reorganisations += 1
        log.warning("chain_reorganised after_block=%d to=%d", page.replaces.block, page.upto.block)
        self._orders.remember()
        now_s = self._clock.now_s()
        self._agenda.plan(Step.CATCH_UP, now_s, until_s=now_s + self._slot_s)
        cleared = {cleared.slot for cleared in self._storage.recent_clearings(OUTCOMES_KEPT)}
        for slot in {slot for slot, _ in self._orders.ordered_wh} - cleared:
            rules = await self._market.rules_at(slot)
            if rules.gate_closes_s(slot) <= now_s < rules.gate_closes_s(slot) + self._slot_s:
                self._plan_gate(slot, rules)

    async def _give_up_late_orders(self) -> None:
        """What the chain has not accepted by the end of its gate is never sent again."""
        for slot in self._orders.unanswered_slots():
            rules = await self._market.rules_at(slot)
            if self._clock.now_s() < rules.gate_closes_s(slot):
                break
            self._orders.give_up(slot)

    def _commit_to(self, slot: int, before: RegisterReading, after: RegisterReading) -> bytes:
        return evidence_commitment(evidence_salt(self._evidence_key, slot), before, after)

    def _remember_closed_slots(self) -> int:
        """After a restart: what was closed but not ordered waits for its order, with the commitment
        that it had. Returns the last slot closed."""
        last = -1
        for before, after in pairwise(self._storage.last_readings(WAITING + 1)):
            slot = slot_at(after.taken_at_s, self._slot_s) - 1
            energy = self._storage.slot_energy(slot)
            if energy is None:
                continue
            self._last_energy, last = energy, max(slot, last)
            is_ordered = any(self._storage.intent(slot, side) is not None for side in Side)
            if after.quality is energy.quality is Quality.METERED and not is_ordered:
                self._waiting[slot] = energy, self._commit_to(slot, before, after)
        return last
