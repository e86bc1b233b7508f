"""Allocate whole curves: the one entry to the engine of rounds.

With numpy installed (the extra ``billing``) the steps go through ``vector.py`` in bounded pieces,
without it one by one through ``plain.py``. Both give the same numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from operator import sub
from types import ModuleType
from typing import Final

from node.billing.allocation import plain as plain_engine
from node.billing.allocation.plain import Matrix
from node.billing.allocation.rounds import Key, ResolvedStage, resolve
from node.billing.series import MISSING

__all__ = ["Allocation", "Reallocation", "allocate", "reallocate"]

HAS_NUMPY: Final = find_spec("numpy") is not None


@dataclass(frozen=True, slots=True)
class Allocation:
    """What a key made of the curves: Wh per step, delivery points in the order of their numbers.

    ``given`` is each producer's allocated part, ``allocated`` each consumer's. A step in which any
    curve has a gap is open: nobody can be given a share of what is not known, so every figure of
    that step is MISSING. ``pairs`` holds, for each group of steps that was asked for, the Wh that
    went from each producer to each consumer.
    """

    key: Key
    stages: tuple[ResolvedStage, ...]
    production: Mapping[str, array[int]]
    consumption: Mapping[str, array[int]]
    given: Mapping[str, array[int]]
    allocated: Mapping[str, array[int]]
    open_steps: tuple[int, ...]
    pairs: Mapping[int, Matrix]

    @property
    def steps(self) -> int:
        """How many steps the curves have, open ones included."""
        curves = (*self.production.values(), *self.consumption.values())
        return len(curves[0]) if curves else 0

    def surplus(self, producer: str) -> array[int]:
        """What of a producer's energy nobody in the operation took."""
        return _rest(self.production[producer], self.given[producer], self.open_steps)

    def complement(self, consumer: str) -> array[int]:
        """What of a consumer's energy its supplier delivered."""
        return _rest(self.consumption[consumer], self.allocated[consumer], self.open_steps)

    def matrix(self, step: int) -> Matrix:
        """Wh by producer and consumer in one step. Raises ValueError for an open one."""
        return next(self.matrices([step]))

    def matrices(self, steps: Sequence[int]) -> Iterator[Matrix]:
        """Wh by producer and consumer, step after step. Raises ValueError for an open one.

        Matrices are made again each time, for all of a year would not fit into memory.
        """
        unknown = set(steps).intersection(self.open_steps)
        if unknown:
            raise ValueError(f"step {min(unknown)} is open: a curve has no value there")
        made: Iterator[Matrix] = _engine(plain=not HAS_NUMPY).matrices(
            self.stages, steps, tuple(self.production.values()), tuple(self.consumption.values())
        )
        return made


def _rest(whole: array[int], part: array[int], open_steps: tuple[int, ...]) -> array[int]:
    rest = array("q", map(sub, whole, part))
    for step in open_steps:
        rest[step] = MISSING
    return rest


def allocate(
    key: Key,
    production: Mapping[str, Sequence[int]],
    consumption: Mapping[str, Sequence[int]],
    *,
    groups: Sequence[int] | None = None,
    plain: bool = not HAS_NUMPY,
) -> Allocation:
    """Allocate production to consumption, step by step.

    Both are Wh per step by delivery point, all of one length, MISSING for a gap; their order plays
    no part. ``groups`` numbers each step (a tariff period, a month): the matrices are then summed
    up by group, otherwise none are made. Raises ConfigurationError for a key that does not fit the
    operation, ValueError for curves of unequal length.
    """
    produced = {point: _as_array(production[point]) for point in sorted(production)}
    consumed = {point: _as_array(consumption[point]) for point in sorted(consumption)}
    lengths = {len(curve) for curve in (*produced.values(), *consumed.values())}
    if groups is not None:
        lengths.add(len(groups))
    if len(lengths) > 1:
        raise ValueError(f"curves and groups of different lengths: {sorted(lengths)}")
    steps = lengths.pop() if lengths else 0
    stages = resolve(key, tuple(produced), tuple(consumed), steps)
    open_steps = tuple(
        sorted({step for curve in _all(produced, consumed) for step in _gaps(curve)})
    )
    given = {point: array("q", (MISSING,)) * steps for point in produced}
    allocated = {point: array("q", (MISSING,)) * steps for point in consumed}
    pairs = {group: [[0] * len(consumed) for _ in produced] for group in sorted(set(groups or ()))}
    _engine(plain=plain).allocate_curves(
        stages,
        _without(steps, open_steps),
        tuple(produced.values()),
        tuple(consumed.values()),
        groups,
        given_wh=tuple(given.values()),
        allocated_wh=tuple(allocated.values()),
        pairs=pairs,
    )
    return Allocation(key, stages, produced, consumed, given, allocated, open_steps, pairs)


@dataclass(frozen=True, slots=True)
class Reallocation:
    """An allocation after some curves were corrected, and the steps that were made again."""

    allocation: Allocation
    steps: tuple[int, ...]


def reallocate(
    before: Allocation,
    production: Mapping[str, Sequence[int]],
    consumption: Mapping[str, Sequence[int]],
    *,
    groups: Sequence[int] | None = None,
    key: Key | None = None,
    plain: bool = not HAS_NUMPY,
) -> Reallocation:
    """Allocate again the steps in which any curve is now another, under the key of before.

    The engine is asked about no other step, and every other figure stays as it was. That holds for
    every key, because no stage remembers a step: a coefficient, or stated Wh, is the step's own.
    ``groups`` are those that ``pairs`` was summed by. ``key`` is the one of before with other
    stated Wh in the touched steps: those that were reconciled with the corrected curves. Raises
    ValueError for other points or steps, ConfigurationError if more Wh were stated for a step than
    are measured now.
    """
    produced = {point: _as_array(production[point]) for point in sorted(production)}
    consumed = {point: _as_array(consumption[point]) for point in sorted(consumption)}
    touched = sorted(
        _differing(before.production, produced) | _differing(before.consumption, consumed)
    )
    if not before.pairs:
        groups = None
    elif groups is None:
        raise ValueError("the pairs were summed by groups, and these must be known again")
    opened = {step for step in touched if any(c[step] < 0 for c in _all(produced, consumed))}
    was_open = set(before.open_steps)
    given = {point: array("q", curve) for point, curve in before.given.items()}
    allocated = {point: array("q", curve) for point, curve in before.allocated.items()}
    for curve in _all(given, allocated):
        for step in opened:
            curve[step] = MISSING
    taken_out = _empty_pairs(before)
    put_in = _empty_pairs(before)
    engine = _engine(plain=plain)
    engine.allocate_curves(
        before.stages,
        [step for step in touched if step not in was_open],
        tuple(before.production.values()),
        tuple(before.consumption.values()),
        groups,
        given_wh=tuple(array("q", curve) for curve in given.values()),
        allocated_wh=tuple(array("q", curve) for curve in allocated.values()),
        pairs=taken_out,
    )
    stages = before.stages
    if key is not None:
        stages = resolve(key, tuple(produced), tuple(consumed), before.steps)
    engine.allocate_curves(
        stages,
        [step for step in touched if step not in opened],
        tuple(produced.values()),
        tuple(consumed.values()),
        groups,
        given_wh=tuple(given.values()),
        allocated_wh=tuple(allocated.values()),
        pairs=put_in,
    )
    pairs = {
        group: [
            [wh - old + new for wh, old, new in zip(*rows, strict=True)]
            for rows in zip(matrix, taken_out[group], put_in[group], strict=True)
        ]
        for group, matrix in before.pairs.items()
    }
    open_steps = tuple(sorted(was_open.difference(touched) | opened))
    after = Allocation(
        key or before.key, stages, produced, consumed, given, allocated, open_steps, pairs
    )
    return Reallocation(after, tuple(touched))


def _differing(before: Mapping[str, array[int]], now: Mapping[str, array[int]]) -> set[int]:
    """The steps in which a curve of one side is another."""
    if list(before) != list(now):
        raise ValueError("the curves are of other points than those that were allocated")
    return {
        step
        for point, curve in now.items()
        if curve != before[point]
        for step, values in enumerate(zip(before[point], curve, strict=True))
        if values[0] != values[1]
    }


def _empty_pairs(allocation: Allocation) -> dict[int, Matrix]:
    wide = len(allocation.consumption)
    return {group: [[0] * wide for _ in allocation.production] for group in allocation.pairs}


def _engine(*, plain: bool) -> ModuleType:
    if plain:
        return plain_engine
    # numpy is an extra: a node without it allocates too, only slower.
    from node.billing.allocation import vector  # noqa: PLC0415

    return vector


def _without(steps: int, left_out: Sequence[int]) -> Sequence[int]:
    """All steps but some."""
    omitted = set(left_out)
    return [step for step in range(steps) if step not in omitted] if omitted else range(steps)


def _as_array(curve: Sequence[int]) -> array[int]:
    return curve if isinstance(curve, array) and curve.typecode == "q" else array("q", curve)


def _all(*tables: Mapping[str, array[int]]) -> Iterator[array[int]]:
    for table in tables:
        yield from table.values()


def _gaps(curve: array[int]) -> Iterator[int]:
    """The steps without a value; a negative one is a programming error."""
    if curve and min(curve) < 0:
        for step, energy_wh in enumerate(curve):
            assert energy_wh >= MISSING, (step, energy_wh)
            if energy_wh == MISSING:
                yield step
