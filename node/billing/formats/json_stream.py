"""A JSON object whose one long array is handed over element by element."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import IO, Final

from node.billing.rows import TooMuch, Unreadable

__all__ = ["MAX_ELEMENT_CHARS", "JsonObject"]

MAX_ELEMENT_CHARS: Final = 64 * 2**20
"""One point's three years at five minutes are 30 MB."""

_CHUNK_BYTES: Final = 2**20
_SPACE: Final = re.compile(r"[ \t\r\n]*")


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


class JsonObject:
    """Reads one object. The elements of the array under ``key`` go to ``take`` with the line at
    which each begins; everything else of the object is returned."""

    def __init__(self, key: str, take: Callable[[int, object], None]) -> None:
        self._key = key
        self._take = take
        self._decoder = json.JSONDecoder(parse_constant=_no_constant)
        self._buffer = ""
        self._at = 0
        self._line = 1
        self._stream: IO[bytes] | None = None

    def read(self, stream: IO[bytes]) -> dict[str, object]:
        """Read to the end. Raises Unreadable (broken, not UTF-8, too deep) or TooMuch."""
        self._stream = stream
        rest: dict[str, object] = {}
        self._more()
        self._buffer = self._buffer.removeprefix("\ufeff")
        self._expect("{")
        if self._peek() == "}":
            self._at += 1
            return self._finished(rest)
        while True:
            key = self._value()
            if not isinstance(key, str):
                raise Unreadable("the JSON is broken", self._line)
            self._expect(":")
            if key == self._key and self._peek() == "[":
                self._elements()
            else:
                rest[key] = self._value()
            if self._peek() == "}":
                self._at += 1
                return self._finished(rest)
            self._expect(",")

    def _finished(self, rest: dict[str, object]) -> dict[str, object]:
        if self._peek():
            raise Unreadable("something follows the JSON object", self._line)
        return rest

    def _elements(self) -> None:
        self._expect("[")
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            self._peek()
            line = self._line + self._buffer.count("\n", 0, self._at)
            value = self._value()
            try:
                self._take(line, value)
            except Unreadable as error:
                raise Unreadable(str(error), error.line or line) from error
            if self._peek() == "]":
                self._at += 1
                return
            self._expect(",")

    def _value(self) -> object:
        """The next value; more is read until it is whole."""
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if not self._more(len(self._buffer) - self._at):
                    line = self._line + error.lineno - 1
                    raise Unreadable(f"the JSON is broken: {error.msg}", line) from error
                continue
            except (RecursionError, ValueError) as error:
                raise Unreadable(f"the JSON cannot be read: {error}", self._line) from error
            # A number at the end of what was read may go on in what was not.
            if end < len(self._buffer) or not self._more():
                self._at = end
                return value

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            match = _SPACE.match(self._buffer, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def _expect(self, char: str) -> None:
        if self._peek() != char:
            line = self._line + self._buffer.count("\n", 0, self._at)
            raise Unreadable(f"the JSON is broken: no {char!r} where one must be", line)
        self._at += 1

    def _more(self, at_least: int = 0) -> bool:
        """Forget what is done and read on, at least as much as waits; False at the end."""
        assert self._stream is not None
        self._line += self._buffer.count("\n", 0, self._at)
        self._buffer = self._buffer[self._at :]
        self._at = 0
        if len(self._buffer) > MAX_ELEMENT_CHARS:
            raise TooMuch(f"a JSON value of more than {MAX_ELEMENT_CHARS} characters")
        chunk = self._stream.read(max(_CHUNK_BYTES, at_least))
        if not chunk:
            return False
        # A character may be cut by the chunk's end: at most three bytes of it follow.
        for _ in range(4):
            try:
                self._buffer += chunk.decode("utf-8")
            except UnicodeDecodeError as error:
                following = self._stream.read(1) if error.end == len(chunk) else b""
                if not following:
                    raise Unreadable("the JSON is not in UTF-8", self._line) from error
                chunk += following
            else:
                return True
        raise Unreadable("the JSON is not in UTF-8", self._line)
