"""Who lives in a generated home: drawn once, from the seed and the home's number alone.

The ranges are assumptions about a French village. Homes are not heated by electricity: their year
has 2.0 to 6.5 MWh, a bigger household using more of everything, and some of it at night, when
off-peak hours (heures creuses) start a water heater or charge a car. Five homes of every eight have
2.1 to 6.0 kWp of panels; the first of eight has some and the second none, so that two homes trade.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

PANEL_W: Final = 425


class Purpose(IntEnum):
    """What a stream of random numbers is for: no draw for one thing moves another."""

    WEATHER_OF_DAY = 0
    WEATHER_WITHIN_DAY = 1
    ROOFS = 2
    HOME = 3
    APPLIANCES = 4
    PRESENCE = 5


def stream(seed: int, purpose: Purpose, *key: int) -> np.random.Generator:
    """The random numbers of one purpose, home and day; the same ones whatever else is drawn."""
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(purpose, *key))
    return np.random.Generator(np.random.PCG64(sequence))


@dataclass(frozen=True, slots=True)
class Roof:
    """A home's panels. Azimuth 0 is north, 90 east; ``cloud_lag_s`` is how much later (or
    earlier) a cloud passes here than over the middle of the village."""

    peak_w: int
    tilt_deg: float
    azimuth_deg: float
    cloud_lag_s: float


@dataclass(frozen=True, slots=True)
class Home:
    """A household and what it owns. ``offpeak_s`` is the local second of the day at which its
    off-peak hours begin; ``routine_s`` how much later than its neighbours it gets up."""

    number: int
    annual_wh: int
    people: int
    offpeak_s: int
    routine_s: int
    water_heater: bool
    car: bool
    car_waits_for_offpeak: bool
    roof: Roof | None


def draw_home(seed: int, number: int, *, northern: bool) -> Home:
    """The home of a number. Every home draws as often, so that no trait depends on another's."""
    rng = stream(seed, Purpose.HOME, number)
    size = rng.random()
    heater_chance, car_chance, waits_chance = rng.random(3)
    offpeak_s = int(22.5 * 3600) + 900 * int(rng.integers(0, 9))
    routine_s = int(rng.integers(-2700, 2701))
    panels = int(rng.integers(5, 15))
    roof = Roof(
        peak_w=panels * PANEL_W,
        tilt_deg=round(float(rng.uniform(18, 36)), 1),
        azimuth_deg=round(
            ((180 if northern else 0) + float(np.clip(rng.normal(0, 35), -85, 85))) % 360, 1
        ),
        cloud_lag_s=round(float(rng.uniform(-240, 240)), 1),
    )
    annual_wh = 2_000_000 + int(size * 4_500_000)
    return Home(
        number=number,
        annual_wh=annual_wh,
        people=1 + round(4 * size),
        offpeak_s=offpeak_s,
        routine_s=routine_s,
        water_heater=annual_wh >= 3_000_000 and bool(heater_chance < 0.5),
        car=annual_wh >= 4_000_000 and bool(car_chance < 0.3),
        car_waits_for_offpeak=bool(waits_chance < 0.6),
        roof=roof if _has_roof(seed, number) else None,
    )


def _has_roof(seed: int, number: int) -> bool:
    block, place = divmod(number - 1, 8)
    if place < 2:
        return place == 0
    return int(stream(seed, Purpose.ROOFS, block).permutation(6)[place - 2]) < 4
