"""Taking the numbers that name a meter, or its delivery point, out of recorded bytes.

Only where the checksum over them can be made again, so that the recording still decodes: a Linky's
ADCO, ADSC and PRM, and the equipment identifiers of a P1 telegram. What was refused before is still
refused after. Everything else is left as it came, and the caller says so.
"""

from __future__ import annotations

import re
from typing import Final

from node.meter.crc16 import ARC
from node.meter.teleinfo.groups import checksum

__all__ = ["REDACTED_KINDS", "redacted"]

REDACTED_KINDS: Final = frozenset({"linky", "linky-historic", "linky-standard", "dsmr-p1"})

_TIC_ID: Final = re.compile(rb"\n((?:ADCO|ADSC|PRM)([ \t]))([^\r\n\t ]*)([ \t])(.)\r", re.DOTALL)
_TIC_WHOLE: Final = re.compile(rb"\x02.*\x03", re.DOTALL)
_TELEGRAM: Final = re.compile(rb"(/[^!]*!)([0-9A-Fa-f]{0,4})")
_P1_ID: Final = re.compile(
    rb"((?:0-\d{1,3}:(?:96\.1\.(?:[0-3]|255)|42\.0\.0)|1-0:0\.0\.0)(?:[.*]\d{1,3})?\()"
    rb"([^()\r\n]+)(?=\))"
)
_HEXADECIMAL: Final = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
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
    numbers = {match[3] for match in _TIC_ID.finditer(whole[0])}
    known = _TIC_ID.sub(_of_group, whole[0])
    return _without(known, numbers)


def _of_group(match: re.Match[bytes]) -> bytes:
    """``X`` for each digit of a meter, as published captures have it; zeros for a delivery point.
    A checksum that was right is right again, one that was wrong stays wrong."""
    head, separator, value, last, said = match.groups()
    mask = (b"0" if head.startswith(b"PRM") else b"X") * len(value)
    in_zone = b"" if separator == b" " else last
    was_right = said[0] == checksum(head + value + in_zone)
    right = checksum(head + mask + in_zone)
    mark = right if was_right else 0x20 + (right - 0x1F) % 0x40
    return b"\n" + head + mask + last + bytes([mark]) + b"\r"


def _of_telegrams(content: bytes) -> bytes:
    content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")  # as on the wire
    numbers = {match[2] for match in _P1_ID.finditer(content)}
    whole = b"".join(match[0] + b"\r\n" for match in _TELEGRAM.finditer(content))
    return _TELEGRAM.sub(lambda match: _of_telegram(match, numbers), whole)


def _of_telegram(match: re.Match[bytes], numbers: set[bytes]) -> bytes:
    body, said = match[1], match[2]
    masked = _without(_P1_ID.sub(lambda part: part[1] + _zeros(part[2]), body), numbers)
    if not said:
        return masked
    was_right = int(said, 16) == ARC.of(body)
    right = ARC.of(masked)
    return masked + b"%04X" % (right if was_right else right ^ 0xFFFF)


def _without(content: bytes, numbers: set[bytes]) -> bytes:
    """A number may also stand where damage hid its label."""
    for number in numbers:
        if len(number) >= _LEAST_DIGITS:
            content = content.replace(number, _zeros(number))
    return content


def _zeros(number: bytes) -> bytes:
    """Identifiers of telegrams are mostly text in hexadecimal: ``30`` is the digit 0."""
    if _HEXADECIMAL.fullmatch(number):
        return b"30" * (len(number) // 2)
    return b"0" * len(number)
