"""One ledger of rulings and late curves: in any order they end in the newest state, once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.billing.archive import Archive
from node.billing.curve_store import CurveStore
from node.billing.in_force import RulingState
from node.billing.monthly import Outcome
from node.billing.series import MISSING, StepQuality
from node.store.curves import CurveDatabase
from tests.support.billing_cases import FLAT, MILL, ROOF, operation, street
from tests.support.ledger_cases import (
    SIDES,
    START_S,
    STEPS,
    WEEKEND,
    Ledger,
    added,
    file_of,
    first_file,
    moved_by,
    plain_bills,
    ruling_of,
    sums_of,
    terms_of,
)

HOUR_S = 3_600
QUALITIES = (StepQuality.CORRECTED, StepQuality.CORRECTED, StepQuality.METERED)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """The weekend, billed once."""
    with CurveDatabase.open(None) as database:
        made = Ledger(CurveStore(database), Archive(tmp_path / "bills"))
        made.store.add(first_file(random.Random(5)), START_S)
        assert made.run().outcome is Outcome.BILLED
        yield made


def something_happens(rng: random.Random, ledger: Ledger, number: int) -> None:
    """A file of the operator's, or a ruling, about the same few steps; some of them late."""
    now_s = START_S + number * HOUR_S
    at_s = now_s - rng.choice((0, 0, 2, 5)) * HOUR_S - 60 * rng.randrange(59)
    steps = rng.sample(range(40, 46), rng.randint(1, 3))
    if rng.random() < 0.4:
        point = rng.choice(sorted(SIDES))
        values = {step: rng.choice((0, 100, rng.randrange(900))) for step in steps}
        ledger.archive.take(ruling_of(number, point, values, at_s))
        return
    points = rng.sample(sorted(SIDES), rng.randint(1, 2))
    found = {(point, step): rng.randrange(900) for point in points for step in steps}
    published_s = rng.choice((at_s, at_s, None))
    ledger.store.add(file_of(number, found, published_s, rng.choice(QUALITIES)), now_s)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_any_order_of_rulings_and_curves_ends_in_the_newest_state(seed: int) -> None:
    rng = random.Random(seed)
    with TemporaryDirectory() as folder, CurveDatabase.open(None) as database:
        ledger = Ledger(CurveStore(database), Archive(Path(folder) / "bills"))
        ledger.store.add(first_file(rng), START_S)
        ledger.run()
        for number in range(1, rng.randint(2, 9)):
            something_happens(rng, ledger, number)
            if rng.random() < 0.6:
                ledger.run()
        last = ledger.run().revision
        assert ledger.run().outcome is Outcome.UNCHANGED
        scratch = Ledger(ledger.store, Archive(Path(folder) / "scratch"))
        rulings = ledger.archive.rulings()
        for ruling in rng.sample(rulings, len(rulings)):
            scratch.archive.take(ruling)
        scratch.run()
        assert plain_bills(ledger.bills(last)) == plain_bills(scratch.bills(1))
        for name in ("given.csv", "allocated.csv", "consumption.csv", "production.csv"):
            assert ledger.rows(last, name) == scratch.rows(1, name)
        moved = [moved_by(ledger.notes(number)["notes"]) for number in range(2, last + 1)]
        assert added(sums_of(ledger.bills(1)), *moved) == sums_of(ledger.bills(last))
        for number in range(2, last + 1):
            assert sum(note["amount_cents"] for note in ledger.notes(number)["notes"]) == 0
            check_steps(ledger, number)


def check_steps(ledger: Ledger, revision: int) -> None:
    """A revision changed the steps that it says, and in each what is given is what is got."""
    said = set(ledger.notes(revision)["steps"])
    before = [ledger.rows(revision - 1, name) for name in ("given.csv", "allocated.csv")]
    after = [ledger.rows(revision, name) for name in ("given.csv", "allocated.csv")]
    for was, now in zip(before, after, strict=True):
        for old, new in zip(was, now, strict=True):
            assert old == new or new.split(",")[0] in said
    for given_row, got_row in zip(*after, strict=True):
        given_wh, got_wh = (sum(map(int, row.split(",")[1:])) for row in (given_row, got_row))
        assert given_wh == got_wh


class TestInForce:
    def states(self, ledger: Ledger) -> list[RulingState]:
        return [ruled.state for ruled in ledger.run().ruled]

    def value(self, ledger: Ledger, step: int = 40) -> str:
        """The flat's energy of a step, as it was billed last."""
        revision = ledger.archive.billed(WEEKEND)["revision"]
        return ledger.rows(revision, "consumption.csv")[step].split(",")[1]

    def test_a_ruling_makes_a_revision_of_its_steps_alone(self, ledger: Ledger) -> None:
        ledger.archive.take(ruling_of(1, FLAT, {40: 5_000, 42: 77}, START_S + HOUR_S))
        run = ledger.run()
        assert (run.revision, run.steps) == (2, (40, 42))
        assert [ruled.state for ruled in run.ruled] == [RulingState.IN_FORCE] * 2
        assert ledger.notes(2)["disputes"] == [f"{1:064x}"]
        assert ledger.archive.billed(WEEKEND)["reopened_steps"] == 2

    def test_a_later_correction_supersedes_it_with_the_reason(self, ledger: Ledger) -> None:
        ledger.archive.take(ruling_of(1, FLAT, {40: 5_000}, START_S + HOUR_S))
        ledger.run()
        late = file_of(2, {(FLAT, 40): 600}, START_S + 2 * HOUR_S, StepQuality.CORRECTED)
        ledger.store.add(late, START_S + 3 * HOUR_S)
        run = ledger.run()
        (ruled,) = run.ruled
        assert (run.revision, ruled.state) == (3, RulingState.SUPERSEDED)
        assert "file-2.csv of " in ruled.reason
        assert ledger.archive.billed(WEEKEND)["ruled"] == [ruled.document()]
        assert self.value(ledger) == "600"
        both = [moved_by(ledger.notes(number)["notes"]) for number in (2, 3)]
        assert added(sums_of(ledger.bills(1)), *both) == sums_of(ledger.bills(3))

    def test_a_correction_from_before_the_ruling_does_not(self, ledger: Ledger) -> None:
        ledger.archive.take(ruling_of(1, FLAT, {40: 5_000}, START_S + 2 * HOUR_S))
        ledger.run()
        early = file_of(2, {(FLAT, 40): 600}, START_S + HOUR_S, StepQuality.CORRECTED)
        ledger.store.add(early, START_S + 3 * HOUR_S)
        run = ledger.run()
        assert (run.outcome, run.held) == (Outcome.UNCHANGED, [])
        assert [ruled.state for ruled in run.ruled] == [RulingState.IN_FORCE]

    def test_a_later_value_that_is_no_correction_is_held(self, ledger: Ledger) -> None:
        ledger.archive.take(ruling_of(1, FLAT, {40: 5_000}, START_S + HOUR_S))
        ledger.run()
        raw = file_of(2, {(FLAT, 40): 600}, START_S + 2 * HOUR_S)
        ledger.store.add(raw, START_S + 3 * HOUR_S)
        run = ledger.run()
        assert (run.outcome, run.revision) == (Outcome.UNCHANGED, 2)
        (text,) = run.held
        assert "the ruling stays, file-2.csv" in text
        assert self.value(ledger) == "5000"
        ruled = (ledger.archive.folder / str(WEEKEND) / "ruled.jsonl").read_text()
        assert '"state": "held"' in ruled
        ledger.archive.take(ruling_of(3, FLAT, {40: 600}, START_S + 4 * HOUR_S))
        assert self.states(ledger) == [RulingState.REPLACED, RulingState.IN_FORCE]
        assert self.value(ledger) == "600"

    def test_the_curve_that_comes_first_is_no_other_case(self, ledger: Ledger) -> None:
        """Ruled before the correction was written, taken after it was billed: nothing changes."""
        late = file_of(2, {(FLAT, 40): 600}, START_S + 2 * HOUR_S, StepQuality.CORRECTED)
        ledger.store.add(late, START_S + 3 * HOUR_S)
        assert ledger.run().revision == 2
        ledger.archive.take(ruling_of(1, FLAT, {40: 5_000}, START_S + HOUR_S))
        run = ledger.run()
        assert (run.outcome, run.revision) == (Outcome.UNCHANGED, 2)
        assert [ruled.state for ruled in run.ruled] == [RulingState.SUPERSEDED]

    def test_a_ruling_fills_a_gap(self, tmp_path: Path) -> None:
        whole = first_file(random.Random(5))
        (flat,) = [curve for curve in whole.curves if curve.point_id == FLAT]
        codes = bytearray(flat.quality)
        flat.watt_minutes[40], codes[40] = MISSING, StepQuality.GAP
        curves = [replace(flat, quality=bytes(codes)) if c is flat else c for c in whole.curves]
        whole = replace(whole, curves=curves)
        with CurveDatabase.open(None) as database:
            ledger = Ledger(CurveStore(database), Archive(tmp_path / "gap"))
            ledger.store.add(whole, START_S)
            assert ledger.run().outcome is Outcome.WAITING
            ledger.archive.take(ruling_of(1, FLAT, {40: 123}, START_S + HOUR_S))
            assert ledger.run().outcome is Outcome.BILLED
            assert self.value(ledger) == "123"

    def test_a_ruling_in_other_steps_waits(self, ledger: Ledger) -> None:
        made = ruling_of(1, FLAT, {40: 1}, START_S + HOUR_S)
        ledger.archive.take(replace(made, step_s=900))
        run = ledger.run()
        assert run.problems[0].startswith("other_step: ")


class TestReopening:
    def test_untouched_rows_stay_as_they_were(self, ledger: Ledger) -> None:
        late = file_of(1, {(ROOF, 41): 900, (MILL, 60): 1}, START_S, StepQuality.CORRECTED)
        ledger.store.add(late, START_S + HOUR_S)
        run = ledger.run()
        assert run.steps == (41, 60)
        for name in ("given.csv", "allocated.csv", "consumption.csv", "production.csv"):
            rows = zip(ledger.rows(1, name), ledger.rows(2, name), strict=True)
            changed = {step for step, (old, new) in enumerate(rows) if old != new}
            assert changed <= {41, 60}
        check_steps(ledger, 2)

    def test_files_that_are_not_what_was_billed_are_not_built_upon(self, ledger: Ledger) -> None:
        path = ledger.archive.of(WEEKEND, 1) / "allocated.csv"
        rows = path.read_text().splitlines()
        start, first, second = rows[20].split(",")
        rows[20] = ",".join((start, str(int(first) + 1), second))
        path.write_text("\n".join(rows) + "\n")
        late = file_of(1, {(ROOF, 41): 900}, START_S, StepQuality.CORRECTED)
        ledger.store.add(late, START_S + HOUR_S)
        run = ledger.run()
        assert (run.revision, run.steps) == (2, None)
        assert ledger.notes(2)["steps"] is None
        scratch = Ledger(ledger.store, Archive(ledger.archive.folder / "scratch"))
        scratch.run()
        assert ledger.rows(2, "allocated.csv") == scratch.rows(1, "allocated.csv")

    def test_another_price_inside_the_month_allocates_it_anew(self, ledger: Ledger) -> None:
        prices = [
            {"producer": point, "ct_kwh": rate, "from": first, "until": until}
            for point in ("30000000000001", "30000000000002")
            for rate, first, until in (
                ("12.00", date(2025, 1, 1), date(2025, 10, 26)),
                ("13.00", date(2025, 10, 26), date(2026, 1, 1)),
            )
        ]
        run = ledger.run(terms_of(price=prices))
        assert (run.outcome, run.revision, run.steps) == (Outcome.BILLED, 2, None)
        assert ledger.rows(1, "given.csv") == ledger.rows(2, "given.csv")

    def test_a_later_member_opens_no_month_that_was_billed(self, ledger: Ledger) -> None:
        joins = {"point": "40000000000009", "name": "Joins later", "from": date(2025, 11, 1)}
        roof = {"point": "30000000000009", "from": date(2025, 11, 1)}
        price = {"producer": "30000000000009", "ct_kwh": "9"}
        document = street()
        grown = operation(
            consumer=[*document["consumer"], joins],
            producer=[*document["producer"], roof],
            price=[*document["price"], price],
        )
        run = ledger.run(terms_of(grown))
        assert (run.outcome, run.revision) == (Outcome.UNCHANGED, 1)
        late = file_of(1, {(ROOF, 41): 900}, START_S, StepQuality.CORRECTED)
        ledger.store.add(late, START_S + HOUR_S)
        run = ledger.run(terms_of(grown))
        assert run.steps == (41,)
        assert run.bills is not None
        assert all(bill.point not in {joins["point"], roof["point"]} for bill in run.bills.every)

    def test_a_month_keeps_the_key_that_it_was_billed_with(
        self, ledger: Ledger, tmp_path: Path
    ) -> None:
        other = tmp_path / "key.toml"
        other.write_text(f'kind = "priority"\norder = [["{MILL}"], ["{FLAT}"]]\n')
        assert ledger.run(terms_of(key_file=other)).outcome is Outcome.UNCHANGED
        late = file_of(1, {(ROOF, 41): 900}, START_S, StepQuality.CORRECTED)
        ledger.store.add(late, START_S + HOUR_S)
        run = ledger.run(terms_of(key_file=other))
        assert (run.steps, run.has_other_key) == ((41,), True)
        scratch = Ledger(ledger.store, Archive(tmp_path / "scratch"))
        scratch.run()
        assert ledger.rows(2, "allocated.csv") == scratch.rows(1, "allocated.csv")

    def test_other_rules_open_nothing(self, ledger: Ledger) -> None:
        later = terms_of(operation={"name": "Mill Street", "rules": "2026-1"})
        assert ledger.run(later).outcome is Outcome.UNCHANGED
        late = file_of(1, {(ROOF, 41): 900}, START_S, StepQuality.CORRECTED)
        ledger.store.add(late, START_S + HOUR_S)
        run = ledger.run(later)
        assert run.outcome is Outcome.WAITING
        assert "billed under rules 2025-1" in run.problems[0]
        assert ledger.run().revision == 2

    def test_a_key_that_counts_by_the_hour_is_refused(self, tmp_path: Path) -> None:
        key = tmp_path / "key.toml"
        key.write_text('kind = "virtual"\n')
        with CurveDatabase.open(None) as database:
            ledger = Ledger(CurveStore(database), Archive(tmp_path / "bills"))
            ledger.store.add(first_file(random.Random(5)), START_S)
            run = ledger.run(terms_of(key_file=key))
        assert run.problems[0].startswith("virtual_key: ")

    def test_what_is_told_of_a_revision(self, ledger: Ledger) -> None:
        late = file_of(1, {(ROOF, 41): 900}, START_S, StepQuality.CORRECTED)
        ledger.store.add(late, START_S + HOUR_S)
        run = ledger.run()
        assert run.bills is not None
        remarks = {bill.kind.value: "revision" in bill.remarks for bill in run.bills.every}
        assert remarks == {"consumer": True, "shadow": False, "producer": True}


class TestTakingOut:
    def test_an_erased_member_leaves_no_curve_and_no_ruling(self, ledger: Ledger) -> None:
        ledger.archive.take(ruling_of(1, FLAT, {40: 5_000}, START_S + HOUR_S))
        ledger.archive.take(ruling_of(2, MILL, {41: 5_000}, START_S + HOUR_S))
        ledger.run()
        bills = (ledger.archive.of(WEEKEND, 2) / "bills.json").read_bytes()
        assert ledger.archive.take_out({FLAT}, START_S) == [str(WEEKEND)]
        kept = [
            path
            for path in ledger.archive.folder.rglob("*")
            if path.suffix in {".csv", ".jsonl"} and path.name not in {"lines.csv", "notes.csv"}
            if "outbox" not in path.parts
        ]
        assert len(kept) >= 10
        assert not [path for path in kept if FLAT in path.read_text()]
        assert [ruling.point for ruling in ledger.archive.rulings()] == [MILL]
        assert not list(ledger.archive.folder.rglob("pairs.json"))
        assert ledger.run().outcome is Outcome.CLOSED
        assert (ledger.archive.of(WEEKEND, 2) / "bills.json").read_bytes() == bills
        assert ledger.archive.take_out({FLAT}, START_S) == [], "again is harmless"

    def test_a_ruling_is_kept_without_the_number_on_chain(self, ledger: Ledger) -> None:
        made = ruling_of(1, FLAT, {40: 5_000}, START_S + HOUR_S)
        ledger.archive.take(made)
        assert ledger.archive.rulings() == [made]
        assert "household" not in (ledger.archive.folder / "rulings.jsonl").read_text()

    def test_curves_that_were_kept_long_enough_go(self, ledger: Ledger) -> None:
        end = date(2025, 10, 27)
        assert ledger.archive.kept_before(date(2025, 10, 26)) == []
        assert ledger.archive.kept_before(end) == [str(WEEKEND)]
        assert ledger.archive.take_out_before(end, START_S) == [str(WEEKEND)]
        assert ledger.archive.kept_before(end) == []
        assert not list(ledger.archive.folder.rglob("consumption.csv"))
        assert ledger.run().outcome is Outcome.CLOSED


def test_every_step_of_the_weekend_is_there(ledger: Ledger) -> None:
    assert len(ledger.rows(1, "given.csv")) == STEPS
