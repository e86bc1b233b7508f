from __future__ import annotations

import json
import random
import struct
from typing import Any

import pytest
from Crypto.Cipher import AES
from hypothesis import given
from hypothesis import strategies as st

from node.meter.citizenwatt import (
    DEFAULT_KEY,
    MAX_PAUSE_MS,
    MAX_POWER_VA,
    NOTE,
    PERIOD_NOTE,
    RESTART_PACKETS,
    CitizenWattCodec,
    decode_message,
    decode_ndjson,
    decode_packet,
    open_packet,
)
from node.meter.codec import Codec, Decoded, MeterFrame, Rejected
from node.model import EvidenceClass
from tests.support.messages import assert_plausible, frames_of, payloads, refusals_of
from tests.support.shared import shared_path

KEY = bytes(range(100, 116))
WATTS = "/api/1/get/watts/by_id/-1"


def packet(
    timer_ms: int,
    power: int = 500,
    *,
    voltage: int = 0,
    battery: int = 3000,
    key: bytes = DEFAULT_KEY,
    padding: bytes = b"\xa5" * 6,
) -> bytes:
    plain = struct.pack("<hHHL", power, voltage, battery, timer_ms % 2**32) + padding
    return AES.new(key, AES.MODE_ECB).encrypt(plain)


def run(*chunks: bytes, key: bytes = DEFAULT_KEY) -> list[Decoded]:
    codec: Codec = CitizenWattCodec(key)
    found = [decoded for chunk in chunks for decoded in codec.feed(chunk)]
    return found + codec.finish()


def test_the_published_layout() -> None:
    folder = shared_path("frames/citizenwatt")
    expected = json.loads((folder / "generated-payload.expected.json").read_text())
    block = (folder / "generated-payload.bin").read_bytes()
    key = bytes.fromhex(expected["key"])
    frame = decode_packet(block, key)
    assert isinstance(frame, MeterFrame)
    assert run(block) == [frame]
    assert (frame.kind, frame.evidence_class) == ("citizenwatt", EvidenceClass.C)
    labels = ("power_W", "voltage_V", "battery_mV", "timer_ms")
    assert {name: int(value) for name, value in frame.fields.items()} == {
        label: expected[label] for label in labels
    }
    assert frame.power_va == expected["power_W"]
    # A current times an assumed voltage: no W, and never a register.
    assert (frame.power_w, frame.import_wh, frame.export_wh) == (None, None, None)
    assert frame.notes == (NOTE,)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (packet(1, -5), "a power of -5 VA"),
        (packet(1, MAX_POWER_VA + 1), "a power of 24001 VA"),
        (packet(1, voltage=60), "a voltage of 60 V"),
        (packet(1, battery=0), "a battery of 0 mV"),
        (packet(1)[:15], "15 bytes"),
        (b"", "0 bytes"),
    ],
)
def test_what_no_sensor_says_is_refused(block: bytes, reason: str) -> None:
    refusal = decode_packet(block)
    assert isinstance(refusal, Rejected)
    assert reason in refusal.reason


def test_another_key_opens_nothing() -> None:
    assert frames_of(run(*(packet(timer) for timer in range(100, 900, 100)), key=KEY)) == []
    own = run(packet(100, key=KEY), key=KEY)
    assert len(frames_of(own)) == len(own) == 1
    for key in (b"", bytes(15), bytes(32)):
        with pytest.raises(ValueError, match="AES-128"):
            CitizenWattCodec(key)
        with pytest.raises(ValueError, match="AES-128"):
            open_packet(packet(1), key)


def test_padding_says_nothing() -> None:
    assert run(packet(5, padding=bytes(6))) == run(packet(5, padding=b"\xff" * 6))


def test_a_packet_that_was_sent_before_is_refused() -> None:
    stream = [packet(1000), packet(1500), packet(1000), packet(1500), packet(2000)]
    decoded = run(*stream)
    assert [frame.fields["timer_ms"] for frame in frames_of(decoded)] == ["1000", "1500", "2000"]
    assert all("not the next packet" in refusal.reason for refusal in refusals_of(decoded))


def test_a_forged_timer_far_ahead_does_not_silence_the_sensor() -> None:
    stream = [packet(1000), packet(1000 + MAX_PAUSE_MS + 1), packet(1500)]
    assert [frame.fields["timer_ms"] for frame in frames_of(run(*stream))] == ["1000", "1500"]


def test_the_timer_wraps() -> None:
    timers = [2**32 - 200, 300, 800]
    assert len(frames_of(run(*map(packet, timers)))) == len(timers)


def test_a_sensor_with_a_new_battery_is_believed_again() -> None:
    timers = [10**9, *range(500, 500 * (RESTART_PACKETS + 3), 500)]
    decoded = run(*map(packet, timers))
    assert len(refusals_of(decoded)) == RESTART_PACKETS - 1
    assert frames_of(decoded)[1].fields["timer_ms"] == str(500 * RESTART_PACKETS)


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_noise_between_packets_costs_at_most_the_packet_it_hits(length: int, seed: int) -> None:
    noise = random.Random(seed).randbytes(length)
    timers = range(1000, 6000, 500)
    stream = [packet(timer) for timer in timers]
    decoded = run(*stream[:4], noise, *stream[4:])
    assert len(frames_of(decoded)) >= len(timers) - 1
    assert refusals_of(decoded)


def test_a_lost_byte_costs_one_packet() -> None:
    stream = b"".join(packet(timer) for timer in range(1000, 4000, 500))
    for at in range(32):
        assert len(frames_of(run(stream[:at] + stream[at + 1 :]))) == 5


@given(st.lists(st.integers(0, 120), max_size=6))
def test_a_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    stream = packet(1000) + b"noise" + packet(1500) + packet(1500) + packet(2000) + b"end"
    at = [0, *sorted(cuts), len(stream)]
    pieces = [stream[start:end] for start, end in zip(at, [*at[1:], None], strict=True)]
    assert run(*pieces[:-1]) == run(stream)


@given(st.lists(st.binary(max_size=700), max_size=4))
def test_no_stream_raises(chunks: list[bytes]) -> None:
    found = run(*chunks)
    if found:
        assert_plausible(found)
        assert sum(len(refusal.raw) for refusal in refusals_of(found)) <= sum(map(len, chunks))


def answer(measured: object) -> bytes:
    return json.dumps({"data": measured, "rate": "day"}).encode()


def measure(value: object, **more: object) -> dict[str, object]:
    return {
        "id": 7,
        "sensor_id": 1,
        "value": value,
        "timestamp": 1421000000,
        "night_rate": 0,
        **more,
    }


def test_the_last_measure_of_the_base() -> None:
    (frame,) = frames_of(decode_message(WATTS, answer(measure(512.5, timestamp=1721000000))))
    assert (frame.power_va, frame.power_w, frame.import_wh) == (513, None, None)
    assert (frame.meter_id, frame.taken_at_s) == ("citizenwatt/1", 1_721_000_000)
    assert frame.notes == (NOTE,)
    (bare,) = frames_of(decode_message("", answer(measure(512.5))))
    assert (bare.meter_id, bare.taken_at_s) == ("citizenwatt", None)  # a base whose clock is wrong


def test_a_list_of_measures() -> None:
    path = "http://citizenwatt.local/api/3/get/watts/by_time/1/2"
    decoded = decode_message(path, answer([measure(1), measure(2), [], None]))
    assert [frame.power_va for frame in frames_of(decoded)] == [1, 2]
    assert len(refusals_of(decoded)) == 2


def test_energy_of_a_period_is_no_register() -> None:
    path = "/api/1/get/kwatthours/by_time/1/2"
    (frame,) = frames_of(
        decode_message(path, answer({"value": 1.25, "day_rate": 1, "night_rate": 0}))
    )
    assert (frame.import_wh, frame.export_wh, frame.power_va) == (None, None, None)
    assert frame.fields == {"value": "1.25"}
    assert frame.notes == (NOTE, PERIOD_NOTE)


@pytest.mark.parametrize(
    ("path", "payload"),
    [
        (WATTS, answer(None)),
        (WATTS, answer([])),
        (WATTS, answer(measure(65_531))),  # -5 read as an unsigned number
        (WATTS, answer(measure(-5))),
        (WATTS, answer(measure(None))),
        (WATTS, answer(measure(True))),  # noqa: FBT003  # a measure that is no number
        (WATTS, answer(measure("12"))),
        (WATTS, answer([measure(1)] * 2001)),
        (WATTS, b'{"rate":"day"}'),
        (WATTS, b"<html>Access forbidden</html>"),
        ("/api/1/get/euros/by_time/1/2", answer({"value": 1})),
        ("/api/sensors", answer([{"id": 1, "name": "CitizenWatt"}])),
        ("/api/time", answer(1_721_000_000.5)),
    ],
)
def test_what_is_no_measure_is_refused(path: str, payload: bytes) -> None:
    decoded = decode_message(path, payload)
    assert decoded
    assert decoded == refusals_of(decoded)


def test_a_recording_of_answers() -> None:
    lines: list[dict[str, Any]] = [
        {"topic": WATTS, "payload": answer(measure(i)).decode()} for i in (1, 2)
    ]
    recording = "\n".join(map(json.dumps, lines)).encode()
    assert [frame.power_va for frame in frames_of(decode_ndjson(recording))] == [1, 2]


@given(
    st.sampled_from([WATTS, "", "/api/1/get/kwatthours/by_id/1/2"]) | st.text(),
    payloads(["data", "value", "timestamp"]),
)
def test_no_answer_raises(path: str, payload: bytes) -> None:
    assert_plausible(decode_message(path, payload))
