"""The energy that bills are made from: cut to a period, and summed by tariff period and class."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from itertools import chain, pairwise
from typing import Final
from zoneinfo import ZoneInfo

from node.billing.allocation import Allocation, Key, allocate
from node.billing.bills import Day, EnergySums
from node.billing.curve_files import CurveTable
from node.billing.operation import Consumer, Fee, Operation, Price, Producer, Supply
from node.billing.perimeter import midnight_s
from node.billing.series import MISSING
from node.billing.tariffs import BASE, FOUR_CLASSES, TariffTables
from node.billing.time_of_use import Calendar, Period
from node.errors import ConfigurationError, Refused
from node.slots import iso_utc

__all__ = ["BilledEnergy", "Label", "Span", "billed_energy", "calendar_of", "spans"]

_MOST_NAMED: Final = 5

Span = tuple[date, date]
"""Local days ``[first, until)`` in which no tariff, price or membership changes."""


@dataclass(frozen=True, slots=True)
class Label:
    """A group of steps: the span they lie in, and their class in each calendar."""

    span: int
    classes: Mapping[Calendar, str]


@dataclass(frozen=True, slots=True)
class BilledEnergy:
    """An allocation with its sums. ``labels`` names the groups; ``measured`` are each point's Wh by
    group, open steps left out; consumers and producers in the order of the allocation."""

    period: Period
    step_s: int
    first_s: int
    spans: tuple[Span, ...]
    labels: tuple[Label, ...]
    allocation: Allocation
    consumed: Mapping[str, list[int]]
    produced: Mapping[str, list[int]]
    day_runs: tuple[tuple[date, tuple[tuple[int, int], ...]], ...]

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
        for table in (
            allocation.production,
            allocation.consumption,
            allocation.given,
            allocation.allocated,
        ):
            for point, curve in table.items():
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
) -> BilledEnergy:
    """Allocate a period by a key, and sum up by span and class.

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
    produced = _curves(production, operation.producers, steps, period)
    consumed = _curves(consumption, operation.consumers, steps, period)
    cut = spans(operation, tables, period)
    calendars = sorted({calendar_of(one, tables) for one in operation.consumers.values()})
    groups, labels = _groups(steps, cut, calendars, operation.zone)
    allocation = allocate(key, produced, consumed, groups=groups)
    runs = list(_runs(groups, allocation.open_steps))
    return BilledEnergy(
        period=period,
        step_s=step_s,
        first_s=first_s,
        spans=cut,
        labels=labels,
        allocation=allocation,
        consumed={p: _summed(curve, runs, len(labels)) for p, curve in consumed.items()},
        produced={p: _summed(curve, runs, len(labels)) for p, curve in produced.items()},
        day_runs=tuple(_day_runs(period, steps, allocation.open_steps)),
    )


def _curves(
    table: CurveTable,
    members: Mapping[str, Consumer] | Mapping[str, Producer],
    steps: range,
    period: Period,
) -> dict[str, array[int]]:
    """Members' curves over the steps: MISSING where the table has nothing, 0 outside membership."""
    strangers = sorted(set(table.points) - set(members))
    if strangers:
        raise ConfigurationError(
            f"{_named(strangers)}: curves of points that are no members in this role",
            next_step="name them in the operation's file, or leave their curves out",
        )
    found: dict[str, array[int]] = {}
    lost: list[str] = []
    for point, member in members.items():
        inside = _inside(member, steps, period)
        if point not in table.points:
            if inside:
                lost.append(point)
                continue
            found[point] = array("q", (0,)) * len(steps)
            continue
        curve = _cut(table, point, steps)
        for step in (*range(inside.start), *range(inside.stop, len(steps))):
            curve[step] = 0
        found[point] = curve
    if lost:
        raise Refused(
            f"{_named(lost)}: members without a curve",
            reason="no_curve",
            next_step="import their curves, or end their membership",
        )
    return found


def _named(points: Sequence[str]) -> str:
    more = f" and {len(points) - _MOST_NAMED} more" if len(points) > _MOST_NAMED else ""
    return ", ".join(points[:_MOST_NAMED]) + more


def _inside(member: Consumer | Producer, steps: range, period: Period) -> range:
    """The places of the steps that begin within a membership."""
    start, stop = (
        -(
            (steps.start - midnight_s(min(max(day, period.first), period.until), period.zone))
            // steps.step
        )
        for day in (member.first, member.until)
    )
    return range(max(start, 0), max(min(stop, len(steps)), start, 0))


def _cut(table: CurveTable, point: str, steps: range) -> array[int]:
    if (steps.start - table.start_s) % table.step_s:
        raise ConfigurationError(f"the curves' steps do not begin at {iso_utc(steps.start)}")
    curve = table.points[point]
    offset = (steps.start - table.start_s) // table.step_s
    before = array("q", (MISSING,)) * min(max(-offset, 0), len(steps))
    kept = curve[max(offset, 0) : max(offset + len(steps), 0)]
    return before + kept + array("q", (MISSING,)) * (len(steps) - len(before) - len(kept))


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
