from __future__ import annotations

import json
from decimal import Decimal
from math import floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.codec import Decoded, MeterFrame
from node.meter.shelly import decode_message, decode_ndjson, remember
from node.meter.shelly_gen1 import PHASES_NOTE
from node.meter.shelly_gen2 import CHANGE_NOTE
from node.model import EvidenceClass
from tests.support.messages import assert_plausible, frames_of, payloads, refusals_of
from tests.support.shared import shared_path

PLUG_S = "aioshelly-gen1_Shelly-Plug-S_SHPLG-S_20230913-113421-v1-14"
PLUS_1PM = "aioshelly-gen2_Shelly-Plus-1PM_SNSW-001P16EU_20231219-1339"


def recorded(name: str) -> tuple[list[MeterFrame], dict[str, Any]]:
    folder = shared_path("frames/shelly")
    expected = json.loads((folder / f"{name}.expected.json").read_text(), parse_float=Decimal)
    recording = next(path for path in folder.glob(f"{name}.*json") if "expected" not in path.name)
    decoded = decode_ndjson(recording.read_bytes())
    frames = frames_of(decoded)
    assert len(frames) == len(decoded)
    for frame in frames:
        assert (frame.kind, frame.evidence_class) == ("shelly", EvidenceClass.C)
        assert frame.complete
    return frames, expected


def status(**components: object) -> list[Decoded]:
    named = {name.replace("_", ":"): body for name, body in components.items()}
    return decode_message("", json.dumps(named).encode())


def change(body: object, component: str = "switch:0", method: str = "NotifyStatus") -> bytes:
    params = {"ts": 1631186545.04, component: body}
    return json.dumps({"src": "shellyplus", "method": method, "params": params}).encode()


def test_a_relay_of_the_first_generation_counts_watt_minutes() -> None:
    (frame,), expected = recorded("evcc-gen1-status-1pm")
    assert frame.import_wh == floor(expected["energy_Wh"])
    assert frame.fields["meters.0.total"] == str(expected["total_raw"])
    assert frame.power_w == round(expected["power_W"])
    assert frame.export_wh is None
    assert frame.meter_id == "84CCA8XXXXXXX/meter:0"
    assert frame.taken_at_s == 1_676_134_770


def test_a_plug_of_the_first_generation() -> None:
    (frame,), expected = recorded(PLUG_S)
    (meter,) = expected["summary"]["meters"]
    assert frame.import_wh == meter["total"] // 60
    assert frame.power_w == meter["power"]
    assert frame.taken_at_s == expected["summary"]["unixtime"]
    assert frame.meter_id is None  # the status of this file does not say which device it is


def test_a_switch_by_mqtt() -> None:
    (frame,), expected = recorded("evcc-gen2-switch")
    assert frame.import_wh == floor(expected["aenergy_Wh"])
    assert frame.fields["switch:0.aenergy.total"] == str(expected["aenergy_Wh"])
    assert frame.power_w == round(expected["apower_W"])
    assert frame.meter_id == "shellyplusplugs-aabbcc/switch:0"


def test_a_switch_in_a_full_status() -> None:
    (frame,), expected = recorded(PLUS_1PM)
    switch = expected["summary"]["switch:0"]
    assert frame.import_wh == floor(switch["aenergy"]["total"])
    assert frame.power_w == switch["apower"]
    assert frame.meter_id == "AABBCCDDEEFF/switch:0"
    assert frame.taken_at_s == 1_707_326_936


def test_a_three_phase_meter() -> None:
    (power, energy), expected = recorded("ha-pro3em-status")
    assert power.power_w == 2414
    assert power.fields["em:0.total_act_power"] == str(expected["power_W"])
    assert (energy.import_wh, energy.export_wh) == (
        floor(expected["import_Wh"]),
        floor(expected["export_Wh"]),
    )
    assert power.meter_id == energy.meter_id == "shellypro3em-aabbccddeeff/em:0"
    assert energy.notes == (PHASES_NOTE,)


def test_power_and_energy_of_one_status_are_one_frame() -> None:
    (frame,) = frames_of(
        status(
            em_0={"id": 0, "total_act_power": -10.5},
            emdata_0={"id": 0, "total_act": 7.9, "total_act_ret": 3},
        )
    )
    assert (frame.import_wh, frame.export_wh, frame.power_w) == (7, 3, -11)


def test_phases_are_added_up_where_the_device_does_not() -> None:
    phases = {"a": "0.6", "b": "0.6", "c": "0.9"}
    body = ",".join(f'"{p}_total_act_energy":{v},"{p}_act_power":{v}' for p, v in phases.items())
    (frame,) = frames_of(
        decode_message(
            "x/status/emdata:0", f'{{"id":0,{body},"a_total_act_ret_energy":1}}'.encode()
        )
    )
    assert (frame.import_wh, frame.export_wh) == (2, None)
    (frame,) = frames_of(decode_message("x/status/em:0", f'{{"id":0,{body}}}'.encode()))
    assert frame.power_w == 2


def test_clamps_of_one_phase_are_meters_of_their_own() -> None:
    frames = frames_of(
        status(
            em1_0={"id": 0, "act_power": 5},
            em1data_0={"id": 0, "total_act_energy": 10.9, "total_act_ret_energy": 2.1},
            em1_1={"id": 1, "act_power": -7},
            sys={"mac": "AABB", "unixtime": 0},
        )
    )
    assert [
        (frame.meter_id, frame.import_wh, frame.export_wh, frame.power_w) for frame in frames
    ] == [
        ("AABB/em1:0", 10, 2, 5),
        ("AABB/em1:1", None, None, -7),
    ]
    assert frames[0].taken_at_s is None  # its clock was never set


@pytest.mark.parametrize("component", ["switch", "pm1", "cover", "light"])
def test_both_directions_stand_in_one_counter(component: str) -> None:
    body = {"aenergy": {"total": 1729.900}, "ret_aenergy": {"total": 1694.151}, "apower": -16.7}
    (frame,) = frames_of(status(**{f"{component}_0": body}))
    assert (frame.import_wh, frame.export_wh, frame.power_w) == (35, 1694, -17)


@pytest.mark.parametrize(
    ("both", "returned", "imported"), [(4000, 4000, 0), (4000, 4000.001, 0), (4000, 4001, None)]
)
def test_import_is_never_negative(both: float, returned: float, imported: int | None) -> None:
    decoded = status(switch_0={"aenergy": {"total": both}, "ret_aenergy": {"total": returned}})
    (frame,) = frames_of(decoded)
    assert (frame.import_wh, frame.export_wh) == (imported, int(returned))
    assert bool(refusals_of(decoded)) == (imported is None)


@pytest.mark.parametrize(
    ("answer", "meter"),
    [
        ({"id": 1, "apower": 3, "aenergy": {"total": 5}}, "switch:1"),
        ({"id": 0, "act_power": 3}, "em1:0"),
        ({"id": 0, "total_act_power": 3}, "em:0"),
        ({"id": 2, "total_act_energy": 5, "total_act_ret_energy": 1}, "em1:2"),
        ({"total_act": 5, "total_act_ret": 1}, "em:0"),
    ],
)
def test_the_answer_of_one_component(answer: dict[str, object], meter: str) -> None:
    framed = {"id": 7, "src": "shellypro-1", "dst": "us", "result": answer}
    (frame,) = frames_of(decode_message("", json.dumps(framed).encode()))
    assert frame.meter_id == f"shellypro-1/{meter}"
    assert frame.import_wh in {5, None}
    assert frames_of(decode_message("", json.dumps(answer).encode()))[0].meter_id is None


def test_a_change_alone_is_no_import() -> None:
    payload = change({"id": 0, "aenergy": {"total": 20}, "apower": 4})
    (frame,) = frames_of(decode_message("shelly/events/rpc", payload))
    assert (frame.import_wh, frame.power_w) == (None, 4)
    assert frame.notes == (CHANGE_NOTE,)
    assert frame.taken_at_s == 1_631_186_545
    full = change({"id": 0, "aenergy": {"total": 20}}, method="NotifyFullStatus")
    assert frames_of(decode_message("shelly/events/rpc", full))[0].import_wh == 20


def test_a_change_together_with_what_was_known() -> None:
    rpc, topic = "shelly/events/rpc", "shelly/status/switch:0"
    one_way = remember({}, topic, b'{"id":0,"aenergy":{"total":10}}')
    payload = change({"id": 0, "aenergy": {"total": 20}})
    assert frames_of(decode_message(rpc, payload, one_way))[0].import_wh == 20
    two_way = remember({}, topic, b'{"aenergy":{"total":10},"ret_aenergy":{"total":6}}')
    (frame,) = frames_of(decode_message(rpc, payload, two_way))
    assert (frame.import_wh, frame.export_wh) == (14, None)
    both = change({"aenergy": {"total": 20}, "ret_aenergy": {"total": 8}})
    (frame,) = frames_of(decode_message(rpc, both))
    assert (frame.import_wh, frame.export_wh) == (12, 8)
    other = change({"id": 0, "aenergy": {"total": 20}}, component="switch:1")
    assert frames_of(decode_message(rpc, other, two_way))[0].import_wh is None


def test_changes_are_laid_over_what_was_known_and_null_removes() -> None:
    known = remember({}, "s/status/switch:0", b'{"id":0,"aenergy":{"total":1,"n":2},"x":3}')
    known = remember(known, "s/events/rpc", change({"aenergy": {"total": 5}, "x": None}))
    assert known == {
        "switch:0": {"id": Decimal(0), "aenergy": {"total": Decimal(5), "n": Decimal(2)}}
    }
    assert remember(known, "s/events/rpc", change({"apower": 1}, component="switch:1")) == known
    assert remember(known, "s/online", b"true") == known
    assert remember(known, "s/events/rpc", b"\xff") == known


def test_a_recording_remembers_each_device() -> None:
    full = b'{"topic":"s/status/switch:0","payload":"{\\"id\\":0,\\"aenergy\\":{\\"total\\":1}}"}\n'
    rpc = json.dumps(
        {"topic": "s/events/rpc", "payload": change({"aenergy": {"total": 9}}).decode()}
    )
    frames = frames_of(decode_ndjson(full + rpc.encode()))
    assert [frame.import_wh for frame in frames] == [1, 9]


def test_a_relay_without_a_meter_says_nothing() -> None:
    for payload in (
        b'{"switch:0":{"id":0,"output":true}}',
        b'{"id":0,"output":true}',
        b"{}",
        b"[]",
    ):
        assert len(refusals_of(decode_message("", payload))) == 1
    assert refusals_of(decode_message("s/status/wifi", b'{"aenergy":{"total":1}}'))


def test_clamps_of_the_first_generation_count_wh() -> None:
    body = {"total": 1268868.6, "total_returned": 1390938.0, "power": -40.5, "is_valid": True}
    payload = json.dumps({"emeters": [body, body], "mac": "C45B", "unixtime": 1745033824}).encode()
    frames = frames_of(decode_message("shellies/shellyem-1/info", payload))
    assert [frame.meter_id for frame in frames] == ["shellyem-1/emeter:0", "shellyem-1/emeter:1"]
    for frame in frames:
        assert (frame.import_wh, frame.export_wh, frame.power_w) == (1_268_868, 1_390_938, -41)


def test_three_clamps_of_the_first_generation_are_phases() -> None:
    body = {"total": 0.5, "total_returned": 0.4, "power": 1.2, "is_valid": True}
    (frame,) = frames_of(status(emeters=[body] * 3, mac="C45B"))
    assert (frame.meter_id, frame.notes) == ("C45B/emeter", (PHASES_NOTE,))
    assert (frame.import_wh, frame.export_wh, frame.power_w) == (1, 1, 4)
    decoded = status(emeters=[body, {**body, "is_valid": False}, body])
    (frame,) = frames_of(decoded)
    assert (frame.import_wh, frame.power_w, frame.complete) == (None, None, False)
    assert "not valid" in refusals_of(decoded)[0].reason


@pytest.mark.parametrize(
    ("way", "payload", "expected"),
    [
        ("relay/0/energy", b"6472513", (107_875, None, None)),
        ("relay/1/power", b"12.5", (None, None, 13)),
        ("emeter/0/total", b"1268868.6", (1_268_868, None, None)),
        ("emeter/2/total_returned", b"7.9\n", (None, 7, None)),
        ("emeter/0/power", b"-40.5", (None, None, -41)),
    ],
)
def test_topics_of_the_first_generation(
    way: str, payload: bytes, expected: tuple[int | None, int | None, int | None]
) -> None:
    (frame,) = frames_of(decode_message(f"shellies/shelly-1/{way}", payload))
    assert (frame.import_wh, frame.export_wh, frame.power_w) == expected
    family = "meter" if way.startswith("relay") else "emeter"
    assert frame.meter_id == f"shelly-1/{family}:{way.split('/')[1]}"


@pytest.mark.parametrize(
    ("way", "payload"),
    [
        ("relay/0", b"on"),
        ("relay/0/energy", b"on"),
        ("relay/0/energy", b"-5"),
        ("relay/0/energy", b"\xff"),
        ("relay/x/energy", b"5"),
        ("emeter/0/energy", b"5"),  # restarts with the device
        ("emeter/0/voltage", b"230"),
        ("announce", b"{}"),
        ("info", b'{"meters":{}}'),
        ("info", b'{"meters":[]}'),
        ("info", b'{"emeters":[1]}'),
        ("info", b'{"meters":[{"is_valid":false,"total":5}],"unixtime":1745033824}'),
        ("online", b"maybe"),
    ],
)
def test_what_is_no_reading_is_refused(way: str, payload: bytes) -> None:
    decoded = decode_message(f"shellies/shelly-1/{way}", payload)
    assert decoded
    assert decoded == refusals_of(decoded)


@pytest.mark.parametrize("topic", ["shellies/shelly-1/online", "shelly-1/online"])
def test_the_last_will(topic: str) -> None:
    (frame,) = frames_of(decode_message(topic, b"false"))
    assert (frame.meter_id, frame.fields) == ("shelly-1", {"online": "false"})


@pytest.mark.parametrize("value", [None, True, "5", -1, float("nan"), 1e300, [5], {}])
def test_a_bad_counter_is_refused_and_the_power_stays(value: object) -> None:
    decoded = status(switch_0={"aenergy": {"total": value}, "apower": 3})
    (frame,) = frames_of(decoded)
    assert (frame.import_wh, frame.power_w, frame.complete) == (None, 3, False)
    assert "switch:0.aenergy.total" in refusals_of(decoded)[0].reason
    decoded = status(switch_0={"aenergy": 5, "apower": 3})
    assert refusals_of(decoded)[0].reason == "switch:0.aenergy: not a counter"


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_counters_are_split_exactly(import_milli: int, export_milli: int) -> None:
    both = Decimal(import_milli + export_milli) / 1000
    returned = Decimal(export_milli) / 1000
    payload = f'{{"id":0,"aenergy":{{"total":{both}}},"ret_aenergy":{{"total":{returned}}}}}'
    (frame,) = frames_of(decode_message("s/status/switch:0", payload.encode()))
    assert (frame.import_wh, frame.export_wh) == (import_milli // 1000, export_milli // 1000)


@given(
    st.sampled_from(
        [
            *("", "s/status/switch:0", "s/status/em:0", "s/events/rpc", "shellies/s/info"),
            *("shellies/s/relay/0/energy", "shellies/s/emeter/0/total", "s/online"),
        ]
    )
    | st.text(),
    payloads(
        [
            *("switch:0", "em:0", "emdata:0", "em1:0", "em1data:0", "aenergy", "ret_aenergy"),
            *("total", "apower", "total_act", "a_total_act_energy", "act_power", "id", "sys"),
            *("meters", "emeters", "is_valid", "power", "unixtime", "mac", "src", "params"),
            *("result", "method", "ts"),
        ]
    ),
    payloads(["switch:0", "aenergy", "ret_aenergy", "total", "params"]),
)
def test_nothing_that_comes_in_raises(topic: str, payload: bytes, before: bytes) -> None:
    known = remember(remember({}, topic, before), "s/status/switch:0", before)
    assert_plausible(decode_message(topic, payload, known))
    assert len(remember(known, topic, payload)) <= 32
