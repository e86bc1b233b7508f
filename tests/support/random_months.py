"""Random months of random operations under random keys: material for what must always hold."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from node.billing.allocation import SCALE, Key, Round
from node.billing.keys import (
    default_dynamic,
    directed_gift,
    equal_shares,
    full_dynamic,
    hybrid,
    market,
    priority,
    producer_order,
    rounds,
    simple_dynamic,
    static,
    static_redistributed,
    virtual,
)
from node.billing.series import MISSING

STEPS_OF_MONTHS: Final = (28 * 48, 30 * 48, 31 * 48, 31 * 48 - 2, 31 * 48 + 2)
"""Half hours of months: short, normal, long, and those with a day of 46 and of 50."""


@dataclass(frozen=True, slots=True)
class Month:
    """Curves of an operation over the steps of a month, and a key for them."""

    key: Key
    production: Mapping[str, array[int]]
    consumption: Mapping[str, array[int]]
    steps: int


def random_month(rng: random.Random, steps: int | None = None, *, gaps: bool = True) -> Month:
    """Up to 4 producers and 8 consumers, one of whom may be absent, with few or many Wh."""
    count = rng.choice(STEPS_OF_MONTHS) if steps is None else steps
    producers = _numbers(rng, rng.randint(1, 4))
    consumers = _numbers(rng, rng.randint(1, 8))
    most_wh = rng.choice((1, 3, 50, 4_000, 2_000_000))
    production = {point: _curve(rng, count, most_wh) for point in producers}
    consumption = {point: _curve(rng, count, most_wh) for point in consumers}
    if gaps and count and rng.random() < 0.3:
        rng.choice([*production.values(), *consumption.values()])[rng.randrange(count)] = MISSING
    if rng.random() < 0.1:
        return Month(_stated(production, consumption), production, consumption, count)
    return Month(random_key(rng, producers, consumers, count), production, consumption, count)


def _stated(production: Mapping[str, array[int]], consumption: Mapping[str, array[int]]) -> Key:
    """The first of each side trade with each other, as much as both have."""
    (seller, made), (buyer, used) = (min(side.items()) for side in (production, consumption))
    traded = [max(min(pair), 0) for pair in zip(made, used, strict=True)]
    return market({seller: traded}, {buyer: traded})


def _numbers(rng: random.Random, count: int) -> list[str]:
    """Delivery points' numbers in no order."""
    return [f"{number:014d}" for number in rng.sample(range(10**14), count)]


def _curve(rng: random.Random, count: int, most_wh: int) -> array[int]:
    """Values with nights and quiet hours; a constant or an empty curve now and then."""
    kind = rng.random()
    if kind < 0.1:
        return array("q", (0,)) * count
    if kind < 0.2:
        return array("q", (rng.randint(0, most_wh),)) * count
    values = array("q", (0,)) * count
    for step in range(count):
        if rng.random() < 0.6:
            values[step] = int(most_wh * rng.random())
    return values


def random_key(
    rng: random.Random, producers: Sequence[str], consumers: Sequence[str], steps: int
) -> Key:
    """Any kind of key, with any parameters that it may have."""
    classes = _classes(rng, consumers)
    makers: tuple[Callable[[], Key], ...] = (
        default_dynamic,
        virtual,
        lambda: equal_shares(consumers),
        lambda: static(_shares(rng, consumers)),
        lambda: static_redistributed(_shares(rng, consumers)),
        lambda: hybrid(_shares(rng, consumers)),
        lambda: priority(classes),
        lambda: producer_order({point: _classes(rng, consumers) for point in producers}),
        lambda: directed_gift({rng.choice(producers): classes[0]}),
        lambda: simple_dynamic(_tables(rng, consumers, steps)),
        lambda: full_dynamic({point: _shares(rng, consumers) for point in producers}),
        lambda: full_dynamic({point: _tables(rng, consumers, steps) for point in producers}),
        lambda: rounds([_round(rng, consumers) for _ in range(rng.randint(1, 4))]),
    )
    return rng.choice(makers)()


def _classes(rng: random.Random, consumers: Sequence[str]) -> list[list[str]]:
    """Some of the consumers, in classes."""
    ordered = rng.sample(consumers, rng.randint(1, len(consumers)))
    cut = rng.randint(1, len(ordered))
    return [part for part in (ordered[:cut], ordered[cut:]) if part]


def _shares(rng: random.Random, consumers: Sequence[str]) -> dict[str, int]:
    """Millionths that sum to the whole or less."""
    cuts = sorted(rng.randint(0, SCALE) for _ in consumers)
    shares = [high - low for low, high in zip([0, *cuts], cuts, strict=False)]
    if rng.random() < 0.5:
        shares[-1] += SCALE - sum(shares)
    return dict(zip(consumers, shares, strict=True))


def _tables(rng: random.Random, consumers: Sequence[str], steps: int) -> dict[str, list[int]]:
    variants = [_shares(rng, consumers) for _ in range(5)]
    chosen = [rng.choice(variants) for _ in range(steps)]
    return {point: [shares[point] for shares in chosen] for point in consumers}


def _round(rng: random.Random, consumers: Sequence[str]) -> Round:
    members = tuple(rng.sample(consumers, rng.randint(1, len(consumers))))
    shares = _shares(rng, members) if rng.random() < 0.6 else None
    return Round(
        consumers=members if rng.random() < 0.5 else None,
        shares=shares if shares is None or rng.random() < 0.9 else dict.fromkeys(members, 0),
        of_whole=rng.random() < 0.5,
        part=rng.choice((0, 1, SCALE // 3, SCALE)),
        repeated=rng.random() < 0.5,
    )
