from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.codec import MAX_BUFFER_BYTES, Codec, Decoded, MeterFrame, Rejected
from node.meter.sml import NO_DIRECTION, NO_PIN, NO_REGISTERS, SmlCodec, decode_body
from node.model import EvidenceClass
from tests.support.messages import frames_of, refusals_of
from tests.support.mutations import (
    Line,
    chunks,
    every_byte_changed,
    every_byte_doubled,
    every_byte_lost,
    mutate,
)
from tests.support.shared import SHARED, shared_path
from tests.support.sml_frames import (
    ESCAPE,
    LEFT_OUT,
    SERVER_ID,
    START,
    Meter,
    energy,
    entry,
    frame,
    frame_of,
    head,
    list_of,
    number,
    octets,
    power,
)

RECORDED: Final = sorted(path.name for path in SHARED.glob("frames/sml/*.bin"))
BODIES: Final = ("smllib-Frame2.bin", "smllib-Frame3.bin")
IMPORT: Final = "0100010800ff"
EXPORT: Final = "0100020800ff"
NET_POWER: Final = "0100100700ff"

seeds = st.integers(0, 2**32)


def decode(stream: bytes, codec: Codec | None = None) -> list[Decoded]:
    codec = codec or SmlCodec()
    return [*codec.feed(stream), *codec.finish()]


def only_frame(stream: bytes) -> MeterFrame:
    (decoded,) = decode(stream)
    assert isinstance(decoded, MeterFrame), decoded.reason
    return decoded


def only_reason(stream: bytes) -> str:
    (decoded,) = decode(stream)
    assert isinstance(decoded, Rejected)
    return decoded.reason


def recorded(name: str) -> bytes:
    return shared_path(f"frames/sml/{name}").read_bytes()


def expected_of(name: str) -> dict[str, Any]:
    path = shared_path(f"frames/sml/{name.removesuffix('.bin')}.expected.json")
    expected: dict[str, Any] = json.loads(path.read_text())
    return expected


def stated_wh(values: dict[str, str], quantity: str) -> int | None:
    """The total, or the sum of the tariffs, in whole Wh; by text and tenths, not by float."""
    total = values.get(f"0100{quantity}0800ff")
    tariffs = [values[code] for code in values if code.startswith(f"0100{quantity}080")]
    said = tariffs if total is None else [total]
    tenths = [int(text.partition(".")[0]) * 10 + int(f"{text}.0".split(".")[1][0]) for text in said]
    return sum(tenths) // 10 if said else None


def check_values(decoded: MeterFrame, values: dict[str, str]) -> None:
    assert decoded.fields.items() >= values.items()
    assert decoded.evidence_class is EvidenceClass.B
    assert decoded.import_wh == stated_wh(values, "01")
    assert decoded.export_wh == stated_wh(values, "02")
    stated_power = values.get(NET_POWER)
    assert decoded.power_w == (None if stated_power is None else int(float(stated_power)))
    stated_id = values.get("0100600100ff") or values.get("0100000009ff")
    assert stated_id in {None, decoded.meter_id}


@pytest.mark.parametrize("name", [name for name in RECORDED if name not in BODIES])
def test_a_recording_says_what_is_stated_of_it(name: str) -> None:
    expected = expected_of(name)
    decoded = decode(recorded(name))
    frames = frames_of(decoded)
    by_library = expected.get("smllib_1_7", expected)
    whole = expected["independent_transport_check"]["crc_ok_frames"]
    if by_library["errors"]:
        assert not frames
        assert len(refusals_of(decoded)) >= by_library["errors"]
        return
    assert len(frames) == whole == by_library.get("frames", 1)
    for one, stated in ((frames[0], "first"), (frames[-1], "last")):
        check_values(one, by_library.get(stated) or by_library["values"])
    if "obis_count" in expected:
        assert len(frames[0].fields) == expected["obis_count"]


@pytest.mark.parametrize("name", BODIES)
def test_a_recorded_body_without_transport_can_be_read(name: str) -> None:
    assert "outside of a frame" in only_reason(recorded(name))
    decoded = decode_body(recorded(name), checked=False)
    assert isinstance(decoded, MeterFrame)
    assert len(decoded.fields) == expected_of(name)["obis_count"]


def test_a_body_alone_is_believed_only_with_the_checksums_of_its_messages() -> None:
    believed = decode_body(recorded("smllib-Frame3.bin"))
    assert isinstance(believed, MeterFrame)
    assert (believed.import_wh, believed.export_wh, believed.power_w) == (3_065_672, 13_056, 173)
    anonymised = decode_body(recorded("smllib-Frame2.bin"))
    assert isinstance(anonymised, Rejected)
    assert "checksum of a message" in anonymised.reason


def test_a_meter_that_leaves_a_value_out_is_read_only_where_that_is_allowed() -> None:
    stream = recorded("EMH_eHZ-IW8E2A5L0EK2P_with_error.bin")
    refusals = refusals_of(decode(stream))
    assert sum("010060320206 has no value" in refusal.reason for refusal in refusals) == 11
    frames = frames_of(decode(stream, SmlCodec(valueless=True)))
    assert len(frames) == 11
    assert (frames[0].import_wh, frames[0].power_w) == (2_795_692, 136)
    assert "010060320206" not in frames[0].fields


def test_the_other_checksum_of_holley_meters_is_read_only_where_that_is_allowed() -> None:
    stream = recorded("smllib-Frame-Issue-8-FIXED-.bin")
    assert "KERMIT" in only_reason(stream)
    (decoded,) = frames_of(decode(stream, SmlCodec(kermit=True)))
    assert len(decoded.fields) == 30
    assert (decoded.import_wh, decoded.export_wh, decoded.power_w) == (10_793_898, 13_609_890, 188)
    assert only_frame(frame()) == decode(frame(), SmlCodec(kermit=True))[0]


def test_a_meter_without_its_pin_asks_for_it() -> None:
    decoded = frames_of(decode(recorded("eBZ_DD3_DD32R06DTA-SMZ1.bin")))[0]
    assert decoded.notes == (NO_PIN,)
    assert (decoded.import_wh, decoded.export_wh, decoded.power_w) == (13_024_000, 1_000, None)


def test_power_without_a_direction_is_shown_only() -> None:
    decoded = frames_of(decode(recorded("EMH-ED300L_delivery.bin")))[0]
    assert decoded.power_w is None
    assert decoded.fields["01000f0700ff"] == "126.6"
    assert decoded.notes == (NO_DIRECTION,)


def test_the_head_of_the_list_tells_the_server_where_no_entry_does() -> None:
    decoded = frames_of(decode(recorded("EMH_eHZ-GW8E2A500AK2.bin")))[0]
    assert decoded.meter_id == b"02280816".hex()
    assert decoded.import_wh == 14_800_125


def test_a_frame_as_the_head_brings_it() -> None:
    decoded = only_frame(frame())
    assert decoded.kind == "sml"
    assert decoded.meter_id == SERVER_ID.hex()
    assert (decoded.import_wh, decoded.export_wh) == (12_345_678, 500)
    assert decoded.power_w == -1_869
    assert decoded.taken_at_s is None
    assert decoded.complete
    assert not decoded.notes
    assert decoded.fields == {
        "0100600100ff": SERVER_ID.hex(),
        IMPORT: "12345678.9",
        EXPORT: "500.9",
        NET_POWER: "-1869",
    }


def test_a_frame_is_known_with_its_last_byte() -> None:
    codec = SmlCodec()
    assert codec.feed(frame()[:-1]) == []
    assert len(codec.feed(frame()[-1:])) == 1
    assert codec.buffered_bytes == 0


@pytest.mark.parametrize("size", range(1, 9))
def test_integers_keep_their_sign_at_every_length(size: int) -> None:
    lowest = -(1 << 8 * size - 1)
    entries = [energy(IMPORT, (1 << 8 * size) - 1, 0, size), power(lowest, size)]
    decoded = only_frame(frame(entries))
    assert decoded.import_wh == (1 << 8 * size) - 1
    assert decoded.power_w == lowest


@pytest.mark.parametrize(
    ("value", "scaler", "register_wh", "shown"),
    [
        (216, -1, 21, "21.6"),
        (2_160, -2, 21, "21.6"),
        (999, -3, 0, "0.999"),
        (21, 3, 21_000, "21000"),
        (45_009_189_911, -5, 450_091, "450091.89911"),
        (7, -12, 0, "0.000000000007"),
        (7, 12, 7 * 10**12, "7000000000000"),
        (0, -1, 0, "0.0"),
    ],
)
def test_a_register_is_scaled_exactly_and_cut_to_whole_wh(
    value: int, scaler: int, register_wh: int, shown: str
) -> None:
    decoded = only_frame(frame([energy(EXPORT, value, scaler)]))
    assert decoded.export_wh == register_wh
    assert decoded.fields[EXPORT] == shown


@pytest.mark.parametrize(
    ("value", "scaler", "power_w"), [(-25, -1, -2), (-5, -1, 0), (25, -1, 2), (-1, 3, -1_000)]
)
def test_power_is_cut_towards_zero(value: int, scaler: int, power_w: int) -> None:
    assert only_frame(frame([power(value, scaler=scaler)])).power_w == power_w


def test_tariffs_add_up_before_they_are_cut_and_only_without_a_total() -> None:
    tariffs = [energy("0100010801ff", 5), energy("0100010802ff", 16, -1)]
    assert only_frame(frame(tariffs)).import_wh == 2
    assert only_frame(frame([*tariffs, energy(IMPORT, 99)])).import_wh == 9


@pytest.mark.parametrize(
    "unusable",
    [
        entry("0100010802ff", octets(b"12")),
        entry("0100010802ff", number(12, 1)),
        entry("0100010802ff", number(12, 1), number(27, 1)),
    ],
)
def test_one_unusable_tariff_makes_the_sum_unknown(unusable: bytes) -> None:
    decoded = only_frame(frame([energy("0100010801ff", 5), unusable]))
    assert decoded.import_wh is None
    assert decoded.notes == (NO_REGISTERS,)


def test_values_of_every_kind_are_shown() -> None:
    entries = [
        entry("810060080001", list_of(number(1, 1), octets(b"\xca\xfe"))),
        entry("8181c78203ff", octets(b"EMH")),
        entry("010060050001", head(4, 2) + b"\x01"),
        entry("010060050002", head(4, 2) + b"\x00"),
    ]
    shown = ["[1, cafe]", "454d48", "true", "false"]
    assert list(only_frame(frame(entries)).fields.values()) == shown


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([entry(IMPORT, LEFT_OUT)], "has no value"),
        ([entry("", number(1, 1), name=b"\x01\x00\x01")], "no OBIS code"),
        ([entry(IMPORT, number(1, 1), octets(b"Wh"))], "unreadable unit"),
        ([energy(IMPORT, 1, 13)], "unreadable scaler"),
        ([entry(IMPORT, number(1, 1), number(30, 1), octets(b"x"))], "unreadable scaler"),
        ([energy(IMPORT, 1), energy(IMPORT, 2)], "twice"),
        ([list_of(octets(bytes.fromhex(IMPORT)))], "seven elements"),
        ([number(1, 1)], "seven elements"),
        ([entry(IMPORT, head(3, 2) + b"\x00")], "type 3"),
        ([entry(IMPORT, head(6, 10) + bytes(9))], "with 9 bytes"),
        ([entry(IMPORT, head(6, 1))], "with 0 bytes"),
        ([entry(IMPORT, b"\x80\x01")], "shorter than"),
        ([entry(IMPORT, b"\x82\xf1")], "length is unreadable"),
        ([entry(IMPORT, b"\x8f\x8f\x8f\x0f")], "length is unreadable"),
        ([entry(IMPORT, b"\xf8\x8f\x0f")], "longer than the body"),
        ([entry(IMPORT, b"\x83\x8f\x0f")], "ends inside"),
        ([entry(IMPORT, b"\x71" * 9 + b"\x01")], "deep"),
        ([power(1, code=IMPORT)], None),
        ([entry(IMPORT, number(-1, 1, is_signed=True), number(30, 1))], "negative"),
    ],
)
def test_a_right_checksum_around_a_wrong_body_is_refused(
    entries: list[bytes], reason: str | None
) -> None:
    if reason is None:
        assert only_frame(frame(entries)).import_wh is None
    else:
        assert reason in only_reason(frame(entries))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no list of values"),
        (bytes(8), "no list of values"),
        (b"\x01\x01\x01\x01", "a message is not a list of 6"),
        (Meter().message(0x0101, LEFT_OUT) * 17, "more than 16 messages"),
        (Meter().message(0x0701, LEFT_OUT), "seven elements"),
        (Meter().message(0x0701, list_of(*[LEFT_OUT] * 7)), "no entries"),
        (Meter().message(0x0701, list_of(*[number(1, 1)] * 7)), "no server id"),
        (Meter().body[:-1], "ends inside"),
        (Meter().body[:-1] + b"\x01", "does not end"),
    ],
)
def test_what_is_no_list_of_values_is_refused(body: bytes, reason: str) -> None:
    decoded = decode_body(body)
    assert isinstance(decoded, Rejected)
    assert reason in decoded.reason


@pytest.mark.parametrize("kermit", [False, True])
def test_messages_carry_their_own_checksum(*, kermit: bool) -> None:
    meter = replace(Meter(), kermit=kermit)
    assert decode_body(meter.body) == only_frame(frame())
    damaged = meter.body.replace(SERVER_ID, bytes(10))
    assert isinstance(decode_body(damaged), Rejected)
    assert only_frame(frame_of(damaged)).meter_id == bytes(10).hex()


@given(st.binary(max_size=9), st.integers(0, 21), st.binary(max_size=9))
def test_escapes_in_the_body_are_taken_as_they_were_meant(
    before: bytes, run: int, after: bytes
) -> None:
    signature = before + b"\x1b" * run + after
    meter = replace(Meter(), entries=(entry("8181c78205ff", octets(signature or b"?")),))
    assert only_frame(frame_of(meter.body)).fields["8181c78205ff"] == (signature or b"?").hex()


def test_a_beginning_that_is_data_does_not_begin_a_frame() -> None:
    said = octets(START)
    assert only_frame(frame([entry("8181c78205ff", said)])).fields["8181c78205ff"] == START.hex()


def test_a_wrong_checksum_costs_the_whole_frame() -> None:
    damaged = bytearray(frame())
    damaged[60] ^= 1
    assert "the checksum is" in only_reason(bytes(damaged))


def test_a_stream_may_begin_and_end_in_the_middle() -> None:
    decoded = decode(frame()[50:] + frame() + frame()[:50])
    first, whole, last = decoded
    assert whole == only_frame(frame())
    assert [refusal.reason for refusal in refusals_of([first, last])] == [
        "outside of a frame: the beginning of one was not heard",
        "the stream ended inside a frame",
    ]


@pytest.mark.parametrize(
    "damaged",
    [
        frame()[:80],
        frame()[:-4],  # "1B1B1B1B" of the end and of the next beginning look like a doubled escape
        frame()[8:],
        frame()[:-6] + b"\x1a\x09" + frame()[-2:],
        b"\x1b" * 3,
        b"\xff" * 100,
        START,
    ],
)
def test_after_damage_the_next_frame_is_understood(damaged: bytes) -> None:
    decoded = decode(damaged + frame() + frame())
    assert decoded[-2:] == [only_frame(frame())] * 2


def test_an_endless_frame_is_given_up() -> None:
    codec = SmlCodec()
    refusals = codec.feed(START + bytes(300_000))
    assert len(refusals) == 1
    assert codec.buffered_bytes <= MAX_BUFFER_BYTES
    assert frames_of(codec.feed(frame()))
    refusals = codec.feed((ESCAPE + START) * 3_000)
    assert codec.buffered_bytes <= MAX_BUFFER_BYTES
    assert not frames_of(refusals)
    assert frames_of(codec.feed(frame() * 2))


@given(st.integers(0, 3), seeds)
def test_how_the_stream_is_cut_into_chunks_changes_nothing(count: int, seed: int) -> None:
    random = Random(seed)
    stream = mutate(frame() * count, random, Line.PLAIN_8N1).arrived
    codec = SmlCodec()
    decoded = [one for chunk in chunks(stream, random) for one in codec.feed(chunk)]
    assert [*decoded, *codec.finish()] == decode(stream)
    assert codec.buffered_bytes == 0


@given(st.binary(max_size=300), st.sampled_from([b"", START, ESCAPE]))
def test_nothing_comes_out_of_random_bytes(noise: bytes, begin: bytes) -> None:
    codec = SmlCodec()
    for _ in range(50):
        assert not frames_of(codec.feed(begin + noise))
        assert codec.buffered_bytes <= MAX_BUFFER_BYTES
    assert not frames_of(codec.finish())


@given(st.binary(max_size=300))
def test_no_body_makes_the_decoder_raise(noise: bytes) -> None:
    assert isinstance(decode_body(noise, checked=False), Rejected | MeterFrame)
    assert isinstance(decode_body(head(7, 6) + noise, checked=False), Rejected | MeterFrame)


@given(seeds)
def test_a_damaged_body_never_makes_the_decoder_raise(seed: int) -> None:
    body = mutate(Meter().body, Random(seed), Line.PLAIN_8N1).arrived
    assert isinstance(decode_body(body, checked=False, valueless=True), Rejected | MeterFrame)
    assert decode_body(body) == decode_body(Meter().body) or isinstance(decode_body(body), Rejected)


@given(seeds)
def test_damage_gives_the_same_values_or_none_and_costs_two_frames_at_most(seed: int) -> None:
    damaged = mutate(frame(), Random(seed), Line.PLAIN_8N1)
    decoded = decode(damaged.arrived + frame() * 3)
    good = only_frame(frame())
    assert set(map(repr, frames_of(decoded))) == {repr(good)}, damaged.mutation
    assert decoded[-2:] == [good, good]


def test_one_byte_changed_lost_or_doubled_gives_the_same_frame_or_none() -> None:
    sent = frame([energy(IMPORT, 123_456_789)])
    (good,) = decode(sent)
    damaged = (
        *every_byte_changed(sent, Line.PLAIN_8N1),
        *every_byte_lost(sent),
        *every_byte_doubled(sent),
    )
    for stream in damaged:
        assert frames_of(decode(stream)) in ([], [good])
