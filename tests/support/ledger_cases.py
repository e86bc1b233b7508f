"""Rulings and late curves of a small operation in any order, and its ledger of months."""

from __future__ import annotations

import json
import random
from array import array
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from node.billing.archive import Archive
from node.billing.claims import Series
from node.billing.curve_store import CurveStore
from node.billing.importing import FileReport
from node.billing.in_force import TakenRuling
from node.billing.keys import default_dynamic, read_key
from node.billing.monthly import MonthRun, Terms
from node.billing.operation import Operation
from node.billing.series import MISSING, Curve, Direction, StepQuality
from node.billing.time_of_use import Period
from node.cli.supplier_month import DEFAULT_KEY, run_from_store
from node.model import Side
from tests.support.billing_cases import BARN, FLAT, MILL, PARIS, ROOF, TARIFFS, operation

WEEKEND: Final = Period(date(2025, 10, 25), date(2025, 10, 27), PARIS)
"""Two days, the second of 50 half hours."""

STEPS: Final = 48 + 50
STEP_S: Final = 1800
SIDES: Final = {ROOF: Side.ASK, BARN: Side.ASK, FLAT: Side.BID, MILL: Side.BID}
WAYS: Final = {Side.ASK: Direction.INJECTION, Side.BID: Direction.WITHDRAWAL}
START_S: Final = WEEKEND.end_s + 86_400

Sums = Counter[tuple[str, str, str]]


def start_of(step: int) -> int:
    return WEEKEND.start_s + step * STEP_S


def file_of(
    number: int,
    values_wh: dict[tuple[str, int], int],
    published_s: int | None,
    quality: StepQuality = StepQuality.METERED,
) -> FileReport:
    """A file of the operator's with these values, by point and step."""
    curves = []
    for point, side in SIDES.items():
        mine = {step: wh for (whose, step), wh in values_wh.items() if whose == point}
        if not mine:
            continue
        values = array("q", (MISSING,)) * STEPS
        codes = bytearray(STEPS)
        for step, energy_wh in mine.items():
            values[step], codes[step] = energy_wh * 60, quality
        curves.append(
            Curve(point, WAYS[side], STEP_S, WEEKEND.start_s, values, bytes(codes), f"f{number}")
        )
    rows = len(values_wh)
    name = f"file-{number}.csv"
    return FileReport(name, name, "r63-csv", published_s, rows, rows, 0, 0, [], curves, [], [])


def ruling_of(
    number: int, point: str, values_wh: dict[int, int], made_at_s: int, rules: str = "2025-1"
) -> TakenRuling:
    """A ruling on some steps of a point."""
    first, last = min(values_wh), max(values_wh)
    values = tuple(values_wh.get(step, MISSING) for step in range(first, last + 1))
    reference = Series(3, SIDES[point], start_of(first), STEP_S, values)
    return TakenRuling.of(f"{number:064x}", point, reference, rules, made_at_s)


def terms_of(
    grown: Operation | None = None,
    key_file: Path | None = None,
    **changes: Any,  # noqa: ANN401
) -> Terms:
    """What the weekend is billed under; ``changes`` as in ``billing_cases.operation``."""
    made = grown or operation(**changes)
    tables = TARIFFS.accepting(made.accepted)
    if key_file is None:
        return Terms(made, tables, default_dynamic(), DEFAULT_KEY)
    return Terms(made, tables, read_key(key_file), key_file.read_text())


@dataclass(frozen=True, slots=True)
class Ledger:
    """The folder of bills of the weekend, and the curves that it is billed from."""

    store: CurveStore
    archive: Archive

    def run(self, terms: Terms | None = None, now_s: int = START_S) -> MonthRun:
        return run_from_store(WEEKEND, terms or terms_of(), self.store, self.archive, now_s)

    def bills(self, revision: int) -> dict[str, Any]:
        return self.archive.bills_of(WEEKEND, revision)

    def notes(self, revision: int) -> dict[str, Any]:
        return self.archive.notes_of(str(WEEKEND), revision)

    def rows(self, revision: int, name: str) -> list[str]:
        """The rows of a revision's table, without its head."""
        text = (self.archive.of(WEEKEND, revision) / name).read_text()
        return text.splitlines()[1:]


def first_file(rng: random.Random) -> FileReport:
    """Every point's every step, as the operator first measured it."""
    values = {
        (point, step): rng.choice((0, 7, rng.randrange(900)))
        for point in SIDES
        for step in range(STEPS)
    }
    return file_of(0, values, START_S)


def sums_of(document: dict[str, Any]) -> Sums:
    """Cents by seller, buyer and kind of line: consumers' bills."""
    sums: Sums = Counter()
    for bill in document["bills"]:
        if bill["kind"] == "consumer":
            for line in bill["lines"]:
                sums[line["seller"], line["buyer"], line["line"]] += line["amount_cents"]
    return Counter({key: cents for key, cents in sums.items() if cents})


def moved_by(notes: list[dict[str, Any]]) -> Sums:
    """Cents that notes move, from the view of who buys, as ``sums_of`` counts them."""
    sums: Sums = Counter()
    for note in notes:
        if note["is_buyer"] and not note["advice"]:
            for change in note["changes"]:
                sums[note["other"], note["party"], change["line"]] -= change["amount_cents"]
    return sums


def added(*many: Sums) -> Sums:
    total: Sums = Counter()
    for sums in many:
        for key, cents in sums.items():
            total[key] += cents
    return Counter({key: cents for key, cents in total.items() if cents})


def plain_bills(document: dict[str, Any]) -> str:
    """All that bills say, but which revision they are."""
    kept = [
        {
            name: [one for one in part if one != "revision"] if name == "remarks" else part
            for name, part in bill.items()
            if name not in {"number", "stamp"}
        }
        for bill in document["bills"]
    ]
    stamp = {name: part for name, part in document["stamp"].items() if name != "revision"}
    return json.dumps([kept, stamp], sort_keys=True)
