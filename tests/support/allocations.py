"""What every allocation must fulfil, whatever the key."""

from __future__ import annotations

from collections.abc import Iterable
from operator import add

from node.billing.allocation import Allocation
from node.billing.series import MISSING


def check_conservation(allocation: Allocation) -> None:
    """Given + surplus = production, allocated + complement = consumption, given = allocated, and
    nothing below 0, in every step that is not open; nothing at all in one that is."""
    closed = [step for step in range(allocation.steps) if step not in allocation.open_steps]
    sides = (
        (allocation.production, allocation.given, allocation.surplus),
        (allocation.consumption, allocation.allocated, allocation.complement),
    )
    for whole, part, rest_of in sides:
        for point, curve in whole.items():
            got, rest = part[point], rest_of(point)
            assert all(got[step] == rest[step] == MISSING for step in allocation.open_steps)
            pairs = [(got[step], rest[step]) for step in closed]
            assert all(a >= 0 and b >= 0 for a, b in pairs)
            assert [a + b for a, b in pairs] == [curve[step] for step in closed]
    assert _sums(allocation.given.values(), closed) == _sums(allocation.allocated.values(), closed)


def _sums(curves: Iterable[Iterable[int]], steps: list[int]) -> list[int]:
    totals = [0] * len(steps)
    for curve in curves:
        values = list(curve)
        totals = list(map(add, totals, (values[step] for step in steps)))
    return totals


def check_matrices(allocation: Allocation, steps: Iterable[int]) -> None:
    """The rows of a step's matrix are what producers gave, its columns what consumers got."""
    for step in steps:
        matrix = allocation.matrix(step)
        assert [sum(row) for row in matrix] == [curve[step] for curve in allocation.given.values()]
        columns = [sum(column) for column in zip(*matrix, strict=True)]
        assert columns == [curve[step] for curve in allocation.allocated.values()]
        assert all(cell >= 0 for row in matrix for cell in row)


def check_pairs(allocation: Allocation) -> None:
    """Summed over all groups, pairs are what each gave and each got."""
    closed = [step for step in range(allocation.steps) if step not in allocation.open_steps]
    for place, curve in enumerate(allocation.given.values()):
        total = sum(sum(matrix[place]) for matrix in allocation.pairs.values())
        assert total == sum(curve[step] for step in closed)
    for place, curve in enumerate(allocation.allocated.values()):
        total = sum(row[place] for matrix in allocation.pairs.values() for row in matrix)
        assert total == sum(curve[step] for step in closed)
