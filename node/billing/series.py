"""The canonical form of what a distribution operator measured, whatever file it came in.

A curve is one delivery point, one direction, equal steps in UTC. Operators publish mean power, and
10 minutes of 500 W are 83 1/3 Wh: so a curve keeps **watt-minutes** (60 are 1 Wh), in which every
whole number of watts over whole minutes is exact, and turns into integer Wh on demand with the
remainder carried from step to step. The carry begins anew at each UTC midnight: the Wh of a step
then do not depend on how the operator cut its files, a corrected step touches nothing outside its
day, and the Wh of a day differ from the exact sum by half a Wh at most.

Values lie in ``array("q")``, nine bytes a step with the quality: 1,000 points for a year at 30
minutes are 158 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from itertools import accumulate
from math import gcd
from operator import sub
from typing import Final

__all__ = [
    "DAY_S",
    "MISSING",
    "STEPS_S",
    "WATT_MINUTES_PER_WH",
    "Curve",
    "Direction",
    "PeriodEnergy",
    "RegisterValue",
    "SharedPart",
    "StepQuality",
    "TouchedSteps",
    "empty_values",
    "resampled",
    "touched_steps",
]

MISSING: Final = -1
"""Stands where a step has no value, in watt-minutes as in Wh. A gap is never 0."""

WATT_MINUTES_PER_WH: Final = 60
DAY_S: Final = 86_400

STEPS_S: Final = (300, 600, 900, 1800, 3600)
"""The steps that operators publish; each divides a day."""


class Direction(StrEnum):
    """Which way the energy went, seen from the grid, and whether sharing is already taken off.

    Operators that compute the sharing also publish what remains of each curve: a consumer's
    residual (what its supplier delivers) and a producer's surplus.
    """

    WITHDRAWAL = "withdrawal"
    INJECTION = "injection"
    RESIDUAL = "residual"
    SURPLUS = "surplus"


class StepQuality(IntEnum):
    """How the operator came to a step's value. All but METERED and CORRECTED are provisional."""

    GAP = 0
    ESTIMATED = 1
    RECONSTRUCTED = 2
    COMPUTED = 3
    OUTAGE = 4
    DOUBTFUL = 5
    MANUAL = 6
    METERED = 7
    CORRECTED = 8

    @property
    def word(self) -> str:
        """The quality as outputs write it."""
        return self.name.lower()

    @property
    def is_provisional(self) -> bool:
        """Whether a better value may still come."""
        return self not in {StepQuality.METERED, StepQuality.CORRECTED}


@dataclass(frozen=True, slots=True)
class Curve:
    """Energy per step of one delivery point in one direction, from ``start_s`` on without a break.

    ``watt_minutes`` holds MISSING exactly where ``quality`` says GAP. ``source`` names the file or
    flow, ``version`` the import that last changed the curve (0: not stored yet). The arrays belong
    to the curve and are not written to once it is made.
    """

    point_id: str
    direction: Direction
    step_s: int
    start_s: int
    watt_minutes: array[int]
    quality: bytes
    source: str = ""
    version: int = 0

    def __post_init__(self) -> None:
        if self.step_s not in STEPS_S:
            raise ValueError(f"a step of {self.step_s} s; known are {STEPS_S}")
        if self.start_s % self.step_s:
            raise ValueError(f"a curve that starts at {self.start_s}, off its own grid")
        if len(self.quality) != len(self.watt_minutes):
            raise ValueError(f"{len(self.watt_minutes)} values, {len(self.quality)} qualities")

    def __len__(self) -> int:
        """How many steps, gaps included."""
        return len(self.watt_minutes)

    @property
    def end_s(self) -> int:
        """The first instant after the last step."""
        return self.start_s + len(self.watt_minutes) * self.step_s

    @property
    def values(self) -> int:
        """How many steps have a value."""
        return len(self.quality) - self.quality.count(StepQuality.GAP)

    def step_start_s(self, index: int) -> int:
        """When a step begins."""
        return self.start_s + index * self.step_s

    def gaps(self) -> Iterator[tuple[int, int]]:
        """The runs of steps without a value, each as ``[from_s, to_s)``."""
        index = self.quality.find(StepQuality.GAP)
        while index >= 0:
            after = index
            while after < len(self.quality) and self.quality[after] == StepQuality.GAP:
                after += 1
            yield self.step_start_s(index), self.step_start_s(after)
            index = self.quality.find(StepQuality.GAP, after)

    def window(self, from_s: int, to_s: int) -> Curve:
        """The steps of ``[from_s, to_s)``, with gaps where the curve does not reach.

        Raises ValueError if an end is not on the curve's grid.
        """
        if from_s % self.step_s or to_s % self.step_s or from_s > to_s:
            raise ValueError(f"[{from_s}, {to_s}) is not on a grid of {self.step_s} s")
        before = min(max((self.start_s - from_s) // self.step_s, 0), (to_s - from_s) // self.step_s)
        first = max((from_s - self.start_s) // self.step_s, 0)
        last = max((to_s - self.start_s) // self.step_s, first)
        kept = self.watt_minutes[first:last]
        after = (to_s - from_s) // self.step_s - before - len(kept)
        return Curve(
            self.point_id,
            self.direction,
            self.step_s,
            from_s,
            empty_values(before) + kept + empty_values(after),
            bytes(before) + self.quality[first:last] + bytes(after),
            self.source,
            self.version,
        )

    def energy_wh(self) -> array[int]:
        """Wh of each step, MISSING for a gap; the remainder is carried within a UTC day.

        A curve that starts inside a day carries from its own start: ask the whole day's curve, and
        cut the answer, where steps must not depend on the cut (``energy_wh_between``).
        """
        energy_wh: array[int] = array("q")
        per_day = DAY_S // self.step_s
        index = 0
        until_midnight = per_day - self.start_s % DAY_S // self.step_s
        while index < len(self.watt_minutes):
            energy_wh.extend(_carried(self.watt_minutes[index : index + until_midnight]))
            index += until_midnight
            until_midnight = per_day
        return energy_wh

    def energy_wh_between(self, from_s: int, to_s: int) -> array[int]:
        """Wh of the steps of ``[from_s, to_s)``: the same for a step whatever the window."""
        whole_days = self.window(from_s - from_s % DAY_S, to_s)
        return whole_days.energy_wh()[from_s % DAY_S // self.step_s :]


def empty_values(count: int) -> array[int]:
    """``count`` steps without a value."""
    return array("q", (MISSING,)) * count


def _carried(watt_minutes: array[int]) -> list[int]:
    """One day's Wh: differences of the rounded running sum, so that they add up to its end."""
    half = WATT_MINUTES_PER_WH // 2
    has_gaps = MISSING in watt_minutes
    known = [max(value, 0) for value in watt_minutes] if has_gaps else watt_minutes
    rounded = [(total + half) // WATT_MINUTES_PER_WH for total in accumulate(known)]
    energy_wh = list(map(sub, rounded, [0, *rounded[:-1]]))
    if has_gaps:
        for index, value in enumerate(watt_minutes):
            if value == MISSING:
                energy_wh[index] = MISSING
    return energy_wh


def resampled(curve: Curve, step_s: int) -> Curve:
    """The same energy at another step.

    Coarser: sums, a gap where a part is missing, the least trusted quality of the parts. Finer:
    equal parts, ESTIMATED, because the operator did not say when inside its step. In watt-minutes
    nothing is lost. Raises ValueError for a step that operators do not publish.
    """
    if step_s not in STEPS_S:
        raise ValueError(f"a step of {step_s} s; known are {STEPS_S}")
    common_s = gcd(curve.step_s, step_s)
    return _summed(_split(curve, curve.step_s // common_s), step_s)


def _split(curve: Curve, parts: int) -> Curve:
    if parts == 1:
        return curve
    values: array[int] = array("q")
    quality = bytearray()
    for value, code in zip(curve.watt_minutes, curve.quality, strict=True):
        if value == MISSING:
            values.extend([MISSING] * parts)
            quality.extend(bytes(parts))
        else:
            ends = [value * part // parts for part in range(parts + 1)]
            values.extend(map(sub, ends[1:], ends[:-1]))
            quality.extend(bytes([min(code, StepQuality.ESTIMATED)]) * parts)
    return Curve(
        curve.point_id,
        curve.direction,
        curve.step_s // parts,
        curve.start_s,
        values,
        bytes(quality),
        curve.source,
        curve.version,
    )


def _summed(curve: Curve, step_s: int) -> Curve:
    parts = step_s // curve.step_s
    if parts == 1:
        return curve
    whole = curve.window(
        curve.start_s - curve.start_s % step_s, curve.end_s + (-curve.end_s) % step_s
    )
    values: array[int] = array("q")
    quality = bytearray()
    for index in range(0, len(whole), parts):
        code = min(whole.quality[index : index + parts])
        quality.append(code)
        values.append(sum(whole.watt_minutes[index : index + parts]) if code else MISSING)
    return Curve(
        curve.point_id,
        curve.direction,
        step_s,
        whole.start_s,
        values,
        bytes(quality),
        curve.source,
        curve.version,
    )


@dataclass(frozen=True, slots=True)
class TouchedSteps:
    """A run of steps ``[from_s, to_s)`` of a curve that a later version changed."""

    point_id: str
    direction: Direction
    step_s: int
    from_s: int
    to_s: int

    @property
    def steps(self) -> int:
        """How many steps."""
        return (self.to_s - self.from_s) // self.step_s


def touched_steps(before: Curve, after: Curve) -> list[TouchedSteps]:
    """The steps whose Wh or quality differ between two curves of one point, direction and step,
    over the span of both: what a correction re-opens.

    Because of the carry a correction may move 1 Wh into a later step of its day: that step is
    touched too.
    """
    assert (before.point_id, before.direction, before.step_s) == (
        after.point_id,
        after.direction,
        after.step_s,
    )
    from_s, to_s = min(before.start_s, after.start_s), max(before.end_s, after.end_s)
    runs: list[TouchedSteps] = []
    old = zip(
        before.energy_wh_between(from_s, to_s), before.window(from_s, to_s).quality, strict=True
    )
    new = zip(
        after.energy_wh_between(from_s, to_s), after.window(from_s, to_s).quality, strict=True
    )
    run_from: int | None = None
    at_s = from_s
    for was, now in zip(old, new, strict=True):
        if was != now and run_from is None:
            run_from = at_s
        elif was == now and run_from is not None:
            runs.append(TouchedSteps(after.point_id, after.direction, after.step_s, run_from, at_s))
            run_from = None
        at_s += after.step_s
    if run_from is not None:
        runs.append(TouchedSteps(after.point_id, after.direction, after.step_s, run_from, at_s))
    return runs


@dataclass(frozen=True, slots=True)
class RegisterValue:
    """A cumulative index of a meter at an instant, for one class of hours of a calendar."""

    point_id: str
    direction: Direction
    calendar: str
    register: str
    taken_at_s: int
    value_wh: int
    quality: StepQuality = StepQuality.METERED
    source: str = ""


class SharedPart(StrEnum):
    """Which part of a point's energy an operator states for a period of shared self-consumption.

    ``Classe_Mesure`` 3 to 6 of the flow R15, and 2 for the whole.
    """

    WHOLE = "whole"
    AUTOPRODUITE = "autoproduite"
    ALLOPRODUITE = "alloproduite"
    AUTOCONSOMMEE = "autoconsommee"
    SURPLUS = "surplus"


@dataclass(frozen=True, slots=True)
class PeriodEnergy:
    """Energy that an operator states for a period, such as between two of its readings.

    ``from_s`` is None where the operator does not say when the period began.
    """

    point_id: str
    direction: Direction
    part: SharedPart
    calendar: str
    register: str
    from_s: int | None
    to_s: int
    energy_wh: int
    quality: StepQuality = StepQuality.METERED
    source: str = ""
