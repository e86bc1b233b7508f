from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.codec import Decoded, MeterFrame, Rejected
from node.meter.json_path import (
    PathMapping,
    PathRule,
    Register,
    decode_message,
    decode_ndjson,
    steps_of,
)
from node.model import EvidenceClass
from tests.support.messages import assert_plausible, frames_of, payloads, refusals_of

IMPORT = Register.IMPORT_WH
EXPORT = Register.EXPORT_WH
POWER = Register.POWER_W

SML = PathMapping(
    (
        PathRule("SML.E_in", IMPORT, "kWh"),
        PathRule("SML.E_out", EXPORT, "kWh"),
        PathRule("SML.Power", POWER, "kW", -1),
    ),
    time_path="SML.at",
)


def decode(payload: bytes, *rules: PathRule) -> list[Decoded]:
    return decode_message("home/meter", payload, PathMapping(rules))


def test_the_owner_says_where_the_registers_stand() -> None:
    payload = b'{"SML":{"E_in":12345.6789,"E_out":"0.4","Power":-0.5678,"at":1747561101}}'
    assert decode_message("tele/meter/SENSOR", payload, SML) == [
        MeterFrame(
            "json",
            EvidenceClass.C,
            "tele/meter/SENSOR",
            import_wh=12_345_678,
            export_wh=400,
            power_w=568,
            taken_at_s=1_747_561_101,
            fields={
                "SML.E_in": "12345.6789",
                "SML.E_out": "0.4",
                "SML.Power": "-0.5678",
                "SML.at": "1747561101",
            },
        )
    ]


def test_the_payload_itself_can_be_the_number() -> None:
    (frame,) = frames_of(decode(b" 1234.9\n", PathRule("", IMPORT, "Wh")))
    assert (frame.import_wh, frame.fields) == (1234, {"payload": "1234.9"})


def test_names_with_dots_and_lists() -> None:
    assert steps_of(r"SML.1\.8\.0.2") == ["SML", "1.8.0", "2"]
    (frame,) = frames_of(
        decode(b'{"SML":{"1.8.0":[1,2,3]}}', PathRule(r"SML.1\.8\.0.2", IMPORT, "Wh"))
    )
    assert frame.import_wh == 3
    for index in ("3", "-1", "99999", "x", "²"):
        (refusal,) = refusals_of(decode(b"[1,2,3]", PathRule(index, IMPORT, "Wh")))
        assert refusal.reason == "none of the mapped paths is in it"


def test_tariffs_are_added_and_what_went_back_is_taken_off() -> None:
    rules = (
        PathRule("t1", IMPORT, "kWh"),
        PathRule("t2", IMPORT, "kWh"),
        PathRule("back", IMPORT, "Wmin", -1),
    )
    (frame,) = frames_of(decode(b'{"t1":0.0006,"t2":0.0006,"back":6}', *rules))
    assert frame.import_wh == 1  # 0.6 + 0.6 - 0.1 Wh


@pytest.mark.parametrize("part", ["t1", "t2"])
def test_a_sum_is_not_made_from_some_of_its_parts(part: str) -> None:
    rules = (
        PathRule("t1", IMPORT, "kWh"),
        PathRule("t2", IMPORT, "kWh"),
        PathRule("p", POWER, "W"),
    )
    decoded = decode(json.dumps({part: 1, "p": 7}).encode(), *rules)
    (frame,) = frames_of(decoded)
    assert (frame.import_wh, frame.power_w, frame.complete) == (None, 7, False)
    (refusal,) = refusals_of(decoded)
    assert "missing" in refusal.reason


@pytest.mark.parametrize("value", ["null", "true", "NaN", '"unavailable"', "[1]", "1e99", "-3"])
def test_one_bad_label_does_not_spoil_the_others(value: str) -> None:
    decoded = decode(
        b'{"in":' + value.encode() + b',"out":5}',
        PathRule("in", IMPORT, "Wh"),
        PathRule("out", EXPORT, "Wh"),
    )
    (frame,) = frames_of(decoded)
    assert (frame.import_wh, frame.export_wh, frame.complete) == (None, 5, False)
    assert "in" not in frame.fields
    (refusal,) = refusals_of(decoded)
    assert refusal.reason.startswith("in: ")


def test_a_mapping_that_cannot_be_meant_is_not_made() -> None:
    for unit, register in (("kW", IMPORT), ("Wh", POWER), ("W", Register.POWER_VA), ("", EXPORT)):
        with pytest.raises(ValueError, match="unit"):
            PathRule("a", register, unit)
    with pytest.raises(ValueError, match="sign"):
        PathRule("a", IMPORT, "Wh", 0)
    with pytest.raises(ValueError, match="steps"):
        PathRule(".".join("a" * 17), IMPORT, "Wh")
    with pytest.raises(ValueError, match="33 paths"):
        PathMapping(tuple(PathRule(str(i), IMPORT, "Wh") for i in range(33)))


def test_the_meter_is_the_one_of_the_mapping_else_the_topic() -> None:
    rules = (PathRule("a", IMPORT, "Wh"),)
    (named,) = frames_of(decode_message("t", b'{"a":1}', PathMapping(rules, meter_id="grid")))
    assert named.meter_id == "grid"
    (nameless,) = frames_of(decode_message("\x1b[2J", b'{"a":1}', PathMapping(rules)))
    assert nameless.meter_id is None


def test_a_recording_is_read_line_by_line() -> None:
    recording = b'{"topic":"a","payload":"{\\"SML\\":{\\"E_in\\":1}}"}\n{"SML":{"E_in":2}}\nx\n'
    decoded = decode_ndjson(recording, SML)
    assert [frame.import_wh for frame in frames_of(decoded)] == [1000, 2000]
    assert len(refusals_of(decoded)) == 1
    assert isinstance(decoded[-1], Rejected)


@given(
    st.lists(st.decimals(-(10**6), 10**6, places=4), min_size=1, max_size=5),
    st.sampled_from(["Wh", "kWh", "Wmin", "Ws"]),
)
def test_sums_are_exact(values: list[Decimal], unit: str) -> None:
    rules = tuple(PathRule(str(i), IMPORT, unit) for i in range(len(values)))
    payload = f"[{','.join(map(str, values))}]".encode()
    expected = sum(map(Fraction, values)) * rules[0].unit_size
    frames = frames_of(decode(payload, *rules))
    if expected < 0:
        assert all(frame.import_wh is None for frame in frames)
    else:
        assert [frame.import_wh for frame in frames] == [floor(expected)]


@given(st.text(max_size=20), payloads(["SML", "E_in", "E_out", "Power", "at"]))
def test_nothing_that_comes_in_raises(topic: str, payload: bytes) -> None:
    assert_plausible(decode_message(topic, payload, SML))
