"""What a period still lacks: every point of the perimeter, every step, before a month is billed."""

from __future__ import annotations

from dataclasses import dataclass

from node.billing.curve_store import CurveStore
from node.billing.perimeter import Perimeter
from node.billing.series import DAY_S, Direction, StepQuality

__all__ = ["Coverage", "coverage"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of ``[from_s, to_s)`` is known of a series. ``step_s`` is None where nothing is kept
    of it; then the whole span is its one gap."""

    point_id: str
    direction: Direction
    from_s: int
    to_s: int
    step_s: int | None
    values: int
    provisional: int
    gaps: tuple[tuple[int, int], ...]


def coverage(
    store: CurveStore, from_s: int, to_s: int, perimeter: Perimeter | None = None
) -> list[Coverage]:
    """The series of a perimeter over a period, each over the part in which it takes part; without
    a perimeter, every series that is kept. A point that takes part both ways is expected in each
    direction of which something is kept, and in one at least."""
    kept = [(one.point_id, one.direction) for one in store.series()]
    if perimeter is None:
        return [_coverage(store, *key, from_s, to_s) for key in kept]
    found: list[Coverage] = []
    for point_id, memberships in sorted(perimeter.members.items()):
        ways = [direction for point, direction in kept if point == point_id]
        for member in memberships:
            first_s, after_s = max(from_s, member.from_s), min(to_s, member.to_s)
            if first_s < after_s:
                expected = [member.direction] if member.direction else ways
                found.extend(
                    _coverage(store, point_id, direction, first_s, after_s)
                    for direction in expected or [Direction.WITHDRAWAL]
                )
    return found


def _coverage(
    store: CurveStore, point_id: str, direction: Direction, from_s: int, to_s: int
) -> Coverage:
    days = store.curve(point_id, direction, from_s - from_s % DAY_S, to_s + (-to_s) % DAY_S)
    if days is None:
        return Coverage(point_id, direction, from_s, to_s, None, 0, 0, ((from_s, to_s),))
    curve = days.window(from_s, to_s)
    provisional = sum(StepQuality(code).is_provisional for code in curve.quality if code)
    return Coverage(
        point_id,
        direction,
        from_s,
        to_s,
        curve.step_s,
        curve.values,
        provisional,
        tuple(curve.gaps()),
    )
