"""One time for many tasks, which take turns: what they do at an instant is always done in the same
order, so that a run with a seed can be run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Turns:
    """The time of all. It moves on when everybody waits, to the first instant that somebody waits
    for; of those who wait for the same, the one who joined first has its turn first."""

    def __init__(self, start_s: int) -> None:
        self.now_s = start_s
        self._joined = 0
        self._present = 0
        self._waiting: dict[int, tuple[int, asyncio.Future[None]]] = {}

    def join(self, ahead_s: Callable[[int], int] = lambda _now_s: 0) -> Hand:
        """One more task, with a clock of its own, which may be ahead of time, or behind it. All
        must have joined before the first waits."""
        self._joined += 1
        self._present += 1
        return Hand(self, self._joined, ahead_s)

    async def wait(self, number: int, until_s: int) -> None:
        """Wait for an instant that has not come."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = until_s, future
        self._next()
        try:
            await future
        finally:
            self._waiting.pop(number, None)

    def leave(self) -> None:
        """One task less."""
        self._present -= 1
        self._next()

    def _next(self) -> None:
        if not self._waiting or len(self._waiting) < self._present:
            return
        number = min(self._waiting, key=lambda number: (self._waiting[number][0], number))
        until_s, future = self._waiting.pop(number)
        self.now_s = max(self.now_s, until_s)
        if not future.done():
            future.set_result(None)


class Hand:
    """One task's clock. Implements ``node.clock.Clock``, except that a wait may end early when the
    clock is set: whoever waits looks again."""

    def __init__(self, turns: Turns, number: int, ahead_s: Callable[[int], int]) -> None:
        self._turns = turns
        self._number = number
        self._ahead_s = ahead_s

    def now_s(self) -> int:
        """What this clock shows."""
        return self._turns.now_s + self._ahead_s(self._turns.now_s)

    async def sleep_until(self, unix_s: int) -> None:
        """Give the turn away until this clock shows an instant."""
        left_s = unix_s - self.now_s()
        if left_s > 0:
            await self._turns.wait(self._number, self._turns.now_s + left_s)

    def leave(self) -> None:
        """Have nothing more to do."""
        self._turns.leave()
