"""Meters for people without a meter: a recorded file, or a home's profile, replayed by the clock.

What is replayed proves nothing, whatever was recorded: every frame is of class C and says that it
was replayed. Its own time is left out, for it is another one's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from node.clock import Clock
from node.errors import ConfigurationError, MeterError, MeterSilent
from node.meter.arrivals import Arrived, Connect, Transport
from node.meter.codec import Decoded, MeterFrame
from node.meter.decoders import message_decoder, stream_codec
from node.meter.home_profile import HomeRegisters, read_home_registers
from node.meter.lines import LINES
from node.meter.recorded import messages_of
from node.meter.recording import KINDS, MAX_RECORDING_BYTES, detect_kind
from node.meter.settings import MeterSettings
from node.model import EvidenceClass

__all__ = ["KIND", "REPLAYED", "connect_recorded"]

KIND: Final = "replay"
REPLAYED: Final = "replayed: no meter says this now"


def connect_recorded(settings: MeterSettings, clock: Clock) -> Connect:
    """Replay ``settings.file``, ``settings.pace`` times as fast as it was.

    A ``.csv`` is a home's profile: its registers go on for ever. Any other file is a recording:
    streams come as fast as their line was, messages every ``period_s``; its end is a connection
    lost. Entering raises ConfigurationError for a file that cannot be used.
    """

    @asynccontextmanager
    async def connection() -> AsyncIterator[Transport]:
        assert settings.file is not None
        if settings.file.suffix == ".csv":
            home = read_home_registers(settings.file)
            yield HomeTransport(home, clock, settings)
        else:
            yield RecordingTransport(_content(settings.file), clock, settings)

    def connect() -> AbstractAsyncContextManager[Transport]:
        return connection()

    return connect


class HomeTransport:
    """A home's registers, every ``period_s`` of the clock."""

    def __init__(self, home: HomeRegisters, clock: Clock, settings: MeterSettings) -> None:
        self._home = home
        self._clock = clock
        self._settings = settings

    async def arrivals(self) -> AsyncIterator[Arrived]:
        """A frame at once, and one at each multiple of the period, for ever."""
        period_s = self._settings.period_s
        while True:
            at_s = self._clock.now_s()
            yield Arrived(at_s, self._frame(at_s))
            await self._clock.sleep_until((at_s // period_s + 1) * period_s)

    def _frame(self, at_s: int) -> MeterFrame:
        import_wh, export_wh = self._home.at(at_s, self._settings.pace)
        return MeterFrame(
            KIND,
            EvidenceClass.C,
            self._settings.meter_id or self._home.name,
            import_wh=import_wh,
            export_wh=export_wh,
            notes=(REPLAYED,),
        )


class RecordingTransport:
    """A recorded file of any known meter."""

    def __init__(self, content: bytes, clock: Clock, settings: MeterSettings) -> None:
        self._content = content
        self._clock = clock
        self._settings = settings
        self._kind = "json" if settings.mapping.rules else detect_kind(content)

    async def arrivals(self) -> AsyncIterator[Arrived]:
        """Every frame and refusal of the file, then MeterSilent."""
        is_json = self._content.lstrip()[:1] in {b"{", b"["}
        is_stream = self._kind in LINES and not is_json
        steps = self._stream() if is_stream else self._messages()
        for decoded, then_s in steps:
            at_s = self._clock.now_s()
            for item in decoded:
                yield Arrived(at_s, _replayed(item))
            await self._clock.sleep_until(at_s + then_s)
        raise MeterSilent(f"{self._settings.file}: the recording has ended")

    def _stream(self) -> Iterator[tuple[list[Decoded], int]]:
        """What the line said in each second."""
        codec = stream_codec(replace(self._settings, kind=self._kind))()
        lines = LINES[self._kind]
        line = self._settings.line or lines[-1 if self._is_historic() else 0]
        step = line.bytes_per_s * self._settings.pace
        for begin in range(0, len(self._content), step):
            yield codec.feed(self._content[begin : begin + step]), 1
        yield codec.finish(), 0

    def _is_historic(self) -> bool:
        return self._kind == "linky" and b"\t" not in self._content

    def _messages(self) -> Iterator[tuple[list[Decoded], int]]:
        """A message every period; a pace faster than that gives several in one second."""
        if self._kind not in {"emon", "tasmota", "shelly", "citizenwatt", "json"}:
            yield KINDS[self._kind](self._content), 0
            return
        decode = message_decoder(replace(self._settings, kind=self._kind))
        period_s, pace = self._settings.period_s, self._settings.pace
        for number, (topic, payload) in enumerate(messages_of(self._content)):
            then_s = (number + 1) * period_s // pace - number * period_s // pace
            yield decode(topic, payload), then_s


def _replayed(item: Decoded) -> Decoded:
    if not isinstance(item, MeterFrame):
        return item
    notes = (*item.notes, REPLAYED)
    return replace(item, evidence_class=EvidenceClass.C, taken_at_s=None, notes=notes)


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_RECORDING_BYTES:
            raise MeterError(f"{file} is larger than {MAX_RECORDING_BYTES // 2**20} MiB")
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})", file=file) from error
