"""Notes of settled disputes on the next month's bills: from a ruling to a line, once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.support.billing_cases import BARN, FLAT, MILL, ROOF
from tests.support.dispute_desk import STEP, Desk, document, give_document, made_desk
from tests.support.operator_month import WattsOf, write_r63

CONSUMERS: Mapping[str, WattsOf] = {FLAT: lambda n: 300 + n % 11 * 20, MILL: lambda _: 1_000}
PRODUCERS: Mapping[str, WattsOf] = {
    ROOF: lambda n: 2_400 if 16 <= n % 48 < 36 else 0,
    BARN: lambda n: n % 7 * 40,
}
KINDS = {"note", "note_accise", "note_vat"}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """October billed, and a dispute about two of its steps settled."""
    made = made_desk(tmp_path)
    (tmp_path / "inbox").mkdir()
    write_r63(tmp_path / "inbox" / "1.csv", date(2025, 10, 1), 31, CONSUMERS, PRODUCERS)
    document(made.month("2025-11-02"))
    settle(made)
    write_r63(tmp_path / "inbox" / "2.csv", date(2025, 11, 1), 30, CONSUMERS, PRODUCERS)
    return made


def settle(desk: Desk, values_wh: tuple[int, ...] = (90_000, 0), name: str = "first") -> str:
    """Claim, rule and settle; the notes go to a file."""
    number = str(document(desk.open(desk.claim(values_wh=values_wh)))["number"])
    give_document(desk, number)
    document(desk.rule(number, "--outcome", "upheld"))
    assert document(desk.settle(number, "--out", desk.folder / f"{name}.json"))["notes"]
    return number


def notes_of(desk: Desk) -> dict[tuple[str, str], int]:
    """Cents by seller and buyer, as the settlement's notes say: above 0 the buyer owes more."""
    found = json.loads((desk.folder / "first.json").read_text())
    return {
        (note["other"], note["party"]): -note["amount_cents"]
        for note in found["notes"]
        if not note["advice"] and note["party"] in {FLAT, MILL} and note["amount_cents"]
    }


def bills_of(desk: Desk, period: str, revision: int = 1) -> dict[str, Any]:
    path = desk.folder / "bills" / period / str(revision) / "bills.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def note_lines(found: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [
        line
        for bill in found["bills"]
        if bill["kind"] == kind
        for line in bill["lines"]
        if line["line"] in KINDS
    ]


def pairs(lines: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for line in lines:
        pair = (line["seller"], line["buyer"])
        sums[pair] = sums.get(pair, 0) + line["amount_cents"]
    return sums


def in_order(lines: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(line, sort_keys=True) for line in lines)


def files(desk: Desk) -> dict[str, bytes]:
    out = desk.folder / "bills"
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_notes_become_lines_of_the_next_month_once(desk: Desk) -> None:
    before = files(desk)
    done = document(desk.month("2025-12-02"))
    october, november = done["months"]
    assert (october["outcome"], october["note_lines"]) == ("unchanged", 0)
    assert november["outcome"] == "billed"
    assert done["waiting_notes"] == []
    after = files(desk)
    assert {name for name in before if after[name] != before[name]} == {"history.jsonl"}
    found = bills_of(desk, "2025-11")
    lines = note_lines(found, "consumer")
    assert len(lines) == november["note_lines"] > 0
    assert pairs(lines) == notes_of(desk), "to the cent what was settled"
    assert {line["line"] for line in lines} == KINDS
    of_producers = [line for line in lines if line["seller"] in {ROOF, BARN}]
    assert in_order(note_lines(found, "producer")) == in_order(of_producers)
    assert found["balance_cents"] == 0
    consumers = [bill for bill in found["bills"] if bill["kind"] == "consumer"]
    assert all(
        bill["total_cents"] == sum(line["amount_cents"] for line in bill["lines"])
        for bill in consumers
    )
    assert sum(bill["total_cents"] for bill in consumers) == (
        found["producers_cents"] + found["community_cents"]
    )
    page = (desk.folder / "bills" / "outbox" / FLAT / f"2025-11-consumer-{FLAT}.html").read_text()
    assert "Correction of an earlier bill" in page

    # Again it is the same to the byte; and once is once.
    assert document(desk.month("2025-12-03"))["months"][1]["outcome"] == "unchanged"
    assert files(desk) == after
    write_r63(desk.folder / "inbox" / "3.csv", date(2025, 12, 1), 31, CONSUMERS, PRODUCERS)
    december = document(desk.month("2026-01-02"))["months"][2]
    assert (december["month"], december["outcome"]) == ("2025-12", "billed")
    assert december["note_lines"] == 0


def test_a_revision_keeps_the_lines_that_the_month_had(desk: Desk) -> None:
    document(desk.month("2025-12-02"))
    lines = note_lines(bills_of(desk, "2025-11"), "consumer")
    settle(desk, (4_000, 0), "second")
    write_r63(
        desk.folder / "inbox" / "3.csv",
        date(2025, 11, 1),
        30,
        {**CONSUMERS, MILL: lambda _: 1_200},
        PRODUCERS,
    )
    done = document(desk.month("2025-12-10"))
    assert [one["revision"] for one in done["months"]] == [3, 2], "two rulings; one late curve"
    assert note_lines(bills_of(desk, "2025-11", 2), "consumer") == lines
    assert done["waiting_notes"], "what was settled since waits for December"


def test_small_sums_wait_for_more(desk: Desk) -> None:
    sums = notes_of(desk)
    most = max(map(abs, sums.values()))
    done = document(desk.month("2025-12-02", "--least-note", most))
    placed = pairs(note_lines(bills_of(desk, "2025-11"), "consumer"))
    assert placed == {pair: cents for pair, cents in sums.items() if abs(cents) >= most}
    carried: dict[tuple[str, str], int] = {}
    for item in done["waiting_notes"]:
        pair = (item["seller"], item["buyer"])
        carried[pair] = carried.get(pair, 0) + item["amount_cents"]
    assert carried, "the community's fee is less than the energy"
    assert placed | carried == sums
    write_r63(desk.folder / "inbox" / "3.csv", date(2025, 12, 1), 31, CONSUMERS, PRODUCERS)
    later = document(desk.month("2026-01-02"))
    assert later["waiting_notes"] == []
    assert pairs(note_lines(bills_of(desk, "2025-12"), "consumer")) == carried


LATE: Mapping[str, WattsOf] = {FLAT: lambda n: 7_000 if n == STEP else 300 + n % 11 * 20}


def late_curve(desk: Desk, stage: str) -> None:
    """The operator's file of October once more, with another value in the step of the dispute."""
    write_r63(
        desk.folder / "inbox" / "4.csv",
        date(2025, 10, 1),
        31,
        {**CONSUMERS, **LATE},
        PRODUCERS,
        stage,
    )


def test_a_curve_that_corrects_a_ruled_step_credits_nobody_twice(desk: Desk) -> None:
    """Ruled first or corrected first: the same bills, and each change once."""
    late_curve(desk, "CORRIGE")
    done = document(desk.month("2027-02-02", "--month", "2025-10"))
    (october,) = done["months"]
    assert (october["outcome"], october["revision"], october["reopened_steps"]) == ("billed", 3, 2)
    (ruled,) = october["rulings"]
    assert ruled["state"] == "superseded"
    assert "the operator's later correction, 4.csv of 2027-02-02" in ruled["reason"]
    november = document(desk.month("2027-02-02", "--month", "2025-11"))["months"][0]
    assert november["note_lines"]
    placed = pairs(note_lines(bills_of(desk, "2025-11"), "consumer"))
    assert placed == changed(desk, 3), "what stands on November leads from October's first bill"

    other = made_desk(desk.folder / "other")
    (other.folder / "inbox").mkdir()
    write_r63(other.folder / "inbox" / "1.csv", date(2025, 10, 1), 31, CONSUMERS, PRODUCERS)
    document(other.month("2025-11-02"))
    late_curve(other, "CORRIGE")
    document(other.month("2027-02-02", "--month", "2025-10"))
    number = str(document(other.open(other.claim(values_wh=(90_000, 0))))["number"])
    give_document(other, number)
    document(other.rule(number, "--outcome", "upheld"))
    settled = document(other.settle(number))
    assert settled["notes"] == [], "what came later holds already"
    assert [one["state"] for one in settled["months"][0]["rulings"]] == ["superseded"]
    assert sums_by_pair(bills_of(other, "2025-10", 2)) == sums_by_pair(bills_of(desk, "2025-10", 3))


def test_a_curve_that_only_says_otherwise_is_held_for_a_person(desk: Desk) -> None:
    late_curve(desk, "BRUT")
    before = files(desk)
    result = desk.month("2027-02-02", "--month", "2025-10")
    assert result.exit_code == 7
    assert "the ruling stays, 4.csv of 2027-02-02" in result.stderr
    assert "corrected curve, or for another ruling" in result.stderr
    after = files(desk)
    assert {name for name in after if before.get(name) != after[name]} == {"2025-10/ruled.jsonl"}


def sums_by_pair(found: dict[str, Any]) -> dict[tuple[str, str], int]:
    """Cents of consumers' lines by seller and buyer."""
    return pairs(
        [line for bill in found["bills"] if bill["kind"] == "consumer" for line in bill["lines"]]
    )


def changed(desk: Desk, revision: int) -> dict[tuple[str, str], int]:
    """Cents by seller and buyer between October's first bill and a revision."""
    was, now = (sums_by_pair(bills_of(desk, "2025-10", number)) for number in (1, revision))
    differences = {pair: now.get(pair, 0) - was.get(pair, 0) for pair in was | now}
    return {pair: cents for pair, cents in differences.items() if cents}
