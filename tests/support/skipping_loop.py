"""An event loop that skips whatever it would wait for: hours of timeouts and pauses in a moment.

Time stands still while anything can be done, and jumps to the next timer when nothing can. Only for
tasks of this process: nothing outside of it would keep up.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from node.clock import ManualClock

_T = TypeVar("_T")

_MARGIN_S = 1e-3
"""Many jumps add up to a little less than their sum: no one may wake a second too early."""


class _Skipping(selectors.SelectSelector):
    """Waits for nothing, and counts for how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        assert ready or timeout is not None, "every task waits, and nothing will ever happen"
        if not ready:
            self.passed_s += timeout or 0.0
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """The loop; its time begins at 0."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.passed_s


class LoopClock(ManualClock):
    """The time of day of such a loop: whoever sleeps lets the others go on."""

    def __init__(self, start_s: int) -> None:
        super().__init__(start_s)
        self._loop: SkippingLoop | None = None

    def now_s(self) -> int:
        return super().now_s() + int(0 if self._loop is None else self._loop.time())

    async def sleep_until(self, unix_s: int) -> None:
        left_s = unix_s - self.now_s()
        if left_s > 0:
            await asyncio.sleep(left_s + _MARGIN_S)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """``asyncio.run`` on the loop, once."""
        self._loop = loop = SkippingLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(work)
