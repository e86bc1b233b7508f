"""The reference market as one household's daemon meets it, with a neighbour on the other side."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from node.clock import Clock, ManualClock
from node.daemon import HouseholdNode
from node.market.reference import ReferenceMarket
from node.market.strategies import FixedReserve, Strategy
from node.meter.replay import ReplayMeter
from node.model import (
    EventPage,
    Household,
    LogPosition,
    MarketEvent,
    MarketRules,
    Order,
    OrderAccepted,
    Side,
    SignedOrder,
    SlotCleared,
)
from node.ports import Market, MeterSource, OrderSigner
from node.slots import slot_start_s
from node.store import NodeDatabase

RULES: Final = MarketRules()
SLOT: Final = 1_628_064
START_S: Final = slot_start_s(SLOT, RULES.slot_s)
HOME, NEIGHBOUR = 1, 2
CREDIT: Final = 10**10
LOAD_WH: Final = (300, 100, 100, 400, 500, 200, 100, 300)
PV_WH: Final = (0, 250, 600, 400, 100, 300, 100, 0)
IMPORT_WH: Final = (300, 0, 0, 0, 400, 0, 0, 300)
EXPORT_WH: Final = (0, 150, 500, 0, 0, 100, 0, 0)


class Signer:
    """Signs so that no two signatures are alike: a second one would show."""

    made: ClassVar = 0

    def sign(self, order: Order) -> bytes:
        Signer.made += 1
        return order.slot.to_bytes(32) + Signer.made.to_bytes(32)


@dataclass(slots=True)
class Street:
    """The reference market as a node's ``Market``, with a neighbour on the other side of it."""

    clock: ManualClock
    rules: MarketRules = RULES
    market: ReferenceMarket = field(init=False)
    events: list[MarketEvent] = field(default_factory=list)
    sent: list[SignedOrder] = field(default_factory=list)
    before_submit: Callable[[SignedOrder], None] = lambda _: None
    after_submit: Callable[[SignedOrder], None] = lambda _: None
    neighbour_trades: bool = True

    def __post_init__(self) -> None:
        self.market = ReferenceMarket(self.rules)
        for number in (HOME, NEIGHBOUR):
            self.market.admit(Household(number, 9_000, 9_000))
            self.market.deposit(number, CREDIT)

    async def rules_at(self, slot: int) -> MarketRules:
        return self.market.rules_at(slot)

    async def submit(self, signed: SignedOrder) -> None:
        self.before_submit(signed)
        self.sent.append(signed)
        order = signed.order
        batch = [order]
        if self.neighbour_trades:
            price = RULES.grid.cap_price if order.side is Side.ASK else RULES.grid.floor_price
            batch.append(Order(NEIGHBOUR, order.slot, Side(1 - order.side), 9_000, price))
        self.market.submit_batch(batch, self.clock.now_s())
        self.after_submit(signed)

    async def clear(self, slot: int) -> None:
        self.market.clear(slot, self.clock.now_s())

    async def events_after(self, position: LogPosition, household: int) -> EventPage:
        self.events += self.market.drain_events()
        found = [
            event
            for event in self.events
            if event.position > position
            and (isinstance(event, SlotCleared) or getattr(event, "household", None) == household)
        ]
        return EventPage(found, max([position, *(event.position for event in self.events)]))

    def accepted(self) -> list[tuple[int, Side, int]]:
        return [
            (event.slot - SLOT, event.side, event.energy_wh)
            for event in self.events
            if isinstance(event, OrderAccepted) and event.household == HOME
        ]


def meter_of(clock: Clock, meter_id: str = "m1", **initial: int) -> ReplayMeter:
    """The home's meter."""
    return ReplayMeter(
        meter_id, clock, start_s=START_S, step_s=900, load_wh=LOAD_WH, pv_wh=PV_WH, **initial
    )


def node_of(
    street: Street,
    storage: NodeDatabase,
    *,
    meter: MeterSource | None = None,
    strategy: Strategy | None = None,
    market: Market | None = None,
    clock: Clock | None = None,
    signer: OrderSigner | None = None,
) -> HouseholdNode:
    """A daemon of the street's home."""
    return HouseholdNode(
        household=Household(HOME, 9_000, 9_000),
        slot_s=RULES.slot_s,
        meter=meter_of(street.clock) if meter is None else meter,
        strategy=FixedReserve() if strategy is None else strategy,
        signer=Signer() if signer is None else signer,
        market=street if market is None else market,
        storage=storage,
        clock=street.clock if clock is None else clock,
        rng=random.Random(1),
        evidence_key=b"k" * 32,
    )
