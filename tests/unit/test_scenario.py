"""Scenario files: what they say is taken, and whatever is wrong is named with its line."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from node.errors import ConfigurationError
from node.market.strategies import AdaptivePrice, FixedReserve, ZeroIntelligenceConstrained
from node.model import MarketRules, PriceGrid
from simulations.outcome import Tariffs
from simulations.scenario import (
    FEE_RECIPIENT,
    Scenario,
    StrategyChoice,
    parse_chain,
    parse_start,
    price_grid,
    read_scenario,
    scenario_text,
)

WHOLE = """\
title = "our street"
seed = 42
chain = "embedded"

[market]
slot = "30m"
gate = "10m"
floor_price = 5000
cap_price = 20000
tick_size = 500
network_fee = 1200

[tariffs]
feed_in = 4000
retail = 30_000

[homes]
data = "curves"
count = 8
days = 2
strategy = "fixed-reserve"
parameters = { ask_price = 6000 }

[homes.of."home-03"]
strategy = "adaptive"
parameters = { window = 8, alpha = 0.5 }
"""


def scenario_of(tmp_path: Path, text: str) -> Scenario:
    path = tmp_path / "street.toml"
    path.write_text(text)
    return read_scenario(path)


def test_a_whole_file_is_taken_as_it_stands(tmp_path: Path) -> None:
    assert scenario_of(tmp_path, WHOLE) == Scenario(
        title="our street",
        seed=42,
        chain="embedded",
        slot_s=1_800,
        gate_s=600,
        grid=PriceGrid(5_000, 500, 31),
        network_fee=1_200,
        tariffs=Tariffs(4_000, 30_000),
        data=tmp_path / "curves",  # beside the file, not beside whoever reads it
        homes=8,
        days=2,
        strategy=StrategyChoice("fixed-reserve", {"ask_price": 6_000}),
        strategies={"home-03": StrategyChoice("adaptive", {"window": 8, "alpha": 0.5})},
    )


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert scenario_of(tmp_path, "") == Scenario()


def test_each_home_has_its_own_strategy_or_the_common_one(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, WHOLE)
    assert scenario.strategy_of("home-03") == AdaptivePrice(window=8, alpha=0.5)
    assert scenario.strategy_of("home-04") == FixedReserve(ask_price=6_000)


def test_a_home_that_names_parameters_only_keeps_the_common_strategy(tmp_path: Path) -> None:
    text = (
        '[homes]\nstrategy = "zero-intelligence"\n[homes.of.a]\nparameters = {seller_cost = 5000}'
    )
    scenario = scenario_of(tmp_path, text)
    assert scenario.strategy_of("a") == ZeroIntelligenceConstrained(seller_cost=5_000)


@pytest.mark.parametrize("text", [WHOLE, "", "[homes]\nstart = '2027-01-02'\ndays = 3\n"])
def test_what_a_run_leaves_behind_repeats_it(tmp_path: Path, text: str) -> None:
    scenario = scenario_of(tmp_path, text)
    left = scenario_text(scenario, scenario.rules(1_800))
    again = scenario_of(tmp_path, left)
    assert again.rules(1_800) == scenario.rules(1_800)
    told = {"slot_s": 1_800, "gate_s": again.gate_s, "start": again.start}
    assert again == replace(scenario, **told)  # type: ignore[arg-type] # filled-in defaults
    assert tomllib.loads(left)["seed"] == scenario.seed


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("seed = \n", 1, "not valid TOML"),
        ("seed = 1\nseed = 2\n", 2, "not valid TOML"),
        ("\nsede = 1\n", 2, "unknown key 'sede' in the top of the file"),
        ("[market]\nslots = '15m'\n", 2, "unknown key 'slots' in [market]"),
        ("[homes.of.a]\n\nstrategie = 'adaptive'\n", 3, "unknown key 'strategie' in [homes.of]"),
        ("seed = 'one'\n", 1, "seed = 'one' is not a whole number"),
        ("seed = 1.5\n", 1, "is not a whole number"),
        ("seed = true\n", 1, "is not a whole number"),
        ("title = 5\n", 1, "title = 5 is not text"),
        ("market = 5\n", 1, "market = 5 is not a table"),
        ("chain = 'ganache'\n", 1, "there is no chain engine 'ganache'"),
        ("[market]\nslot = '15 minutes'\n", 2, "not a duration"),
        ("[market]\nslot = '0m'\n", 2, "a duration of zero"),
        ("[market]\n\ngate = '-5m'\n", 3, "not a duration"),
        ("[market]\nfloor_price = -1\n", 2, "floor_price = -1 is below 0"),
        ("[market]\nfloor_price = 0\ncap_price = 1000\n", 3, "floor price 0 is not above 0"),
        ("[market]\ncap_price = 26350\n", 2, "not on a grid of 100"),
        ("[market]\ncap_price = 3000\n", 2, "not on a grid"),
        ("[market]\ncap_price = 26400\n", 2, "a grid has 1 to 224"),
        ("[market]\ntick_size = 99\ncap_price = 4990\n", 3, "not a positive even number"),
        ("[market]\nnetwork_fee = -5\n", 2, "network_fee = -5 is below 0"),
        ("[tariffs]\nretail = -5\n", 2, "retail = -5 is below 0"),
        ("[homes]\ncount = 0\n", 2, "count = 0 is below 1"),
        ("[homes]\ndays = -1\n", 2, "days = -1 is below 1"),
        ("[homes]\nstart = 'midsummer'\n", 2, "midsummer"),
        ("[homes]\nstart = 2026-06-19\n", 2, "is not text"),
        ("[homes]\nstrategy = 'greedy'\n", 2, "unknown strategy 'greedy'"),
        ("[homes]\nparameters = { ask_prise = 5000 }\n", None, "did you mean ask_price?"),
        ("[homes.parameters]\nask_price = 'low'\n", 2, "ask_price = 'low' is not a number"),
        (
            "[homes]\nstrategy = 'adaptive'\n\n[homes.of.a]\nstrategy = 'greedy'\n",
            5,
            "unknown strategy 'greedy'",
        ),
        (
            "[homes.of.a]\nstrategy = 'adaptive'\n[homes.of.'b b']\nstrategy = 'greedy'\n",
            4,
            "unknown strategy 'greedy'",
        ),
        ("[homes.of]\na = 5\n", None, "5 is not a table"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, text: str, line: int | None, says: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        scenario_of(tmp_path, text)
    assert says in caught.value.message
    assert caught.value.file == tmp_path / "street.toml"
    if line is not None:
        assert caught.value.line == line


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_scenario(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'title = "M\xe9jean"')
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read_scenario(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        (Scenario(tariffs=Tariffs(feed_in=4_000)), "not above the feed-in tariff"),
        (Scenario(tariffs=Tariffs(retail=26_300)), "not below the retail tariff"),
        (Scenario(network_fee=1_700), "not below the retail tariff"),
    ],
)
def test_a_band_in_which_trading_is_worth_nothing_is_refused(scenario: Scenario, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        scenario.rules(900)


def test_the_default_gate_fits_into_short_slots() -> None:
    assert Scenario().rules(900).gate_s == 300
    assert Scenario().rules(20).gate_s == 10
    assert Scenario(gate_s=60).rules(900).gate_s == 60


def test_fees_have_a_recipient_of_their_own() -> None:
    assert Scenario(network_fee=10).rules(900).fee_recipient == FEE_RECIPIENT
    assert Scenario().rules(900) == MarketRules()


@pytest.mark.parametrize(
    "chain", ["reference", "embedded", "anvil", "http://127.0.0.1:8545", "https://node.example"]
)
def test_engines_and_urls_are_chains(chain: str) -> None:
    assert parse_chain(chain) == chain


def test_a_start_is_the_beginning_of_a_day_in_utc() -> None:
    assert parse_start("1970-01-02") == 86_400
    assert parse_start("2016-06-01") == 1_464_739_200


def test_a_cap_stands_on_the_grid() -> None:
    assert price_grid(4_000, 26_300, 100) == PriceGrid()
    assert price_grid(9_000, 9_000, 100) == PriceGrid(9_000, 100, 1)
    for floor, cap, tick in ((4_000, 4_050, 100), (4_000, 3_900, 100), (4_000, 5_000, 0)):
        with pytest.raises(ConfigurationError):
            price_grid(floor, cap, tick)
