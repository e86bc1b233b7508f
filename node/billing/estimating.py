"""Filling short gaps of an official curve, provisionally: the operator's value will prevail."""

from __future__ import annotations

from array import array
from dataclasses import replace

from node.billing.conformity import ESTIMABLE_GAP_S
from node.billing.series import Curve, StepQuality

__all__ = ["with_short_gaps_estimated"]


def with_short_gaps_estimated(curve: Curve, longest_s: int = ESTIMABLE_GAP_S) -> Curve:
    """The curve with gaps of up to two hours on a straight line between their neighbours, marked
    ESTIMATED. Longer gaps, and those at an end, stay: nothing is known on one side of them."""
    values, quality = array("q", curve.watt_minutes), bytearray(curve.quality)
    for from_s, to_s in curve.gaps():
        if to_s - from_s > longest_s or from_s == curve.start_s or to_s == curve.end_s:
            continue
        first = (from_s - curve.start_s) // curve.step_s
        after = (to_s - curve.start_s) // curve.step_s
        left, right, parts = values[first - 1], values[after], after - first + 1
        for part in range(1, parts):
            values[first + part - 1] = (left * (parts - part) + right * part) // parts
            quality[first + part - 1] = StepQuality.ESTIMATED
    return replace(curve, watt_minutes=values, quality=bytes(quality))
