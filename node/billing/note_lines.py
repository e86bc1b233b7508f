"""Correction notes as lines of the next bill, each once.

The notes of a month's revision say what one party gets and the other owes. With the next month that
is billed they become lines of the two's bills: the same line on the consumer's bill and on the
producer's statement, so the totals still agree to the cent. The archive's history says which stand
where; a month that is billed again keeps those that it had, and takes no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from node.billing.bills import COMMUNITY, Bill, Line, LineKind, Measure, PeriodBills
from node.billing.notes import carried_over
from node.billing.operation import Operation
from node.billing.time_of_use import Period
from node.errors import Refused

__all__ = [
    "NoteItem",
    "items_document",
    "note_items",
    "plan_notes",
    "unplaced",
    "with_notes",
]

_WHOLE: Final = 10_000
"""Hundredths of a per cent in the whole: a note's line is its cents, all of them."""

_SHOWN: Final = 12
"""Of a dispute's number."""

_KINDS: Final = {LineKind.VAT: LineKind.NOTE_VAT, LineKind.ACCISE: LineKind.NOTE_ACCISE}


@dataclass(frozen=True, slots=True, order=True)
class NoteItem:
    """What a revision of a month changed between two parties; above 0 the buyer owes more.
    ``disputes`` begin the numbers of those whose rulings the revision brought, if any did."""

    month: str
    revision: int
    disputes: str
    seller: str
    buyer: str
    kind: str
    amount_cents: int


def items_document(items: Iterable[NoteItem]) -> list[dict[str, object]]:
    """Items for the archive's history."""
    return [asdict(item) for item in items]


def note_items(
    month: str, revision: int, disputes: Iterable[str], notes: Iterable[Mapping[str, Any]]
) -> list[NoteItem]:
    """A revision's notes by the line that each changes, from the view of who bought: every pair
    once, for each note has a mirror. What others bill is left out."""
    named = ", ".join(sorted(number[:_SHOWN] for number in disputes))
    sums: dict[tuple[str, str, str], int] = {}
    for note in notes:
        if note["advice"] or not note["is_buyer"]:
            continue
        for change in note["changes"]:
            kind = _KINDS.get(LineKind(change["line"]), LineKind.NOTE)
            key = (note["other"], note["party"], kind.value)
            sums[key] = sums.get(key, 0) - int(change["amount_cents"])
    return [
        NoteItem(month, revision, named, *key, cents)
        for key, cents in sorted(sums.items())
        if cents
    ]


def plan_notes(
    period: Period,
    history: Sequence[Mapping[str, Any]],
    settled: Iterable[NoteItem],
    operation: Operation,
    threshold_cents: int,
) -> tuple[NoteItem, ...]:
    """Which notes stand on a month's bills: those of before, if it was billed; else all of earlier
    months that stand nowhere yet, pair by pair, where their sum reaches the threshold."""
    month = str(period)
    mine = [entry for entry in history if entry["period"] == month and "revision" in entry]
    if mine:
        return tuple(NoteItem(**item) for item in mine[-1].get("notes", ()))
    ready = [
        item
        for item in unplaced(history, settled)
        if item.month < month and _has_bills(operation, period, item)
    ]
    sums: dict[tuple[str, str], int] = {}
    for item in ready:
        pair = (item.seller, item.buyer)
        sums[pair] = sums.get(pair, 0) + item.amount_cents
    due, _ = carried_over(sums, threshold_cents)
    return tuple(item for item in ready if (item.seller, item.buyer) in due)


def unplaced(history: Sequence[Mapping[str, Any]], settled: Iterable[NoteItem]) -> list[NoteItem]:
    """What stands on no bill yet: it is below the threshold, no later month was billed, or one of
    the two parties has no bill here."""
    placed = {NoteItem(**item) for entry in history for item in entry.get("notes", ())}
    return [item for item in settled if item not in placed]


def _has_bills(operation: Operation, period: Period, item: NoteItem) -> bool:
    """Whether both are members by then; who left before still has a bill, with nothing else on."""
    seller, buyer = operation.producers.get(item.seller), operation.consumers.get(item.buyer)
    has_seller = item.seller == COMMUNITY or (seller is not None and seller.first < period.until)
    return has_seller and buyer is not None and buyer.first < period.until


def with_notes(bills: PeriodBills, items: Sequence[NoteItem]) -> PeriodBills:
    """The bills with notes as lines after their own.

    Raises Refused (``note_without_bill``) for a note of somebody who has none: it stood on one.
    """
    period = bills.stamp.period
    sellers = {COMMUNITY, *(bill.point for bill in bills.producers)}
    buyers = {bill.point for bill in bills.consumers}
    for item in items:
        if item.seller not in sellers or item.buyer not in buyers:
            missing = item.buyer if item.buyer not in buyers else item.seller
            raise Refused(
                f"a correction of {item.month} stands on {missing}'s bill, and {missing} has none"
                " any more",
                reason="note_without_bill",
                next_step="put it back into the operation's file; who left has an until there",
            )
    lines = [
        Line(
            kind=LineKind(item.kind),
            seller=item.seller,
            buyer=item.buyer,
            first=period.first,
            until=period.until,
            measure=Measure.CENTS,
            quantity=item.amount_cents,
            rate=_WHOLE,
            reference=_reference(item),
        )
        for item in items
    ]

    made = replace(
        bills,
        consumers=tuple(
            _added(bill, (line for line in lines if line.buyer == bill.point))
            for bill in bills.consumers
        ),
        producers=tuple(
            _added(bill, (line for line in lines if line.seller == bill.point))
            for bill in bills.producers
        ),
    )
    assert made.balance_cents() == 0, made.balance_cents()
    return made


def _reference(item: NoteItem) -> str:
    named = f", dispute {item.disputes}" if item.disputes else ""
    return f"{item.month}, revision {item.revision}{named}"


def _added(bill: Bill, lines: Iterable[Line]) -> Bill:
    return replace(bill, lines=(*bill.lines, *lines))
