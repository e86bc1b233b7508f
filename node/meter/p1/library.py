"""A second reader for P1 telegrams: the library dsmr-parser, where it is installed.

Our own reader is the one that counts, because the library needs to be told beforehand which lines a
telegram has, leaves out what it was not told of, and raises built-in exceptions on bad input. As a
second opinion it is worth having: with it, a telegram counts only if both read the same registers
and the same power, and both find the checksum right.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from decimal import Decimal
from types import ModuleType
from typing import Any, Final

from node.errors import ConfigurationError
from node.meter.codec import Decoded, MeterFrame
from node.meter.p1.codec import Reader
from node.meter.p1.reading import read_telegram
from node.meter.p1.telegram import Telegram, refused

_NAMES: Final[Mapping[str, str]] = {
    "1-0:1.8.0": "ELECTRICITY_IMPORTED_TOTAL",
    "1-0:1.8.1": "ELECTRICITY_USED_TARIFF_1",
    "1-0:1.8.2": "ELECTRICITY_USED_TARIFF_2",
    "1-0:1.8.3": "ELECTRICITY_USED_TARIFF_3",
    "1-0:1.8.4": "ELECTRICITY_USED_TARIFF_4",
    "1-0:2.8.0": "ELECTRICITY_EXPORTED_TOTAL",
    "1-0:2.8.1": "ELECTRICITY_DELIVERED_TARIFF_1",
    "1-0:2.8.2": "ELECTRICITY_DELIVERED_TARIFF_2",
    "1-0:2.8.3": "ELECTRICITY_DELIVERED_TARIFF_3",
    "1-0:2.8.4": "ELECTRICITY_DELIVERED_TARIFF_4",
    "1-0:1.7.0": "CURRENT_ELECTRICITY_USAGE",
    "1-0:2.7.0": "CURRENT_ELECTRICITY_DELIVERY",
}
"""Our codes and the library's names. It tells lines apart by the code alone."""

_SCALES: Final[Mapping[str, int]] = {"kWh": 1000, "Wh": 1, "kW": 1000, "W": 1}

_WHAT_IT_RAISES: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Beside its own exceptions; decimal's are ArithmeticErrors."""


def cross_checking_reader(read: Reader = read_telegram) -> Reader:
    """A reader that refuses what the library does not read alike. Raises ConfigurationError where
    the library is not installed."""
    try:
        parsers = importlib.import_module("dsmr_parser.parsers")
        references = importlib.import_module("dsmr_parser.obis_references")
        exceptions = importlib.import_module("dsmr_parser.exceptions")
    except ImportError as error:
        raise ConfigurationError(
            f"P1 telegrams cannot be cross-checked: {error}",
            next_step="install dsmr-parser, or leave the cross-check out",
        ) from error
    logging.getLogger("dsmr_parser").setLevel(logging.CRITICAL)  # what it refuses, we tell
    library = _Library(parsers, references, (exceptions.ParseError, *_WHAT_IT_RAISES))

    def read_twice(telegram: Telegram) -> Decoded:
        frame = read(telegram)
        if not isinstance(frame, MeterFrame):
            return frame
        fault = library.objection(telegram, frame)
        return frame if fault is None else refused(telegram.body, f"cross-check: {fault}")

    return read_twice


class _Library:
    """dsmr-parser, asked for the twelve values that matter."""

    def __init__(
        self,
        parsers: ModuleType,
        references: ModuleType,
        exceptions: tuple[type[Exception], ...],
    ) -> None:
        number = parsers.CosemParser(parsers.ValueParser(Decimal))
        objects = [
            {
                "obis_reference": getattr(references, name),
                "value_parser": number,
                "value_name": name,
            }
            for name in _NAMES.values()
        ]
        self._parser: Any = parsers.TelegramParser({"checksum_support": True, "objects": objects})
        self._exceptions = exceptions

    def objection(self, telegram: Telegram, frame: MeterFrame) -> str | None:
        """What the library holds against our reading of a telegram; None when it agrees."""
        try:
            values = self._values(telegram)
        except self._exceptions as error:
            return f"dsmr-parser refuses it ({type(error).__name__}: {error})"
        if left_out := {code for code in _NAMES if code in frame.fields} - values.keys():
            return f"dsmr-parser does not see {min(left_out)}"
        readings = {
            "import": (frame.import_wh, _register(values, 1)),
            "export": (frame.export_wh, _register(values, 2)),
            "power": (frame.power_w, _power(values)),
        }
        for quantity, (ours, theirs) in readings.items():
            if ours is not None and ours != theirs:
                return f"{quantity} is {ours}, and {theirs} by dsmr-parser"
        return None

    def _values(self, telegram: Telegram) -> Mapping[str, Decimal]:
        """Every value it finds, in Wh or W."""
        body = telegram.body if b"\r" in telegram.body else telegram.body.replace(b"\n", b"\r\n")
        text = body.decode("ascii")
        if telegram.crc is not None:
            self._parser.validate_checksum(f"{text}{telegram.crc:04X}\r\n")
        self._parser.apply_checksum_validation = False
        parsed = self._parser.parse(text)
        values: dict[str, Decimal] = {}
        for code, name in _NAMES.items():
            found = getattr(parsed, name, None)
            if found is not None:
                values[code] = Decimal(found.value) * _SCALES[found.unit]
        return values


def _register(values: Mapping[str, Decimal], quantity: int) -> int | None:
    total = values.get(f"1-0:{quantity}.8.0")
    tariffs = [values[code] for code in _NAMES if code in values and _is_tariff(code, quantity)]
    if total is None and not tariffs:
        return None
    return int(sum(tariffs) if total is None else total)


def _is_tariff(code: str, quantity: int) -> bool:
    return code.startswith(f"1-0:{quantity}.8.") and not code.endswith(".0")


def _power(values: Mapping[str, Decimal]) -> int:
    zero = Decimal()
    return int(values.get("1-0:1.7.0", zero) - values.get("1-0:2.7.0", zero))
