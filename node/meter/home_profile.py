"""A home's load and PV from a file, told as the registers of a meter that never stops.

The file has the header ``start,load_wh,pv_wh``, ISO-8601 starts with their UTC offset, equal steps
and whole Wh. When the profile ends it begins again, and the registers go on: what they say depends
on the clock alone, so that a node that was stopped in between finds them where they must be.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError
from node.slots import parse_iso_utc

__all__ = ["HomeRegisters", "read_home_registers"]

HEADER: Final = ["start", "load_wh", "pv_wh"]
MAX_STEPS: Final = 1_000_000
"""Two years of minutes."""

MAX_STEP_WH: Final = 10**7


@dataclass(frozen=True, slots=True)
class HomeRegisters:
    """Cumulative import and export before each step and after the last one."""

    name: str
    start_s: int
    step_s: int
    import_wh: array[int]
    export_wh: array[int]

    @property
    def steps(self) -> int:
        """How many steps the profile has."""
        return len(self.import_wh) - 1

    def at(self, now_s: int, pace: int = 1) -> tuple[int, int]:
        """Import and export registers in Wh at an instant, when life runs ``pace`` times as fast.
        Within a step they grow evenly; before the profile begins they stand at 0."""
        lived_s = max(now_s - self.start_s, 0) * pace
        rounds, within_s = divmod(lived_s, self.steps * self.step_s)
        step, part_s = divmod(within_s, self.step_s)
        return (
            self._register(self.import_wh, rounds, step, part_s),
            self._register(self.export_wh, rounds, step, part_s),
        )

    def _register(self, register: array[int], rounds: int, step: int, part_s: int) -> int:
        grown = (register[step + 1] - register[step]) * part_s // self.step_s
        return rounds * register[-1] + register[step] + grown


def read_home_registers(path: Path) -> HomeRegisters:
    """A home's file; its name is the home's. Raises ConfigurationError with file and line."""
    net_wh: array[int] = array("q")
    start_s = step_s = 0
    line = 1
    for line, (at_s, net) in enumerate(_rows(path), start=2):
        if len(net_wh) == 0:
            start_s = at_s
        elif len(net_wh) == 1:
            step_s = at_s - start_s
        if step_s < 0 or at_s != start_s + len(net_wh) * step_s or len(net_wh) == MAX_STEPS:
            raise ConfigurationError("the steps are not equal, or too many", file=path, line=line)
        net_wh.append(net)
    if step_s <= 0:
        raise ConfigurationError("holds fewer than two steps", file=path, line=line)
    return HomeRegisters(
        path.stem,
        start_s,
        step_s,
        _register(max(net, 0) for net in net_wh),
        _register(max(-net, 0) for net in net_wh),
    )


def _register(steps_wh: Iterable[int]) -> array[int]:
    return array("q", accumulate(steps_wh, initial=0))


def _rows(path: Path) -> Iterator[tuple[int, int]]:
    """Start and net energy of each step: behind one meter PV serves the home's load first."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if next(rows, None) != HEADER:
                raise ConfigurationError(
                    "is no home profile",
                    file=path,
                    line=1,
                    next_step=f"its first line is {','.join(HEADER)}",
                )
            for line, row in enumerate(rows, start=2):
                yield _row(row, path, line)
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})", file=path) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError("is no CSV text", file=path) from error


def _row(row: list[str], path: Path, line: int) -> tuple[int, int]:
    try:
        start, *energies = row
        load_wh, pv_wh = (int(text) for text in energies if text.isascii() and text.isdigit())
        at_s = parse_iso_utc(start)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"{','.join(row)[:80]!r} is no step",
            file=path,
            line=line,
            next_step="write rows such as 2016-06-01T00:00:00Z,113,0",
        ) from error
    if max(load_wh, pv_wh) > MAX_STEP_WH:
        raise ConfigurationError(f"more than {MAX_STEP_WH} Wh", file=path, line=line)
    return at_s, load_wh - pv_wh
