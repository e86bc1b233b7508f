"""SML's encoding of data: type, length, value.

The first byte holds the type in bits 4 to 6 and the length in bits 0 to 3; bit 7 says that a second
byte carries four more bits of length, and so on. The length of a list is its number of elements,
that of everything else counts the type-length bytes too. 0x01, an empty octet string, stands for
what is left out; 0x00 ends a message.
"""

from __future__ import annotations

from typing import Final

MAX_DEPTH: Final = 8
"""A list of values lies five lists deep."""

MAX_LENGTH_BYTES: Final = 3
MAX_INTEGER_BYTES: Final = 8

_OCTETS: Final = 0
_BOOLEAN: Final = 4
_SIGNED: Final = 5
_UNSIGNED: Final = 6
_LIST: Final = 7

Element = bytes | bool | int | tuple["Element", ...]

LEFT_OUT: Final = b""


class MalformedError(ValueError):
    """A body that is not SML; says what is wrong. It never leaves the decoder."""


class TlvReader:
    """Reads elements of a body one after the other. Each method raises MalformedError."""

    __slots__ = ("_body", "position")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.position = 0

    @property
    def is_at_end(self) -> bool:
        """Nothing is left."""
        return self.position >= len(self._body)

    def passed(self, begin: int) -> bytes:
        """The bytes read since a position."""
        return self._body[begin : self.position]

    def skip_zeros(self) -> None:
        """Fill bytes between messages."""
        while not self.is_at_end and self._body[self.position] == 0:
            self.position += 1

    def end_of_message(self) -> None:
        """The 0x00 that ends a message."""
        if self._byte() != 0:
            raise MalformedError("a message does not end where it should")

    def list_of(self, size: int, what: str) -> None:
        """The head of a list of a given number of elements, which are then read one by one."""
        kind, length, _ = self._head()
        if kind != _LIST or length != size:
            raise MalformedError(f"{what} is not a list of {size}")

    def element(self, depth: int = 0) -> Element:
        """The next element, with all that is in it."""
        kind, length, head = self._head()
        if kind == _LIST:
            return self._list(length, depth)
        size = length - head
        if size < 0:
            raise MalformedError("a length is shorter than its own bytes")
        value = self._take(size)
        if kind == _OCTETS:
            return value
        if kind not in {_BOOLEAN, _SIGNED, _UNSIGNED} or not 1 <= size <= MAX_INTEGER_BYTES:
            raise MalformedError(f"an element of type {kind} with {size} bytes")
        if kind == _BOOLEAN:
            return value != b"\x00"
        return int.from_bytes(value, "big", signed=kind == _SIGNED)

    def _list(self, length: int, depth: int) -> tuple[Element, ...]:
        if depth >= MAX_DEPTH:
            raise MalformedError(f"lists more than {MAX_DEPTH} deep")
        if length > len(self._body) - self.position:
            raise MalformedError("a list is longer than the body")
        return tuple(self.element(depth + 1) for _ in range(length))

    def _head(self) -> tuple[int, int, int]:
        """Type, length, and how many bytes said it."""
        byte = self._byte()
        kind, length, count = byte >> 4 & 7, byte & 15, 1
        while byte & 0x80:
            byte = self._byte()
            count += 1
            if byte & 0x70 or count > MAX_LENGTH_BYTES:
                raise MalformedError("a length is unreadable")
            length = length << 4 | byte & 15
        return kind, length, count

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, size: int) -> bytes:
        begin = self.position
        if size > len(self._body) - begin:
            raise MalformedError("the body ends inside an element")
        self.position = begin + size
        return self._body[begin : self.position]
