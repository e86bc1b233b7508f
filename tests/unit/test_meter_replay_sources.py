"""Replays: recordings at the pace of their line, homes whose registers follow the clock alone."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.clock import ManualClock
from node.errors import ConfigurationError, MeterError, MeterSilent
from node.meter.arrivals import Arrived
from node.meter.codec import MeterFrame
from node.meter.home_profile import HomeRegisters, read_home_registers
from node.meter.recording import MAX_RECORDING_BYTES
from node.meter.settings import MeterSettings
from node.meter.sources import connect_for
from node.meter.transports.recorded import REPLAYED
from node.model import EvidenceClass
from node.slots import parse_iso_utc
from tests.support.p1_telegrams import telegram
from tests.support.teleinfo_frames import HistoricMeter, StandardMeter

START_S = parse_iso_utc("2016-06-01T00:00:00Z")
PROFILE = "start,load_wh,pv_wh\n" + "".join(
    f"2016-06-01T0{hour}:00:00Z,{load},{pv}\n"
    for hour, (load, pv) in enumerate([(100, 0), (50, 400), (300, 300), (0, 7)])
)


def settings(file: Path, **more: object) -> MeterSettings:
    return MeterSettings.from_table({"kind": "replay", "file": str(file), **more}, Path("n.toml"))


def replay(chosen: MeterSettings, count: int, clock: ManualClock) -> list[Arrived]:
    async def run() -> list[Arrived]:
        found: list[Arrived] = []
        async with connect_for(chosen, clock)() as transport:
            async for arrived in transport.arrivals():
                found.append(arrived)
                if len(found) == count:
                    break
        return found

    return asyncio.run(run())


def home(tmp_path: Path, text: str = PROFILE) -> Path:
    file = tmp_path / "maple.csv"
    file.write_text(text)
    return file


def frames(found: list[Arrived]) -> list[MeterFrame]:
    return [item.decoded for item in found if isinstance(item.decoded, MeterFrame)]


def test_a_home_tells_its_registers_as_of_now(tmp_path: Path) -> None:
    clock = ManualClock(START_S + 3 * 3600)
    found = replay(settings(home(tmp_path), period_s=1800), 4, clock)
    assert [
        (item.at_s - START_S, frame.import_wh, frame.export_wh)
        for item, frame in zip(found, frames(found), strict=True)
    ] == [
        (3 * 3600, 100, 350),
        (3 * 3600 + 1800, 100, 353),
        (4 * 3600, 100, 357),
        (4 * 3600 + 1800, 150, 357),
    ]
    (first, *_) = frames(found)
    assert (first.meter_id, first.evidence_class, first.notes) == (
        "maple",
        EvidenceClass.C,
        (REPLAYED,),
    )


@given(
    instants=st.lists(st.integers(0, 10**8), min_size=2, max_size=8),
    pace=st.sampled_from([1, 60, 3600]),
)
def test_a_homes_registers_never_fall(
    instants: list[int], pace: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    registers = read_home_registers(home(tmp_path_factory.getbasetemp()))
    values = [registers.at(START_S + after_s, pace) for after_s in sorted(instants)]
    for (import_wh, export_wh), (later_import_wh, later_export_wh) in pairwise(values):
        assert import_wh <= later_import_wh
        assert export_wh <= later_export_wh


def test_a_round_of_a_profile_counts_all_of_it(tmp_path: Path) -> None:
    registers = read_home_registers(home(tmp_path))
    assert isinstance(registers, HomeRegisters)
    assert registers.at(START_S - 5) == (0, 0)
    assert registers.at(START_S + 3 * 4 * 3600) == (300, 3 * 357)
    assert registers.at(START_S + 2 * 3600, pace=6) == (300, 3 * 357)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no home profile"),
        ("start,load\n", "is no home profile"),
        ("start,load_wh,pv_wh\n2016-06-01T00:00:00Z,1,2\n", "fewer than two steps"),
        (PROFILE + "2016-06-01T09:00:00Z,1,1\n", ":6: the steps are not equal"),
        (PROFILE.replace(",100,", ",1e2,"), ":2: '2016-06-01T00:00:00Z,1e2,0' is no step"),
        (PROFILE.replace(",100,", ",-100,"), "is no step"),
        (PROFILE.replace(",100,", ",99999999,"), "more than"),
        (PROFILE.replace("2016-06-01T00:00:00Z", "yesterday"), "is no step"),
        (PROFILE.replace("Z,100,0", "Z,100,0,0"), "is no step"),
    ],
)
def test_a_bad_profile_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_home_registers(home(tmp_path, text))
    assert words in str(caught.value)


def test_a_line_is_replayed_as_fast_as_it_was(tmp_path: Path) -> None:
    meter, clock = StandardMeter(), ManualClock(50)
    said = meter.frame()
    file = tmp_path / "linky.tic"
    file.write_bytes(said * 4)
    found = replay(settings(file), 4, clock)
    assert [frame.import_wh for frame in frames(found)] == [meter.import_wh] * 4
    assert [item.at_s - 50 for item in found] == [
        (len(said) * number - 1) // 960 for number in range(1, 5)
    ]


def test_a_faster_pace_takes_less_time_and_a_slow_line_more(tmp_path: Path) -> None:
    meter, clock = HistoricMeter(), ManualClock(0)
    file = tmp_path / "linky.tic"
    file.write_bytes(meter.frame() * 4)
    slow = replay(settings(file), 4, clock)[-1].at_s
    fast = replay(settings(file, pace=3), 4, ManualClock(0))[-1].at_s
    assert slow == (len(meter.frame()) * 4 - 1) // 120
    assert fast == (len(meter.frame()) * 4 - 1) // 360


def test_what_is_replayed_proves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "p1.txt"
    file.write_bytes(telegram())
    (frame,) = frames(replay(settings(file), 1, ManualClock(0)))
    assert (frame.evidence_class, frame.taken_at_s) == (EvidenceClass.C, None)
    assert REPLAYED in frame.notes


def test_messages_come_one_each_period_and_the_end_is_silence(tmp_path: Path) -> None:
    file = tmp_path / "plug.ndjson"
    lines = [
        {"topic": "tele/plug/SENSOR", "payload": {"ENERGY": {"Total": total}}}
        for total in (1, 2, 3)
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    clock = ManualClock(100)
    found = replay(settings(file, period_s=30), 3, clock)
    assert [(item.at_s, frame.import_wh) for item, frame in zip(found, frames(found), strict=True)]
    assert [item.at_s for item in found] == [100, 130, 160]
    with pytest.raises(MeterSilent, match="has ended"):
        replay(settings(file, period_s=30, pace=60), 4, ManualClock(0))


def test_a_bare_sml_body_and_a_mapping_of_the_owner(tmp_path: Path) -> None:
    file = tmp_path / "any.ndjson"
    file.write_text('{"topic": "t", "payload": {"e": 1.5}}\n')
    paths = [{"register": "import_wh", "path": "e", "unit": "kWh"}]
    (frame,) = frames(replay(settings(file, paths=paths), 1, ManualClock(0)))
    assert (frame.kind, frame.import_wh) == ("json", 1500)


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        replay(settings(tmp_path / "none.tic"), 1, ManualClock(0))
    huge = tmp_path / "huge.tic"
    with huge.open("wb") as file:
        file.truncate(MAX_RECORDING_BYTES + 1)
    with pytest.raises(MeterError, match="larger than"):
        replay(settings(huge), 1, ManualClock(0))
