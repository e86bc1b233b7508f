"""Reading one table of a settings file, key by key: typed values, and faults that name the key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from node.errors import ConfigurationError

__all__ = ["SettingsTable"]

MAX_TABLES = 64
"""Tables inside one list."""


class SettingsTable:
    """One table. A key beside the known ones raises ConfigurationError: it is a slip of the pen."""

    def __init__(
        self, name: str, table: Mapping[str, object], file: Path, keys: Sequence[str]
    ) -> None:
        self._name = name
        self._table = table
        self._file = file
        for key in table:
            if key not in keys:
                close = difflib.get_close_matches(key, keys, n=1)
                hint = f"did you mean {close[0]}?" if close else "remove it"
                raise self.fault(key, "is not known", hint)

    def fault(self, key: str, what: str, next_step: str = "") -> ConfigurationError:
        """What is wrong with a key, to be raised."""
        return ConfigurationError(
            f"{self._name}.{key}: {what}", file=self._file, next_step=next_step
        )

    def text(self, key: str, *, may_be_empty: bool = False) -> str | None:
        """A text; None where the key is not there."""
        value = self._table.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not (value or may_be_empty):
            raise self.fault(key, f"{value!r} is no text", "write it between quotes")
        return value

    def path(self, key: str) -> Path | None:
        """A path; a relative one starts from the folder of the settings file."""
        value = self.text(key)
        return None if value is None else self._file.parent / Path(value).expanduser()

    def choice(self, key: str, known: Sequence[str]) -> str | None:
        """One of several words."""
        value = self.text(key)
        if value is not None and value not in known:
            close = difflib.get_close_matches(value, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise self.fault(
                key, f"{value!r} is not known{hint}", f"write one of: {', '.join(known)}"
            )
        return value

    def whole(self, key: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds."""
        value = self._table.get(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.fault(key, f"{value!r} is no whole number from {least} to {most}")
        return value

    def flag(self, key: str) -> bool:
        """True or false; false where the key is not there."""
        value = self._table.get(key)
        if not isinstance(value, bool | None):
            raise self.fault(key, f"{value!r} is neither true nor false")
        return bool(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty where the key is not there."""
        found: list[str] = []
        for part in self._list(key):
            if not isinstance(part, str):
                raise self.fault(key, f"{part!r} is no text")
            found.append(part)
        return tuple(found)

    def numbers(self, key: str) -> tuple[str, ...]:
        """A list of numbers, each as the text of its shortest decimal."""
        found: list[str] = []
        for part in self._list(key):
            if not isinstance(part, int | float) or isinstance(part, bool):
                raise self.fault(key, f"{part!r} is no number")
            found.append(str(part))
        return tuple(found)

    def tables(self, key: str, keys: Sequence[str]) -> list[SettingsTable]:
        """A list of tables with these keys."""
        parts = self._list(key)
        found: list[SettingsTable] = []
        for index, part in enumerate(parts):
            if not isinstance(part, dict):
                raise self.fault(key, f"{part!r} is no table")
            found.append(SettingsTable(f"{self._name}.{key}[{index}]", part, self._file, keys))
        return found

    def _list(self, key: str) -> list[object]:
        value = self._table.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > MAX_TABLES:
            raise self.fault(key, f"is no list of up to {MAX_TABLES}")
        return value
