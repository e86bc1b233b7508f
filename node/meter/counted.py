"""One register of one meter: guarded, counted, and known at every instant that may be asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from node.meter.boundaries import AtBoundary, Point, RegisterTrack
from node.meter.guard import (
    GuardState,
    Limits,
    Verdict,
    confirm_restart,
    first_sample,
    observe,
    stepped_back,
)
from node.model import Quality

_COUNTS: Final = frozenset({Verdict.ACCEPTED, Verdict.RECOVERED, Verdict.ROLLED_OVER})


@dataclass(frozen=True, slots=True)
class Begin:
    """Where counting began: the counted total, and since when it stands for anything. Before that
    instant the total is ``counted_wh`` too if ``is_known_before`` (there was no such register)."""

    counted_wh: int
    at_s: int
    is_known_before: bool


class CountedRegister:
    """The total of one register, from the first sample that a second one confirmed.

    ``base_wh`` is the counted total at which a register begins that joins later, or on a new meter;
    with None it begins where the register stands. Until it begins, it counts ``base_wh`` or 0.
    """

    __slots__ = ("_candidate", "base_wh", "begin", "guard", "track")

    def __init__(self, base_wh: int | None = None) -> None:
        self.base_wh = base_wh
        self._candidate: Point | None = None
        self.begin: Begin | None = None
        self.guard: GuardState | None = None
        self.track = RegisterTrack()

    @classmethod
    def restored(cls, begin: Begin, guard: GuardState, track: RegisterTrack) -> CountedRegister:
        """As an earlier process left it."""
        register = cls()
        register.begin, register.guard, register.track = begin, guard, track
        return register

    @property
    def has_begun(self) -> bool:
        """Whether the meter has this register, as far as is known."""
        return self.guard is not None

    @property
    def is_beginning(self) -> bool:
        """Whether a first sample waits for the one that confirms it."""
        return self.guard is None and self._candidate is not None

    @property
    def counted_wh(self) -> int:
        """The total that slots are made of."""
        return self.base_wh or 0 if self.guard is None else self.guard.counted_wh

    @property
    def held(self) -> int:
        """How many samples were not believed so far."""
        return 0 if self.guard is None else self.guard.held

    @property
    def is_moved(self) -> bool:
        """Whether only the owner can say why the register goes on from another value."""
        return self.guard is not None and self.guard.is_moved

    def begin_at_latest_from(self, base_wh: int) -> None:
        """A total was given out: a register that joins from now on begins there."""
        if self.guard is None and self.base_wh is None:
            self.base_wh = base_wh

    def observe(self, register_wh: int, at_s: int, limits: Limits) -> Verdict:
        """Take a sample; FIRST for what only tells where the register may begin."""
        if self.guard is None:
            return self._begin(register_wh, at_s, limits)
        self.guard, verdict = observe(self.guard, limits, register_wh, at_s)
        if verdict is not Verdict.HELD:
            self.track.add(at_s, self.guard.counted_wh)
        if verdict is Verdict.RESTARTED:
            self.track.doubt_until(at_s)
        return verdict

    def rest(self, at_s: int) -> None:
        """The meter says that it does not have the register at present: nothing is counted."""
        if self.guard is not None:
            self.track.add(at_s, self.guard.counted_wh)

    def step_back(self, by_s: int) -> None:
        """The node's clock was set back."""
        if self.guard is not None:
            self.guard = stepped_back(self.guard, by_s)
        if self._candidate is not None:
            self._candidate = self._candidate[0] - by_s, self._candidate[1]

    def confirm(self, at_s: int) -> None:
        """The owner says that the register was reset. Raises ValueError when nothing is held."""
        if self.guard is None:
            raise ValueError("no value is held: there is nothing to confirm")
        self.guard = confirm_restart(self.guard)
        self.track.add(at_s, self.guard.counted_wh)
        self.track.doubt_until(at_s)

    def at(self, instant_s: int) -> AtBoundary | None:
        """The total at an instant; None while no sample after it is there, or none before."""
        if self.guard is None or self.begin is None:
            return None if self.is_beginning else AtBoundary(self.counted_wh, Quality.METERED)
        if instant_s < self.begin.at_s and self.begin.is_known_before:
            return AtBoundary(self.begin.counted_wh, Quality.METERED)
        return self.track.at(instant_s)

    def is_before_all(self, instant_s: int) -> bool:
        """Whether an instant lies before everything that is known."""
        if self.begin is None or (self.begin.is_known_before and instant_s < self.begin.at_s):
            return False
        begins_at_s = self.track.begins_at_s
        return begins_at_s is not None and instant_s < begins_at_s

    def continued_by(self, successor: CountedRegister) -> CountedRegister:
        """The same total on another meter: the old one's, and what the new one has counted since
        it was first heard."""
        if successor.guard is None or successor.begin is None:
            return CountedRegister(self.counted_wh)
        grown_wh = successor.guard.counted_wh - successor.begin.counted_wh
        guard = replace(successor.guard, counted_wh=self.counted_wh + grown_wh)
        track = self.track
        track.add(successor.begin.at_s, self.counted_wh)
        track.doubt_until(successor.begin.at_s)
        track.add(successor.guard.at_s, guard.counted_wh)
        begin = self.begin or Begin(self.counted_wh, successor.begin.at_s, is_known_before=True)
        return CountedRegister.restored(begin, guard, track)

    def _begin(self, register_wh: int, at_s: int, limits: Limits) -> Verdict:
        """Begin with the first of two samples that continue from one another."""
        candidate, self._candidate = self._candidate, (at_s, register_wh)
        if candidate is None:
            return Verdict.FIRST
        first_s, first_wh = candidate
        guard, verdict = observe(first_sample(first_wh, first_s), limits, register_wh, at_s)
        if verdict not in _COUNTS:
            return Verdict.FIRST
        counted_wh = first_wh if self.base_wh is None else self.base_wh
        self.begin = Begin(counted_wh, first_s, is_known_before=self.base_wh is not None)
        self.guard = replace(guard, counted_wh=counted_wh + register_wh - first_wh)
        self.track.add(first_s, counted_wh)
        self.track.add(at_s, self.guard.counted_wh)
        self._candidate = None
        return verdict
