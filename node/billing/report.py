"""What a supplier bills from: each household's allocations, residual and surplus, slot by slot.

All of it is rebuilt from the market's events. The chain knows of a household only the net Wh of
the slots and sides that it ordered; where it ordered nothing, its import and export are the
operator's to say, and the row is marked ``no_order``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from node.market.history import BookOrder, SlotRecord, completed
from node.model import MarketEvent, OrderAccepted, Side

__all__ = ["HouseholdTotals", "ReportRow", "RowStatus", "members", "report_rows", "totals"]


class RowStatus(StrEnum):
    """Whether a household ordered in a slot, and whether the slot has cleared. OPEN: it has not,
    so nobody knows yet what was allocated."""

    ORDERED = "ordered"
    OPEN = "open"
    NO_ORDER = "no_order"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One household in one slot, in Wh and units; None is what the chain does not know.

    ``bought_wh`` was allocated to its import, ``residual_wh`` its supplier delivered;
    ``sold_wh`` was allocated from its export, ``surplus_wh`` nobody took. ``paid_units`` includes
    the network fee.
    """

    slot: int
    household: int
    status: RowStatus
    bought_wh: int | None = None
    residual_wh: int | None = None
    sold_wh: int | None = None
    surplus_wh: int | None = None
    price: int | None = None
    paid_units: int | None = None
    earned_units: int | None = None


@dataclass(slots=True)
class HouseholdTotals:
    """A household's sums over the rows so far."""

    ordered_slots: int = 0
    open_slots: int = 0
    no_order_slots: int = 0
    bought_wh: int = 0
    residual_wh: int = 0
    sold_wh: int = 0
    surplus_wh: int = 0
    paid_units: int = 0
    earned_units: int = 0

    def add(self, row: ReportRow) -> None:
        """Take a row along."""
        match row.status:
            case RowStatus.ORDERED:
                self.ordered_slots += 1
            case RowStatus.OPEN:
                self.open_slots += 1
            case RowStatus.NO_ORDER:
                self.no_order_slots += 1
        self.bought_wh += row.bought_wh or 0
        self.residual_wh += row.residual_wh or 0
        self.sold_wh += row.sold_wh or 0
        self.surplus_wh += row.surplus_wh or 0
        self.paid_units += row.paid_units or 0
        self.earned_units += row.earned_units or 0


def members(events: Iterable[MarketEvent]) -> list[int]:
    """The households that ever ordered, by number. Give the acceptances of all slots before the
    end of the month, so that the list stays the same however late the report is made."""
    return sorted({event.household for event in events if isinstance(event, OrderAccepted)})


def report_rows(
    records: Iterable[SlotRecord], slots: Sequence[int], households: Sequence[int]
) -> Iterator[ReportRow]:
    """A row for each slot and household, in this order. ``records`` are in the order of slots."""
    source = iter(records)
    record = next(source, None)
    for slot in slots:
        while record is not None and record.slot < slot:
            record = next(source, None)
        known = SlotOrders.of(completed(record)) if record and record.slot == slot else SlotOrders()
        for household in households:
            yield known.row(slot, household)


@dataclass(frozen=True, slots=True)
class SlotOrders:
    """A slot's orders by household and side."""

    cleared: bool = False
    price: int | None = None
    orders: Mapping[tuple[int, Side], BookOrder] = field(default_factory=dict)

    @classmethod
    def of(cls, record: SlotRecord) -> SlotOrders:
        """Those of a record whose figures are complete."""
        cleared = record.cleared
        return cls(
            cleared=cleared is not None,
            price=None if cleared is None else cleared.price,
            orders={(order.household, order.side): order for order in record.orders},
        )

    def row(self, slot: int, household: int) -> ReportRow:
        """A household's row."""
        bid = self.orders.get((household, Side.BID))
        ask = self.orders.get((household, Side.ASK))
        if bid is None and ask is None:
            return ReportRow(slot, household, RowStatus.NO_ORDER)
        if not self.cleared:
            return ReportRow(slot, household, RowStatus.OPEN)
        bought_wh, residual_wh, paid_units = _side(bid)
        sold_wh, surplus_wh, earned_units = _side(ask)
        return ReportRow(
            slot=slot,
            household=household,
            status=RowStatus.ORDERED,
            bought_wh=bought_wh,
            residual_wh=residual_wh,
            sold_wh=sold_wh,
            surplus_wh=surplus_wh,
            price=self.price,
            paid_units=None if paid_units is None else -paid_units,
            earned_units=earned_units,
        )


def _side(order: BookOrder | None) -> tuple[int | None, int | None, int | None]:
    """Filled, not filled and money of an order in a slot that has cleared."""
    if order is None:
        return None, None, None
    assert order.filled_wh is not None
    return order.filled_wh, order.energy_wh - order.filled_wh, order.amount_units


def totals(rows: Iterable[ReportRow], sums: dict[int, HouseholdTotals]) -> Iterator[ReportRow]:
    """Pass rows on, and add them up by household on the way."""
    for row in rows:
        sums.setdefault(row.household, HouseholdTotals()).add(row)
        yield row
