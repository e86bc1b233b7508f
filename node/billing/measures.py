"""What nodes read, and what the market allocated, summed up beside the operator's curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from node.billing.reconcile import Reconciliation, SideOf, period_energy, period_of
from node.billing.series import MISSING, Curve
from node.model import Side, SlotEnergy

__all__ = [
    "DailyDifference",
    "SideTotals",
    "daily_differences",
    "side_totals",
]

TOLERANCE_PER_CENT: Final = 5
TOLERANCE_WH: Final = 50


@dataclass(frozen=True, slots=True, order=True)
class DailyDifference:
    """A local day on which the node read otherwise than the operator, by more than 5 % and 50 Wh.

    Only periods that both know are counted; whoever has the right to may dispute the day.
    """

    day: str
    household: int
    side: Side
    node_wh: int
    official_wh: int


def daily_differences(
    readings: Mapping[int, Iterable[SlotEnergy]],
    official: Mapping[SideOf, Curve],
    slot_s: int,
    zone: ZoneInfo,
) -> list[DailyDifference]:
    """Compare the slots that nodes metered, by household, with the operator's curves."""
    found = []
    for household, energies in sorted(readings.items()):
        known = {energy.slot: energy for energy in energies}
        for side in (Side.ASK, Side.BID):
            curve = official.get((household, side))
            if curve is None or not known:
                continue
            metered = {
                slot: energy.export_wh if side is Side.ASK else energy.import_wh
                for slot, energy in known.items()
            }
            for day, (node_wh, official_wh) in _by_day(metered, curve, slot_s, zone).items():
                apart_wh = abs(node_wh - official_wh)
                if apart_wh > max(official_wh * TOLERANCE_PER_CENT // 100, TOLERANCE_WH):
                    found.append(DailyDifference(day, household, side, node_wh, official_wh))
    return sorted(found)


def _by_day(
    metered: Mapping[int, int], curve: Curve, slot_s: int, zone: ZoneInfo
) -> dict[str, tuple[int, int]]:
    """Node's and operator's Wh by local day, of the periods of which both know every part."""
    period_s = period_of(slot_s, (curve,))
    parts = period_s // slot_s
    sums: dict[int, list[int]] = {}
    for slot, energy_wh in metered.items():
        sums.setdefault(slot * slot_s // period_s, []).append(energy_wh)
    periods = range(min(sums), max(sums) + 1)
    measured_wh = period_energy(curve, periods, period_s)
    days: dict[str, tuple[int, int]] = {}
    for number, metered_wh in sorted(sums.items()):
        official_wh = measured_wh[number - periods.start]
        if len(metered_wh) < parts or official_wh == MISSING:
            continue
        day = datetime.fromtimestamp(number * period_s, zone).date().isoformat()
        node_wh, measured_so_far_wh = days.get(day, (0, 0))
        days[day] = (node_wh + sum(metered_wh), measured_so_far_wh + official_wh)
    return days


@dataclass(frozen=True, slots=True)
class SideTotals:
    """One household's side over a time. ``ordered_wh`` is what its node read and ordered,
    ``filled_wh`` what the chain allocated, ``corrected_wh`` what remains of it.

    ``official_wh`` is what the operator measured in the periods that it has said, ``rest_wh`` the
    residual (bids) or surplus (asks) of these; both None without a curve.
    """

    household: int
    side: Side
    ordered_wh: int
    filled_wh: int
    corrected_wh: int
    official_wh: int | None
    rest_wh: int | None
    open_periods: int


def side_totals(
    reconciliation: Reconciliation, official: Mapping[SideOf, Curve], slot_s: int, span: range
) -> list[SideTotals]:
    """Sums of all fills by household and side, against the operator's curves over the span."""
    sums: dict[SideOf, list[tuple[int, int, int, int]]] = {side_of: [] for side_of in official}
    for fill, corrected_wh in zip(reconciliation.fills, reconciliation.corrected_wh, strict=True):
        sums.setdefault((fill.household, fill.side), []).append(
            (fill.slot, fill.ordered_wh, fill.filled_wh, corrected_wh)
        )
    return [
        _side_totals(side_of, rows, official.get(side_of), slot_s, span)
        for side_of, rows in sorted(sums.items())
    ]


def _side_totals(
    side_of: SideOf,
    rows: list[tuple[int, int, int, int]],
    curve: Curve | None,
    slot_s: int,
    span: range,
) -> SideTotals:
    _, ordered_wh, filled_wh, corrected_wh = map(sum, zip(*rows, strict=True)) if rows else (0,) * 4
    if curve is None:
        return SideTotals(*side_of, ordered_wh, filled_wh, corrected_wh, None, None, 0)
    period_s = period_of(slot_s, (curve,))
    periods = range(span.start // period_s, -(-span.stop // period_s))
    measured_wh = period_energy(curve, periods, period_s)
    known = [number for number, wh in zip(periods, measured_wh, strict=True) if wh != MISSING]
    official_wh = sum(wh for wh in measured_wh if wh != MISSING)
    in_known = set(known)
    corrected_in_known_wh = sum(
        corrected for slot, _, _, corrected in rows if slot * slot_s // period_s in in_known
    )
    return SideTotals(
        *side_of,
        ordered_wh,
        filled_wh,
        corrected_wh,
        official_wh,
        official_wh - corrected_in_known_wh,
        len(periods) - len(known),
    )
