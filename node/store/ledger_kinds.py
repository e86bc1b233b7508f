"""The kinds of market event as the ledger keeps them: one table each, to a row and back.

A row begins with the event's position and goes on in the order of the record's own fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from node.model import (
    NO_EVIDENCE,
    Deposited,
    LogPosition,
    MarketEvent,
    MarketRules,
    OrderAccepted,
    OrderRefused,
    OrderSettled,
    PriceGrid,
    Refusal,
    RulesScheduled,
    Side,
    SlotCleared,
    Withdrawn,
)
from node.store.sqlite import Row

_BEYOND_64_BITS: Final = 2**63
"""The chain counts credit in 256 bits, SQLite in 63 and a sign."""


@dataclass(frozen=True, slots=True)
class EventKind:
    """How one kind of event is written and read. ``of_slot`` and ``of_household`` say whether its
    table has those columns to be filtered by."""

    record: type[MarketEvent]
    insert: str
    select: str
    row: Callable[[Any], Row]
    event: Callable[[LogPosition, Row], MarketEvent]
    of_slot: bool
    of_household: bool


def _accepted_row(event: OrderAccepted) -> Row:
    return (
        event.position.block,
        event.position.index,
        event.slot,
        event.household,
        int(event.side),
        event.energy_wh,
        event.limit_price,
        event.prefix_wh,
        None if event.evidence == NO_EVIDENCE else event.evidence,
    )


def _accepted(at: LogPosition, row: Row) -> OrderAccepted:
    _, _, slot, household, side, energy_wh, limit_price, prefix_wh, kept = row
    evidence = NO_EVIDENCE if kept is None else kept
    return OrderAccepted(
        at, slot, household, Side(side), energy_wh, limit_price, prefix_wh, evidence
    )


def _refused_row(event: OrderRefused) -> Row:
    return (
        event.position.block,
        event.position.index,
        event.slot,
        event.household,
        int(event.side),
        int(event.reason),
    )


def _refused(at: LogPosition, row: Row) -> OrderRefused:
    return OrderRefused(at, row[2], row[3], row[4], Refusal(row[5]))


def _cleared_row(event: SlotCleared) -> Row:
    return (
        event.position.block,
        event.position.index,
        event.slot,
        event.price,
        event.matched_wh,
        event.ask_wh,
        event.bid_wh,
    )


def _cleared(at: LogPosition, row: Row) -> SlotCleared:
    return SlotCleared(at, *row[2:])


def _settled_row(event: OrderSettled) -> Row:
    return (
        event.position.block,
        event.position.index,
        event.slot,
        event.household,
        int(event.side),
        event.filled_wh,
        event.price,
        event.amount_units,
    )


def _settled(at: LogPosition, row: Row) -> OrderSettled:
    _, _, slot, household, side, filled_wh, price, amount_units = row
    return OrderSettled(at, slot, household, Side(side), filled_wh, price, amount_units)


def _credit_row(event: Deposited | Withdrawn) -> Row:
    units = event.amount_units
    kept = units if units < _BEYOND_64_BITS else str(units)
    return (event.position.block, event.position.index, event.household, kept)


def _deposited(at: LogPosition, row: Row) -> Deposited:
    return Deposited(at, row[2], int(row[3]))


def _withdrawn(at: LogPosition, row: Row) -> Withdrawn:
    return Withdrawn(at, row[2], int(row[3]))


def _scheduled_row(event: RulesScheduled) -> Row:
    rules, grid = event.rules, event.rules.grid
    return (
        event.position.block,
        event.position.index,
        event.version,
        event.from_slot,
        rules.slot_s,
        rules.gate_offset_s,
        rules.gate_s,
        grid.floor_price,
        grid.tick_size,
        grid.ticks,
        rules.network_fee,
        rules.fee_recipient,
    )


def _scheduled(at: LogPosition, row: Row) -> RulesScheduled:
    _, _, version, from_slot, slot_s, offset_s, gate_s, floor, tick, ticks, fee, recipient = row
    grid = PriceGrid(floor, tick, ticks)
    rules = MarketRules(slot_s, offset_s, gate_s, grid, fee, recipient)
    return RulesScheduled(at, version, from_slot, rules)


KINDS: Final = (
    EventKind(
        record=OrderAccepted,
        insert=(
            "INSERT INTO order_accepted (block, log_index, slot, household, side, energy_wh,"
            " limit_price, prefix_wh, evidence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        ),
        select=(
            "SELECT block, log_index, slot, household, side, energy_wh, limit_price, prefix_wh,"
            " evidence FROM order_accepted"
        ),
        row=_accepted_row,
        event=_accepted,
        of_slot=True,
        of_household=True,
    ),
    EventKind(
        record=OrderRefused,
        insert=(
            "INSERT INTO order_refused (block, log_index, slot, household, side, reason)"
            " VALUES (?, ?, ?, ?, ?, ?)"
        ),
        select="SELECT block, log_index, slot, household, side, reason FROM order_refused",
        row=_refused_row,
        event=_refused,
        of_slot=True,
        of_household=True,
    ),
    EventKind(
        record=SlotCleared,
        insert=(
            "INSERT INTO slot_cleared (block, log_index, slot, price, matched_wh, ask_wh, bid_wh)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
        ),
        select=(
            "SELECT block, log_index, slot, price, matched_wh, ask_wh, bid_wh FROM slot_cleared"
        ),
        row=_cleared_row,
        event=_cleared,
        of_slot=True,
        of_household=False,
    ),
    EventKind(
        record=OrderSettled,
        insert=(
            "INSERT INTO order_settled (block, log_index, slot, household, side, filled_wh, price,"
            " amount_units) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        ),
        select=(
            "SELECT block, log_index, slot, household, side, filled_wh, price, amount_units"
            " FROM order_settled"
        ),
        row=_settled_row,
        event=_settled,
        of_slot=True,
        of_household=True,
    ),
    EventKind(
        record=Deposited,
        insert=(
            "INSERT INTO deposited (block, log_index, household, amount_units) VALUES (?, ?, ?, ?)"
        ),
        select="SELECT block, log_index, household, amount_units FROM deposited",
        row=_credit_row,
        event=_deposited,
        of_slot=False,
        of_household=True,
    ),
    EventKind(
        record=Withdrawn,
        insert=(
            "INSERT INTO withdrawn (block, log_index, household, amount_units) VALUES (?, ?, ?, ?)"
        ),
        select="SELECT block, log_index, household, amount_units FROM withdrawn",
        row=_credit_row,
        event=_withdrawn,
        of_slot=False,
        of_household=True,
    ),
    EventKind(
        record=RulesScheduled,
        insert=(
            "INSERT INTO rules_scheduled (block, log_index, version, from_slot, slot_s,"
            " gate_offset_s, gate_s, floor_price, tick_size, ticks, network_fee, fee_recipient)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        ),
        select=(
            "SELECT block, log_index, version, from_slot, slot_s, gate_offset_s, gate_s,"
            " floor_price, tick_size, ticks, network_fee, fee_recipient FROM rules_scheduled"
        ),
        row=_scheduled_row,
        event=_scheduled,
        of_slot=False,
        of_household=False,
    ),
)
