"""Serial lines, on real pseudo-terminals: settings, speed, damage, unplugging, two readers."""

from __future__ import annotations

import asyncio
import os
import termios
from pathlib import Path

import pytest

from node.clock import ManualClock, SystemClock
from node.errors import MeterError, MeterSilent
from node.meter.codec import MeterFrame, Rejected
from node.meter.lines import LINES, Line, LineMode
from node.meter.settings import MeterSettings
from node.meter.sources import connect_for
from node.meter.teleinfo import TeleinfoCodec
from node.meter.transports.serial_port import SerialPort, connect_serial
from tests.support.arrivals import PATIENCE_S, first_arrivals, first_frames
from tests.support.serial_line import SerialLine, serial_line
from tests.support.teleinfo_frames import HistoricMeter, StandardMeter


def of_linky(line: SerialLine, kind: str = "linky") -> MeterSettings:
    return MeterSettings.from_table({"kind": kind, "port": line.path}, Path("node.toml"))


def test_reads_what_a_meter_says() -> None:
    meter = StandardMeter()
    with serial_line() as line:
        connect = connect_for(of_linky(line), SystemClock())
        frames = asyncio.run(first_frames(connect, 2, meanwhile=lambda: line.say(meter.frame())))
    assert [frame.import_wh for frame in frames[-2:]] == [meter.import_wh] * 2
    assert {frame.kind for frame in frames} == {"linky-standard"}


def test_keeps_every_raw_byte_for_a_recording() -> None:
    said = StandardMeter().frame()
    kept = bytearray()
    with serial_line() as line:
        connect = connect_for(of_linky(line), SystemClock(), kept.extend)
        asyncio.run(first_frames(connect, 1, meanwhile=lambda: line.say(said)))
    assert said in kept


def test_checks_parity_and_hides_nothing() -> None:
    """INPCK turns a byte with a wrong parity bit into 0x00; the flags that would drop it, mark it
    or cut its eighth bit are off, and so is everything that turns bytes into others."""
    with serial_line() as line:
        port = SerialPort(line.path, LINES["linky-standard"], 10)
        iflag, cflag, speed = line.settings()
        port.close()
    assert iflag & termios.INPCK
    assert not iflag & (termios.IGNPAR | termios.PARMRK | termios.ISTRIP)
    assert not iflag & (termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON)
    assert not cflag & termios.CSTOPB
    assert speed == termios.B9600


def test_does_not_check_parity_where_there_is_none() -> None:
    with serial_line() as line:
        port = SerialPort(line.path, (Line(115200, LineMode.EIGHT_NONE),), 10)
        iflag, cflag, speed = line.settings()
        port.close()
    assert not iflag & termios.INPCK
    assert cflag & termios.CSIZE == termios.CS8
    assert speed == termios.B115200


def test_a_byte_that_failed_its_parity_spoils_its_group_only() -> None:
    meter = StandardMeter()
    good = meter.frame()
    at = good.index(b"SINSTS") + 9
    damaged = good[:at] + b"\x00" + good[at + 1 :]
    with serial_line() as line:
        connect = connect_for(of_linky(line, "linky-standard"), SystemClock())
        arrived = asyncio.run(first_arrivals(connect, 1, meanwhile=lambda: line.say(damaged)))
    frame = arrived[-1].decoded
    assert isinstance(frame, MeterFrame)
    assert (frame.import_wh, frame.power_va, frame.complete) == (meter.import_wh, None, False)
    reasons = [item.decoded.reason for item in arrived if isinstance(item.decoded, Rejected)]
    assert any(reason.startswith("SINSTS: byte 0x00") for reason in reasons)


def test_finds_a_linky_that_was_switched_to_the_other_mode() -> None:
    """What 9600 baud makes of 1200 is noise; after some seconds the line is set to 1200."""
    meter, clock = HistoricMeter(), ManualClock(1_000)

    with serial_line() as line:

        def speak() -> None:
            clock.advance_to(clock.now_s() + 4)
            is_slow = line.settings()[2] == termios.B1200
            line.say(meter.frame() if is_slow else b"\x00\xf8\x06\x00\x1e\xfe")

        frames = asyncio.run(first_frames(connect_for(of_linky(line), clock), 1, meanwhile=speak))
    assert [(frame.kind, frame.import_wh) for frame in frames] == [
        ("linky-historic", meter.import_wh)
    ]


def test_a_line_with_frames_is_left_as_it_is() -> None:
    meter, clock = StandardMeter(), ManualClock(1_000)
    with serial_line() as line:

        def speak() -> None:
            clock.advance_to(clock.now_s() + 4)
            line.say(meter.frame())

        asyncio.run(first_frames(connect_for(of_linky(line), clock), 8, meanwhile=speak))
        assert line.settings()[2] == termios.B9600


def test_unplugging_is_silence() -> None:
    async def pull_out() -> None:
        async with asyncio.timeout(PATIENCE_S), connect() as transport:
            asyncio.get_running_loop().call_later(0.1, line.unplug)
            async for _ in transport.arrivals():
                pass

    with serial_line() as line:
        connect = connect_for(of_linky(line), SystemClock())
        with pytest.raises(MeterSilent, match="is gone"):
            asyncio.run(pull_out())


def test_leaving_in_the_middle_gives_the_port_back() -> None:
    async def come_and_go() -> None:
        connect = connect_for(of_linky(line), SystemClock())
        for _ in range(3):
            async with connect() as transport:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await anext(transport.arrivals())

    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with serial_line() as line:
        before = opened()
        asyncio.run(come_and_go())
        assert opened() == before


def test_two_readers_would_each_get_half() -> None:
    with serial_line() as line:
        first = SerialPort(line.path, LINES["sml"], 10)
        with pytest.raises(MeterSilent, match="in use"):
            SerialPort(line.path, LINES["sml"], 10)
        first.close()
        SerialPort(line.path, LINES["sml"], 10).close()


def test_a_missing_port_may_come_back() -> None:
    with pytest.raises(MeterSilent, match="cannot be opened"):
        SerialPort("/dev/no-such-port", LINES["sml"], 10)


def test_a_file_is_no_port(tmp_path: Path) -> None:
    file = tmp_path / "frames.tic"
    file.write_bytes(b"")
    with pytest.raises(MeterError, match="no serial port"):
        SerialPort(str(file), LINES["sml"], 10)


def test_a_port_of_others_needs_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path, flags)

    with serial_line() as line:
        monkeypatch.setattr(os, "open", refuse)  # whoever runs the tests may be root
        with pytest.raises(MeterError, match="may not be opened") as caught:
            SerialPort(line.path, LINES["sml"], 10)
    assert "dialout" in caught.value.next_step


def test_reads_a_named_pipe_that_a_receiver_writes_into(tmp_path: Path) -> None:
    pipe = tmp_path / "sensor"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    said = HistoricMeter().frame()
    connect = connect_serial(str(pipe), LINES["linky"], TeleinfoCodec, SystemClock())
    frames = asyncio.run(first_frames(connect, 1, meanwhile=lambda: _write(writer, said)))
    os.close(writer)
    assert frames[0].kind == "linky-historic"


def _write(fd: int, said: bytes) -> None:
    os.write(fd, said)
