"""One scenario on every engine: the contract is the reference, to the byte of ``slots.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from node.chain.engines.anvil import find_anvil
from node.errors import ConfigurationError
from node.market.clearing import clear
from node.model import Order, PriceGrid, Side
from simulations.outcome import RunOutcome
from simulations.scenario import Scenario, StrategyChoice
from tests.support.homes import run_scenario, slot_lines, some_homes, write_homes
from tests.support.shared import shared_path

MIXED: Final = {
    "home-1": StrategyChoice("adaptive"),
    "home-2": StrategyChoice("linear-scarcity", {"window": 2}),
    "home-3": StrategyChoice("zero-intelligence"),
    "home-4": StrategyChoice("zero-intelligence", {"buyer_value": 20_000}),
}

CHAINS: Final = ["embedded", "anvil"]


def on(chain: str) -> str:
    """An engine's name; skips where it is not on this machine."""
    if chain == "anvil":
        try:
            find_anvil()
        except ConfigurationError as error:
            pytest.skip(error.message)
    return chain


def flawless(outcome: RunOutcome) -> RunOutcome:
    assert outcome.energy_error_wh == 0
    assert outcome.money_error_units == 0
    return outcome


@pytest.fixture
def agree(tmp_path: Path) -> Callable[[Scenario, str], tuple[RunOutcome, Path]]:
    """Run a scenario on the reference and on a chain; returns the reference's outcome and folder
    after holding the chain's against it."""

    def run_both(scenario: Scenario, chain: str) -> tuple[RunOutcome, Path]:
        reference, folder = tmp_path / "reference", tmp_path / chain
        known = flawless(run_scenario(replace(scenario, chain="reference"), reference))
        found = flawless(run_scenario(replace(scenario, chain=on(chain)), folder))
        assert (folder / "slots.jsonl").read_bytes() == (reference / "slots.jsonl").read_bytes()
        assert found.homes == known.homes
        assert found.flows == known.flows
        assert found.biggest_trades == known.biggest_trades
        assert found.chain.engine == chain
        assert found.chain.gas_used > 0
        return known, reference

    return run_both


Agree = Callable[[Scenario, str], tuple[RunOutcome, Path]]


def test_a_measured_day_of_twelve_homes_is_the_same_on_the_contract(agree: Agree) -> None:
    data = shared_path("data/simbench12-june")
    known, folder = agree(Scenario(data=data, days=1), "embedded")
    lines = slot_lines(folder)
    assert len(known.homes) == 12
    assert len(lines) == 96
    # On a June day both seasons of a market occur: surplus at noon, scarcity in the morning.
    assert {line["price"] for line in lines} >= {4_000, 26_300}


@pytest.mark.parametrize("chain", CHAINS)
def test_with_a_network_fee_and_every_strategy(tmp_path: Path, agree: Agree, chain: str) -> None:
    data = write_homes(tmp_path / "data", some_homes(5, 10))
    scenario = Scenario(data=data, network_fee=150, strategies=MIXED, seed=7)
    known, folder = agree(scenario, chain)
    assert {home.strategy for home in known.homes} == {
        *("adaptive", "linear-scarcity", "zero-intelligence", "fixed-reserve")
    }
    bought = sum(home.bought_wh for home in known.homes)
    paid, earned = (
        sum(getattr(home, units) for home in known.homes)
        for units in ("paid_units", "earned_units")
    )
    assert bought > 0
    assert paid - earned == bought * 150
    prices = {line["price"] for line in slot_lines(folder)}
    assert len(prices) > 3


@pytest.mark.parametrize("chain", CHAINS)
def test_with_slots_longer_than_the_steps_and_both_sides_in_one(
    tmp_path: Path, agree: Agree, chain: str
) -> None:
    """In the first hour home a draws 300 Wh in one step and feeds in 200 Wh in another."""
    homes = {
        "a": [(300, 0), (100, 300), (0, 0), (50, 50)] + [(10, 0)] * 4,
        "b": [(500, 0)] * 8,
        "c": [(0, 100), (0, 100), (100, 0), (100, 0)] + [(0, 10)] * 4,
    }
    data = write_homes(tmp_path / "data", homes)
    _, folder = agree(Scenario(data=data, slot_s=3_600), chain)
    first, second = slot_lines(folder)
    sides = [(o["household"], o["side"], o["energy_wh"]) for o in first["orders"]]
    assert sides == [
        ("a", "ask", 200),
        ("a", "bid", 300),
        ("b", "bid", 2_000),
        ("c", "ask", 200),
        ("c", "bid", 200),
    ]
    assert first["matched_wh"] == 400
    assert (second["matched_wh"], len(second["orders"])) == (40, 3)


@pytest.mark.parametrize("chain", CHAINS)
def test_with_slots_in_which_nobody_orders_and_some_in_which_nothing_trades(
    tmp_path: Path, agree: Agree, chain: str
) -> None:
    homes = {
        "a": [(100, 0), (0, 0), (0, 300), (0, 0), (200, 0), (0, 0)],
        "b": [(50, 0), (0, 0), (0, 100), (0, 0), (0, 200), (0, 0)],
    }
    data = write_homes(tmp_path / "data", homes)
    known, folder = agree(Scenario(data=data), chain)
    lines = slot_lines(folder)
    assert [line["matched_wh"] for line in lines] == [0, 0, 0, 0, 200, 0]
    assert [line["price"] for line in lines] == [None, None, None, None, 15_150, None]
    assert [len(line["orders"]) for line in lines] == [2, 0, 2, 0, 2, 0]
    assert known.orders == 6


def test_a_band_of_one_price_shares_pro_rata(tmp_path: Path, agree: Agree) -> None:
    homes = {"a": [(0, 100)] * 2, "b": [(100, 0)] * 2, "c": [(200, 0)] * 2}
    data = write_homes(tmp_path / "data", homes)
    _, folder = agree(Scenario(data=data, grid=PriceGrid(9_000, 100, 1)), "embedded")
    for line in slot_lines(folder):
        assert line["price"] == 9_000
        assert [o["filled_wh"] for o in line["orders"]] == [100, 33, 67]


def test_the_same_seed_is_the_same_run(tmp_path: Path) -> None:
    """Prices that are drawn, registers that begin anywhere: all of it comes from the seed."""
    data = write_homes(tmp_path / "data", some_homes(4, 24))

    def lines(seed: int, name: str) -> bytes:
        scenario = Scenario(data=data, seed=seed, strategy=StrategyChoice("zero-intelligence"))
        run_scenario(scenario, tmp_path / name)
        return (tmp_path / name / "slots.jsonl").read_bytes()

    first = lines(5, "one")
    assert lines(5, "two") == first
    assert lines(6, "three") != first


def test_what_is_written_is_what_happened(tmp_path: Path) -> None:
    """``slots.jsonl`` cleared again by the reference, added up, is ``results.json``."""
    data = write_homes(tmp_path / "data", some_homes(6, 20, seed=3))
    outcome = flawless(run_scenario(Scenario(data=data, network_fee=70), tmp_path / "run"))
    lines = slot_lines(tmp_path / "run")
    for line in lines:
        book = sorted(line["orders"], key=lambda o: int(o["seq"]))
        again = clear(
            [
                Order(i, line["slot"], Side[o["side"].upper()], o["energy_wh"], o["limit_price"])
                for i, o in enumerate(book)
            ]
        )
        assert (again.price, again.matched_wh) == (line["price"], line["matched_wh"])
        assert [o["filled_wh"] for o in book] == list(again.filled_wh)
        for o in book:
            unit = -((line["price"] or 0) + 70) if o["side"] == "bid" else (line["price"] or 0)
            assert o["amount"] == o["filled_wh"] * unit
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["traded_wh"] == sum(line["matched_wh"] for line in lines) > 0
    assert results["orders"] == sum(len(line["orders"]) for line in lines) == outcome.orders
    assert results["slots"] == len(lines) == 20
    own_wh = results["load_wh"] - results["import_wh"]
    shared_wh = own_wh + results["traded_wh"]
    assert results["self_sufficiency_pct"] == round(100 * shared_wh / results["load_wh"], 3)
    assert results["self_consumption_pct"] == round(100 * shared_wh / results["pv_wh"], 3)
    assert results["no_market"]["self_sufficiency_pct"] == round(
        100 * own_wh / results["load_wh"], 3
    )


def test_fixed_reserves_trade_all_that_can_be_traded(tmp_path: Path) -> None:
    """Floor and cap always cross: in each slot the shorter side trades whole."""
    data = write_homes(tmp_path / "data", some_homes(7, 30, seed=11))
    run_scenario(Scenario(data=data), tmp_path / "run")
    for line in slot_lines(tmp_path / "run"):
        side_wh = {"ask": 0, "bid": 0}
        for order in line["orders"]:
            side_wh[order["side"]] += order["energy_wh"]
        assert line["matched_wh"] == min(side_wh.values())


@pytest.mark.slow
def test_a_year_of_seventeen_homes_reaches_the_ceiling_of_perfect_sharing(tmp_path: Path) -> None:
    outcome = flawless(run_scenario(Scenario(data=shared_path("data/fontana17")), tmp_path / "run"))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert len(outcome.flows) == 8_760
    assert round(results["no_market"]["self_sufficiency_pct"], 2) == 33.91
    assert round(results["self_sufficiency_pct"], 2) == 44.34
