"""Recordings that name nobody and still decode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.codec import MeterFrame
from node.meter.recording import read_recording
from node.meter.redaction import redacted
from tests.support.p1_telegrams import OLD, telegram
from tests.support.shared import SHARED, shared_path
from tests.support.teleinfo_frames import HistoricMeter, StandardMeter

PRM = b"25203473204149"
RECORDINGS = sorted(
    path.relative_to(SHARED).as_posix()
    for folder in ("linky-historic", "linky-standard", "dsmr-p1")
    for path in (SHARED / "frames" / folder).glob("*")
    if not path.name.endswith(".expected.json")
)


def registers(frames: Sequence[MeterFrame]) -> list[tuple[int | None, int | None]]:
    return [(frame.import_wh, frame.export_wh) for frame in frames]


@pytest.mark.parametrize("meter", [HistoricMeter(), StandardMeter(export_wh=9)])
def test_a_linky_keeps_its_registers_and_loses_its_numbers(
    meter: HistoricMeter | StandardMeter,
) -> None:
    recorded = meter.frame() * 2
    kept = redacted(b"1234" + recorded + recorded[:40], "linky")
    assert meter.meter_id.encode() not in kept
    assert PRM not in kept
    before, after = read_recording(recorded, "linky"), read_recording(kept, "linky")
    assert after.rejected == ()
    assert registers(after.frames) == registers(before.frames)
    assert {frame.meter_id for frame in after.frames} == {"X" * 12}


def test_a_damaged_group_stays_damaged_and_hides_no_number() -> None:
    meter = StandardMeter()
    good = meter.frame()
    wrong_label = good.replace(b"ADSC", b"AD\x00C", 1)
    wrong_sum = good.replace(b"\t0317760135", b"\t0317760136", 1)
    kept = redacted(good + wrong_label + wrong_sum, "linky-standard")
    assert meter.meter_id.encode() not in kept
    assert b"0317760136" not in kept
    reasons = [item.reason for item in read_recording(kept, "linky-standard").rejected]
    assert len(reasons) == 2
    assert any(reason.startswith("ADSC: checksum") for reason in reasons)


@pytest.mark.parametrize(
    "said", [telegram(), telegram(OLD, has_crc=False)], ids=["with", "without"]
)
def test_a_telegram_keeps_its_registers_and_loses_its_numbers(said: bytes) -> None:
    number = said.split(b"96.1.1(")[1].split(b")")[0]
    kept = redacted(said[200:] + said + said[:100], "dsmr-p1")
    assert number not in kept
    before, after = read_recording(said, "dsmr-p1"), read_recording(kept, "dsmr-p1")
    assert after.rejected == ()
    assert registers(after.frames) == registers(before.frames)


def test_a_telegram_with_a_wrong_checksum_keeps_a_wrong_one() -> None:
    said = telegram().replace(b"1-0:1.8.1(0", b"1-0:1.8.1(1", 1)
    assert read_recording(redacted(said, "dsmr-p1"), "dsmr-p1").frames == ()


@pytest.mark.parametrize("name", RECORDINGS or ["frames/dsmr-p1/dsmr-4.0-isk-1.txt"])
def test_every_recorded_file_decodes_to_the_same_registers(name: str) -> None:
    content = shared_path(name).read_bytes()
    kind = "dsmr-p1" if "dsmr-p1" in name else "linky"
    before = read_recording(content, kind)
    after = read_recording(redacted(content, kind), kind)
    whole = [frame for frame in before.frames if frame.complete]
    assert [pair for pair in registers(whole) if pair not in registers(after.frames)] == []
    for frame in after.frames:
        assert frame.meter_id is None or set(frame.meter_id) <= {"0", "X"}


# What damage does to a recording that holds its number once, and whole nowhere else

METER_ID: Final = "061976543218"
LINKY: Final = StandardMeter(export_wh=9, meter_id=METER_ID).frame()
EQUIPMENT: Final = b"4530303434303037333832323436303139"
damages = st.lists(
    st.tuples(
        st.sampled_from(["change", "drop", "insert"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=3),
    ),
    max_size=12,
)
Damage = tuple[str, float, bytes]


def damaged(content: bytes, places: bytes, damages: Sequence[Damage]) -> bytes:
    """Most of the damage is done around a place that matters."""
    said = bytearray(content)
    for number, (what, share, wrong) in enumerate(damages):
        centre = max(said.find(places), 0)
        first, last = (centre - 12, centre + 30) if number % 4 else (0, len(said))
        at = min(max(first + int(share * (last - first)), 0), len(said) - 1)
        if what == "insert":
            said[at:at] = wrong
        else:
            said[at : at + len(wrong)] = wrong if what == "change" else b""
    return bytes(said)


def parts_of(number: bytes, length: int, content: bytes) -> set[bytes]:
    """The parts of a number that stand nowhere else."""
    rest = content.replace(number, b"")
    parts = {number[at : at + length] for at in range(len(number) - length + 1)}
    return {part for part in parts if part not in rest}


@pytest.mark.parametrize("number", [METER_ID.encode(), PRM])
@given(damages)
def test_damage_hides_no_number_of_a_linky(number: bytes, damages: list[Damage]) -> None:
    said = damaged(LINKY, number, damages)
    kept = redacted(said, "linky")
    parts = parts_of(number, 5, LINKY)
    assert len(parts) >= 4
    assert [part for part in parts if part in kept] == []
    before, after = read_recording(said, "linky"), read_recording(kept, "linky")
    assert registers(after.frames) == registers(before.frames)


@pytest.mark.parametrize("has_crc", ["with", "without"])
@given(damages)
def test_damage_hides_no_number_of_a_telegram(has_crc: str, damages: list[Damage]) -> None:
    whole = telegram(has_crc=has_crc == "with")
    assert EQUIPMENT in whole
    kept = redacted(damaged(whole, EQUIPMENT[:4], damages), "dsmr-p1")
    assert [part for part in parts_of(EQUIPMENT, 10, whole) if part in kept] == []
    assert redacted(kept, "dsmr-p1") == kept


@pytest.mark.parametrize("kind", ["linky", "dsmr-p1"])
@pytest.mark.parametrize("said", [b"", b"\x80noise\xff" * 99, LINKY[40:-1], telegram()[9:-9]])
def test_without_a_whole_frame_nothing_is_left(said: bytes, kind: str) -> None:
    assert redacted(said, kind) == b""


@given(st.binary(max_size=400), st.sampled_from(["linky", "dsmr-p1"]))
def test_never_fails_and_is_stable(content: bytes, kind: str) -> None:
    once = redacted(content, kind)
    assert redacted(once, kind) == once


def test_other_kinds_are_left_to_the_person() -> None:
    with pytest.raises(ValueError, match="keeps its names"):
        redacted(b"", "sml")
