"""Settling a dispute does all or nothing, corrections of a market come once, and what is opened is
what is in dispute."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from node.billing.archive import Archive
from node.market.orders import evidence_commitment, evidence_salt
from node.model import MarketRules, Order, OrderAccepted, RegisterReading, Side
from node.slots import iso_utc
from node.store import LedgerDatabase, NodeDatabase
from tests.support.billing_cases import FLAT, curves
from tests.support.dispute_desk import (
    FROM_S,
    OCTOBER,
    Desk,
    document,
    give_document,
    made_desk,
    ruled_market,
    write_table,
)
from tests.support.honest_market import NAMES, HonestMarket
from tests.support.operator_month import write_r63


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return made_desk(tmp_path)


def ruled(desk: Desk) -> str:
    """A dispute about the month that is billed, ruled."""
    desk.bill()
    number = str(document(desk.open(desk.claim()))["number"][:12])
    give_document(desk, number)
    document(desk.rule(number, "--outcome", "upheld"))
    return number


def state(desk: Desk, number: str) -> str:
    return str(desk.json("dispute", "show", number)["state"])


def history(desk: Desk) -> list[dict[str, Any]]:
    return Archive(desk.folder / "bills").history()


@pytest.mark.parametrize("place", ["nowhere/e.json", "folder"])
def test_what_cannot_be_written_settles_nothing(desk: Desk, place: str) -> None:
    run, tables, number = ruled_market(desk)
    (desk.folder / "folder").mkdir()
    words = ("dispute", "settle", number, "--run", run, *tables, "--out")
    failed = desk.office(*words, desk.folder / place)
    assert (failed.exit_code, "no such folder" in failed.stderr) == (3, place != "folder")
    assert state(desk, number) == "ruled"
    kinds = [one["kind"] for one in document(desk.office("person", "export", 2))["records"]]
    assert "note" not in kinds
    told = desk.json(*words, desk.folder / "e.json")
    assert told["entries"]
    assert json.loads((desk.folder / "e.json").read_text()) == told


def test_notes_that_cannot_be_written_are_found_again(desk: Desk) -> None:
    number = ruled(desk)
    (desk.folder / "folder").mkdir()
    assert desk.settle(number, "--out", desk.folder / "folder").exit_code == 3
    assert [one["revision"] for one in history(desk)] == [1, 2], "the bills are made, and stay"
    told = document(desk.settle(number, "--out", desk.folder / "notes.json"))
    assert told["notes"]
    assert len(history(desk)) == 2
    assert json.loads((desk.folder / "notes.json").read_text()) == told


def test_a_folder_that_holds_no_bills_settles_nothing(desk: Desk) -> None:
    number = ruled(desk)
    words = ("dispute", "settle", number, "--operation", desk.folder / "street.toml")
    mistyped = desk.folder / "bils"
    failed = desk.office(*words, "--curves", desk.folder / "curves.db", "--bills", mistyped)
    assert (failed.exit_code, "no folder of bills" in failed.stderr) == (3, True)
    assert not mistyped.exists()
    assert state(desk, number) == "ruled"
    assert document(desk.settle(number))["months"][0]["revision"] == 2


def test_what_is_settled_changes_no_month(desk: Desk) -> None:
    number = ruled(desk)
    document(desk.settle(number))
    corrected = write_r63(
        desk.folder / "2.csv", date(2025, 10, 7), 1, {FLAT: lambda _: 900}, {}, stage="CORR"
    )
    imported = desk.run("dso", "import", "--database", desk.folder / "curves.db", corrected)
    assert imported.exit_code == 0, imported.output
    before = history(desk)
    again = desk.settle(number)
    assert (again.exit_code, "is settled" in again.stderr) == (6, True)
    assert history(desk) == before


def test_a_settlement_waits_for_who_changes_the_bills(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = ruled(desk)
    with Archive(desk.folder / "bills").held("a run"):
        monkeypatch.setattr("node.billing.archive_lock.LONGEST_WAIT_S", 1)
        busy = desk.settle(number)
    assert (busy.exit_code, "a run" in busy.stderr) == (3, True), busy.output
    assert state(desk, number) == "ruled"
    assert len(history(desk)) == 1


def test_entries_are_not_written_over_earlier_ones(desk: Desk) -> None:
    run, tables, number = ruled_market(desk)
    kept = desk.folder / "kept.json"
    month = ("supplier", "reconcile", "--month", "2025-10", "--run", run, *tables, "--json")
    kept.write_text(desk.run(*month).stdout)
    before = kept.read_text()
    over = desk.office(
        "dispute", "settle", number, "--run", run, *tables, "--earlier", kept, "--out", kept
    )
    assert (over.exit_code, kept.read_text()) == (2, before)
    assert state(desk, number) == "ruled"


def test_what_was_corrected_of_a_market_before_is_not_corrected_twice(desk: Desk) -> None:
    slot = FROM_S // 1800
    run, tables, number = ruled_market(desk)
    kept = desk.folder / "entries.json"
    desk.json("dispute", "settle", number, "--run", run, *tables, "--out", kept)
    month = ("supplier", "reconcile", "--month", "2025-10", "--run", run, *tables, "--json")
    assert document(desk.run(*month, "--earlier", kept))["entries"] == [], "the ruling holds"
    write_table(desk.folder / "fed.csv", curves(OCTOBER, {"roof": lambda _: 250}))
    told = document(desk.run(*month, "--earlier", kept))
    cut: Counter[tuple[int, int]] = Counter()
    for entry in told["entries"]:
        if entry["account"] == "allocated":
            cut[entry["slot"], entry["household"]] += entry["energy_wh"]
    assert cut == {(slot, 1): 0, (slot + 1, 1): -50, (slot + 1, 2): -50}
    twice = desk.run(*month, "--earlier", kept, "--earlier", kept)
    assert (twice.exit_code, "was given twice" in twice.stderr) == (3, True)
    other = desk.run(*month, "--earlier", desk.folder / "claim.json")
    assert (other.exit_code, "holds no correction entries" in other.stderr) == (3, True)


def write_fed(desk: Desk, energy_wh: int) -> None:
    write_table(desk.folder / "fed.csv", curves(OCTOBER, {"roof": lambda _: energy_wh}))


def test_a_curve_that_goes_to_and_fro_is_told_each_time(desk: Desk) -> None:
    """Two of the files are of the same entries, and both count."""
    slot = FROM_S // 1800
    run, tables, _ = ruled_market(desk)
    month = ("supplier", "reconcile", "--month", "2025-10", "--run", run, *tables, "--json")
    files: list[object] = []
    cut: list[int] = []
    for number, energy_wh in enumerate((500, 250, 500, 250, 500)):
        write_fed(desk, energy_wh)
        told = desk.run(*month, *files)
        entries = [
            one["energy_wh"]
            for one in document(told)["entries"]
            if (one["slot"], one["household"], one["account"]) == (slot, 1, "allocated")
        ]
        cut.append(sum(entries))
        path = desk.folder / f"{number}.json"
        path.write_text(told.stdout)
        files += ["--earlier", path]
    assert cut == [0, -50, 50, -50, 50]


def test_entries_that_are_given_twice_or_not_at_all_are_missed(desk: Desk) -> None:
    run, tables, _ = ruled_market(desk)
    month = ("supplier", "reconcile", "--month", "2025-10", "--run", run, *tables, "--json")
    first, copy, second = (desk.folder / f"{name}.json" for name in ("first", "copy", "second"))
    first.write_text(desk.run(*month).stdout)
    copy.write_text(json.dumps(json.loads(first.read_text())))
    twice = desk.run(*month, "--earlier", first, "--earlier", copy)
    assert (twice.exit_code, "was given twice" in twice.stderr) == (3, True)
    second.write_text(desk.run(*month, "--earlier", first).stdout)
    alone = desk.run(*month, "--earlier", second)
    assert (alone.exit_code, "entries that are not given" in alone.stderr) == (3, True)
    document(desk.run(*month, "--earlier", second, "--earlier", first))
    shutil.copyfile(second, copy)
    again = desk.run(*month, "--earlier", second, "--earlier", first, "--earlier", copy)
    assert (again.exit_code, "was given twice" in again.stderr) == (3, True)


def opened(desk: Desk, slot: int) -> tuple[Path, Path]:
    """What opens the evidence of a slot's bid, and the run in which it was accepted."""
    key, at_s = b"e" * 32, slot * 1800
    before = RegisterReading("m", at_s, 1_000, 0)
    after = RegisterReading("m", at_s + 1800, 1_300, 0)
    (desk.folder / "evidence.key").write_bytes(key)
    with NodeDatabase.open(desk.folder / "node.db") as node:
        node.add_reading(before)
        node.add_reading(after)
    market = HonestMarket(MarketRules(slot_s=1800))
    market.schedule(MarketRules(slot_s=1800))
    evidence = evidence_commitment(evidence_salt(key, slot), before, after)
    market.trade([Order(1, slot, Side.ASK, 500, 4_000), Order(2, slot, Side.BID, 300, 25_000)])
    run = desk.folder / "run"
    run.mkdir()
    with LedgerDatabase.open_to_append(run) as ledger:
        ledger.append(
            replace(event, evidence=evidence)
            if isinstance(event, OrderAccepted) and event.household == 2
            else event
            for event in market.events
        )
        ledger.set_names(NAMES)
    opening = desk.folder / "opening.json"
    shown = desk.run(
        *("dispute", "opening", "--node", desk.folder / "node.db", "--slot", slot),
        *("--slot-s", 1800),
    )
    assert shown.exit_code == 0, shown.output
    opening.write_text(shown.stdout)
    return opening, run


def test_a_node_opens_its_evidence_against_the_run(desk: Desk) -> None:
    slot = FROM_S // 1800
    opening, run = opened(desk, slot)
    number = document(desk.open(desk.claim()))["number"][:12]
    words = ("dispute", "evidence", number, "--opening", opening, "--run", run)
    assert [piece["verdict"] for piece in desk.json(*words)["evidence"]] == ["matches"]
    forged = json.loads(opening.read_text())
    forged["after"]["import_wh"] += 1
    opening.write_text(json.dumps(forged))
    verdicts = [piece["verdict"] for piece in desk.json(*words)["evidence"]]
    assert verdicts == ["matches", "other_commitment"]
    elsewhere = desk.run(
        "dispute", "opening", "--node", desk.folder / "node.db", "--slot", slot - 1
    )
    assert elsewhere.exit_code == 6


@pytest.mark.parametrize(("offset", "is_disputed"), [(-1, False), (0, True), (1, True), (2, False)])
def test_only_a_slot_that_is_in_dispute_is_opened(
    desk: Desk,
    offset: int,
    *,
    is_disputed: bool,
) -> None:
    """The claim is of two half hours."""
    opening, run = opened(desk, FROM_S // 1800 + offset)
    number = document(desk.open(desk.claim()))["number"][:12]
    given = desk.office("dispute", "evidence", number, "--opening", opening, "--run", run)
    assert given.exit_code == (0 if is_disputed else 6), given.output
    shown = desk.json("dispute", "show", number)
    assert (len(shown["evidence"]), shown["state"]) == (
        (1, "evidence") if is_disputed else (0, "open")
    )
    assert is_disputed or iso_utc(FROM_S) in given.stderr
