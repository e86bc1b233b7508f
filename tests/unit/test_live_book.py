"""Whatever a meter says and however often the node stops: totals grow by what registers grew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import MeterError
from node.meter.believing import MAX_CLOSED, SAMPLES_TO_SWAP, STATE_KEY, MeterBook
from node.meter.codec import Rejected
from node.meter.guard import AGREEING_TO_MOVE
from node.meter.health import MeterState
from node.meter.sample_log import unpack
from node.meter.settings import MeterSettings
from node.meter.teleinfo import CLOCK_DEGRADED, NOT_PRODUCER
from node.meter.vouching import CLOCK_STANDS
from node.model import EvidenceClass, Quality, RegisterReading
from tests.support.meter_samples import MESSAGES, NOON_S, MemoryStorage, came, frame

Said = tuple[int, int, int]
"""Seconds after noon, import, export."""


def told(book: MeterBook, *samples: Said, meter_id: str = "m1") -> MeterBook:
    for second, import_wh, export_wh in samples:
        book.observe(came(NOON_S + second, frame(import_wh, export_wh, meter_id=meter_id)))
    return book


def steady(begin_s: int, end_s: int, import_wh: int, step_s: int = 10) -> list[Said]:
    """One Wh every ten seconds, and no export."""
    return [
        (second, import_wh + (second - begin_s) // 10, 7)
        for second in range(begin_s, end_s, step_s)
    ]


def reading_at(book: MeterBook, second: int) -> RegisterReading:
    reading = book.at(NOON_S + second)
    assert reading is not None
    return reading


def restarted(book: MeterBook, settings: MeterSettings = MESSAGES) -> MeterBook:
    return MeterBook(settings, book.state())


# Instants


def test_totals_begin_where_the_registers_stand() -> None:
    book = told(MeterBook(MESSAGES), (0, 5_000, 70), (10, 5_002, 70), (20, 5_004, 71))
    assert reading_at(book, 10) == RegisterReading(
        "m1", NOON_S + 10, 5_002, 70, EvidenceClass.B, Quality.METERED
    )
    assert reading_at(book, 15).import_wh == 5_003


def test_an_instant_waits_for_the_sample_after_it() -> None:
    book = told(MeterBook(MESSAGES), (0, 5_000, 0), (10, 5_002, 0))
    assert book.at(NOON_S + 11) is None
    assert reading_at(told(book, (12, 5_003, 0)), 11).import_wh == 5_002


def test_before_everything_known_a_person_is_told() -> None:
    book = told(MeterBook(MESSAGES), (0, 5_000, 0), (10, 5_002, 0))
    with pytest.raises(MeterError, match="nothing is known"):
        book.at(NOON_S - 1)


def test_the_same_instant_again_gives_the_same_answer() -> None:
    book = told(MeterBook(MESSAGES), *steady(0, 40, 100))
    first = reading_at(book, 15)
    told(book, *steady(40, 80, 104))
    assert reading_at(book, 15) is first
    assert reading_at(restarted(book), 15) == first


def test_a_meter_without_export_counts_none() -> None:
    book = MeterBook(MESSAGES)
    for second in (0, 10, 20):
        book.observe(came(NOON_S + second, frame(100 + second)))
    assert reading_at(book, 15).export_wh == 0


def test_an_export_that_joins_later_claims_nothing_for_what_it_counted_before() -> None:
    """A Linky was switched to producer mode: its EAIT may stand anywhere."""
    book = MeterBook(MESSAGES)
    for second in (0, 10, 20):
        book.observe(came(NOON_S + second, frame(100)))
    assert reading_at(book, 15).export_wh == 0
    told(book, (30, 100, 44_000), (40, 100, 44_003), (50, 100, 44_004))
    assert reading_at(book, 25).export_wh == 0
    assert reading_at(book, 50).export_wh == 4


def test_a_register_that_a_linky_no_longer_tells_rests() -> None:
    book = told(MeterBook(MESSAGES), *steady(0, 40, 100))
    for second in (40, 50):
        book.observe(came(NOON_S + second, frame(104, notes=[NOT_PRODUCER])))
    assert reading_at(book, 45).export_wh == 7


def test_a_register_that_just_does_not_come_is_waited_for() -> None:
    book = told(MeterBook(MESSAGES), *steady(0, 40, 100))
    book.observe(came(NOON_S + 40, frame(104)))
    assert book.at(NOON_S + 35) is None


# What is not believed


def test_a_first_value_needs_a_second_that_goes_on_from_it() -> None:
    """A sensor that says 0 until it has read its memory must not make that its first value."""
    book = told(MeterBook(MESSAGES), (0, 0, 0), (10, 500_000, 0))
    assert book.at(NOON_S + 5) is None
    assert reading_at(told(book, (20, 500_001, 0)), 20).import_wh == 500_001


def test_retained_messages_are_never_believed() -> None:
    book = told(MeterBook(MESSAGES), *steady(0, 40, 1_000))
    assert book.observe(came(NOON_S + 40, frame(1_003, 7), retained=True)) is None
    assert book.health(NOON_S + 40, connected=True).doubts == {"retained": 1}


def test_a_glitch_is_held_and_the_sum_stays() -> None:
    book = told(MeterBook(MESSAGES), *steady(0, 40, 1_000))
    told(book, (40, 0, 7), (50, 53_700_000, 7), *steady(60, 200, 1_006))
    assert reading_at(book, 180).import_wh == 1_018
    health = book.health(NOON_S + 190, connected=True)
    assert (health.state, health.held) == (MeterState.SPEAKING, 4)


def test_a_lasting_jump_waits_for_the_owner() -> None:
    book = told(MeterBook(MESSAGES), *steady(0, 40, 1_000))
    told(book, *steady(40, 140, 10))
    assert book.at(NOON_S + 100) is None
    assert "goes on from another value" in str(book.fault)
    assert book.health(NOON_S + 140, connected=True).state is MeterState.RESTART_TO_CONFIRM
    book.confirm_restart()
    told(book, *steady(140, 200, 20))
    assert book.health(NOON_S + 200, connected=True).fault is None
    # 1,003 before, and from 19 to 25 after; what lies between is nobody's.
    assert reading_at(book, 190).import_wh == 1_003 + (25 - 19)
    assert reading_at(book, 100).quality is Quality.ESTIMATED


def test_a_sensor_may_restart_by_itself() -> None:
    book = MeterBook(MESSAGES)
    for second, wh in [(0, 900), (10, 901), *((20 + 20 * at, at) for at in range(8))]:
        book.observe(came(NOON_S + second, frame(wh, evidence=EvidenceClass.C)))
    assert book.fault is None
    counted = book.latest()
    assert counted is not None
    assert counted.import_wh == 901 + 8 - AGREEING_TO_MOVE


def test_nothing_to_confirm_is_said_so() -> None:
    book = told(MeterBook(MESSAGES), *steady(0, 40, 1_000))
    with pytest.raises(ValueError, match="nothing to confirm"):
        book.confirm_restart()
    with pytest.raises(ValueError, match="no swap to confirm"):
        book.confirm_swap()


# Another meter


def swapped() -> MeterBook:
    """From 1,000 to 1,003 Wh, then a new meter from 5 to 14 Wh."""
    book = told(MeterBook(MESSAGES), *steady(0, 40, 1_000))
    return told(book, *steady(60, 160, 5), meter_id="m2")


def test_another_meter_counts_for_nothing_until_its_owner_says_so() -> None:
    book = swapped()
    assert reading_at(book, 25).meter_id == "m1"
    assert book.at(NOON_S + 100) is None
    assert "m2 speaks where meter m1 did" in str(book.fault)
    assert book.health(NOON_S + 160, connected=True).state is MeterState.SWAP_TO_CONFIRM


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_confirmed_swap_goes_on_from_the_old_totals(*, is_restarted: bool) -> None:
    book = restarted(swapped()) if is_restarted else swapped()
    book.confirm_swap()
    assert book.fault is None
    told(book, *steady(160, 200, 15), meter_id="m2")
    after = reading_at(book, 190)
    assert (after.meter_id, after.continues) == ("m2", "m1")
    assert (after.import_wh, after.export_wh) == (1_003 + (18 - 5), 7)
    assert reading_at(book, 50).import_wh == 1_003
    assert reading_at(book, 150).import_wh == 1_003 + (14 - 5)


def test_settings_that_name_the_new_meter_are_the_owners_word() -> None:
    book = restarted(swapped(), replace(MESSAGES, meter_id="m2"))
    told(book, *steady(160, 200, 15), meter_id="m2")
    after = reading_at(book, 190)
    assert (after.meter_id, after.import_wh) == ("m2", 1_003 + (18 - 5))


def test_the_old_meter_may_come_back() -> None:
    book = told(swapped(), *steady(160, 200, 1_004))
    assert book.fault is None
    assert reading_at(book, 190).import_wh == 1_007


def test_a_meter_that_settings_do_not_name_is_left_out() -> None:
    book = MeterBook(replace(MESSAGES, meter_id="mine"))
    told(book, *steady(0, 10 * SAMPLES_TO_SWAP, 5), meter_id="hers")
    assert book.latest() is None
    assert "meter hers speaks, not mine" in str(book.fault)
    assert book.health(NOON_S + 30, connected=True).state is MeterState.OTHER_METER
    told(book, *steady(30, 60, 9), meter_id="mine")
    assert book.fault is None


def test_replaced_meters_are_remembered_a_few() -> None:
    book = MeterBook(MESSAGES)
    for at in range(MAX_CLOSED + 3):
        told(book, *steady(100 * at, 100 * at + 40, 7 * at), meter_id=f"m{at}")
        if at:
            book.confirm_swap()
    assert len(book.state()) < 4_000
    latest = book.latest()
    assert latest is not None
    assert latest.import_wh == 3 * (MAX_CLOSED + 3)


# Clocks


@pytest.mark.parametrize("back_s", [1, 30, 59, 61, 900, 3_600, 40_000, 10**9])
def test_a_clock_that_is_set_back_loses_and_doubles_nothing(back_s: int) -> None:
    book = told(MeterBook(MESSAGES), *steady(0, 2_000, 1_000))
    asked = [reading_at(book, 600).import_wh, reading_at(book, 1_800).import_wh]
    begin_s = 2_000 - back_s
    told(book, *steady(begin_s, begin_s + 6_000, 1_200))
    latest = book.latest()
    assert latest is not None
    assert latest.import_wh == 1_799
    if back_s < 40_000:
        asked += [reading_at(book, second).import_wh for second in (2_700, 3_600)]
    assert asked == sorted(asked)
    assert book.health(NOON_S + begin_s, connected=True).held == 0


def test_after_the_clock_was_set_back_values_are_estimates_for_a_while() -> None:
    book = told(MeterBook(MESSAGES), *steady(0, 2_000, 1_000))
    told(book, *steady(200, 9_000, 1_200))
    assert reading_at(book, 900).quality is Quality.ESTIMATED
    assert reading_at(book, 2_700).quality is Quality.ESTIMATED
    assert reading_at(restarted(book), 3_600).quality is Quality.ESTIMATED
    assert reading_at(book, 8_100).quality is Quality.METERED


@pytest.mark.parametrize("ahead_s", [61, 900, 40_000])
def test_a_clock_that_is_set_forward_loses_and_doubles_nothing(ahead_s: int) -> None:
    book = told(MeterBook(MESSAGES), *steady(0, 2_000, 1_000))
    told(book, *steady(2_000 + ahead_s, 7_000 + ahead_s, 1_200))
    assert reading_at(book, 6_900 + ahead_s).import_wh == 1_690
    inside = reading_at(book, 2_000 + ahead_s // 2)
    assert inside.quality is Quality.ESTIMATED
    assert 1_199 <= inside.import_wh <= 1_200


def test_what_the_meter_thinks_of_the_time_is_only_noted() -> None:
    book = MeterBook(MESSAGES)
    for second in range(0, 60, 10):
        wrong_s = NOON_S + second + 50 * 365 * 86_400
        book.observe(came(NOON_S + second, frame(100 + second, taken_at_s=wrong_s)))
    assert reading_at(book, 35).import_wh == 135
    health = book.health(NOON_S + 50, connected=True)
    assert health.clock_ahead_s == 50 * 365 * 86_400


def test_a_meter_that_doubts_its_clock_is_not_compared() -> None:
    book = MeterBook(MESSAGES)
    book.observe(came(NOON_S, frame(100, taken_at_s=NOON_S + 5)))
    assert book.health(NOON_S, connected=True).clock_ahead_s == 5
    book.observe(came(NOON_S + 10, frame(101, notes=[CLOCK_DEGRADED])))
    health = book.health(NOON_S + 10, connected=True)
    assert health.clock_ahead_s is None
    assert CLOCK_DEGRADED in health.notes


def test_a_meter_whose_clock_stands_still_is_counted_all_the_same() -> None:
    """A day and a half of messages that all name one instant."""
    book = MeterBook(MESSAGES)
    for number in range(2_000):
        said = frame(5_000 + number, 7, taken_at_s=NOON_S)
        book.observe(came(NOON_S + 60 * number, said))
    health = book.health(NOON_S + 60 * 2_000, connected=True)
    assert health.registers is not None
    assert (health.registers.import_wh, health.fault) == (6_999, None)
    assert sum(health.doubts.values()) < 10
    assert health.notes == (CLOCK_STANDS,)
    assert health.clock_ahead_s is None
    assert reading_at(book, 60 * 1_000) == replace(
        health.registers, taken_at_s=NOON_S + 60 * 1_000, import_wh=6_000
    )
    book.observe(came(NOON_S + 120_010, frame(7_000, 7, taken_at_s=NOON_S + 120_009)))
    health = book.health(NOON_S + 120_010, connected=True)
    assert (health.notes, health.clock_ahead_s) == ((), -1)


# Gaps and restarts


def test_a_gap_is_exact_in_sum_and_an_estimate_in_its_split() -> None:
    book = told(MeterBook(MESSAGES), *steady(0, 100, 1_000))
    begin = reading_at(book, 0)
    book = told(restarted(book), *steady(4_000, 4_100, 1_900))
    values = [reading_at(book, second) for second in (900, 1_800, 2_700, 3_600)]
    assert {value.quality for value in values} == {Quality.ESTIMATED}
    end = reading_at(book, 4_090)
    assert end.quality is Quality.METERED
    assert end.import_wh - begin.import_wh == 909
    assert all(a.import_wh < b.import_wh for a, b in pairwise([begin, *values, end]))


def test_a_restart_in_a_hold_does_not_make_the_bad_value_the_first_good_one() -> None:
    book = told(MeterBook(MESSAGES), *steady(0, 100, 500_000), (100, 0, 7))
    book = told(restarted(book), (110, 0, 7), *steady(120, 200, 500_012))
    assert reading_at(book, 190).import_wh == 500_019


def test_boundaries_since_the_last_answer_can_be_answered_after_a_restart() -> None:
    """A node that could not close slots for a day, for whatever reason, loses none of them."""
    book = told(MeterBook(MESSAGES), *steady(0, 7_000, 1_000))
    live = [reading_at(book, second) for second in (900, 1_800, 2_700, 3_600)]
    after = restarted(told(MeterBook(MESSAGES), *steady(0, 7_000, 1_000)))
    assert [reading_at(after, second) for second in (900, 1_800, 2_700, 3_600)] == live


def test_what_is_kept_stays_small() -> None:
    book = told(MeterBook(MESSAGES), *steady(0, 86_400, 1_000))
    assert len(book.state()) < 4_000
    reading_at(book, 86_300)
    assert len(book.state()) < 600


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"version":99}', '{"version":1,"kept":"x"}']
)
def test_a_state_that_cannot_be_read_is_for_a_person(text: str) -> None:
    with pytest.raises(MeterError, match="cannot be read"):
        MeterBook(MESSAGES, text)


# Handing over


def test_samples_are_handed_over_once_they_are_durable_never_again() -> None:
    storage, book = MemoryStorage(), told(MeterBook(MESSAGES), *steady(0, 50, 100))
    book.keep(storage)
    storage.roll_back()
    told(book, *steady(50, 100, 105))
    book.keep(storage)
    storage.commit()
    told(book, *steady(100, 150, 110))
    book.keep(storage)
    storage.commit()
    samples = [
        sample for _, batch in sorted(storage.batches.items()) for sample in unpack(batch.packed)
    ]
    assert [(s.at_s - NOON_S, s.import_wh, s.export_wh) for s in samples] == steady(0, 150, 100)
    assert len(storage.batches) == 3
    state = storage.meter_state(STATE_KEY)
    assert state is not None
    assert reading_at(MeterBook(MESSAGES, state), 140).import_wh == 114


def test_refusals_and_silence_show() -> None:
    book = MeterBook(MESSAGES)
    assert book.health(NOON_S, connected=False).state is MeterState.WAITING
    told(book, *steady(0, 50, 100))
    book.observe(replace(came(NOON_S + 50, frame(1)), decoded=Rejected("noise", b"x")))
    health = book.health(NOON_S + 60, connected=True)
    assert (health.state, health.frames, health.rejected) == (MeterState.SPEAKING, 5, 1)
    assert health.registers == book.latest()
    assert book.health(NOON_S + 500, connected=True).state is MeterState.SILENT


def test_frames_that_say_nothing_of_energy_hide_nothing() -> None:
    """A three-phase Linky sends twenty short frames in a row while a current is too high."""
    book = told(MeterBook(MESSAGES), *steady(0, 50, 100))
    book.observe(came(NOON_S + 50, replace(frame(None), power_w=None)))
    health = book.health(NOON_S + 50, connected=True)
    assert (health.power_w, health.last_frame_at_s) == (500, NOON_S + 50)


def test_a_seller_whose_meter_does_not_tell_is_told() -> None:
    book = MeterBook(replace(MESSAGES, producer_expected=True))
    book.observe(came(NOON_S, frame(5, notes=[NOT_PRODUCER])))
    assert book.health(NOON_S, connected=True).state is MeterState.NOT_PRODUCER


# Properties

steps = st.lists(
    st.tuples(
        st.integers(-400, 2_000),  # seconds on the node's clock
        st.integers(0, 60),  # Wh imported
        st.integers(0, 60),  # Wh exported
        st.sampled_from(["good", "good", "good", "good", "glitch", "retained", "lost"]),
    ),
    min_size=5,
    max_size=60,
)


def lived(book: MeterBook, told_steps: Iterable[tuple[int, int, int, str]]) -> list[int]:
    """Glitches, gaps, clocks that step: what was counted, asked at the newest sample each time."""
    at_s, import_wh, export_wh, counted = NOON_S, 9_000, 400, []
    for seconds, imported, exported, fate in told_steps:
        at_s += seconds
        import_wh += imported
        export_wh += exported
        if fate == "lost":
            continue
        said = frame(import_wh if fate == "good" else imported, export_wh)
        book.observe(came(at_s, said, retained=fate == "retained"))
        latest = book.latest()
        if latest is not None:
            counted.append(latest.import_wh)
    return counted


@given(steps)
def test_totals_never_fall_and_never_exceed_the_register(
    told_steps: list[tuple[int, int, int, str]],
) -> None:
    counted = lived(MeterBook(MESSAGES), told_steps)
    assert counted == sorted(counted)
    true_wh = 9_000 + sum(imported for _, imported, _, fate in told_steps if fate)
    if counted and counted[0] >= 9_000:
        assert counted[-1] <= true_wh


@given(
    st.lists(
        st.tuples(st.integers(1, 900), st.integers(0, 100), st.integers(0, 100), st.booleans()),
        min_size=3,
        max_size=80,
    )
)
def test_a_restart_anywhere_counts_the_same(said: list[tuple[int, int, int, bool]]) -> None:
    """Of an honest meter: shares of what the connection allows in the time."""
    plain, stopped = MeterBook(MESSAGES), MeterBook(MESSAGES)
    at_s, import_wh, export_wh = 0, 5_000, 300
    for seconds, imported, exported, is_stopped in said:
        at_s += seconds
        import_wh += 9_000 * seconds * imported // 360_000
        export_wh += 9_000 * seconds * exported // 360_000
        for book in (plain, stopped):
            told(book, (at_s, import_wh, export_wh))
        if is_stopped and stopped.latest() is not None:
            stopped = restarted(stopped)
    latest = plain.latest()
    assert latest == stopped.latest()
    assert latest is not None
    assert (latest.import_wh, latest.export_wh) == (import_wh, export_wh)


@given(
    said=st.lists(
        st.tuples(
            st.integers(1, 600),
            st.integers(0, 40),
            st.sampled_from(["good", "good", "good", "zero", "jump", "stop"]),
        ),
        min_size=4,
        max_size=60,
    )
)
def test_slots_add_up_and_never_fall(said: list[tuple[int, int, str]]) -> None:
    """Every boundary is asked as soon as it can be; the node stops here and there."""
    book, at_s, import_wh = told(MeterBook(MESSAGES), (0, 1_000, 0), (1, 1_000, 0)), 1, 1_000
    boundary_s, answers = 0, [1_000]
    for seconds, imported, fate in said:
        at_s += seconds
        import_wh += imported
        glitch_wh = {"zero": 0, "jump": 10**8}.get(fate, import_wh)
        told(book, (at_s, glitch_wh, 0))
        while (reading := book.at(NOON_S + boundary_s)) is not None:
            answers.append(reading.import_wh)
            boundary_s += 300
        if fate == "stop":
            book = restarted(book)
    latest = book.latest()
    assert latest is not None
    assert answers == sorted(answers)
    assert answers[-1] <= latest.import_wh <= import_wh
    # Once the register goes on, everything is counted: a kWh takes a while at 9 kW.
    told(book, *((at_s + 3_000 + 10 * at, import_wh, 0) for at in range(4)))
    latest = book.latest()
    assert latest is not None
    assert latest.import_wh == import_wh


lives = st.lists(
    st.tuples(
        st.sampled_from(["sample", "sample", "sample", "sample", "clock", "restart", "glitch"]),
        st.integers(1, 900),  # seconds that pass
        st.integers(0, 100),  # of what can flow in them, in percent
        st.integers(-20_000, 20_000),  # by how much the clock is set
    ),
    min_size=5,
    max_size=60,
)


@given(lives)
def test_clocks_restarts_and_glitches_together_lose_and_double_nothing(
    told_life: list[tuple[str, int, int, int]],
) -> None:
    book, at_s, import_wh = told(MeterBook(MESSAGES), (0, 1_000, 0), (1, 1_000, 0)), 1, 1_000
    asked_s, answers = 0, [1_000]
    for event, seconds, share, set_by_s in told_life:
        at_s += seconds + (set_by_s if event == "clock" else 0)
        import_wh += MESSAGES.max_power_w * seconds * share // 360_000
        if event == "restart":
            book = restarted(book)
        told(book, (at_s, 7 if event == "glitch" else import_wh, 0))
        end_s = at_s // 900 * 900
        if end_s > asked_s and (reading := book.at(NOON_S + end_s)) is not None:
            asked_s = end_s
            answers.append(reading.import_wh)
    latest = book.latest()
    assert latest is not None
    assert answers == sorted(answers)
    assert answers[-1] <= latest.import_wh <= import_wh
    # A day later at the latest, whatever was held can have flowed.
    told(book, *((at_s + 86_400 + 10 * at, import_wh, 0) for at in range(4)))
    latest = book.latest()
    assert latest is not None
    assert latest.import_wh == import_wh
