"""The register guard: a meter's total is believed only as far as it can be true.

A real register never falls and never grows faster than the connection allows. A value that does
either is *held*: the last good one stands, nothing is rebased on the bad one, and what was held is
counted. Then one of three things happens:

* the next samples continue from the old value: the bad one was a glitch, and is forgotten;
* they continue from the new value, and the register was at the end of its range: it rolled over;
* they continue from the new value without such a reason: the meter was reset or replaced, and its
  owner must say so. Only an uncertified sensor may start again by itself, and then claims no energy
  for the step.

The guard's own total, ``counted_wh``, only ever grows, by what the register grew: the energies of
all slots add up to its last minus its first value, whatever the register did in between. The state
is a value; it is stored with the readings, so that a restart in the middle of a hold does not make
the bad value the first good one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

AGREEING_TO_RECOVER: Final = 3
"""Samples in a row that continue from the old value before a hold is forgotten."""

AGREEING_TO_MOVE: Final = 5
MOVING_TAKES_S: Final = 60
"""Samples in a row, and seconds, that continue from a new value before it is believed."""

MARGIN_NUMERATOR: Final = 12
MARGIN_DENOMINATOR: Final = 10
"""A register may grow by 1.2 times what the connection allows: breakers are not that exact."""


class Verdict(StrEnum):
    """What became of a sample."""

    FIRST = "first"
    ACCEPTED = "accepted"
    HELD = "held"
    RECOVERED = "recovered"
    ROLLED_OVER = "rolled_over"
    RESTARTED = "restarted"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is known of a register: the most power that can flow through it, the step in which it
    counts (1,000 Wh for a German meter without its PIN), the value at which it starts again from 0,
    whether the device may start again by itself (evidence class C), and by how much two samples may
    arrive closer together than they were taken."""

    max_power_w: int
    resolution_wh: int = 1
    range_wh: int = 10**9
    may_restart: bool = False
    lateness_s: int = 0

    def may_grow_wh(self, seconds: int) -> int:
        """The most that the register can have grown in a time."""
        taken_s = max(seconds, 0) + self.lateness_s
        energy = self.max_power_w * taken_s * MARGIN_NUMERATOR
        return energy // (3600 * MARGIN_DENOMINATOR) + self.resolution_wh


@dataclass(frozen=True, slots=True)
class Series:
    """Samples that continue from one another: the last of them, and since when and how many."""

    register_wh: int
    at_s: int
    since_s: int
    samples: int

    def joined(self, register_wh: int, at_s: int) -> Series:
        """One sample longer."""
        return Series(register_wh, at_s, self.since_s, self.samples + 1)

    @property
    def is_steady(self) -> bool:
        """Long enough for no glitch."""
        return self.samples >= AGREEING_TO_MOVE and self.at_s - self.since_s >= MOVING_TAKES_S


@dataclass(frozen=True, slots=True)
class GuardState:
    """All that the guard of one register of one meter knows. Plain integers: it is stored as it is.

    ``register_wh`` and ``at_s`` are the last good sample; ``suspect`` are samples that continue
    from a value that is not believed; ``agreeing`` counts samples during a hold that do continue
    from the good one; ``held`` counts every sample that was held, for the doctor.
    """

    counted_wh: int
    register_wh: int
    at_s: int
    suspect: Series | None = None
    agreeing: int = 0
    held: int = 0

    @property
    def is_holding(self) -> bool:
        """Whether the last samples are not believed."""
        return self.suspect is not None

    @property
    def is_moved(self) -> bool:
        """Whether the register goes on steadily from a value that is not believed: what a glitch
        does not do, and what only the owner can explain."""
        return self.suspect is not None and self.suspect.is_steady


def first_sample(register_wh: int, at_s: int) -> GuardState:
    """The guard of a register that was never seen: its total starts where the register stands."""
    return GuardState(counted_wh=register_wh, register_wh=register_wh, at_s=at_s)


def observe(
    state: GuardState, limits: Limits, register_wh: int, at_s: int
) -> tuple[GuardState, Verdict]:
    """Take the next sample of a register, at a time by the source's clock."""
    if _continues(state.register_wh, state.at_s, limits, register_wh, at_s):
        return _agree(state, register_wh, at_s)
    return _doubt(state, limits, register_wh, at_s)


def confirm_restart(state: GuardState) -> GuardState:
    """The owner says that the meter was reset: the suspect series is right. The step claims no
    energy. Raises ValueError when nothing is held."""
    if state.suspect is None:
        raise ValueError("no value is held: there is nothing to confirm")
    return _moved(state, counted_wh=state.counted_wh)


def stepped_back(state: GuardState, by_s: int) -> GuardState:
    """The clock that the samples' times come from was set back: what is remembered moves along, so
    that the register may go on growing at once."""
    suspect = state.suspect
    if suspect is not None:
        suspect = replace(suspect, at_s=suspect.at_s - by_s, since_s=suspect.since_s - by_s)
    return replace(state, at_s=state.at_s - by_s, suspect=suspect)


def _agree(state: GuardState, register_wh: int, at_s: int) -> tuple[GuardState, Verdict]:
    agreeing = state.agreeing + 1
    if state.is_holding and agreeing < AGREEING_TO_RECOVER:
        return replace(state, agreeing=agreeing, held=state.held + 1), Verdict.HELD
    verdict = Verdict.RECOVERED if state.is_holding else Verdict.ACCEPTED
    grown_wh = register_wh - state.register_wh
    return (
        GuardState(
            counted_wh=state.counted_wh + grown_wh,
            register_wh=register_wh,
            at_s=max(at_s, state.at_s),
            held=state.held,
        ),
        verdict,
    )


def _doubt(
    state: GuardState, limits: Limits, register_wh: int, at_s: int
) -> tuple[GuardState, Verdict]:
    suspect = state.suspect
    if suspect is not None and _continues(
        suspect.register_wh, suspect.at_s, limits, register_wh, at_s
    ):
        suspect = suspect.joined(register_wh, at_s)
    else:
        suspect = Series(register_wh, at_s, at_s, 1)
    state = replace(state, suspect=suspect, agreeing=0, held=state.held + 1)
    is_steady = suspect.is_steady
    if is_steady and _rolled_over(state.register_wh, register_wh, limits.range_wh):
        grown_wh = limits.range_wh - state.register_wh + register_wh
        return _moved(state, counted_wh=state.counted_wh + grown_wh), Verdict.ROLLED_OVER
    if is_steady and limits.may_restart and register_wh < state.register_wh:
        return _moved(state, counted_wh=state.counted_wh), Verdict.RESTARTED
    return state, Verdict.HELD


def _moved(state: GuardState, *, counted_wh: int) -> GuardState:
    suspect = state.suspect
    assert suspect is not None
    return GuardState(counted_wh, suspect.register_wh, suspect.at_s, held=state.held)


def _continues(before_wh: int, before_s: int, limits: Limits, now_wh: int, now_s: int) -> bool:
    return 0 <= now_wh - before_wh <= limits.may_grow_wh(now_s - before_s)


def _rolled_over(before_wh: int, now_wh: int, range_wh: int) -> bool:
    """From the last hundredth of the range to the first."""
    return before_wh * 100 > range_wh * 99 and now_wh * 100 < range_wh
