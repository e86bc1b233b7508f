"""Operators' stamps as UTC: with an offset, or bare in the legal time of a zone.

On the autumn day of the clock change the bare times of an hour come twice. Which is which shows
only in the order of the rows, so a stamp that could be either is kept negative until the whole
series is known (``settle_twice_told``). A bare time of the spring day that the clock skipped does
not exist: an error of the file, not an instant to be shifted.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

__all__ = ["NO_STAMP", "SKIPPED", "StampReader", "settle_twice_told"]

NO_STAMP: Final = 0
"""What a text gives that is no stamp, or one before 2000 or after 2099."""

SKIPPED: Final = 1
"""What a bare local time gives that the clock skipped."""

_FIRST_YEAR, _LAST_YEAR = 2000, 2099
_STAMP: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d)(:\d\d)?(?:\.\d{1,9})?(Z|[+-]\d\d:\d\d)?", re.ASCII
)
_MOST_REMEMBERED: Final = 500_000


class StampReader:
    """Reads stamps of one zone; remembers them, since every point of a file has the same."""

    __slots__ = ("_known", "zone")

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self._known: dict[str, int] = {}

    def read(self, text: str) -> int:
        """Unix seconds; negative if the bare time occurs twice (then of its first occurrence);
        NO_STAMP or SKIPPED."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            found = self._read(text)
            if found != NO_STAMP:  # which has any length
                self._known[text] = found
        return found

    def _read(self, text: str) -> int:
        match = _STAMP.fullmatch(text)
        if match is None:
            return NO_STAMP
        day, minutes, seconds, offset = match.groups()
        try:
            instant = datetime.fromisoformat(f"{day}T{minutes}{seconds or ':00'}{offset or ''}")
        except ValueError:
            return NO_STAMP
        if not _FIRST_YEAR <= instant.year <= _LAST_YEAR:
            return NO_STAMP
        if instant.tzinfo is not None:
            return int(instant.timestamp())
        return self.of_local(instant)

    def of_local(self, bare: datetime) -> int:
        """The same for a bare local time."""
        first = bare.replace(tzinfo=self.zone, fold=0).utcoffset() or timedelta()
        second = bare.replace(tzinfo=self.zone, fold=1).utcoffset() or timedelta()
        if first < second:
            return SKIPPED
        unix_s = int((bare.replace(tzinfo=UTC) - first).timestamp())
        return unix_s if first == second else -unix_s


def settle_twice_told(
    stamps: array[int], values: Sequence[int], overlap_s: int = 3600
) -> tuple[array[int], set[int]]:
    """Replace negative stamps by what the order of the rows makes them; and the rows that it does
    not: an hour told once on a day that has it twice may be either, and so may rows in no order.

    ``overlap_s`` is by how much the clock went back.
    """
    if not stamps or min(stamps) >= 0:
        return stamps, set()
    settled = array("q", stamps)
    rises, falls = _order(stamps)
    places: dict[int, list[int]] = {}
    for index, stamp in enumerate(stamps):
        if stamp < 0:
            places.setdefault(-stamp, []).append(index)
    undecided: set[int] = set()
    for first_s, indexes in places.items():
        if falls:
            indexes.reverse()
        decided = len(indexes) == 2 and (rises or falls or values[indexes[0]] == values[indexes[1]])
        if not decided:
            undecided.update(indexes)
        for occurrence, index in enumerate(indexes):
            settled[index] = first_s + overlap_s * min(occurrence, 1)
    return settled, undecided


def _order(stamps: Sequence[int]) -> tuple[bool, bool]:
    """Whether the rows rise, or fall, in time; neither if they do nothing of the kind."""
    plain = [stamp for stamp in stamps if stamp >= 0]
    if len(set(plain)) < 2:
        plain = list(map(abs, stamps[:2]))
    pairs = list(pairwise(plain))
    rises = all(a <= b for a, b in pairs)
    falls = all(a >= b for a, b in pairs)
    return rises and not falls, falls and not rises
