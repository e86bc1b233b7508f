"""A line that a host hands on through TCP, as ser2net does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from node.clock import SystemClock
from node.errors import ConfigurationError, MeterSilent
from node.meter.codec import MeterFrame
from node.meter.settings import MeterSettings
from node.meter.sources import connect_for
from tests.support.arrivals import PATIENCE_S, first_frames
from tests.support.p1_telegrams import telegram


def settings(address: str) -> MeterSettings:
    return MeterSettings.from_table({"kind": "dsmr-p1", "url": f"tcp://{address}"}, Path("n.toml"))


def test_reads_until_the_host_closes() -> None:
    async def hand_on(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = telegram() * 2
        for begin in range(0, len(said), 100):
            writer.write(said[begin : begin + 100])
            await writer.drain()
        writer.close()

    async def run() -> list[MeterFrame]:
        server = await asyncio.start_server(hand_on, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            connect = connect_for(settings(f"127.0.0.1:{port}"), SystemClock())
            frames = await first_frames(connect, 2)
            with pytest.raises(MeterSilent, match="closed the connection"):
                await first_frames(connect, 3)
            return frames

    assert [frame.import_wh for frame in asyncio.run(run())] == [2_375_582] * 2


def test_nobody_there_is_silence() -> None:
    async def run() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await first_frames(connect_for(settings("127.0.0.1:9"), SystemClock()), 1)

    with pytest.raises(MeterSilent, match="cannot be reached"):
        asyncio.run(run())


def test_an_address_needs_its_port() -> None:
    with pytest.raises(ConfigurationError, match=r"meter\.url"):
        connect_for(settings("127.0.0.1"), SystemClock())
