"""What stands between "/" and "!": whether a telegram can be believed, and its objects.

The checksum covers "/" to "!", both included, with CRLF line ends as on the wire. DSMR 2.2 and 3.0
have none: such a telegram is believed only if every line of it is well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from node.meter.codec import MAX_REJECTED_BYTES, Rejected
from node.meter.crc16 import ARC

_OBJECT: Final = re.compile(
    r"(\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3})((?:[.*]\d{1,3})?(?:\([^()\r]*\))+)", re.ASCII
)
_CONTINUATION: Final = re.compile(r"(?:\([^()\r]*\))+")
_CAPTURED: Final = re.compile(
    r"\((\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3})\)\([^()]*\)$", re.ASCII
)
_STRANGE: Final = re.compile(rb"[^\x20-\x7E\r\n]")

_SINCE_VERSION_4: Final = frozenset({"1-3:0.2.8", "0-0:1.0.0", "0-0:96.1.4"})
"""Version, time, Belgian version: what telegrams without a checksum do not have."""

ENCRYPTED: Final = (
    "this looks like an encrypted telegram (Luxembourg, Austria): it needs the key that your "
    "network operator gives you"
)
ENCRYPTED_HEAD: Final = re.compile(
    rb"\xDB\x08([\x00-\xFF]{8})\x82([\x00-\xFF]{2})\x30([\x00-\xFF]{4})"
)
"""Tag and length of the system title, the title, the length of the rest in two bytes, encrypted
and authenticated, the invocation counter."""


@dataclass(frozen=True, slots=True)
class Telegram:
    """The bytes from "/" to "!" as they came, and the number after the "!", None where there is
    none. ``is_ended`` is False when the stream ended before the "!"."""

    body: bytes
    crc: int | None = None
    is_ended: bool = True

    @property
    def lines(self) -> Sequence[str]:
        """Header and objects, without line ends, empty lines and the "!"."""
        text = self.body.decode("ascii", "replace").removesuffix("!")
        lines = [line.removesuffix("\r") for line in text.split("\n")]
        return [line for line in lines if line]


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of a telegram: for each OBIS code the rest of its line, as it came. What has no
    place in that is kept as well: lines not understood, codes said twice in different words."""

    fields: Mapping[str, str]
    strange: Sequence[str]
    repeated: frozenset[str]


def objects_of(telegram: Telegram) -> Objects:
    """Every ``A-B:C.D.E(value)``, in the order of the telegram.

    Version 2 and 3 put a gas meter's value on a line of its own: it is filed under the code that
    the line before names, ``...(0-1:24.2.1)(m3)`` and then ``(00124.477)``.
    """
    fields: dict[str, str] = {}
    strange: list[str] = []
    repeated: set[str] = set()
    code = ""
    for line in telegram.lines[1:]:
        if match := _OBJECT.fullmatch(line):
            code, raw = match[1], match[2]
        elif _CONTINUATION.fullmatch(line) and (captured := _CAPTURED.search(fields.get(code, ""))):
            code, raw = captured[1], line
        else:
            strange.append(line)
            continue
        if fields.setdefault(code, raw) != raw:
            repeated.add(code)
    return Objects(fields, strange, frozenset(repeated))


def fault_of(telegram: Telegram, *, has_crc: bool) -> str | None:
    """Why a telegram cannot be believed, None if it can. ``has_crc`` says that telegrams of this
    stream carried a checksum before: then one without has lost it."""
    if strange := _STRANGE.search(telegram.body):
        return f"byte 0x{strange[0].hex()} has no place in a telegram: the line is bad"
    if telegram.crc is not None:
        return _crc_fault(telegram.body, telegram.crc)
    if has_crc or not _SINCE_VERSION_4.isdisjoint(objects_of(telegram).fields):
        return "the telegram has lost its checksum: it was cut, or the line is bad"
    return None


def refused(raw: bytes, reason: str) -> Rejected:
    """A refusal that keeps no more of the bytes than a person wants to see."""
    return Rejected(reason, raw[:MAX_REJECTED_BYTES])


def _crc_fault(body: bytes, said: int) -> str | None:
    # Only files that an editor or a test suite kept have bare LF; the wire always has CRLF.
    sent = body if b"\r" in body else body.replace(b"\n", b"\r\n")
    found = ARC.of(sent)
    if found == said:
        return None
    return f"the checksum is {said:04X}, but that of the bytes is {found:04X}: nothing is used"
