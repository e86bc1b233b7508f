"""Rules that change while gates overlap: each slot lives by its own, whatever the next ones are."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from node.clock import ManualClock
from node.errors import ChainUnreachable
from node.model import EventPage, LogPosition, MarketRules, Side, SignedOrder
from node.ports import IntentState
from node.store import NodeDatabase
from tests.support.reference_street import (
    EXPORT_WH,
    HOME,
    IMPORT_WH,
    LOAD_WH,
    RULES,
    SLOT,
    START_S,
    Street,
    node_of,
)

ORDERED = [slot for slot in range(len(LOAD_WH)) if EXPORT_WH[slot] or IMPORT_WH[slot]]


@dataclass(slots=True)
class AwayFor:
    """The street's market, out of reach for a span of time."""

    street: Street
    from_s: int
    to_s: int

    def _passes(self) -> None:
        if self.from_s <= self.street.clock.now_s() < self.to_s:
            raise ChainUnreachable("away")

    async def rules_at(self, slot: int) -> MarketRules:
        self._passes()
        return await self.street.rules_at(slot)

    async def submit(self, signed: SignedOrder) -> None:
        self._passes()
        await self.street.submit(signed)

    async def clear(self, slot: int) -> None:
        self._passes()
        await self.street.clear(slot)

    async def events_after(self, position: LogPosition, household: int) -> EventPage:
        self._passes()
        return await self.street.events_after(position, household)


def changing(gates_s: tuple[int, int], from_slot: int) -> Street:
    """Gates of one length, and from a slot on of another."""
    before_s, after_s = gates_s
    street = Street(ManualClock(START_S), replace(RULES, gate_s=before_s))
    after = replace(RULES, gate_s=after_s)
    street.market.schedule_rules(SLOT + from_slot, after, START_S)
    return street


def test_a_slot_is_in_time_by_its_own_gate_though_the_next_one_is_shorter() -> None:
    street = changing((2_000, 300), from_slot=2)
    market = AwayFor(street, START_S + 1_750, START_S + 2_750)
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage, market=market)
        asyncio.run(node.run(slots=5))
        assert node.counters.orders_late == 0
    assert sorted(slot for slot, _, _ in street.accepted()) == [0, 1, 2, 4]


def test_an_order_is_given_up_by_its_own_gate() -> None:
    """While the household is suspended two orders are refused; when it no longer is, the gate of
    the first is still open, that of the second is not."""
    street = changing((2_900, 300), from_slot=1)
    street.market.set_standing(HOME, active=False, signer_named=True)

    def perhaps_restored(_: SignedOrder) -> None:
        if street.clock.now_s() >= START_S + 2_900:
            street.market.set_standing(HOME, active=True, signer_named=True)

    street.before_submit = perhaps_restored
    with NodeDatabase.open(None) as storage:
        asyncio.run(node_of(street, storage).run(slots=4))
        told = [(t.order.slot - SLOT, t.state, t.reason) for t in storage.own_trades()]
    assert told == [
        (0, IntentState.ACCEPTED, ""),
        (1, IntentState.EXPIRED, "suspended"),
        (2, IntentState.ACCEPTED, ""),
    ]


@settings(max_examples=60, deadline=None)
@given(
    gates_s=st.tuples(st.integers(60, 3_000), st.integers(60, 3_000)),
    from_slot=st.integers(1, 6),
    away_from_s=st.integers(900, 5_000),
    away_s=st.integers(0, 3_000),
)
def test_late_are_those_whose_own_gate_closed_while_the_chain_was_away(
    gates_s: tuple[int, int], from_slot: int, away_from_s: int, away_s: int
) -> None:
    """The pauses between tries are a minute at most: what was open for longer than that goes out.
    Nothing is ordered twice, and every order is what its slot metered."""
    street = changing(gates_s, from_slot)
    market = AwayFor(street, START_S + away_from_s, START_S + away_from_s + away_s)
    with NodeDatabase.open(None) as storage:
        node = node_of(street, storage, market=market)
        asyncio.run(node.run(slots=len(LOAD_WH) + 4))
        assert storage.open_intents() == []
    accepted = street.accepted()
    slots = [slot for slot, _, _ in accepted]
    assert len(set(slots)) == len(slots)
    for slot, side, energy_wh in accepted:
        assert energy_wh == (IMPORT_WH if side is Side.BID else EXPORT_WH)[slot]
    for slot in ORDERED:
        opens_s = street.market.rules_at(SLOT + slot).gate_opens_s(SLOT + slot)
        closes_s = street.market.rules_at(SLOT + slot).gate_closes_s(SLOT + slot)
        if not market.from_s <= opens_s < market.to_s or market.to_s + 61 < closes_s:
            assert slot in slots, f"slot {slot}"
