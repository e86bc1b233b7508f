"""What a register stood at when a slot ended, from samples that came before and after.

Samples rarely fall on the boundary of a slot. Between two of them that are close the register is
taken to have grown evenly, and the value counts as metered; across a longer gap the same value is
marked as estimated: the sum over the gap is exact, only its split is not. Values at successive
boundaries never fall, so the energies of the slots between them add up to the register's growth.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Final

from node.model import Quality

MAX_SAMPLES: Final = 4_096
"""More than an hour of a meter that speaks every second: the boundary is always inside."""

CLOSE_S: Final = 60
"""Two samples this close around a boundary give a metered value."""


@dataclass(frozen=True, slots=True)
class AtBoundary:
    """A register's value at an instant, in Wh, and how it is known."""

    register_wh: int
    quality: Quality


class RegisterTrack:
    """The last samples of one register's counted total, in order of time."""

    def __init__(self) -> None:
        self._times_s: deque[int] = deque(maxlen=MAX_SAMPLES)
        self._totals_wh: deque[int] = deque(maxlen=MAX_SAMPLES)

    def add(self, at_s: int, counted_wh: int) -> None:
        """The next sample. One that is not later than the last replaces it: the clock stood still.

        Totals never fall: the guard sees to it (AssertionError).
        """
        if self._times_s:
            assert counted_wh >= self._totals_wh[-1], (counted_wh, self._totals_wh[-1])
            if at_s <= self._times_s[-1]:
                self._totals_wh[-1] = counted_wh
                return
        self._times_s.append(at_s)
        self._totals_wh.append(counted_wh)

    def at(self, boundary_s: int) -> AtBoundary | None:
        """The register at an instant; None while no sample on both sides of it is there."""
        after = bisect_right(self._times_s, boundary_s)
        if after == 0:
            return None
        before_s, before_wh = self._times_s[after - 1], self._totals_wh[after - 1]
        if before_s == boundary_s:
            return AtBoundary(before_wh, Quality.METERED)
        if after == len(self._times_s):
            return None
        gap_s = self._times_s[after] - before_s
        grown_wh = self._totals_wh[after] - before_wh
        value_wh = before_wh + grown_wh * (boundary_s - before_s) // gap_s
        is_close = gap_s <= CLOSE_S or grown_wh == 0
        return AtBoundary(value_wh, Quality.METERED if is_close else Quality.ESTIMATED)
