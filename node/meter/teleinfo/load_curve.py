"""The load curve in a frame: mean W of the last complete period. A check on indices, no substitute.

The length of the period is not in the frame: it is what lies between the stamps of the last point
and the one before it. A stamp is the end of its period.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from node.meter.teleinfo.frames import horodate_of

PERIODS_S: Final = (300, 600, 900, 1800, 3600)
"""The periods that a curve is recorded in. Other differences of stamps mean a point was skipped."""

_MOST_APART_S: Final = 60
"""Two readings no farther apart than this tell an index at an instant between them."""


class Direction(Enum):
    """Which way the energy flows, by the label of its curve."""

    IMPORT = "CCASN"
    EXPORT = "CCAIN"


@dataclass(frozen=True, slots=True)
class LoadCurve:
    """The last complete period of a curve."""

    power_w: int
    period_s: int
    ended_at_s: int

    @property
    def energy_wh(self) -> int:
        """What flowed in the period, cut off to whole Wh."""
        return self.power_w * self.period_s // 3600

    def agrees_with(self, least_wh: int, most_wh: int) -> bool:
        """Whether our own index difference over the period, known to lie between two values (twice
        the same if it is known exactly), is what the curve says: to 1 Wh and the rounding of W."""
        energy_ws = self.power_w * self.period_s
        tolerance_ws = 3600 + self.period_s
        return 3600 * least_wh - tolerance_ws <= energy_ws <= 3600 * most_wh + tolerance_ws


def load_curve(fields: Mapping[str, str], direction: Direction) -> LoadCurve | None:
    """The last point of a frame's curve, None without two points whose stamps can be trusted and
    are one period apart."""
    last, before = direction.value, f"{direction.value}-1"
    if last not in fields or before not in fields:
        return None
    ended_at_s = horodate_of(fields, last).trusted_s
    began_at_s = horodate_of(fields, before).trusted_s
    if ended_at_s is None or began_at_s is None:
        return None
    period_s = ended_at_s - began_at_s
    if period_s not in PERIODS_S or ended_at_s % period_s:
        return None
    return LoadCurve(int(fields[last]), period_s, ended_at_s)


@dataclass(frozen=True, slots=True)
class _Bracket:
    """A register just before and just after an instant."""

    least_wh: int
    most_wh: int


class CurveCheck:
    """Compares one direction's curve with our own readings of its index, period by period.

    Keeps the index around the last two ends of a period only. A curve point counts once two frames
    in a row agree on it.
    """

    __slots__ = ("_brackets", "_judged_s", "_last", "_period_s", "_seen", "agrees")

    def __init__(self) -> None:
        self.agrees: bool | None = None
        self._brackets: dict[int, _Bracket] = {}
        self._period_s: int | None = None
        self._last: tuple[int, int] | None = None
        self._seen: LoadCurve | None = None
        self._judged_s: int | None = None

    def observe(self, at_s: int, register_wh: int, curve: LoadCurve | None) -> bool | None:
        """Take a reading by meter time and the curve in its frame. The answer is of the last period
        that could be compared: None when none could yet."""
        if curve is not None and curve == self._seen:
            self._take_period(curve.period_s)
            self._compare(curve)
        self._seen = curve
        self._bracket(at_s, register_wh)
        self._last = (at_s, register_wh)
        return self.agrees

    def _take_period(self, period_s: int) -> None:
        if period_s != self._period_s:
            self._period_s = period_s
            self._brackets.clear()

    def _bracket(self, at_s: int, register_wh: int) -> None:
        if self._period_s is None or self._last is None:
            return
        before_s, before_wh = self._last
        end_s = at_s - at_s % self._period_s
        if before_s < end_s <= at_s <= before_s + _MOST_APART_S:
            self._brackets[end_s] = _Bracket(before_wh, register_wh)
            for old_s in sorted(self._brackets)[:-2]:
                del self._brackets[old_s]

    def _compare(self, curve: LoadCurve) -> None:
        end = self._brackets.get(curve.ended_at_s)
        begin = self._brackets.get(curve.ended_at_s - curve.period_s)
        if end is None or begin is None or curve.ended_at_s == self._judged_s:
            return
        self._judged_s = curve.ended_at_s
        self.agrees = curve.agrees_with(end.least_wh - begin.most_wh, end.most_wh - begin.least_wh)
