"""The energy that bills are made from: cut to a period, and summed by tariff period and class."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from itertools import chain, pairwise
from zoneinfo import ZoneInfo

from node.billing.allocation import Allocation, Key, allocate, reallocate
from node.billing.bill_curves import member_steps
from node.billing.bills import Day, EnergySums
from node.billing.curve_files import CurveTable
from node.billing.market_key import StatedMarket, key_on
from node.billing.operation import Consumer, Fee, Operation, Price, Producer, Supply
from node.billing.perimeter import midnight_s
from node.billing.tariffs import BASE, FOUR_CLASSES, TariffTables
from node.billing.time_of_use import Calendar, Period
from node.errors import ConfigurationError, Refused

__all__ = [
    "BilledEnergy",
    "Frame",
    "Label",
    "Reopened",
    "Span",
    "billed_energy",
    "calendar_of",
    "energy_of",
    "frame_key",
    "frame_of",
    "reopened",
    "spans",
]

Span = tuple[date, date]
"""Local days ``[first, until)`` in which no tariff, price or membership changes."""


@dataclass(frozen=True, slots=True)
class Label:
    """A group of steps: the span they lie in, and their class in each calendar."""

    span: int
    classes: Mapping[Calendar, str]


@dataclass(frozen=True, slots=True)
class Frame:
    """What of a period is known before any key: its members' curves, and the group of each step.
    ``labels`` names the groups. Who joins after the period is no part of it: ``later_producers``
    and ``later_consumers``, whose curves are 0 here."""

    period: Period
    step_s: int
    first_s: int
    spans: tuple[Span, ...]
    labels: tuple[Label, ...]
    groups: Sequence[int]
    production: Mapping[str, array[int]]
    consumption: Mapping[str, array[int]]
    later_producers: frozenset[str]
    later_consumers: frozenset[str]


@dataclass(frozen=True, slots=True)
class BilledEnergy:
    """An allocation with its sums. ``measured`` are each point's Wh by group, open steps left out;
    consumers and producers in the order of the allocation."""

    frame: Frame
    allocation: Allocation
    consumed: Mapping[str, list[int]]
    produced: Mapping[str, list[int]]
    day_runs: tuple[tuple[date, tuple[tuple[int, int], ...]], ...]

    @property
    def period(self) -> Period:
        """The days that are billed."""
        return self.frame.period

    @property
    def step_s(self) -> int:
        """Seconds of a step."""
        return self.frame.step_s

    @property
    def first_s(self) -> int:
        """Where the first step begins."""
        return self.frame.first_s

    @property
    def spans(self) -> tuple[Span, ...]:
        """The parts of the period in which nothing changes that bills depend on."""
        return self.frame.spans

    @property
    def labels(self) -> tuple[Label, ...]:
        """What each group of steps is."""
        return self.frame.labels

    def shared(self, producer: int, consumer: int) -> list[int]:
        """Wh from one to the other by group, both by their place."""
        return [
            self.allocation.pairs[group][producer][consumer]
            if group in self.allocation.pairs
            else 0
            for group in range(len(self.labels))
        ]

    def days(self, point: str, *, is_producer: bool) -> tuple[Day, ...]:
        """Measured and shared Wh of each local day, open steps left out."""
        allocation = self.allocation
        whole = (allocation.production if is_producer else allocation.consumption)[point]
        part = (allocation.given if is_producer else allocation.allocated)[point]
        return tuple(
            Day(
                day,
                EnergySums(
                    sum(sum(whole[start:stop]) for start, stop in runs),
                    sum(sum(part[start:stop]) for start, stop in runs),
                ),
            )
            for day, runs in self.day_runs
        )

    def digest(self) -> str:
        """Over all curves and what was made of them, independent of the machine."""
        digest = sha256(f"{self.period} {self.step_s} {self.first_s}".encode())
        allocation = self.allocation
        makers, users = self.frame.later_producers, self.frame.later_consumers
        for table, later in (
            (allocation.production, makers),
            (allocation.consumption, users),
            (allocation.given, makers),
            (allocation.allocated, users),
        ):
            for point, curve in table.items():
                if point in later:
                    continue
                digest.update(f"\n{point} {len(curve)} ".encode())
                digest.update(_little_endian(curve))
        return digest.hexdigest()


def _little_endian(curve: array[int]) -> bytes:
    if sys.byteorder == "big":
        curve = array("q", curve)
        curve.byteswap()
    return curve.tobytes()


def calendar_of(consumer: Consumer, tables: TariffTables) -> Calendar:
    """The classes of a consumer's tariff with its off-peak hours. Without a tariff, four classes if
    it states off-peak hours, and one if it does not.

    Raises Refused for an option that no table knows.
    """
    if consumer.turpe is None:
        return Calendar(FOUR_CLASSES if consumer.off_peak_min else BASE, consumer.off_peak_min)
    classes = {row.classes for row in tables.turpe.rows if row.name == consumer.turpe}
    if len(classes) != 1:
        known = ", ".join(sorted({row.name for row in tables.turpe.rows}))
        raise Refused(
            f"TURPE has no option {consumer.turpe!r} of {consumer.point}",
            reason="tariff_unknown",
            next_step=f"known are {known}",
        )
    found = classes.pop()
    if found != BASE and not consumer.off_peak_min:
        raise Refused(
            f"{consumer.point} has peak and off-peak hours, and nobody says which",
            reason="no_off_peak",
            next_step='state off_peak = "22:30-06:30" in its [[consumer]]',
        )
    return Calendar(found, () if found == BASE else consumer.off_peak_min)


def spans(operation: Operation, tables: TariffTables, period: Period) -> tuple[Span, ...]:
    """The period, cut wherever something that a bill depends on changes, and at each new year."""
    first, until = period.first, period.until
    cuts = {date(year, 1, 1) for year in range(first.year + 1, until.year + 1)}
    dated: tuple[Price | Supply | Fee | Consumer | Producer, ...] = (
        *chain.from_iterable(operation.prices.values()),
        *chain.from_iterable(operation.supplies.values()),
        *operation.fees,
        *operation.consumers.values(),
        *operation.producers.values(),
    )
    for entry in dated:
        cuts |= {entry.first, entry.until}
    consumers = operation.consumers.values()
    for option in {consumer.turpe for consumer in consumers if consumer.turpe}:
        cuts |= tables.turpe.changes(option, first, until)
    for category in {consumer.accise for consumer in consumers}:
        cuts |= tables.accise.changes(category, first, until)
    cuts |= tables.cta.changes("distribution", first, until)
    for name in ("normal", "standing_charge"):
        cuts |= tables.vat.changes(name, first, until)
    inside = sorted(cut for cut in cuts if first < cut < until)
    return tuple(pairwise((first, *inside, until)))


def billed_energy(
    operation: Operation,
    tables: TariffTables,
    key: Key,
    production: CurveTable,
    consumption: CurveTable,
    period: Period,
    *,
    stated: StatedMarket | None = None,
) -> BilledEnergy:
    """Allocate a period by a key, and sum up by span and class; ``stated`` for the market's key.
    Raises as ``frame_of`` and ``key_on`` do."""
    frame = frame_of(operation, tables, production, consumption, period)
    key = frame_key(key, stated, frame)
    return energy_of(frame, allocate(key, frame.production, frame.consumption, groups=frame.groups))


def frame_of(
    operation: Operation,
    tables: TariffTables,
    production: CurveTable,
    consumption: CurveTable,
    period: Period,
) -> Frame:
    """The members' curves of a period, and how its steps are grouped.

    A member's energy outside its membership is no part of the operation. Raises Refused for a
    member without a curve, ConfigurationError for a curve that is no member's, or of other steps.
    """
    step_s = production.step_s
    if consumption.step_s != step_s:
        raise ConfigurationError(
            f"curves of {step_s} s and of {consumption.step_s} s",
            next_step="bring both to one step: daisee dso import --step",
        )
    first_s = period.start_s + -period.start_s % step_s
    steps = range(first_s, period.end_s, step_s)
    produced = member_steps(production, operation.producers, steps, period)
    consumed = member_steps(consumption, operation.consumers, steps, period)
    cut = spans(operation, tables, period)
    here = [one for one in operation.consumers.values() if one.first < period.until]
    calendars = sorted({calendar_of(one, tables) for one in here})
    groups, labels = _groups(steps, cut, calendars, operation.zone)
    return Frame(
        period=period,
        step_s=step_s,
        first_s=first_s,
        spans=cut,
        labels=labels,
        groups=groups,
        production={point: produced[point] for point in sorted(produced)},
        consumption={point: consumed[point] for point in sorted(consumed)},
        later_producers=_later(operation.producers, period),
        later_consumers=_later(operation.consumers, period),
    )


def _later(
    members: Mapping[str, Consumer] | Mapping[str, Producer], period: Period
) -> frozenset[str]:
    return frozenset(one.point for one in members.values() if one.first >= period.until)


def energy_of(frame: Frame, allocation: Allocation) -> BilledEnergy:
    """What bills are made from: the allocation of a period's curves, summed up by group."""
    steps = range(frame.first_s, frame.period.end_s, frame.step_s)
    runs = list(_runs(frame.groups, allocation.open_steps))
    return BilledEnergy(
        frame,
        allocation,
        consumed={p: _summed(c, runs, len(frame.labels)) for p, c in frame.consumption.items()},
        produced={p: _summed(c, runs, len(frame.labels)) for p, c in frame.production.items()},
        day_runs=tuple(_day_runs(frame.period, steps, allocation.open_steps)),
    )


@dataclass(frozen=True, slots=True)
class Reopened:
    """A period's energy after some values were corrected, and the places of the steps that were
    allocated again; the others are as they were."""

    energy: BilledEnergy
    steps: tuple[int, ...]


def frame_key(key: Key, stated: StatedMarket | None, frame: Frame) -> Key:
    """A key for a period's curves: what the market stated, held to them, if it is the market's."""
    steps = range(frame.first_s, frame.first_s + len(frame.groups) * frame.step_s, frame.step_s)
    return key_on(key, stated, frame.production, frame.consumption, steps)


def reopened(before: BilledEnergy, frame: Frame, key: Key | None = None) -> Reopened:
    """Allocate the touched steps of a period again, and no others, under the key of before.

    ``frame`` has the corrected curves; its points, steps and groups are those of before. ``key`` is
    the market's on these curves (``frame_key``). Raises ConfigurationError if more Wh were stated
    for a step than are measured now.
    """
    again = reallocate(
        before.allocation, frame.production, frame.consumption, groups=frame.groups, key=key
    )
    return Reopened(energy_of(frame, again.allocation), again.steps)


def _groups(
    steps: range, cut: Sequence[Span], calendars: Sequence[Calendar], zone: ZoneInfo
) -> tuple[list[int], tuple[Label, ...]]:
    """The group of each step, and what each group is."""
    numbers: dict[tuple[int, tuple[str, ...]], int] = {}
    groups = []
    span = 0
    for start_s in steps:
        local = datetime.fromtimestamp(start_s, zone)
        while local.date() >= cut[span][1]:
            span += 1
        classes = tuple(calendar.class_at(local) for calendar in calendars)
        groups.append(numbers.setdefault((span, classes), len(numbers)))
    labels = tuple(
        Label(span, dict(zip(calendars, classes, strict=True))) for span, classes in numbers
    )
    return groups, labels


def _runs(groups: Sequence[int], open_steps: Iterable[int]) -> Iterator[tuple[int, int, int]]:
    """Runs of steps of one group without an open one: start, stop, group."""
    without = set(open_steps)
    start = 0
    while start < len(groups):
        stop = start
        while stop < len(groups) and groups[stop] == groups[start] and stop not in without:
            stop += 1
        if stop > start:
            yield start, stop, groups[start]
        start = max(stop, start + 1)


def _summed(curve: array[int], runs: Iterable[tuple[int, int, int]], groups: int) -> list[int]:
    sums = [0] * groups
    for start, stop, group in runs:
        sums[group] += sum(curve[start:stop])
    return sums


def _day_runs(
    period: Period, steps: range, open_steps: Sequence[int]
) -> Iterator[tuple[date, tuple[tuple[int, int], ...]]]:
    """The local days of the period, each with the runs of its steps that are not open."""
    day, start = period.first, 0
    while day < period.until:
        after = day + timedelta(days=1)
        stop = -((steps.start - midnight_s(after, period.zone)) // steps.step)
        inside = (step for step in open_steps if start <= step < stop)
        edges = [start - 1, *inside, stop]
        yield day, tuple((one + 1, two) for one, two in pairwise(edges) if two > one + 1)
        start, day = stop, after
