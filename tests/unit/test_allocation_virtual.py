"""Virtual sharing: the hour's smaller sum, and an incentive split to the unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.billing.series import MISSING
from node.billing.virtual import incentive_shares, shared_wh


def test_the_hour_counts_not_its_quarters() -> None:
    """Quarter by quarter 150 Wh would be shared, over the hour it is 300."""
    injected = [[300, 0, 0, 0]]
    drawn = [[50, 100, 100, 100], [100, 0, 0, 0]]
    assert shared_wh(injected, drawn, 4) == [300]


def test_an_hour_with_a_gap_is_not_known() -> None:
    assert shared_wh([[5, 5, 5, MISSING]], [[4, 4, 4, 4]], 2) == [8, MISSING]


def test_only_whole_hours_of_one_time_are_shared() -> None:
    with pytest.raises(ValueError, match="no whole hours"):
        shared_wh([[1, 2, 3]], [[1, 2, 3]], 2)
    with pytest.raises(ValueError, match="different lengths"):
        shared_wh([[1, 2]], [[1, 2, 3]], 1)
    assert shared_wh([], [], 4) == []


def test_the_statute_splits_the_incentive() -> None:
    assert incentive_shares(100, {"roof": 1, "flat": 1, "mill": 1}) == {
        "flat": 34,
        "mill": 33,
        "roof": 33,
    }
    assert incentive_shares(90, {"roof": 1, "flat": 2}, {"roof": 100, "flat": 100}) == {
        "flat": 60,
        "roof": 30,
    }
    assert incentive_shares(90, {"roof": 1}, {}) == {"roof": 0}


@given(
    amount=st.integers(0, 10**12),
    statute=st.dictionaries(st.text(max_size=3), st.integers(0, 100), min_size=1).filter(
        lambda found: any(found.values())
    ),
)
def test_every_unit_is_paid_out(amount: int, statute: dict[str, int]) -> None:
    assert sum(incentive_shares(amount, statute).values()) == amount
