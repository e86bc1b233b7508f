from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.codec import MeterFrame, Rejected
from node.meter.messages import (
    KWH,
    MAX_MESSAGE_BYTES,
    JsonValue,
    Labels,
    decimal_of,
    exact,
    floor_wh,
    json_text,
    parse_json,
    round_w,
    total,
)
from node.meter.recorded import envelope, messages_of
from node.model import EvidenceClass

FRAME = MeterFrame("test", EvidenceClass.C)


def parsed(payload: bytes) -> JsonValue:
    value = parse_json(payload)
    assert not isinstance(value, Rejected)
    return value


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff\xfe{}", "not UTF-8"),
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b'{"a": nan}', "not JSON"),
        (b'{"a":1,"a":2}', "a name occurs twice"),
        (b"[" * 60_000, "nested deeper"),
        (b"[" * 18 + b"]" * 18, "nested deeper"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b" " * (MAX_MESSAGE_BYTES + 1), "bytes; a message has"),
    ],
)
def test_what_is_no_usable_json_is_refused_with_its_reason(payload: bytes, reason: str) -> None:
    refusal = parse_json(payload)
    assert isinstance(refusal, Rejected)
    assert reason in refusal.reason
    assert refusal.raw == payload[:512]


def test_numbers_keep_every_digit() -> None:
    assert json_text(parsed(b'{"a":[1290.3960,-0.0,1E+3],"b":true}')) == (
        '{"a":[1290.3960,-0.0,1E+3],"b":true}'
    )


@pytest.mark.parametrize(
    "number",
    [b"NaN", b"Infinity", b"-Infinity", b"9" * 41, b"1e999999999999999999999", b"1e30", b"1e-400"],
)
def test_a_number_that_cannot_be_meant_is_refused_only_where_it_is_wanted(number: bytes) -> None:
    value = parsed(b'{"wanted":' + number + b',"other":1}')
    assert isinstance(value, dict)
    labels = Labels(b"")
    assert labels.energy_wh("other", value["other"]) == 1
    assert labels.energy_wh("wanted", value["wanted"]) is None
    frame, refusal = labels.close(FRAME)
    assert isinstance(frame, MeterFrame)
    assert not frame.complete
    assert frame.fields == {"other": "1"}
    assert isinstance(refusal, Rejected)
    assert refusal.reason.startswith("wanted: ")


@pytest.mark.parametrize("value", [None, True, False, "12", [Decimal(1)], {"a": Decimal(1)}])
def test_only_a_number_is_a_number(value: JsonValue) -> None:
    labels = Labels(b"payload")
    assert labels.number("label", value) is None
    (refusal,) = labels.close(FRAME)
    assert isinstance(refusal, Rejected)
    assert "not a number" in refusal.reason


def test_a_register_is_neither_negative_nor_beyond_any_meter() -> None:
    labels = Labels(b"")
    assert labels.energy_wh("a", Decimal(-1)) is None
    assert labels.energy_wh("b", Decimal(10**12 + 1)) is None
    assert labels.energy_wh("c", Decimal(10**12)) == 10**12
    assert labels.power("d", Decimal(-(10**7) - 1)) is None


@given(st.integers(0, 10**12), st.integers(0, 6))
def test_a_decimal_register_is_cut_down_to_the_very_wh(milli_wh: int, more_digits: int) -> None:
    text = f"{milli_wh // 10**6}.{milli_wh % 10**6:06d}{'0' * more_digits}"  # kWh
    labels = Labels(b"")
    assert floor_wh(labels.energy_wh("kwh", parsed(text.encode()), KWH)) == milli_wh // 1000


@given(st.lists(st.decimals(0, 10**6, places=3), min_size=1, max_size=6))
def test_parts_are_added_up_before_they_are_cut(parts: list[Decimal]) -> None:
    milli = sum(int(part * 1000) for part in parts)
    assert floor_wh(total(Fraction(part) for part in parts)) == milli // 1000


def test_a_sum_without_a_part_is_none() -> None:
    assert total([Fraction(1), None]) is None
    assert total([]) is None


@pytest.mark.parametrize(
    ("power", "rounded"),
    [("0.5", 1), ("-0.5", -1), ("2.499", 2), ("-2.5", -3), ("0.49", 0), ("2413.825", 2414)],
)
def test_power_is_rounded_alike_in_both_directions(power: str, rounded: int) -> None:
    assert round_w(exact(Decimal(power))) == rounded


@pytest.mark.parametrize("text", ["", "x", "1_000", "٣", "0x10", " 1", "1e400", "nan", "1.", ".5"])
def test_text_that_is_no_plain_number(text: str) -> None:
    assert decimal_of(text) is None


def test_instants_before_any_clock_was_set_say_nothing() -> None:
    labels = Labels(b"")
    assert labels.unix_s("a", Decimal(0)) is None
    assert labels.unix_s("b", Decimal("1747561101.25")) == 1_747_561_101
    assert len(labels.close(FRAME)) == 1


@given(st.text(max_size=40), st.binary(max_size=300))
def test_a_recorded_message_comes_back_as_it_was(topic: str, payload: bytes) -> None:
    assert messages_of(envelope(topic, payload)) == [(topic, payload)]


def test_a_recording_holds_envelopes_bare_lines_or_one_document() -> None:
    recording = (
        b'{"topic":"a","payload":"1.50"}\n\n'
        b'{"topic":"b","payload":{"x":1.50}}\r\n'
        b"plain:1\n"
        b'{"topic":3,"payload":"1"}\n'
        b'{"topic":"c","payload_hex":"no"}\n'
    )
    assert messages_of(recording) == [
        ("a", b"1.50"),
        ("b", b'{"x":1.50}'),
        ("", b"plain:1"),
        ("", b'{"topic":3,"payload":"1"}'),
        ("c", b'{"topic":"c","payload_hex":"no"}'),
    ]
    assert messages_of(b'{\n "meters": [\n ]\n}\n') == [("", b'{\n "meters": [\n ]\n}')]
    assert messages_of(b"") == []
