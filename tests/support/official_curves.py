"""Operator's curves made by hand, and markets that traded other than they measured."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from node.billing.allocation import Allocation, Key, allocate
from node.billing.curve_files import CurveTable
from node.billing.keys import MARKET
from node.billing.market_key import in_market_steps, key_on, stated_by
from node.billing.reconcile import Fill, SideOf
from node.billing.series import MISSING, WATT_MINUTES_PER_WH, Curve, Direction, StepQuality
from node.market.clearing import clear
from node.model import Order, Side

SLOT_S: Final = 900
FIRST_SLOT: Final = 1_989_696
"""2026-09-30T00:00:00Z: a midnight, so that half hours begin with an even slot."""


def official_curve(
    steps_wh: Iterable[int], step_s: int = 1_800, start_s: int = FIRST_SLOT * SLOT_S
) -> Curve:
    """A curve of whole Wh; MISSING makes a gap."""
    values: array[int] = array("q")
    quality = bytearray()
    for energy_wh in steps_wh:
        gap = energy_wh == MISSING
        values.append(MISSING if gap else energy_wh * WATT_MINUTES_PER_WH)
        quality.append(StepQuality.GAP if gap else StepQuality.METERED)
    return Curve("30000000000001", Direction.WITHDRAWAL, step_s, start_s, values, bytes(quality))


def fills_of_book(book: Sequence[Order], network_fee: int = 0) -> list[Fill]:
    """A book as it clears."""
    clearing = clear(book)
    return [
        Fill(
            order.slot,
            order.household,
            order.side,
            order.energy_wh,
            filled_wh,
            clearing.price or 0,
            network_fee,
        )
        for order, filled_wh in zip(book, clearing.filled_wh, strict=True)
    ]


def random_fills(rng: random.Random, slots: int) -> list[Fill]:
    """What up to six households traded in some slots."""
    fills: list[Fill] = []
    for slot in range(FIRST_SLOT, FIRST_SLOT + slots):
        book = [
            Order(household, slot, side, rng.randint(1, 400), 4_000 + 100 * rng.randint(0, 3))
            for household in range(1, rng.randint(2, 7))
            for side in Side
            if rng.random() < 0.6
        ]
        fills += fills_of_book(book, network_fee=rng.choice((0, 200)))
    return fills


def measured_otherwise(
    rng: random.Random, fills: Iterable[Fill], slots: int, step_s: int, absent: float = 0.1
) -> dict[SideOf, Curve]:
    """Curves near what was ordered: above, below, with gaps; ``absent`` of them are not there."""
    ordered: dict[SideOf, list[int]] = {}
    for fill in fills:
        sums = ordered.setdefault((fill.household, fill.side), [0] * (slots * SLOT_S // step_s + 1))
        sums[(fill.slot - FIRST_SLOT) * SLOT_S // step_s] += fill.ordered_wh
    curves: dict[SideOf, Curve] = {}
    for side_of, sums in ordered.items():
        if rng.random() < absent:
            continue
        curves[side_of] = official_curve([_otherwise(rng, wh) for wh in sums], step_s)
    return curves


def _otherwise(rng: random.Random, energy_wh: int) -> int:
    kind = rng.random()
    if kind < 0.4:
        return energy_wh
    if kind < 0.45:
        return MISSING
    return max(energy_wh + rng.randint(-200, 60), 0)


def exactly(fills: Iterable[Fill], slots: int) -> Mapping[SideOf, Curve]:
    """Curves of slots that say just what the nodes read."""
    sums: dict[SideOf, list[int]] = {}
    for fill in fills:
        curve = sums.setdefault((fill.household, fill.side), [0] * slots)
        curve[fill.slot - FIRST_SLOT] += fill.ordered_wh
    return {side_of: official_curve(curve, SLOT_S) for side_of, curve in sums.items()}


def market_tables(
    official: Mapping[SideOf, Curve], slots: int, step_s: int
) -> tuple[CurveTable, CurveTable]:
    """The curves as tables of production and consumption; points are the households' numbers."""
    start_s = FIRST_SLOT * SLOT_S
    made, used = (
        CurveTable(
            start_s,
            step_s,
            {
                str(household): curve.energy_wh_between(start_s, start_s + slots * SLOT_S)
                for (household, way), curve in sorted(official.items())
                if way is side
            },
        )
        for side in (Side.ASK, Side.BID)
    )
    return made, used


def market_allocation(
    fills: Iterable[Fill], official: Mapping[SideOf, Curve], slots: int, step_s: int
) -> Allocation:
    """Who got whose energy by the market, on the operator's curves; points are numbers."""
    stated = stated_by(fills, SLOT_S, lambda household, _: str(household))
    made, used = in_market_steps(*market_tables(official, slots, step_s), SLOT_S)
    longest_s = max(step_s, SLOT_S)
    start_s = FIRST_SLOT * SLOT_S
    steps_s = range(start_s, start_s + slots * SLOT_S, longest_s)
    key = key_on(Key(MARKET, ()), stated, made.points, used.points, steps_s)
    return allocate(key, made.points, used.points)
