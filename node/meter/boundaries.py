"""What a register stood at when a slot ended, from samples that came before and after.

Samples rarely fall on the boundary of a slot. Between two of them that are close the register is
taken to have grown evenly, and the value counts as metered; across a longer gap the same value is
marked as estimated: the sum over the gap is exact, only its split is not. Values at successive
boundaries never fall, so the energies of the slots between them add up to the register's growth.

Times are the node's own. A clock that is set back by seconds stands still until it has caught up.
Set back by more, it lives some instants twice: what was sampled after the new time is forgotten,
totals go on from where they stood, and for a while every value is an estimate.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.model import Quality

MAX_SAMPLES: Final = 4_096
"""More than an hour of a meter that speaks every second: the boundary is always inside."""

CLOSE_S: Final = 60
"""Two samples this close around a boundary give a metered value."""

MARK_S: Final = 300
MAX_MARKS: Final = 2 * 2 * 86_400 // MARK_S
"""Of the last two days the samples on both sides of every full five minutes are kept: slots end on
those, and a slot may be closed late."""

UNSURE_S: Final = 3_600
MOST_UNSURE_S: Final = 86_400
"""After the clock was set back: an hour beyond what it lives twice, but no more than a day."""

SURE: Final = -1
"""No instant is unsure."""

MAX_POINTS: Final = 64
"""How many points are kept for a later start; more than that cover many hours, more thinly."""

Point = tuple[int, int]
"""An instant and a total, in s and Wh."""


@dataclass(frozen=True, slots=True)
class AtBoundary:
    """A register's value at an instant, in Wh, and how it is known."""

    register_wh: int
    quality: Quality


class RegisterTrack:
    """The last samples of one register's counted total, in order of time."""

    __slots__ = ("_marks", "_times_s", "_totals_wh", "unsure_until_s")

    def __init__(self, points: Sequence[Point] = (), unsure_until_s: int = SURE) -> None:
        self._times_s: deque[int] = deque(maxlen=MAX_SAMPLES)
        self._totals_wh: deque[int] = deque(maxlen=MAX_SAMPLES)
        self._marks: deque[Point] = deque(maxlen=MAX_MARKS)
        self.unsure_until_s = unsure_until_s
        for at_s, counted_wh in points:
            self.add(at_s, counted_wh)

    @property
    def last(self) -> Point | None:
        """The newest sample."""
        return (self._times_s[-1], self._totals_wh[-1]) if self._times_s else None

    @property
    def begins_at_s(self) -> int | None:
        """The oldest instant that can be answered for."""
        if self._marks and self._marks[0][0] < self._times_s[0]:
            return self._marks[0][0]
        return self._times_s[0] if self._times_s else None

    def add(self, at_s: int, counted_wh: int) -> None:
        """The next sample. One that is not later than the last replaces it: the clock stood still.

        Totals never fall: the guard sees to it (AssertionError).
        """
        if self._times_s:
            last_s = self._times_s[-1]
            assert counted_wh >= self._totals_wh[-1], (counted_wh, self._totals_wh[-1])
            if at_s < last_s - CLOSE_S:
                self._step_back(at_s)
            elif at_s <= last_s:
                self._totals_wh[-1] = counted_wh
                return
            elif at_s // MARK_S != last_s // MARK_S:
                self._marks += ((last_s, self._totals_wh[-1]), (at_s, counted_wh))
        self._times_s.append(at_s)
        self._totals_wh.append(counted_wh)

    def at(self, boundary_s: int) -> AtBoundary | None:
        """The register at an instant; None while no sample on both sides of it is there."""
        after = bisect_right(self._times_s, boundary_s)
        if after:
            if self._times_s[after - 1] == boundary_s:
                return self._between((boundary_s, self._totals_wh[after - 1]), None, boundary_s)
            if after == len(self._times_s):
                return None
            before = self._times_s[after - 1], self._totals_wh[after - 1]
            return self._between(before, (self._times_s[after], self._totals_wh[after]), boundary_s)
        marked = bisect_right(self._marks, boundary_s, key=_instant)
        if marked in {0, len(self._marks)}:
            return None
        return self._between(self._marks[marked - 1], self._marks[marked], boundary_s)

    def doubt_until(self, instant_s: int) -> None:
        """Up to here more may have flowed than was counted: what is not answered yet is an
        estimate."""
        self.unsure_until_s = max(self.unsure_until_s, instant_s)

    def points_after(self, instant_s: int) -> Sequence[Point]:
        """After an instant, at most MAX_POINTS from which a later track goes on: both sides of
        every mark, and the newest sample."""
        points = [point for point in self._marks if point[0] > instant_s]
        if self.last is not None and (not points or points[-1][0] < self.last[0]):
            points.append(self.last)
        # Pairs are left out as pairs; the newest sample is always kept.
        while len(points) > MAX_POINTS:
            points = [*(point for at, point in enumerate(points[:-1]) if at % 4 < 2), points[-1]]
        return points

    def _between(self, before: Point, after: Point | None, boundary_s: int) -> AtBoundary:
        is_sure = boundary_s > self.unsure_until_s
        before_s, before_wh = before
        if after is None or before_s == boundary_s:
            return AtBoundary(before_wh, Quality.METERED if is_sure else Quality.ESTIMATED)
        gap_s = after[0] - before_s
        grown_wh = after[1] - before_wh
        value_wh = before_wh + grown_wh * (boundary_s - before_s) // gap_s
        is_close = gap_s <= CLOSE_S or grown_wh == 0
        return AtBoundary(value_wh, Quality.METERED if is_close and is_sure else Quality.ESTIMATED)

    def _step_back(self, at_s: int) -> None:
        until_s = min(self._times_s[-1], at_s + MOST_UNSURE_S) + UNSURE_S
        self.unsure_until_s = max(until_s, min(self.unsure_until_s, at_s + MOST_UNSURE_S))
        while self._times_s and self._times_s[-1] >= at_s:
            self._times_s.pop()
            self._totals_wh.pop()
        while self._marks and self._marks[-1][0] >= at_s:
            self._marks.pop()


def _instant(point: Point) -> int:
    return point[0]
