"""Finding meters: on the serial ports of this machine, by what they say at which speed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from serial.tools.list_ports import comports

from node.errors import MeterError, MeterSilent
from node.meter.codec import Codec, Decoded, MeterFrame, Rejected
from node.meter.decoders import stream_codec
from node.meter.lines import LINES, Line
from node.meter.p1 import ENCRYPTED
from node.meter.settings import MeterSettings
from node.meter.transports.serial_port import SerialPort

__all__ = ["Finding", "Port", "PortVerdict", "listen_to_port", "listen_to_ports", "serial_ports"]

LISTEN_S: Final = 12
"""Longer than the ten seconds between two telegrams of the slowest meters."""

BY_ID: Final = Path("/dev/serial/by-id")

MAX_PORTS: Final = 32

_TRIED: Final = ("linky-standard", "dsmr-p1", "linky-historic", "sml", "emon")
_LEAST_FIELDS: Final = 2
"""A frame that says less than this could be an accident."""


class Finding(StrEnum):
    """What became of a port."""

    SPEAKS = "speaks"
    ENCRYPTED = "encrypted"
    NOT_UNDERSTOOD = "not understood"
    SILENT = "silent"
    NOT_USABLE = "not usable"


@dataclass(frozen=True, slots=True)
class Port:
    """A serial port: the name that stays the same, the name of today, what the adapter says."""

    path: str
    device: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class PortVerdict:
    """What was heard on a port, and how its line was set then."""

    port: Port
    finding: Finding
    kind: str | None = None
    line: Line | None = None
    frame: MeterFrame | None = None
    heard_bytes: int = 0
    reason: str = ""

    @property
    def table(self) -> dict[str, object]:
        """The ``[meter]`` table for this port; empty where nothing speaks."""
        if self.kind is None or self.line is None:
            return {}
        table: dict[str, object] = {"kind": self.kind, "port": self.port.path}
        if self.line != LINES[self.kind][0]:
            table["baud"] = self.line.baud
        if self.finding is Finding.ENCRYPTED:
            table["key_file"] = "meter.key"
        return table


def serial_ports(
    by_id: Path = BY_ID, known: Callable[[], Iterable[object]] = comports
) -> list[Port]:
    """The ports of this machine. Those with a name that survives replugging come first, under that
    name."""
    described = {
        str(getattr(port, "device", "")): str(getattr(port, "description", "")) for port in known()
    }
    found: dict[str, Port] = {}
    for link in sorted(by_id.iterdir()) if by_id.is_dir() else ():
        device = str(link.resolve())
        found.setdefault(device, Port(str(link), device, described.get(device, "")))
    for device, description in sorted(described.items()):
        if device:
            found.setdefault(device, Port(device, device, description))
    return list(found.values())[:MAX_PORTS]


async def listen_to_ports(ports: Sequence[Port], listen_s: float = LISTEN_S) -> list[PortVerdict]:
    """Listen to several ports at once."""
    return await asyncio.gather(*(listen_to_port(port, listen_s) for port in ports))


async def listen_to_port(port: Port, listen_s: float = LISTEN_S) -> PortVerdict:
    """Listen at each speed until a frame is understood, ``listen_s`` each at most. A port without
    a single byte at the first speed is silent: what speaks at another one would be heard as
    noise."""
    heard_bytes = 0
    for line, kinds in _rounds():
        try:
            verdict = await _listen(port, line, kinds, listen_s)
        except (MeterError, MeterSilent) as error:
            reason = f"{error.message}; {error.next_step}" if error.next_step else error.message
            return PortVerdict(port, Finding.NOT_USABLE, reason=reason)
        heard_bytes += verdict.heard_bytes
        if verdict.kind is not None:
            return verdict
        if heard_bytes == 0:
            return PortVerdict(
                port,
                Finding.SILENT,
                reason="not a byte: check the wires, and that the meter's output is switched on",
            )
    return PortVerdict(
        port,
        Finding.NOT_UNDERSTOOD,
        heard_bytes=heard_bytes,
        reason=f"{heard_bytes} bytes, and no frame of any meter that is known in them",
    )


def _rounds() -> list[tuple[Line, tuple[str, ...]]]:
    """Each way to set a line, and the kinds that speak so."""
    lines = dict.fromkeys(line for kind in _TRIED for line in LINES[kind])
    return [(line, tuple(kind for kind in _TRIED if line in LINES[kind])) for line in lines]


async def _listen(port: Port, line: Line, kinds: Sequence[str], listen_s: float) -> PortVerdict:
    codecs = {kind: stream_codec(MeterSettings(kind, port=port.path))() for kind in kinds}
    until_s = asyncio.get_running_loop().time() + listen_s
    heard_bytes = 0
    is_over = False
    opened = SerialPort(port.path, (line,), listen_s=0)
    try:
        while not is_over:
            try:
                async with asyncio.timeout_at(until_s):
                    chunk = await opened.read()
            except TimeoutError:
                is_over, chunk = True, opened.read_now()  # what came since the last gulp
            heard_bytes += len(chunk)
            found = _understood(codecs, chunk)
            if found is not None:
                kind, finding, frame = found
                return PortVerdict(port, finding, kind, line, frame, heard_bytes)
    finally:
        opened.close()
    return PortVerdict(port, Finding.SILENT, heard_bytes=heard_bytes)


def _understood(
    codecs: dict[str, Codec], chunk: bytes
) -> tuple[str, Finding, MeterFrame | None] | None:
    for kind, codec in codecs.items():
        for item in codec.feed(chunk):
            if _convinces(item):
                return kind, Finding.SPEAKS, item if isinstance(item, MeterFrame) else None
            if isinstance(item, Rejected) and item.reason == ENCRYPTED:
                return kind, Finding.ENCRYPTED, None
    return None


def _convinces(item: Decoded) -> bool:
    return isinstance(item, MeterFrame) and len(item.fields) >= _LEAST_FIELDS
