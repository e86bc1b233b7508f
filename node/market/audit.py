"""Recompute a whole market from its events with the reference, and say where the two differ.

Checked is everything that events can tell: one order per household, slot and side; prices on the
grid of their slot's rules; the stored prefixes; that nothing is accepted after its slot cleared;
price, volume and totals of every clearing; fill and amount of every settlement; that both sides
of a slot trade the same Wh and that what buyers pay is what sellers and the fee recipient get;
that no household's credit falls below zero. Not checked, because no event carries it: block times
against the gate, signatures, and the limits of a household.

One pass in chain order; a slot is forgotten once its last order is settled, so memory follows the
slots that are open, not the length of the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from node.market.clearing import clear
from node.market.history import RuleVersions, order_of
from node.market.reference import escrow_units, settlement_units
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
    Withdrawn,
)
from node.slots import iso_utc, slot_start_s

__all__ = ["MAX_DIFFERENCES", "AuditReport", "Difference", "audit"]

MAX_DIFFERENCES: Final = 20
"""Differences that a report spells out; the others are only counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact on which the events and the reference do not agree, in words for a person.

    ``slot`` is None where the fact belongs to an account and not to a slot.
    """

    position: LogPosition
    slot: int | None
    text: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was looked at, and the first differences in chain order."""

    slots: int
    orders: int
    clearings: int
    settlements: int
    matched_wh: int
    difference_count: int
    differences: tuple[Difference, ...]

    @property
    def agrees(self) -> bool:
        """Whether the events are what the reference makes of them."""
        return self.difference_count == 0


def audit(
    events: Iterable[MarketEvent],
    rules: MarketRules,
    names: Mapping[int, str] | None = None,
) -> AuditReport:
    """Audit a market from its first event on.

    ``events`` are all events in chain order, ``rules`` those that hold before the first version
    among them; ``names`` are the households' names for the report, their numbers if absent.
    """
    auditor = _Auditor(rules, names or {})
    for event in events:
        auditor.take(event)
    return auditor.report()


@dataclass(slots=True)
class _OpenSlot:
    """A slot of which something is still to come."""

    rules: MarketRules
    orders: dict[tuple[int, Side], Order] = field(default_factory=dict)
    tick_wh: dict[tuple[Side, int], int] = field(default_factory=dict)
    cleared: SlotCleared | None = None
    fills_wh: dict[tuple[int, Side], int] = field(default_factory=dict)
    settled: dict[tuple[int, Side], OrderSettled] = field(default_factory=dict)


class _Auditor:
    """The pass: the reference's own picture beside the events, compared as they come."""

    def __init__(self, rules: MarketRules, names: Mapping[int, str]) -> None:
        self._slot_s = rules.slot_s
        self._versions = RuleVersions(rules)
        self._names = names
        self._open: dict[int, _OpenSlot] = {}
        self._finished: set[int] = set()
        self._credit_units: dict[int, int] = {}
        self._orders = self._clearings = self._settlements = self._matched_wh = 0
        self._difference_count = 0
        self._differences: list[Difference] = []

    def take(self, event: MarketEvent) -> None:
        """Look at the next event."""
        match event:
            case OrderAccepted():
                self._accepted(event)
            case SlotCleared():
                self._cleared(event)
            case OrderSettled():
                self._settled(event)
            case Deposited():
                self._credit(event, event.household, event.amount_units)
            case Withdrawn():
                self._credit(event, event.household, -event.amount_units)
            case RulesScheduled():
                self._versions.add(event)
            case _:
                pass

    def report(self) -> AuditReport:
        """What was found up to here."""
        return AuditReport(
            slots=len(self._open) + len(self._finished),
            orders=self._orders,
            clearings=self._clearings,
            settlements=self._settlements,
            matched_wh=self._matched_wh,
            difference_count=self._difference_count,
            differences=tuple(self._differences),
        )

    def _accepted(self, event: OrderAccepted) -> None:
        self._orders += 1
        key, tick = (event.household, event.side), (event.side, event.limit_price)
        whose = self._whose(event)
        book = None if event.slot in self._finished else self._slot(event.slot)
        if book is None or book.cleared is not None:
            self._differs(event, event.slot, f"{whose} was accepted after clearing")
            return
        if key in book.orders:
            self._differs(event, event.slot, f"{whose} was accepted twice")
            return
        if event.energy_wh <= 0:
            self._differs(event, event.slot, f"{whose}: {event.energy_wh} Wh is nothing to trade")
        if not book.rules.grid.contains(event.limit_price):
            self._differs(event, event.slot, f"{whose}: limit {event.limit_price} is off the grid")
        before_wh = book.tick_wh.get(tick, 0)
        self._compare(event, f"{whose}: Wh before it at its price", event.prefix_wh, before_wh)
        order = book.orders[key] = order_of(event)
        book.tick_wh[tick] = before_wh + event.energy_wh
        self._credit(event, event.household, -escrow_units(order, book.rules))

    def _cleared(self, event: SlotCleared) -> None:
        self._clearings += 1
        book = None if event.slot in self._finished else self._slot(event.slot)
        if book is None or book.cleared is not None:
            self._differs(event, event.slot, "cleared twice")
            return
        reference = clear(list(book.orders.values()))
        book.cleared = event
        book.fills_wh = dict(zip(book.orders, reference.filled_wh, strict=True))
        self._matched_wh += event.matched_wh
        self._compare(event, "clearing price, units/Wh", event.price, reference.price)
        self._compare(event, "volume, Wh", event.matched_wh, reference.matched_wh)
        self._compare(event, "all asks, Wh", event.ask_wh, reference.ask_wh)
        self._compare(event, "all bids, Wh", event.bid_wh, reference.bid_wh)
        self._finish_if_settled(event.slot, book, event)

    def _settled(self, event: OrderSettled) -> None:
        self._settlements += 1
        key, whose = (event.household, event.side), self._whose(event)
        book = self._open.get(event.slot)
        if event.slot in self._finished or (book is not None and key in book.settled):
            self._differs(event, event.slot, f"{whose} was settled once too often")
        elif book is None or key not in book.orders:
            self._differs(event, event.slot, f"{whose} was settled but never accepted")
        elif book.cleared is None:
            self._differs(event, event.slot, f"{whose} was settled before its slot was cleared")
        else:
            price = book.cleared.price
            filled_wh = book.fills_wh[key]
            order = book.orders[key]
            _, _, due_units = settlement_units(order, filled_wh, price, book.rules)
            self._compare(event, f"{whose}: filled Wh", event.filled_wh, filled_wh)
            self._compare(event, f"{whose}: price, units/Wh", event.price, price)
            self._compare(event, f"{whose}: amount, units", event.amount_units, due_units)
            held_units = escrow_units(order, book.rules)
            self._credit(event, event.household, held_units + event.amount_units)
            book.settled[key] = event
            self._finish_if_settled(event.slot, book, event)

    def _finish_if_settled(
        self, slot: int, book: _OpenSlot, event: SlotCleared | OrderSettled
    ) -> None:
        """Check that the slot conserved Wh and money, and forget its book."""
        if book.cleared is None or len(book.settled) < len(book.orders):
            return
        matched_wh = book.cleared.matched_wh
        fees_units = matched_wh * book.rules.network_fee
        for side, word in ((Side.ASK, "sold"), (Side.BID, "bought")):
            filled_wh = sum(s.filled_wh for s in book.settled.values() if s.side is side)
            self._compare(event, f"Wh {word} in all", filled_wh, matched_wh)
        moved_units = sum(settled.amount_units for settled in book.settled.values())
        self._compare(event, "money moved in all, units", moved_units, -fees_units)
        self._finished.add(slot)
        del self._open[slot]

    def _slot(self, slot: int) -> _OpenSlot:
        if slot not in self._open:
            self._open[slot] = _OpenSlot(self._versions.at(slot))
        return self._open[slot]

    def _credit(
        self,
        event: OrderAccepted | OrderSettled | Deposited | Withdrawn,
        household: int,
        change_units: int,
    ) -> None:
        """Follow a household's free credit; only what takes some away can overdraw it."""
        credit_units = self._credit_units.get(household, 0) + change_units
        self._credit_units[household] = credit_units
        if change_units < 0 and credit_units < 0:
            slot = None if isinstance(event, Deposited | Withdrawn) else event.slot
            text = f"{self._name(household)} is overdrawn: free credit {credit_units} units"
            self._differs(event, slot, text)

    def _name(self, household: int) -> str:
        return self._names.get(household, f"household {household}")

    def _whose(self, event: OrderAccepted | OrderSettled) -> str:
        return f"{event.side.word} of {self._name(event.household)}"

    def _compare(
        self,
        event: OrderAccepted | SlotCleared | OrderSettled,
        what: str,
        recorded: int | None,
        expected: int | None,
    ) -> None:
        if recorded != expected:
            text = f"{what}: recorded {_word(recorded)}, the reference has {_word(expected)}"
            self._differs(event, event.slot, text)

    def _differs(
        self,
        event: OrderAccepted | SlotCleared | OrderSettled | Deposited | Withdrawn,
        slot: int | None,
        text: str,
    ) -> None:
        self._difference_count += 1
        if len(self._differences) < MAX_DIFFERENCES:
            if slot is not None:
                text = f"slot {slot} ({iso_utc(slot_start_s(slot, self._slot_s))}): {text}"
            self._differences.append(Difference(event.position, slot, text))


def _word(value: int | None) -> str:
    return "none" if value is None else str(value)
