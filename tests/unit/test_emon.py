from __future__ import annotations

import json
import pickle
import struct
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.codec import Codec, Decoded
from node.meter.emon import (
    NET_NOTE,
    EmonLineCodec,
    EmonSettings,
    decode_line,
    decode_message,
    decode_ndjson,
)
from node.meter.emon_layout import EMONTX4, NodeLayout
from node.meter.json_path import PathMapping, PathRule, Register
from node.model import EvidenceClass
from tests.support.messages import assert_plausible, frames_of, payloads, refusals_of
from tests.support.shared import shared_path

GRID = PathMapping(
    (
        PathRule("E1", Register.IMPORT_WH, "Wh"),
        PathRule("P1", Register.POWER_W, "W"),
    )
)
WITH_GRID = EmonSettings(GRID, layouts={15: EMONTX4})


def expected(name: str) -> dict[str, list[Any]]:
    path = shared_path(f"frames/emon/{name}.expected.json")
    document: dict[str, list[Any]] = json.loads(path.read_text())
    return document


def packet(e1: int = 12_345, p1: int = -250) -> bytes:
    values = (7, 23_456, p1, *[0] * 5, e1, *[0] * 5, 2150, 30_000, 30_000, 9)
    return struct.pack("<Lh6h6l3hL", *values)


def ok_line(node: int, data: bytes) -> bytes:
    return f"OK {node} {' '.join(map(str, data))} (-61)".encode()


def listed() -> bytes:
    values = EMONTX4.values_of(packet())
    assert values is not None
    return ",".join(map(str, [*values.values(), -61])).encode()


def test_the_four_line_formats() -> None:
    lines = expected("readme-formats")["lines"]
    stream = shared_path("frames/emon/readme-formats.txt").read_bytes()
    codec: Codec = EmonLineCodec()
    decoded = codec.feed(stream) + codec.finish()
    frames = frames_of(decoded)
    assert len(decoded) == len(frames) == len(lines)
    radio, *others = zip(frames, lines, strict=True)
    frame, line = radio
    assert int(frame.fields["node"]) == line["node"]
    assert [int(byte) for byte in frame.fields["bytes"].split()] == line["bytes"]
    assert int(frame.fields["rssi"]) == line["rssi"]
    for frame, line in others:
        assert {name: int(value) for name, value in frame.fields.items()} == line
    for frame in frames:
        assert (frame.kind, frame.evidence_class) == ("emon", EvidenceClass.C)
        assert (frame.import_wh, frame.export_wh, frame.power_w) == (None, None, None)
    assert decode_ndjson(stream) == decoded


def test_what_emonhub_publishes() -> None:
    recording = shared_path("frames/emon/mqtt-formats.ndjson").read_bytes()
    one, listed, other = expected("mqtt-formats")["readings"]
    decoded = decode_ndjson(recording)
    frames = frames_of(decoded)
    assert len(decoded) == len(frames) == 3
    for frame, (node, name, value) in ((frames[0], one), (frames[2], other)):
        assert (frame.meter_id, frame.fields) == (node, {name: str(value)})
    assert frames[1].meter_id == listed[0]
    assert list(frames[1].fields.values()) == listed[1]


@given(st.lists(st.integers(0, 200), max_size=8))
def test_a_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    stream = b"noise\r\nMSG:1,P1:-20,E1:5\r\n" + ok_line(15, packet()) + b"\r\n{}\r\nE1:"
    whole = EmonLineCodec(WITH_GRID)
    codec = EmonLineCodec(WITH_GRID)
    at = [0, *sorted(cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(at)]
    found = [decoded for piece in pieces for decoded in codec.feed(piece)]
    assert found + codec.finish() == whole.feed(stream) + whole.finish()


def test_bytes_mean_what_the_node_s_layout_says() -> None:
    (frame,) = frames_of(decode_line(ok_line(15, packet()), WITH_GRID))
    assert (frame.meter_id, frame.import_wh, frame.power_w) == ("emonTx4", 12_345, -250)
    assert frame.fields["Vrms"] == "234.56"
    assert frame.fields["T1"] == "21.50"
    assert frame.fields["pulse"] == "9"
    assert frame.fields["rssi"] == "-61"
    assert frame.notes == (NET_NOTE,)
    (refusal,) = refusals_of(decode_line(ok_line(15, packet()[:-1]), WITH_GRID))
    assert refusal.reason == "51 bytes; the layout of node 15 has 52"


def test_every_datacode() -> None:
    layout = NodeLayout(
        tuple("abcdefghijkl"), "bBhHiIlLqQfd", (Decimal("0.5"), Decimal(2)), "any node"
    )
    numbers = (-1, 255, -2, 65535, -3, 2**32 - 1, -4, 5, -6, 2**64 - 1, 0.5, float("nan"))
    values = layout.values_of(struct.pack("<bBhHiIlLqQfd", *numbers))
    assert values is not None
    assert list(map(str, values.values()))[:-1] == [
        *("-0.5", "510", "-2", "65535", "-3", "4294967295"),
        *("-4", "5", "-6", "18446744073709551615", "0.5"),
    ]
    assert values["l"].is_nan()


@pytest.mark.parametrize(
    ("names", "codes", "scales"),
    [
        (("a",), "x", ()),
        (("a",), "hh", ()),
        (("a", "a"), "hh", ()),
        (("a",), "h", (Decimal(1), Decimal(1))),
        (("node",), "h", ()),
        ((), "", ()),
        (tuple(str(i) for i in range(9)), "q" * 9, ()),
    ],
)
def test_a_layout_that_cannot_be(
    names: tuple[str, ...], codes: str, scales: tuple[Decimal, ...]
) -> None:
    with pytest.raises(ValueError, match=r"names|datacodes|scales|bytes|called"):
        NodeLayout(names, codes, scales)


@pytest.mark.parametrize(
    "line",
    [
        b"P1:100,E1",
        b"P1:100,E1:",
        b"P1:1x0,E1:5",
        b"P1:100,,E1:5",
        b"E1:5,E1:6",
        b"E 1:5",
        b"P1:100:3",
        b"E1:\xff5",
        b"E1:1" + b"0" * 20,
        b"emonTx4 V4.2 ready",
        b'{"E1":5',
        b"[1]",
        b"OK 15",
        b"OK 15 256 (-3)",
        b"OK 15 1 2 (-3",
        b"OK 15 1 x",
        b",".join(b"a%d:1" % i for i in range(129)),
        b"E1:" + b"1" * 2000,
    ],
)
def test_a_damaged_line_is_refused_whole(line: bytes) -> None:
    decoded = decode_line(line + b"\r\n", WITH_GRID)
    assert len(decoded) == len(refusals_of(decoded)) == 1


def test_empty_lines_are_nothing() -> None:
    codec = EmonLineCodec()
    assert codec.feed(b"\r\n\n  \r\n") == []
    assert codec.finish() == []


def test_a_line_without_its_end_may_lack_digits() -> None:
    codec = EmonLineCodec(WITH_GRID)
    assert codec.feed(b"E1:123") == []
    (refusal,) = refusals_of(codec.finish())
    assert "ended within a line" in refusal.reason
    assert codec.finish() == []


def test_a_stream_without_lines_is_bounded_and_recovers() -> None:
    codec = EmonLineCodec(WITH_GRID)
    for _ in range(100):
        assert codec.feed(b"x" * 4096) == []
    assert len(pickle.dumps(codec)) < 4096
    refusal, frame = codec.feed(b"\nE1:5\n")
    assert refusals_of([refusal])
    assert frames_of([frame])[0].import_wh == 5


@pytest.mark.parametrize(
    ("topic", "payload", "node", "import_wh"),
    [
        ("emon/emontx/E1", b"123.9", "emontx", 123),
        ("emonhub/rx/15/values", listed(), "emonTx4", 12_345),
        ("emon/emontx", b'{"E1":7,"P1":2,"time":1747561101.5,"rssi":-40}', "emontx", 7),
    ],
)
def test_the_three_layouts_feed_the_mapped_registers(
    topic: str, payload: bytes, node: str, import_wh: int
) -> None:
    (frame,) = frames_of(decode_message(topic, payload, WITH_GRID))
    assert (frame.meter_id, frame.import_wh) == (node, import_wh)
    if b"time" in payload:
        assert frame.taken_at_s == 1_747_561_101


def test_values_without_names_are_numbered_and_must_be_as_many_as_the_names() -> None:
    (frame,) = frames_of(decode_message("emonhub/rx/9/values", b"1,2.50,-61"))
    assert frame.fields == {"1": "1", "2": "2.50", "3": "-61"}
    (refusal,) = refusals_of(decode_message("emonhub/rx/15/values", b"1,2", WITH_GRID))
    assert refusal.reason == "2 values; the layout of node 15 has 18"


def test_a_value_that_is_no_number_is_refused_and_the_others_stay() -> None:
    decoded = decode_message("emonhub/rx/9/values", b"1,nan,None")
    (frame,) = frames_of(decoded)
    assert (frame.fields, frame.complete) == ({"1": "1"}, False)
    assert [refusal.reason for refusal in refusals_of(decoded)] == [
        "2: text, not a number",
        "3: text, not a number",
    ]


def test_only_the_owner_s_node_feeds_registers() -> None:
    settings = EmonSettings(GRID, node="emontx")
    (other,) = frames_of(decode_message("emon/heatpump/E1", b"5", settings))
    assert (other.import_wh, other.fields) == (None, {"E1": "5"})
    (own,) = frames_of(decode_message("emon/emontx/E1", b"5", settings))
    assert own.import_wh == 5


def test_base_topics_are_the_owner_s() -> None:
    settings = EmonSettings(GRID, json_base="emon/JSON/", nodevar_base="n/")
    (frame,) = frames_of(decode_message("emon/JSON/tx", b'{"E1":5}', settings))
    assert (frame.meter_id, frame.import_wh) == ("tx", 5)
    assert frames_of(decode_message("n/tx/E1", b"5", settings))
    for topic in ("emon/tx/E1", "emonhub/tx/15/values", "n/tx/E1/x", "x"):
        assert refusals_of(decode_message(topic, b"5", settings))


def test_a_net_counter_below_zero_is_no_register() -> None:
    decoded = decode_line(b"P1:-300,E1:-12", WITH_GRID)
    (frame,) = frames_of(decoded)
    assert (frame.import_wh, frame.power_w) == (None, -300)
    assert "negative" in refusals_of(decoded)[0].reason


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**15), 2**15 - 1))
def test_all_formats_say_the_same(e1: int, p1: int) -> None:
    values = {"P1": p1, "E1": e1}
    pairs = ",".join(f"{name}:{value}" for name, value in values.items()).encode()
    said = {
        (frame.import_wh, frame.power_w)
        for decoded in (
            decode_line(pairs, WITH_GRID),
            decode_line(json.dumps(values).encode(), WITH_GRID),
            decode_line(ok_line(15, packet(e1, p1)), WITH_GRID),
            decode_message("emon/tx", json.dumps(values).encode(), WITH_GRID),
        )
        for frame in frames_of(decoded)
    }
    assert said == {(e1 if e1 >= 0 else None, p1)}


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"OK ", b"E1:5", b"\r\n", b"{"])))
def test_no_stream_raises(chunks: list[bytes]) -> None:
    codec = EmonLineCodec(WITH_GRID)
    found: list[Decoded] = [decoded for chunk in chunks for decoded in codec.feed(chunk)]
    found += codec.finish()
    if found:
        assert_plausible(found)


@given(
    st.sampled_from(["emon/tx", "emon/tx/E1", "emonhub/rx/15/values", "emonhub/rx/x/values"])
    | st.text(min_size=1),
    payloads(["E1", "P1", "time"]) | st.text("0123456789.,-e ", max_size=80).map(str.encode),
)
def test_no_message_raises(topic: str, payload: bytes) -> None:
    assert_plausible(decode_message(topic, payload, WITH_GRID))
