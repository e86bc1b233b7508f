"""Operators' numbers as watt-minutes: the unit is always stated, never taken from the size."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

__all__ = ["MAX_WATT_MINUTES", "NO_NUMBER", "POWER_UNITS", "UNITS", "AmountReader"]

POWER_UNITS: Final = {"W": 1, "KW": 1000}
_ENERGY_UNITS: Final = {"WH": 60, "KWH": 60_000}
UNITS: Final = frozenset({*POWER_UNITS, *_ENERGY_UNITS})
"""In capitals; files write kW as KW too."""

NO_NUMBER: Final = -2
"""What a text gives that is no amount: not a number, negative, or beyond anything plausible."""

MAX_WATT_MINUTES: Final = 10**12
"""A gigawatt for an hour is 6 * 10**10."""

_NUMBER: Final = {
    ".": re.compile(r"\d{1,15}(?:\.\d{0,12})?", re.ASCII),
    ",": re.compile(r"\d{1,15}(?:,\d{0,12})?", re.ASCII),
}
_MOST_REMEMBERED: Final = 100_000


class AmountReader:
    """Reads amounts of one unit and step. ``step_s`` 0: the step is not known yet, and power stays
    in watts. ``rounded`` counts amounts finer than a watt-minute, which were rounded to one."""

    __slots__ = ("_factor", "_known", "_number", "rounded")

    def __init__(self, unit: str, step_s: int, *, decimal_mark: str = ".") -> None:
        unit = unit.upper()
        assert unit in UNITS, unit
        if unit in POWER_UNITS:
            self._factor = POWER_UNITS[unit] * (step_s // 60 or 1)
        else:
            self._factor = _ENERGY_UNITS[unit]
        self._number = _NUMBER[decimal_mark]
        self._known: dict[str, int] = {}
        self.rounded = 0

    def read(self, text: str) -> int:
        """Watt-minutes (watts, if the step is not known); NO_NUMBER."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            rounded = self.rounded
            found = self._read(text)
            if found >= 0 and rounded == self.rounded:
                self._known[text] = found
        return found

    def _read(self, text: str) -> int:
        if not self._number.fullmatch(text):
            return NO_NUMBER
        if text.isdecimal():
            amount = int(text) * self._factor
        else:
            exact = Decimal(text.replace(",", ".")) * self._factor
            amount = int(exact.to_integral_value())
            self.rounded += amount != exact
        return amount if amount <= MAX_WATT_MINUTES else NO_NUMBER
