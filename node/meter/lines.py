"""How serial lines of meters are set: speeds and characters, and which of them to try in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class LineMode(StrEnum):
    """Data bits, parity, stop bits."""

    SEVEN_EVEN = "7E1"
    EIGHT_NONE = "8N1"


@dataclass(frozen=True, slots=True)
class Line:
    """One way to set a serial line."""

    baud: int
    mode: LineMode

    def __str__(self) -> str:
        return f"{self.baud} {self.mode}"

    @property
    def bytes_per_s(self) -> int:
        """A character has ten bits in both modes: start, seven and parity or eight, stop."""
        return self.baud // 10


BAUDS: Final = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)

_STANDARD: Final = Line(9600, LineMode.SEVEN_EVEN)
_HISTORIC: Final = Line(1200, LineMode.SEVEN_EVEN)

LINES: Final[Mapping[str, tuple[Line, ...]]] = {
    "linky": (_STANDARD, _HISTORIC),
    "linky-standard": (_STANDARD,),
    "linky-historic": (_HISTORIC,),
    "dsmr-p1": (Line(115200, LineMode.EIGHT_NONE), Line(9600, LineMode.SEVEN_EVEN)),
    "sml": (Line(9600, LineMode.EIGHT_NONE),),
    "emon": tuple(Line(baud, LineMode.EIGHT_NONE) for baud in (115200, 38400, 9600)),
    "citizenwatt": (Line(115200, LineMode.EIGHT_NONE),),
}
"""For each kind of meter with a serial line, how it may be set, the likeliest first."""

LISTEN_S: Final[Mapping[str, int]] = {"dsmr-p1": 25, "emon": 25}
LINKY_LISTEN_S: Final = 10


def listen_s(kind: str) -> int:
    """How long a line may be heard without a frame before it is set in another way: a meter that
    speaks every 10 s may have been met in the middle of what it said."""
    return LISTEN_S.get(kind, LINKY_LISTEN_S)
