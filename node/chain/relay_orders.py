"""Signed orders as they travel from a household to a relay, and the relay's answer.

Binary: 113 bytes an order, numbers big-endian: household 4, slot 4, side 1, energy in Wh 4, limit
price in units/Wh 4, evidence 32, signature 64. As JSON the same in words. The signature says who
sent it: whoever carries the bytes, they count for the household that signed them or for nobody.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from node.chain.client import MAX_BATCH
from node.errors import Refused
from node.model import Order, Side, SignedOrder

__all__ = [
    "BINARY",
    "JSON",
    "MAX_ANSWER_BYTES",
    "MAX_BODY_BYTES",
    "Answer",
    "answers_of",
    "answers_text",
    "order_document",
    "orders_of",
    "packed",
]

BINARY: Final = "application/octet-stream"
JSON: Final = "application/json"
SCHEMA: Final = "daisee.relay/1"

MAX_BODY_BYTES: Final = 65_536
"""A hundred orders as JSON are 40 kB."""

MAX_ANSWER_BYTES: Final = 16_384

_RECORD: Final = struct.Struct(">IIBII32s64s")
_MAX_NUMBER: Final = 2**32 - 1
_MAX_BRACKETS: Final = MAX_BATCH + 2
"""Of each document here: parsers follow nested brackets as deep as the stack of the machine."""

_SIDES: Final[Mapping[object, Side]] = {side.word: side for side in Side}
_KEYS: Final = {
    "household",
    "slot",
    "side",
    "energy_wh",
    "limit_price",
    "evidence",
    "signature",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one order of a request. ``reason`` is empty when it was taken."""

    reason: str = ""

    @property
    def taken(self) -> bool:
        """Whether the relay carries it."""
        return not self.reason


def packed(orders: Sequence[SignedOrder]) -> bytes:
    """The body of a request."""
    return b"".join(
        _RECORD.pack(
            order.household,
            order.slot,
            order.side,
            order.energy_wh,
            order.limit_price,
            order.evidence,
            signed.signature,
        )
        for signed in orders
        for order in (signed.order,)
    )


def order_document(signed: SignedOrder) -> dict[str, object]:
    """An order in words."""
    order = signed.order
    return {
        "household": order.household,
        "slot": order.slot,
        "side": order.side.word,
        "energy_wh": order.energy_wh,
        "limit_price": order.limit_price,
        "evidence": "0x" + order.evidence.hex(),
        "signature": "0x" + signed.signature.hex(),
    }


def orders_of(kind: str, body: bytes) -> list[SignedOrder]:
    """The orders of a request: 1 to MAX_BATCH. Raises Refused, reason ``malformed``."""
    try:
        orders = _unpacked(body) if kind == BINARY else _from_json(body)
    except ValueError as error:
        raise Refused(f"this is no list of orders: {error}", reason="malformed") from error
    if not 0 < len(orders) <= MAX_BATCH:
        raise Refused(f"{len(orders)} orders; 1 to {MAX_BATCH} can be", reason="malformed")
    return orders


def answers_text(answers: Sequence[Answer]) -> str:
    """A relay's answer: one entry for each order of the request, in its order."""
    entries = [{"reason": answer.reason, "taken": answer.taken} for answer in answers]
    return json.dumps({"orders": entries, "schema": SCHEMA}, sort_keys=True)


def answers_of(content: bytes, count: int) -> list[Answer]:
    """What a relay says of so many orders. Raises ValueError when it does not say that."""
    document = _document_in(content)
    entries = document.get("orders") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) != count:
        raise ValueError(f"the answer is not about {count} orders")
    return [_answer_of(entry) for entry in entries]


def _answer_of(entry: object) -> Answer:
    if not isinstance(entry, dict) or not isinstance(entry.get("reason"), str):
        raise ValueError("an order's answer has no reason")  # noqa: TRY004 - it came over a wire
    reason: str = entry["reason"]
    if entry.get("taken") is not (reason == ""):
        raise ValueError("an order is both taken and not")
    return Answer(reason)


def _unpacked(body: bytes) -> list[SignedOrder]:
    if len(body) % _RECORD.size:
        raise ValueError(f"{len(body)} bytes; an order has {_RECORD.size}")
    return [
        SignedOrder(Order(household, slot, Side(side), energy_wh, price, evidence), signature)
        for household, slot, side, energy_wh, price, evidence, signature in _RECORD.iter_unpack(
            body
        )
    ]


def _document_in(content: bytes) -> object:
    """Raises ValueError for what is no JSON, or more nested than anything that is said here."""
    if content.count(b"[") + content.count(b"{") > _MAX_BRACKETS:
        raise ValueError("there are too many brackets")
    document: object = json.loads(content)
    return document


def _from_json(body: bytes) -> list[SignedOrder]:
    document = _document_in(body)
    if not isinstance(document, dict) or set(document) != {"orders"}:
        raise ValueError('{"orders": [...]} is needed')
    entries = document["orders"]
    if not isinstance(entries, list) or len(entries) > MAX_BATCH:
        raise ValueError(f"orders must be a list of 1 to {MAX_BATCH}")
    return [_order_of(entry) for entry in entries]


def _order_of(entry: object) -> SignedOrder:
    if not isinstance(entry, dict) or set(entry) != _KEYS:
        raise ValueError(f"an order says {', '.join(sorted(_KEYS))}, and nothing else")
    side = _SIDES.get(entry["side"]) if isinstance(entry["side"], str) else None
    if side is None:
        raise ValueError("side is ask or bid")
    order = Order(
        _whole(entry, "household"),
        _whole(entry, "slot"),
        side,
        _whole(entry, "energy_wh"),
        _whole(entry, "limit_price"),
        _hex(entry, "evidence", 32),
    )
    return SignedOrder(order, _hex(entry, "signature", 64))


def _whole(entry: Mapping[str, Any], name: str) -> int:
    value = entry[name]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_NUMBER:
        raise ValueError(f"{name} must be an integer of 32 bits")
    return value


def _hex(entry: Mapping[str, Any], name: str, length: int) -> bytes:
    value = entry[name]
    if not isinstance(value, str) or not value.startswith("0x") or len(value) != 2 + 2 * length:
        raise ValueError(f"{name} must be 0x and {2 * length} hexadecimal digits")
    content = bytes.fromhex(value[2:])
    if len(content) != length:  # blanks between the digits
        raise ValueError(f"{name} must be {length} bytes")
    return content
