"""The engine of rounds, one step at a time, on plain integers. The specification, as code.

The remainder rule, wherever a number of Wh is shared in proportion to weights: each gets its quota
rounded down; the Wh that are still missing go, one each, to the largest remainders, and between
equal remainders to the point that comes first in the order of the delivery points' numbers.

``vector.py`` does the same over many steps at once and is tested against this.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import sub

from node.billing.allocation.rounds import (
    SCALE,
    Coefficient,
    ResolvedPairs,
    ResolvedPool,
    ResolvedRound,
    ResolvedStage,
    ResolvedStated,
    check_stated,
)

__all__ = ["Matrix", "allocate_curves", "allocate_step", "apportion", "matrices", "split"]

Matrix = list[list[int]]
"""Wh by producer, then by consumer."""


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Share a total in proportion to weights: largest remainder, ties to the first.

    The shares sum to the total exactly; with no weight at all everybody gets 0. No share exceeds
    its weight as long as the total does not exceed their sum.
    """
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    shares = [total * weight // whole for weight in weights]
    missing = total - sum(shares)
    by_remainder = sorted(
        range(len(weights)), key=lambda place: (-(total * weights[place] % whole), place)
    )
    for place in by_remainder[:missing]:
        shares[place] += 1
    return shares


def split(given_wh: Sequence[int], taken_wh: Sequence[int]) -> Matrix:
    """Who got how much from whom, when a pool gave and took the same total.

    Producer by producer, in their order: what one gave is shared among the consumers in proportion
    to what each has still to receive. Rows and columns sum exactly, nothing is negative.
    """
    assert sum(given_wh) == sum(taken_wh), (given_wh, taken_wh)
    open_wh = list(taken_wh)
    matrix = []
    for gift_wh in given_wh:
        row = apportion(gift_wh, open_wh)
        open_wh = [left - got for left, got in zip(open_wh, row, strict=True)]
        matrix.append(row)
    return matrix


def allocate_curves(
    stages: Sequence[ResolvedStage],
    steps: Iterable[int],
    production_wh: Sequence[array[int]],
    consumption_wh: Sequence[array[int]],
    groups: Sequence[int] | None,
    *,
    given_wh: Sequence[array[int]],
    allocated_wh: Sequence[array[int]],
    pairs: dict[int, Matrix],
) -> None:
    """Allocate some steps of whole curves: into ``given_wh`` and ``allocated_wh``, and into
    ``pairs`` the sums of the matrices by group."""
    for step in steps:
        matrix = allocate_step(
            stages,
            step,
            [curve[step] for curve in production_wh],
            [curve[step] for curve in consumption_wh],
        )
        for curve, row in zip(given_wh, matrix, strict=True):
            curve[step] = sum(row)
        for consumer, curve in enumerate(allocated_wh):
            curve[step] = sum(row[consumer] for row in matrix)
        if groups is not None:
            for total, row in zip(pairs[groups[step]], matrix, strict=True):
                for consumer, energy_wh in enumerate(row):
                    total[consumer] += energy_wh


def matrices(
    stages: Sequence[ResolvedStage],
    steps: Iterable[int],
    production_wh: Sequence[array[int]],
    consumption_wh: Sequence[array[int]],
) -> Iterator[Matrix]:
    """The matrices of some steps, one after the other."""
    for step in steps:
        yield allocate_step(
            stages,
            step,
            [curve[step] for curve in production_wh],
            [curve[step] for curve in consumption_wh],
        )


def allocate_step(
    stages: Sequence[ResolvedStage],
    step: int,
    production_wh: Sequence[int],
    consumption_wh: Sequence[int],
) -> Matrix:
    """The matrix of one step: Wh by producer and consumer, after all stages."""
    left_wh, need_wh = list(production_wh), list(consumption_wh)
    matrix = [[0] * len(need_wh) for _ in left_wh]
    for stage in stages:
        if isinstance(stage, ResolvedPairs):
            cells = _pairs(stage, step, left_wh, need_wh)
        elif isinstance(stage, ResolvedStated):
            cells = _stated(stage, step, left_wh, need_wh)
        else:
            cells = _pool(stage, step, left_wh, need_wh)
        for producer, row in enumerate(cells):
            left_wh[producer] -= sum(row)
            for consumer, energy_wh in enumerate(row):
                need_wh[consumer] -= energy_wh
                matrix[producer][consumer] += energy_wh
    return matrix


def _pool(stage: ResolvedPool, step: int, left_wh: list[int], need_wh: list[int]) -> Matrix:
    pool_wh = sum(left_wh[place] for place in stage.producers)
    taken_wh, left_in_pool_wh = [0] * len(need_wh), pool_wh
    for item in stage.rounds:
        offered_wh = min(pool_wh * item.part // SCALE, left_in_pool_wh)
        open_wh = [need - taken for need, taken in zip(need_wh, taken_wh, strict=True)]
        for place, energy_wh in _round(item, step, offered_wh, open_wh).items():
            taken_wh[place] += energy_wh
            left_in_pool_wh -= energy_wh
    sources = [left if place in stage.producers else 0 for place, left in enumerate(left_wh)]
    return split(apportion(sum(taken_wh), sources), taken_wh)


def _round(
    item: ResolvedRound, step: int, offered_wh: int, need_wh: Sequence[int]
) -> dict[int, int]:
    """What each consumer takes in a round, by place."""
    needs = [need_wh[place] for place in item.consumers]
    if item.shares is None:
        taken = _offer(needs, offered_wh, needs, repeated=False)
    else:
        weights = [_at(share, step) for share in item.shares]
        if item.of_whole:
            shares = [offered_wh * weight // SCALE for weight in weights]
            taken = [min(share, need) for share, need in zip(shares, needs, strict=True)]
        else:
            taken = _offer(weights, offered_wh, needs, repeated=item.repeated)
    return dict(zip(item.consumers, taken, strict=True))


def _offer(
    weights: Sequence[int], offered_wh: int, needs: Sequence[int], *, repeated: bool
) -> list[int]:
    """Offer energy to those who still need some, in proportion to their weights.

    Repeated, each time but the last satisfies one of them at least, which bounds the loop.
    """
    taken = [0] * len(needs)
    for _ in range(len(needs) if repeated else 1):
        wanting = [
            weight if got < need else 0
            for weight, got, need in zip(weights, taken, needs, strict=True)
        ]
        shares = apportion(offered_wh, wanting)
        more = [
            min(share, need - got) for share, got, need in zip(shares, taken, needs, strict=True)
        ]
        taken = [got + extra for got, extra in zip(taken, more, strict=True)]
        offered_wh -= sum(more)
    return taken


def _pairs(stage: ResolvedPairs, step: int, left_wh: list[int], need_wh: list[int]) -> Matrix:
    offers = [
        [left * _at(share, step) // SCALE for share in row]
        for left, row in zip(left_wh, stage.coefficients, strict=True)
    ]
    for consumer, need in enumerate(need_wh):
        brought = [row[consumer] for row in offers]
        if sum(brought) > need:
            for row, energy_wh in zip(offers, apportion(need, brought), strict=True):
                row[consumer] = energy_wh
    return offers


def _stated(stage: ResolvedStated, step: int, left_wh: list[int], need_wh: list[int]) -> Matrix:
    given_wh = [_at(energy_wh, step) for energy_wh in stage.given]
    taken_wh = [_at(energy_wh, step) for energy_wh in stage.taken]
    check_stated(map(sub, (*left_wh, *need_wh), (*given_wh, *taken_wh)), step)
    return split(given_wh, taken_wh)


def _at(share: Coefficient, step: int) -> int:
    return share if isinstance(share, int) else share[step]
