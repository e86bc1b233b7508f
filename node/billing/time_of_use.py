"""Time classes of the grid's tariffs, by the local civil clock.

Off-peak hours are stated in local time, so the hour that comes twice in autumn belongs to its
class both times, and the one that is missing in spring to none. A step belongs to the class of its
first instant: meters know off-peak hours that begin inside a step, curves do not.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from node.billing.perimeter import midnight_s
from node.billing.tariffs import BASE, FOUR_CLASSES, PEAK_CLASSES

__all__ = ["Calendar", "Period", "parse_off_peak"]

HIGH_SEASON: Final = frozenset({11, 12, 1, 2, 3})
"""The months of the high season of TURPE in low voltage."""

_WINDOW: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_DAY_MIN: Final = 24 * 60


@dataclass(frozen=True, slots=True, order=True)
class Calendar:
    """Which class a moment belongs to: the tariff's classes, and off-peak windows in minutes of the
    local day, each ``[from, to)`` and within it."""

    classes: tuple[str, ...]
    off_peak_min: tuple[tuple[int, int], ...] = ()

    def class_at(self, local: datetime) -> str:
        """The class of a local time."""
        if self.classes == BASE:
            return BASE[0]
        minute = local.hour * 60 + local.minute
        is_off_peak = any(start <= minute < end for start, end in self.off_peak_min)
        peak = PEAK_CLASSES[is_off_peak]
        if self.classes == PEAK_CLASSES:
            return peak
        assert self.classes == FOUR_CLASSES, self.classes
        return peak + ("H" if local.month in HIGH_SEASON else "B")


def parse_off_peak(text: str) -> tuple[tuple[int, int], ...]:
    """``"22:30-06:30"`` or ``"01:00-07:00 12:30-14:30"`` as windows within the day, in order.

    Raises ValueError for anything else, and for windows that overlap.
    """
    windows: list[tuple[int, int]] = []
    for part in text.split():
        match = _WINDOW.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no window (write 22:30-06:30)")
        start, end = (int(match[at]) * 60 + int(match[at + 1]) for at in (1, 3))
        if start < end:
            windows.append((start, end))
        elif start > end:
            windows += [window for window in ((start, _DAY_MIN), (0, end)) if window[0] < window[1]]
        else:
            raise ValueError(f"{part!r} has no length")
    windows.sort()
    for before, after in itertools.pairwise(windows):
        if after[0] < before[1]:
            raise ValueError(f"the windows of {text!r} overlap")
    return tuple(windows)


@dataclass(frozen=True, slots=True)
class Period:
    """Whole local days ``[first, until)``: a month, or what else is billed at once."""

    first: date
    until: date
    zone: ZoneInfo

    def __post_init__(self) -> None:
        if self.until <= self.first:
            raise ValueError(f"a period from {self.first} until {self.until}")

    @property
    def start_s(self) -> int:
        """Local midnight of the first day."""
        return midnight_s(self.first, self.zone)

    @property
    def end_s(self) -> int:
        """Local midnight of the first day after."""
        return midnight_s(self.until, self.zone)

    @property
    def days(self) -> int:
        """How many days."""
        return (self.until - self.first).days

    def __str__(self) -> str:
        """``2025-10`` for a month, else both days."""
        after = self.first.replace(day=1) + timedelta(days=32)
        if self.first.day == 1 and self.until == after.replace(day=1):
            return f"{self.first:%Y-%m}"
        return f"{self.first}_{self.until}"
