"""The beginning of a file, from which its format is told, and what a format is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Final

from node.billing.rows import Intake

__all__ = ["HEAD_BYTES", "Format", "Head", "folded"]

HEAD_BYTES: Final = 4096

_ROOT: Final = re.compile(r"<(?:[\w.-]+:)?([A-Za-z][\w.-]*)")


def folded(text: str) -> str:
    """Lower case without accents, and without what a wrong encoding made of them."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(char for char in plain.lower() if char.isascii()).strip()


@dataclass(frozen=True, slots=True)
class Head:
    """A file's name and its first bytes as text."""

    name: str
    text: str

    @classmethod
    def of(cls, name: str, content: bytes) -> Head:
        """The head of a file that begins with these bytes."""
        return cls(name, content[:HEAD_BYTES].decode("utf-8-sig", "replace"))

    @property
    def first_line(self) -> str:
        """The first line, folded."""
        return folded(self.text.partition("\n")[0])

    @property
    def root(self) -> str:
        """The name of the XML root element without its prefix; empty if this is no XML."""
        text = self.text.lstrip()
        if not text.startswith("<"):
            return ""
        match = _ROOT.search(text)
        return "" if match is None else match[1]

    @property
    def is_json(self) -> bool:
        """Whether it looks like a JSON object."""
        return self.text.lstrip().startswith("{")


@dataclass(frozen=True, slots=True)
class Format:
    """One format: how it is told from others, and how its rows are read.

    ``zone`` is the legal time of bare stamps. ``read`` takes the file from its beginning; it raises
    Unreadable or TooMuch where the file as a whole cannot be used, and refuses single rows by way
    of the intake.
    """

    name: str
    title: str
    zone: str
    recognises: Callable[[Head], bool]
    read: Callable[[IO[bytes], Intake, Head], None]
