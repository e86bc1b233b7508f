"""What goes wrong for one home in a day, and when: drawn from a seed before the day begins."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

RESTARTS: Final = 6
WINDOWS: Final = 2
WINDOW_S: Final = (60, 300, 900, 2_700, 6_000)
AHEAD_S: Final = (-3_600, -400, -95, -20, 20, 95, 400, 3_600)


class Fault(StrEnum):
    """What can be wrong for a while. The power goes in an instant, and is counted by itself."""

    METER_SILENT = "meter silent"
    METER_LIES = "meter lies"
    CHAIN_UNREACHABLE = "chain unreachable"
    DELIVERED_TWICE = "delivered twice"
    DISK_FULL = "disk full"
    CLOCK_WRONG = "clock wrong"


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which something is wrong; ``ahead_s`` is by how much a clock is."""

    fault: Fault
    from_s: int
    to_s: int
    ahead_s: int


@dataclass(slots=True)
class Fate:
    """All that happens to one home until ``to_s``, drawn before the day begins; ``happened`` counts
    what did."""

    to_s: int
    windows: Sequence[Window]
    restarts_s: list[int]
    rng: random.Random
    happened: Counter[str] = field(default_factory=Counter)

    @classmethod
    def drawn(cls, rng: random.Random, from_s: int, to_s: int) -> Fate:
        """A home's day, with nothing wrong before a time and after another."""
        windows = []
        for fault in Fault:
            for _ in range(rng.randint(0, WINDOWS)):
                begins_s = rng.randrange(from_s, to_s)
                ends_s = min(begins_s + rng.choice(WINDOW_S), to_s)
                windows.append(Window(fault, begins_s, ends_s, rng.choice(AHEAD_S)))
        restarts = sorted(rng.randrange(from_s, to_s) for _ in range(rng.randint(0, RESTARTS)))
        clocks = sum(window.fault is Fault.CLOCK_WRONG for window in windows)
        return cls(to_s, windows, restarts, rng, Counter({Fault.CLOCK_WRONG.value: clocks}))

    def is_on(self, fault: Fault, now_s: int) -> bool:
        """Whether something is wrong now."""
        return any(w.fault is fault and w.from_s <= now_s < w.to_s for w in self.windows)

    def strikes(self, fault: Fault, now_s: int, odds: float = 0.6) -> bool:
        """Whether it shows this time."""
        struck = self.is_on(fault, now_s) and self.rng.random() < odds
        self.happened[fault.value] += struck
        return struck

    def ahead_s(self, now_s: int) -> int:
        """By how much the home's clock is ahead."""
        return sum(
            w.ahead_s
            for w in self.windows
            if w.fault is Fault.CLOCK_WRONG and w.from_s <= now_s < w.to_s
        )

    def power_goes(self, now_s: int) -> bool:
        """Whether the power goes here; each time that it is due, at a point drawn by lot."""
        is_due = bool(self.restarts_s) and self.restarts_s[0] <= now_s < self.to_s
        if not is_due or self.rng.random() > 0.25:
            return False
        self.restarts_s.pop(0)
        self.happened["power cut"] += 1
        return True
