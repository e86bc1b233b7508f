"""What the sun gives to a roof: pvlib's models under an invented weather.

Sun: pvlib's ephemeris. Clear sky: Ineichen and Perez (2002) with the monthly Linke turbidity that
pvlib brings along. Clouds: a clearness between overcast and clear, seeded, which wanders over days
and within the day; one sky for all homes. Beam and diffuse: Erbs (1982); on the tilted plane: Hay
and Davies (1980); glass: physical model of De Soto (2006); cell temperature: Faiman (2008); panels
and inverter: PVWatts version 5 (Dobos 2014) with its standard losses. Air temperature: a plain
curve of season, hour and altitude. There is no snow and no shade but the place's skyline.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pvlib

from simulations.generated import DAY_S, Place
from simulations.generated.home import Purpose, Roof, stream

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_LIT_ZENITH_DEG: Final = 89.5
_QUARTER_S: Final = 900
_DAY_MEMORY: Final = 0.55
"""How much of a day's weather the next one keeps."""
_QUARTER_MEMORY: Final = 0.7
_MEMORY_LENGTH: Final = 12
"""After so many steps hardly anything is left of the memory."""
_YEAR_1: Final = date(1970, 1, 1).toordinal()
"""Keys of random streams are positive: days are counted from the year 1 there."""

_TEMPERATURE_COEFFICIENT: Final = -0.0035
"""Loss of power per K above 25 °C, of ordinary silicon modules."""
_DC_TO_AC: Final = 1.1
"""Panels over inverter: usual oversizing."""


@dataclass(frozen=True, slots=True)
class Sky:
    """The sky over a place at the instants ``at_s[lit]``, when the sun is up; the same for all
    homes but for ``cloud_at_s`` and ``clearness``, a curve that each roof reads at its own time."""

    at_s: Ints
    lit: npt.NDArray[np.bool_]
    zenith_deg: Floats
    azimuth_deg: Floats
    sun_in_sight: npt.NDArray[np.bool_]
    clear_ghi: Floats
    extra_dni: Floats
    day_of_year: Ints
    air_c: Floats
    cloud_at_s: Ints
    clearness: Floats


def sky_over(place: Place, at_s: Ints, seed: int) -> Sky:
    """The sky of a place at rising unix times."""
    pressure = float(pvlib.atmosphere.alt2pres(place.altitude_m))
    index = pd.DatetimeIndex(at_s.astype("datetime64[s]"), tz="UTC")
    sun = pvlib.solarposition.ephemeris(
        index, place.latitude_deg, place.longitude_deg, pressure=pressure
    )
    lit = (sun["apparent_zenith"] < _LIT_ZENITH_DEG).to_numpy()
    sun, index = sun[lit], index[lit]
    zenith_deg = sun["apparent_zenith"].to_numpy()
    extra_dni = pvlib.irradiance.get_extra_radiation(index).to_numpy()
    airmass = pvlib.atmosphere.get_absolute_airmass(
        pvlib.atmosphere.get_relative_airmass(zenith_deg), pressure
    )
    turbidity = pvlib.clearsky.lookup_linke_turbidity(
        index, place.latitude_deg, place.longitude_deg
    ).to_numpy()
    clear = pvlib.clearsky.ineichen(zenith_deg, airmass, turbidity, place.altitude_m, extra_dni)
    cloud_at_s, clearness = _clearness(seed, int(at_s[0]), int(at_s[-1]))
    day_of_year = index.day_of_year.to_numpy().astype(np.int64)
    return Sky(
        at_s=at_s,
        lit=lit,
        zenith_deg=zenith_deg,
        azimuth_deg=sun["azimuth"].to_numpy(),
        sun_in_sight=zenith_deg < 90 - place.skyline_deg,
        clear_ghi=clear["ghi"],
        extra_dni=extra_dni,
        day_of_year=day_of_year,
        air_c=_air_c(place, at_s[lit], day_of_year),
        cloud_at_s=cloud_at_s,
        clearness=clearness,
    )


def pv_power_w(roof: Roof, sky: Sky) -> Floats:
    """What a roof feeds into its home at every instant of the sky, in W."""
    clearness = np.interp(sky.at_s[sky.lit] + roof.cloud_lag_s, sky.cloud_at_s, sky.clearness)
    ghi = clearness * sky.clear_ghi
    split = pvlib.irradiance.erbs(ghi, sky.zenith_deg, sky.day_of_year)
    plane = pvlib.irradiance.get_total_irradiance(
        roof.tilt_deg,
        roof.azimuth_deg,
        sky.zenith_deg,
        sky.azimuth_deg,
        dni=np.where(sky.sun_in_sight, split["dni"], 0.0),
        ghi=ghi,
        dhi=split["dhi"],
        dni_extra=sky.extra_dni,
        model="haydavies",
    )
    incidence_deg = pvlib.irradiance.aoi(
        roof.tilt_deg, roof.azimuth_deg, sky.zenith_deg, sky.azimuth_deg
    )
    through_glass = plane["poa_direct"] * pvlib.iam.physical(incidence_deg) + plane["poa_diffuse"]
    cell_c = pvlib.temperature.faiman(plane["poa_global"], sky.air_c)
    panels_w = pvlib.pvsystem.pvwatts_dc(
        through_glass, cell_c, roof.peak_w, _TEMPERATURE_COEFFICIENT
    )
    panels_w *= 1 - pvlib.pvsystem.pvwatts_losses() / 100
    power_w = np.zeros(len(sky.at_s))
    power_w[sky.lit] = pvlib.inverter.pvwatts(panels_w, roof.peak_w / _DC_TO_AC / 0.96)
    return power_w


def _clearness(seed: int, start_s: int, end_s: int) -> tuple[Ints, Floats]:
    """Global irradiance over that of a clear sky, every quarter of an hour.

    A moving average over keyed noise, and no recursion: a day's weather can be told without the
    days before, and so is the same in every span that contains it.
    """
    first_day, past_day = start_s // DAY_S - 1, end_s // DAY_S + 2
    days = np.array(
        [
            stream(seed, Purpose.WEATHER_OF_DAY, day + _YEAR_1).standard_normal()
            for day in range(first_day - _MEMORY_LENGTH, past_day)
        ]
    )
    quarters = np.concatenate(
        [
            stream(seed, Purpose.WEATHER_WITHIN_DAY, day + _YEAR_1).standard_normal(
                DAY_S // _QUARTER_S
            )
            for day in range(first_day - 1, past_day)
        ]
    )
    at_s = np.arange(first_day * DAY_S, past_day * DAY_S, _QUARTER_S, dtype=np.int64)
    middles_s = np.arange(first_day - 1, past_day, dtype=np.int64) * DAY_S + DAY_S // 2
    slow = np.interp(at_s, middles_s, _wander(days, _DAY_MEMORY))
    quick = _wander(quarters, _QUARTER_MEMORY)[-len(at_s) :]
    cloud = 1 / (1 + np.exp(1.4 - 2.2 * (0.85 * slow + 0.5 * quick)))
    return at_s, 1.0 - 0.8 * cloud


def _wander(noise: Floats, memory: float) -> Floats:
    """Independent normal numbers as correlated ones, of variance 1 again; the first
    ``_MEMORY_LENGTH - 1`` only serve as memory."""
    weights = memory ** np.arange(_MEMORY_LENGTH)
    weights /= np.sqrt((weights**2).sum())
    length = len(noise) - _MEMORY_LENGTH + 1
    correlated = np.zeros(length)
    # Shifted sums, because a library's dot product may round by where the numbers lie in memory.
    for ago, weight in enumerate(weights):
        first = _MEMORY_LENGTH - 1 - ago
        correlated += weight * noise[first : first + length]
    return correlated


def _air_c(place: Place, at_s: Ints, day_of_year: Ints) -> Floats:
    """15 °C at the sea and 6.5 K less per km, 8 K up in late July and 4 K up at 15 h."""
    hemisphere = 1 if place.latitude_deg >= 0 else -1
    season = np.cos(2 * np.pi * (day_of_year - 206) / 365) * hemisphere
    solar_h = at_s / 3600 + place.longitude_deg / 15
    hour = np.cos(2 * np.pi * (solar_h - 15) / 24)
    return np.asarray(15 - 0.0065 * place.altitude_m + 8 * season + 4 * hour)
