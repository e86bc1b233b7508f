"""The supervisor: it reads, waits, connects again, and says what it needs a person for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random

import pytest

from node.clock import ManualClock
from node.errors import ConfigurationError, DaiseeError, MeterError, MeterSilent
from node.meter.arrivals import Arrived, Transport
from node.meter.live import STATE_KEY, Backoff, LiveMeter, MeterSample, MeterState
from tests.support.meter_samples import MESSAGES, NOON_S, MemoryStorage, came, frame

AT_ONCE = Backoff(0.0, 0.0)


@dataclass(slots=True)
class Script:
    """What each connection in turn does: brings these, and then ends, fails or stays. After the
    last there is no connection any more."""

    connections: Sequence[tuple[Sequence[Arrived], DaiseeError | str | None]]
    opened: int = 0
    closed: int = 0
    queue: asyncio.Queue[Arrived] = field(default_factory=asyncio.Queue)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Transport]:
        if self.opened >= len(self.connections):
            self.opened += 1
            raise MeterSilent("nothing there")
        self.opened += 1
        try:
            yield Scripted(self, *self.connections[self.opened - 1])
        finally:
            self.closed += 1


@dataclass(slots=True)
class Scripted:
    script: Script
    brings: Sequence[Arrived]
    end: DaiseeError | str | None

    async def arrivals(self) -> AsyncIterator[Arrived]:
        for arrived in self.brings:
            yield arrived
        if isinstance(self.end, DaiseeError):
            raise self.end
        while self.end == "stays":
            yield await self.script.queue.get()


def samples(*said: tuple[int, int]) -> list[Arrived]:
    return [came(NOON_S + second, frame(wh, 7)) for second, wh in said]


FIRST = samples((0, 100), (10, 101), (20, 102))
LATER = samples((30, 103), (40, 104))


def lived(
    script: Script,
    use: Callable[[LiveMeter], Awaitable[None]],
    *,
    state: str | None = None,
    hear: Callable[[MeterSample], None] = lambda _: None,
    reconnect_s: float = 60,
) -> None:
    """Run a meter for as long as it is used."""

    async def life() -> None:
        meter = LiveMeter(
            script.connect,
            ManualClock(NOON_S + 20),
            settings=MESSAGES,
            state=state,
            on_sample=hear,
            random=Random(1),
            backoff=AT_ONCE,
            wait_s=0.05,
            reconnect_s=reconnect_s,
        )
        running = asyncio.create_task(meter.run())
        try:
            await use(meter)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    asyncio.run(life())


async def settled(condition: Callable[[], bool]) -> None:
    """Let the other tasks go on until something holds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came about")


def test_it_tells_registers_as_of_an_instant() -> None:
    async def use(meter: LiveMeter) -> None:
        reading = await meter.read_at(NOON_S + 15)
        assert (reading.taken_at_s, reading.import_wh, reading.export_wh) == (NOON_S + 15, 101, 7)
        assert (await meter.read()).import_wh == 102

    heard: list[MeterSample] = []
    lived(Script([(FIRST, "stays")]), use, hear=heard.append)
    assert [sample.said.import_wh for sample in heard] == [100, 101, 102]
    assert heard[0].counted is None
    assert heard[2].counted is not None


def test_an_instant_waits_for_the_sample_after_it() -> None:
    script = Script([(FIRST, "stays")])

    async def use(meter: LiveMeter) -> None:
        asked = asyncio.create_task(meter.read_at(NOON_S + 30))
        await settled(lambda: meter.health.frames == 3)
        assert not asked.done()
        script.queue.put_nowait(LATER[0])
        assert (await asked).import_wh == 103

    lived(script, use)


def test_a_meter_that_says_no_more_is_silent() -> None:
    async def use(meter: LiveMeter) -> None:
        with pytest.raises(MeterSilent):
            await meter.read_at(NOON_S + 60)

    lived(Script([(FIRST, "stays")]), use)


def test_nothing_at_all_is_silence_too() -> None:
    async def use(meter: LiveMeter) -> None:
        with pytest.raises(MeterSilent):
            await meter.read()
        assert meter.health.state is MeterState.WAITING

    lived(Script([]), use)


@pytest.mark.parametrize("end", [None, MeterSilent("the plug was pulled")])
def test_a_lost_connection_is_made_again(end: DaiseeError | None) -> None:
    script = Script([(FIRST, end), ([], MeterSilent("not yet")), (LATER, "stays")])

    async def use(meter: LiveMeter) -> None:
        await settled(lambda: meter.health.frames == 5)
        assert (await meter.read_at(NOON_S + 35)).import_wh == 103
        assert meter.health.connected

    lived(script, use)
    assert (script.opened, script.closed) == (3, 3)


def test_a_connection_that_stands_and_brings_nothing_is_given_up() -> None:
    script, heard = Script([([], "stays"), (FIRST, "stays")]), asyncio.Event()

    async def use(meter: LiveMeter) -> None:
        await heard.wait()
        assert meter.health.frames > 0

    lived(script, use, hear=lambda _: heard.set(), reconnect_s=0.01)
    assert script.opened >= 2


@pytest.mark.parametrize(
    "error", [MeterError("no permission", next_step="join dialout"), ConfigurationError("no key")]
)
def test_what_needs_a_person_is_said_and_tried_again(error: DaiseeError) -> None:
    script = Script([([], error), ([], error), (FIRST, "stays")])

    async def use(meter: LiveMeter) -> None:
        await settled(lambda: meter.health.state is MeterState.FAULT)
        assert meter.health.fault == str(error.message)
        with pytest.raises(MeterError, match=str(error.message)):
            await meter.read()
        await settled(lambda: meter.health.frames == 3)
        assert meter.health.state is MeterState.SPEAKING
        assert (await meter.read_at(NOON_S + 15)).import_wh == 101

    lived(script, use)


def test_a_swap_is_raised_until_it_is_confirmed() -> None:
    new = [came(NOON_S + 30 + 10 * at, frame(5 + at, 0, meter_id="m2")) for at in range(5)]
    script = Script([([*FIRST, *new], "stays")])

    async def use(meter: LiveMeter) -> None:
        await settled(lambda: meter.health.state is MeterState.SWAP_TO_CONFIRM)
        assert (await meter.read_at(NOON_S + 15)).meter_id == "m1"
        with pytest.raises(MeterError, match="m2 speaks where meter m1 did"):
            await meter.read_at(NOON_S + 60)
        meter.confirm_swap()
        reading = await meter.read_at(NOON_S + 60)
        assert (reading.meter_id, reading.import_wh) == ("m2", 102 + 3)

    lived(script, use)


def test_a_restart_is_raised_until_it_is_confirmed() -> None:
    fell = samples(*((30 + 20 * at, at) for at in range(6)))
    script = Script([([*FIRST, *fell], "stays")])

    async def use(meter: LiveMeter) -> None:
        await settled(lambda: meter.health.state is MeterState.RESTART_TO_CONFIRM)
        with pytest.raises(MeterError, match="another value"):
            await meter.read_at(NOON_S + 60)
        meter.confirm_restart()
        assert (await meter.read_at(NOON_S + 60)).import_wh == 102

    lived(script, use)


def test_a_later_process_goes_on_from_what_was_kept() -> None:
    storage = MemoryStorage()

    async def first(meter: LiveMeter) -> None:
        await meter.read_at(NOON_S + 15)
        meter.keep(storage)
        storage.commit()

    async def second(meter: LiveMeter) -> None:
        await settled(lambda: meter.health.frames == 2)
        assert (await meter.read_at(NOON_S + 25)).import_wh == 102
        assert (await meter.read_at(NOON_S + 35)).import_wh == 103

    lived(Script([(FIRST, "stays")]), first)
    lived(Script([(LATER, "stays")]), second, state=storage.meter_state(STATE_KEY))


def test_only_changes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    many = samples(*((30 + at, 103) for at in range(200)))
    silent = MeterSilent("the plug was pulled")
    script = Script([(FIRST, silent), *[([], silent)] * 50, (many, "stays")])

    async def use(meter: LiveMeter) -> None:
        await settled(lambda: meter.health.frames == 203)

    with caplog.at_level(logging.INFO, logger="daisee.meter"):
        lived(script, use)
    assert 2 <= len(caplog.records) <= 4
    assert "the plug was pulled" in caplog.text


def test_pauses_grow_to_their_bound_and_are_spread() -> None:
    backoff, random = Backoff(), Random(3)
    for failures in range(1, 200):
        longest = min(2.0 ** (failures - 1), 60.0)
        assert longest / 2 <= backoff.pause_s(failures, random) <= longest
    assert len({backoff.pause_s(9, random) for _ in range(20)}) == 20
