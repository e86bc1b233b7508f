"""Meters for the campaign of mutated frames: what each sends, frame by frame, and what is true."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from node.meter.codec import Codec, MeterFrame
from node.meter.emon import EmonLineCodec, EmonSettings
from node.meter.json_path import PathMapping, PathRule, Register
from node.meter.p1 import LUXEMBOURG_AUTHENTICATION_KEY, EncryptedP1Codec, P1Codec
from node.meter.recording import KINDS, Reader, detect_kind
from node.meter.settings import MeterSettings
from node.meter.sml import SmlCodec
from node.meter.teleinfo import TeleinfoCodec, TicMode
from tests.support import sml_frames
from tests.support.mutations import Line
from tests.support.p1_telegrams import DUTCH, OLD, encrypted, replaced, telegram
from tests.support.teleinfo_frames import HistoricMeter, StandardMeter, horodate

FRAMES: Final = 400
"""Frames of one life; then the next begins, with the same frames and other damage."""

BEGIN_S: Final = 1_764_590_400
MAX_POWER_W: Final = 12_000
KEY: Final = bytes(range(100, 116))

Registers = tuple[int | None, int | None]
"""Import and export in Wh."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A meter on a line: the frames of a life, and a new codec for it."""

    name: str
    line: Line
    settings: MeterSettings
    codec: Callable[[], Codec]
    sent: tuple[bytes, ...]

    @property
    def good(self) -> tuple[MeterFrame, ...]:
        """What each frame says when nothing happens to it."""
        return decoded_alone(self.codec(), self.sent)


def decoded_alone(codec: Codec, sent: Sequence[bytes]) -> tuple[MeterFrame, ...]:
    """The frame that each piece completes; AssertionError unless it is one for each."""
    good = []
    for piece in sent:
        (frame,) = [one for one in codec.feed(piece) if isinstance(one, MeterFrame)]
        good.append(frame)
    return tuple(good)


def synthesised() -> Iterator[Stream]:
    """Meters that run at 3 kW, on every line that they are read by."""
    for line in (Line.CHECKED_7E1, Line.UNCHECKED_7E1):
        yield _stream("linky-historic", line, 2, _historic)
        yield _stream("linky-standard", line, 1, _standard)
        yield _stream("dsmr-p1 without checksum", line, 10, _old_telegram)
    yield _stream("dsmr-p1", Line.PLAIN_8N1, 10, _telegram)
    yield _stream("dsmr-p1 encrypted", Line.PLAIN_8N1, 10, _encrypted)
    yield _stream("sml", Line.PLAIN_8N1, 2, _sml)
    yield _stream("emon lines", Line.PLAIN_8N1, 10, _emon)


def recorded(folder: Path) -> Iterator[Stream]:
    """Every recorded stream of a serial line with a frame that tells a register: that frame, over
    and over, for the next one of the same meter was not recorded."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".tic", ".bin", ".txt"} and path.parent.name in _LINES:
            frame = _last_frame(path)
            if frame is not None:
                kind, line, period_s = _LINES[path.parent.name]
                codec = _CODECS[kind]
                yield Stream(
                    f"{kind} recorded", line, _settings(kind, period_s), codec, (frame,) * 40
                )


def messages(folder: Path) -> Iterator[tuple[str, Reader, bytes]]:
    """Every recorded file of whatever else is read: its kind, its reader, its bytes."""
    for path in sorted(folder.rglob("*")):
        if path.parent.name not in _LINES and path.suffix in {".json", ".ndjson", ".bin", ".txt"}:
            content = path.read_bytes()
            if not path.name.endswith(".expected.json"):
                kind = detect_kind(content)
                yield kind, KINDS[kind], content


_LINES: Final = {
    "linky-historic": ("linky-historic", Line.UNCHECKED_7E1, 2),
    "linky-standard": ("linky-standard", Line.UNCHECKED_7E1, 1),
    "dsmr-p1": ("dsmr-p1", Line.PLAIN_8N1, 10),
    "sml": ("sml", Line.PLAIN_8N1, 2),
}
"""By the folder of a recording: kind of meter, the worst line that it is read by, period."""

_GRID: Final = EmonSettings(
    PathMapping(
        (PathRule("E1", Register.IMPORT_WH, "Wh"), PathRule("E2", Register.EXPORT_WH, "Wh"))
    )
)

_CODECS: Final[dict[str, Callable[[], Codec]]] = {
    "linky-historic": lambda: TeleinfoCodec(TicMode.HISTORIC),
    "linky-standard": lambda: TeleinfoCodec(TicMode.STANDARD),
    "dsmr-p1 without checksum": P1Codec,
    "dsmr-p1": P1Codec,
    "dsmr-p1 encrypted": lambda: EncryptedP1Codec(KEY),
    "sml": lambda: SmlCodec(valueless=True),
    "emon lines": lambda: EmonLineCodec(_GRID),
}


def _settings(kind: str, period_s: int) -> MeterSettings:
    return MeterSettings(
        kind.split(maxsplit=1)[0], port="/dev/null", period_s=period_s, max_power_w=MAX_POWER_W
    )


def _stream(name: str, line: Line, period_s: int, frame: Callable[[int, int], bytes]) -> Stream:
    return Stream(name, line, _settings(name, period_s), _CODECS[name], _life(frame, period_s))


@cache
def _life(frame: Callable[[int, int], bytes], period_s: int) -> tuple[bytes, ...]:
    """The frames of a life: each from what had been used by then, at 3 kW."""
    return tuple(frame(at, 3_000 * period_s * at // 3_600) for at in range(FRAMES))


def _historic(_at: int, used_wh: int) -> bytes:
    return HistoricMeter().used(used_wh).frame()


def _standard(at: int, used_wh: int) -> bytes:
    meter = StandardMeter(export_wh=32_781, at_s=BEGIN_S).used(used_wh, at, used_wh // 2)
    half_hours = [horodate(BEGIN_S), horodate(BEGIN_S - 1_800)]
    curves = [(f"CCASN{day}", half_hours[day == "-1"], 3_000) for day in ("", "-1")]
    return replace(meter, curves=tuple(curves), power_va=3_000 + at).frame()


def _kwh(register_wh: int) -> str:
    return f"({register_wh // 1000:06}.{register_wh % 1000:03}*kWh)"


def _telegram(at: int, used_wh: int) -> bytes:
    lines = replaced(DUTCH, "1-0:1.8.1", _kwh(2_130_115 + used_wh))
    lines = replaced(lines, "1-0:2.8.1", _kwh(12_000 + used_wh // 2))
    minutes, seconds = divmod(10 * at, 60)
    hours, minutes = divmod(minutes, 60)
    return telegram(replaced(lines, "0-0:1.0.0", f"(2610180{hours}{minutes:02}{seconds:02}S)"))


def _old_telegram(_at: int, used_wh: int) -> bytes:
    register_wh = 12_345_678 + used_wh
    said = f"({register_wh // 1000:05}.{register_wh % 1000:03}*kWh)"
    lines = [f"1-0:1.8.1{said}" if line.startswith("1-0:1.8.1") else line for line in OLD]
    return telegram(lines, has_crc=False)


def _encrypted(at: int, used_wh: int) -> bytes:
    return encrypted(_telegram(at, used_wh), KEY, LUXEMBOURG_AUTHENTICATION_KEY, at)


def _sml(at: int, used_wh: int) -> bytes:
    return sml_frames.frame(
        (
            sml_frames.entry("0100600100ff", sml_frames.octets(sml_frames.SERVER_ID)),
            sml_frames.energy("0100010800ff", 123_456_789 + 10 * used_wh),
            sml_frames.energy("0100020800ff", 5_009 + 5 * used_wh),
            sml_frames.power(3_000 + at % 50),
        )
    )


def _emon(at: int, used_wh: int) -> bytes:
    values = f"MSG:{at},Vrms:234.50,P1:3000,P2:0,E1:{812_345 + used_wh},E2:{4_711 + used_wh // 2}"
    return values.encode() + b"\r\n"


def _last_frame(path: Path) -> bytes | None:
    """The bytes of the last frame of a recording that tells a register, if it can be repeated."""
    kind, _, _ = _LINES[path.parent.name]
    content = path.read_bytes() + (b"\r\n" if kind == "dsmr-p1" else b"")
    codec, begin, found = _CODECS[kind](), 0, None
    for end in range(1, len(content) + 1):
        decoded = codec.feed(content[end - 1 : end])
        if decoded:
            frames = [one for one in decoded if isinstance(one, MeterFrame)]
            if any(one.import_wh is not None for one in frames):
                found = content[begin:end]
            begin = end
    if found is None:
        return None
    # What one frame needs of those before it (a mode, a beginning) it does not have alone.
    again = _CODECS[kind]()
    counts = [len([one for one in again.feed(found) if isinstance(one, MeterFrame)])] * 2
    return found if counts == [1, 1] else None
