"""The engine of rounds: what holds for every key, and the same numbers from both engines."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.billing.allocation import SCALE, Allocation, Key, PoolStage, Round, allocate, apportion
from node.billing.keys import default_dynamic, full_dynamic, static
from node.billing.series import MISSING
from node.errors import ConfigurationError
from tests.support.allocations import check_conservation, check_matrices, check_pairs
from tests.support.random_months import Month, random_month
from tests.support.shared import CHECKOUT

SEEDS = st.integers(0, 2**32)
FEW_STEPS = st.integers(0, 40)


def month_of(seed: int, steps: int) -> Month:
    return random_month(random.Random(seed), steps)


def groups_of(month: Month, seed: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randint(0, 2) for _ in range(month.steps)]


def one_step(key: Key, production: Mapping[str, int], consumption: Mapping[str, int]) -> Allocation:
    return allocate(
        key,
        {point: [wh] for point, wh in production.items()},
        {point: [wh] for point, wh in consumption.items()},
    )


@given(seed=SEEDS, steps=FEW_STEPS)
def test_nothing_is_lost_or_made(seed: int, steps: int) -> None:
    month = month_of(seed, steps)
    allocation = allocate(
        month.key, month.production, month.consumption, groups=groups_of(month, seed)
    )
    check_conservation(allocation)
    check_pairs(allocation)
    closed = [step for step in range(steps) if step not in allocation.open_steps]
    check_matrices(allocation, closed)


@given(seed=SEEDS, steps=FEW_STEPS)
def test_both_engines_give_the_same_numbers(seed: int, steps: int) -> None:
    month = month_of(seed, steps)
    groups = groups_of(month, seed)
    of_both = [
        allocate(month.key, month.production, month.consumption, groups=groups, plain=plain)
        for plain in (True, False)
    ]
    assert of_both[0] == of_both[1]


def test_months_larger_than_a_piece_give_the_same_numbers() -> None:
    rng = random.Random(6)
    production = {f"P{n:02d}": [rng.randint(0, 9_000) for _ in range(225)] for n in range(2)}
    consumption = {f"C{n:04d}": [rng.randint(0, 300) for _ in range(225)] for n in range(1_200)}
    of_both = [
        allocate(default_dynamic(), production, consumption, groups=[0] * 225, plain=plain)
        for plain in (True, False)
    ]
    assert of_both[0] == of_both[1]


@given(seed=SEEDS, steps=FEW_STEPS)
def test_the_order_of_points_plays_no_part(seed: int, steps: int) -> None:
    month = month_of(seed, steps)
    turned = allocate(
        month.key,
        dict(reversed(list(month.production.items()))),
        dict(reversed(list(month.consumption.items()))),
    )
    assert turned == allocate(month.key, month.production, month.consumption)


@given(
    production=st.integers(0, 3_000),
    more=st.integers(0, 500),
    needs=st.lists(st.integers(0, 900), min_size=1, max_size=6),
)
def test_more_production_lowers_nobody_by_more_than_the_rounding(
    production: int, more: int, needs: list[int]
) -> None:
    """Largest remainders can move 1 Wh away from a point when the total grows (the Alabama
    paradox); exact conservation and the nearest whole share are worth that Wh."""
    consumption = {f"C{place}": wh for place, wh in enumerate(needs)}
    before = one_step(default_dynamic(), {"P": production}, consumption)
    after = one_step(default_dynamic(), {"P": production + more}, consumption)
    for point in consumption:
        assert after.allocated[point][0] >= before.allocated[point][0] - 1


@given(total=st.integers(0, 5_000), weights=st.lists(st.integers(0, 900), max_size=8))
def test_a_share_is_its_quota_rounded_up_or_down(total: int, weights: list[int]) -> None:
    shares = apportion(total, weights)
    whole = sum(weights)
    assert sum(shares) == (total if whole else 0)
    for share, weight in zip(shares, weights, strict=True):
        assert abs(Fraction(share) - Fraction(total * weight, max(whole, 1))) < 1


@given(
    production=st.lists(st.integers(0, 5_000), min_size=1, max_size=8),
    consumption=st.lists(st.integers(0, 5_000), min_size=1, max_size=8),
)
def test_the_matrix_follows_the_formula_of_the_default_key(
    production: list[int], consumption: list[int]
) -> None:
    """Each cell is P_p C_i / sum C x min(1, sum C / sum P), up to the rounding of its row, of its
    column and of the rows before it."""
    producers = {f"P{place}": wh for place, wh in enumerate(production)}
    consumers = {f"C{place}": wh for place, wh in enumerate(consumption)}
    matrix = one_step(default_dynamic(), producers, consumers).matrix(0)
    produced, consumed = sum(production), sum(consumption)
    for row, made in zip(matrix, production, strict=True):
        for cell, used in zip(row, consumption, strict=True):
            exact = Fraction(made * used, max(produced, consumed, 1))
            assert abs(Fraction(cell) - exact) < len(production) + 1


def test_a_gap_leaves_its_step_open_for_all() -> None:
    allocation = allocate(
        default_dynamic(), {"P": [100, 100, 100]}, {"A": [60, MISSING, 60], "B": [60, 60, 60]}
    )
    assert allocation.open_steps == (1,)
    assert list(allocation.allocated["B"]) == [50, MISSING, 50]
    assert list(allocation.complement("A")) == [10, MISSING, 10]
    assert list(allocation.surplus("P")) == [0, MISSING, 0]
    with pytest.raises(ValueError, match="open"):
        allocation.matrix(1)


def test_energies_beyond_64_bits_are_exact_too() -> None:
    huge = 2**61
    curves = ({"P": [huge]}, {"A": [huge // 3], "B": [huge // 3 * 2]})
    allocation = allocate(default_dynamic(), *curves, groups=[0])
    assert allocation == allocate(default_dynamic(), *curves, groups=[0], plain=True)
    assert allocation.allocated["A"][0] == huge // 3
    check_matrices(allocation, [0])


def test_pairs_are_summed_by_group() -> None:
    allocation = allocate(
        static({"A": 250_000, "B": 750_000}),
        {"P": [100, 200, 400]},
        {"A": [999] * 3, "B": [999] * 3},
        groups=[7, 3, 7],
    )
    assert allocation.pairs == {3: [[50, 150]], 7: [[125, 375]]}


def test_without_groups_no_matrices_are_made() -> None:
    assert allocate(default_dynamic(), {"P": [10]}, {"A": [5]}).pairs == {}


def test_curves_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        allocate(default_dynamic(), {"P": [1, 2]}, {"A": [1]})
    with pytest.raises(ValueError, match="different lengths"):
        allocate(default_dynamic(), {"P": [1, 2]}, {"A": [1, 2]}, groups=[0])


def test_nobody_and_nothing_allocate_to_nothing() -> None:
    assert allocate(default_dynamic(), {}, {}).steps == 0
    alone = allocate(default_dynamic(), {"P": [100]}, {})
    assert list(alone.surplus("P")) == [100]
    assert list(allocate(default_dynamic(), {}, {"A": [7]}).complement("A")) == [7]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (static({"X": 1}), "X is no consumer"),
        (static({"A": SCALE, "B": 1}), "1000001 millionths"),
        (static({"A": -1}), "not between 0 and 1"),
        (full_dynamic({"X": {"A": 1}}), "X is no producer"),
        (full_dynamic({"P": {"A": [1]}}), "coefficients for 1 steps of 2"),
        (full_dynamic({"P": {"A": [0, SCALE], "B": 1}}), "1000001 millionths in step 1"),
        (Key("odd", (PoolStage((Round(consumers=("A", "A")),)),)), "stands twice"),
        (Key("odd", (PoolStage((Round(),), producers=("Q",)),)), "Q is no producer"),
        (Key("odd", (PoolStage((Round(part=SCALE + 1),)),)), "offers 1000001 millionths"),
    ],
)
def test_a_key_that_does_not_fit_is_refused(key: Key, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        allocate(key, {"P": [5, 5]}, {"A": [5, 5], "B": [5, 5]})


def test_a_node_without_numpy_allocates_too() -> None:
    program = """
import sys
sys.modules["numpy"] = None
from importlib.util import find_spec
import importlib.util
importlib.util.find_spec = lambda name, package=None: None if name == "numpy" else find_spec(name)
from node.billing.allocation import allocate
from node.billing.keys import default_dynamic
print(list(allocate(default_dynamic(), {"P": [9]}, {"A": [4], "B": [8]}).allocated.values()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "[array('q', [3]), array('q', [6])]\n", done.stderr
