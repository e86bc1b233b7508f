"""One group of a frame: label, horodate if it has one, value, checksum.

A group is ``LF label SP value SP checksum CR`` in historic mode and ``LF label HT [horodate HT]
value HT checksum CR`` in standard mode. The checksum may be a space, and values of the standard
mode may hold spaces: nothing here strips or splits on blanks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from node.meter.codec import MAX_REJECTED_BYTES, Rejected
from node.meter.teleinfo.horodate import is_horodate
from node.meter.teleinfo.labels import LABELS, TicMode

CR: Final = b"\r"
LF: Final = b"\n"
HT: Final = b"\t"

MAX_GROUP_BYTES: Final = 128
"""PJOURF+1, the longest group, has 110."""

_ALIEN: Final = {
    TicMode.HISTORIC: re.compile(rb"[^ -~]"),
    TicMode.STANDARD: re.compile(rb"[^ -~\t]"),
}
_SEPARATOR: Final = {TicMode.HISTORIC: b" ", TicMode.STANDARD: HT}
_LABEL: Final = re.compile(rb"[A-Z][A-Z0-9+-]{1,8}(?=[ \t])")


@dataclass(frozen=True, slots=True)
class Group:
    """An accepted group, its value and horodate as they stood on the line, and the bytes between
    LF and the end of CR."""

    mode: TicMode
    label: str
    value: str
    horodate: str | None
    raw: bytes


def checksum(zone: bytes) -> int:
    """Six bits of the sum, moved to the printable characters 0x20 to 0x5F."""
    return (sum(zone) & 0x3F) + 0x20


def parse_group(piece: bytes, mode: TicMode) -> Group | Rejected:
    """Judge what stood between one LF and the next, its CR included, in one of the two modes."""
    if len(piece) > MAX_GROUP_BYTES:
        return refuse(piece, "longer than any group: bytes were lost or added")
    if not piece.endswith(CR) or piece.count(CR) > 1:
        return refuse(piece, "a group begins with LF and ends with CR: bytes were lost or added")
    body = piece[:-1]
    if alien := _ALIEN[mode].search(body):
        return refuse(
            piece,
            f"byte 0x{alien[0][0]:02X} has no place in a group: parity error, wrong speed or mode",
        )
    separator = _SEPARATOR[mode]
    if len(body) < 4 or body[-2:-1] != separator:
        return refuse(piece, "no checksum at the end of the group")
    # The last separator belongs to the zone in standard mode only.
    zone = body[:-2] if mode is TicMode.HISTORIC else body[:-1]
    if body[-1] != checksum(zone):
        return refuse(piece, f"checksum is {chr(body[-1])!r}, should be {chr(checksum(zone))!r}")
    label, *parts = body[:-2].decode("ascii").split(separator.decode("ascii"))
    return _judge_value(piece, label, parts, mode)


def _judge_value(piece: bytes, label: str, parts: list[str], mode: TicMode) -> Group | Rejected:
    shape = LABELS[mode].get(label)
    if shape is None:
        return refuse(piece, f"no label of the {mode} mode")
    if len(parts) != 1 + shape.has_horodate:
        return refuse(piece, "a part is missing, or one too many")
    value = parts[-1]
    horodate = parts[0] if shape.has_horodate else None
    if horodate is not None and not is_horodate(horodate):
        return refuse(piece, f"no horodate: {horodate!r}")
    if not shape.fits(value):
        return refuse(piece, f"{shape.words} expected, not {value!r}")
    return Group(mode, label, value, horodate, piece)


def refuse(piece: bytes, reason: str) -> Rejected:
    """The refusal of a group, led by its label where it has something like one."""
    label = _LABEL.match(piece)
    said = f"{label[0].decode('ascii')}: {reason}" if label else reason
    return Rejected(said, piece[:MAX_REJECTED_BYTES])
