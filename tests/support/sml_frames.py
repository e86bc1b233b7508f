"""SML as meters write it, with checksums computed in another way than the node does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

ESCAPE: Final = b"\x1b\x1b\x1b\x1b"
START: Final = ESCAPE + b"\x01\x01\x01\x01"
LEFT_OUT: Final = b"\x01"
WH: Final = 30
W: Final = 27
SERVER_ID: Final = bytes.fromhex("0a01454d480000a1bd34")


def x25(covered: bytes) -> int:
    """CRC-16/X-25, bit by bit."""
    return crc(covered, 0xFFFF) ^ 0xFFFF


def crc(covered: bytes, start: int = 0) -> int:
    """Its polynomial from any start, without a final xor: from 0 it is CRC-16/KERMIT."""
    remainder = start
    for byte in covered:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0x8408 if remainder & 1 else 0)
    return remainder


def head(kind: int, length: int) -> bytes:
    """Type and length, in as many bytes as it takes."""
    if length < 16:
        return bytes([kind << 4 | length])
    return bytes([0x80 | kind << 4 | length >> 4, length & 15])


def octets(value: bytes) -> bytes:
    """An octet string, whose length counts its head."""
    short = len(value) + 1
    return head(0, short if short < 16 else len(value) + 2) + value


def number(value: int, size: int, *, is_signed: bool = False) -> bytes:
    """An integer of 1 to 8 bytes."""
    return head(5 if is_signed else 6, size + 1) + value.to_bytes(size, "big", signed=is_signed)


def list_of(*elements: bytes) -> bytes:
    """A list, whose length counts its elements."""
    return head(7, len(elements)) + b"".join(elements)


def entry(
    code: str, value: bytes, unit: bytes = LEFT_OUT, scaler: bytes = LEFT_OUT, name: bytes = b""
) -> bytes:
    """One value of a list."""
    called = octets(name or bytes.fromhex(code))
    return list_of(called, LEFT_OUT, LEFT_OUT, unit, scaler, value, LEFT_OUT)


def energy(code: str, value: int, scaler: int = -1, size: int = 8) -> bytes:
    """A register."""
    return entry(code, number(value, size), number(WH, 1), number(scaler, 1, is_signed=True))


def power(value: int, size: int = 4, scaler: int = 0, code: str = "0100100700ff") -> bytes:
    """Power, signed."""
    signed = number(value, size, is_signed=True)
    return entry(code, signed, number(W, 1), number(scaler, 1, is_signed=True))


@dataclass(frozen=True, slots=True)
class Meter:
    """What a meter sends; the transport is put around it by ``frame_of``."""

    entries: tuple[bytes, ...] = (
        entry("0100600100ff", octets(SERVER_ID)),
        energy("0100010800ff", 123_456_789),
        energy("0100020800ff", 5_009),
        power(-1_869),
    )
    head_id: bytes = SERVER_ID
    signature: bytes = b""
    kermit: bool = False

    @property
    def values(self) -> bytes:
        """The list of values."""
        signature = octets(self.signature) if self.signature else LEFT_OUT
        values = list_of(*self.entries)
        return list_of(
            LEFT_OUT, octets(self.head_id), LEFT_OUT, LEFT_OUT, values, signature, LEFT_OUT
        )

    @property
    def body(self) -> bytes:
        """Opening, list and closing."""
        opening = list_of(
            LEFT_OUT, LEFT_OUT, octets(b"\x01\x02"), octets(self.head_id), LEFT_OUT, LEFT_OUT
        )
        return b"".join(
            self.message(kind, content)
            for kind, content in (
                (0x0101, opening),
                (0x0701, self.values),
                (0x0201, list_of(b"\x01")),
            )
        )

    def message(self, kind: int, content: bytes) -> bytes:
        """A message with its checksum."""
        zero = number(0, 1)
        opened = head(7, 6) + octets(b"\x07") + zero + zero + list_of(number(kind, 2), content)
        said = crc(opened) if self.kermit else int.from_bytes(x25(opened).to_bytes(2, "little"))
        return opened + number(said, 2) + b"\x00"


def frame_of(body: bytes, *, kermit: bool = False) -> bytes:
    """A body in its transport."""
    fill = -len(body) % 4
    covered = START + (body + bytes(fill)).replace(ESCAPE, ESCAPE + ESCAPE)
    covered += ESCAPE + bytes([0x1A, fill])
    if kermit:
        return covered + crc(covered).to_bytes(2, "big")
    return covered + x25(covered).to_bytes(2, "little")


def frame(entries: Iterable[bytes] | None = None) -> bytes:
    """A frame with these entries, or with the usual ones."""
    return frame_of((Meter() if entries is None else Meter(tuple(entries))).body)
