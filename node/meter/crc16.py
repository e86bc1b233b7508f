"""The reflected 16-bit checksums that telegrams and frames end with.

Every burst of damage of up to 16 bits is seen; of longer ones 1 in 65,536 passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


def _table(polynomial: int) -> tuple[int, ...]:
    """The checksum of each single byte, for a polynomial with its bits reversed."""
    table: list[int] = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ polynomial if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


@dataclass(frozen=True, slots=True)
class Crc16:
    """One member of the family: its table, the value it starts with and the final xor."""

    table: tuple[int, ...]
    start: int = 0
    final: int = 0

    def of(self, message: bytes) -> int:
        """The checksum of a message."""
        table, value = self.table, self.start
        for byte in message:
            value = value >> 8 ^ table[(value ^ byte) & 0xFF]
        return value ^ self.final


ARC: Final = Crc16(_table(0xA001))
"""x16 + x15 + x2 + 1: DSMR P1."""

X25: Final = Crc16(_table(0x8408), 0xFFFF, 0xFFFF)
"""x16 + x12 + x5 + 1: SML."""

KERMIT: Final = Crc16(X25.table)
"""The same polynomial from 0 and without the final xor: what some Holley meters send instead."""
