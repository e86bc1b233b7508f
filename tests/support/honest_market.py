"""The events that an honest market writes, made by hand: material for whatever reads a past."""

from __future__ import annotations

from collections.abc import Sequence

from node.market.clearing import clear
from node.market.reference import settlement_units
from node.model import (
    Deposited,
    LogPosition,
    MarketEvent,
    MarketRules,
    Order,
    OrderAccepted,
    OrderSettled,
    RulesScheduled,
    Side,
    SlotCleared,
)

SLOT = 1_628_064
"""Slot 2016-06-07T00:00:00Z of a market with slots of 15 min."""

FEE_RULES = MarketRules(network_fee=200)
NAMES = {1: "roof", 2: "flat", 3: "mill"}
CREDIT = 10**12

SCARCE = (
    Order(1, SLOT, Side.ASK, 500, 4_000),
    Order(2, SLOT, Side.BID, 300, 25_000),
    Order(3, SLOT, Side.BID, 500, 12_000),
)
"""The mill's bid is rationed, so its limit is the price."""


class HonestMarket:
    """Appends what happens to ``events``, one block each; every household starts with CREDIT."""

    def __init__(self, rules: MarketRules = FEE_RULES) -> None:
        self.rules = rules
        self.events: list[MarketEvent] = []
        self._credited: set[int] = set()
        self._tick_wh: dict[tuple[int, Side, int], int] = {}

    def next_position(self) -> LogPosition:
        """Where the next event will stand."""
        return LogPosition(len(self.events), 0)

    def schedule(self, rules: MarketRules, *, version: int = 1, from_slot: int = 0) -> None:
        """Set the rules from a slot on."""
        self.rules = rules
        self.events.append(RulesScheduled(self.next_position(), version, from_slot, rules))

    def accept(self, order: Order) -> None:
        """Take an order, after its household's first deposit."""
        if order.household not in self._credited:
            self._credited.add(order.household)
            self.events.append(Deposited(self.next_position(), order.household, CREDIT))
        tick = (order.slot, order.side, order.limit_price)
        prefix_wh = self._tick_wh.get(tick, 0)
        self._tick_wh[tick] = prefix_wh + order.energy_wh
        self.events.append(
            OrderAccepted(
                self.next_position(),
                order.slot,
                order.household,
                order.side,
                order.energy_wh,
                order.limit_price,
                prefix_wh,
            )
        )

    def clear(self, book: Sequence[Order]) -> None:
        """Clear the slot of a book."""
        clearing = clear(book)
        self.events.append(
            SlotCleared(
                self.next_position(),
                book[0].slot,
                clearing.price,
                clearing.matched_wh,
                clearing.ask_wh,
                clearing.bid_wh,
            )
        )

    def settle(self, book: Sequence[Order]) -> None:
        """Settle every order of a cleared book."""
        clearing = clear(book)
        price = clearing.price
        for order, filled_wh in zip(book, clearing.filled_wh, strict=True):
            self.events.append(
                OrderSettled(
                    self.next_position(),
                    order.slot,
                    order.household,
                    order.side,
                    filled_wh,
                    price,
                    settlement_units(order, filled_wh, price, self.rules)[2],
                )
            )

    def trade(self, book: Sequence[Order]) -> list[MarketEvent]:
        """A slot from its first order to its last settlement; returns all events so far."""
        for order in book:
            self.accept(order)
        self.clear(book)
        self.settle(book)
        return self.events
