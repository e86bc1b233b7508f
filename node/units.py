"""Integers with units: energy in Wh, money in credit units, prices in credit units per Wh.

1 credit = 1 EUR = 10**8 units, so 1000 units/Wh are 1 cent/kWh. Payment = Wh x units/Wh: no
division ever touches money. The functions here only turn integers into text and back for people.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

UNITS_PER_CREDIT: Final = 10**8
CREDIT_DECIMALS: Final = 8
UNITS_PER_WH_IN_CENT_PER_KWH: Final = 1000

_DURATION = re.compile(r"^\s*(\d+)\s*(s|m|min|h|d)?\s*$")
_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def eur(units: int) -> float:
    """Credit units as EUR, for display only."""
    return float(Decimal(units) / UNITS_PER_CREDIT)


def cent_per_kwh(units_per_wh: int) -> float:
    """A price as EUR cents per kWh, for display only."""
    return float(Decimal(units_per_wh) / UNITS_PER_WH_IN_CENT_PER_KWH)


def kwh(energy_wh: int) -> float:
    """Energy as kWh, for display only."""
    return energy_wh / 1000


def parse_duration_s(text: str) -> int:
    """``"900"``, ``"900s"``, ``"15m"``, ``"15min"``, ``"1h"`` or ``"1d"`` as seconds.

    Raises ValueError for anything else, and for zero.
    """
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(f"not a duration: {text!r} (write 900s, 15m, 1h or 1d)")
    seconds = int(match[1]) * _SECONDS[match[2] or "s"]
    if seconds == 0:
        raise ValueError("a duration of zero")
    return seconds


def duration_text(seconds: int) -> str:
    """Seconds in the largest unit that divides them: ``15 min``, ``1 h``, ``20 s``."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
