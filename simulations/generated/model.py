"""From power and events to whole Wh per step, without losing any."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from simulations.generated import DAY_S, GeneratedSpan
from simulations.generated.home import draw_home
from simulations.generated.load import Burst, bursts, standard_load, standing_power_w
from simulations.generated.sun import pv_power_w, sky_over

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NODE_S: Final = 300
"""Sun and standing load are computed at multiples of this and linear in between."""


@dataclass(frozen=True, slots=True)
class HomeEnergies:
    """Whole Wh of a home, one number per step."""

    load_wh: Ints
    pv_wh: Ints


def generate(span: GeneratedSpan) -> Iterator[HomeEnergies]:
    """The homes of a span, one after the other."""
    zone = ZoneInfo(span.place.timezone)
    end_s = span.start_s + span.days * DAY_S
    at_s = np.arange(span.start_s // NODE_S * NODE_S, end_s + 2 * NODE_S, NODE_S, dtype=np.int64)
    with warnings.catch_warnings():
        # demandlib 0.2 and pvlib 0.16 still call pandas in ways that pandas 4 will drop.
        warnings.simplefilter("ignore", DeprecationWarning)
        sky = sky_over(span.place, at_s, span.seed)
        standard = standard_load(zone, int(at_s[0]), int(at_s[-1]))
        for number in range(1, span.homes + 1):
            home = draw_home(span.seed, number, northern=span.place.latitude_deg >= 0)
            standing_w = standing_power_w(home, standard, at_s, span.seed)
            load_j = _integral_j(span, at_s, standing_w)
            _add_bursts(span, load_j, bursts(home, zone, span.start_s, end_s, span.seed))
            power_w = np.zeros(len(at_s)) if home.roof is None else pv_power_w(home.roof, sky)
            yield HomeEnergies(_whole_wh(load_j), _whole_wh(_integral_j(span, at_s, power_w)))


def _integral_j(span: GeneratedSpan, at_s: Ints, power_w: Floats) -> Ints:
    """Energy of each step in J under the straight lines between the nodes.

    Parts of a step never straddle a node, so their middle is their mean.
    """
    part_s = math.gcd(span.step_s, NODE_S)
    parts = span.step_s // part_s
    middles_s = span.start_s + part_s * (np.arange(span.steps * parts) + 0.5)
    power = np.interp(middles_s, at_s, power_w).reshape(span.steps, parts)
    energy_j: Ints = np.rint(power.sum(axis=1) * part_s).astype(np.int64)
    return energy_j


def _add_bursts(span: GeneratedSpan, load_j: Ints, switched: Iterable[Burst]) -> None:
    """Add every burst to the steps that it overlaps, to the J."""
    span_s = span.steps * span.step_s
    for burst in switched:
        start_s = max(burst.start_s - span.start_s, 0)
        end_s = min(burst.start_s + burst.seconds - span.start_s, span_s)
        if start_s >= end_s:
            continue
        first, last = start_s // span.step_s, (end_s - 1) // span.step_s
        load_j[first : last + 1] += burst.power_w * span.step_s
        load_j[first] -= burst.power_w * (start_s - first * span.step_s)
        load_j[last] -= burst.power_w * ((last + 1) * span.step_s - end_s)


def _whole_wh(energy_j: Ints) -> Ints:
    """Whole Wh per step; what is left of a Wh is carried to the next step."""
    cumulative_wh = np.cumsum(energy_j) // 3600
    return np.diff(cumulative_wh, prepend=0)
