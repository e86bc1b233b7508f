"""What a key is: rounds in which the production of a step is offered to consumers.

Every key of every country comes down to the same few questions, asked round after round: whose
production is on offer, to whom, in what shares, and is what was not taken offered again? A
consumer never gets more than it consumed. What is left after the last round is surplus.

Shares are in millionths (``SCALE`` is the whole), either one for all steps or one per step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from node.errors import ConfigurationError

__all__ = [
    "SCALE",
    "Coefficient",
    "Key",
    "PairStage",
    "PoolStage",
    "ResolvedPairs",
    "ResolvedPool",
    "ResolvedRound",
    "ResolvedStage",
    "ResolvedStated",
    "Round",
    "StatedStage",
    "check_stated",
    "resolve",
]

SCALE: Final = 10**6
"""The whole, in the millionths that coefficients are counted in: six decimals of a factor."""

Coefficient = int | Sequence[int]
"""Millionths (of a stated stage: Wh): one number for all steps, or one for each."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a pool.

    ``consumers`` are those it is offered to (None: all). ``shares`` None means pro rata of what
    each still needs. Otherwise they are each consumer's coefficient, and ``of_whole`` says of what:
    of the energy on offer, rounded down, a share that nobody holds staying where it is; or, if
    False, of what those who still need something hold together, by largest remainder. ``part`` is
    how much of the stage's pool is on offer, as far as it is left. ``repeated`` offers what was not
    taken again until it is exhausted or nobody wants more.
    """

    consumers: tuple[str, ...] | None = None
    shares: Mapping[str, Coefficient] | None = None
    of_whole: bool = False
    part: int = SCALE
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class PoolStage:
    """Rounds over the pooled production of some producers (None: all), as far as it is left.

    Each producer contributes to what the stage gives in proportion to what it had left.
    """

    rounds: tuple[Round, ...]
    producers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class PairStage:
    """A coefficient for each producer and consumer, of that producer's production, rounded down.

    Where the producers together bring a consumer more than it needs, their parts are reduced pro
    rata, by largest remainder.
    """

    coefficients: Mapping[str, Mapping[str, Coefficient]]


@dataclass(frozen=True, slots=True)
class StatedStage:
    """What each producer gave and each consumer got, in Wh per step, as somebody else settled it:
    the market on chain, or an operator. Both sum to the same in each step."""

    given: Mapping[str, Sequence[int]]
    taken: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Key:
    """A key: its name, and its stages in their order."""

    name: str
    stages: tuple[PoolStage | PairStage | StatedStage, ...]


@dataclass(frozen=True, slots=True)
class ResolvedRound:
    """A round on places instead of names; ``shares`` follow ``consumers``."""

    consumers: tuple[int, ...]
    shares: tuple[Coefficient, ...] | None
    of_whole: bool
    part: int
    repeated: bool


@dataclass(frozen=True, slots=True)
class ResolvedPool:
    """A pool's rounds on places."""

    producers: tuple[int, ...]
    rounds: tuple[ResolvedRound, ...]


@dataclass(frozen=True, slots=True)
class ResolvedPairs:
    """Coefficients by producer, then by consumer, on all places; 0 where the key names none."""

    coefficients: tuple[tuple[Coefficient, ...], ...]


@dataclass(frozen=True, slots=True)
class ResolvedStated:
    """Stated Wh on all places; 0 where nothing was stated."""

    given: tuple[Coefficient, ...]
    taken: tuple[Coefficient, ...]


ResolvedStage = ResolvedPool | ResolvedPairs | ResolvedStated


def resolve(
    key: Key, producers: Sequence[str], consumers: Sequence[str], steps: int
) -> tuple[ResolvedStage, ...]:
    """A key's stages for these delivery points.

    Raises ConfigurationError for a key without stages (the market's, of which nobody said what was
    filled), a point that is none of theirs, a coefficient that is no share, coefficients that give
    away more than the whole, and a table of another length.
    """
    if not key.stages:
        raise ConfigurationError(
            f"key {key.name}: nobody says what was filled",
            next_step="say which market: --run DIR, or --rpc URL --market ADDRESS",
        )
    producer_at = {point: place for place, point in enumerate(producers)}
    consumer_at = {point: place for place, point in enumerate(consumers)}
    stages: list[ResolvedStage] = []
    for stage in key.stages:
        if isinstance(stage, PairStage):
            stages.append(_pairs(key.name, stage, producer_at, consumer_at, steps))
            continue
        if isinstance(stage, StatedStage):
            stages.append(_stated(key.name, stage, producer_at, consumer_at, steps))
            continue
        rounds = tuple(_round(key.name, item, consumer_at, steps) for item in stage.rounds)
        chosen = producers if stage.producers is None else stage.producers
        stages.append(ResolvedPool(_places(key.name, chosen, producer_at, "producer"), rounds))
    return tuple(stages)


def _round(name: str, item: Round, consumer_at: Mapping[str, int], steps: int) -> ResolvedRound:
    if not 0 <= item.part <= SCALE:
        raise ConfigurationError(f"key {name}: a round offers {item.part} millionths of its pool")
    chosen = tuple(consumer_at) if item.consumers is None else item.consumers
    places = _places(name, chosen, consumer_at, "consumer")
    if item.shares is None:
        return ResolvedRound(places, None, item.of_whole, item.part, item.repeated)
    by_place = _coefficients(name, item.shares, consumer_at, steps)
    shares = tuple(by_place.get(place, 0) for place in places)
    if item.of_whole:
        _check_whole(name, shares, steps)
    return ResolvedRound(places, shares, item.of_whole, item.part, item.repeated)


def _pairs(
    name: str,
    stage: PairStage,
    producer_at: Mapping[str, int],
    consumer_at: Mapping[str, int],
    steps: int,
) -> ResolvedPairs:
    _places(name, stage.coefficients, producer_at, "producer")
    table = []
    for producer in producer_at:
        by_place = _coefficients(name, stage.coefficients.get(producer, {}), consumer_at, steps)
        row = tuple(by_place.get(place, 0) for place in consumer_at.values())
        _check_whole(f"{name}, producer {producer}", row, steps)
        table.append(row)
    return ResolvedPairs(tuple(table))


def _stated(
    name: str,
    stage: StatedStage,
    producer_at: Mapping[str, int],
    consumer_at: Mapping[str, int],
    steps: int,
) -> ResolvedStated:
    sides: list[tuple[Coefficient, ...]] = []
    for stated, place_of, what in (
        (stage.given, producer_at, "producer"),
        (stage.taken, consumer_at, "consumer"),
    ):
        _places(name, stated, place_of, what)
        for point, curve in stated.items():
            if len(curve) != steps or min(curve, default=0) < 0:
                raise ConfigurationError(f"key {name}: {point} has no Wh for each of {steps} steps")
        sides.append(tuple(stated.get(point, 0) for point in place_of))
    given, taken = sides
    for step in range(steps):
        if _sum_at(given, step) != _sum_at(taken, step):
            raise ConfigurationError(
                f"key {name}: in step {step} {_sum_at(given, step)} Wh were given and"
                f" {_sum_at(taken, step)} taken"
            )
    return ResolvedStated(given, taken)


def _sum_at(shares: Iterable[Coefficient], step: int) -> int:
    return sum(share if isinstance(share, int) else share[step] for share in shares)


def _places(
    name: str, points: Iterable[str], place_of: Mapping[str, int], what: str
) -> tuple[int, ...]:
    """The places of points, in order. An unknown or doubled one would silently lose energy."""
    places = []
    for point in points:
        if point not in place_of:
            raise ConfigurationError(
                f"key {name}: {point} is no {what} of this operation",
                next_step=f"correct the key, or add the {what} to the operation",
            )
        places.append(place_of[point])
    if len(set(places)) < len(places):
        raise ConfigurationError(f"key {name}: a {what} stands twice in one round")
    return tuple(sorted(places))


def _coefficients(
    name: str, shares: Mapping[str, Coefficient], consumer_at: Mapping[str, int], steps: int
) -> dict[int, Coefficient]:
    _places(name, shares, consumer_at, "consumer")
    for point, share in shares.items():
        if isinstance(share, int):
            in_range = 0 <= share <= SCALE
        else:
            if len(share) != steps:
                raise ConfigurationError(
                    f"key {name}: {point} has coefficients for {len(share)} steps of {steps}",
                    next_step="give a coefficient for each step of the curves",
                )
            in_range = all(0 <= number <= SCALE for number in share)
        if not in_range:
            raise ConfigurationError(
                f"key {name}: the coefficient of {point} is not between 0 and 1"
            )
    return {consumer_at[point]: share for point, share in shares.items()}


def _check_whole(name: str, shares: Sequence[Coefficient], steps: int) -> None:
    varies = not all(isinstance(share, int) for share in shares)
    for step in range(steps if varies else 1):
        total = _sum_at(shares, step)
        if total > SCALE:
            where = f" in step {step}" if varies else ""
            raise ConfigurationError(
                f"key {name}: coefficients sum to {total} millionths{where}, more than the whole",
                next_step="lower them: the whole is 1,000,000 millionths",
            )


def check_stated(points: Iterable[int], step: int) -> None:
    """Raise ConfigurationError if what stated Wh leave of a step's measures is below 0."""
    if min(points, default=0) < 0:
        raise ConfigurationError(
            f"in step {step} more Wh were stated than measured",
            next_step="reconcile first: the operator's measure prevails",
        )
