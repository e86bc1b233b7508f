"""Home profiles: what a home used and what its panels gave, step by step, read from CSV files.

A folder holds one ``NAME.csv`` per home with the header ``start,load_wh,pv_wh``: ISO-8601 starts
with their UTC offset, equal steps, whole Wh. Whatever else stands there is refused with its file
and line: a gap that is silently filled would be energy that nobody metered.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from node.errors import ConfigurationError
from node.model import MAX_ENERGY_WH
from node.slots import iso_utc, parse_iso_utc
from node.units import duration_text

__all__ = ["HEADER", "HomeProfile", "read_community", "read_home_profile", "whole_slots"]

HEADER: Final = ("start", "load_wh", "pv_wh")

_HOW: Final = "write start,load_wh,pv_wh and below it rows such as 2016-06-01T00:00:00Z,113,0"


@dataclass(frozen=True, slots=True)
class HomeProfile:
    """A home's load and PV energy in Wh for each step from ``start_s`` on.

    The sequences are equally long and not empty; a reader gives compact arrays, so that a year of
    many homes stays small.
    """

    name: str
    start_s: int
    step_s: int
    load_wh: Sequence[int]
    pv_wh: Sequence[int]

    def __post_init__(self) -> None:
        if self.step_s <= 0:
            raise ValueError(f"steps of {self.step_s} s")
        if not self.load_wh or len(self.load_wh) != len(self.pv_wh):
            raise ValueError(f"{len(self.load_wh)} steps of load, {len(self.pv_wh)} of PV")

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return len(self.load_wh)

    @property
    def end_s(self) -> int:
        """The first instant after the last step."""
        return self.start_s + self.steps * self.step_s

    def between(self, start_s: int, end_s: int) -> HomeProfile:
        """The steps from ``start_s`` to ``end_s``, two of its step boundaries in this order."""
        first, past = (start_s - self.start_s) // self.step_s, (end_s - self.start_s) // self.step_s
        assert 0 <= first < past <= self.steps, (start_s, end_s)
        if (first, past) == (0, self.steps):
            return self
        return replace(
            self, start_s=start_s, load_wh=self.load_wh[first:past], pv_wh=self.pv_wh[first:past]
        )


def read_community(folder: Path) -> list[HomeProfile]:
    """Every ``*.csv`` of a folder as a home, in the order of the file names, over the span of time
    that all of them cover.

    Raises ConfigurationError when the folder is missing or empty, a file is bad, or the homes do
    not share one step and some time.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            "there is no such folder of home profiles",
            file=folder,
            next_step="name a folder with one NAME.csv per home",
        )
    paths = sorted(
        (path for path in folder.glob("*.csv") if not path.name.startswith(".")),
        key=lambda path: path.name,
    )
    if not paths:
        raise ConfigurationError("the folder holds no home profile", file=folder, next_step=_HOW)
    homes = [read_home_profile(path) for path in paths]
    return _common_span(homes, paths)


def read_home_profile(path: Path) -> HomeProfile:
    """One home's file; the file's name is the home's name.

    Raises ConfigurationError with file and line for anything that is not a complete profile.
    """
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except OSError as error:
        raise ConfigurationError(
            f"the home profile cannot be read: {error.strerror}", file=path
        ) from error


def whole_slots(profile: HomeProfile, slot_s: int) -> HomeProfile:
    """The profile cut to the slots that it covers whole; partial ones at its ends are dropped.

    Raises ConfigurationError when the slot is shorter than the step (a split would be invented),
    no multiple of it, cut by the steps, or nowhere covered whole.
    """
    step, slot = duration_text(profile.step_s), duration_text(slot_s)
    if slot_s < profile.step_s:
        raise ConfigurationError(
            f"{profile.name} has steps of {step}: slots of {slot} are shorter",
            next_step=f"choose a slot of {step} or a multiple of it",
        )
    if slot_s % profile.step_s:
        raise ConfigurationError(
            f"{profile.name} has steps of {step}: slots of {slot} are no multiple of that",
            next_step=f"choose a slot of {step} or a multiple of it",
        )
    if profile.start_s % profile.step_s:
        raise ConfigurationError(
            f"{profile.name} starts at {iso_utc(profile.start_s)}: its steps of {step} run across "
            f"the boundaries of slots",
            next_step="let the first start stand on a multiple of the step",
        )
    start_s = -(-profile.start_s // slot_s) * slot_s
    end_s = profile.end_s // slot_s * slot_s
    if start_s >= end_s:
        raise ConfigurationError(
            f"{profile.name} covers no whole slot of {slot}: it has "
            f"{iso_utc(profile.start_s)} to {iso_utc(profile.end_s)}",
            next_step="choose a shorter slot or a longer profile",
        )
    return profile.between(start_s, end_s)


def _common_span(homes: list[HomeProfile], paths: list[Path]) -> list[HomeProfile]:
    """Every home over the time that all cover."""
    latest = max(range(len(homes)), key=lambda home: homes[home].start_s)
    earliest = min(range(len(homes)), key=lambda home: homes[home].end_s)
    first = homes[0]
    for home, path in zip(homes, paths, strict=True):
        if home.step_s != first.step_s:
            raise ConfigurationError(
                f"steps of {duration_text(home.step_s)}, but {paths[0].name} has steps of "
                f"{duration_text(first.step_s)}",
                file=path,
                next_step="bring all homes of a folder to one step",
            )
        if (home.start_s - first.start_s) % first.step_s:
            raise ConfigurationError(
                f"the steps from {iso_utc(home.start_s)} on lie across those of {paths[0].name}, "
                f"which start at {iso_utc(first.start_s)}",
                file=path,
                next_step="let all homes of a folder share their step boundaries",
            )
    start_s, end_s = homes[latest].start_s, homes[earliest].end_s
    if start_s >= end_s:
        raise ConfigurationError(
            f"the homes do not overlap in time: this one starts at {iso_utc(start_s)}, when "
            f"{paths[earliest].name} has ended ({iso_utc(end_s)})",
            file=paths[latest],
            next_step="keep homes of one period in a folder",
        )
    return [home.between(start_s, end_s) for home in homes]


def _read(path: Path, file: BinaryIO) -> HomeProfile:
    """The whole file, checked row by row."""
    rows = _rows(path, file)
    _check_header(path, next(rows, (1, []))[1])
    load_wh, pv_wh = array("q"), array("q")
    first_s = last_s = step_s = blank_line = 0
    line = 1
    for line, row in rows:
        if len(row) != len(HEADER):
            if not "".join(row).strip():
                blank_line = blank_line or line
                continue
            raise ConfigurationError(
                f"{len(row)} fields instead of {len(HEADER)}", file=path, line=line, next_step=_HOW
            )
        if blank_line:
            raise ConfigurationError("a blank line among the rows", file=path, line=blank_line)
        start_s = _start_s(path, line, row[0])
        if not load_wh:
            first_s = start_s
        else:
            # The second row tells the step, every later one repeats it.
            step_s = step_s or start_s - last_s
            if step_s <= 0 or start_s - last_s != step_s:
                raise _uneven(path, line, last_s, start_s, step_s)
        last_s = start_s
        load_wh.append(_energy_wh(path, line, "load_wh", row[1]))
        pv_wh.append(_energy_wh(path, line, "pv_wh", row[2]))
    if len(load_wh) < 2:
        raise ConfigurationError(
            "no row below the header" if not load_wh else "a single row does not tell its step",
            file=path,
            line=line,
            next_step="give at least two steps",
        )
    return HomeProfile(path.name.removesuffix(".csv"), first_s, step_s, load_wh, pv_wh)


def _rows(path: Path, file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of their (last) line."""
    rows = csv.reader(_lines(path, file), strict=True)
    try:
        for row in rows:
            yield rows.line_num, row
    except csv.Error as error:
        raise ConfigurationError(
            f"not CSV: {error}", file=path, line=rows.line_num, next_step=_HOW
        ) from error


def _lines(path: Path, file: BinaryIO) -> Iterator[str]:
    """Decoded lines; a byte order mark, which spreadsheets write, is dropped."""
    for number, raw in enumerate(file, 1):
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                f"not UTF-8: {error.reason}",
                file=path,
                line=number,
                next_step="save the file as UTF-8",
            ) from error


def _check_header(path: Path, header: list[str]) -> None:
    if not header:
        raise ConfigurationError("the first line is empty", file=path, line=1, next_step=_HOW)
    if tuple(header) == HEADER:
        return
    missing = [name for name in HEADER if name not in header]
    wrong = (
        f"the column {missing[0]} is missing"
        if missing
        else f"the columns are {_shown(','.join(header))} instead of {','.join(HEADER)}"
    )
    raise ConfigurationError(wrong, file=path, line=1, next_step=_HOW)


def _start_s(path: Path, line: int, text: str) -> int:
    try:
        start_s = parse_iso_utc(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{_shown(text)!r} is no start of a step, with its UTC offset and in whole seconds",
            file=path,
            line=line,
            next_step=_HOW,
        ) from error
    if start_s < 0:
        raise ConfigurationError(f"{text} is before 1970", file=path, line=line)
    return start_s


def _energy_wh(path: Path, line: int, column: str, text: str) -> int:
    digits = text.strip()
    plain = digits.isdecimal() and digits.isascii()  # isdecimal() takes any script's digits
    if plain and len(digits) <= 20 and (energy_wh := int(digits)) <= MAX_ENERGY_WH:
        return energy_wh
    wrong = f"above {MAX_ENERGY_WH} Wh" if plain else "not a whole number from 0 up"
    raise ConfigurationError(
        f"{column} is {_shown(digits)!r}: {wrong}",
        file=path,
        line=line,
        next_step="write the energy of the step in whole Wh",
    )


def _shown(text: str) -> str:
    """What a message quotes of a field, which may be a whole damaged file."""
    return text if len(text) <= 60 else f"{text[:60]}..."


def _uneven(path: Path, line: int, last_s: int, start_s: int, step_s: int) -> ConfigurationError:
    """Why a start does not follow the one before it."""
    if start_s == last_s:
        wrong = f"the start {iso_utc(start_s)} stands twice"
    elif start_s < last_s:
        wrong = f"the start {iso_utc(start_s)} is before {iso_utc(last_s)} in the row above"
    else:
        kind = "a gap" if (start_s - last_s) % step_s == 0 else "unequal steps"
        wrong = (
            f"{kind}: {duration_text(start_s - last_s)} from the row above, "
            f"where the step is {duration_text(step_s)}"
        )
    return ConfigurationError(
        wrong, file=path, line=line, next_step="give every step once, in order of time"
    )
