"""What a node has to do and when, and what came of it: steps that are due, steps that failed,
and how the node stands.

Nothing here is kept on disk: a node plans anew from its store and its clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from node.clock import Clock
from node.errors import ChainMismatch, ChainUnreachable, DaiseeError, Transient
from node.model import LogPosition, Order, SlotEnergy

log = logging.getLogger("daisee.node")

FIRST_PAUSE_S: Final = 1
LONGEST_PAUSE_S: Final = 60
"""Between two tries of a step that failed; each pause is twice the one before. What only a person
can mend is looked at once in the longest pause, so that the node goes on by itself afterwards."""

WATCH_S: Final = 30
"""How often, in seconds of the machine, whoever waits looks whether the clock was set."""

EVERY_SLOT: Final = 0
"""Stands for the slot of a step that is not about one."""


class Step(IntEnum):
    """What a node does, in the order of what is due at the same second."""

    CLOSE = 0
    CATCH_UP = 1
    ORDER = 2
    CLEAR = 3
    FOLLOW = 4

    @property
    def word(self) -> str:
        """As logs and statuses write it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Due:
    """A step that is to be taken at ``at_s``; it is not tried again from ``until_s`` on."""

    step: Step
    at_s: int
    slot: int = EVERY_SLOT
    until_s: int | None = None
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Trouble:
    """A step that fails: since when, and how the last time."""

    step: Step
    kind: str
    message: str
    next_step: str
    since_s: int
    chain_is_away: bool = False


@dataclass(slots=True)
class Counters:
    """What this process has seen, for status pages and metrics."""

    slots_closed: int = 0
    slots_estimated: int = 0
    orders_sent: int = 0
    orders_resent: int = 0
    orders_accepted: int = 0
    orders_late: int = 0
    orders_given_up: int = 0
    orders_unknown: int = 0
    slots_cleared_here: int = 0
    reorganisations: int = 0


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node as it is now. ``looks`` is how often it has looked at its clock and its agenda;
    ``chain_since_s`` since when the chain is reachable, or is not."""

    household: int
    since_s: int
    looks: int
    slot: int
    last_energy: SlotEnergy | None
    last_order: Order | None
    cursor: LogPosition
    chain_reachable: bool
    chain_since_s: int
    troubles: Sequence[Trouble]
    steps_failed: int
    clock_set_back: int
    counters: Counters


class Agenda:
    """The steps that are due, one for each kind and slot, and the troubles that there are.

    It is bounded: a slot has its steps only while its gate is open, or opens or closes next.
    ``tolerance_s``: clocks that differ by no more are one clock, disciplined.
    """

    def __init__(self, clock: Clock, tolerance_s: int) -> None:
        self.failures = 0
        self.clock_set_back = 0
        self.looks = 0
        self.chain_since_s = clock.now_s()
        self.chain_is_reachable = True
        self._clock = clock
        self._tolerance_s = tolerance_s
        self._due: dict[tuple[Step, int], Due] = {}
        self._troubles: dict[Step, Trouble] = {}

    def plan(
        self, step: Step, at_s: int, *, slot: int = EVERY_SLOT, until_s: int | None = None
    ) -> None:
        """Have a step taken, in place of the same one of the same slot if it is planned. It is
        not tried from ``until_s`` on."""
        if until_s is None or at_s < until_s:
            self._due[step, slot] = Due(step, at_s, slot, until_s)

    @property
    def troubles(self) -> Sequence[Trouble]:
        """What fails at present, by kind of step."""
        return [self._troubles[step] for step in sorted(self._troubles)]

    async def keep(
        self,
        do: Callable[[Due], Awaitable[bool]],
        plan_anew: Callable[[], None],
        set_back: Callable[[], None],
    ) -> None:
        """Plan, and do what is planned, always what is due first, until nothing is left.

        ``do`` returns whether the chain answered. No expected failure ends this: a step that fails
        is planned again, unless its time is over. When the clock was set back, ``set_back`` is told
        and everything planned anew.
        """
        seen_s = self._clock.now_s()
        plan_anew()
        while self._due:
            due = min(self._due.values(), key=lambda due: (due.at_s, due.step, due.slot))
            await self._wait_until(due.at_s)
            now_s = self._clock.now_s()
            self.looks += 1
            if now_s < seen_s - self._tolerance_s:
                log.warning("clock_set_back seconds=%d", seen_s - now_s)
                self.clock_set_back += 1
                seen_s = now_s
                self._due.clear()
                set_back()
                plan_anew()
                continue
            seen_s = max(now_s, seen_s)
            if now_s >= due.at_s:
                del self._due[due.step, due.slot]
                await self._take(due, do)

    async def _wait_until(self, unix_s: int) -> None:
        """Wait, but not blindly: whoever sleeps does not see that the clock is set back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WATCH_S):
                await self._clock.sleep_until(unix_s)

    async def _take(self, due: Due, do: Callable[[Due], Awaitable[bool]]) -> None:
        try:
            has_answer = await do(due)
        except DaiseeError as error:
            self._failed(due, error)
        else:
            self._went_well(due.step, has_answer=has_answer)
        is_reachable = not any(trouble.chain_is_away for trouble in self._troubles.values())
        if is_reachable is not self.chain_is_reachable:
            self.chain_is_reachable, self.chain_since_s = is_reachable, self._clock.now_s()

    def _failed(self, due: Due, error: DaiseeError) -> None:
        self.failures += 1
        now_s = self._clock.now_s()
        pause_s = LONGEST_PAUSE_S
        if isinstance(error, Transient):
            pause_s = min(FIRST_PAUSE_S << min(due.tries, 10), LONGEST_PAUSE_S)
        again = replace(due, at_s=now_s + pause_s, tries=due.tries + 1)
        if due.until_s is None or again.at_s < due.until_s:
            self._due.setdefault((due.step, due.slot), again)
        before, kind = self._troubles.get(due.step), type(error).__name__
        self._troubles[due.step] = Trouble(
            due.step,
            kind,
            error.message,
            error.next_step,
            now_s if before is None else before.since_s,
            isinstance(error, ChainUnreachable | ChainMismatch),
        )
        if before is None or before.kind != kind:
            log.warning("fails step=%s kind=%s %s", due.step.word, kind, error.message)

    def _went_well(self, step: Step, *, has_answer: bool) -> None:
        """The step's own trouble is over; but that the chain is away is over for all steps as soon
        as it answers one of them, and not before."""
        for trouble in list(self._troubles.values()):
            is_over = has_answer if trouble.chain_is_away else trouble.step is step
            if is_over:
                del self._troubles[trouble.step]
                log.info("works_again step=%s since_s=%d", trouble.step.word, trouble.since_s)
