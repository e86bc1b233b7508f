"""Generated homes: a neighbourhood for who has no load curves of their own.

Everything here is simulated; no home exists. PV comes from pvlib (sun, clear sky and panels at a
place) under a seeded, invented weather that all homes share. Load comes from demandlib's standard
load profile of households, scaled to each home and mixed with seeded events of its appliances.
``sun.py`` and ``load.py`` name models and sources; ``home.py`` says how a home is drawn.

The models run in a process of their own: pvlib and what it brings takes some 120 MB and a second to
load, is needed once, and would otherwise stay for the whole run.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
from array import array
from dataclasses import asdict, dataclass
from typing import IO, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from node.errors import ConfigurationError
from node.slots import iso_utc
from simulations.profiles import HomeProfile

__all__ = ["PRATS_DE_MOLLO", "GeneratedSpan", "Place", "generate_community", "home_name"]

MAX_HOMES: Final = 10_000
MAX_STEPS: Final = 50_000_000
"""Most steps of all homes together: 800 MB of load and PV."""

DAY_S: Final = 86_400
_YEAR_2100_S: Final = 4_102_444_800
_LIBRARIES: Final = ("numpy", "pandas", "pvlib", "demandlib")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the homes stand. ``skyline_deg`` is the height of the horizon all around, an
    assumption: below it hills hide the sun, and only the light of the sky arrives."""

    name: str
    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    timezone: str
    skyline_deg: float = 0.0

    def __post_init__(self) -> None:
        limits = (
            ("latitude", self.latitude_deg, -65.0, 65.0),
            ("longitude", self.longitude_deg, -180.0, 180.0),
            ("altitude", self.altitude_m, -400.0, 5_000.0),
            ("skyline", self.skyline_deg, 0.0, 45.0),
        )
        for what, value, low, high in limits:
            if not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f"{what} {value} is not in {low:g}..{high:g}")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"no time zone is named {self.timezone!r}") from error


PRATS_DE_MOLLO: Final = Place(
    name="Prats-de-Mollo-la-Preste",
    latitude_deg=42.404,
    longitude_deg=2.479,
    altitude_m=735.0,
    timezone="Europe/Paris",
    skyline_deg=8.0,
)


@dataclass(frozen=True, slots=True)
class GeneratedSpan:
    """What to generate: ``homes`` homes over ``days`` days from ``start_s`` on, in equal steps.

    Raises ConfigurationError for what cannot be generated.
    """

    homes: int
    start_s: int
    days: int
    step_s: int
    seed: int
    place: Place

    def __post_init__(self) -> None:
        if not 1 <= self.homes <= MAX_HOMES:
            raise ConfigurationError(f"{self.homes} homes: 1 to {MAX_HOMES} can be generated")
        if self.days < 1:
            raise ConfigurationError(f"{self.days} days: at least one can be generated")
        if self.step_s < 1 or DAY_S % self.step_s:
            raise ConfigurationError(f"a step of {self.step_s} s does not divide the day")
        if self.start_s % self.step_s:
            raise ConfigurationError(
                f"the start {iso_utc(self.start_s)} is no multiple of the step of {self.step_s} s"
            )
        if not 0 <= self.start_s <= _YEAR_2100_S - self.days * DAY_S:
            raise ConfigurationError("homes are generated from 1970 to 2099 only")
        if self.homes * self.steps > MAX_STEPS:
            raise ConfigurationError(
                f"{self.homes} homes of {self.steps} steps are more than {MAX_STEPS} steps",
                next_step="take fewer homes, fewer days or longer steps",
            )
        if self.seed < 0:
            raise ConfigurationError(f"the seed {self.seed} is below 0")

    @property
    def steps(self) -> int:
        """Steps of one home."""
        return self.days * DAY_S // self.step_s


def generate_community(
    homes: int,
    start_s: int,
    days: int,
    step_s: int,
    seed: int,
    place: Place = PRATS_DE_MOLLO,
) -> list[HomeProfile]:
    """Simulated homes in whole Wh per step; the same arguments give the same bytes.

    A home stays the same home, under the same weather, when more homes or days are generated: a
    shorter span is the beginning of a longer one. Steps as short as seconds are interpolated for
    sun and standard load, exact for appliances.

    Raises ConfigurationError for arguments that make no community, and when the simulator's
    libraries are not installed.
    """
    span = GeneratedSpan(homes, start_s, days, step_s, seed, place)
    for library in _LIBRARIES:
        if importlib.util.find_spec(library) is None:
            raise ConfigurationError(
                f"generated homes need {library}, which is not installed",
                next_step="install the simulator extra, pip install 'daisee-node[simulator]', "
                "or name a folder of home profiles",
            )
    return _generate_apart(span)


def home_name(number: int, homes: int) -> str:
    """``home-01``: as many digits as the largest number needs, at least two."""
    return f"home-{number:0{max(2, len(str(homes)))}d}"


def _generate_apart(span: GeneratedSpan) -> list[HomeProfile]:
    """Have ``__main__.py`` generate in a process of its own, with this process's import path."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    with tempfile.TemporaryFile() as request, tempfile.TemporaryFile() as errors:
        request.write(json.dumps(asdict(span)).encode())
        request.seek(0)
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "simulations.generated"],
            env={**os.environ, "PYTHONPATH": path},
            stdin=request,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as child:
            try:
                return _profiles(span, child.stdout)
            except EOFError as error:
                code = child.wait()
                errors.seek(0)
                last_words = errors.read()[-2_000:].decode(errors="replace")
                raise RuntimeError(f"generating homes ended with {code}\n{last_words}") from error


def _profiles(span: GeneratedSpan, source: IO[bytes] | None) -> list[HomeProfile]:
    assert source is not None
    return [
        HomeProfile(
            home_name(number, span.homes),
            span.start_s,
            span.step_s,
            load_wh=_energies_wh(span.steps, source),
            pv_wh=_energies_wh(span.steps, source),
        )
        for number in range(1, span.homes + 1)
    ]


def _energies_wh(steps: int, source: IO[bytes]) -> array[int]:
    """The next sequence of energies; EOFError when the child ended early."""
    energies = array("q")
    raw = source.read(steps * energies.itemsize)
    if len(raw) < steps * energies.itemsize:
        raise EOFError
    energies.frombytes(raw)
    return energies
