"""What every allocation must fulfil, whatever the key."""

from __future__ import annotations

from collections.abc import Iterable
from operator import add

from node.billing.allocation import Allocation
from node.billing.series import MISSING


def check_conservation(allocation: Allocation) -> None:
    """Given + surplus = production, allocated + complement = consumption, given = allocated, and
    nothing below 0, in every step that is not open; nothing at all in one that is."""
    sides = (
        (allocation.production, allocation.given, allocation.surplus),
        (allocation.consumption, allocation.allocated, allocation.complement),
    )
    sums = []
    for whole, part, rest_of in sides:
        totals = [0] * allocation.steps
        for point, curve in whole.items():
            got, rest, expected = list(part[point]), list(rest_of(point)), list(curve)
            for step in allocation.open_steps:
                assert got[step] == rest[step] == MISSING
                got[step] = rest[step] = expected[step] = 0
            assert min(got, default=0) >= 0
            assert min(rest, default=0) >= 0
            assert list(map(add, got, rest)) == expected
            totals = list(map(add, totals, got))
        sums.append(totals)
    assert sums[0] == sums[1]


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
