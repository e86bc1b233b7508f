from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.codec import Codec, Decoded, MeterFrame, Rejected
from node.meter.teleinfo import (
    CLOCK_DEGRADED,
    NOT_PRODUCER,
    NOT_PRODUCER_FR,
    SHORT_FRAME,
    TeleinfoCodec,
    TicMode,
    maximum_power_va,
)
from node.meter.teleinfo.codec import MAX_FRAME_BYTES
from node.model import EvidenceClass
from node.slots import parse_iso_utc
from tests.support.mutations import chunks
from tests.support.shared import SHARED, shared_path
from tests.support.teleinfo_frames import (
    EOT,
    ETX,
    STX,
    HistoricMeter,
    StandardMeter,
    framed,
    historic_group,
    standard_group,
)

RECORDED: Final = sorted(
    str(path.relative_to(SHARED)) for path in SHARED.glob("frames/linky-*/*.tic")
)
HC = HistoricMeter("HC..", {"HCHC": 920_750, "HCHP": 2_275_560}, "HP..")
BASE = HistoricMeter("BASE", {"BASE": 2_809_718}, "TH..")
EJP = HistoricMeter("EJP.", {"EJPHN": 1_000, "EJPHPM": 20}, "HN..")
PRODUCER = StandardMeter(export_wh=32_781)


def decode(stream: bytes, mode: TicMode = TicMode.AUTO) -> list[Decoded]:
    codec: Codec = TeleinfoCodec(mode)
    return [*codec.feed(stream), *codec.finish()]


def frames_of(decoded: list[Decoded]) -> list[MeterFrame]:
    return [one for one in decoded if isinstance(one, MeterFrame)]


def refused_of(decoded: list[Decoded]) -> list[Rejected]:
    return [one for one in decoded if isinstance(one, Rejected)]


def only_frame(stream: bytes, mode: TicMode = TicMode.AUTO) -> MeterFrame:
    (frame,) = frames_of(decode(stream, mode))
    return frame


def mode_of(codec: TeleinfoCodec) -> str:
    return "undecided" if codec.mode is None else codec.mode.value


def expected_of(recorded: str) -> dict[str, Any]:
    path = Path(recorded).with_suffix(".expected.json")
    expected: dict[str, Any] = json.loads(shared_path(str(path)).read_text())
    return expected


@pytest.mark.parametrize("is_auto", [True, False])
@pytest.mark.parametrize("recorded", RECORDED)
def test_recorded_frames_say_what_their_publishers_state(recorded: str, *, is_auto: bool) -> None:
    expected = expected_of(recorded)
    mode = TicMode(expected["mode"])
    decoded = decode(shared_path(recorded).read_bytes(), TicMode.AUTO if is_auto else mode)
    frames = frames_of(decoded)
    if "groups" in expected:
        assert len(frames) == expected.get("frames", expected.get("complete_frames", 1))
        assert all(frame.complete for frame in frames)
        frame = frames[expected.get("frame", 0)]
        assert frame.kind == f"linky-{mode}"
        assert expected["groups"].items() <= frame.fields.items()
        stamps = {
            f"{label}.horodate": stamp for label, stamp in expected.get("horodate", {}).items()
        }
        assert stamps.items() <= frame.fields.items()
    if "valid_groups" in expected:
        assert not frames
    if expected.get("invalid_groups") == "all five":
        assert len(refused_of(decoded)) == 5
    elif "invalid_groups" in expected:
        reasons = [refused.reason for refused in refused_of(decoded)]
        assert [reason.split(":")[0] for reason in reasons] == expected["invalid_groups"]
        assert not any(frame.complete for frame in frames)


def test_a_bad_meter_number_leaves_the_other_nine_groups_usable() -> None:
    recorded = shared_path("frames/linky-historic/teleinfo2mqttrs-bad-adco.tic").read_bytes()
    frame = only_frame(recorded)
    assert (frame.meter_id, frame.import_wh, frame.complete) == (None, 2_809_718, False)
    assert len(frame.fields) == 9


def test_recorded_registers_become_import_and_export() -> None:
    series = shared_path("frames/linky-historic/pyteleinfo-tempo-mono-series.tic").read_bytes()
    first_wh = 18_328_702 + 23_739_545 + 1_466_099 + 2_132_883 + 860_118 + 844_115
    assert [frame.import_wh for frame in frames_of(decode(series))] == [
        first_wh + used_wh for used_wh in (0, 2, 4, 6, 8, 11, 13, 15, 18, 19)
    ]
    stream = shared_path("frames/linky-standard/openhab-mono-producer-stream.tic").read_bytes()
    producer = only_frame(stream)
    assert (producer.import_wh, producer.export_wh) == (0, 32_781)
    assert producer.taken_at_s == parse_iso_utc("2018-07-16T08:34:23Z")


@pytest.mark.parametrize("meter", [HC, BASE, EJP, HistoricMeter()])
def test_historic_import_is_the_sum_of_the_options_indices(meter: HistoricMeter) -> None:
    frame = only_frame(meter.frame())
    assert frame.import_wh == meter.import_wh
    assert frame.export_wh is None
    assert frame.complete
    assert frame.evidence_class is EvidenceClass.B


@pytest.mark.parametrize("missing", ["HCHP", "OPTARIF"])
def test_a_sum_with_a_part_missing_is_no_index(missing: str) -> None:
    groups = HC.frame()[1:-1].split(b"\n")[1:]
    kept = [b"\n" + group for group in groups if not group.startswith(missing.encode())]
    frame = only_frame(framed(*kept))
    assert frame.import_wh is None
    assert not frame.complete
    assert f"missing: {missing}" in frame.notes


@pytest.mark.parametrize("meter", [HC, PRODUCER])
def test_apparent_power_is_never_taken_for_watts(meter: HistoricMeter | StandardMeter) -> None:
    frame = only_frame(meter.frame())
    assert frame.power_va == meter.power_va
    assert frame.power_w is None


def test_three_phases_in_both_modes() -> None:
    historic = only_frame(replace(BASE, is_three_phase=True).frame())
    assert (historic.complete, historic.fields["IINST3"]) == (True, "012")
    assert maximum_power_va(historic.fields) == 30 * 3 * 230
    standard = only_frame(replace(PRODUCER, is_three_phase=True).frame())
    assert standard.complete
    assert standard.fields["SMAXSN3-1"] == "02196"
    assert maximum_power_va(standard.fields) == 12_000


def test_a_short_frame_of_an_overload_has_no_index() -> None:
    frame = only_frame(replace(BASE, is_three_phase=True).short_frame())
    assert (frame.import_wh, frame.power_va, frame.complete) == (None, None, True)
    assert SHORT_FRAME in frame.notes
    assert frame.fields["ADIR1"] == "031"


def test_a_checksum_that_is_a_space_is_one() -> None:
    group = standard_group("EASD01", "000000000")
    assert group == b"\nEASD01\t000000000\t \r"
    assert historic_group("PTEC", "HP..") == b"\nPTEC HP..  \r"
    assert only_frame(HC.frame()).fields["PTEC"] == "HP.."
    meter = replace(StandardMeter(), distributor_wh=(0, 0, 0, 26_331_042))
    assert only_frame(meter.frame()).fields["EASD01"] == "000000000"


def test_blanks_of_values_are_kept() -> None:
    fields = only_frame(StandardMeter().frame()).fields
    assert fields["LTARF"] == "INDEX INACTIF 2 "
    assert fields["MSG1"] == "PAS DE          MESSAGE         "
    assert fields["DATE"] == ""


@pytest.mark.parametrize(
    "group",
    [
        standard_group("EAST", "12345678"),
        standard_group("EAST", "0123456789"),
        standard_group("EAST", "01234567p"),
        standard_group("EAST", "01234567 "),
        standard_group("EAST", "+12345678"),
        standard_group("EAST", "01234567\u00b2"),
        standard_group("EAST", ""),
        standard_group("EAST", "012345678", "E170915101601"),
        standard_group("EASX", "012345678"),
        standard_group("NGTF", "heures creuses"),
        standard_group("STGE", "003a0401"),
        standard_group("DATE", ""),
        standard_group("SMAXSN", "00000", "X170915101601"),
        standard_group("SMAXSN", "00000", "E17091510160"),
        standard_group("PJOURF+1", "00008001 NONUTILE"),
        standard_group("MSG2", "TEXT" * 40),
        standard_group("EAST", "012345678")[:-2] + b"\r",
        standard_group("EAST", "012345678")[:-1],
        b"\n\r",
        b"\n",
    ],
)
def test_a_group_of_the_wrong_shape_is_refused_before_it_is_a_number(group: bytes) -> None:
    good = StandardMeter().frame()
    decoded = decode(good[:-1] + group + ETX, TicMode.STANDARD)
    (frame,) = frames_of(decoded)
    assert len(refused_of(decoded)) == 1
    assert not frame.complete
    assert frame.fields == only_frame(good).fields


@pytest.mark.parametrize(
    ("group", "refused"),
    [
        (historic_group("PTEC", "XX.."), True),
        (historic_group("DEMAIN", "VERT"), True),
        (historic_group("HHPHC", "5"), True),
        (historic_group("PEJP", "30"), False),
        (historic_group("ADPS", "031"), False),
        (historic_group("DEMAIN", "----"), False),
    ],
)
def test_historic_values_are_those_of_the_specification(group: bytes, *, refused: bool) -> None:
    decoded = decode(BASE.frame()[:-1] + group + ETX, TicMode.HISTORIC)
    assert bool(refused_of(decoded)) is refused


def test_a_frame_broken_off_is_no_frame() -> None:
    frame = HC.frame()
    broken = frame[:90] + EOT
    decoded = decode(broken + frame)
    assert [one.import_wh for one in frames_of(decoded)] == [HC.import_wh]
    assert "EOT" in refused_of(decoded)[0].reason


def test_two_frames_run_into_one_do_not_mix() -> None:
    later = HC.used(500)
    joined = HC.frame()[:-1] + later.frame()[1:]
    frame = only_frame(joined)
    assert frame.import_wh == HC.import_wh
    assert not frame.complete


def test_the_middle_of_a_stream_is_refused_with_a_reason() -> None:
    decoded = decode(HC.frame()[40:] + HC.frame() + HC.frame()[:60])
    assert len(frames_of(decoded)) == 1
    assert [one.reason.split(":")[0] for one in refused_of(decoded)] == [
        "outside of a frame",
        "the stream ended inside a frame",
    ]


def test_what_a_linky_cannot_tell_is_said_plainly() -> None:
    assert "not in producer mode" in NOT_PRODUCER
    assert "pas en mode producteur" in NOT_PRODUCER_FR
    assert NOT_PRODUCER in only_frame(HC.frame()).notes
    assert NOT_PRODUCER in only_frame(StandardMeter().frame()).notes
    assert NOT_PRODUCER not in only_frame(PRODUCER.frame()).notes


def test_a_producers_damaged_export_is_no_consumer() -> None:
    frame = only_frame(PRODUCER.frame().replace(b"EAIT\t000032781", b"EAIT\t000032681"))
    assert frame.export_wh is None
    assert NOT_PRODUCER not in frame.notes


@pytest.mark.parametrize(
    "meter",
    [
        StandardMeter(season="h"),
        StandardMeter(season="e"),
        StandardMeter(status_bits=0x003B_0401),
    ],
)
def test_a_degraded_clock_tells_no_time(meter: StandardMeter) -> None:
    frame = only_frame(meter.frame())
    assert frame.taken_at_s is None
    assert CLOCK_DEGRADED in frame.notes
    assert frame.import_wh == meter.import_wh


def test_the_repeated_hour_of_autumn_is_two_hours() -> None:
    first_s = parse_iso_utc("2026-10-25T00:30:00Z")
    summer = only_frame(StandardMeter(at_s=first_s, season="E").frame())
    winter = only_frame(StandardMeter(at_s=first_s + 3600, season="H").frame())
    assert summer.fields["DATE.horodate"][1:] == winter.fields["DATE.horodate"][1:]
    assert (summer.taken_at_s, winter.taken_at_s) == (first_s, first_s + 3600)


def test_sums_that_differ_are_noted_and_the_index_is_shown() -> None:
    meter = StandardMeter(total_offset_wh=-7)
    frame = only_frame(meter.frame())
    assert frame.import_wh == meter.import_wh
    assert [note for note in frame.notes if note.startswith("sums_differ")] == [
        "sums_differ: EAST is sum(EASF) -7 Wh and sum(EASD) -7 Wh"
    ]


@pytest.mark.parametrize(("meter", "mode"), [(HC, TicMode.HISTORIC), (PRODUCER, TicMode.STANDARD)])
def test_the_mode_is_found_by_many_groups(
    meter: HistoricMeter | StandardMeter, mode: TicMode
) -> None:
    codec = TeleinfoCodec()
    one_group = framed(b"\n" + meter.frame()[1:-1].split(b"\n")[1])
    assert all(isinstance(one, Rejected) for one in codec.feed(one_group))
    assert mode_of(codec) == "undecided"
    assert len(frames_of(codec.feed(meter.frame()))) == 1
    assert mode_of(codec) == mode.value


def test_one_stray_group_does_not_change_the_mode_but_a_switched_meter_does() -> None:
    codec = TeleinfoCodec()
    codec.feed(HC.frame() * 5)
    for _ in range(3):
        codec.feed(framed(standard_group("EAST", "012345678")) + HC.frame())
    assert mode_of(codec) == "historic"
    switched = frames_of(codec.feed(PRODUCER.frame() * 3))
    assert mode_of(codec) == "standard"
    assert switched[-1].export_wh == PRODUCER.export_wh


def test_the_error_rate_of_a_line_is_counted() -> None:
    codec = TeleinfoCodec()
    codec.feed(HC.frame() + HC.frame().replace(b"ISOUSC 30", b"ISOUSC 31"))
    assert (codec.groups_accepted, codec.groups_refused) == (21, 1)


STREAM = (
    HC.frame()[30:] + HC.frame() + b"\x00\xff" + HC.frame()[:50] + STX + HC.frame() + b"noise" + ETX
)


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12), is_long=st.booleans())
def test_where_a_stream_is_cut_changes_nothing(cuts: list[int], *, is_long: bool) -> None:
    stream = STREAM + (b"?" * (MAX_FRAME_BYTES - 3) if is_long else b"") + PRODUCER.frame()[:-9]
    bounds = [0, *sorted(cuts), len(stream)]
    codec = TeleinfoCodec()
    decoded = [one for begin, end in pairwise(bounds) for one in codec.feed(stream[begin:end])]
    assert [*decoded, *codec.finish()] == decode(stream)


@given(st.lists(st.binary(max_size=200)), st.sampled_from(TicMode))
def test_no_bytes_raise(pieces: list[bytes], mode: TicMode) -> None:
    codec = TeleinfoCodec(mode)
    for piece in pieces:
        codec.feed(piece)
    codec.finish()


@given(st.lists(st.sampled_from([STX, ETX, EOT, b"\n", b"\r", b"\t", b" ", b"EAST", b"0" * 9])))
def test_no_disorder_of_the_right_bytes_raises(pieces: list[bytes]) -> None:
    assert not frames_of(decode(b"".join(pieces)))


def test_a_stream_without_sense_is_not_kept() -> None:
    random = Random(3)
    codec = TeleinfoCodec()
    noise = bytes(byte for byte in random.randbytes(200_000) if byte not in {2, 3, 4})
    most = 0
    for chunk in chunks(noise, random, 5_000):
        codec.feed(chunk)
        most = max(most, codec.buffered_bytes)
    assert most <= MAX_FRAME_BYTES < 65_536
    codec.feed(STX + noise)
    assert codec.buffered_bytes <= MAX_FRAME_BYTES


@given(seed=st.integers(0, 2**32), mode=st.sampled_from((TicMode.STANDARD, TicMode.HISTORIC)))
def test_what_a_frame_says_does_not_depend_on_the_frame_before(seed: int, mode: TicMode) -> None:
    """Groups that stand as before are not parsed again: a frame must read as it would alone."""
    random = Random(seed)
    meter: StandardMeter = PRODUCER
    whole: list[bytes] = []
    for _ in range(12):
        meter = meter.used(random.randrange(3), random.randrange(3), 1)
        frame = bytearray(BASE.frame() if random.random() < 0.2 else meter.frame())
        for _ in range(random.randrange(3)):
            at = random.randrange(1, len(frame) - 1)
            change = random.randrange(3)
            if change == 0:
                frame[at] = random.randrange(0x20, 0x60)
            elif change == 1:
                del frame[at]
            else:
                frame.insert(at, frame[at])
        if STX[0] not in frame[1:] and ETX[0] not in frame[:-1]:
            whole.append(bytes(frame))
    stream = TeleinfoCodec(mode)
    assert [stream.feed(frame) for frame in whole] == [
        TeleinfoCodec(mode).feed(frame) for frame in whole
    ]
