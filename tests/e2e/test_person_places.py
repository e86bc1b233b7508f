"""The places where a person is kept outside the office: copied, erased, aged; each for real."""

from __future__ import annotations

import json
import os
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from node.billing.archive import Archive
from node.billing.market_key import StatedMarket, market_files
from node.chain.member_book import Invited, MemberBook, load_book, save_book
from node.slots import parse_iso_utc
from node.store.curves import CurveDatabase
from tests.support.billing_cases import FLAT, MILL
from tests.support.dispute_desk import STEP, Desk, document, give_document, made_desk
from tests.support.operator_month import write_r63


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """October billed from the operator's file, and a dispute about two of its steps settled."""
    made = made_desk(tmp_path)
    made.bill()
    return made


def ruled(desk: Desk) -> None:
    number = document(desk.open(desk.claim()))["number"][:12]
    give_document(desk, number)
    document(desk.rule(number, "--outcome", "upheld"))
    document(desk.settle(number))


def places(desk: Desk, *names: str) -> list[object]:
    """Options of places, by name."""
    found: list[object] = []
    for name in names:
        found += [f"--{name}", desk.folder / {"curves": "curves.db"}.get(name, name)]
    return found


def rules(desk: Desk, *kinds: tuple[str, int, str]) -> Path:
    path = desk.folder / "rules.toml"
    path.write_text(
        "".join(
            f'[[rule]]\nfrom = 2000-01-01\nkind = "{kind}"\nmonths = {months}\nthen = "{then}"\n'
            for kind, months, then in kinds
        )
    )
    return path


def snapshot(desk: Desk) -> dict[str, bytes]:
    """Every file but databases in use, which are looked at through their commands."""
    return {
        str(path.relative_to(desk.folder)): path.read_bytes()
        for path in sorted(desk.folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


class TestErasure:
    @pytest.mark.parametrize(
        "wrong",
        [
            ("bills", "nosuch"),
            ("bills", "inbox"),
            ("network", "bills"),
            ("network", "nosuch"),
            ("curves", "nosuch.db"),
            ("curves", "office.db"),
            ("inbox", "nosuch"),
            ("inbox", "street.toml"),
        ],
    )
    def test_a_place_that_is_none_is_said_before_anything_is_touched(
        self, desk: Desk, wrong: tuple[str, str]
    ) -> None:
        name, value = wrong
        right = [one for one in ("curves", "bills", "inbox") if one != name]
        before = snapshot(desk)
        words = (*places(desk, *right), f"--{name}", desk.folder / value)
        result = desk.office("person", "erase", 2, "--yes", *words)
        assert result.exit_code == 3, result.output
        assert value in result.stderr
        assert snapshot(desk) == before
        assert desk.office("person", "export", FLAT).exit_code == 0

    def test_a_folder_of_bills_that_cannot_be_read_is_left_alone(self, desk: Desk) -> None:
        history = desk.folder / "bills" / "history.jsonl"
        history.write_text(history.read_text() + "{\n")
        result = desk.office("person", "erase", 2, "--yes", *places(desk, "curves", "bills"))
        assert (result.exit_code, "history.jsonl:2" in result.stderr) == (3, True)
        assert desk.office("person", "export", 2).exit_code == 0

    def test_how_many_names_were_forgotten_is_told(self, desk: Desk) -> None:
        network = desk.folder / "network"
        network.mkdir()
        book = MemberBook((Invited("b", "Mill", 0, 9, "0x2", 3),))
        save_book(network / "members.json", book)
        assert desk.json("person", "erase", 2, "--yes", "--network", network)["names"] == 0
        assert desk.json("person", "erase", 3, "--yes", "--network", network)["names"] == 1
        assert load_book(network / "members.json").name_of(3) == ""

    def test_files_of_the_inbox_go_once_they_were_imported(self, desk: Desk) -> None:
        inbox = desk.folder / "inbox"
        write_r63(inbox / "mill.csv", date(2025, 9, 1), 1, {MILL: lambda _: 9}, {})
        packed = write_r63(desk.folder / "x.csv", date(2025, 9, 1), 1, {FLAT: lambda _: 9}, {})
        with zipfile.ZipFile(inbox / "2.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(packed, "x.csv")
        before = snapshot(desk)
        words = ("person", "erase", 2, "--yes", *places(desk, "curves", "bills", "inbox"))
        early = desk.office(*words)
        assert (early.exit_code, "2.zip" in early.stderr) == (6, True), early.output
        assert snapshot(desk) == before

        document(desk.month("2025-11-03", "--month", "2025-10"))
        erased = desk.json(*words)
        assert erased["inbox_files"] == ["1.csv", "2.zip"]
        assert erased["not_looked_at"] == ["the operator's list of names (--network)"]
        assert sorted(path.name for path in inbox.iterdir()) == ["mill.csv"]

    def test_a_file_stays_while_rows_of_others_wait_in_it(self, desk: Desk) -> None:
        """Once the segments of the points are known, both corrections can be taken."""
        inbox = desk.folder / "inbox"
        write_r63(inbox / "2.csv", date(2025, 10, 7), 1, {FLAT: lambda _: 9}, {}, stage="CORR")
        stepless = (inbox / "2.csv").read_text().replace(";B;PT30M;", ";C;PT30M;")
        of_both = stepless + stepless.split("\n", 1)[1].replace(FLAT, MILL)
        (inbox / "2.csv").write_text(of_both)
        asked = desk.month("2025-11-03", "--month", "2025-10")
        assert asked.exit_code == 7, asked.output
        assert {one["rule"] for one in json.loads(asked.stdout)["asked"]} == {"stamp_side"}
        words = ("person", "erase", 3, "--yes", *places(desk, "curves", "bills", "inbox"))
        before = snapshot(desk)
        early = desk.office(*words)
        assert (early.exit_code, "2.csv" in early.stderr) == (6, True), early.output
        assert snapshot(desk) == before

        street = desk.folder / "street.toml"
        text = street.read_text()
        for point in (FLAT, MILL):
            text = text.replace(f'point = "{point}"\n', f'point = "{point}"\nsegment = "C5"\n')
        street.write_text(text)
        document(desk.month("2025-11-04", "--month", "2025-10"))
        assert desk.json(*words)["inbox_files"] == ["1.csv", "2.csv"]

    def test_a_file_goes_if_only_own_rows_wait_in_it(self, desk: Desk) -> None:
        inbox = desk.folder / "inbox"
        write_r63(inbox / "2.csv", date(2025, 10, 7), 1, {MILL: lambda _: 9}, {}, stage="CORR")
        stepless = (inbox / "2.csv").read_text().replace(";B;PT30M;", ";C;PT30M;")
        (inbox / "2.csv").write_text(stepless)
        assert desk.month("2025-11-03", "--month", "2025-10").exit_code == 7
        words = ("person", "erase", 3, "--yes", *places(desk, "curves", "bills", "inbox"))
        assert desk.json(*words)["inbox_files"] == ["1.csv", "2.csv"]

    def test_whether_a_file_was_imported_the_curves_say(self, desk: Desk) -> None:
        result = desk.office("person", "erase", 2, "--yes", *places(desk, "inbox"))
        assert (result.exit_code, "--curves" in result.stderr) == (2, True)


class TestExport:
    def test_it_holds_curves_and_bills_of_the_person_alone(self, desk: Desk) -> None:
        ruled(desk)
        office = document(desk.office("person", "export", 2))
        assert (office["curves"], office["bills"]) == (None, None)
        assert office["not_looked_at"] == ["curves", "bills"]

        copy = document(desk.office("person", "export", 2, *places(desk, "curves", "bills")))
        assert copy["not_looked_at"] == []
        days = copy["curves"]["curve_days"]
        assert {day["point"] for day in days} == {FLAT}
        values = [value for day in days for value in day["values_wh"] if value is not None]
        assert values == [300 + n % 7 for n in range(31 * 48 + 2)]
        assert set(days[5]["quality"]) == {"metered"}

        bills = copy["bills"]
        kinds = [(bill["kind"], bill["stamp"]["revision"]) for bill in bills["bills"]]
        assert kinds == [("consumer", 1), ("consumer", 2)]
        billed = {(one["what"], one["revision"]): one["values_wh"] for one in bills["curves"]}
        assert set(billed) == {(w, r) for w in ("consumption", "allocated") for r in (1, 2)}
        assert billed["consumption", 1][STEP] == 300 + STEP % 7
        assert billed["consumption", 2][STEP] == 4_000
        shared = [one for one in bills["shared"] if one["revision"] == 1]
        assert sum(one["energy_wh"] for one in shared) == sum(billed["allocated", 1])
        assert {one["consumer"] for one in shared} == {FLAT}
        assert {note["party"] for note in bills["notes"]} == {FLAT}
        assert [one["point"] for one in bills["rulings"]] == [FLAT]
        assert MILL not in json.dumps(copy)

    def test_what_the_market_filled_is_in_it_until_it_is_erased(self, desk: Desk) -> None:
        october = desk.folder / "bills" / "2025-10" / "1"
        slot = parse_iso_utc("2025-10-07T10:00:00Z") // 1800
        stated = StatedMarket(1800, {}, {FLAT: {slot: 120, slot + 4: 90}, MILL: {slot + 2: 60}})
        for name, text in market_files(stated).items():
            (october / name).write_text(text)
        bills = document(desk.office("person", "export", 2, *places(desk, "bills")))["bills"]
        (filled,) = bills["market"]
        assert (filled["point"], filled["what"], filled["revision"]) == (FLAT, "market_taken", 1)
        assert filled["filled_wh"] == {"2025-10-07T10:00:00Z": 120, "2025-10-07T12:00:00Z": 90}
        assert {one["what"] for one in bills["curves"]} == {"consumption", "allocated"}
        desk.json("person", "erase", 2, "--yes", *places(desk, "curves", "bills"))
        assert FLAT not in (october / "market_taken.csv").read_text()

    def test_superseded_values_and_what_was_refused_are_in_it(self, desk: Desk) -> None:
        inbox = desk.folder / "inbox"
        write_r63(inbox / "2.csv", date(2025, 10, 7), 1, {FLAT: lambda _: 500}, {}, stage="CORR")
        text = (inbox / "2.csv").read_text()
        (inbox / "2.csv").write_text(text.replace(";500;", ";x00;", 1))
        desk.month("2025-11-03")
        copy = document(desk.office("person", "export", 2, *places(desk, "curves")))
        twice = [
            d["import"] for d in copy["curves"]["curve_days"] if d["start"][:10] == "2025-10-07"
        ]
        assert twice == [1, 2]
        refused = [one for one in copy["curves"]["findings"] if one["rule"] == "number"]
        assert [(one["import"], "x00" in one["raw"]) for one in refused] == [(2, True)]

    def test_a_folder_that_is_none_is_an_error(self, desk: Desk) -> None:
        result = desk.office("person", "export", 2, "--bills", desk.folder / "inbox")
        assert (result.exit_code, "no folder of bills" in result.stderr) == (3, True)


class TestRetention:
    def test_bills_go_with_all_that_they_were_made_from(self, desk: Desk) -> None:
        ruled(desk)
        bills = desk.folder / "bills"
        words = ("person", "retention", *places(desk, "bills"))
        own = rules(desk, ("bill", 6, "delete"))
        told = desk.json(*words, "--rules", own)
        assert (told["deleted_bills"], told["closed_months"]) == (["2025-10"], [])
        assert (bills / "2025-10").exists(), "looking changes nothing"
        assert desk.json(*words, "--rules", own, "--apply")["deleted_bills"] == ["2025-10"]
        left = [path for path in bills.rglob("*") if path.is_file()]
        assert {path.name for path in left} == {".lock", "history.jsonl", "rulings.jsonl"}
        assert FLAT not in "".join(path.read_text() for path in left)
        assert desk.json(*words, "--rules", own)["deleted_bills"] == []

        (october,) = document(desk.month("2025-11-20", "--month", "2025-10"))["months"]
        assert october["outcome"] == "closed"
        assert Archive(bills).note_items() == []
        empty = document(desk.office("person", "export", 2, "--bills", bills))["bills"]
        assert not any(empty.values())

    def test_who_was_interrupted_goes_on(self, desk: Desk) -> None:
        bills, own = desk.folder / "bills", rules(desk, ("bill", 6, "delete"))
        words = ("person", "retention", *places(desk, "bills"), "--rules", own, "--apply")
        desk.json(*words)
        (bills / "2025-10" / "1").mkdir(parents=True)
        history = (bills / "history.jsonl").read_text()
        assert desk.json(*words)["deleted_bills"] == ["2025-10"]
        assert not (bills / "2025-10").exists()
        assert (bills / "history.jsonl").read_text() == history

    def test_curves_become_days_days_months_and_months_go(self, desk: Desk) -> None:
        file = desk.folder / "curves.db"
        words = ("person", "retention", *places(desk, "curves"))
        by_day = rules(desk, ("curve", 6, "by_day"))
        assert desk.json(*words, "--rules", by_day)["curve_days"] == 4 * 32
        desk.json(*words, "--rules", by_day, "--apply")
        with CurveDatabase.open_read_only(file) as kept:
            days = kept.energies(FLAT, 0, 2**40)
        # 30 September and 31 October are not whole: UTC days of a local month.
        assert len(days) == 30

        by_month = rules(desk, ("curve_day", 6, "by_month"))
        assert desk.json(*words, "--rules", by_month)["sums_to_months"] == 4 * 30
        assert desk.json(*words, "--rules", by_month, "--apply")["sums_to_months"] == 4 * 30
        with CurveDatabase.open_read_only(file) as kept:
            (month,) = kept.energies(FLAT, 0, 2**40)
        assert month[7] == sum(day[7] for day in days)
        assert (month[5], month[6]) == (days[0][5], days[-1][6])
        assert desk.json(*words, "--rules", by_month)["sums_to_months"] == 0

        gone = rules(desk, ("curve_month", 6, "delete"))
        assert desk.json(*words, "--rules", gone, "--apply")["sums_deleted"] == 4
        with CurveDatabase.open_read_only(file) as kept:
            assert not kept.energies(FLAT, 0, 2**40)

    def test_old_files_of_the_inbox_go_once_they_were_imported(self, desk: Desk) -> None:
        inbox = desk.folder / "inbox"
        write_r63(inbox / "2.csv", date(2025, 9, 1), 1, {MILL: lambda _: 9}, {})
        (inbox / "letter.txt").write_text("of an unknown form, but new")
        words = ("person", "retention", *places(desk, "curves", "inbox"))
        none = desk.json(*words, "--rules", rules(desk, ("curve", 600, "by_day")))
        assert (none["inbox_files"], none["inbox_not_imported"]) == ([], [])
        own = rules(desk, ("curve", 6, "by_day"))
        told = desk.json(*words, "--rules", own)
        assert (told["inbox_files"], told["inbox_not_imported"]) == (["1.csv"], ["2.csv"])
        desk.json(*words, "--rules", own, "--apply")
        assert sorted(path.name for path in inbox.iterdir()) == ["2.csv", "letter.txt"]
        os.utime(inbox / "letter.txt", (0, 0))
        assert desk.json(*words, "--rules", own)["inbox_not_imported"] == ["2.csv", "letter.txt"]

    @pytest.mark.parametrize("wrong", [("bills", "inbox"), ("inbox", "nosuch")])
    def test_a_place_that_is_none_is_an_error(self, desk: Desk, wrong: tuple[str, str]) -> None:
        name, value = wrong
        words: list[Any] = ["person", "retention", "--apply", *places(desk, "curves")]
        result = desk.office(*words, f"--{name}", desk.folder / value)
        assert (result.exit_code, value in result.stderr) == (3, True), result.output
