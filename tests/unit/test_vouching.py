"""What makes a frame believed, on a serial line and from a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.meter.codec import MeterFrame, Rejected
from node.meter.p1 import NO_CHECKSUM, P1Codec
from node.meter.settings import MeterSettings
from node.meter.sml import NO_PIN
from node.meter.teleinfo import TeleinfoCodec
from node.meter.vouching import (
    MAX_DEVICES,
    MOST_AT_ONE_TIME,
    MOST_STALE,
    WITHOUT_PIN_WH,
    Doubt,
    Vouching,
    export_limits,
    import_limits,
)
from node.model import EvidenceClass
from tests.support.meter_samples import LINKY, MESSAGES, NOON_S, P1, came, frame
from tests.support.p1_telegrams import OLD, replaced, telegram
from tests.support.teleinfo_frames import HistoricMeter, StandardMeter

SML = MeterSettings("sml", port="/dev/null", period_s=5, max_power_w=9_000)


def admitted(vouching: Vouching, *said: tuple[int, MeterFrame]) -> list[int | None]:
    """The imports that come out."""
    vouched = [vouching.admit(came(NOON_S + second, one)) for second, one in said]
    return [one.frame.import_wh for one in vouched if one is not None]


def sml(*imports: tuple[int, int], notes: Sequence[str] = ()) -> list[tuple[int, MeterFrame]]:
    return [(second, frame(wh, kind="sml", notes=notes)) for second, wh in imports]


# Serial lines


def test_a_frame_of_a_serial_line_needs_both_neighbours() -> None:
    said = sml((0, 100), (5, 101), (10, 102), (15, 103))
    assert admitted(Vouching(SML), *said) == [101, 102]


@pytest.mark.parametrize("wrong_wh", [0, 90, 1_102, 10**8])
def test_a_wrong_register_does_not_come_out(wrong_wh: int) -> None:
    said = sml((0, 100), (5, 101), (10, wrong_wh), (15, 103), (20, 104), (25, 105))
    vouching = Vouching(SML)
    assert admitted(vouching, *said)[-1] == 104
    assert set(admitted(Vouching(SML), *said)) <= {103, 104}
    assert vouching.doubts[Doubt.OUT_OF_ORDER] > 0


def test_a_wrong_register_between_its_neighbours_may() -> None:
    assert admitted(Vouching(SML), *sml((0, 100), (5, 103), (10, 105), (15, 105))) == [103, 105]


def test_whole_kwh_grow_by_whole_kwh() -> None:
    said = sml((0, 5_000), (5, 5_000), (10, 6_000), (15, 6_000), notes=[NO_PIN])
    assert admitted(Vouching(SML), *said) == [5_000, 6_000]


def test_another_serial_number_vouches_for_nothing() -> None:
    said = sml((0, 100), (5, 101), (10, 102))
    said[1] = (5, frame(101, kind="sml", meter_id="damaged"))
    assert admitted(Vouching(SML), *said, *sml((15, 103), (20, 104))) == [103]


def test_a_register_that_is_missing_vouches_for_nothing() -> None:
    said = [(at, frame(100, None if at == 10 else 7, kind="sml")) for at in range(0, 40, 5)]
    assert len(admitted(Vouching(SML), *said)) == 3


def test_frames_far_apart_do_not_vouch_for_each_other() -> None:
    assert admitted(Vouching(SML), *sml((0, 100), (5, 101), (70, 102), (75, 103), (80, 104))) == [
        103
    ]


def test_a_telegram_without_checksum_needs_others_that_agree() -> None:
    wrong = replaced(OLD, "1-0:1.8.1", "(12355.678*kWh)")
    codec, vouching = P1Codec(), Vouching(P1)
    read = [
        decoded
        for lines in (OLD, OLD, OLD, wrong, OLD, OLD, OLD, OLD, OLD)
        for decoded in codec.feed(telegram(lines, has_crc=False))
    ]
    frames = [one for one in read if isinstance(one, MeterFrame)]
    assert {NO_CHECKSUM in one.notes for one in frames} == {True}
    said = [(10 * at, one) for at, one in enumerate(frames)]
    assert admitted(vouching, *said) == [12_357_678]


def test_two_wrong_ones_that_agree_are_not_enough_without_a_checksum() -> None:
    imports = [100, 101, 102, 109, 110, 105, 106, 107, 108, 109]
    said = [(10 * at, frame(wh, kind="emon")) for at, wh in enumerate(imports)]
    emon = MeterSettings("emon", port="/dev/null", period_s=10, max_power_w=9_000)
    assert admitted(Vouching(emon), *said) == [102, 107]


def test_a_linky_is_vouched_for_by_its_own_guard() -> None:
    meter, codec, vouching = StandardMeter(), TeleinfoCodec(), Vouching(LINKY)
    said = [
        (second, decoded)
        for second in range(6)
        for decoded in codec.feed(meter.used(second, second).frame())
        if isinstance(decoded, MeterFrame)
    ]
    assert admitted(vouching, *said) == [meter.import_wh + at for at in range(1, 5)]
    assert vouching.offsets is not None
    again = Vouching(LINKY, replace(vouching.offsets, supplier_wh=5))
    assert admitted(again, *said) == []
    assert again.doubts["sums_moved"] == 6


# Messages of a network


def test_a_message_is_believed_at_once() -> None:
    assert admitted(Vouching(MESSAGES), (0, frame(100)), (10, frame(101))) == [100, 101]


def test_a_retained_message_never_is() -> None:
    vouching = Vouching(MESSAGES)
    assert vouching.admit(came(NOON_S, frame(100), retained=True)) is None
    assert vouching.doubts == {Doubt.RETAINED: 1}


def test_what_a_codec_refused_and_what_has_no_register_is_nothing() -> None:
    for settings in (MESSAGES, SML):
        vouching = Vouching(settings)
        assert vouching.admit(replace(came(NOON_S, frame(1)), decoded=Rejected("x", b""))) is None
        assert admitted(vouching, (0, frame(None, kind=settings.kind))) == []


def timed(*said: tuple[int, int]) -> list[tuple[int, MeterFrame]]:
    """Messages by the meter's own time; they come a second apart."""
    return [(at, frame(wh, taken_at_s=second)) for at, (second, wh) in enumerate(said)]


def test_the_same_message_again_is_ignored() -> None:
    vouching = Vouching(MESSAGES)
    assert admitted(vouching, *timed((50, 100), (50, 100), (60, 101))) == [100, 101]
    assert vouching.doubts == {Doubt.REPEATED: 1}


def test_the_same_time_with_other_values_is_noticed() -> None:
    vouching = Vouching(MESSAGES)
    assert admitted(vouching, *timed((50, 100), (50, 99), (60, 101))) == [100, 101]
    assert vouching.doubts == {Doubt.SAME_TIME_OTHER_VALUES: 1}


def test_old_messages_are_refused_when_they_come_late() -> None:
    vouching = Vouching(MESSAGES)
    assert admitted(vouching, *timed((50, 100), (40, 99), (30, 98), (60, 101))) == [100, 101]
    assert vouching.doubts == {Doubt.STALE: 2}


def test_a_meter_whose_clock_was_set_back_goes_on() -> None:
    assert admitted(Vouching(MESSAGES), *timed((50, 100), (10, 101), (20, 102))) == [100, 101, 102]


def test_a_meter_that_lost_clock_and_registers_is_left_to_the_guard() -> None:
    said = timed((5_000, 100), *((at, at) for at in range(MOST_STALE + 2)))
    assert admitted(Vouching(MESSAGES), *said) == [100, MOST_STALE, MOST_STALE + 1]


STOPPED_S: Final = 50


def stopped(*imports: int, at_s: int = STOPPED_S) -> list[tuple[int, MeterFrame]]:
    """Messages of a meter whose clock always says the same."""
    return timed(*((at_s, wh) for wh in imports))


def test_a_meter_whose_clock_stands_still_goes_on_without_it() -> None:
    vouching = Vouching(MESSAGES)
    first = 100 + 1 + MOST_AT_ONE_TIME
    assert admitted(vouching, *stopped(*range(100, 300))) == [100, *range(first, 300)]
    assert vouching.doubts == {Doubt.SAME_TIME_OTHER_VALUES: MOST_AT_ONE_TIME}
    assert vouching.clock_stands("m1")
    assert not vouching.clock_stands("m2")


def test_a_clock_that_stood_still_is_believed_again_once_it_moves() -> None:
    vouching = Vouching(MESSAGES)
    admitted(vouching, *stopped(*range(100, 110)))
    assert admitted(vouching, *timed((60, 111), (60, 110), (60, 112), (70, 113))) == [111, 113]
    assert not vouching.clock_stands("m1")


def test_a_late_message_does_not_set_a_stopped_clock_going() -> None:
    vouching = Vouching(MESSAGES)
    admitted(vouching, *stopped(*range(100, 110)))
    assert admitted(vouching, *timed((40, 99), (STOPPED_S, 110), (STOPPED_S, 111))) == [110, 111]


def test_beside_a_stopped_clock_a_lower_register_is_the_older_one() -> None:
    """And many of them are for the guard and the owner."""
    vouching = Vouching(MESSAGES)
    admitted(vouching, *stopped(*range(100, 110)))
    assert admitted(vouching, *stopped(105, 110, 104)) == [110]
    assert admitted(vouching, *stopped(*range(MOST_STALE + 1))) == [MOST_STALE - 1, MOST_STALE]


def test_beside_a_stopped_clock_a_repetition_is_believed_of_a_meter_at_rest_alone() -> None:
    vouching = Vouching(MESSAGES)
    admitted(vouching, *stopped(*range(100, 110)))
    assert admitted(vouching, *stopped(*[109] * MOST_AT_ONE_TIME)) == []
    assert admitted(vouching, *stopped(109)) == [109]


def test_a_message_that_is_repeated_for_ever_stops_no_clock() -> None:
    assert admitted(Vouching(MESSAGES), *stopped(*[100] * 50), *timed((60, 101))) == [100, 101]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=60),
    st.lists(st.integers(0, 59), max_size=MOST_AT_ONE_TIME),
)
def test_old_messages_between_new_ones_are_never_believed(
    grown: list[tuple[int, int]], again: list[int]
) -> None:
    """Whatever the meter's clock does, standing still for long included: what a broker gives out
    once more is no news, and the registers that come out never fall."""
    said: list[MeterFrame] = []
    clock_s, import_wh = 50, 100
    for passed_s, wh in grown:
        clock_s, import_wh = clock_s + passed_s, import_wh + wh
        said.append(frame(import_wh, taken_at_s=clock_s))
    vouching = Vouching(MESSAGES)
    out = admitted(vouching, *enumerate(said))
    assert out == sorted(out, key=lambda wh: wh or 0)
    late = [said[index % len(said)] for index in again]
    after = admitted(vouching, *((100 + at, one) for at, one in enumerate(late)))
    assert all(wh is not None and wh >= (out[-1] or 0) for wh in after)


def test_registers_that_come_in_messages_of_their_own_do_not_disturb_each_other() -> None:
    both = [(0, frame(100, taken_at_s=5)), (1, frame(None, 7, taken_at_s=5))]
    assert admitted(Vouching(MESSAGES), *both) == [100, None]


def test_each_device_is_judged_by_itself_and_their_number_is_bounded() -> None:
    vouching = Vouching(MESSAGES)
    said = [
        (at, frame(100, meter_id=f"m{at % (MAX_DEVICES + 4)}", taken_at_s=at))
        for at in range(4 * MAX_DEVICES)
    ]
    assert len(admitted(vouching, *said)) == len(said)


# Limits


def test_a_linky_says_itself_what_its_connection_lets_through() -> None:
    historic = TeleinfoCodec().feed(HistoricMeter("BASE", {"BASE": 5}, "TH..").frame())[-1]
    assert isinstance(historic, MeterFrame)
    assert import_limits(historic, LINKY).max_power_w == 30 * 230
    assert export_limits(historic, LINKY).max_power_w == LINKY.max_power_w
    assert import_limits(historic, replace(LINKY, max_power_w=3_000)).max_power_w == 3_000


def test_only_sensors_may_restart_and_only_without_pin_a_step_is_a_kwh() -> None:
    sensor = import_limits(frame(1, evidence=EvidenceClass.C), MESSAGES)
    meter = export_limits(frame(1, kind="sml", notes=[NO_PIN]), SML)
    assert (sensor.may_restart, sensor.resolution_wh) == (True, 1)
    assert (meter.may_restart, meter.resolution_wh) == (False, WITHOUT_PIN_WH)
