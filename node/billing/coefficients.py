"""Coefficient files as a French operator takes them: one CSV per producer.

``Horodate;<PRM>;<PRM>...``, one row per step, percent with one decimal and a decimal comma, rounded
down so that a row never exceeds 100 %. The operator's own specification of the file is not public;
this is the form that an open program writes. The rounding loses energy: where the operator computes
from the file, it allocates less than the key did, and ``FrenchFiles.lost_wh`` says how much.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from node.billing.allocation import SCALE, Allocation
from node.billing.identifiers import prm_fault
from node.billing.stamps import StampReader
from node.errors import ConfigurationError

__all__ = ["FrenchFiles", "french_files", "read_french_file"]

PER_MILLE: Final = 1_000
MAX_FILE_BYTES: Final = 256 * 2**20
_TIME: Final = "Horodate"
_PERCENT: Final = re.compile(r"(\d{1,3})(?:,(\d))?")
_OVERLAP_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class FrenchFiles:
    """The files' texts by name, and what their rounding takes from each consumer, in Wh.

    ``allocated_wh`` is what the key gave all consumers together in the steps of the files.
    """

    texts: Mapping[str, str]
    lost_wh: Mapping[str, int]
    allocated_wh: int

    @property
    def total_lost_wh(self) -> int:
        """What the rounding takes from all consumers."""
        return sum(self.lost_wh.values())


def french_files(allocation: Allocation, starts_s: Sequence[int], zone: ZoneInfo) -> FrenchFiles:
    """The coefficients that an allocation comes to: each producer's Wh to each consumer, of that
    producer's production. ``starts_s`` are the steps' starts; stamps are theirs, in local time with
    its offset. Raises ConfigurationError if a step is open: its coefficients are not known.
    """
    if allocation.open_steps:
        at_s = starts_s[allocation.open_steps[0]]
        raise ConfigurationError(
            f"the step that starts at {_stamp(at_s, zone)} has a gap, so it has no coefficients",
            next_step="ask the operator for the missing values, or leave that time out",
        )
    consumers = tuple(allocation.consumption)
    rows: dict[str, list[str]] = {
        producer: [";".join((_TIME, *consumers))] for producer in allocation.production
    }
    lost_wh = [0] * len(consumers)
    allocated_wh = 0
    steps = range(allocation.steps)
    for step, matrix in zip(steps, allocation.matrices(steps), strict=True):
        stamp = _stamp(starts_s[step], zone)
        for (producer, curve), cells in zip(allocation.production.items(), matrix, strict=True):
            made_wh = curve[step]
            shares = [cell * PER_MILLE // made_wh if made_wh else 0 for cell in cells]
            rows[producer].append(";".join((stamp, *map(_percent_text, shares))))
            for place, (cell, share) in enumerate(zip(cells, shares, strict=True)):
                lost_wh[place] += cell - made_wh * share // PER_MILLE
                allocated_wh += cell
    return FrenchFiles(
        texts={f"{producer}.csv": "\r\n".join([*lines, ""]) for producer, lines in rows.items()},
        lost_wh=dict(zip(consumers, lost_wh, strict=True)),
        allocated_wh=allocated_wh,
    )


def _stamp(unix_s: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(unix_s, zone).isoformat()


def _percent_text(per_mille: int) -> str:
    return f"{per_mille // 10},{per_mille % 10}"


def read_french_file(
    path: Path, starts_s: Sequence[int], zone: ZoneInfo
) -> tuple[str, dict[str, array[int]]]:
    """The producer that a file is named after, and each consumer's coefficient in millionths for
    each of the steps. Stamps may have an offset or be bare local time; the rows are the steps, all
    of them and in their order, since a coefficient is never guessed.

    Raises ConfigurationError, with file and line.
    """
    producer = path.stem
    if fault := prm_fault(producer):
        raise ConfigurationError(
            f"{producer!r}: {fault}, and the file is named after it", file=path
        )
    lines = _lines(path)
    points = _header(path, next(lines, ""))
    table = {point: array("q") for point in points}
    reader = StampReader(zone)
    number = 1
    for number, line in enumerate(lines, start=2):
        if number - 2 >= len(starts_s):
            raise ConfigurationError("a row too many", file=path, line=number)
        stamp, *cells = line.split(";")
        _check_stamp(path, number, reader.read(stamp), stamp, starts_s[number - 2], zone)
        shares = _shares(path, number, cells, len(points))
        for curve, share in zip(table.values(), shares, strict=True):
            curve.append(share)
    if number - 1 != len(starts_s):
        raise ConfigurationError(
            f"{number - 1} rows of the {len(starts_s)} steps of this time", file=path
        )
    return producer, table


def _lines(path: Path) -> Iterator[str]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"is larger than {MAX_FILE_BYTES} bytes", file=path)
        with path.open(encoding="utf-8-sig") as stream:
            for line in stream:
                yield line.rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})", file=path) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError("is not text in UTF-8", file=path) from error


def _header(path: Path, line: str) -> list[str]:
    time, *points = line.split(";")
    if time != _TIME or not points:
        raise ConfigurationError(f"does not begin with {_TIME};<PRM>;...", file=path, line=1)
    for point in points:
        if fault := prm_fault(point):
            raise ConfigurationError(f"{point!r}: {fault}", file=path, line=1)
    if len(set(points)) < len(points):
        raise ConfigurationError("names a delivery point twice", file=path, line=1)
    return points


def _check_stamp(
    path: Path, number: int, read_s: int, text: str, start_s: int, zone: ZoneInfo
) -> None:
    """A bare time of the autumn hour that comes twice may be either; the order says which."""
    possible = {-read_s, -read_s + _OVERLAP_S} if read_s < 0 else {read_s}
    if start_s not in possible:
        raise ConfigurationError(
            f"{text!r} stands where the step of {_stamp(start_s, zone)} belongs",
            file=path,
            line=number,
        )


def _shares(path: Path, number: int, cells: Sequence[str], count: int) -> list[int]:
    if len(cells) != count:
        raise ConfigurationError(
            f"{len(cells)} coefficients for {count} points", file=path, line=number
        )
    shares = []
    for cell in cells:
        match = _PERCENT.fullmatch(cell)
        if match is None:
            raise ConfigurationError(
                f"{cell!r} is no percentage with one decimal and a comma", file=path, line=number
            )
        shares.append((int(match[1]) * 10 + int(match[2] or 0)) * (SCALE // PER_MILLE))
    if sum(shares) > SCALE:
        raise ConfigurationError(
            f"coefficients sum to {_percent_text(sum(shares) * PER_MILLE // SCALE)} %",
            file=path,
            line=number,
        )
    return shares
