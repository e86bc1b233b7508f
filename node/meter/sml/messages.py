"""The messages of a body, and the list of values in them.

A message is ``[transaction, group, abort on error, [kind, content], checksum] 0x00``. Meters push
an opening, one list of values and a closing. An entry of the list is ``[code, status, time, unit,
scaler, value, signature]``; all but code and value may be left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.meter.crc16 import KERMIT, X25
from node.meter.sml.tlv import LEFT_OUT, Element, MalformedError, TlvReader

MAX_MESSAGES: Final = 16
MAX_SCALER: Final = 12
"""Powers of ten, either way; real meters use -6 to 3."""

_GET_LIST_RESPONSE: Final = 0x0701
_CODE_BYTES: Final = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """One value: its OBIS code in hexadecimal, the unit's code number, the power of ten, and the
    value: an integer to be scaled or anything else to be shown as it is."""

    code: str
    unit: int | None
    scaler: int
    value: Element


@dataclass(frozen=True, slots=True)
class ValueList:
    """What a meter pushes: its server id, empty where it does not say it, and the entries."""

    server_id: bytes
    entries: Sequence[Entry]


def value_lists(body: bytes, *, checked: bool, valueless: bool) -> Sequence[ValueList]:
    """The lists of values in a body.

    ``checked``: the checksum of every message must be right too, which is needed where no transport
    checksum vouches for the body. ``valueless``: leave out entries that have no value instead of
    refusing them, against the standard. Raises MalformedError.
    """
    reader = TlvReader(body)
    lists: list[ValueList] = []
    for _ in range(MAX_MESSAGES):
        reader.skip_zeros()
        if reader.is_at_end:
            return lists
        kind, content = _message(reader, checked=checked)
        if kind == _GET_LIST_RESPONSE:
            lists.append(_value_list(content, valueless=valueless))
    raise MalformedError(f"more than {MAX_MESSAGES} messages in one body")


def _message(reader: TlvReader, *, checked: bool) -> tuple[Element, Element]:
    begin = reader.position
    reader.list_of(6, "a message")
    for _ in ("transaction", "group", "abort on error"):
        reader.element()
    reader.list_of(2, "the content of a message")
    kind, content = reader.element(), reader.element(2)
    covered = reader.passed(begin)
    checksum = reader.element()
    reader.end_of_message()
    if checked and checksum not in _checksums(covered):
        raise MalformedError("the checksum of a message does not match its bytes")
    return kind, content


def _checksums(covered: bytes) -> tuple[int, int]:
    """As meters send it, low byte first, and as some Holley meters do."""
    x25 = X25.of(covered)
    return (x25 & 0xFF) << 8 | x25 >> 8, KERMIT.of(covered)


def _value_list(content: Element, *, valueless: bool) -> ValueList:
    if not isinstance(content, tuple) or len(content) != 7:
        raise MalformedError("a list of values has not its seven elements")
    server_id, entries = content[1], content[4]
    if not isinstance(server_id, bytes) or not isinstance(entries, tuple):
        raise MalformedError("a list of values has no server id or no entries")
    read = [_entry(entry, valueless=valueless) for entry in entries]
    return ValueList(server_id, [entry for entry in read if entry is not None])


def _entry(entry: Element, *, valueless: bool) -> Entry | None:
    if not isinstance(entry, tuple) or len(entry) != 7:
        raise MalformedError("an entry has not its seven elements")
    name, _, _, unit, scaler, value, _ = entry
    if not isinstance(name, bytes) or len(name) != _CODE_BYTES:
        raise MalformedError("an entry has no OBIS code")
    code = name.hex()
    if value == LEFT_OUT:
        if valueless:
            return None
        raise MalformedError(
            f"the entry {code} has no value, which the standard demands: allow that for this meter "
            "if all its frames are like this"
        )
    return Entry(code, _unit(code, unit), _scaler(code, scaler), value)


def _unit(code: str, unit: Element) -> int | None:
    if unit == LEFT_OUT:
        return None
    if not isinstance(unit, int):
        raise MalformedError(f"the entry {code} has an unreadable unit")
    return unit


def _scaler(code: str, scaler: Element) -> int:
    if scaler == LEFT_OUT:
        return 0
    if not isinstance(scaler, int) or abs(scaler) > MAX_SCALER:
        raise MalformedError(f"the entry {code} has an unreadable scaler")
    return scaler
