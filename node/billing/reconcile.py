"""The chain's allocations against the operator's curve, whose measure prevails.

A household traded what its own node had read. If the operator measured less in a period, the
allocation is reduced to the operator's figure, never by rewriting: by entries beside it, which sum
to zero in energy and in money. Energy that is allocated no more is residual or surplus again. Both
sides of a slot must trade the same, so a cut on one side is matched on the other, pro rata of what
is left there. Nothing is given to others instead: the market has closed.

A period is the operator's step or the market's slot, whichever is longer; an excess is spread over
the period's slots pro rata of what was filled. Shares of whole Wh go by the largest remainder, ties
to the earlier slot, then to the lower number of household.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from node.billing.allocation import apportion
from node.billing.series import MISSING, Curve
from node.market.history import SlotRecord, completed
from node.model import Side

__all__ = [
    "Account",
    "Entry",
    "Fill",
    "Pending",
    "Reason",
    "Reconciliation",
    "fills_of",
    "period_energy",
    "period_of",
    "reconcile",
    "revised",
]

SideOf = tuple[int, Side]


class Account(StrEnum):
    """What an entry changes: an allocation, what is not allocated of it, or the network's fee."""

    ALLOCATED = "allocated"
    RESIDUAL = "residual"
    SURPLUS = "surplus"
    NETWORK_FEE = "network_fee"


class Reason(StrEnum):
    """Why: the operator measured less than was allocated; the other side of the slot was cut."""

    ABOVE_OFFICIAL = "above_official"
    BALANCE = "balance"


@dataclass(frozen=True, slots=True)
class Fill:
    """An order as the chain settled it: ``ordered_wh`` is what the household's node had read."""

    slot: int
    household: int
    side: Side
    ordered_wh: int
    filled_wh: int
    price: int
    network_fee: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A correction of one account. ``household`` 0 is the recipient of the network fee.

    ``amount_units`` is signed from the household's view: a buyer gets back what it paid for the
    energy, a seller gives back what it earned with it.
    """

    slot: int
    household: int
    side: Side
    account: Account
    reason: Reason
    energy_wh: int
    amount_units: int


@dataclass(frozen=True, slots=True, order=True)
class Pending:
    """A household's period that cannot be reconciled yet: the operator's value is missing."""

    start_s: int
    household: int
    side: Side
    filled_wh: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Every fill with its Wh after correction, the entries, and what is still to come."""

    fills: tuple[Fill, ...]
    corrected_wh: tuple[int, ...]
    entries: tuple[Entry, ...]
    pending: tuple[Pending, ...]


NOBODY: Final = 0


def fills_of(records: Iterable[SlotRecord]) -> list[Fill]:
    """The orders of cleared slots, with what was filled; those of open slots are left out."""
    return [
        Fill(
            slot=record.slot,
            household=order.household,
            side=order.side,
            ordered_wh=order.energy_wh,
            filled_wh=order.filled_wh or 0,
            price=record.cleared.price or 0,
            network_fee=record.rules.network_fee,
        )
        for record in map(completed, records)
        if record.cleared is not None
        for order in record.orders
    ]


def reconcile(
    fills: Sequence[Fill], official: Mapping[SideOf, Curve], slot_s: int
) -> Reconciliation:
    """Compare fills, all of each slot, with the operator's curves by household and side (bid: what
    it drew; ask: what it injected). Raises ValueError when neither of slot and step is a multiple
    of the other.
    """
    ordered = sorted(fills, key=lambda fill: (fill.slot, fill.side, fill.household))
    own_cut_wh = [0] * len(ordered)
    pending: list[Pending] = []
    by_side: dict[SideOf, list[int]] = {}
    for place, fill in enumerate(ordered):
        by_side.setdefault((fill.household, fill.side), []).append(place)
    for (household, side), places in sorted(by_side.items()):
        curve = official.get((household, side))
        for start_s, measured_wh, inside in _periods(ordered, places, curve, slot_s):
            filled = [ordered[place].filled_wh for place in inside]
            if measured_wh == MISSING:
                pending.append(Pending(start_s, household, side, sum(filled)))
                continue
            excess_wh = max(sum(filled) - measured_wh, 0)
            for place, cut_wh in zip(inside, apportion(excess_wh, filled), strict=True):
                own_cut_wh[place] = cut_wh
    balance_cut_wh = _balance(ordered, own_cut_wh)
    entries: list[Entry] = []
    for fill, own_wh, other_wh in zip(ordered, own_cut_wh, balance_cut_wh, strict=True):
        entries += _entries(fill, own_wh, Reason.ABOVE_OFFICIAL)
        entries += _entries(fill, other_wh, Reason.BALANCE)
    return Reconciliation(
        fills=tuple(ordered),
        corrected_wh=tuple(
            fill.filled_wh - own_wh - other_wh
            for fill, own_wh, other_wh in zip(ordered, own_cut_wh, balance_cut_wh, strict=True)
        ),
        entries=tuple(sorted(entries)),
        pending=tuple(sorted(pending)),
    )


def _periods(
    fills: Sequence[Fill], places: Sequence[int], curve: Curve | None, slot_s: int
) -> Iterator[tuple[int, int, list[int]]]:
    """Start, measured Wh and fills of each period in which one household has fills on one side."""
    period_s = period_of(slot_s, () if curve is None else (curve,))
    inside: dict[int, list[int]] = {}
    for place in places:
        inside.setdefault(fills[place].slot * slot_s // period_s, []).append(place)
    first, last = min(inside), max(inside)
    measured_wh = period_energy(curve, range(first, last + 1), period_s)
    for number, found in sorted(inside.items()):
        yield number * period_s, measured_wh[number - first], found


def period_of(slot_s: int, curves: Iterable[Curve]) -> int:
    """The longest of slot and steps. Raises ValueError if it is no multiple of each."""
    lengths = {slot_s, *(curve.step_s for curve in curves)}
    longest = max(lengths)
    if any(longest % length for length in lengths):
        raise ValueError(f"slots and steps of {sorted(lengths)} s have no common period")
    return longest


def period_energy(curve: Curve | None, periods: range, period_s: int) -> list[int]:
    """Wh of each period; MISSING where the curve has a gap in it, or there is no curve."""
    if curve is None:
        return [MISSING] * len(periods)
    steps_wh = curve.energy_wh_between(periods.start * period_s, periods.stop * period_s)
    parts = period_s // curve.step_s
    if parts == 1:
        return list(steps_wh)
    return [
        MISSING if MISSING in part else sum(part)
        for part in (steps_wh[at : at + parts] for at in range(0, len(steps_wh), parts))
    ]


def _balance(fills: Sequence[Fill], own_cut_wh: Sequence[int]) -> list[int]:
    """What must be cut further so that both sides of each slot trade the same again."""
    more_wh = [0] * len(fills)
    sides: dict[int, tuple[list[int], list[int]]] = {}
    for place, fill in enumerate(fills):
        sides.setdefault(fill.slot, ([], []))[fill.side].append(place)
    for both in sides.values():
        left = [[fills[place].filled_wh - own_cut_wh[place] for place in side] for side in both]
        sums = [sum(side) for side in left]
        larger = Side.ASK if sums[Side.ASK] > sums[Side.BID] else Side.BID
        too_much_wh = sums[larger] - sums[1 - larger]
        cuts = apportion(too_much_wh, left[larger])
        for place, cut_wh in zip(both[larger], cuts, strict=True):
            more_wh[place] = cut_wh
    return more_wh


def _entries(fill: Fill, cut_wh: int, reason: Reason) -> list[Entry]:
    """A cut of one fill: in energy it sums to zero by itself, in money with the slot's others."""
    if cut_wh == 0:
        return []
    if fill.side is Side.ASK:
        rest, amount_units, fee_units = Account.SURPLUS, -cut_wh * fill.price, 0
    else:
        rest, fee_units = Account.RESIDUAL, cut_wh * fill.network_fee
        amount_units = cut_wh * fill.price + fee_units
    place = (fill.slot, fill.household, fill.side)
    entries = [
        Entry(*place, Account.ALLOCATED, reason, -cut_wh, amount_units),
        Entry(*place, rest, reason, cut_wh, 0),
    ]
    if fee_units:
        fee = (fill.slot, NOBODY, fill.side, Account.NETWORK_FEE)
        entries.append(Entry(*fee, reason, 0, -fee_units))
    return entries


def revised(earlier: Iterable[Entry], now: Iterable[Entry]) -> list[Entry]:
    """The entries that lead from what was corrected earlier to what holds now: after a later
    correction of the operator's. Nothing is taken back; both together are what holds now."""
    changes: dict[tuple[int, int, Side, Account, Reason], tuple[int, int]] = {}
    for sign, entries in ((-1, earlier), (1, now)):
        for entry in entries:
            key = (entry.slot, entry.household, entry.side, entry.account, entry.reason)
            energy_wh, amount_units = changes.get(key, (0, 0))
            changes[key] = (
                energy_wh + sign * entry.energy_wh,
                amount_units + sign * entry.amount_units,
            )
    return sorted(Entry(*key, *change) for key, change in changes.items() if any(change))
