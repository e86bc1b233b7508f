"""The past of a market, rebuilt from its events alone: books, prices, fills and amounts.

An acceptance carries the order, a clearing the price; everything else follows from them. A
settlement only records when the money moved, so an order that is not settled yet gets the figures
that its settlement will have. ``audit.py`` checks all this against the reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from node.market.clearing import clear
from node.market.reference import settlement_units
from node.model import (
    MarketEvent,
    MarketRules,
    Order,
    OrderAccepted,
    OrderSettled,
    RulesScheduled,
    Side,
    SlotCleared,
)
from node.slots import iso_utc, slot_start_s

__all__ = [
    "BookOrder",
    "BookRow",
    "Explanation",
    "RuleVersions",
    "SlotRecord",
    "completed",
    "explain",
    "market_orders",
    "order_of",
    "rebuild",
    "slot_line",
]


@dataclass(frozen=True, slots=True)
class BookOrder:
    """An accepted order and what became of it; the last two are None while nobody knows.

    ``seq`` counts the slot's acceptances from 0, ``prefix_wh`` is as the market stored it, and
    ``amount_units`` is signed from the household's view, the network fee included.
    """

    seq: int
    household: int
    side: Side
    energy_wh: int
    limit_price: int
    prefix_wh: int
    filled_wh: int | None = None
    amount_units: int | None = None


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """A slot's book in acceptance order, the rules it was ordered under, and its clearing."""

    slot: int
    rules: MarketRules
    orders: tuple[BookOrder, ...] = ()
    cleared: SlotCleared | None = None


class RuleVersions:
    """Which rules hold in which slot: the newest version that has begun by then."""

    def __init__(self, first: MarketRules) -> None:
        self._first = first
        self._versions: list[RulesScheduled] = []

    def add(self, scheduled: RulesScheduled) -> None:
        """Take a version along; adding it again changes nothing."""
        if scheduled not in self._versions:
            self._versions.append(scheduled)
            self._versions.sort(key=lambda version: version.version, reverse=True)

    def at(self, slot: int) -> MarketRules:
        """The rules under which a slot is ordered and settled."""
        for version in self._versions:
            if version.from_slot <= slot:
                return version.rules
        return self._first


def order_of(accepted: OrderAccepted) -> Order:
    """The order that was accepted."""
    return Order(
        accepted.household,
        accepted.slot,
        accepted.side,
        accepted.energy_wh,
        accepted.limit_price,
        accepted.evidence,
    )


def rebuild(events: Iterable[MarketEvent], rules: MarketRules) -> list[SlotRecord]:
    """Every slot that was ordered in or cleared, in the order of time.

    ``events`` are in chain order and, for each of their slots, complete; ``rules`` are those that
    hold before the first version among the events. Fills and amounts are there for what settled;
    ``completed`` adds the others.
    """
    versions = RuleVersions(rules)
    accepted: dict[int, list[OrderAccepted]] = {}
    cleared: dict[int, SlotCleared] = {}
    settled: dict[tuple[int, int, Side], OrderSettled] = {}
    for event in events:
        match event:
            case OrderAccepted():
                accepted.setdefault(event.slot, []).append(event)
            case SlotCleared():
                cleared[event.slot] = event
            case OrderSettled():
                settled[event.slot, event.household, event.side] = event
            case RulesScheduled():
                versions.add(event)
            case _:
                pass
    return [
        SlotRecord(
            slot=slot,
            rules=versions.at(slot),
            orders=tuple(
                _book_order(seq, order, settled.get((slot, order.household, order.side)))
                for seq, order in enumerate(accepted.get(slot, ()))
            ),
            cleared=cleared.get(slot),
        )
        for slot in sorted(accepted.keys() | cleared.keys())
    ]


def _book_order(seq: int, accepted: OrderAccepted, settled: OrderSettled | None) -> BookOrder:
    return BookOrder(
        seq=seq,
        household=accepted.household,
        side=accepted.side,
        energy_wh=accepted.energy_wh,
        limit_price=accepted.limit_price,
        prefix_wh=accepted.prefix_wh,
        filled_wh=None if settled is None else settled.filled_wh,
        amount_units=None if settled is None else settled.amount_units,
    )


def market_orders(record: SlotRecord) -> list[Order]:
    """The book as the reference takes it: what the orders said, without their evidence."""
    return [
        Order(order.household, record.slot, order.side, order.energy_wh, order.limit_price)
        for order in record.orders
    ]


def completed(record: SlotRecord) -> SlotRecord:
    """The record with the figures of what is not settled yet, as far as the slot is cleared."""
    if record.cleared is None or all(order.filled_wh is not None for order in record.orders):
        return record
    price, rules = record.cleared.price, record.rules
    orders = market_orders(record)
    fills = clear(orders).filled_wh
    settled = []
    for known, order, filled_wh in zip(record.orders, orders, fills, strict=True):
        if known.filled_wh is None:
            amount_units = settlement_units(order, filled_wh, price, rules)[2]
            settled.append(replace(known, filled_wh=filled_wh, amount_units=amount_units))
        else:
            settled.append(known)
    return replace(record, orders=tuple(settled))


def slot_line(record: SlotRecord, slot_s: int, names: Mapping[int, str]) -> dict[str, object]:
    """One line of ``slots.jsonl``; a household without a name goes by its number.

    A slot that is not cleared yet has null for everything that only its clearing can tell; one
    without orders is never cleared, and nothing is traded in it.
    """
    known = completed(record)
    cleared = known.cleared
    matched_wh = None if known.orders else 0
    if cleared is not None:
        matched_wh = cleared.matched_wh
    return {
        "slot": known.slot,
        "start": iso_utc(slot_start_s(known.slot, slot_s)),
        "price": None if cleared is None else cleared.price,
        "matched_wh": matched_wh,
        "orders": [
            {
                "household": names.get(order.household, str(order.household)),
                "side": order.side.word,
                "energy_wh": order.energy_wh,
                "limit_price": order.limit_price,
                "seq": order.seq,
                "filled_wh": order.filled_wh,
                "amount": order.amount_units,
            }
            for order in known.orders
        ],
    }


@dataclass(frozen=True, slots=True)
class BookRow:
    """One price of the book: what is asked and bid at it, ``supply_wh`` asked at most at it,
    ``demand_wh`` bid at least at it, and the smaller of the two, which could trade there."""

    price: int
    ask_wh: int
    bid_wh: int
    supply_wh: int
    demand_wh: int

    @property
    def volume_wh(self) -> int:
        """What could trade at this price."""
        return min(self.supply_wh, self.demand_wh)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a slot has its price. Recomputed from the book, also while the slot is not cleared.

    ``low`` and ``high`` end the interval of market-clearing prices. When the orders of one side
    at the price could not all be filled, ``rationed`` names the side and ``left_wh`` is what
    ``rationed_wh`` of them shared.
    """

    rows: tuple[BookRow, ...]
    price: int | None
    matched_wh: int
    low: int | None
    high: int | None
    rationed: Side | None = None
    rationed_wh: int = 0
    left_wh: int = 0


def explain(record: SlotRecord) -> Explanation:
    """The cumulative book, from the lowest price up, and what the clearing rule makes of it."""
    clearing = clear(market_orders(record))
    rows = _book_rows(record.orders)
    explanation = Explanation(
        rows=rows,
        price=clearing.price,
        matched_wh=clearing.matched_wh,
        low=clearing.low,
        high=clearing.high,
    )
    for row in rows:
        if row.price != clearing.price:
            continue
        ask_left_wh = clearing.matched_wh - (row.supply_wh - row.ask_wh)
        bid_left_wh = clearing.matched_wh - (row.demand_wh - row.bid_wh)
        if ask_left_wh < row.ask_wh:
            return replace(
                explanation, rationed=Side.ASK, rationed_wh=row.ask_wh, left_wh=ask_left_wh
            )
        if bid_left_wh < row.bid_wh:
            return replace(
                explanation, rationed=Side.BID, rationed_wh=row.bid_wh, left_wh=bid_left_wh
            )
    return explanation


def _book_rows(orders: Iterable[BookOrder]) -> tuple[BookRow, ...]:
    ask_wh: dict[int, int] = {}
    bid_wh: dict[int, int] = {}
    for order in orders:
        at_price = ask_wh if order.side is Side.ASK else bid_wh
        at_price[order.limit_price] = at_price.get(order.limit_price, 0) + order.energy_wh
    rows: list[BookRow] = []
    supply_wh, demand_wh = 0, sum(bid_wh.values())
    for price in sorted(ask_wh.keys() | bid_wh.keys()):
        supply_wh += ask_wh.get(price, 0)
        rows.append(
            BookRow(price, ask_wh.get(price, 0), bid_wh.get(price, 0), supply_wh, demand_wh)
        )
        demand_wh -= bid_wh.get(price, 0)
    return tuple(rows)
