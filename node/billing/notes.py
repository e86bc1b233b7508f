"""Credit and debit notes: what a correction changes of bills that are out already.

A bill is never edited. What differs between one revision of a month and the next becomes notes,
line by line, from the documents of both. A line between two parties stands on the bill of the one
and on the statement of the other, so what one is credited the other is debited, and all notes sum
to zero, to the cent. As each revision's notes begin where those of the one before ended, all notes
of a month together lead from its first bill to its newest, whatever came between.

What the supplier bills is not the organiser's to correct: differences of the shadow, and of what
the buyer of the surplus pays, come as notes too, marked as advice to whoever bills them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from node.billing.bills import SUPPLIER, BillKind, LineKind, Measure
from node.billing.claims import canonical

__all__ = [
    "SURPLUS_BUYER",
    "LineChange",
    "Note",
    "carried_over",
    "note_document",
    "notes_between",
    "notes_digest",
]

SURPLUS_BUYER: Final = "surplus_buyer"
"""Who takes what nobody in the operation took."""

_Sums = dict[tuple[str, str, str], tuple[int, int]]
"""Wh and cents by seller, buyer and kind of line."""


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


def notes_digest(notes: Sequence[Mapping[str, object]]) -> bytes:
    """32 bytes over notes as documents."""
    return hashlib.sha256(canonical({"notes": list(notes)})).digest()


def notes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Note, ...]:
    """The notes that lead from one document of a period's bills to another; they sum to zero."""
    notes = [
        note
        for kind, where in (
            (BillKind.CONSUMER, "lines"),
            (BillKind.SHADOW, "lines"),
            (BillKind.PRODUCER, "memo"),
        )
        for note in _notes(
            _sums(_lines(before, kind, where)),
            _sums(_lines(after, kind, where)),
            is_advice=kind is not BillKind.CONSUMER,
        )
    ]
    assert sum(note.amount_cents for note in notes) == 0
    return tuple(notes)


def _lines(document: Mapping[str, Any], kind: BillKind, where: str) -> Iterator[Mapping[str, Any]]:
    for bill in document["bills"]:
        if bill["kind"] == kind:
            yield from bill[where]


def _notes(was: _Sums, now: _Sums, *, is_advice: bool) -> Iterator[Note]:
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


def _sums(lines: Iterable[Mapping[str, Any]]) -> _Sums:
    sums: _Sums = {}
    for line in lines:
        key = (line["seller"] or SUPPLIER, line["buyer"] or SURPLUS_BUYER, line["line"])
        energy_wh, amount_cents = sums.get(key, (0, 0))
        line_wh = line["quantity"] if line["measure"] == Measure.WH else 0
        sums[key] = (energy_wh + line_wh, amount_cents + line["amount_cents"])
    return sums


def carried_over(
    sums: Mapping[tuple[str, str], int], threshold_cents: int
) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
    """What is due with the next bill, and what is carried on because it is less than a threshold
    that the members voted: cents by the two parties."""
    due = {pair: cents for pair, cents in sums.items() if cents and abs(cents) >= threshold_cents}
    carried = {pair: cents for pair, cents in sums.items() if cents and pair not in due}
    return due, carried
