"""``daisee dispute``, ``consent`` and ``person`` end to end: from a claim to notes, and erasure."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from node.chain.bootstrap import Deployment, Role, grant
from node.chain.community import save_community
from node.chain.http import http_rpc
from node.chain.member_book import Invited, MemberBook, load_book, save_book
from node.chain.rpc import Sender
from node.cli.office import open_office
from node.errors import ConfigurationError
from node.slots import iso_utc
from node.store.curves import CurveDatabase
from tests.support.billing_cases import FLAT, MILL, ROOF
from tests.support.dispute_desk import (
    EVE,
    FROM_S,
    HOME,
    Desk,
    document,
    give_document,
    made_desk,
    ruled_market,
)
from tests.support.joined import OPERATOR, Street, street


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return made_desk(tmp_path)


def test_from_a_claim_to_notes_that_sum_to_zero(desk: Desk) -> None:
    desk.bill()
    opened = document(desk.open(desk.claim()))
    number = opened["number"][:12]
    assert (opened["state"], opened["informational"]) == ("open", False)
    give_document(desk, number)
    ruled = document(desk.rule(number, "--outcome", "upheld"))
    assert (ruled["state"], len(ruled["digest"]), ruled["recorded"]) == ("ruled", 64, False)
    settled = document(desk.settle(number, "--out", desk.folder / "notes.json"))
    assert settled["state"] == "settled"
    (october,) = settled["months"]
    assert (october["month"], october["revision"]) == ("2025-10", 2)
    assert october["steps"] == [iso_utc(FROM_S), iso_utc(FROM_S + 1800)]
    assert [one["state"] for one in october["rulings"]] == ["in_force"]
    assert settled["notes"]
    assert sum(note["amount_cents"] for note in settled["notes"]) == 0
    assert set(settled["not_kept"]) >= {"community", ROOF}
    assert json.loads((desk.folder / "notes.json").read_text()) == settled
    export = document(desk.office("person", "export", 3))
    kinds = [record["kind"] for record in export["records"]]
    assert "note" in kinds, "a neighbour of the step is concerned too"
    assert "dispute" not in kinds
    assert FLAT not in str(export), "others stand in it by their random names"
    again = desk.settle(number)
    assert (again.exit_code, "is settled" in again.stderr) == (6, True)
    shown = desk.office("dispute", "show", number)
    assert "settled" in shown.stdout
    assert desk.json("dispute", "list", "--open") == {"disputes": []}
    assert len(desk.json("dispute", "list")["disputes"]) == 1


def test_a_ruling_counts_once_its_digest_is_on_chain(desk: Desk, tmp_path: Path) -> None:
    with street(tmp_path / "network") as live:
        asyncio.run(let_rule(live))
        save_community(desk.community, live.community)
        trusted = desk.office("dispute", "trust", "distribution_operator", OPERATOR.address)
        assert trusted.exit_code == 0, trusted.output
        number = document(desk.open(desk.claim()))["number"][:12]
        give_document(desk, number)
        shown, ruling = tmp_path / "dispute.json", tmp_path / "ruling.json"
        shown.write_text(desk.office("dispute", "show", number, "--json").stdout)
        decide = ("dispute", "decide", shown, "--outcome", "upheld", "--rules", "2025-1")
        signed = (*decide, "--community", desk.community, *desk.key(OPERATOR))
        take = ("dispute", "rule", number, ruling, "--community", desk.community)
        ruling.write_text(desk.run(*signed, "--no-record").stdout)
        unrecorded = desk.office(*take)
        assert (unrecorded.exit_code, "not on chain" in unrecorded.stderr) == (6, True)
        ruling.write_text(desk.run(*signed).stdout)
        ruled = desk.json(*take)
        assert (ruled["state"], ruled["recorded"]) == ("ruled", True)
        without_role = desk.run(*decide, "--community", desk.community, *desk.key(HOME))
        assert without_role.exit_code in {5, 6}, "it has no role, and no gas either"


async def let_rule(live: Street) -> None:
    """Give the operator's account the grid operator's role too."""
    agreed = live.community
    deployment = Deployment(
        access=agreed.contracts["AccessManager"],
        registry=agreed.contracts["HouseholdRegistry"],
        credit=agreed.contracts["SettlementCredit"],
        market=agreed.contracts["EnergyMarket"],
        records=agreed.contracts["RecordBook"],
        slot_s=agreed.slot_s,
        created_in_block=agreed.created_in_block,
    )
    async with http_rpc(live.url) as rpc:
        sender = Sender(rpc, OPERATOR, gas_price=agreed.gas_price_wei)
        await grant(sender, deployment, Role.DISTRIBUTION_OPERATOR, OPERATOR.address)


def test_what_is_refused_on_the_way(desk: Desk) -> None:
    claim = desk.claim()
    number = document(desk.open(claim))["number"][:12]
    assert "in the book already" in desk.open(claim).stderr
    forged = desk.open(desk.claim(EVE))
    assert (forged.exit_code, "may not claim" in forged.stderr) == (6, True)
    early = desk.rule(number, "--outcome", "upheld")
    assert (early.exit_code, "is open, not evidence" in early.stderr) == (6, True)
    give_document(desk, number)
    usurped = desk.rule(number, "--outcome", "upheld", key=EVE)
    assert (usurped.exit_code, "not the distribution operator" in usurped.stderr) == (6, True)
    unreachable = desk.office(
        *("dispute", "rule", number, desk.folder / "ruling.json", "--community", desk.community)
    )
    assert unreachable.exit_code == 6, "the signature comes first"
    no_values = desk.rule(number, "--outcome", "adjusted")
    assert no_values.exit_code == 2
    document(desk.rule(number, "--outcome", "rejected"))
    settled = document(desk.office("dispute", "settle", number, "--json"))
    assert (settled["state"], settled["notes"], settled["settlement"]) == ("settled", [], "")
    assert desk.office("dispute", "show", "abc").exit_code == 6


def test_a_ruling_holds_under_the_rules_of_its_time(desk: Desk) -> None:
    desk.bill()
    number = document(desk.open(desk.claim()))["number"][:12]
    give_document(desk, number)
    document(desk.rule(number, "--outcome", "upheld", rules="2024-9"))
    other = desk.settle(number)
    assert (other.exit_code, "under rules 2024-9" in other.stderr) == (6, True)
    street = desk.folder / "street.toml"
    street.write_text(street.read_text().replace("2025-1", "2024-9"))
    pretended = desk.settle(number)
    assert (pretended.exit_code, "billed under rules 2025-1" in pretended.stderr) == (6, True)
    assert not (desk.folder / "bills" / "rulings.jsonl").exists()


def test_an_adjusted_value_is_settled(desk: Desk) -> None:
    desk.bill()
    number = document(desk.open(desk.claim()))["number"][:12]
    give_document(desk, number)
    values = desk.folder / "adjusted.csv"
    values.write_text(f"start,wh\n{iso_utc(FROM_S)},\n{iso_utc(FROM_S + 1800)},77\n")
    document(desk.rule(number, "--outcome", "adjusted", "--values", values))
    (october,) = document(desk.settle(number))["months"]
    assert october["steps"] == [iso_utc(FROM_S + 1800)]


def test_consents_come_one_by_one_and_go(desk: Desk) -> None:
    words = ("consent", "grant", 2, "--wording", "2026-01", "--purpose")
    given = desk.json(*words, "sharing")["consents"]
    assert desk.json(*words, "sharing")["consents"] == given
    assert given[0]["recipient"] == "organiser"
    assert desk.office(*words, "supplier_curve").exit_code == 2
    desk.json(*words, "supplier_curve", "--recipient", "7")
    withdrawn = desk.office("consent", "withdraw", 2, "--purpose", "sharing")
    assert "leaves at" in withdrawn.stdout
    listed = desk.json("consent", "list", 2)["consents"]
    assert [(one["purpose"], one["withdrawn"] is None) for one in listed] == [
        ("sharing", False),
        ("supplier_curve", True),
    ]
    assert len(desk.json("consent", "list")["consents"]) == 2


def test_erasure_takes_the_papers_the_curves_and_the_name(desk: Desk) -> None:
    number = document(desk.open(desk.claim()))["number"][:12]
    give_document(desk, number)
    network = desk.folder / "network"
    network.mkdir()
    save_book(
        network / "members.json",
        MemberBook(
            (Invited("a", "The flat", 0, 9, "0x1", 2), Invited("b", "Mill", 0, 9, "0x2", 3))
        ),
    )
    curve_file = desk.folder / "curves.db"
    with CurveDatabase.open(curve_file) as kept:
        version = kept.begin_import(("f.csv", "d" * 64, "hdm", None, 0, 1, 1, 0, 0))
        kept.add_days(
            (point, "withdrawal", 0, version, 1800, None, b"\1" * 384, b"\7" * 48, "f.csv")
            for point in (FLAT, MILL)
        )
    old_key = (desk.folder / "office.db.key").read_text()
    erased = desk.json(
        *("person", "erase", 2, "--yes", "--curves", curve_file, "--network", network)
    )
    assert (erased["records"], erased["curve_rows"]) == (3, 1)
    assert (desk.folder / "office.db.key").read_text() != old_key
    for words in (("person", "export", 2), ("person", "export", FLAT), ("dispute", "show", number)):
        assert desk.office(*words).exit_code == 6
    assert desk.json("dispute", "list") == {"disputes": []}
    assert [one["household"] for one in desk.json("person", "list")["persons"]] == [3]
    assert load_book(network / "members.json").name_of(2) == ""
    assert load_book(network / "members.json").name_of(3) == "Mill"
    assert FLAT.encode() not in curve_file.read_bytes()
    assert MILL.encode() in curve_file.read_bytes()
    replayed = desk.open(desk.folder / "claim.json")
    assert replayed.exit_code == 6


def test_erasure_and_retention_reach_the_folder_of_bills(desk: Desk) -> None:
    desk.bill()
    number = document(desk.open(desk.claim()))["number"][:12]
    give_document(desk, number)
    document(desk.rule(number, "--outcome", "upheld"))
    document(desk.settle(number))
    bills = desk.folder / "bills"
    assert FLAT in (bills / "rulings.jsonl").read_text()
    erased = desk.json("person", "erase", 2, "--yes", "--bills", bills)
    assert erased["closed_months"] == ["2025-10"]
    assert (bills / "rulings.jsonl").read_text() == ""
    for revision in (1, 2):
        for name in ("consumption.csv", "allocated.csv"):
            assert FLAT not in (bills / "2025-10" / str(revision) / name).read_text()
    (october,) = document(desk.month("2025-11-20", "--month", "2025-10"))["months"]
    assert october["outcome"] == "closed"
    second = document(desk.open(desk.claim(EVE, household=3)))["number"][:12]
    give_document(desk, second)
    document(desk.rule(second, "--outcome", "upheld"))
    late = desk.settle(second)
    assert (late.exit_code, "2025-10 is closed" in late.stderr) == (6, True)


def test_a_power_cut_in_an_erasure_leaves_one_key_that_opens(desk: Desk) -> None:
    key_file = desk.folder / "office.db.key"
    coming = desk.folder / "office.db.key.next"
    coming.write_text("ab" * 32 + "\n")  # before the database knew of it
    coming.chmod(0o600)
    assert len(desk.json("person", "list")["persons"]) == 2
    assert not coming.exists()
    old = key_file.read_text()
    desk.json("person", "erase", 2, "--yes")
    coming.write_text(key_file.read_text())  # after the database, before the rename
    coming.chmod(0o600)
    key_file.write_text(old)
    assert len(desk.json("person", "list")["persons"]) == 1
    assert key_file.read_text() != old


def test_retention_tells_first_and_acts_when_told(desk: Desk) -> None:
    with open_office(desk.database, None) as office:
        person, _ = office.people.find("2")
        office.people.vault.put(person, "evidence", {"salt": "aa"}, 1_580_000_000, office.now_s)
    words = ("person", "retention")
    told = desk.json(*words)
    assert [(one["kind"], one["then"]) for one in told["due"]] == [("evidence", "delete")]
    assert desk.json(*words) == told, "looking changes nothing"
    assert told["not_looked_at"] == ["curves", "bills", "inbox"]
    assert desk.json(*words, "--apply")["due"] == told["due"]
    export = document(desk.office("person", "export", 2))
    assert [one["kind"] for one in export["records"]] == ["person"]
    assert desk.json(*words)["due"] == []


def test_a_key_that_others_may_read_is_refused(desk: Desk) -> None:
    key_file = desk.folder / "office.db.key"
    key_file.chmod(0o644)
    with (
        pytest.raises(ConfigurationError, match="others may read"),
        open_office(desk.database, None),
    ):
        pass
    assert desk.office("person", "list").exit_code == 3
    key_file.unlink()
    assert "nothing opens" in desk.office("person", "list").stderr
    assert desk.run("person", "list", "--database", desk.folder / "none.db").exit_code == 3


def test_a_ruling_corrects_the_markets_allocations(desk: Desk) -> None:
    slot = FROM_S // 1800
    run, tables, number = ruled_market(desk)
    settle = ("dispute", "settle", number, "--run", run, *tables)
    both = desk.office(*settle, "--operation", desk.folder / "street.toml")
    assert both.exit_code == 2
    settled = desk.json(*settle, "--out", desk.folder / "entries.json")
    entries = settled["entries"]
    assert (settled["state"], settled["notes"]) == ("settled", [])
    assert {entry["slot"] for entry in entries} == {slot}, "the other slot is as it was"
    assert sum(entry["energy_wh"] for entry in entries) == 0
    assert sum(entry["amount_units"] for entry in entries) == 0
    cut = {
        (entry["household"], entry["account"]): entry["energy_wh"]
        for entry in entries
        if entry["energy_wh"]
    }
    assert cut == {
        (2, "allocated"): -200,
        (2, "residual"): 200,
        (1, "allocated"): -200,
        (1, "surplus"): 200,
    }
    fee = [entry["amount_units"] for entry in entries if entry["account"] == "network_fee"]
    assert fee == [-200 * 200]
    assert len(settled["settlement"]) == 64
    assert settled["not_kept"] == ["1"], "the office knows no household 1"
    assert json.loads((desk.folder / "entries.json").read_text()) == settled
    (note,) = [
        record["document"]
        for record in document(desk.office("person", "export", 2))["records"]
        if record["kind"] == "note"
    ]
    assert {entry["household"] for entry in note["entries"]} == {2}
    again = desk.office(*settle)
    assert (again.exit_code, "is settled" in again.stderr) == (6, True)
