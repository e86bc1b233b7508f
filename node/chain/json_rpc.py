"""What every JSON-RPC endpoint of a chain speaks: its numbers, bytes, blocks and logs.

An endpoint may be broken, half set up, or lie. Whatever it answers becomes a value of the form that
is asked for here, or BadAnswer: nothing behind this door meets a null where a number belongs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = [
    "BadAnswer",
    "as_bytes",
    "block_query",
    "field_of",
    "list_of",
    "log_of",
    "logs_of",
    "number",
    "table_of",
    "wei",
]

NUMBERS_END: Final = 2**63
"""Numbers from here on count nothing that there is, and no database keeps them."""

WEI_END: Final = 2**256
WORD_BYTES: Final = 32
MOST_TOPICS: Final = 4
LOG_INDEX_END: Final = 2**31 - 1


class BadAnswer(ValueError):
    """An endpoint answered with something that cannot be what was asked for."""


def block_query(at: int | str = "latest", *, whole: bool = False) -> tuple[str, str, bool]:
    """Method and parameters that ask for a block, by height or by a name such as ``latest``; with
    its transactions if ``whole``, else with their hashes alone."""
    return "eth_getBlockByNumber", at if isinstance(at, str) else hex(at), whole


def number(value: object, end: int = NUMBERS_END) -> int:
    """A number of an answer, below ``end``: some endpoints give it as one, others as hex text.
    Raises BadAnswer."""
    if isinstance(value, str):
        try:
            found = int(value, 16)
        except ValueError as error:
            raise BadAnswer(f"{value[:40]!r} is no number") from error
    elif isinstance(value, int) and not isinstance(value, bool):
        found = value
    else:
        raise BadAnswer(f"{type(value).__name__} in place of a number")
    if not 0 <= found < end:
        raise BadAnswer(f"a number of {found.bit_length()} bits, of which none is expected")
    return found


def wei(value: object) -> int:
    """An amount of gas money of an answer. Raises BadAnswer."""
    return number(value, WEI_END)


def as_bytes(value: object) -> bytes:
    """Bytes of an answer: some endpoints give them as such, others as hex text. Raises
    BadAnswer."""
    if isinstance(value, bytes):
        return bytes(value)
    if not isinstance(value, str):
        raise BadAnswer(f"{type(value).__name__} in place of bytes")
    try:
        return bytes.fromhex(value.removeprefix("0x"))
    except ValueError as error:
        raise BadAnswer(f"{value[:40]!r} is no hex text") from error


def table_of(value: object) -> Mapping[str, Any]:
    """A block, a receipt or a log of an answer. Raises BadAnswer."""
    if not isinstance(value, Mapping):
        raise BadAnswer(f"{type(value).__name__} in place of a table")
    return value


def list_of(value: object) -> Sequence[Any]:
    """A list of an answer. Raises BadAnswer."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise BadAnswer(f"{type(value).__name__} in place of a list")
    return value


def field_of(table: Mapping[str, object], name: str) -> object:
    """What a table must hold. Raises BadAnswer."""
    if name not in table:
        raise BadAnswer(f"no {name} in the answer")
    return table[name]


def logs_of(answer: object, first: int = 0, last: int = NUMBERS_END) -> list[dict[str, Any]]:
    """The logs of an answer, of blocks ``first`` to ``last``, their numbers and bytes read.

    Raises BadAnswer: for a log of another block than those too, and for one of no block yet.
    """
    return [log_of(entry, first, last) for entry in list_of(answer)]


def log_of(answer: object, first: int = 0, last: int = NUMBERS_END) -> dict[str, Any]:
    """One of them."""
    entry = table_of(answer)
    block = number(field_of(entry, "blockNumber"))
    if not first <= block <= last:
        raise BadAnswer(f"a log of block {block}, which was not asked for")
    words = [as_bytes(topic) for topic in list_of(field_of(entry, "topics"))]
    if len(words) > MOST_TOPICS or any(len(word) != WORD_BYTES for word in words):
        raise BadAnswer(f"topics that are not up to {MOST_TOPICS} words")
    return {
        **entry,
        "blockNumber": block,
        "logIndex": number(field_of(entry, "logIndex"), LOG_INDEX_END),
        "topics": words,
        "data": as_bytes(field_of(entry, "data")),
    }
