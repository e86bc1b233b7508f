"""Orders travel to a relay and back unchanged, and anything else is refused, not crashed upon."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.chain.client import MAX_BATCH
from node.chain.relay_orders import (
    BINARY,
    JSON,
    MAX_ANSWER_BYTES,
    MAX_BODY_BYTES,
    Answer,
    answers_of,
    answers_text,
    order_document,
    orders_of,
    packed,
)
from node.errors import Refused
from node.model import Order, Side, SignedOrder

NUMBERS = st.integers(0, 2**32 - 1)
ORDERS = st.builds(
    SignedOrder,
    st.builds(
        Order,
        NUMBERS,
        NUMBERS,
        st.sampled_from(Side),
        NUMBERS,
        NUMBERS,
        st.binary(min_size=32, max_size=32),
    ),
    st.binary(min_size=64, max_size=64),
)
LARGEST = SignedOrder(
    Order(2**32 - 1, 2**32 - 1, Side.BID, 2**32 - 1, 2**32 - 1, b"\xff" * 32), b"\xff" * 64
)
WORDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
)


def as_json(orders: list[SignedOrder]) -> bytes:
    return json.dumps({"orders": [order_document(signed) for signed in orders]}).encode()


@given(st.lists(ORDERS, min_size=1, max_size=5))
def test_orders_come_through_unchanged(orders: list[SignedOrder]) -> None:
    assert orders_of(BINARY, packed(orders)) == orders
    assert orders_of(JSON, as_json(orders)) == orders


def test_a_full_request_fits_its_bound_and_so_does_its_answer() -> None:
    orders = [LARGEST] * MAX_BATCH
    assert len(as_json(orders)) <= MAX_BODY_BYTES
    answers = [Answer("energy_out_of_limit")] * MAX_BATCH
    assert len(answers_text(answers)) <= MAX_ANSWER_BYTES
    with pytest.raises(Refused, match="101 orders"):
        orders_of(BINARY, packed([*orders, LARGEST]))
    with pytest.raises(Refused):
        orders_of(JSON, as_json([*orders, LARGEST]))


@given(st.binary(max_size=400))
def test_other_bytes_are_refused(body: bytes) -> None:
    for kind in (BINARY, JSON):
        try:
            orders = orders_of(kind, body)
        except Refused:
            continue
        assert kind == BINARY
        assert packed(orders) == body


@given(WORDS)
def test_other_documents_are_refused(document: object) -> None:
    for body in (document, {"orders": document}, {"orders": [document]}):
        with pytest.raises(Refused):
            orders_of(JSON, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("household", True),
        ("slot", -1),
        ("energy_wh", 2**32),
        ("limit_price", 4_000.0),
        ("side", 1),
        ("side", ["bid"]),
        ("evidence", "0x00"),
        ("signature", "0x" + "zz" * 64),
        ("signature", "0x" + "  " * 64),
        ("more", 1),
    ],
)
def test_each_word_of_a_document_must_be_right(key: str, value: object) -> None:
    document = order_document(LARGEST) | {key: value}
    with pytest.raises(Refused):
        orders_of(JSON, json.dumps({"orders": [document]}).encode())


def test_nested_beyond_reason() -> None:
    with pytest.raises(Refused):
        orders_of(JSON, b'{"orders":' * 20_000)


def test_an_answer_is_believed_only_as_a_whole() -> None:
    answers = [Answer(), Answer("duplicate")]
    text = answers_text(answers).encode()
    assert answers_of(text, 2) == answers
    taken = {"reason": "", "taken": True}
    for bad in (
        b"[]",
        b"{}",
        b"[" * 100_000,
        json.dumps({"orders": [taken] * 3}).encode(),
        json.dumps({"orders": [taken, 1]}).encode(),
        json.dumps({"orders": [taken, {"reason": 1, "taken": False}]}).encode(),
        json.dumps({"orders": [taken, {"reason": "duplicate", "taken": True}]}).encode(),
        json.dumps({"orders": [taken, {"reason": "", "taken": False}]}).encode(),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            answers_of(bad, 2)
