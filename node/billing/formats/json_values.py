"""Parts of a parsed JSON document whose form is not known to be right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from node.billing.rows import Unreadable

__all__ = ["members", "objects", "text_of"]

_HALF: Final = re.compile("[\ud800-\udfff]")


def members(value: object, line: int, what: str) -> Mapping[str, object]:
    """An object's members. Raises Unreadable if it is none."""
    if not isinstance(value, dict):
        raise Unreadable(f"{what} is no JSON object", line)
    return value


def objects(value: object, line: int, what: str) -> Sequence[Mapping[str, object]]:
    """A list of objects, or one object by itself; nothing if there is none. Raises Unreadable."""
    if value is None:
        return ()
    items: list[object] = value if isinstance(value, list) else [value]
    return [members(item, line, f"a part of {what}") for item in items]


def text_of(value: Mapping[str, object], key: str) -> str:
    """A member as text: numbers as they are written, nothing for what is absent or null.

    Raises Unreadable for half a character (one escape of a pair): no text can hold it, so it could
    be neither kept nor shown.
    """
    member = value.get(key)
    if type(member) is str:
        if not member.isascii() and _HALF.search(member):
            raise Unreadable(f"{key!r} holds half a character")
        return member.strip()
    if member is None or isinstance(member, (dict, list, bool)):
        return ""
    return str(member).strip()
