"""STGE, the status register of the standard mode: 32 bits as eight hexadecimal digits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

_SHAPE: Final = re.compile("[0-9A-F]{8}", re.ASCII)


class Breaker(IntEnum):
    """The breaker in the meter, and why it opened."""

    CLOSED = 0
    OPEN_OVERLOAD = 1
    OPEN_OVERVOLTAGE = 2
    OPEN_LOAD_SHEDDING = 3
    OPEN_BY_ORDER = 4
    OPEN_OVERHEATED_HIGH_CURRENT = 5
    OPEN_OVERHEATED_LOW_CURRENT = 6
    RESERVED = 7


class Euridis(IntEnum):
    """The installer's port."""

    OFF = 0
    ON_WITHOUT_SECURITY = 1
    RESERVED = 2
    ON_WITH_SECURITY = 3


class PowerLine(IntEnum):
    """The meter's link to its distribution operator, over the power line."""

    NEW_UNLOCKED = 0
    NEW_LOCKED = 1
    REGISTERED = 2
    RESERVED = 3


class TempoColour(IntEnum):
    """The colour of a day of the Tempo option."""

    UNANNOUNCED = 0
    BLUE = 1
    WHITE = 2
    RED = 3


@dataclass(frozen=True, slots=True)
class StatusRegister:
    """All that STGE says. The indices count from 1, as the labels EASFnn and EASDnn do; a mobile
    peak of 0 means none. ``terminal_cover_open`` hints at tampering."""

    dry_contact_open: bool
    breaker: Breaker
    terminal_cover_open: bool
    over_voltage: bool
    above_reference_power: bool
    producer: bool
    active_energy_negative: bool
    supplier_index: int
    distributor_index: int
    clock_degraded: bool
    standard_mode: bool
    euridis: Euridis
    power_line: PowerLine
    power_line_synchronised: bool
    colour_today: TempoColour
    colour_tomorrow: TempoColour
    peak_notice: int
    peak_now: int

    def words(self) -> tuple[str, ...]:
        """What a person may want to know, without what is as it always is."""
        said = (
            ("producer mode" if self.producer else "consumer mode", True),
            ("injecting now", self.active_energy_negative),
            (f"supplier index {self.supplier_index}", True),
            (f"distributor index {self.distributor_index}", True),
            (f"breaker {_plain(self.breaker)}", self.breaker is not Breaker.CLOSED),
            ("dry contact open", self.dry_contact_open),
            ("terminal cover open", self.terminal_cover_open),
            ("over-voltage", self.over_voltage),
            ("above the reference power", self.above_reference_power),
            ("clock degraded", self.clock_degraded),
            (f"today {_plain(self.colour_today)}", self.colour_today > 0),
            (f"tomorrow {_plain(self.colour_tomorrow)}", self.colour_tomorrow > 0),
            (f"notice of mobile peak {self.peak_notice}", self.peak_notice > 0),
            (f"mobile peak {self.peak_now}", self.peak_now > 0),
        )
        return tuple(words for words, is_said in said if is_said)


# It stands for hours, and is asked several times for each frame.
@lru_cache(maxsize=16)
def decode_stge(text: str) -> StatusRegister:
    """Read the eight hexadecimal digits. Raises ValueError for anything else."""
    if _SHAPE.fullmatch(text) is None:
        raise ValueError(f"STGE is 8 hexadecimal digits, not {text!r}")
    register = int(text, 16)

    def bits(lowest: int, count: int = 1) -> int:
        return register >> lowest & (1 << count) - 1

    return StatusRegister(
        dry_contact_open=bool(bits(0)),
        breaker=Breaker(bits(1, 3)),
        terminal_cover_open=bool(bits(4)),
        over_voltage=bool(bits(6)),
        above_reference_power=bool(bits(7)),
        producer=bool(bits(8)),
        active_energy_negative=bool(bits(9)),
        supplier_index=1 + bits(10, 4),
        distributor_index=1 + bits(14, 2),
        clock_degraded=bool(bits(16)),
        standard_mode=bool(bits(17)),
        euridis=Euridis(bits(19, 2)),
        power_line=PowerLine(bits(21, 2)),
        power_line_synchronised=bool(bits(23)),
        colour_today=TempoColour(bits(24, 2)),
        colour_tomorrow=TempoColour(bits(26, 2)),
        peak_notice=bits(28, 2),
        peak_now=bits(30, 2),
    )


@lru_cache(maxsize=16)
def stge_words(text: str) -> str:
    """The words of a register, as a note of a frame. Raises ValueError as ``decode_stge`` does."""
    return f"status: {', '.join(decode_stge(text).words())}"


def _plain(member: IntEnum) -> str:
    return member.name.lower().replace("_", " ")
