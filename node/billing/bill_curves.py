"""Members' curves, cut to the steps of a period and to each one's membership."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Final

from node.billing.curve_files import CurveTable
from node.billing.operation import Consumer, Producer
from node.billing.perimeter import midnight_s
from node.billing.series import MISSING
from node.billing.time_of_use import Period
from node.errors import ConfigurationError, Refused
from node.slots import iso_utc

__all__ = ["member_steps"]

_MOST_NAMED: Final = 5


def member_steps(
    table: CurveTable,
    members: Mapping[str, Consumer] | Mapping[str, Producer],
    steps: range,
    period: Period,
) -> dict[str, array[int]]:
    """Members' curves over the steps: MISSING where the table has nothing, 0 outside membership.

    Raises Refused for a member without a curve, ConfigurationError for a curve that is no member's.
    """
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
