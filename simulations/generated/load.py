"""What a home draws: a standard load profile, and appliances that somebody switches on.

The standing part of the load follows H25, the household profile that the German association BDEW
published in 2025 to replace H0 (its 4th-degree polynomial over the year included), from demandlib:
quarter hours by month, working day, Saturday, Sunday or holiday of the local calendar. (H0 is in
demandlib 0.2 too, but stops at an error of its own under pandas 3.1.) France has profiles of its
own; H25 is what an open library offers. The holidays are the French national ones.

A standard profile is the mean of very many homes and far too smooth for one, so a home draws from
a third to five sixths of its year as single events: power, length and hours of each appliance are
plain assumptions, in a table below. How often they happen is scaled to the household, and what
their expected energy leaves of the home's year is the standing part. A home's real year therefore
scatters a few per cent around its nominal one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
from demandlib import bdew

from simulations.generated import DAY_S
from simulations.generated.home import Home, Purpose, stream

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_QUARTERS_PER_DAY: Final = 96
_HOUR_S: Final = 3600
_HEATER_W: Final = 2_200
_HEATER_SHARE: Final = 0.28
"""Of a home's energy, what its water heater takes if it has one."""
_CAR_W: Final = 3_700
_CAR_SHARE: Final = 0.22
_CAR_EVENINGS: Final = 0.4
"""Share of the evenings on which a car is plugged in."""
_VARIED_SHARE: Final = 0.2
_VARIED_WH: Final = 350
"""Mean energy of one use of the varied devices: 200 to 1,000 W for 10 to 60 minutes."""


@dataclass(frozen=True, slots=True)
class Burst:
    """A constant power for a while."""

    start_s: int
    seconds: int
    power_w: int


@dataclass(frozen=True, slots=True)
class Appliance:
    """Phases of (W, s) that follow each other; hours of the day as (weight, hour, spread in h).
    A day has ``uses`` of it on average, and ``uses_per_person`` more for each person."""

    phases: tuple[tuple[int, int], ...]
    hours: tuple[tuple[float, float, float], ...]
    uses: float
    uses_per_person: float

    @property
    def energy_wh(self) -> float:
        """The energy of one use."""
        return sum(power_w * seconds for power_w, seconds in self.phases) / 3600


_KETTLE = Appliance(((2_000, 180),), ((3, 7.3, 0.8), (1, 16, 1), (2, 20.7, 0.8)), 1.0, 0.5)
_OVEN = Appliance(((2_400, 600), (1_100, 1_200)), ((2, 12.2, 0.5), (3, 19.3, 0.6)), 0.4, 0.15)
_WASHING = Appliance(((2_000, 1_080), (250, 3_000)), ((1, 9.5, 1), (1, 14.5, 2)), 0.0, 0.15)
_DISHES = Appliance(
    ((1_900, 960), (80, 1_500), (1_900, 780)), ((1, 13.8, 0.5), (2, 20.8, 0.6)), 0.0, 0.15
)
_APPLIANCES: Final = (_KETTLE, _OVEN, _WASHING, _DISHES)
_VARIED_HOURS: Final = ((2, 10, 2), (1, 15, 2), (3, 20, 1.5))


@dataclass(frozen=True, slots=True)
class StandardLoad:
    """The standard profile at some instants, in W per Wh of a calendar year; the same for all."""

    at_s: Ints
    shape: Floats


def standard_load(zone: ZoneInfo, start_s: int, end_s: int) -> StandardLoad:
    """H25 by the local clock, with room for the earliest and the latest riser."""
    at_s = np.arange(start_s - 2 * _HOUR_S, end_s + 2 * _HOUR_S, 300, dtype=np.int64)
    local = pd.DatetimeIndex(at_s.astype("datetime64[s]"), tz="UTC").tz_convert(zone)
    quarter = (
        (local.day_of_year.to_numpy() - 1) * _QUARTERS_PER_DAY
        + local.hour.to_numpy() * 4
        + local.minute.to_numpy() // 15
    )
    years = local.year.to_numpy()
    shape = np.zeros(len(at_s))
    for year in np.unique(years):
        of_year = years == year
        shape[of_year] = _year_shape(int(year))[quarter[of_year]]
    return StandardLoad(at_s, shape)


def standing_power_w(home: Home, standard: StandardLoad, at_s: Ints, seed: int) -> Floats:
    """The part of the load that follows the standard profile, at each instant, in W.

    It scatters from hour to hour by how many people are in, half up or down.
    """
    year_wh = home.annual_wh - 365 * _expected_burst_wh(home)
    assert year_wh > 0, home
    shape = np.interp(at_s - home.routine_s, standard.at_s, standard.shape)
    first_day, past_day = int(at_s[0]) // DAY_S, int(at_s[-1]) // DAY_S + 2
    presence = np.concatenate(
        [
            stream(seed, Purpose.PRESENCE, home.number, day).uniform(0.5, 1.5, 24)
            for day in range(first_day, past_day)
        ]
    )
    hours_s = np.arange(first_day * DAY_S, past_day * DAY_S, _HOUR_S)
    return np.asarray(year_wh * shape * np.interp(at_s, hours_s, presence))


def bursts(home: Home, zone: ZoneInfo, start_s: int, end_s: int, seed: int) -> Iterator[Burst]:
    """Every switched load that may touch a span of time: those of the local days around it."""
    day = datetime.fromtimestamp(start_s, zone).date() - timedelta(days=1)
    last = datetime.fromtimestamp(end_s, zone).date()
    while day <= last:
        yield from _bursts_of_day(home, zone, day, seed)
        day += timedelta(days=1)


def french_holidays(year: int) -> list[date]:
    """The eleven national holidays; Easter by the anonymous Gregorian algorithm (Meeus)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, before = divmod(h + m - 7 * n + 114, 31)
    easter = date(year, month, before + 1)
    fixed = ((1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25))
    return sorted(
        [date(year, month, day) for month, day in fixed]
        + [easter + timedelta(days=days) for days in (1, 39, 50)]
    )


def _year_shape(year: int) -> Floats:
    """Every quarter of an hour of a calendar year; the mean power of 1 Wh spread over it."""
    days = (date(year + 1, 1, 1) - date(year, 1, 1)).days
    index = pd.date_range(f"{year}-01-01", periods=days * _QUARTERS_PER_DAY, freq="15min")
    profile = bdew.H25(index, holidays=french_holidays(year)).to_numpy(dtype=np.float64)
    return np.asarray(profile / profile.sum() * 4)


def _expected_burst_wh(home: Home) -> float:
    """What a home's switched loads take on an average day."""
    daily_wh = home.annual_wh / 365
    share = _VARIED_SHARE + _HEATER_SHARE * home.water_heater + _CAR_SHARE * home.car
    uses_wh = sum(
        (appliance.uses + appliance.uses_per_person * home.people) * appliance.energy_wh
        for appliance in _APPLIANCES
    )
    return share * daily_wh + uses_wh


def _bursts_of_day(home: Home, zone: ZoneInfo, day: date, seed: int) -> Iterator[Burst]:
    rng = stream(seed, Purpose.APPLIANCES, home.number, day.toordinal())
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)

    def instant_s(local_s: float) -> int:
        return int((midnight + timedelta(seconds=int(local_s))).timestamp())

    for appliance in _APPLIANCES:
        uses = appliance.uses + appliance.uses_per_person * home.people
        for _ in range(rng.poisson(uses)):
            start_s = instant_s(_hour_s(rng, appliance.hours) + home.routine_s)
            for power_w, seconds in appliance.phases:
                yield Burst(start_s, seconds, power_w)
                start_s += seconds
    daily_wh = home.annual_wh / 365
    for _ in range(rng.poisson(_VARIED_SHARE * daily_wh / _VARIED_WH)):
        start_s = instant_s(_hour_s(rng, _VARIED_HOURS) + home.routine_s)
        yield Burst(start_s, int(rng.integers(600, 3_601)), int(rng.integers(200, 1_001)))
    heat_wh = _HEATER_SHARE * daily_wh * rng.uniform(0.7, 1.3) * _cold_water(day)
    evening, plugged_h, charge = rng.random(), rng.normal(18.6, 0.8), rng.uniform(0.6, 1.4)
    if home.water_heater:
        yield Burst(instant_s(home.offpeak_s), int(heat_wh * 3600 / _HEATER_W), _HEATER_W)
    if home.car and evening < _CAR_EVENINGS:
        charge_wh = _CAR_SHARE * daily_wh / _CAR_EVENINGS * charge
        plugged_s = home.offpeak_s if home.car_waits_for_offpeak else plugged_h * _HOUR_S
        yield Burst(instant_s(plugged_s), int(charge_wh * 3600 / _CAR_W), _CAR_W)


def _hour_s(rng: np.random.Generator, hours: tuple[tuple[float, float, float], ...]) -> float:
    """A second of the day, drawn from a mixture of normal peaks."""
    pick = rng.random() * sum(weight for weight, _, _ in hours)
    for weight, hour, spread_h in hours:
        pick -= weight
        if pick < 0:
            return float(rng.normal(hour, spread_h)) * _HOUR_S
    return hours[-1][1] * _HOUR_S


def _cold_water(day: date) -> float:
    """Water comes in coldest in February: an eighth more to heat than on average."""
    return 1 + 0.125 * float(np.cos(2 * np.pi * (day.timetuple().tm_yday - 45) / 365))
