"""Lines of a text file, bounded, with bytes that are no UTF-8 kept apart instead of failing."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from functools import partial
from typing import IO, Final

from node.billing.rows import Unreadable

__all__ = ["MAX_LINE_CHARS", "cells_of", "text_lines"]

MAX_LINE_CHARS: Final = 2**20
"""The Czech sharing file has two columns for each point of a group."""


def text_lines(stream: IO[bytes]) -> Iterator[tuple[int, str]]:
    """Each line with its number from 1, without its end. Raises Unreadable for one without end."""
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=None)
    try:
        lines = iter(partial(text.readline, MAX_LINE_CHARS), "")
        for number, line in enumerate(lines, start=1):
            if len(line) >= MAX_LINE_CHARS:
                raise Unreadable(f"a line of more than {MAX_LINE_CHARS} characters", number)
            yield number, line[:-1] if line[-1] == "\n" else line
    finally:
        if not stream.closed:  # it is the caller's to close, and may be by now
            text.detach()


def cells_of(line: str, delimiter: str = ";") -> list[str]:
    """A line's cells; quotes are rare, so they alone cost the parser of CSV."""
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error:
        return []
