from __future__ import annotations

import json
from dataclasses import replace

import pytest

from simulations.outcome import ChainUse, HomeOutcome, RunOutcome, SlotFlow, Tariffs
from simulations.results import mean_price, results_document
from tests.support.outcomes import neighbourhood

FIELDS_OF_DESIGN = {
    "homes", "slots", "orders", "load_wh", "pv_wh", "import_wh", "export_wh", "traded_wh",
    "self_sufficiency_pct", "self_consumption_pct", "no_market", "mean_price", "savings_eur",
    "energy_error_wh", "money_error_units", "chain", "cpu_s", "wall_s", "peak_rss_mb", "seed",
    "version",
}  # fmt: skip


def two_homes() -> RunOutcome:
    """Anna has a roof, Ben has none: 400 Wh of 1,500 Wh change hands, at two prices."""
    flows = (
        SlotFlow(0, 0, 1_000, 900, 300, 700, 600, 300, 10_000),
        SlotFlow(1, 900, 500, 100, 0, 500, 100, 100, 20_000),
    )
    homes = (
        HomeOutcome("anna", "fixed", 300, 1_000, 300, 0, 700, 0, 400, 0, 5_000_000, 3_800_000),
        HomeOutcome("ben", "fixed", 1_200, 0, 0, 1_200, 0, 400, 0, 5_000_000, 0, 6_200_000),
    )
    chain = ChainUse("embedded", 4, 6, 1_234_567)
    return RunOutcome(
        "two", 900, 7, "0.1.0", Tariffs(), 0, 4_000, 26_300, flows, homes, (), 4, 0, 0, chain,
        1.23456, 2.34567, 98.76,
    )  # fmt: skip


def test_the_document_has_the_promised_fields_and_two_more() -> None:
    assert set(results_document(two_homes())) == FIELDS_OF_DESIGN | {"schema", "households"}


def test_energy_is_summed_and_set_in_proportion() -> None:
    document = results_document(two_homes())
    sums = [document[key] for key in ("load_wh", "pv_wh", "import_wh", "export_wh", "traded_wh")]
    assert sums == [1_500, 1_000, 1_200, 700, 400]
    assert document["self_sufficiency_pct"] == 46.667
    assert document["self_consumption_pct"] == 70.0
    assert document["no_market"] == {"self_sufficiency_pct": 20.0, "self_consumption_pct": 30.0}


def test_the_mean_price_is_that_of_the_average_wh_traded() -> None:
    assert results_document(two_homes())["mean_price"] == 12_500


def test_savings_are_exact_to_the_unit() -> None:
    homes = two_homes().homes
    odd = replace(two_homes(), homes=(replace(homes[0], savings_units=3_800_001), homes[1]))
    assert results_document(odd)["savings_eur"] == {
        "total": 0.10000001,
        "min": 0.03800001,
        "median": 0.050000005,
        "max": 0.062,
    }


def test_a_home_stands_under_its_name_with_integers_in_base_units() -> None:
    households = results_document(two_homes())["households"]
    assert isinstance(households, list)
    assert [home["name"] for home in households] == ["anna", "ben"]
    assert households[1]["paid_units"] == 5_000_000
    assert households[1]["self_sufficiency_pct"] == 33.333
    assert households[1]["self_consumption_pct"] is None


def test_percentages_of_nothing_are_null() -> None:
    document = results_document(neighbourhood(producers=0))
    assert document["self_sufficiency_pct"] == 0.0
    assert document["self_consumption_pct"] is None
    assert document["no_market"] == {"self_sufficiency_pct": 0.0, "self_consumption_pct": None}
    assert document["mean_price"] is None


def test_a_run_of_nothing_is_still_a_document() -> None:
    document = results_document(replace(two_homes(), flows=(), homes=()))
    assert document["load_wh"] == 0
    assert document["self_sufficiency_pct"] is None
    assert document["savings_eur"] == {"total": 0.0, "min": None, "median": None, "max": None}


def test_the_document_is_json_and_the_same_every_time() -> None:
    first = json.dumps(results_document(two_homes()), sort_keys=True, allow_nan=False)
    assert first == json.dumps(results_document(two_homes()), sort_keys=True, allow_nan=False)
    assert json.loads(first)["chain"] == {
        "engine": "embedded", "blocks": 4, "transactions": 6, "gas_used": 1_234_567,
    }  # fmt: skip


@pytest.mark.parametrize("homes", [1, 8])
def test_homes_and_slots_tell_the_same_sums(homes: int) -> None:
    outcome = neighbourhood(homes=homes)
    document = results_document(outcome)
    assert document["load_wh"] == sum(home.load_wh for home in outcome.homes)
    assert document["traded_wh"] == sum(home.bought_wh for home in outcome.homes)


def test_a_price_without_volume_weighs_nothing() -> None:
    assert mean_price([SlotFlow(0, 0, 1, 1, 0, 1, 1, 0, 5_000)]) is None
