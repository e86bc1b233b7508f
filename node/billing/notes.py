"""Credit and debit notes: what a ruling changes of bills that are out already.

A bill is never edited. The touched steps are allocated again, the period is billed again from the
corrected sums under the same operation, tariffs and key, and the notes are the differences, line by
line. A line between two parties stands on the bill of the one and on the statement of the other, so
what one is credited the other is debited, and all notes sum to zero, to the cent.

What the supplier bills is not the organiser's to correct: differences of the shadow, and of what
the buyer of the surplus pays, come as notes too, marked as advice to whoever bills them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final

from node.billing.bill_energy import BilledEnergy
from node.billing.bill_making import bill_energy, revised
from node.billing.bills import SUPPLIER, Bill, Line, LineKind, Measure, PeriodBills
from node.billing.claims import Series, canonical
from node.billing.operation import Operation
from node.billing.perimeter import midnight_s
from node.billing.rulings import Rerun, rerun
from node.billing.tariffs import TariffTables
from node.errors import ConfigurationError

__all__ = [
    "SURPLUS_BUYER",
    "LineChange",
    "Note",
    "Settlement",
    "carried_over",
    "corrected_energy",
    "note_document",
    "notes_between",
    "settlement_of",
]

SURPLUS_BUYER: Final = "surplus_buyer"
"""Who takes what nobody in the operation took."""


@dataclass(frozen=True, slots=True)
class LineChange:
    """How a kind of line changed between two parties; cents from the view of the note's party."""

    kind: LineKind
    energy_wh: int
    amount_cents: int


@dataclass(frozen=True, slots=True)
class Note:
    """What one party gets (a credit, above 0) or owes (a debit, below 0), and to whom.
    ``is_advice``: somebody else bills it. ``is_buyer``: the party is who buys of the other."""

    party: str
    other: str
    amount_cents: int
    changes: tuple[LineChange, ...]
    is_advice: bool = False
    is_buyer: bool = False

    @property
    def word(self) -> str:
        """``credit`` or ``debit``."""
        return "credit" if self.amount_cents > 0 else "debit"


@dataclass(frozen=True, slots=True)
class Settlement:
    """A ruling carried out: the bills that would have been, as a later revision, and the notes."""

    bills: PeriodBills
    steps: tuple[int, ...]
    notes: tuple[Note, ...]

    def digest(self) -> bytes:
        """32 bytes over the notes."""
        return hashlib.sha256(canonical({"notes": list(map(note_document, self.notes))})).digest()


def note_document(note: Note) -> dict[str, object]:
    """A note for JSON."""
    return {
        "party": note.party,
        "other": note.other,
        "kind": note.word,
        "amount_cents": note.amount_cents,
        "advice": note.is_advice,
        "is_buyer": note.is_buyer,
        "changes": [
            {
                "line": change.kind.value,
                "energy_wh": change.energy_wh,
                "amount_cents": change.amount_cents,
            }
            for change in note.changes
        ],
    }


def settlement_of(
    operation: Operation,
    tables: TariffTables,
    billed: BilledEnergy,
    reference: Series,
    point: str,
    *,
    provisional: bool = False,
    revision: int = 2,
) -> Settlement:
    """Carry a ruling out on a billed period. ``billed`` is what the bills were made from, and with
    it the key; ``operation`` and ``tables`` are those of that time; ``point`` is the household's.

    Values outside the period are another period's. Raises ConfigurationError for other steps or a
    point that is not billed, Refused as billing does.
    """
    if reference.step_s != billed.step_s:
        raise ConfigurationError(
            f"the ruling has steps of {reference.step_s} s, the bills of {billed.step_s} s",
            next_step="rule in the steps of the official curve",
        )
    values_wh = {
        step: value
        for start_s, value in reference.stated().items()
        if 0 <= (step := (start_s - billed.first_s) // billed.step_s) < billed.allocation.steps
    }
    done = rerun(billed.allocation, point, reference.side, values_wh)
    before = bill_energy(operation, tables, billed, provisional=provisional)
    corrected = corrected_energy(billed, done, operation)
    after = revised(bill_energy(operation, tables, corrected, provisional=provisional), revision)
    steps = tuple(change.step for change in done.changes)
    return Settlement(after, steps, notes_between(before, after))


def corrected_energy(billed: BilledEnergy, done: Rerun, operation: Operation) -> BilledEnergy:
    """What bills are made from, with the touched steps in their new sums."""
    before, after = done.before, done.after
    pairs = {group: [list(row) for row in matrix] for group, matrix in after.pairs.items()}
    consumed = {point: list(sums) for point, sums in billed.consumed.items()}
    produced = {point: list(sums) for point, sums in billed.produced.items()}
    opened = set(before.open_steps)
    nothing = [[0] * len(after.consumption) for _ in after.production]
    for change in done.changes:
        group = _group_of(billed, change.step, operation)
        total = pairs.setdefault(group, [list(row) for row in nothing])
        for row, changed in zip(total, change.matrix, strict=True):
            row[:] = [old + more for old, more in zip(row, changed, strict=True)]
        for sums, was, now in (
            (consumed, before.consumption, after.consumption),
            (produced, before.production, after.production),
        ):
            for point in sums:
                old = 0 if change.step in opened else was[point][change.step]
                sums[point][group] += now[point][change.step] - old
    return replace(
        billed,
        allocation=replace(after, pairs=pairs),
        consumed=consumed,
        produced=produced,
        day_runs=tuple(_day_runs(billed, done)),
    )


def _group_of(billed: BilledEnergy, step: int, operation: Operation) -> int:
    """The group of a step: the span it lies in, and its class in each calendar."""
    local = datetime.fromtimestamp(billed.first_s + step * billed.step_s, operation.zone)
    for number, label in enumerate(billed.labels):
        first, until = billed.spans[label.span]
        if first <= local.date() < until and all(
            calendar.class_at(local) == name for calendar, name in label.classes.items()
        ):
            return number
    raise AssertionError(step)


def _day_runs(
    billed: BilledEnergy, done: Rerun
) -> Iterator[tuple[date, tuple[tuple[int, int], ...]]]:
    """The days' runs of steps, with those in them that are open no more."""
    opened = sorted(set(done.before.open_steps) - set(done.after.open_steps))
    starts = [
        -((billed.first_s - midnight_s(day, billed.period.zone)) // billed.step_s)
        for day, _ in billed.day_runs
    ]
    for place, (day, runs) in enumerate(billed.day_runs):
        end = starts[place + 1] if place + 1 < len(starts) else done.after.steps
        more = [step for step in opened if starts[place] <= step < end]
        yield day, (*runs, *((step, step + 1) for step in more))


def notes_between(before: PeriodBills, after: PeriodBills) -> tuple[Note, ...]:
    """The notes that lead from one making of a period's bills to another; they sum to zero."""
    notes = [*_notes(before.consumers, after.consumers, is_advice=False)]
    notes += _notes(before.shadows, after.shadows, is_advice=True)
    notes += _notes(before.producers, after.producers, is_advice=True, memo=True)
    assert sum(note.amount_cents for note in notes) == 0
    return tuple(notes)


def _notes(
    before: Iterable[Bill], after: Iterable[Bill], *, is_advice: bool, memo: bool = False
) -> Iterator[Note]:
    was, now = _sums(before, memo=memo), _sums(after, memo=memo)
    changed: dict[tuple[str, str], list[LineChange]] = {}
    for key in sorted(was.keys() | now.keys()):
        (old_wh, old_cents), (new_wh, new_cents) = was.get(key, (0, 0)), now.get(key, (0, 0))
        if (old_wh, old_cents) != (new_wh, new_cents):
            seller, buyer, kind = key
            change = LineChange(LineKind(kind), new_wh - old_wh, new_cents - old_cents)
            changed.setdefault((seller, buyer), []).append(change)
    for (seller, buyer), changes in changed.items():
        amount_cents = sum(change.amount_cents for change in changes)
        owed = tuple(replace(change, amount_cents=-change.amount_cents) for change in changes)
        yield Note(buyer, seller, -amount_cents, owed, is_advice, is_buyer=True)
        yield Note(seller, buyer, amount_cents, tuple(changes), is_advice)


def _sums(bills: Iterable[Bill], *, memo: bool) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Wh and cents by seller, buyer and kind of line."""
    sums: dict[tuple[str, str, str], tuple[int, int]] = {}
    for bill in bills:
        for line in bill.memo if memo else bill.lines:
            key = (line.seller or SUPPLIER, line.buyer or SURPLUS_BUYER, line.kind.value)
            energy_wh, amount_cents = sums.get(key, (0, 0))
            sums[key] = (energy_wh + _wh(line), amount_cents + line.amount_cents)
    return sums


def _wh(line: Line) -> int:
    return line.quantity if line.measure is Measure.WH else 0


def carried_over(
    notes: Sequence[Note], earlier: Mapping[tuple[str, str], int], threshold_cents: int
) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
    """What is due with the next bill, and what is carried on because it is less than a threshold
    that the members voted: cents by (party, other), advice left out.

    Both parties of a pair have the same sum with opposite signs, so both carry it or none does.
    """
    sums = dict(earlier)
    for note in notes:
        if not note.is_advice:
            pair = (note.party, note.other)
            sums[pair] = sums.get(pair, 0) + note.amount_cents
    due = {pair: cents for pair, cents in sums.items() if cents and abs(cents) >= threshold_cents}
    carried = {pair: cents for pair, cents in sums.items() if cents and pair not in due}
    return due, carried
