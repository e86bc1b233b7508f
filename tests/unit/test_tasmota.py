from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.codec import Decoded, MeterFrame
from node.meter.json_path import PathMapping, PathRule, Register
from node.meter.tasmota import (
    OWN_COUNTER_NOTE,
    ListMeaning,
    TasmotaSettings,
    decode_message,
    decode_ndjson,
)
from node.model import EvidenceClass
from tests.support.messages import assert_plausible, frames_of, payloads, refusals_of
from tests.support.shared import shared_path

TOTAL_FIRST = TasmotaSettings(lists=ListMeaning.TOTAL_FIRST)


def recorded(name: str) -> tuple[list[Decoded], dict[str, Any]]:
    folder = shared_path("frames/tasmota")
    expected = json.loads((folder / f"{name}.expected.json").read_text())
    return decode_ndjson((folder / f"{name}.ndjson").read_bytes()), expected


def sensor(block: dict[str, object], settings: TasmotaSettings | None = None) -> list[Decoded]:
    payload = json.dumps(block).encode()
    return decode_message("tele/plug/SENSOR", payload, settings or TasmotaSettings())


def energy(**labels: object) -> MeterFrame:
    (frame,) = frames_of(sensor({"ENERGY": labels}))
    return frame


def test_a_plug() -> None:
    decoded, expected = recorded("sonoff-pow-sensor")
    (frame,) = frames_of(decoded)
    assert len(decoded) == 1
    assert (frame.kind, frame.meter_id) == ("tasmota", "pow1")
    assert frame.evidence_class is EvidenceClass.C
    assert frame.import_wh == round(expected["Total_kWh"] * 1000)
    assert frame.power_w == expected["Power_W"]
    assert frame.fields["ENERGY.Voltage"] == str(expected["Voltage"])
    assert frame.fields["ENERGY.Current"] == str(expected["Current"])
    assert frame.taken_at_s is None  # local time without a zone, nine months before its own start


def test_two_devices_one_with_two_channels() -> None:
    decoded, expected = recorded("evcc-status8-energy-and-two-channel")
    frames = frames_of(decoded)
    assert len(decoded) == len(frames) == 2
    assert [frame.import_wh for frame in frames] == [
        round(total * 1000) for total in expected["Total_kWh"]
    ]
    one, (left, right) = expected["power"]
    assert [frame.power_w for frame in frames] == [round(one), round(left + right)]
    assert frames[1].fields["ENERGY.Power.0"] == str(left)


def test_the_teleinfo_firmware_s_own_counter_is_not_the_meter_s_index() -> None:
    decoded, expected = recorded("teleinfo-historic-3msgs")
    frames = frames_of(decoded)
    assert len(decoded) == len(frames) == expected["messages"]
    assert [frame.import_wh for frame in frames] == expected["import_Wh_from_TIC"]
    assert [frame.power_va for frame in frames] == expected["power_VA"]
    assert [frame.fields["ENERGY.Total"] for frame in frames] == [
        str(total) for total in expected["Total_kWh"]
    ]
    for frame in frames:
        assert frame.power_w is None
        assert frame.meter_id == "021528603314"
        assert frame.notes == (OWN_COUNTER_NOTE,)


def test_without_its_tic_block_the_teleinfo_firmware_says_nothing_of_energy() -> None:
    decoded = sensor({"ENERGY": {"Total": 9098.245, "Power": 170, "Load": 6}})
    (frame,) = frames_of(decoded)
    assert (frame.import_wh, frame.power_w, frame.complete) == (None, None, False)
    assert "ENERGY.Total" in refusals_of(decoded)[0].reason


def test_standard_mode_with_digits_as_text_and_injection() -> None:
    tic = {"ADSC": "041662343035", "EAST": "019290594", "EAIT": "000000104", "SINSTS": "00208"}
    (frame,) = frames_of(sensor({"TIC": tic}))
    assert (frame.import_wh, frame.export_wh) == (19_290_594, 104)
    assert (frame.power_va, frame.meter_id) == (208, "041662343035")
    assert frame.notes == ()


@pytest.mark.parametrize(
    "tic",
    [{"PAPP": 160}, {"HCHP": 5, "PAPP": 160}, {"BASE": 5, "HCHC": 3, "PAPP": 160}, {"Kr": "]0|'"}],
)
def test_no_sum_is_made_from_some_of_the_indices(tic: dict[str, object]) -> None:
    (frame,) = frames_of(sensor({"TIC": tic}))
    assert frame.import_wh is None
    assert frame.power_va in {160, None}


def test_phases_are_added_up() -> None:
    frame = energy(Total=[1.0005, 2.0005, 3], ExportActive=[0.5, 0, 0.25], Power=[-1000.5, 200, 0])
    assert (frame.import_wh, frame.export_wh, frame.power_w) == (6001, 750, -801)


def test_old_firmware_lists_the_total_and_two_tariffs() -> None:
    block: dict[str, object] = {
        "ENERGY": {"Total": [33.736, 11.717, 16.978], "ExportActive": [1, 0.5, 0.25]}
    }
    (frame,) = frames_of(sensor(block, TOTAL_FIRST))
    assert (frame.import_wh, frame.export_wh) == (33_736, 1000)


@pytest.mark.parametrize("value", [None, True, "12", -0.001, float("nan"), 1e300, [1, None], {}])
def test_a_bad_total_is_refused_and_the_power_stays(value: object) -> None:
    decoded = sensor({"ENERGY": {"Total": value, "Power": 12}})
    (frame,) = frames_of(decoded)
    assert (frame.import_wh, frame.power_w, frame.complete) == (None, 12, False)
    assert all(refusal.reason.startswith("ENERGY.Total") for refusal in refusals_of(decoded))


def test_a_list_of_no_channels_or_of_too_many_says_nothing() -> None:
    assert energy(Total=[], Power=3).import_wh is None
    (frame,) = frames_of(sensor({"ENERGY": {"Total": [1] * 17, "Power": [1] * 17}}))
    assert (frame.import_wh, frame.power_w, frame.complete) == (None, None, False)


@pytest.mark.parametrize(
    ("said", "taken_at_s"),
    [
        ("2023-02-05T20:31:48", None),
        ("2023-02-05T20:31:48+01:00", 1_675_625_508),
        ("1970-01-01T00:00:10+00:00", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("yesterday", None),
    ],
)
def test_only_a_time_with_its_offset_is_trusted(said: str, taken_at_s: int | None) -> None:
    (frame,) = frames_of(sensor({"Time": said, "ENERGY": {"Total": 1}}))
    assert frame.taken_at_s == taken_at_s
    assert frame.fields["Time"] == said


def test_the_smart_meter_script_s_names_are_the_owner_s() -> None:
    block: dict[str, object] = {"Time": "2023-02-05T20:31:48", "MT175": {"E_in": 1.5, "P": -20.4}}
    (refusal,) = refusals_of(sensor(block))
    assert "MT175" in refusal.reason
    mapping = PathMapping(
        (
            PathRule("MT175.E_in", Register.IMPORT_WH, "kWh"),
            PathRule("MT175.P", Register.POWER_W, "W"),
        )
    )
    (frame,) = frames_of(sensor(block, TasmotaSettings(mapping)))
    assert (frame.import_wh, frame.power_w, frame.meter_id) == (1500, -20, "plug")


@pytest.mark.parametrize(
    ("topic", "device"),
    [
        ("tele/plug/SENSOR", "plug"),
        ("stat/plug/STATUS10", "plug"),
        ("home/plug/tele/SENSOR", "home/plug"),
        ("", None),
    ],
)
def test_the_device_is_in_the_topic(topic: str, device: str | None) -> None:
    (frame,) = frames_of(decode_message(topic, b'{"StatusSNS":{"ENERGY":{"Total":1}}}'))
    assert frame.meter_id == device


def test_the_last_will() -> None:
    (frame,) = frames_of(decode_message("tele/plug/LWT", b"Offline"))
    assert (frame.meter_id, frame.fields) == ("plug", {"LWT": "Offline"})
    assert refusals_of(decode_message("tele/plug/LWT", b""))


@pytest.mark.parametrize("topic", ["tele/plug/STATE", "tele/plug/INFO1", "cmnd/plug/Power"])
def test_other_topics_are_refused(topic: str) -> None:
    assert len(refusals_of(decode_message(topic, b'{"ENERGY":{"Total":1}}'))) == 1


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=3), st.integers(-(10**7), 10**7))
def test_kwh_with_three_decimals_are_wh(phases_wh: list[int], power_mw: int) -> None:
    total = [f"{wh // 1000}.{wh % 1000:03d}" for wh in phases_wh]
    written = total[0] if len(total) == 1 else f"[{','.join(total)}]"
    power = f"{'-' if power_mw < 0 else ''}{abs(power_mw) // 1000}.{abs(power_mw) % 1000:03d}"
    payload = f'{{"ENERGY":{{"Total":{written},"Power":{power}}}}}'.encode()
    (frame,) = frames_of(decode_message("tele/plug/SENSOR", payload))
    assert frame.import_wh == sum(phases_wh)
    exactly = (abs(power_mw) + 500) // 1000
    assert frame.power_w == (exactly if power_mw >= 0 else -exactly)


@given(
    st.sampled_from(["", "tele/x/SENSOR", "stat/x/STATUS8", "tele/x/LWT", "a"]) | st.text(),
    payloads(
        [
            *("ENERGY", "Total", "ExportActive", "Power", "TIC", "EAST", "EAIT", "HCHC", "HCHP"),
            *("PAPP", "ADCO", "Time", "StatusSNS", "Load"),
        ]
    ),
    st.sampled_from([TasmotaSettings(), TOTAL_FIRST]),
)
def test_nothing_that_comes_in_raises(
    topic: str, payload: bytes, settings: TasmotaSettings
) -> None:
    assert_plausible(decode_message(topic, payload, settings))
