"""Reading a recorded file of any meter: which protocol it is, and what it says.

A file is judged by what only its protocol has (escape bytes, a telegram's slash, frame marks), JSON
by which reader makes most of it. What the right reader then refuses stays refused: a damaged file
of a Linky is a damaged Linky, not the luck of another protocol.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from node.meter import citizenwatt, emon, shelly, tasmota
from node.meter.codec import Codec, Decoded, MeterFrame, Rejected
from node.meter.p1 import P1Codec
from node.meter.sml import SmlCodec, decode_body
from node.meter.teleinfo import TeleinfoCodec, TicMode

Reader = Callable[[bytes], list[Decoded]]

MAX_RECORDING_BYTES: Final = 64 * 2**20
"""A day of a meter that speaks every second."""

_SML_ESCAPE: Final = b"\x1b\x1b\x1b\x1b"
_SML_LIST: Final = b"\x76"
_TIC_GROUP: Final = re.compile(rb"\n[A-Z0-9+\-]{3,9}[ \t]")
_P1_START: Final = re.compile(rb"(?:^|\n)/[ -~]{4,}")


@dataclass(frozen=True, slots=True)
class Recording:
    """What a file says. ``kind`` is as precise as the frames are (``linky-historic``)."""

    kind: str
    frames: tuple[MeterFrame, ...]
    rejected: tuple[Rejected, ...]

    @property
    def meter_id(self) -> str | None:
        """The first meter that names itself."""
        return next((frame.meter_id for frame in self.frames if frame.meter_id), None)


def read_recording(content: bytes, kind: str | None = None) -> Recording:
    """Everything in a file, as one kind of meter or as the kind that it looks like.

    Raises KeyError for a kind that is not in ``KINDS``.
    """
    if kind is None:
        kind = detect_kind(content)
    decoded = KINDS[kind](content)
    frames = tuple(item for item in decoded if isinstance(item, MeterFrame))
    rejected = tuple(item for item in decoded if isinstance(item, Rejected))
    return Recording(frames[0].kind if frames else kind, frames, rejected)


def detect_kind(content: bytes) -> str:
    """The kind of meter that a file is from, by what it looks like."""
    if _SML_ESCAPE in content or content.startswith(_SML_LIST):
        return "sml"
    if content[:1] in (b"\x02", b"\x03") or _TIC_GROUP.search(b"\n" + content):
        return "linky"
    if _P1_START.search(content):
        return "dsmr-p1"
    if content.lstrip()[:1] in (b"{", b"["):
        return max(_MESSAGES, key=lambda kind: _made_of(KINDS[kind](content)))
    return "citizenwatt" if len(content) == citizenwatt.PACKET_BYTES else "emon"


def _made_of(decoded: list[Decoded]) -> tuple[int, int, int]:
    """How much a reader made of messages: registers and powers first, then frames at all."""
    frames = [item for item in decoded if isinstance(item, MeterFrame)]
    told = sum(
        value is not None
        for frame in frames
        for value in (frame.import_wh, frame.export_wh, frame.power_w, frame.power_va)
    )
    return told, len(frames), -len(decoded)


def _with(codec: Callable[[], Codec]) -> Reader:
    def read(content: bytes) -> list[Decoded]:
        stream = codec()
        return [*stream.feed(content), *stream.finish()]

    return read


def _read_sml(content: bytes) -> list[Decoded]:
    """Frames with their transport; a file of one bare body is read as such."""
    if _SML_ESCAPE in content:
        return _with(SmlCodec)(content)
    return [decode_body(content)]


def _read_linky(content: bytes) -> list[Decoded]:
    """In the mode of its separators: a standard group has at least two tabulators, a historic one
    none. A stream decides by valid groups over time; a file may hold a single damaged frame."""
    is_standard = content.count(b"\t") >= content.count(b"\n")
    return KINDS["linky-standard" if is_standard else "linky-historic"](content)


def _read_emon(content: bytes) -> list[Decoded]:
    """Messages if they are JSON with topics, else the lines of a serial port."""
    lines = _with(emon.EmonLineCodec)(content)
    messages = emon.decode_ndjson(content)
    return max(messages, lines, key=_made_of)


def _read_citizenwatt(content: bytes) -> list[Decoded]:
    """Sixteen-byte packets one after the other, or answers of the base's web interface."""
    size = citizenwatt.PACKET_BYTES
    if content.lstrip()[:1] in (b"{", b"[") or len(content) % size:
        return citizenwatt.decode_ndjson(content)
    packets = (content[i : i + size] for i in range(0, len(content), size))
    return [citizenwatt.decode_packet(packet) for packet in packets]


KINDS: Final[Mapping[str, Reader]] = {
    "linky": _read_linky,
    "linky-historic": _with(lambda: TeleinfoCodec(TicMode.HISTORIC)),
    "linky-standard": _with(lambda: TeleinfoCodec(TicMode.STANDARD)),
    "dsmr-p1": _with(P1Codec),
    "sml": _read_sml,
    "emon": _read_emon,
    "tasmota": tasmota.decode_ndjson,
    "shelly": shelly.decode_ndjson,
    "citizenwatt": _read_citizenwatt,
}
"""Every kind of recording that can be read, by the name that a person types."""

_MESSAGES: Final = ("shelly", "tasmota", "emon", "citizenwatt")
