from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from node.meter.codec import MeterFrame
from node.meter.teleinfo import Doubt, TeleinfoCodec, TeleinfoGuard, Vouched
from node.meter.teleinfo.guard import EXPORT_CONTRADICTED, FRAMES_TO_SWAP
from node.meter.teleinfo.sums import FRAMES_TO_MOVE
from tests.support.teleinfo_frames import HistoricMeter, StandardMeter, horodate, standard_group

START_S = StandardMeter().at_s
HC = HistoricMeter("HC..", {"HCHC": 920_750, "HCHP": 2_275_560}, "HP..")


def through(
    guard: TeleinfoGuard, frames: Iterable[bytes], step_s: int = 1, begin_s: int = START_S
) -> list[Vouched]:
    codec = TeleinfoCodec()
    admitted = [
        guard.admit(decoded, begin_s + at * step_s)
        for at, frame in enumerate(frames)
        for decoded in codec.feed(frame)
        if isinstance(decoded, MeterFrame)
    ]
    return [one for one in admitted if one is not None]


def imports(vouched: Sequence[Vouched]) -> list[int | None]:
    return [one.frame.import_wh for one in vouched]


def running(meter: StandardMeter, frames: int, wh: int = 1, export_wh: int = 0) -> list[bytes]:
    return [meter.used(wh * at, at, export_wh * at).frame() for at in range(frames)]


def test_a_register_is_given_out_once_both_its_neighbours_agree() -> None:
    meter = StandardMeter()
    vouched = through(TeleinfoGuard(), running(meter, 5))
    assert imports(vouched) == [meter.import_wh + at for at in (1, 2, 3)]
    assert [one.seen_at_s for one in vouched] == [START_S + at for at in (1, 2, 3)]


def test_historic_registers_too() -> None:
    vouched = through(TeleinfoGuard(), [HC.used(2 * at).frame() for at in range(5)], 2)
    assert imports(vouched) == [HC.import_wh + 2 * at for at in (1, 2, 3)]


def test_a_producers_two_registers_come_from_one_frame() -> None:
    meter = StandardMeter(export_wh=500)
    vouched = through(TeleinfoGuard(), running(meter, 4, wh=0, export_wh=2))
    assert [(one.frame.import_wh, one.frame.export_wh) for one in vouched] == [
        (meter.import_wh, 502),
        (meter.import_wh, 504),
    ]


@pytest.mark.parametrize("wrong_wh", [-5, 5, 90_000, -400_000])
def test_a_wrong_historic_index_never_comes_out(wrong_wh: int) -> None:
    frames = [HC.used(at).frame() for at in range(10)]
    frames[5] = HC.used(5 + wrong_wh).frame()
    guard = TeleinfoGuard()
    vouched = through(guard, frames, 2)
    assert set(imports(vouched)) <= {HC.import_wh + at for at in range(10)}
    assert HC.import_wh + 8 in imports(vouched)
    assert guard.doubts[Doubt.OUT_OF_ORDER] > 0


def test_one_historic_index_that_falls_while_another_rises_is_noticed() -> None:
    meter = replace(HC, indices_wh={"HCHC": 920_740, "HCHP": 2_275_572})
    frames = [HC.frame(), HC.frame(), HC.frame(), meter.frame(), meter.frame()]
    assert imports(through(TeleinfoGuard(), frames, 2)) == [HC.import_wh]


def test_a_wrong_total_is_noticed_by_the_sums() -> None:
    meter = StandardMeter()
    frames = running(meter, 10)
    right = standard_group("EAST", f"{meter.import_wh + 5:09}")
    frames[5] = frames[5].replace(right, standard_group("EAST", f"{meter.import_wh + 6:09}"))
    guard = TeleinfoGuard()
    vouched = through(guard, frames)
    assert meter.import_wh + 6 in imports(vouched)
    assert [one.seen_at_s for one in vouched if one.frame.import_wh == meter.import_wh + 6] == [
        START_S + 6
    ]
    assert guard.doubts == {Doubt.SUMS_MOVED: 1}


def test_a_calendar_change_is_learned_and_counted() -> None:
    meter = StandardMeter()
    guard = TeleinfoGuard()
    through(guard, running(meter, 5))
    changed = replace(meter.used(10, 10), total_offset_wh=1_234)
    frames = [changed.used(at, at).frame() for at in range(FRAMES_TO_MOVE + 5)]
    vouched = through(guard, frames, begin_s=START_S + 10)
    assert guard.sums.alarms == 1
    assert guard.doubts[Doubt.SUMS_MOVED] == FRAMES_TO_MOVE - 1
    assert vouched[-1].frame.import_wh == changed.import_wh + FRAMES_TO_MOVE + 3


def test_more_than_can_flow_does_not_come_out_until_it_goes_on() -> None:
    meter = StandardMeter()
    jumped = meter.used(50_000, 5)
    frames = [*running(meter, 5), *running(jumped, 5)]
    assert imports(through(TeleinfoGuard(), frames)) == [
        *(meter.import_wh + at for at in (1, 2, 3)),
        *(jumped.import_wh + at for at in (1, 2, 3)),
    ]


def test_frames_far_apart_do_not_vouch_for_each_other() -> None:
    meter = StandardMeter()
    frames = [meter.used(0, at * 61).frame() for at in range(6)]
    assert not through(TeleinfoGuard(), frames, 61)


def test_meter_time_that_goes_back_is_out_of_order() -> None:
    meter = StandardMeter()
    frames = [meter.used(at, -at).frame() for at in range(6)]
    assert not through(TeleinfoGuard(), frames)


def test_short_frames_between_long_ones_change_nothing() -> None:
    meter = replace(HC, is_three_phase=True)
    frames = [
        frame for at in range(4) for frame in [meter.used(at).frame(), *[meter.short_frame()] * 20]
    ]
    assert imports(through(TeleinfoGuard(), frames)) == [meter.import_wh + at for at in (1, 2)]


def test_a_producers_frame_without_its_export_is_left_out() -> None:
    meter = StandardMeter(export_wh=500)
    frames = running(meter, 8)
    frames[3] = frames[3].replace(b"EAIT", b"EAIR")
    guard = TeleinfoGuard()
    vouched = through(guard, frames)
    assert {one.frame.export_wh for one in vouched} == {500}
    assert guard.doubts == {Doubt.EXPORT_MISSING: 1}


def test_without_status_nobody_knows_whether_the_export_is_missing() -> None:
    frames = [frame.replace(b"STGE", b"STGF") for frame in running(StandardMeter(), 5)]
    guard = TeleinfoGuard()
    assert not through(guard, frames)
    assert guard.doubts[Doubt.EXPORT_MISSING] == 5


def test_a_frame_without_its_meter_number_is_left_out() -> None:
    frames = [frame.replace(b"ADSC", b"ADSB") for frame in running(StandardMeter(), 5)]
    assert not through(guard := TeleinfoGuard(), frames)
    assert guard.doubts[Doubt.NO_METER_ID] == 5


def test_a_damaged_meter_number_is_no_swap_but_a_lasting_one_is() -> None:
    meter = StandardMeter()
    frames = running(meter, 12)
    frames[4] = replace(meter.used(4, 4), meter_id="031776013531").frame()
    guard = TeleinfoGuard()
    assert {one.frame.meter_id for one in through(guard, frames)} == {meter.meter_id}
    assert guard.doubts == {Doubt.OTHER_METER: 1}
    swapped = replace(StandardMeter(), meter_id="041700000001", at_s=START_S + 100)
    vouched = through(guard, running(swapped, 8), begin_s=START_S + 100)
    assert {one.frame.meter_id for one in vouched} == {swapped.meter_id}
    assert guard.doubts[Doubt.OTHER_METER] == 1 + FRAMES_TO_SWAP - 1


def day_of_export(curve_w: int) -> list[Vouched]:
    """Injecting 1,800 W, a frame every 10 s for 70 min; the curve says ``curve_w``."""
    begin_s = START_S - START_S % 1800
    meter = StandardMeter(export_wh=0, at_s=begin_s)
    frames = []
    for second in range(0, 4200, 10):
        at_s = begin_s + second
        end_s = (at_s - 5) // 1800 * 1800
        curves = (
            ("CCAIN", horodate(end_s), curve_w),
            ("CCAIN-1", horodate(end_s - 1800), curve_w),
        )
        frames.append(replace(meter.used(0, second, second // 2), curves=curves).frame())
    return through(TeleinfoGuard(), frames, 10, begin_s)


def test_an_export_that_its_load_curve_confirms_comes_out() -> None:
    vouched = day_of_export(1_800)
    assert vouched[-1].frame.export_wh == 4180 // 2


def test_an_export_that_its_load_curve_contradicts_is_withheld() -> None:
    vouched = day_of_export(1_200)
    assert vouched[0].frame.export_wh is not None
    assert vouched[-1].frame.export_wh is None
    assert vouched[-1].frame.import_wh is not None
    assert EXPORT_CONTRADICTED in vouched[-1].frame.notes
