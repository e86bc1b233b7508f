"""Durations as people write them, and units for display."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.units import cent_per_kwh, duration_text, eur, kwh, parse_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("900", 900),
        ("900s", 900),
        ("15m", 900),
        (" 15 min ", 900),
        ("1h", 3_600),
        ("1d", 86_400),
        ("090s", 90),
    ],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0h", "-15m", "1.5h", "15 minutes", "15m30s", "m", "1w"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration"):
        parse_duration_s(text)


@given(st.integers(1, 10**9))
def test_a_duration_is_shown_in_words_that_read_back(seconds: int) -> None:
    assert parse_duration_s(duration_text(seconds)) == seconds


def test_durations_are_shown_in_the_largest_unit() -> None:
    assert [duration_text(s) for s in (10, 90, 900, 7_200, 172_800)] == [
        *("10 s", "90 s", "15 min", "2 h", "2 d")
    ]


def test_money_prices_and_energy_for_people() -> None:
    assert eur(10**8) == 1.0
    assert eur(-1) == -1e-8
    assert cent_per_kwh(25_000) == 25.0
    assert kwh(1_500) == 1.5
    # What a Wh costs, in EUR, is what a kWh costs, in thousandths of it: the scales agree.
    assert eur(1_000 * 25_000) == cent_per_kwh(25_000) / 100
