"""What the messages of sensors have in common: JSON within bounds, exact numbers, kept refusals.

A message comes whole: a topic and a payload, or the answer to a request. There is no stream to
resynchronise, but the payload may be anything at all. Numbers are read as ``Decimal`` and added up
as ``Fraction``, so that phases and tariffs are summed exactly; a register is cut down to whole Wh
and a power rounded to whole W (halves away from zero) only at the very end.

What is wrong with one label does not spoil the others of its message: the label is refused, the
frame says that it is not complete.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final, TypeAlias

from node.meter.codec import MAX_BUFFER_BYTES, MAX_REJECTED_BYTES, Decoded, MeterFrame, Rejected

JsonValue: TypeAlias = "Decimal | str | bool | list[JsonValue] | dict[str, JsonValue] | None"

MAX_MESSAGE_BYTES: Final = MAX_BUFFER_BYTES
MAX_DEPTH: Final = 16
"""Lists and objects inside each other; the deepest message of any sensor known has 5."""

MAX_LABELS: Final = 256
"""How many labels of one message are kept."""

MAX_ID_CHARS: Final = 128
MAX_NUMBER_CHARS: Final = 40
MAX_EXPONENT: Final = 18
MIN_EXPONENT: Final = -160

MAX_REGISTER_WH: Final = 10**12
"""A TWh: no household's counter gets there."""

MAX_POWER_W: Final = 10**7
"""10 MW: no household's connection either."""

SET_CLOCK_S: Final = 1_500_000_000
CLOCK_END_S: Final = 4_102_444_800
"""From mid-2017 to 2100: a clock that was never set says 1970 or 2000."""

KWH: Final = Fraction(1000)
WH: Final = Fraction(1)
WATT: Final = Fraction(1)
WATT_MINUTE: Final = Fraction(1, 60)

_NOT_A_NUMBER: Final = Decimal("NaN")
_DECIMAL_TEXT: Final = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?([eE][+-]?\d{1,2})?", re.ASCII)
_BRACKETS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def refused(reason: str, raw: bytes) -> Rejected:
    """A refusal that keeps only as much of the bytes as a person wants to see."""
    return Rejected(reason, bytes(raw[:MAX_REJECTED_BYTES]))


def parse_json(payload: bytes, limit: int = MAX_MESSAGE_BYTES) -> JsonValue | Rejected:
    """A JSON document with every number exact, or why it is none that can be used.

    Stricter than most: a name that occurs twice in an object leaves open which value holds.
    """
    if len(payload) > limit:
        return refused(f"{len(payload)} bytes; a message has {limit} at most", payload)
    if _is_deep(payload):
        # Before the parser sees it: how deep that can go is the whole process's business.
        return refused(f"nested deeper than {MAX_DEPTH}", payload)
    try:
        value: JsonValue = json.loads(
            payload.decode("utf-8"),
            parse_float=_number,
            parse_int=_number,
            parse_constant=_number,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError:
        return refused("not UTF-8 text", payload)
    except ValueError as error:
        return refused(f"not JSON: {error}", payload)
    fault = _fault(value)
    return refused(fault, payload) if fault else value


def json_text(value: JsonValue) -> str:
    """A JSON value as text again, every digit as it came."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Decimal():
            return str(value)
        case str():
            return json.dumps(value)
        case list():
            return f"[{','.join(map(json_text, value))}]"
        case dict():
            pairs = (f"{json.dumps(name)}:{json_text(part)}" for name, part in value.items())
            return f"{{{','.join(pairs)}}}"


def raw_text(value: JsonValue) -> str:
    """A value as a person reads it: text without its quotes, anything else as JSON."""
    return value if isinstance(value, str) else json_text(value)


def decimal_of(text: str) -> Decimal | None:
    """The number that a text is, as programs write numbers; None for every other text."""
    return Decimal(text) if _DECIMAL_TEXT.fullmatch(text) else None


def exact(number: Decimal) -> Fraction | None:
    """The number as a fraction; None if it is none, or beyond what any sensor can mean."""
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or not MIN_EXPONENT <= exponent <= MAX_EXPONENT:
        return None
    return Fraction(number) if number.adjusted() <= MAX_EXPONENT else None


def floor_wh(energy_wh: Fraction | None) -> int | None:
    """Whole Wh; the rest of a Wh is cut off, so that a register never says more than it counted."""
    return None if energy_wh is None else math.floor(energy_wh)


def round_w(power_w: Fraction | None) -> int | None:
    """The nearest whole W, halves away from zero: import and export are treated alike."""
    if power_w is None:
        return None
    size = math.floor(abs(power_w) + Fraction(1, 2))
    return size if power_w >= 0 else -size


def total(parts: Iterable[Fraction | None]) -> Fraction | None:
    """The sum; None when a part is missing, for then the sum would be too low, or without any."""
    known = list(parts)
    present = [part for part in known if part is not None]
    return sum(present, Fraction(0)) if present and len(present) == len(known) else None


def plausible_id(text: str) -> str | None:
    """A device's name that can be shown and stored; None for one that cannot."""
    return text if 0 < len(text) <= MAX_ID_CHARS and text.isprintable() else None


class Labels:
    """Takes values out of one message; remembers which labels it accepted and which it refused."""

    __slots__ = ("_refused", "accepted", "payload")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.accepted: dict[str, str] = {}
        self._refused: dict[str, str] = {}

    def keep(self, label: str, value: JsonValue) -> None:
        """Accept a label that is shown and not calculated with."""
        if len(self.accepted) < MAX_LABELS and label not in self._refused:
            self.accepted[label] = raw_text(value)

    def keep_all(self, label: str, value: JsonValue) -> None:
        """Accept all that a value consists of, in its order: ``label.name``, ``label.0``."""
        if isinstance(value, dict):
            for name, part in value.items():
                self.keep_all(f"{label}.{name}", part)
        elif isinstance(value, list):
            for index, part in enumerate(value[:MAX_LABELS]):
                self.keep_all(f"{label}.{index}", part)
        else:
            self.keep(label, value)

    def refuse(self, label: str, reason: str) -> None:
        """Refuse a label, whatever was thought of it before."""
        self.accepted.pop(label, None)
        if len(self._refused) < MAX_LABELS:
            self._refused.setdefault(label, reason)

    def number(self, label: str, value: JsonValue) -> Fraction | None:
        """A number, exactly; anything else is refused."""
        if not isinstance(value, Decimal):
            self.refuse(label, f"{_what(value)}, not a number")
            return None
        number = exact(value)
        if number is None:
            self.refuse(label, "not a number that can be meant")
            return None
        self.keep(label, value)
        return number

    def energy_wh(
        self, label: str, value: JsonValue, unit_wh: Fraction = WH, *, signed: bool = False
    ) -> Fraction | None:
        """A cumulative energy in Wh: never negative, unless it is one part of a sum."""
        number = self.number(label, value)
        if number is None:
            return None
        if abs(number * unit_wh) > MAX_REGISTER_WH:
            self.refuse(label, f"{raw_text(value)} is more than any register counts")
            return None
        if number < 0 and not signed:
            self.refuse(label, f"{raw_text(value)}: a register is never negative")
            return None
        return number * unit_wh

    def power(self, label: str, value: JsonValue, unit: Fraction = WATT) -> Fraction | None:
        """A signed power in W (or VA, if that is what the label means)."""
        number = self.number(label, value)
        if number is not None and abs(number * unit) > MAX_POWER_W:
            self.refuse(label, f"{raw_text(value)} is more power than any household has")
            return None
        return None if number is None else number * unit

    def unix_s(self, label: str, value: JsonValue) -> int | None:
        """An instant in unix seconds. A clock that was never set is no error: it says nothing."""
        number = self.number(label, value)
        if number is None or not SET_CLOCK_S <= number < CLOCK_END_S:
            return None
        return math.floor(number)

    def close(
        self, frame: MeterFrame, nothing: str = "nothing about energy in it"
    ) -> list[Decoded]:
        """The frame with its labels, if any label was accepted, and every refusal; if there are
        neither, the message is refused for saying ``nothing``."""
        rejected = [
            refused(f"{label}: {reason}", self.payload) for label, reason in self._refused.items()
        ]
        if not self.accepted:
            return [*rejected] or [refused(nothing, self.payload)]
        whole = frame.complete and not rejected
        return [replace(frame, complete=whole, fields=dict(self.accepted)), *rejected]


def _number(text: str) -> Decimal:
    """Never raises; what cannot be meant is not a number, and refused only where one is wanted."""
    if len(text) > MAX_NUMBER_CHARS:
        return _NOT_A_NUMBER
    try:
        return Decimal(text)
    except InvalidOperation:
        return _NOT_A_NUMBER


def _is_deep(payload: bytes) -> bool:
    """Whether brackets outside of strings open more often than a document may nest."""
    depth = 0
    for token in _BRACKETS.finditer(payload):
        mark = token[0]
        if mark in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH + 1:
                return True
        elif mark in (b"]", b"}"):
            depth -= 1
    return False


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return found


def _fault(value: JsonValue) -> str:
    """Why a document that is JSON cannot be used all the same; empty if it can."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if any(isinstance(part, str) and _SURROGATE.search(part) for part in level):
            return "text that is no Unicode (a lone surrogate)"
        level = [inner for part in level for inner in _inside(part)]
        if not level:
            return ""
    return f"nested deeper than {MAX_DEPTH}"


def _inside(value: JsonValue) -> list[JsonValue]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else []


def _what(value: JsonValue) -> str:
    """What stands where a number should."""
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            return "text"
        case _:
            return json_text(value)
