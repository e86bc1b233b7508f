"""Recordings that name nobody and still decode."""

from __future__ import annotations

from collections.abc import Sequence

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


@given(st.binary(max_size=400), st.sampled_from(["linky", "dsmr-p1"]))
def test_never_fails_and_is_stable(content: bytes, kind: str) -> None:
    once = redacted(content, kind)
    assert redacted(once, kind) == once


def test_other_kinds_are_left_to_the_person() -> None:
    with pytest.raises(ValueError, match="keeps its names"):
        redacted(b"", "sml")
