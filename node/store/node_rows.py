"""A household's records as rows of its database and back.

Members of enumerations are kept as small integers; the schema names them in its comments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from node.model import (
    NO_EVIDENCE,
    EvidenceClass,
    LogPosition,
    Order,
    OrderAccepted,
    OrderSettled,
    Quality,
    RegisterReading,
    SampleBatch,
    Side,
    SignedOrder,
    SlotCleared,
    SlotEnergy,
)
from node.ports import IntentState
from node.store.sqlite import Row

CLASS_NUMBER: Final = {member: number for number, member in enumerate(EvidenceClass)}
QUALITY_NUMBER: Final = {member: number for number, member in enumerate(Quality)}
STATE_NUMBER: Final = {member: number for number, member in enumerate(IntentState)}
_CLASSES: Final = tuple(CLASS_NUMBER)
_QUALITIES: Final = tuple(QUALITY_NUMBER)
_STATES: Final = tuple(STATE_NUMBER)


@dataclass(frozen=True, slots=True)
class OwnTrade:
    """One of the household's orders with what became of it: ``cleared`` is None until its slot
    has cleared, ``settled`` until its money moved."""

    order: Order
    state: IntentState
    reason: str
    cleared: SlotCleared | None
    settled: OrderSettled | None


@dataclass(frozen=True, slots=True)
class OwnTotals:
    """Sums over closed slots and settled orders: energy at the meter and with neighbours, in Wh;
    money for the latter, in units, both positive (``paid_units`` includes the network fee)."""

    slots: int
    import_wh: int
    export_wh: int
    bought_wh: int
    sold_wh: int
    paid_units: int
    earned_units: int


def reading_of(row: Row) -> RegisterReading:
    """From meter, time, import, export, evidence class, quality."""
    meter_id, taken_at_s, import_wh, export_wh, number, quality = row
    return RegisterReading(
        meter_id, taken_at_s, import_wh, export_wh, _CLASSES[number], _QUALITIES[quality]
    )


def reading_row(reading: RegisterReading) -> Row:
    """Meter, time, import, export, evidence class, quality."""
    return (
        reading.meter_id,
        reading.taken_at_s,
        reading.import_wh,
        reading.export_wh,
        CLASS_NUMBER[reading.evidence_class],
        QUALITY_NUMBER[reading.quality],
    )


def samples_row(batch: SampleBatch) -> Row:
    """Meter, start, end, count, packed: the record's own fields."""
    return (batch.meter_id, batch.from_s, batch.to_s, batch.count, batch.packed)


def slot_energy_of(row: Row) -> SlotEnergy:
    """From slot, import, export, quality."""
    slot, import_wh, export_wh, number = row
    return SlotEnergy(slot, import_wh, export_wh, _QUALITIES[number])


def intent_row(signed: SignedOrder) -> Row:
    """Slot, side, household, energy, limit, evidence, signature; a new one is PENDING."""
    order = signed.order
    return (
        order.slot,
        int(order.side),
        order.household,
        order.energy_wh,
        order.limit_price,
        None if order.evidence == NO_EVIDENCE else order.evidence,
        signed.signature,
        STATE_NUMBER[IntentState.PENDING],
    )


def elsewhere_row(event: OrderAccepted) -> Row:
    """Slot, side, household, energy, limit, evidence, position; nothing was signed here."""
    at, evidence = event.position, event.evidence
    return (
        event.slot,
        int(event.side),
        event.household,
        event.energy_wh,
        event.limit_price,
        None if evidence == NO_EVIDENCE else evidence,
        at.block,
        at.index,
    )


def order_of(row: Row) -> Order:
    """From household, slot, side, energy, limit, evidence, and whatever follows."""
    household, slot, side, energy_wh, limit_price, evidence = row[:6]
    kept = NO_EVIDENCE if evidence is None else evidence
    return Order(household, slot, Side(side), energy_wh, limit_price, kept)


def signed_order_of(row: Row) -> SignedOrder:
    """From an order's columns and the signature."""
    return SignedOrder(order_of(row), row[6])


def open_intent_of(row: Row) -> tuple[SignedOrder, IntentState]:
    """From an order's columns, the signature and the state."""
    return signed_order_of(row), _STATES[row[7]]


def clearing_row(cleared: SlotCleared) -> Row:
    """Slot, price, volume, both totals, position."""
    at = cleared.position
    totals = (cleared.matched_wh, cleared.ask_wh, cleared.bid_wh)
    return (cleared.slot, cleared.price, *totals, at.block, at.index)


def clearing_of(row: Row) -> SlotCleared:
    """From position, slot, price, volume, both totals."""
    return SlotCleared(LogPosition(row[0], row[1]), *row[2:])


def settlement_row(settled: OrderSettled) -> Row:
    """Slot, side, household, fill, price, amount, position."""
    at = settled.position
    return (
        settled.slot,
        int(settled.side),
        settled.household,
        settled.filled_wh,
        settled.price,
        settled.amount_units,
        at.block,
        at.index,
    )


def settlement_of(row: Row) -> OrderSettled:
    """From position, slot, household, side, fill, price, amount."""
    block, index, slot, household, side, filled_wh, price, amount_units = row
    at = LogPosition(block, index)
    return OrderSettled(at, slot, household, Side(side), filled_wh, price, amount_units)


def own_trade_of(row: Row) -> OwnTrade:
    """From an order's columns, state, reason, then a clearing's and a settlement's, or NULLs."""
    return OwnTrade(
        order=order_of(row),
        state=_STATES[row[6]],
        reason=row[7],
        cleared=None if row[8] is None else clearing_of(row[8:15]),
        settled=None if row[15] is None else settlement_of(row[15:]),
    )
