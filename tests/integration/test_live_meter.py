"""A live meter on a real line: recorded frames, a cable that is pulled, a node that stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from node.clock import SystemClock
from node.errors import MeterSilent
from node.meter.live import STATE_KEY, Backoff, LiveMeter, MeterState
from node.meter.settings import MeterSettings
from node.meter.sources import connect_for
from node.model import Quality, RegisterReading
from node.store import NodeDatabase
from tests.support.serial_line import SerialLine, serial_line
from tests.support.shared import shared_path
from tests.support.teleinfo_frames import StandardMeter

PATIENCE_S = 30.0
SOON = Backoff(0.05, 0.2)


def settings_of(port: str, kind: str = "linky") -> MeterSettings:
    return MeterSettings.from_table({"kind": kind, "port": port}, Path("node.toml"))


@asynccontextmanager
async def running(
    port: str, kind: str = "linky", state: str | None = None
) -> AsyncIterator[LiveMeter]:
    """A meter that is read for as long as it is used."""
    settings, clock = settings_of(port, kind), SystemClock()
    meter = LiveMeter(
        connect_for(settings, clock),
        clock,
        settings=settings,
        state=state,
        random=Random(1),
        backoff=SOON,
        wait_s=PATIENCE_S,
    )
    task = asyncio.create_task(meter.run(), name="meter")
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield meter
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def settled(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in range(int(PATIENCE_S / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came about")


class Speaker:
    """A Linky that says a frame every fifth of a second and counts a Wh with each."""

    def __init__(self) -> None:
        self.meter = StandardMeter(export_wh=32_781)
        self._said = 0

    async def speak(self, line: SerialLine, until: Callable[[], bool]) -> None:
        while not until():
            line.say(self.meter.frame())
            self._said += 1
            self.meter = self.meter.used(1, self._said % 5 == 0, self._said % 2)
            await asyncio.sleep(0.2)


def test_recorded_frames_of_a_linky_are_counted() -> None:
    """Ten frames of a Tempo contract; the last one has no neighbour that vouches for it."""
    recording = shared_path("frames/linky-historic/pyteleinfo-tempo-mono-series.tic").read_bytes()

    async def life(line: SerialLine) -> RegisterReading:
        async with running(line.path, "linky-historic") as meter:
            await settled(lambda: meter.health.connected)
            line.say(recording)
            await settled(lambda: meter.health.frames == 10)
            return await meter.read()

    with serial_line() as line:
        reading = asyncio.run(life(line))
    assert (reading.meter_id, reading.import_wh) == ("021861348497", 47_371_480)
    assert reading.export_wh == 0


def test_a_producers_recorded_frame_tells_its_export() -> None:
    recording = shared_path("frames/linky-standard/openhab-mono-producer-stream.tic").read_bytes()

    async def life(line: SerialLine) -> RegisterReading:
        async with running(line.path) as meter:
            asked = asyncio.create_task(meter.read())
            while not asked.done():
                line.say(recording)
                await asyncio.sleep(0.3)
            return await asked

    with serial_line() as line:
        reading = asyncio.run(life(line))
    assert (reading.meter_id, reading.import_wh, reading.export_wh) == ("123456789012", 0, 32_781)


def test_a_pulled_cable_costs_no_energy(tmp_path: Path) -> None:
    port = tmp_path / "linky"
    speaker = Speaker()

    async def life() -> tuple[RegisterReading, RegisterReading]:
        with serial_line() as first, serial_line() as second:
            port.symlink_to(first.path)
            async with running(str(port)) as meter:
                asked = asyncio.create_task(meter.read())
                await speaker.speak(first, asked.done)
                before = await asked
                assert meter.health.state is MeterState.SPEAKING
                first.unplug()
                await settled(lambda: not meter.health.connected)
                port.unlink()
                speaker.meter = speaker.meter.used(5, 1)
                port.symlink_to(second.path)
                instant_s = SystemClock().now_s() + 1
                asked = asyncio.create_task(meter.read_at(instant_s))
                await speaker.speak(second, asked.done)
                return before, await asked

    before, after = asyncio.run(life())
    assert after.import_wh - before.import_wh >= 5
    assert StandardMeter().import_wh < before.import_wh < after.import_wh
    assert after.import_wh <= speaker.meter.import_wh
    assert after.quality is Quality.METERED


def test_a_node_that_stops_goes_on_from_its_database(tmp_path: Path) -> None:
    speaker = Speaker()

    async def life(line: SerialLine, database: NodeDatabase) -> RegisterReading:
        async with running(line.path, state=database.meter_state(STATE_KEY)) as meter:
            asked = asyncio.create_task(meter.read_at(SystemClock().now_s() + 3))
            await speaker.speak(line, asked.done)
            reading = await asked
            with database.transaction():
                database.add_reading(reading)
                meter.keep(database)
            return reading

    readings = []
    with serial_line() as line:
        for _ in range(3):
            with NodeDatabase.open(tmp_path / "node.sqlite") as database:
                readings.append(asyncio.run(life(line, database)))
    imports = [reading.import_wh for reading in readings]
    assert StandardMeter().import_wh < imports[0] < imports[1] < imports[2]
    assert imports[2] <= speaker.meter.import_wh


def test_a_line_on_which_nobody_speaks_is_silent() -> None:
    async def life(line: SerialLine) -> None:
        settings, clock = settings_of(line.path), SystemClock()
        meter = LiveMeter(connect_for(settings, clock), clock, settings=settings, wait_s=0.2)
        task = asyncio.create_task(meter.run())
        try:
            with pytest.raises(MeterSilent, match="waiting"):
                await meter.read()
            assert meter.health.connected
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    with serial_line() as line:
        asyncio.run(life(line))
