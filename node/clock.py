"""The only place that reads time. Everything else is handed a clock."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Protocol


class Clock(Protocol):
    """Whole unix seconds, and waiting until one of them."""

    def now_s(self) -> int:
        """The current unix time."""
        ...

    async def sleep_until(self, unix_s: int) -> None:
        """Return once ``now_s() >= unix_s``."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_s(self) -> int:
        """The current unix time."""
        return int(time.time())

    async def sleep_until(self, unix_s: int) -> None:
        """Sleep; short naps, so that a stepped clock is noticed within a minute."""
        while (left := unix_s - time.time()) > 0:
            await asyncio.sleep(min(left, 60.0))


class ManualClock:
    """A clock that moves only when told to: simulation and tests. It never goes back."""

    def __init__(self, start_s: int = 0) -> None:
        self._now_s = start_s

    def now_s(self) -> int:
        """The instant it was last moved to."""
        return self._now_s

    async def sleep_until(self, unix_s: int) -> None:
        """Move there at once."""
        self.advance_to(unix_s)

    def advance_to(self, unix_s: int) -> None:
        """Move forward; an earlier instant leaves the clock where it is."""
        self._now_s = max(self._now_s, unix_s)


def cpu_seconds() -> float:
    """CPU seconds so far, user and system, of this process and its ended children: the figure that
    benchmarks quote."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def wall_seconds() -> float:
    """A monotonic wall clock for durations shown to people."""
    return time.monotonic()
