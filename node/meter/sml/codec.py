"""The stream of an infrared head on a German meter: SML transport, version 1.

::

    1B1B1B1B 01010101  body, filled up to whole words  1B1B1B1B 1A <fill> <checksum 2>

``1B1B1B1B`` in the body is sent twice. The checksum (CRC-16/X-25, low byte first) covers everything
before it. A beginning inside of a frame means that the end of the last one was lost.
"""

from __future__ import annotations

from typing import Final

from node.meter.codec import MAX_REJECTED_BYTES, Decoded, Rejected
from node.meter.crc16 import KERMIT, X25
from node.meter.sml.reading import KIND, decode_body

MAX_FRAME_BYTES: Final = 4096
"""The longest frames recorded have 700 bytes."""

_ESCAPE: Final = b"\x1b\x1b\x1b\x1b"
_BEGIN: Final = b"\x01\x01\x01\x01"
_START: Final = _ESCAPE + _BEGIN
_END: Final = 0x1A
_WORD: Final = 4

_OUTSIDE: Final = "outside of a frame: the beginning of one was not heard"
_NO_END: Final = "a frame began before the last one had ended"
_TOO_LONG: Final = f"{MAX_FRAME_BYTES} bytes without the end of a frame"
_CUT: Final = "the stream ended inside a frame"
_KERMIT_ONLY: Final = (
    "the checksum is right only as CRC-16/KERMIT, as some Holley meters send it against the "
    "standard: allow that for this meter, or the frame stays refused"
)


class SmlCodec:
    """Decodes one stream. Two known deviations from the standard can be allowed for a meter that
    has them: ``kermit``, the other checksum of Holley meters, which halves what the checksum proves
    and so is not tried on every meter; ``valueless``, entries of a list without a value."""

    __slots__ = (
        "_buffer",
        "_is_inside",
        "_is_told",
        "_kermit",
        "_scanned",
        "_second_escapes",
        "_skipped",
        "_valueless",
        "kind",
    )

    def __init__(self, *, kermit: bool = False, valueless: bool = False) -> None:
        self.kind: str = KIND
        self._kermit = kermit
        self._valueless = valueless
        self._buffer = bytearray()
        self._scanned = 0
        self._second_escapes: list[int] = []
        self._is_inside = False
        self._skipped = bytearray()
        self._is_told = False

    @property
    def buffered_bytes(self) -> int:
        """How much of the stream is kept."""
        return len(self._buffer) + len(self._skipped)

    def feed(self, chunk: bytes) -> list[Decoded]:
        """Take the next bytes; return what is complete by now."""
        decoded: list[Decoded] = []
        for begin in range(0, len(chunk), MAX_FRAME_BYTES):
            self._buffer += chunk[begin : begin + MAX_FRAME_BYTES]
            while self._step(decoded):
                pass
        return decoded

    def finish(self) -> list[Decoded]:
        """The stream has ended: what was still incomplete is refused. What damage made look like
        one long frame may hold whole ones; they are found now."""
        decoded: list[Decoded] = []
        while self._is_inside:
            self._refuse(len(self._buffer), _CUT, decoded)
            while self._step(decoded):
                pass
        self._skip(len(self._buffer))
        self._tell_skipped(decoded)
        return decoded

    def _step(self, decoded: list[Decoded]) -> bool:
        """Find the next frame's beginning or end; False when more bytes are needed."""
        return self._scan(decoded) if self._is_inside else self._find_start(decoded)

    def _find_start(self, decoded: list[Decoded]) -> bool:
        at = self._buffer.find(_START)
        if at < 0:
            self._skip(max(len(self._buffer) - len(_START) + 1, 0))
            return False
        self._skip(at)
        self._tell_skipped(decoded)
        self._enter()
        return True

    def _enter(self) -> None:
        self._is_inside = True
        self._is_told = False
        self._scanned = len(_START)
        self._second_escapes.clear()

    def _scan(self, decoded: list[Decoded]) -> bool:
        """Inside of a frame: look at the next escape. Four bytes that happen to look like one, and
        are followed by nothing known, belong to the body."""
        at = self._buffer.find(_ESCAPE, self._scanned, MAX_FRAME_BYTES)
        end = at + 2 * _WORD
        if at < 0 or end > min(len(self._buffer), MAX_FRAME_BYTES):
            if len(self._buffer) >= MAX_FRAME_BYTES:
                self._refuse(MAX_FRAME_BYTES, _TOO_LONG, decoded)
                return True
            self._scanned = at if at >= 0 else max(self._scanned, len(self._buffer) - _WORD + 1)
            return False
        word = bytes(self._buffer[at + _WORD : end])
        self._scanned = at + 1
        if word == _ESCAPE:
            self._second_escapes.append(at + _WORD)
            self._scanned = end
        elif word == _BEGIN:
            decoded.append(_rejected(_NO_END, self._buffer[:at]))
            del self._buffer[:at]
            self._enter()
        elif word[0] == _END:
            self._complete(end, decoded)
        return True

    def _complete(self, end: int, decoded: list[Decoded]) -> None:
        frame = bytes(self._buffer[:end])
        fill = frame[end - _WORD + 1]
        fault = self._fault_of(frame)
        if fault is None and fill > _WORD:
            fault = f"{fill} bytes of filling"
        if fault is not None:
            self._refuse(end, fault, decoded)
            return
        body = self._body_of(frame)
        judged = decode_body(body[: len(body) - fill], checked=False, valueless=self._valueless)
        if isinstance(judged, Rejected):
            judged = _rejected(judged.reason, frame)
        decoded.append(judged)
        del self._buffer[:end]
        self._is_inside = False

    def _body_of(self, frame: bytes) -> bytes:
        """Between beginning and end, without the second of doubled escapes."""
        begins = [len(_START), *(at + _WORD for at in self._second_escapes)]
        ends = [*self._second_escapes, len(frame) - 2 * _WORD]
        return b"".join(frame[begin:end] for begin, end in zip(begins, ends, strict=True))

    def _fault_of(self, frame: bytes) -> str | None:
        covered, said = frame[:-2], frame[-2:]
        found = X25.of(covered).to_bytes(2, "little")
        if found == said:
            return None
        if KERMIT.of(covered).to_bytes(2, "big") == said:
            return None if self._kermit else _KERMIT_ONLY
        return f"the checksum is {said.hex()}, but that of the bytes is {found.hex()}"

    def _refuse(self, end: int, reason: str, decoded: list[Decoded]) -> None:
        """Refuse a frame, and look for the next one right behind its beginning: where bytes were
        lost, what looked like a doubled escape may have been one."""
        decoded.append(_rejected(reason, self._buffer[:end]))
        del self._buffer[: len(_START)]
        self._is_inside = False
        self._is_told = True

    def _skip(self, count: int) -> None:
        """Leave bytes out; their beginning is kept, to be told, unless they were refused before."""
        if not self._is_told:
            self._skipped += self._buffer[: min(count, MAX_REJECTED_BYTES - len(self._skipped))]
        del self._buffer[:count]

    def _tell_skipped(self, decoded: list[Decoded]) -> None:
        if self._skipped:
            decoded.append(_rejected(_OUTSIDE, self._skipped))
            self._skipped.clear()


def _rejected(reason: str, raw: bytes | bytearray) -> Rejected:
    return Rejected(reason, bytes(raw[:MAX_REJECTED_BYTES]))
