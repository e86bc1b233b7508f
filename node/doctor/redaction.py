"""What may leave the house when somebody asks for help: enough to see what is wrong, not who.

Settings are shown by name only where they hold a number, a switch or a word from a list; whatever a
person typed is replaced. In free text every value that is known to be private is replaced, and then
whatever looks like one: addresses, long numbers, serial ports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Final

from node.config import NodeConfig

__all__ = ["NAME_NOBODY", "redacted_settings", "redacted_text", "secrets_of", "typed_texts"]

HIDDEN: Final = "<redacted>"

_WORDS: Final = frozenset(
    {
        "meter.kind",
        "meter.mode",
        "meter.lists",
        "strategy.name",
        "household.time_zone",
        "metrics.host",
        "log.level",
        "log.format",
    }
)
"""Settings whose text is one of a list that daisee itself knows."""

_SECTIONS: Final = ("household", "chain", "key", "storage", "publish", "metrics", "log")
_TABLES: Final = ("meter", "strategy")

_NUMBERS_OF_A_HOUSE: Final = frozenset({"household.number", "meter.meter_id"})
"""Which household it is, is for the operator to know."""

_LOOKS_PRIVATE: Final = re.compile(
    r"""
      [a-z][a-z0-9+.-]*://[^\s'",)]+           # an address with a scheme
    | \b0x[0-9a-fA-F]{8,}                      # an account, a hash, a key
    | \b[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}\b # a network card
    | \b\d{1,3}(?:\.\d{1,3}){3}\b              # an IPv4 address
    | \b[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){3,7}  # an IPv6 address
    | [\w.+-]+@[\w-]+\.[\w.]+                  # an e-mail address
    | (?<![\w/])/[\w.+@-]+(?:/[\w.+@-]+)+       # a path
    | [0-9A-Fa-f]{16,}                         # a serial number in hexadecimal
    | \b[A-Z]{0,4}\d{8,}\b                     # a delivery point, a meter
    | (?<=household\ )\d+                      # which member it is
    """,
    re.VERBOSE,
)

_SHORTEST: Final = 2
_SHORT: Final = 3
"""A known value that is so short is replaced where it stands by itself: as a part of other words
it would take half of every text with it."""

NAME_NOBODY: Final = frozenset({"daisee", "root", "home", "true", "false", "localhost", "http"})
"""Words of daisee's own texts: typed by a person they still say nothing of anybody."""

_QUOTED: Final = re.compile(r"""\"([^"\n]*)\"|'([^'\n]*)'""")


def redacted_settings(config: NodeConfig) -> dict[str, object]:
    """Every setting by its dotted key."""
    return {
        key: value if _may_be_shown(key, value) else HIDDEN
        for key, value in _values(config)
        if value is not None
    }


def _may_be_shown(key: str, value: object) -> bool:
    if key in _NUMBERS_OF_A_HOUSE:
        return False
    return isinstance(value, int | float) or key in _WORDS


def _values(config: NodeConfig) -> Iterator[tuple[str, object]]:
    for name in _SECTIONS:
        section = getattr(config, name)
        if is_dataclass(section):
            yield from ((f"{name}.{f.name}", getattr(section, f.name)) for f in fields(section))
    for name in _TABLES:
        yield from ((f"{name}.{key}", value) for key, value in getattr(config, name).items())


def secrets_of(config: NodeConfig, more: Iterable[str]) -> list[str]:
    """Every text that must not appear: what the settings hold, and what else is known to be
    private. The longest come first, so that no part of one is left."""
    found: set[str] = set(more)
    for key, value in _values(config):
        origin = config.origins.get(key)
        typed = origin is None or origin.kind != "default"
        if typed and not _may_be_shown(key, value):
            found |= set(_texts(value))
    return _longest_first(found)


def typed_texts(content: str, more: Iterable[str]) -> list[str]:
    """The same for settings that cannot be read: every value of the file, whatever it means."""
    values = (line.partition("#")[0].partition("=")[2] for line in content.splitlines())
    lines = (value.strip(" \t\"'[]{}") for value in values)
    quoted = (found for pair in _QUOTED.findall(content) for found in pair)
    return _longest_first({*more, *lines, *quoted})


def _longest_first(found: Iterable[str]) -> list[str]:
    kept = {text for text in found if len(text) >= _SHORTEST} - NAME_NOBODY
    return sorted(kept, key=len, reverse=True)


def _texts(value: object) -> Iterator[str]:
    """Every text in a value, an address also by its parts."""
    if isinstance(value, str | Path):
        text = str(value)
        yield text
        yield from (part for part in re.split(r"[/:@,\s]+", text) if len(part) > _SHORT)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def redacted_text(text: str, secrets: Iterable[str]) -> str:
    """A text without what is private."""
    for secret in secrets:
        if len(secret) > _SHORT:
            text = text.replace(secret, HIDDEN)
        else:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return _LOOKS_PRIVATE.sub(HIDDEN, text)
