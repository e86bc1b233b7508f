"""On which line of a TOML file a key stands: tomllib reads values and forgets where they were."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Final

__all__ = ["line_of_error", "lines_of_keys"]

_TABLE: Final = re.compile(r"^\s*\[{1,2}\s*([^\[\]]+?)\s*\]{1,2}\s*(?:#.*)?$")
_KEY: Final = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[^\s=]+)*)\s*=""")
_LONG_QUOTES: Final = ('"""', "'''")
_AT_LINE: Final = re.compile(r"\(at line (\d+)")


def lines_of_keys(text: str) -> Mapping[str, int]:
    """The line of each table (``meter``) and each key (``meter.port``), the first being 1.

    A scan, not a parser: it is used on text that tomllib has understood. Lines inside of a long
    string are none of a key's.
    """
    lines: dict[str, int] = {}
    table = ""
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        if inside:
            inside = "" if inside in line else inside
            continue
        if found := _TABLE.match(line):
            table = _plain(found[1])
            lines.setdefault(table, number)
        elif found := _KEY.match(line):
            name = _plain(found[1])
            lines.setdefault(f"{table}.{name}" if table else name, number)
            inside = next((q for q in _LONG_QUOTES if line.count(q) % 2), "")
    return lines


def line_of_error(error: tomllib.TOMLDecodeError) -> int | None:
    """The line that tomllib complains about, which it only writes in its message."""
    found = _AT_LINE.search(str(error))
    return None if found is None else int(found[1])


def _plain(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))
