"""Taking the numbers that name a meter, or its delivery point, out of recorded bytes.

Only where the checksum over them can be made again, so that the recording still decodes: a Linky's
ADCO, ADSC and PRM, and the equipment identifiers of a P1 telegram. Where damage may hide what a
number is, every digit is replaced, and what was refused before is still refused after. No more is
left of a recording than its whole frames and what stands between them; of one without a frame,
nothing.
"""

from __future__ import annotations

import re
from typing import Final

from node.meter.crc16 import ARC
from node.meter.teleinfo.groups import Group, checksum, parse_group
from node.meter.teleinfo.labels import TicMode

__all__ = ["REDACTED_KINDS", "redacted"]

REDACTED_KINDS: Final = frozenset({"linky", "linky-historic", "linky-standard", "dsmr-p1"})

_TIC_ID: Final = re.compile(rb"\n((?:ADCO|ADSC|PRM)([ \t]))([^\r\n\t ]*)([ \t])(.)\r", re.DOTALL)
_TIC_GROUP: Final = re.compile(rb"\n([^\n\r\x02\x03]*\r)")
_TIC_WHOLE: Final = re.compile(rb"\x02.*\x03", re.DOTALL)
_TELEGRAM: Final = re.compile(rb"(/[^!]*!)([0-9A-Fa-f]{0,4})")
_P1_ID: Final = re.compile(
    rb"((?:0-\d{1,3}:(?:96\.1\.(?:[0-3]|255)|42\.0\.0)|1-0:0\.0\.0)(?:[.*]\d{1,3})?\()"
    rb"([^()\r\n]+)(?=\))"
)
_HEXADECIMAL: Final = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
_LONG: Final = re.compile(rb"[0-9A-Fa-f]{13,}")
"""Longer than a time or a register: text in hexadecimal, whatever object it is said to be."""

_OBJECT_OR_DIGIT: Final = re.compile(rb"(?m)^(\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3}(?!\d))|\d")
_PLAIN: Final = re.compile(
    rb"(?:\d-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3}(?:[.*]\d{1,3})?)?"
    rb"(?:\((?:\d{1,9}(?:\.\d{1,7})?(?:\*[A-Za-z0-9]{1,4})?|\d{12}[SW]?|(?:30)*|[A-Za-z0-9]{1,5}"
    rb"|\d-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3})\))+"
)
"""A line of registers, times and short words, and of what identifiers were replaced by."""

_BLANK: Final = bytes.maketrans(bytes([*range(0x30, 0x3A), *range(0xB0, 0xBA)]), b"0" * 20)
"""Digits to zeros, also those that came with a parity bit."""

_LEAST_DIGITS: Final = 6
"""A number shorter than this names nobody, and could be any other number."""


def redacted(content: bytes, kind: str) -> bytes:
    """The recording without the numbers that name somebody. Raises ValueError for a kind whose
    checksums cannot be made again."""
    if kind not in REDACTED_KINDS:
        raise ValueError(f"a recording of {kind} keeps its names")
    return _of_telegrams(content) if kind == "dsmr-p1" else _of_linky(content)


def _of_linky(content: bytes) -> bytes:
    """Only what lies between the first STX and the last ETX: a number may be cut at the ends."""
    whole = _TIC_WHOLE.search(content)
    if whole is None:
        return b""
    kept, begin = bytearray(), 0
    for piece in _TIC_GROUP.finditer(whole[0]):
        kept += whole[0][begin : piece.start()].translate(_BLANK) + _of_piece(piece)
        begin = piece.end()
    kept += whole[0][begin:].translate(_BLANK)
    for number in {match[3] for match in _TIC_ID.finditer(whole[0])}:
        if len(number) >= _LEAST_DIGITS and number.strip(b"0X"):
            kept = kept.replace(number, b"0" * len(number))
    return bytes(kept)


def _of_piece(piece: re.Match[bytes]) -> bytes:
    """A group as it came if it is one, and names nobody; without its digits if it is none."""
    named = _TIC_ID.fullmatch(piece[0])
    if named is not None:
        return _of_group(named)
    if _is_group(piece[1]):
        return piece[0]
    blank = piece[1].translate(_BLANK)
    if _is_group(blank):  # only without its digits: then its checksum has to be wrong
        blank = blank[:-2] + bytes([_another(blank[-2])]) + b"\r"
    return b"\n" + blank


def _is_group(piece: bytes) -> bool:
    return any(
        isinstance(parse_group(piece, mode), Group) for mode in (TicMode.HISTORIC, TicMode.STANDARD)
    )


def _another(mark: int) -> int:
    """A checksum that is not this one."""
    return 0x20 + (mark - 0x1F) % 0x40


def _of_group(match: re.Match[bytes]) -> bytes:
    """``X`` for each digit of a meter, as published captures have it; zeros for a delivery point.
    A checksum that was right is right again, one that was wrong stays wrong."""
    head, separator, value, last, said = match.groups()
    mask = (b"0" if head.startswith(b"PRM") else b"X") * len(value)
    in_zone = b"" if separator == b" " else last
    was_right = said[0] == checksum(head + value + in_zone)
    right = checksum(head + mask + in_zone)
    mark = right if was_right else _another(right)
    return b"\n" + head + mask + last + bytes([mark]) + b"\r"


def _of_telegrams(content: bytes) -> bytes:
    content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")  # as on the wire
    numbers = {match[2] for match in _P1_ID.finditer(content)}
    whole = b"".join(match[0] + b"\r\n" for match in _TELEGRAM.finditer(content))
    return _TELEGRAM.sub(lambda match: _of_telegram(match, numbers), whole)


def _of_telegram(match: re.Match[bytes], numbers: set[bytes]) -> bytes:
    body, said = match[1], match[2]
    masked = _without(_P1_ID.sub(lambda part: part[1] + _zeros(part[2]), body), numbers)
    masked = _LONG.sub(lambda part: _zeros(part[0]), masked)
    if not said:
        return b"\r\n".join(
            line if _PLAIN.fullmatch(line) else _OBJECT_OR_DIGIT.sub(_no_digit, line)
            for line in masked.split(b"\r\n")
        )
    if int(said, 16) == ARC.of(body):
        return masked + b"%04X" % ARC.of(masked)
    masked = _OBJECT_OR_DIGIT.sub(_no_digit, masked)
    return masked + b"%04X" % (ARC.of(masked) ^ 0xFFFF)


def _no_digit(part: re.Match[bytes]) -> bytes:
    """The name of an object stays."""
    return part[1] or b"0"


def _without(content: bytes, numbers: set[bytes]) -> bytes:
    """A number may also stand where damage hid its label."""
    for number in numbers:
        if len(number) >= _LEAST_DIGITS and number != _zeros(number) and number.strip(b"0"):
            content = content.replace(number, _zeros(number))
    return content


def _zeros(number: bytes) -> bytes:
    """Identifiers of telegrams are mostly text in hexadecimal: ``30`` is the digit 0."""
    if _HEXADECIMAL.fullmatch(number):
        return b"30" * (len(number) // 2)
    return b"0" * len(number)
