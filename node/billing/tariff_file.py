"""Tariff rows of one's own: a TOML file, checked row by row before any of it is used.

A table for each tariff (``[[turpe]]``, ``[[accise]]``, ``[[cta]]``, ``[[vat]]``), with the columns
of the tables that come along; rates in quotes, by time class where the tariff has classes. Nothing
is guessed: an unknown table or field, a number without quotes, a missing date are refused, with the
line on which the row begins.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from node.errors import ConfigurationError

__all__ = ["OwnRow", "own_rows"]

MAX_FILE_BYTES: Final = 2**20
_BY_CLASS: Final = ("allo_ct_kwh", "auto_ct_kwh")
_DATES: Final = ("from", "until")
_NEXT: Final = "docs/billing.md, Rows of your own, has a file to begin with"


@dataclass(frozen=True, slots=True)
class OwnRow:
    """A row as the shipped tables have it, cell by cell, and the line on which it begins."""

    cells: Mapping[str, str]
    file: Path
    line: int | None


def own_rows(path: Path, columns: Mapping[str, Sequence[str]]) -> dict[str, list[OwnRow]]:
    """The rows of a file by table. ``columns`` are those of each table.

    Raises ConfigurationError for whatever is not exactly such a file.
    """
    text = _text(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"is not TOML: {error}", file=path, next_step=_NEXT) from error
    strangers = sorted(set(document) - set(columns))
    if strangers:
        raise ConfigurationError(
            f"has no table {', '.join(strangers)} (there are {', '.join(columns)})",
            file=path,
            next_step=_NEXT,
        )
    found: dict[str, list[OwnRow]] = {}
    for table, rows in document.items():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ConfigurationError(
                f"write each row of {table} under [[{table}]]", file=path, next_step=_NEXT
            )
        lines = _lines(text, table)
        found[table] = [
            _row(row, columns[table], path, lines[place] if place < len(lines) else None)
            for place, row in enumerate(rows)
        ]
    return found


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise ConfigurationError("is a folder, not a file", file=path, next_step=_NEXT)
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"is larger than {MAX_FILE_BYTES} bytes", file=path)
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot be read ({error})", file=path) from error


def _lines(text: str, table: str) -> list[int]:
    """Where each row of a table begins."""
    head = re.compile(rf"\s*\[\[\s*{table}\s*\]\]\s*(#.*)?")
    return [
        number for number, line in enumerate(text.splitlines(), start=1) if head.fullmatch(line)
    ]


def _row(row: Mapping[str, Any], columns: Sequence[str], path: Path, line: int | None) -> OwnRow:
    fields = [name for name in columns if name != "classes"]
    strangers = sorted(set(row) - set(fields))
    if strangers:
        raise _wrong(path, line, f"has no field {', '.join(strangers)}")
    missing = [name for name in fields if name not in row and name != "auto_ct_kwh"]
    if missing:
        raise _wrong(path, line, f"lacks {', '.join(missing)}")
    cells = dict.fromkeys(columns, "")
    for name, value in row.items():
        if name in _BY_CLASS:
            rates = _rates(name, value, path, line)
            cells[name] = " ".join(rates.values())
            classes = " ".join(rates)
            if cells["classes"] not in {"", classes}:
                raise _wrong(path, line, "allo and auto have other time classes, or in other order")
            cells["classes"] = classes
        elif name in _DATES:
            if type(value) is not date:
                raise _wrong(path, line, f"{name} is no date (write 2026-08-01, no quotes)")
            cells[name] = value.isoformat()
        elif isinstance(value, str) and value.strip():
            cells[name] = value
        else:
            raise _wrong(path, line, f"{name} is no text in quotes")
    return OwnRow(cells, path, line)


def _rates(name: str, value: object, path: Path, line: int | None) -> dict[str, str]:
    if not isinstance(value, dict) or not all(
        isinstance(rate, str) and rate.strip() and " " not in rate for rate in value.values()
    ):
        raise _wrong(path, line, f'{name} is no rate by class (write {{ BASE = "4.84" }})')
    return value


def _wrong(path: Path, line: int | None, message: str) -> ConfigurationError:
    return ConfigurationError(message, file=path, line=line, next_step=_NEXT)
