"""Slot arithmetic: UTC, whole seconds, no daylight saving."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.slots import iso_utc, parse_iso_utc, slot_at, slot_end_s, slot_start_s

LENGTHS = st.sampled_from([10, 20, 600, 900, 1_800, 3_600])


@given(unix_s=st.integers(0, 2**40), slot_s=LENGTHS)
def test_every_instant_is_in_exactly_one_slot(unix_s: int, slot_s: int) -> None:
    slot = slot_at(unix_s, slot_s)
    assert slot_start_s(slot, slot_s) <= unix_s < slot_end_s(slot, slot_s)
    assert slot_end_s(slot, slot_s) == slot_start_s(slot + 1, slot_s)


@given(unix_s=st.integers(0, 253_402_300_799))
def test_instants_read_back_as_they_were_written(unix_s: int) -> None:
    assert parse_iso_utc(iso_utc(unix_s)) == unix_s


def test_an_instant_as_text() -> None:
    assert iso_utc(1_464_739_200) == "2016-06-01T00:00:00Z"
    assert parse_iso_utc(" 2016-06-01T02:00:00+02:00 ") == 1_464_739_200


@pytest.mark.parametrize(
    "text", ["", "noon", "2016-06-01", "2016-06-01T00:00:00", "2016-06-01T00:00:00.5Z"]
)
def test_what_is_no_instant_in_whole_seconds_with_an_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_iso_utc(text)


def test_the_night_in_which_clocks_change_has_its_slots_like_any_other() -> None:
    """In France 2026-10-25 has 25 hours; in slots it has 100 quarters of an hour, all different."""
    begins_s = parse_iso_utc("2026-10-25T00:00:00+02:00")
    ends_s = parse_iso_utc("2026-10-26T00:00:00+01:00")
    slots = {slot_at(unix_s, 900) for unix_s in range(begins_s, ends_s, 900)}
    assert len(slots) == 100
