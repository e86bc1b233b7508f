"""Months in the local time of an operation: whole, whatever the clock does in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from node.errors import ConfigurationError

__all__ = ["Month", "local_text", "zone_of"]

_MONTH: Final = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Month:
    """``[start_s, end_s)`` of a month in a zone. October and March are an hour longer and shorter
    than their days where the clock changes."""

    year: int
    month: int
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str, zone: ZoneInfo) -> Month:
        """``"2026-10"``. Raises ValueError for anything else."""
        match = _MONTH.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no month (write 2026-10)")
        return cls(int(match[1]), int(match[2]), zone)

    @property
    def start_s(self) -> int:
        """Local midnight of the first day."""
        return int(datetime(self.year, self.month, 1, tzinfo=self.zone).timestamp())

    @property
    def end_s(self) -> int:
        """Local midnight of the first day after."""
        years, month = divmod(self.month, 12)
        return int(datetime(self.year + years, month + 1, 1, tzinfo=self.zone).timestamp())

    def slots(self, slot_s: int) -> range:
        """The slots, or steps of that length, that start in the month."""
        return range(-(-self.start_s // slot_s), -(-self.end_s // slot_s))

    def __str__(self) -> str:
        return f"{self.year}-{self.month:02d}"


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its IANA name. Raises ConfigurationError if this machine knows none such."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"this machine knows no time zone {name!r}",
            next_step="write it as Europe/Paris; on a bare system, install the tzdata package",
        ) from error


def local_text(unix_s: int, zone: ZoneInfo) -> str:
    """An instant in local time with its offset: ``2026-10-25T02:00:00+01:00``."""
    return datetime.fromtimestamp(unix_s, zone).isoformat()
