"""The market's own allocation from a run to bills: reduced, kept, and corrected later."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.billing.archive import Archive
from node.billing.claims import Series
from node.billing.in_force import TakenRuling
from node.model import Side
from node.slots import iso_utc
from node.store import LedgerDatabase
from tests.support.honest_market import FEE_RULES, NAMES, SCARCE, SLOT, HonestMarket
from tests.support.market_street import (
    OCTOBER,
    STEPS,
    MarketStreet,
    Measures,
    document,
    market_street,
)


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> MarketStreet:
    return market_street(tmp_path_factory.mktemp("street") / "made")


@pytest.fixture
def street(traded: MarketStreet, tmp_path: Path) -> MarketStreet:
    """A street of its own for each test."""
    shutil.copytree(traded.folder, tmp_path / "street")
    return MarketStreet(tmp_path / "street")


def measures(street: MarketStreet) -> Measures:
    """Every point as its node had read it."""
    return street.sums("energy_wh")


def fullest(street: MarketStreet, prefix: str, without: int = -1) -> tuple[str, int]:
    """The point and step with the most Wh filled, one step left out."""
    filled = street.sums("filled_wh")
    here = [key for key in filled if key[0].startswith(prefix) and key[1] != without]
    return max(here, key=lambda key: (filled[key], key))


def check_conserved(street: MarketStreet, revision: int = 1) -> None:
    """Per point and step: 0 <= allocated <= measured; per step, what was given was taken."""
    given, taken = street.table("given.csv", revision), street.table("allocated.csv", revision)
    for made, of in ((given, "production.csv"), (taken, "consumption.csv")):
        for point, whole in street.table(of, revision).items():
            assert all(0 <= a <= w for a, w in zip(made[point], whole, strict=True)), point
    steps = zip(zip(*given.values(), strict=True), zip(*taken.values(), strict=True), strict=True)
    assert all(sum(sold) == sum(bought) for sold, bought in steps)


def reconciled(street: MarketStreet) -> dict[str, int]:
    """Wh after correction by point, as ``supplier reconcile`` tells."""
    told = document(
        street.supplier(
            *("reconcile", "--month", "2025-10", "--curves", street.folder / "curves.db"),
            *(*street.source, "--json"),
        )
    )
    prefix = {"ask": "3000000000000", "bid": "4000000000000"}
    return {
        f"{prefix[item['side']]}{item['household']}": item["corrected_wh"]
        for item in told["totals"]
    }


def allocated(street: MarketStreet, revision: int = 1, bills: str = "bills") -> dict[str, int]:
    tables = (street.table(name, revision, bills) for name in ("given.csv", "allocated.csv"))
    return {point: sum(values) for table in tables for point, values in table.items()}


def energy_lines(street: MarketStreet, revision: int = 1, bills: str = "bills") -> list[Any]:
    path = street.folder / bills / "2025-10" / str(revision) / "bills.json"
    return [
        (line["seller"], line["buyer"], line["quantity"], line["amount_cents"])
        for bill in json.loads(path.read_text())["bills"]
        if bill["kind"] == "consumer"
        for line in bill["lines"]
    ]


def test_what_the_market_filled_is_billed_after_the_operator_has_reduced_it(
    street: MarketStreet,
) -> None:
    filled = street.sums("filled_wh")
    buyer, step = fullest(street, "4")
    official = measures(street) | {(buyer, step): filled[buyer, step] // 2}
    street.measured(1, official)
    assert document(street.month(*street.source))["months"][0]["outcome"] == "billed"

    check_conserved(street)
    table = street.table("allocated.csv")
    assert table[buyer][step] == filled[buyer, step] // 2
    for (point, at), wh in filled.items():
        if at != step and point in table:
            assert table[point][at] == wh, "what was read right is billed as it was filled"
    assert {p: wh for p, wh in allocated(street).items() if wh} == {
        p: wh for p, wh in reconciled(street).items() if wh
    }
    kept = street.bills / "2025-10" / "1"
    assert (kept / "key.toml").read_text() == 'kind = "market"\n'
    stated = street.table("market_taken.csv")
    assert sum(stated[buyer]) == sum(wh for (p, _), wh in filled.items() if p == buyer)
    found = json.loads((kept / "bills.json").read_text())
    assert found["balance_cents"] == 0
    assert sum(wh for _, _, wh, _ in energy_lines(street) if wh) > 0

    # Days, not a timer: the same curves and the same market make the same lines.
    made = street.supplier(
        *("bills", "--operation", street.folder / "street.toml", "--month", "2025-10", "--json"),
        *("--curves", street.folder / "curves.db", "--key", street.folder / "key.toml"),
        *street.source,
    )
    assert document(made)["bills"] == found["bills"]


def test_the_month_is_kept_without_the_chain_and_a_late_curve_opens_its_steps_only(
    street: MarketStreet,
) -> None:
    filled = street.sums("filled_wh")
    buyer, step = fullest(street, "4")
    seller, other = fullest(street, "3", without=step)
    official = measures(street) | {(buyer, step): filled[buyer, step] // 2}
    street.measured(1, official)
    document(street.month(*street.source))
    before = street.files()
    shutil.rmtree(street.run)
    for day in ("2025-11-03", "2025-11-04"):
        assert document(street.month(day=day))["months"][0]["outcome"] == "unchanged"
    assert street.files() == before

    late = official | {(buyer, step): filled[buyer, step], (seller, other): 1}
    street.measured(2, late)
    again = document(street.month(day="2025-11-05"))["months"][0]
    assert (again["outcome"], again["revision"], again["reopened_steps"]) == ("billed", 2, 2)
    check_conserved(street, 2)
    table = street.table("allocated.csv", 2)
    assert table[buyer][step] == filled[buyer, step], "what the chain filled, whole again"
    assert street.table("given.csv", 2)[seller][other] == 1, "below what was stated"
    for name in ("given.csv", "allocated.csv"):
        rows, now = (
            (street.bills / "2025-10" / n / name).read_text().splitlines()[1:] for n in "12"
        )
        changed = {n for n, pair in enumerate(zip(rows, now, strict=True)) if pair[0] != pair[1]}
        assert changed == {step, other}
    notes = json.loads((street.bills / "2025-10" / "2" / "notes.json").read_text())["notes"]
    assert notes
    assert sum(note["amount_cents"] for note in notes if not note["advice"]) == 0


def test_a_correction_comes_to_what_the_whole_month_anew_comes_to(street: MarketStreet) -> None:
    filled = street.sums("filled_wh")
    buyer, step = fullest(street, "4")
    seller, other = fullest(street, "3", without=step)
    street.measured(1, measures(street))
    document(street.month(*street.source))
    street.measured(2, measures(street) | {(buyer, step): 7, (seller, other): 11})
    document(street.month(day="2025-11-05"))
    document(street.month(*street.source, day="2025-11-05", bills="anew"))
    assert allocated(street, 2) == allocated(street, 1, "anew")
    assert energy_lines(street, 2) == energy_lines(street, 1, "anew")
    assert filled[buyer, step] > 7


def problems(street: MarketStreet, *more: object) -> str:
    """What a month waits for."""
    result = street.month(*more)
    assert result.exit_code == 7, result.output
    month = json.loads(result.stdout)["months"][0]
    assert month["outcome"] == "waiting"
    found = (street.bills / "2025-10" / "problems.txt").read_text()
    assert found.splitlines() == month["problems"]
    return found


def test_a_month_that_cannot_have_the_market_waits(street: MarketStreet) -> None:
    street.measured(1, measures(street))
    points = street.folder / "points.csv"
    run = ("--run", street.run)
    assert "market_source: the key is the market's" in problems(street)
    nowhere = ("--rpc", "http://127.0.0.1:9", "--market", "0x" + "aa" * 20, "--points", points)
    assert "market_source: the market cannot be read" in problems(street, *nowhere)
    assert "market_source" in problems(street, "--run", street.folder / "inbox", "--points", points)
    text = points.read_text()
    points.write_text(text.replace("4000000000000", "5000000000000"))
    assert "bought in the market, and no member's point is its" in problems(
        street, *run, "--points", points
    )
    points.write_text(text.replace("home", "hut"))
    assert "market_source" in problems(street, *run, "--points", points)
    points.write_text(text)
    assert document(street.month(*street.source))["months"][0]["outcome"] == "billed"


def test_a_month_that_lost_what_the_market_stated_waits(street: MarketStreet) -> None:
    street.measured(1, measures(street))
    document(street.month(*street.source))
    kept = street.bills / "2025-10" / "1" / "market_taken.csv"
    text = kept.read_text()
    for change in (text[:-1] + "1\n", "start\nx\n", text.replace(",", ";")):
        kept.write_text(change)
        assert "market_lost" in problems(street)
    kept.unlink()
    assert "market_lost" in problems(street)
    kept.write_text(text)
    assert document(street.month())["months"][0]["outcome"] == "unchanged"


def test_an_erased_member_is_in_nothing_that_the_market_stated(street: MarketStreet) -> None:
    buyer, _ = fullest(street, "4")
    street.measured(1, measures(street))
    document(street.month(*street.source))
    assert buyer in street.table("market_taken.csv")
    Archive(street.bills).take_out([buyer], OCTOBER.end_s)
    assert buyer not in street.table("market_taken.csv")
    assert document(street.month())["months"][0]["outcome"] == "closed"


def test_a_market_that_the_key_does_not_mean_is_refused(street: MarketStreet) -> None:
    street.measured(1, measures(street))
    (street.folder / "key.toml").write_text('kind = "default_dynamic"\n')
    result = street.month(*street.source)
    assert result.exit_code == 2
    assert "go with a --key whose kind is" in result.stderr
    (street.folder / "key.toml").write_text('kind = "market"\n')
    result = street.month("--points", street.folder / "points.csv")
    assert result.exit_code == 2
    assert "Say which market" in result.stderr


def test_coefficients_and_allocations_take_the_market_too(street: MarketStreet) -> None:
    buyer, step = fullest(street, "4")
    street.measured(1, measures(street) | {(buyer, step): 3})
    document(street.month(*street.source))
    choice = (
        *("--curves", street.folder / "curves.db", "--month", "2025-10"),
        *("--key", street.folder / "key.toml"),
    )
    told = street.supplier("allocate", *choice, *street.source, "--json")
    found = {item["point"]: item["allocated_wh"] for item in document(told)["points"]}
    assert found == allocated(street)
    out = street.folder / "coefficients"
    out.mkdir()
    written = document(
        street.supplier("coefficients", "french", *choice, *street.source, "--out", out, "--json")
    )
    assert written["allocated_wh"] == sum(
        wh for point, wh in allocated(street).items() if point[0] == "4"
    )
    assert len((out / written["files"][0]).read_text().splitlines()) == STEPS + 1
    refused = street.supplier("allocate", *choice)
    assert refused.exit_code == 2
    assert "Say which market" in refused.stderr


def test_a_ruling_below_what_was_stated_is_reconciled_without_the_chain(
    street: MarketStreet,
) -> None:
    buyer, step = fullest(street, "4")
    street.measured(1, measures(street))
    document(street.month(*street.source))
    at_s = OCTOBER.start_s + step * 1800
    series = Series(int(buyer[-1]), Side.BID, at_s, 1800, (5,))
    ruling = TakenRuling.of("ab" * 32, buyer, series, "1", OCTOBER.end_s + 2 * 86_400)
    Archive(street.bills).take(ruling)
    again = document(street.month(day="2025-11-05"))["months"][0]
    assert (again["revision"], again["reopened_steps"]) == (2, 1)
    check_conserved(street, 2)
    assert street.table("allocated.csv", 2)[buyer][step] == 5


def test_members_see_of_the_market_what_was_billed(street: MarketStreet) -> None:
    buyer, step = fullest(street, "4")
    street.measured(1, measures(street) | {(buyer, step): 3})
    document(street.month(*street.source))
    office = ("--database", street.folder / "office.db")
    points = [line.split(",")[1] for line in (street.folder / "points.csv").read_text().split()]
    for point in (point for point in points if point.startswith("4")):
        roof = f"3{point[1:]}"
        added = street.invoke(
            *("person", "add", *office, "--household", point[-1], "--name", f"Home {point[-1]}"),
            *("--withdrawal", point, "--supplier", 7),
            *(("--injection", roof) if roof in points else ()),
        )
        assert added.exit_code == 0, added.output
    seen = street.invoke(
        *("view", "organiser", *office, "--month", "2025-10", "--bills", street.bills),
        *("--operation", street.folder / "street.toml", "--json"),
    )
    shared = sum(map(sum, street.table("allocated.csv").values()))
    assert document(seen)["community"][0]["shared_wh"] == shared


def half_hours(folder: Path, name: str, point: str, wh: int) -> Path:
    path = folder / name
    starts = (iso_utc(SLOT * 900), iso_utc(SLOT * 900 + 1800))
    path.write_text(f"start,{point}\n" + "".join(f"{start},{wh}\n" for start in starts))
    return path


@pytest.mark.parametrize(
    ("is_cleared", "moved", "reason"),
    [(True, 0, ""), (False, 0, "is not cleared"), (True, -96, "holds nothing from")],
)
def test_a_market_that_is_open_or_ends_before_is_not_allocated(
    tmp_path: Path, moved: int, reason: str, *, is_cleared: bool
) -> None:
    market = HonestMarket()
    market.schedule(FEE_RULES)
    book = [replace(order, slot=SLOT + moved) for order in SCARCE[:2]]
    for order in book:
        market.accept(order)
    if is_cleared:
        market.clear(book)
    (tmp_path / "run").mkdir()
    with LedgerDatabase.open_to_append(tmp_path / "run") as ledger:
        ledger.append(market.events)
        ledger.set_names(NAMES)
    (tmp_path / "key.toml").write_text('kind = "market"\n')
    made = MarketStreet(tmp_path).supplier(
        *("allocate", "--production", half_hours(tmp_path, "fed.csv", "roof", 700)),
        *("--consumption", half_hours(tmp_path, "drawn.csv", "flat", 250), "--json"),
        *("--key", tmp_path / "key.toml", "--run", tmp_path / "run"),
    )
    if reason:
        assert made.exit_code == 6
        assert reason in made.stderr
        return
    found = {item["point"]: item["allocated_wh"] for item in document(made)["points"]}
    assert found == {"roof": 250, "flat": 250}, "300 Wh were filled, 250 were measured"
