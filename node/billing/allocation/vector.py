"""The engine of rounds over many steps at once: the same as ``plain.py``, on arrays.

Rows are steps, columns are delivery points in their order. All arrays hold 64-bit integers; no
floating point is involved, so the results are the same numbers, not nearly the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from node.billing.allocation import plain
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

__all__ = ["Cells", "allocate_curves", "allocate_steps", "matrices"]

Table: TypeAlias = npt.NDArray[np.int64]

Cells: TypeAlias = Callable[[int, Table, Table], None]
"""Is told what a producer gave to whom in some rows: its place, the rows, their cells."""

_LARGEST: Final = 2**62


_AT_ONCE: Final = 2**18
"""Values of one table in work: large enough for numpy, small enough for a processor's cache."""


def allocate_curves(
    stages: Sequence[ResolvedStage],
    steps: Sequence[int],
    production_wh: Sequence[array[int]],
    consumption_wh: Sequence[array[int]],
    groups: Sequence[int] | None,
    *,
    given_wh: Sequence[array[int]],
    allocated_wh: Sequence[array[int]],
    pairs: dict[int, plain.Matrix],
) -> None:
    """As ``plain.allocate_curves``, in pieces of bounded size. Pieces with energies so large that a
    product could leave 64 bits go through the plain engine."""
    points = len(production_wh) + len(consumption_wh)
    if any(isinstance(stage, ResolvedPairs) for stage in stages):
        points = max(len(production_wh) * len(consumption_wh), points)
    sums = {group: np.array(matrix, dtype=np.int64) for group, matrix in pairs.items()}
    for piece in _pieces(steps, groups, max(_AT_ONCE // max(points, 1), 1)):
        produced = _table(production_wh, piece)
        consumed = _table(consumption_wh, piece)
        if not _fits(produced, consumed):
            plain.allocate_curves(
                stages,
                piece.tolist(),
                production_wh,
                consumption_wh,
                groups,
                given_wh=given_wh,
                allocated_wh=allocated_wh,
                pairs=pairs,
            )
            continue
        cells = None if groups is None else _adder(sums[groups[int(piece[0])]])
        given, taken = allocate_steps(stages, piece, produced, consumed, cells)
        _store(given_wh, piece, given)
        _store(allocated_wh, piece, taken)
    for group, matrix in pairs.items():
        for row, more in zip(matrix, sums[group].tolist(), strict=True):
            row[:] = [energy_wh + extra for energy_wh, extra in zip(row, more, strict=True)]


def _pieces(steps: Sequence[int], groups: Sequence[int] | None, size: int) -> Iterator[Table]:
    """The steps in pieces, each of one group."""
    every = np.array(steps, dtype=np.int64)
    if groups is None:
        parts = [every]
    else:
        labels = np.array(groups, dtype=np.int64)[every]
        parts = [every[labels == label] for label in np.unique(labels)]
    for part in parts:
        for start in range(0, len(part), size):
            yield part[start : start + size]


def _table(curves: Sequence[array[int]], steps: Table) -> Table:
    table = np.empty((len(steps), len(curves)), dtype=np.int64)
    for column, curve in enumerate(curves):
        table[:, column] = np.frombuffer(curve, dtype=np.int64)[steps]
    return table


def _store(curves: Sequence[array[int]], steps: Table, table: Table) -> None:
    for column, curve in enumerate(curves):
        np.frombuffer(curve, dtype=np.int64)[steps] = table[:, column]


def _adder(total: Table) -> Cells:
    def add(producer: int, _rows: Table, cells_wh: Table) -> None:
        total[producer] += cells_wh.sum(axis=0)

    return add


def matrices(
    stages: Sequence[ResolvedStage],
    steps: Sequence[int],
    production_wh: Sequence[array[int]],
    consumption_wh: Sequence[array[int]],
) -> Iterator[plain.Matrix]:
    """The matrices of some steps, one after the other, from pieces of bounded size."""
    shape = (len(production_wh), len(consumption_wh))
    for piece in _pieces(steps, None, max(_AT_ONCE // max(shape[0] * shape[1], 1), 1)):
        produced, consumed = _table(production_wh, piece), _table(consumption_wh, piece)
        if not _fits(produced, consumed):
            for step, made, used in zip(piece, produced.tolist(), consumed.tolist(), strict=True):
                yield plain.allocate_step(stages, int(step), made, used)
            continue
        cells = np.zeros((len(piece), *shape), dtype=np.int64)
        allocate_steps(stages, piece, produced, consumed, _collector(cells))
        yield from cells.tolist()


def _collector(cells: Table) -> Cells:
    def collect(producer: int, rows: Table, cells_wh: Table) -> None:
        cells[rows, producer] += cells_wh

    return collect


def _fits(production_wh: Table, consumption_wh: Table) -> bool:
    """Whether no product or sort key of these steps can leave 64 bits."""
    produced, consumed = _largest_sum(production_wh), _largest_sum(consumption_wh)
    points: int = max(production_wh.shape[1], consumption_wh.shape[1])
    most_weight = max(produced, consumed, SCALE * points)
    most = max(produced, consumed, points)
    return most * most_weight < _LARGEST


def _largest_sum(table: Table) -> int:
    return int(table.sum(axis=1).max(initial=0))


def allocate_steps(
    stages: Sequence[ResolvedStage],
    steps: Table,
    production_wh: Table,
    consumption_wh: Table,
    cells: Cells | None = None,
) -> tuple[Table, Table]:
    """What each producer gave and each consumer got in each of the ``steps``, after all stages.

    ``cells`` is handed the matrices, producer by producer and stage by stage; without it none are
    made of pools.
    """
    left_wh, need_wh = production_wh.copy(), consumption_wh.copy()
    for stage in stages:
        if isinstance(stage, ResolvedPairs):
            _pairs(stage, steps, left_wh, need_wh, cells)
        elif isinstance(stage, ResolvedStated):
            _stated(stage, steps, left_wh, need_wh, cells)
        else:
            _pool(stage, steps, left_wh, need_wh, cells)
    return production_wh - left_wh, consumption_wh - need_wh


def _pool(
    stage: ResolvedPool, steps: Table, left_wh: Table, need_wh: Table, cells: Cells | None
) -> None:
    producers = np.array(stage.producers, dtype=np.int64)
    sources_wh = left_wh[:, producers]
    pool_wh = sources_wh.sum(axis=1)
    left_in_pool_wh, taken_wh = pool_wh.copy(), np.zeros_like(need_wh)
    for item in stage.rounds:
        offered_wh = np.minimum(pool_wh * item.part // SCALE, left_in_pool_wh)
        columns = _columns(item.consumers, need_wh.shape[1])
        needs_wh = need_wh[:, columns] - taken_wh[:, columns]
        got_wh = _round(item, steps, offered_wh, needs_wh)
        taken_wh[:, columns] += got_wh
        left_in_pool_wh -= got_wh.sum(axis=1)
    given_wh = np.zeros_like(sources_wh)
    total_wh = taken_wh.sum(axis=1)
    busy = np.flatnonzero(total_wh)
    given_wh[busy] = _apportion(total_wh[busy], sources_wh[busy], pool_wh[busy])
    left_wh[:, producers] -= given_wh
    need_wh -= taken_wh
    if cells is not None:
        _split(producers, given_wh, taken_wh, cells)


def _columns(places: tuple[int, ...], width: int) -> slice | Table:
    """Columns to work on; all of them without copying."""
    return slice(None) if len(places) == width else np.array(places, dtype=np.int64)


def _split(producers: Table, given_wh: Table, taken_wh: Table, cells: Cells) -> None:
    """Producer by producer, share what it gave in proportion to what is still to be received."""
    open_wh = taken_wh.copy()
    open_sum_wh = open_wh.sum(axis=1)
    for column, producer in enumerate(producers):
        gifts_wh = given_wh[:, column]
        busy = np.flatnonzero(gifts_wh)
        if not busy.size:
            continue
        row_wh = _apportion(gifts_wh[busy], open_wh[busy], open_sum_wh[busy])
        open_wh[busy] -= row_wh
        open_sum_wh -= gifts_wh
        cells(int(producer), busy, row_wh)


def _round(item: ResolvedRound, steps: Table, offered_wh: Table, needs_wh: Table) -> Table:
    if item.shares is None:
        return _offer(needs_wh, offered_wh, needs_wh, repeated=False)
    weights = _weights(item.shares, steps)
    if item.of_whole:
        taken_wh: Table = np.minimum(offered_wh[:, None] * weights // SCALE, needs_wh)
        return taken_wh
    return _offer(weights, offered_wh, needs_wh, repeated=item.repeated)


def _offer(weights: Table, offered_wh: Table, needs_wh: Table, *, repeated: bool) -> Table:
    """Offer energy to those who still need some, in proportion to their weights."""
    taken_wh, left_wh = np.zeros_like(needs_wh), offered_wh.copy()
    rows = np.arange(len(offered_wh))
    for _ in range(needs_wh.shape[1] if repeated else 1):
        wanting = np.where(taken_wh[rows] < needs_wh[rows], weights[rows], 0)
        whole = wanting.sum(axis=1)
        busy = (left_wh[rows] > 0) & (whole > 0)
        rows = rows[busy]
        if not rows.size:
            break
        shares_wh = _apportion(left_wh[rows], wanting[busy], whole[busy])
        more_wh = np.minimum(shares_wh, needs_wh[rows] - taken_wh[rows])
        taken_wh[rows] += more_wh
        left_wh[rows] -= more_wh.sum(axis=1)
    return taken_wh


def _apportion(total: Table, weights: Table, whole: Table) -> Table:
    """Share each row's total in proportion to its weights, whose sum is ``whole`` and not 0:
    largest remainder, ties to the first column."""
    products = weights * total[:, None]
    shares = products // whole[:, None]
    missing = total - shares.sum(axis=1)
    rows = np.flatnonzero(missing)
    if not rows.size:
        return shares
    width = weights.shape[1]
    # One key per column that sorts by remainder, then by place, and is like no other of its row.
    keys = products[rows] - shares[rows] * whole[rows, None]
    keys *= width
    keys += np.arange(width - 1, -1, -1)
    least = np.sort(keys, axis=1)[np.arange(len(rows)), width - missing[rows]]
    shares[rows] += keys >= least[:, None]
    return shares


def _pairs(
    stage: ResolvedPairs, steps: Table, left_wh: Table, need_wh: Table, cells: Cells | None
) -> None:
    offers_wh = np.stack(
        [
            left_wh[:, producer, None] * _weights(row, steps) // SCALE
            for producer, row in enumerate(stage.coefficients)
        ],
        axis=1,
    )
    brought_wh = offers_wh.sum(axis=1)
    rows, columns = np.nonzero(brought_wh > need_wh)
    if rows.size:
        offers_wh[rows, :, columns] = _apportion(
            need_wh[rows, columns], offers_wh[rows, :, columns], brought_wh[rows, columns]
        )
    left_wh -= offers_wh.sum(axis=2)
    need_wh -= offers_wh.sum(axis=1)
    if cells is not None:
        rows = np.arange(len(steps))
        for producer in range(len(stage.coefficients)):
            cells(producer, rows, offers_wh[:, producer])


def _stated(
    stage: ResolvedStated, steps: Table, left_wh: Table, need_wh: Table, cells: Cells | None
) -> None:
    given_wh, taken_wh = _weights(stage.given, steps), _weights(stage.taken, steps)
    left_wh -= given_wh
    need_wh -= taken_wh
    for rest_wh in (left_wh, need_wh):
        for row in np.flatnonzero((rest_wh < 0).any(axis=1))[:1]:
            check_stated(rest_wh[row].tolist(), int(steps[row]))
    if cells is not None:
        _split(np.arange(given_wh.shape[1]), given_wh, taken_wh, cells)


def _weights(shares: Sequence[Coefficient], steps: Table) -> Table:
    """Coefficients as a table, one row for each step."""
    table = np.empty((len(steps), len(shares)), dtype=np.int64)
    for column, share in enumerate(shares):
        table[:, column] = share if isinstance(share, int) else np.asarray(share)[steps]
    return table
