"""SunSpec devices, against a real Modbus server on loopback."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from node.clock import ManualClock
from node.errors import ConfigurationError, MeterError, MeterSilent
from node.meter.codec import MeterFrame
from node.meter.settings import MeterSettings
from node.meter.sources import INSTALL_MODBUS, connect_for
from tests.support.arrivals import first_frames

SUNS = [0x5375, 0x6E53]
END = [0xFFFF, 0]


def text(said: str, registers: int) -> list[int]:
    padded = said.encode().ljust(2 * registers, b"\0")
    return [int.from_bytes(padded[i : i + 2], "big") for i in range(0, len(padded), 2)]


def common() -> list[int]:
    body = text("Acme", 16) + text("M1", 16) + text("", 8) + text("1.0", 8) + text("S42", 16) + [1]
    return [1, len(body), *body, 0][: 2 + len(body)]


def meter(import_wh: int, export_wh: int, power_w: int) -> list[int]:
    """Model 203: every point absent but the ones that are told, scales of 0."""
    body = [0x8000] * 105
    body[16], body[20] = power_w & 0xFFFF, 0
    body[36:52] = [0] * 16
    body[36:38] = [export_wh >> 16, export_wh & 0xFFFF]
    body[44:46] = [import_wh >> 16, import_wh & 0xFFFF]
    body[52] = 0
    return [203, 105, *body]


@asynccontextmanager
async def device(registers: list[int], at: int = 40000) -> AsyncIterator[str]:
    block = SimData(at, values=registers, datatype=DataType.REGISTERS)
    server = ModbusTcpServer(SimDevice(1, [block]), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    try:
        # A listening server is kept where a connection would be.
        listener = cast("asyncio.Server", server.transport)
        yield f"modbus://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def read(
    registers: list[int], count: int = 1, at: int = 40000, **table: object
) -> list[MeterFrame]:
    async def run() -> list[MeterFrame]:
        async with device(registers, at) as url:
            chosen = MeterSettings.from_table(
                {"kind": "sunspec", "url": url, **table}, Path("node.toml")
            )
            return await first_frames(connect_for(chosen, ManualClock(1_790_000_000)), count)

    return asyncio.run(run())


@pytest.mark.parametrize("at", [40000, 0, 50000])
def test_finds_the_map_and_reads_the_meter_in_it(at: int) -> None:
    unknown = [64_001, 3, 7, 7, 7]
    frames = read(SUNS + common() + unknown + meter(1_234_567, 89, -450) + END, 2, at)
    assert [
        (frame.meter_id, frame.import_wh, frame.export_wh, frame.power_w) for frame in frames
    ] == [("Acme/S42", 1_234_567, 89, -450)] * 2


def test_clamps_the_other_way_round() -> None:
    (frame,) = read(SUNS + common() + meter(1_000, 2_000, 300) + END, reversed=True)
    assert (frame.import_wh, frame.export_wh, frame.power_w) == (2_000, 1_000, -300)


def test_modbus_without_sunspec_needs_a_person() -> None:
    with pytest.raises(MeterError, match="not SunSpec"):
        read([1, 2, 3, 4])


def test_a_map_without_end_needs_a_person() -> None:
    with pytest.raises((MeterError, MeterSilent)):
        read(SUNS + [1, 0] * 70)


def test_no_device_is_silence() -> None:
    chosen = MeterSettings.from_table(
        {"kind": "sunspec", "url": "modbus://127.0.0.1:9"}, Path("node.toml")
    )
    with pytest.raises(MeterSilent, match="does not answer"):
        asyncio.run(first_frames(connect_for(chosen, ManualClock()), 1))


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymodbus", None)
    monkeypatch.delitem(sys.modules, "node.meter.transports.modbus", raising=False)
    chosen = MeterSettings.from_table(
        {"kind": "sunspec", "url": "modbus://127.0.0.1:502"}, Path("node.toml")
    )
    with pytest.raises(ConfigurationError, match="pymodbus") as caught:
        connect_for(chosen, ManualClock())
    assert caught.value.next_step == INSTALL_MODBUS
