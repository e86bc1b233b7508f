"""The stream of a P1 port: where a telegram begins and ends.

A telegram is ``/XXX5ident``, objects line by line, and ``!`` with the checksum; some meters send
more text after that, which is left out. The wrong checksum costs the whole telegram. What begins in
the middle is refused up to its end, or up to where the next one begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from node.meter.codec import MAX_REJECTED_BYTES, Decoded, MeterFrame
from node.meter.p1.reading import KIND, read_telegram
from node.meter.p1.telegram import ENCRYPTED, ENCRYPTED_HEAD, Telegram, fault_of, refused

MAX_LINE_BYTES: Final = 4096
"""The longest line of the specifications is a message of 1,024 characters, in hexadecimal."""

MAX_TELEGRAM_BYTES: Final = 16_384
"""The longest telegrams known have about 2 kB, and a message may come on top."""

Reader = Callable[[Telegram], Decoded]
"""Reads a telegram whose checksum is right, or which has none. Never raises."""

_HEADER: Final = re.compile(rb"/[A-Za-z0-9]{3}[^()\x00-\x1F\x7F-\xFF]{0,64}\r?\n?\Z")
_END: Final = re.compile(rb"!([0-9A-Fa-f]{0,4})(?![0-9A-Fa-f])")

_HEADLESS: Final = "the beginning of this telegram was not heard"
_TOO_LONG: Final = f"{MAX_TELEGRAM_BYTES} bytes without the end of a telegram"
_NO_END: Final = "a telegram began before the last one had ended"
_CUT: Final = "the stream ended inside a telegram"
_NOTHING: Final = "no telegram: nothing of this looks like a line of one"


class P1Codec:
    """Decodes one stream of a P1 port that is not encrypted."""

    __slots__ = (
        "_fault",
        "_has_crc",
        "_is_inside",
        "_line",
        "_noise",
        "_read",
        "_telegram",
        "kind",
    )

    def __init__(self, read: Reader = read_telegram) -> None:
        self.kind: str = KIND
        self._read = read
        self._line = bytearray()
        self._telegram = bytearray()
        self._is_inside = False
        self._fault: str | None = None
        self._has_crc = False
        self._noise: bytearray | None = bytearray()

    @property
    def buffered_bytes(self) -> int:
        """How much of the stream is kept."""
        return len(self._line) + len(self._telegram) + len(self._noise or b"")

    def feed(self, chunk: bytes) -> list[Decoded]:
        """Take the next bytes; return what is complete by now."""
        decoded: list[Decoded] = []
        for begin in range(0, len(chunk), MAX_LINE_BYTES):
            self._line += chunk[begin : begin + MAX_LINE_BYTES]
            self._take_lines(decoded)
        return self._heard(decoded)

    def finish(self) -> list[Decoded]:
        """The stream has ended: a last line without its line end counts if it is the ``!``. Files
        of meters without a checksum may lack even that; such a telegram is not complete."""
        decoded: list[Decoded] = []
        line = bytes(self._line)
        self._line.clear()
        self._take_line(line, decoded)
        if self._is_inside:
            is_whole = self._fault is None and not line
            self._end(_CUT if not is_whole else None, None, decoded, is_ended=False)
        decoded = self._heard(decoded)
        if self._noise:
            decoded.append(refused(bytes(self._noise), _NOTHING))
            self._noise = None
        return decoded

    def _heard(self, decoded: list[Decoded]) -> list[Decoded]:
        """Noise is of interest only as long as nothing else was heard."""
        if decoded:
            self._noise = None
        return decoded

    def _take_lines(self, decoded: list[Decoded]) -> None:
        """Lines as they are complete; one that is too long counts as two."""
        while True:
            end = self._line.find(b"\n", 0, MAX_LINE_BYTES) + 1
            if not end and len(self._line) < MAX_LINE_BYTES:
                return
            end = end or MAX_LINE_BYTES
            line = bytes(self._line[:end])
            del self._line[:end]
            self._take_line(line, decoded)

    def _take_line(self, line: bytes, decoded: list[Decoded]) -> None:
        if ENCRYPTED_HEAD.search(line):
            if self._is_inside:
                self._end(_NO_END, None, decoded)
            self._begin(line, ENCRYPTED)
        elif self._is_inside and line.startswith(b"!"):
            self._end_at(line, decoded)
        elif self._is_inside and _HEADER.search(line):
            self._end(_NO_END, None, decoded)
            self._begin_in(line)
        elif self._is_inside:
            self._telegram += line
            if len(self._telegram) > MAX_TELEGRAM_BYTES:
                self._end(_TOO_LONG, None, decoded)
        else:
            self._begin_in(line)

    def _begin_in(self, line: bytes) -> None:
        """Outside of a telegram: its header begins one, an object without one is refused later."""
        header = _HEADER.search(line)
        if header is not None:
            self._begin(header[0], None)
        elif b"(" in line:
            self._begin(line, _HEADLESS)
        elif self._noise is not None:
            self._noise += line[: MAX_REJECTED_BYTES - len(self._noise)]

    def _begin(self, line: bytes, fault: str | None) -> None:
        self._is_inside = True
        self._fault = fault
        self._telegram += line

    def _end_at(self, line: bytes, decoded: list[Decoded]) -> None:
        """The ``!`` line. If its line end was lost, the next telegram begins in it."""
        match = _END.match(line)
        self._telegram += b"!"
        if match is None:
            self._end("the checksum is unreadable", None, decoded)
            return
        self._end(None, int(match[1], 16) if match[1] else None, decoded)
        self._begin_in(line[match.end() :])

    def _end(
        self, fault: str | None, crc: int | None, decoded: list[Decoded], *, is_ended: bool = True
    ) -> None:
        telegram = Telegram(bytes(self._telegram), crc, is_ended)
        fault = self._fault or fault or fault_of(telegram, has_crc=self._has_crc)
        self._telegram.clear()
        self._is_inside = False
        self._fault = None
        read = self._read(telegram) if fault is None else refused(telegram.body, fault)
        self._has_crc = self._has_crc or (crc is not None and isinstance(read, MeterFrame))
        decoded.append(read)
