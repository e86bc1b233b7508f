"""A slot for a person: the book, the interval, the price, the fills, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from node.cli.output import Column, energy_text, money_text, price_text, say, say_table
from node.market.history import BookRow, Explanation, SlotRecord, completed, explain
from node.model import Side
from node.slots import iso_utc, slot_end_s, slot_start_s

__all__ = ["ACCOUNTING", "say_slot"]

ACCOUNTING: Final = (
    "These are accounting facts about a shared network:"
    " nobody's electrons are steered to a neighbour."
)

_BOOK_COLUMNS: Final = (
    Column("ct/kWh"),
    Column("asked"),
    Column("bid"),
    Column("asked up to it"),
    Column("bid from it up"),
    Column("could trade"),
    Column("", figures=False),
)
_FILL_COLUMNS: Final = (
    Column("seq"),
    Column("household", figures=False),
    Column("side", figures=False),
    Column("limit ct/kWh"),
    Column("ordered Wh"),
    Column("filled Wh"),
    Column("amount EUR"),
)


def say_slot(record: SlotRecord, slot_s: int, name_of: Callable[[int], str]) -> None:
    """Print why a slot has its price and what each order got."""
    start = iso_utc(slot_start_s(record.slot, slot_s))
    end = iso_utc(slot_end_s(record.slot, slot_s))
    say(f"Slot {record.slot}, {start} to {end}")
    if not record.orders:
        say("Nobody ordered anything, so nothing was traded.")
        return
    explanation = explain(record)
    say()
    say("The book, from the lowest price to the highest, in Wh:")
    say_table(_BOOK_COLUMNS, [_book_cells(row, explanation) for row in explanation.rows])
    say()
    for sentence in _reasons(record, explanation):
        say(sentence)
    say()
    say("The orders, as they were accepted:")
    say_table(_FILL_COLUMNS, list(_fill_cells(record, name_of)))
    say()
    say(ACCOUNTING)


def _book_cells(row: BookRow, explanation: Explanation) -> tuple[str, ...]:
    marks = []
    if row.price == explanation.low:
        marks.append("lo")
    if row.price == explanation.high:
        marks.append("hi")
    if row.price == explanation.price:
        marks.append("price")
    figures = (row.ask_wh, row.bid_wh, row.supply_wh, row.demand_wh, row.volume_wh)
    return (price_text(row.price), *(str(figure) for figure in figures), " ".join(marks))


def _reasons(record: SlotRecord, explanation: Explanation) -> Iterator[str]:
    if record.cleared is None:
        yield "The slot is not cleared yet. As the book stands:"
    if explanation.price is None:
        yield "No ask is as low as any bid, so nothing trades and the slot has no price."
        return
    low, high = price_text(explanation.low), price_text(explanation.high)
    price = price_text(explanation.price)
    yield f"No price lets more than {energy_text(explanation.matched_wh)} kWh trade."
    if explanation.low == explanation.high:
        yield f"Asks and bids balance at one price alone, so that is the price: {price} ct/kWh."
    else:
        yield (
            f"Asks and bids balance at every price from {low} (lo) to {high} (hi) ct/kWh;"
            f" the price is the middle: {price} ct/kWh."
        )
    if explanation.rationed is None:
        yield "All asks up to the price and all bids from it upwards are filled whole."
    else:
        whole = (
            "All asks up to the price and all bids above it"
            if explanation.rationed is Side.BID
            else "All bids from the price upwards and all asks below it"
        )
        yield (
            f"{whole} are filled whole; the {explanation.rationed.word}s at the price share what"
            f" is left: {explanation.left_wh} of their {explanation.rationed_wh} Wh, pro rata."
        )


def _fill_cells(record: SlotRecord, name_of: Callable[[int], str]) -> Iterator[tuple[str, ...]]:
    for order in completed(record).orders:
        yield (
            str(order.seq),
            name_of(order.household),
            order.side.word,
            price_text(order.limit_price),
            str(order.energy_wh),
            "-" if order.filled_wh is None else str(order.filled_wh),
            "-" if order.amount_units is None else money_text(order.amount_units),
        )
