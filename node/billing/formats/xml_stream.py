"""XML as a stream of elements: no document type, no entities, bounded depth and text.

Expat expands entities only from a document type; refusing that leaves nothing to expand or fetch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO, Final
from xml.parsers import expat

from node.billing.rows import TooMuch, Unreadable

__all__ = ["MAX_DEPTH", "XmlReader"]

MAX_DEPTH: Final = 64
MAX_TEXT_CHARS: Final = 65_536
MAX_TAG_BYTES: Final = 2**20
"""Of one tag, comment or instruction, which the parser holds whole, and begins anew with each piece
that comes of it; the longest of any flow has some hundred bytes."""

_CHUNK_BYTES: Final = 2**18


class XmlReader:
    """Walks a document once: ``begin(name, attributes)`` and ``end(name, text)`` for each element,
    names without prefix. ``line`` is where the parser stands."""

    def __init__(
        self,
        begin: Callable[[str, Mapping[str, str]], None],
        end: Callable[[str, str], None],
    ) -> None:
        self._begin = begin
        self._end = end
        self._names: dict[str, str] = {}
        self._text: list[str] = []
        self._depth = 0
        # The parser has no base and resolves nothing outside the document.
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._on_begin
        self._parser.EndElementHandler = self._on_end
        self._parser.CharacterDataHandler = self._on_text
        self._parser.StartDoctypeDeclHandler = self._on_doctype

    @property
    def line(self) -> int:
        """The line that is being read, from 1."""
        return self._parser.CurrentLineNumber

    def walk(self, stream: IO[bytes]) -> None:
        """Read to the end. Raises Unreadable (no XML, broken, a document type) or TooMuch."""
        try:
            fed = 0
            while chunk := stream.read(_CHUNK_BYTES):
                self._parser.Parse(chunk, False)  # noqa: FBT003  (expat takes it by position only)
                fed += len(chunk)
                if fed - self._parser.CurrentByteIndex > MAX_TAG_BYTES + _CHUNK_BYTES:
                    raise TooMuch(f"an XML tag of more than {MAX_TAG_BYTES} bytes")
            self._parser.Parse(b"", True)  # noqa: FBT003
        except expat.ExpatError as error:
            raise Unreadable(
                f"the XML is broken: {expat.ErrorString(error.code)}", error.lineno
            ) from error
        except (LookupError, ValueError) as error:  # an encoding that does not exist here
            raise Unreadable(f"the XML cannot be read: {error}", self.line) from error

    def _on_begin(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TooMuch(f"XML deeper than {MAX_DEPTH} elements")
        self._text.clear()
        known = self._names.get(name)
        if known is None:
            known = name.rpartition(":")[2]
            if len(self._names) < MAX_TEXT_CHARS:
                self._names[name] = known
        self._begin(known, attributes)

    def _on_end(self, name: str) -> None:
        self._depth -= 1
        self._end(self._names.get(name) or name.rpartition(":")[2], "".join(self._text).strip())
        self._text.clear()

    def _on_text(self, text: str) -> None:
        self._text.append(text)
        if len(self._text) > 1 and sum(map(len, self._text)) > MAX_TEXT_CHARS:
            raise TooMuch(f"an XML element with more than {MAX_TEXT_CHARS} characters of text")

    def _on_doctype(self, *_: object) -> None:
        raise Unreadable("the XML declares a document type, which no flow has", self.line)
