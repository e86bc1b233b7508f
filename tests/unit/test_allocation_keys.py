"""Each key by an example that can be checked by hand, and keys from files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from node.billing.allocation import SCALE, Key, allocate
from node.billing.keys import (
    KINDS,
    default_dynamic,
    directed_gift,
    equal_shares,
    full_dynamic,
    hybrid,
    key_from,
    market,
    parse_factor,
    priority,
    producer_order,
    read_key,
    simple_dynamic,
    static,
    static_redistributed,
    virtual,
)
from node.errors import ConfigurationError
from tests.support.shared import CHECKOUT

FOUR = ("A", "B", "C", "D")
QUARTERS = dict.fromkeys(FOUR, SCALE // 4)
NEEDS = {"A": 100, "B": 300, "C": 400, "D": 500}
"""Of 1,000 Wh in quarters, A cannot take 150."""

TWO_ROUNDS = """
kind = "rounds"
[[rounds]]
part = "0.6"
of_whole = true
[rounds.coefficients]
C = "0.5"
D = "0.5"
[[rounds]]
consumers = ["A", "B"]
"""


def allocated(key: Key, production: int | dict[str, int], needs: dict[str, int]) -> dict[str, int]:
    made = {"P": production} if isinstance(production, int) else production
    allocation = allocate(
        key,
        {point: [wh] for point, wh in made.items()},
        {point: [wh] for point, wh in needs.items()},
    )
    return {point: curve[0] for point, curve in allocation.allocated.items()}


def test_belgian_one_round_leaves_the_unused_part() -> None:
    assert allocated(equal_shares(FOUR), 1_000, NEEDS) == {"A": 100, "B": 250, "C": 250, "D": 250}


def test_belgian_several_rounds_give_the_unused_part_to_the_other_three() -> None:
    """150 Wh in three: B, C and D get 50 more each, and B is satisfied exactly."""
    taken = allocated(static_redistributed(QUARTERS), 1_000, NEEDS)
    assert taken == {"A": 100, "B": 300, "C": 300, "D": 300}


def test_several_rounds_go_on_until_exhausted() -> None:
    """Of 1,200 Wh: 300 each, A leaves 200; B takes none, C and D share; C takes 400 at most."""
    taken = allocated(static_redistributed(QUARTERS), 1_200, NEEDS)
    assert taken == {"A": 100, "B": 300, "C": 400, "D": 400}
    assert allocated(static_redistributed(QUARTERS), 5_000, NEEDS) == NEEDS


def test_hybrid_gives_the_unused_part_pro_rata_of_what_is_needed_still() -> None:
    """150 Wh left; B still needs 50, C 150, D 250: 16.67, 50, 83.33."""
    taken = allocated(hybrid(QUARTERS), 1_000, NEEDS)
    assert taken == {"A": 100, "B": 267, "C": 300, "D": 333}


def test_what_no_coefficient_covers_is_never_redistributed() -> None:
    shares = {"A": 300_000, "B": 600_000}
    taken = allocated(static_redistributed(shares), 1_000, {"A": 0, "B": 2_000})
    assert taken == {"A": 0, "B": 900}


def test_static_shares_are_rounded_down() -> None:
    thirds = {"A": 333_333, "B": 333_333, "C": 333_334}
    taken = allocated(static(thirds), 100, {"A": 50, "B": 50, "C": 50})
    assert taken == {"A": 33, "B": 33, "C": 33}


def test_priority_serves_class_by_class() -> None:
    key = priority([["A", "B"], ["C"], ["D"]])
    assert allocated(key, 300, NEEDS) == {"A": 75, "B": 225, "C": 0, "D": 0}
    assert allocated(key, 600, NEEDS) == {"A": 100, "B": 300, "C": 200, "D": 0}


def test_who_stands_in_no_class_gets_nothing() -> None:
    assert allocated(priority([["A"]]), 1_000, NEEDS) == {"A": 100, "B": 0, "C": 0, "D": 0}


def test_a_home_gives_its_surplus_to_the_school() -> None:
    """The home's 300 Wh go to the school before anybody shares the roof's 700."""
    key = directed_gift({"home": ["school"]})
    production = {"home": 300, "roof": 700}
    needs = {"flat": 600, "school": 400}
    allocation = allocate(
        key,
        {point: [wh] for point, wh in production.items()},
        {point: [wh] for point, wh in needs.items()},
    )
    assert allocation.matrix(0) == [[0, 300], [600, 100]]


def test_what_the_school_leaves_goes_on_by_the_other_key() -> None:
    key = directed_gift({"home": ["school"]}, then=static({"flat": SCALE // 2}))
    assert allocated(key, {"home": 500}, {"flat": 900, "school": 100}) == {
        "flat": 200,
        "school": 100,
    }


def test_a_roof_serves_its_own_house_first() -> None:
    """Own buildings, then tenants; the second roof has another order."""
    key = producer_order({"P1": [["A"], ["B"]], "P2": [["C"], ["B", "C"]]})
    allocation = allocate(key, {"P1": [100], "P2": [100]}, {"A": [60], "B": [70], "C": [40]})
    assert allocation.matrix(0) == [[60, 40, 0], [0, 30, 40]]
    assert list(allocation.surplus("P2")) == [30]


def test_simple_dynamic_follows_its_step() -> None:
    key = simple_dynamic({"A": [SCALE, 0], "B": [0, SCALE // 2]})
    allocation = allocate(key, {"P": [100, 100]}, {"A": [80, 80], "B": [80, 80]})
    assert [list(curve) for curve in allocation.allocated.values()] == [[80, 0], [0, 50]]


def test_full_dynamic_reduces_what_producers_bring_too_much() -> None:
    """P1 brings 100, P2 brings 50, A takes 90: two thirds and one third."""
    key = full_dynamic({"P1": {"A": SCALE}, "P2": {"A": SCALE // 2, "B": SCALE // 2}})
    allocation = allocate(key, {"P1": [100], "P2": [100]}, {"A": [90], "B": [20]})
    assert allocation.matrix(0) == [[60, 0], [30, 20]]


def test_virtual_sharing_is_the_smaller_of_both_sums() -> None:
    assert sum(allocated(virtual(), 200, NEEDS).values()) == 200
    assert sum(allocated(virtual(), 9_000, NEEDS).values()) == 1_300


def test_what_the_market_filled_stands_as_it_is() -> None:
    """The measures decide what is surplus and complement, the fills who got what."""
    key = market({"roof": [500, 0]}, {"flat": [300, 0], "mill": [200, 0]})
    allocation = allocate(
        key, {"roof": [800, 90]}, {"flat": [350, 10], "mill": [200, 10], "shed": [70, 10]}
    )
    assert allocation.matrix(0) == [[300, 200, 0]]
    assert list(allocation.surplus("roof")) == [300, 90]
    assert [list(allocation.complement(point)) for point in ("flat", "mill", "shed")] == [
        [50, 10],
        [0, 10],
        [70, 10],
    ]


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "vector"])
@pytest.mark.parametrize(
    ("key", "message"),
    [
        (market({"P": [51]}, {"A": [51]}), "more Wh were stated than measured"),
        (market({"P": [41]}, {"A": [41]}), "more Wh were stated than measured"),
        (market({"P": [5]}, {"A": [4]}), "5 Wh were given and 4 taken"),
        (market({"P": [5, 5]}, {"A": [5, 5]}), "no Wh for each of 1 steps"),
        (market({"P": [-1]}, {"A": [-1]}), "no Wh for each of 1 steps"),
        (market({"Q": [1]}, {"A": [1]}), "no producer"),
    ],
)
def test_fills_that_the_measures_do_not_bear_are_refused(
    key: Key, message: str, *, plain: bool
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        allocate(key, {"P": [50]}, {"A": [40]}, plain=plain)


@pytest.mark.parametrize(
    ("text", "factor"),
    [("0", 0), ("1", SCALE), ("1,000000", SCALE), ("0.4", 400_000), ("0,333333", 333_333)],
)
def test_factors_are_read_exactly(text: str, factor: int) -> None:
    assert parse_factor(text) == factor


@pytest.mark.parametrize("text", ["", "40", "0.3333333", "1.1", "-0.1", "4e-1", "0.", "nan", ".5"])
def test_a_factor_is_never_guessed(text: str) -> None:
    with pytest.raises(ValueError, match=r"factor|more than 1"):
        parse_factor(text)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('kind = "default_dynamic"', {"A": 77, "B": 231, "C": 308, "D": 384}),
        ('kind = "virtual"', {"A": 77, "B": 231, "C": 308, "D": 384}),
        ('kind = "priority"\norder = [["D"], ["A", "B"]]', {"A": 100, "B": 300, "C": 0, "D": 500}),
        ('kind = "equal"\nconsumers = ["A", "B"]', {"A": 100, "B": 300, "C": 0, "D": 0}),
        ('kind = "static"\n[coefficients]\nA = "0.05"\nC = "0,9"', {"A": 50, "C": 400}),
        ('kind = "hybrid"\n[coefficients]\nD = "1"', {"A": 63, "B": 187, "C": 250, "D": 500}),
        (
            'kind = "static_redistributed"\n[coefficients]\nA = "0.9"\nB = "0.1"',
            {"A": 100, "B": 300},
        ),
        ('kind = "directed_gift"\n[gifts]\nP = ["C"]', {"A": 67, "B": 200, "C": 400, "D": 333}),
        ('kind = "producer_order"\n[orders]\nP = [["B"], ["A"]]', {"A": 100, "B": 300}),
        ('kind = "full_dynamic"\n[coefficients.P]\nB = "0.5"', {"B": 300}),
        (
            TWO_ROUNDS,
            {"A": 100, "B": 300, "C": 300, "D": 300},
        ),
    ],
)
def test_a_key_is_read_from_a_file(written: str, expected: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "key.toml"
    path.write_text(written, encoding="utf-8")
    assert allocated(read_key(path), 1_000, NEEDS) == {**dict.fromkeys(FOUR, 0), **expected}


def test_the_key_files_that_the_document_shows_can_be_read(tmp_path: Path) -> None:
    text = (CHECKOUT / "docs" / "allocation.md").read_text(encoding="utf-8")
    path = tmp_path / "key.toml"
    shown = re.findall(r"^```text\n(kind = .*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(shown) >= 4
    for block in shown:
        path.write_text(block, encoding="utf-8")
        assert read_key(path).name in block
    assert {f"`{kind}`" for kind in KINDS} <= set(re.findall(r"`\w+`", text))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "no key is called None"),
        ('kind = "fair"', "no key is called 'fair'"),
        ("kind = ", "not TOML"),
        ('kind = "static"', "needs a table"),
        ('kind = "static"\n[coefficients]\nA = 0.4', "in quotes"),
        ('kind = "static"\n[coefficients]\nA = "40%"', "no factor"),
        ('kind = "priority"\norder = "A"', "list of lists"),
        ('kind = "priority"\norder = ["A"]', "not a list of delivery points"),
        ('kind = "equal"\nconsumers = [1]', "in quotes"),
        ('kind = "directed_gift"', "needs a table"),
        ('kind = "rounds"', "needs a list"),
        ('kind = "rounds"\n[[rounds]]\nweight = 1', "fields"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_refused(
    written: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "key.toml"
    path.write_text(written, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_key(path)
    assert str(path) in str(caught.value)


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml"):
        read_key(tmp_path / "absent.toml")


def test_the_default_key_needs_nothing() -> None:
    assert key_from({"kind": "default_dynamic"}) == default_dynamic()
