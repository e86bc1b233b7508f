"""P1 telegrams as meters write them, with a checksum computed in another way than the node does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from Crypto.Cipher import AES

DUTCH: Final = (
    "1-3:0.2.8(50)",
    "0-0:1.0.0(261018023000S)",
    "0-0:96.1.1(4530303434303037333832323436303139)",
    "1-0:1.8.1(002130.115*kWh)",
    "1-0:1.8.2(000245.467*kWh)",
    "1-0:2.8.1(000012.000*kWh)",
    "1-0:2.8.2(000003.999*kWh)",
    "0-0:96.14.0(0001)",
    "1-0:1.7.0(00.000*kW)",
    "1-0:2.7.0(01.869*kW)",
)
"""Import 2,375,582 Wh, export 15,999 Wh, 1,869 W out, on 2026-10-18T00:30:00Z."""

OLD: Final = (
    "0-0:96.1.1(4B384547303034303436333935353037)",
    "1-0:1.8.1(12345.678*kWh)",
    "1-0:1.8.2(00012.000*kWh)",
    "1-0:2.8.1(00001.000*kWh)",
    "1-0:2.8.2(00000.500*kWh)",
    "0-0:96.14.0(0002)",
    "1-0:1.7.0(001.19*kW)",
    "1-0:2.7.0(000.00*kW)",
    "0-1:24.1.0(03)",
    "0-1:24.3.0(090212160000)(00)(60)(1)(0-1:24.2.1)(m3)",
    "(00124.477)",
    "0-1:24.4.0(1)",
)
"""DSMR 3.0: no version, no time, no checksum. Import 12,357,678 Wh, export 1,500 Wh, 1,190 W in."""


def crc_of(covered: bytes) -> int:
    """CRC-16/ARC, bit by bit."""
    remainder = 0
    for byte in covered:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0xA001 if remainder & 1 else 0)
    return remainder


def telegram(
    lines: Iterable[str] = DUTCH, *, has_crc: bool = True, header: str = "/ISK5\\2M550T-1012"
) -> bytes:
    """A telegram as it goes over the wire."""
    covered = "\r\n".join([header, "", *lines, "!"]).encode("latin-1")
    crc = f"{crc_of(covered):04X}" if has_crc else ""
    return covered + crc.encode("ascii") + b"\r\n"


def replaced(lines: Sequence[str], code: str, value: str | None) -> list[str]:
    """The lines with another value for one code, or without it."""
    others = [line for line in lines if not line.startswith(f"{code}(")]
    return others if value is None else [*others, f"{code}{value}"]


def encrypted(plain: bytes, key: bytes, authentication_key: bytes, counter: int = 1) -> bytes:
    """A telegram inside AES-128-GCM, as Luxembourg sends it."""
    title, count = b"SAG\x00\x01\x02\x03\x04", counter.to_bytes(4, "big")
    cipher = AES.new(key, AES.MODE_GCM, nonce=title + count, mac_len=12)
    cipher.update(b"\x30" + authentication_key)
    secret, tag = cipher.encrypt_and_digest(plain)
    rest = b"\x30" + count + secret + tag
    return b"\xdb\x08" + title + b"\x82" + len(rest).to_bytes(2, "big") + rest
