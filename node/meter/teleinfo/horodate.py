"""Horodates ``SAAMMJJhhmmss``: local time with its season, so that it is never ambiguous.

The season letter is a fixed offset. A time-zone look-up would guess in the repeated hour of autumn.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_SHAPE: Final = re.compile(r"[EHeh][0-9]{12}| (?:[0-9]{12}| {12})", re.ASCII)
_OFFSET_S: Final = {"E": 7200, "H": 3600}


@dataclass(frozen=True, slots=True)
class Horodate:
    """What a horodate says: the instant, None where the meter has none, and whether the meter
    itself doubts its clock (a season in lower case)."""

    unix_s: int | None
    is_degraded: bool = False

    @property
    def trusted_s(self) -> int | None:
        """The instant, if the meter trusts its clock."""
        return None if self.is_degraded else self.unix_s


def is_horodate(text: str) -> bool:
    """Whether the text has the shape of a horodate; it may still be no day of any calendar."""
    return _SHAPE.fullmatch(text) is not None


# All but one of a frame's horodates stand for minutes or hours.
@lru_cache(maxsize=64)
def parse_horodate(text: str) -> Horodate:
    """Read a horodate. A text without its shape, one that the meter marks as not available, and a
    day that does not exist have no instant."""
    if not is_horodate(text) or text[0] == " ":
        return Horodate(None)
    year, month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(1, 13, 2))
    season = text[0].upper()
    is_degraded = text[0] != season
    try:
        local = datetime(2000 + year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return Horodate(None, is_degraded)
    return Horodate(int(local.timestamp()) - _OFFSET_S[season], is_degraded)
