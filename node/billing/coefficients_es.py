"""Coefficient files as a Spanish operator takes them (RD 244/2019, annex I; TED/1247/2021).

``<CAU>_<year>.txt``; constant: ``CUPS;0,250000``, one line per consumer; hourly: ``CUPS;HHHH;0,25``
with six decimals and HHHH from 0001 to 8760 (8784 in a leap year), all hours of one CUPS and then
the next. The coefficients of an hour sum to 1,000000 exactly, so what rounding leaves goes to one
named consumer. The form is known from a program that writes it, not from the official gazette.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.billing.allocation import SCALE
from node.billing.identifiers import cups_fault
from node.errors import ConfigurationError

__all__ = [
    "SpanishCoefficients",
    "hours_of",
    "read_spanish_file",
    "spanish_fixed",
    "spanish_hourly",
]

MAX_FILE_BYTES: Final = 256 * 2**20
_NAME: Final = re.compile(r"(ES\w{20}A\d{3})_(\d{4})\.txt", re.ASCII)
_CUPS_LENGTH: Final = 22
_FACTOR: Final = re.compile(r"([01]),(\d{6})")


@dataclass(frozen=True, slots=True)
class SpanishCoefficients:
    """Millionths by CUPS: one number, or one for each hour of the year.

    ``residue_to`` names who got the millionths that rounding left, ``residue`` how many (the most
    of an hour); both are empty in a file that was read.
    """

    cau: str
    year: int
    shares: Mapping[str, int | tuple[int, ...]]
    residue_to: str = ""
    residue: int = 0

    @property
    def file_name(self) -> str:
        """What the file must be called."""
        return f"{self.cau}_{self.year}.txt"

    def text(self) -> str:
        """The file."""
        lines = []
        for cups, share in self.shares.items():
            if isinstance(share, int):
                lines.append(f"{cups};{_factor_text(share)}")
            else:
                lines += [
                    f"{cups};{hour:04d};{_factor_text(number)}"
                    for hour, number in enumerate(share, start=1)
                ]
        return "".join(f"{line}\r\n" for line in lines)


def hours_of(year: int) -> int:
    """8760, or 8784 in a leap year; the clock changes take an hour and give one."""
    return 8784 if calendar.isleap(year) else 8760


def spanish_fixed(
    cau: str, year: int, weights: Mapping[str, int], residue_to: str | None = None
) -> SpanishCoefficients:
    """Constant coefficients in proportion to weights (shares, m2, kWh of a year), rounded down; the
    rest goes to ``residue_to``, or to the largest, the first of equals.

    Raises ConfigurationError for a CAU or CUPS that is none, and weights that share nothing.
    """
    _check_cau(cau)
    named = _residue_to(weights, residue_to)
    shares, residue = _to_the_whole(weights, named, "the year")
    return SpanishCoefficients(cau, year, shares, named, residue)


def spanish_hourly(
    cau: str, year: int, weights: Mapping[str, Sequence[int]], residue_to: str | None = None
) -> SpanishCoefficients:
    """Hourly coefficients in proportion to weights of each hour. An hour in which nobody weighs
    anything still has to sum to 1: it is shared by the weights of the year.

    Raises ConfigurationError as ``spanish_fixed``, and for another number of hours.
    """
    _check_cau(cau)
    hours = hours_of(year)
    for cups, curve in weights.items():
        if len(curve) != hours:
            raise ConfigurationError(f"{cups} has {len(curve)} hours; {year} has {hours}")
    of_year = {cups: sum(curve) for cups, curve in weights.items()}
    named = _residue_to(of_year, residue_to)
    columns: dict[str, list[int]] = {cups: [] for cups in weights}
    most_residue = 0
    for hour in range(hours):
        of_hour = {cups: curve[hour] for cups, curve in weights.items()}
        shares, residue = _to_the_whole(
            of_hour if any(of_hour.values()) else of_year, named, f"hour {hour + 1}"
        )
        most_residue = max(most_residue, residue)
        for cups, share in shares.items():
            columns[cups].append(share)
    frozen = {cups: tuple(column) for cups, column in columns.items()}
    return SpanishCoefficients(cau, year, frozen, named, most_residue)


def _check_cau(cau: str) -> None:
    match = re.fullmatch(r"(\w{22})A(\d{3})", cau, re.ASCII)
    fault = "it is a CUPS of 22 characters, A and 3 digits"
    if match is not None:
        fault = cups_fault(match[1])
    if fault:
        raise ConfigurationError(f"CAU {cau!r}: {fault}")


def _residue_to(weights: Mapping[str, int], wanted: str | None) -> str:
    for cups in weights:
        if fault := _consumer_fault(cups):
            raise ConfigurationError(f"CUPS {cups!r}: {fault}")
    if not weights:
        raise ConfigurationError("coefficients of nobody")
    if wanted is None:
        return min(weights, key=lambda cups: (-weights[cups], cups))
    if wanted not in weights:
        raise ConfigurationError(f"{wanted} is to get what rounding leaves, but has no coefficient")
    return wanted


def _consumer_fault(cups: str) -> str:
    if len(cups) != _CUPS_LENGTH:
        return f"the file wants all {_CUPS_LENGTH} characters"
    return cups_fault(cups)


def _to_the_whole(weights: Mapping[str, int], named: str, when: str) -> tuple[dict[str, int], int]:
    whole = sum(weights.values())
    if whole <= 0 or min(weights.values()) < 0:
        raise ConfigurationError(f"the weights of {when} share nothing out")
    shares = {cups: weight * SCALE // whole for cups, weight in weights.items()}
    residue = SCALE - sum(shares.values())
    shares[named] += residue
    return shares, residue


def _factor_text(share: int) -> str:
    return f"{share // SCALE},{share % SCALE:06d}"


def read_spanish_file(path: Path) -> SpanishCoefficients:
    """A file, checked whole: its name, the letters of every CUPS, all hours in their order, and
    that each hour sums to 1 exactly. Raises ConfigurationError, with file and line.
    """
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise ConfigurationError("is not named <CAU>_<year>.txt", file=path)
    try:
        _check_cau(name[1])
    except ConfigurationError as error:
        raise ConfigurationError(error.message, file=path) from error
    fixed: dict[str, int] = {}
    hourly: dict[str, list[int]] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        fields = line.split(";")
        if fault := _line_fault(fields, fixed, hourly):
            raise ConfigurationError(fault, file=path, line=number)
        share = _share(fields[-1])
        if len(fields) == 2:
            fixed[fields[0]] = share
        else:
            hourly.setdefault(fields[0], []).append(share)
    year = int(name[2])
    _check_sums(path, year, fixed, hourly)
    shares = {cups: tuple(column) for cups, column in hourly.items()}
    return SpanishCoefficients(name[1], year, {**fixed, **shares})


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"is larger than {MAX_FILE_BYTES} bytes", file=path)
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})", file=path) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError("is not plain ASCII text", file=path) from error


def _line_fault(fields: Sequence[str], fixed: dict[str, int], hourly: dict[str, list[int]]) -> str:
    if len(fields) not in {2, 3}:
        return "is neither CUPS;coefficient nor CUPS;hour;coefficient"
    if fault := _consumer_fault(fields[0]):
        return f"CUPS {fields[0]!r}: {fault}"
    if _FACTOR.fullmatch(fields[-1]) is None:
        return f"{fields[-1]!r} is no coefficient with a comma and six decimals"
    if hourly if len(fields) == 2 else fixed:
        return "mixes constant and hourly coefficients"
    return _order_fault(fields, fixed, hourly)


def _order_fault(fields: Sequence[str], fixed: dict[str, int], hourly: dict[str, list[int]]) -> str:
    cups = fields[0]
    if cups in fixed or (cups in hourly and cups != next(reversed(hourly))):
        return f"{cups} has coefficients already"
    expected = f"{len(hourly.get(cups, ())) + 1:04d}"
    if len(fields) == 3 and fields[1] != expected:
        return f"hour {fields[1]!r} where {expected} belongs"
    return ""


def _share(text: str) -> int:
    whole, decimals = text.split(",")
    return int(whole) * SCALE + int(decimals)


def _check_sums(
    path: Path, year: int, fixed: Mapping[str, int], hourly: Mapping[str, Sequence[int]]
) -> None:
    hours = hours_of(year)
    for cups, column in hourly.items():
        if len(column) != hours:
            raise ConfigurationError(f"{cups} has {len(column)} hours of {hours}", file=path)
    sums = [sum(column) for column in zip(*hourly.values(), strict=True)]
    for hour, total in enumerate(sums or [sum(fixed.values())], start=1):
        if total != SCALE:
            where = f"hour {hour}" if hourly else "the coefficients"
            raise ConfigurationError(
                f"{where}: the sum is {_factor_text(total)}, not 1,000000", file=path
            )
