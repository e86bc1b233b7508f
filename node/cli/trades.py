"""List what was bought and sold in a market."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from node.cli.output import (
    Column,
    counted,
    example,
    json_option,
    money_text,
    price_text,
    say,
    say_documents,
    say_table,
)
from node.cli.slot_view import ACCOUNTING
from node.cli.sources import MarketPast, open_past, source_options
from node.market.history import SlotRecord, completed
from node.slots import iso_utc, slot_start_s
from node.units import kwh

__all__ = ["trades"]

TRADES_SHOWN: Final = 200
"""Trades that ``daisee trades`` shows a person unless told otherwise; --json has them all."""

_TRADE_COLUMNS: Final = (
    Column("slot starts", figures=False),
    Column("household", figures=False),
    Column("did", figures=False),
    Column("Wh"),
    Column("ct/kWh"),
    Column("amount EUR"),
)


@dataclass(frozen=True, slots=True)
class _Trade:
    """One filled order."""

    slot: int
    household: int
    side: str
    filled_wh: int
    price: int
    amount_units: int


@click.command(
    short_help="List what was bought and sold.",
    epilog=example(
        "daisee trades --run out/june --household home-03 --from 2016-06-01 --to 2016-06-02"
    ),
)
@click.option("--household", metavar="H", help="Only this household (a name or a number).")
@click.option("--from", "from_text", metavar="T", help="Only slots from this one or instant on.")
@click.option("--to", "to_text", metavar="T", help="Only slots before this one or instant.")
@click.option(
    "--last",
    type=click.IntRange(min=1),
    default=TRADES_SHOWN,
    show_default=True,
    metavar="N",
    help="Show the last N; --json always prints all.",
)
@source_options
@json_option
def trades(
    household: str | None,
    from_text: str | None,
    to_text: str | None,
    last: int,
    run_folder: Path | None,
    rpc: str | None,
    market: str | None,
    *,
    as_json: bool,
) -> None:
    """List every fill: who bought or sold how much of what it metered, when, at what price.

    T is a slot number, a day (2016-06-01, from midnight UTC) or an instant
    (2016-06-01T12:00:00Z). An amount is what the household got (or paid: then it is negative, the
    network fee included).
    """
    with open_past(run_folder, rpc, market) as past:
        number = None if household is None else past.household(household)
        known = past.source.slots()
        start = known.start if from_text is None else past.first_slot_from(from_text)
        stop = known.stop if to_text is None else past.first_slot_from(to_text)
        records = past.records(max(start, known.start), min(stop, known.stop))
        found = _trades(counted(records, "slots"), number)
        if as_json:
            say_documents("trades", (_trade_document(past, trade) for trade in found))
        else:
            _say_trades(past, found, last)


def _trades(records: Iterable[SlotRecord], household: int | None) -> Iterator[_Trade]:
    for record in records:
        price = None if record.cleared is None else record.cleared.price
        if price is None:
            continue
        for order in completed(record).orders:
            if order.filled_wh and household in (None, order.household):
                yield _Trade(
                    slot=record.slot,
                    household=order.household,
                    side=order.side.word,
                    filled_wh=order.filled_wh,
                    price=price,
                    amount_units=order.amount_units or 0,
                )


def _trade_document(past: MarketPast, trade: _Trade) -> dict[str, object]:
    return {
        "slot": trade.slot,
        "start": iso_utc(slot_start_s(trade.slot, past.slot_s)),
        "household": past.name_of(trade.household),
        "number": trade.household,
        "side": trade.side,
        "filled_wh": trade.filled_wh,
        "price_units_per_wh": trade.price,
        "amount_units": trade.amount_units,
    }


def _say_trades(past: MarketPast, found: Iterable[_Trade], last: int) -> None:
    """Print the last trades and the sums of all."""
    shown: deque[_Trade] = deque(maxlen=last)
    count = sold_wh = bought_wh = 0
    for trade in found:
        count += 1
        shown.append(trade)
        if trade.side == "ask":
            sold_wh += trade.filled_wh
        else:
            bought_wh += trade.filled_wh
    if not count:
        say("Nothing was traded.")
        return
    say_table(_TRADE_COLUMNS, [_trade_cells(past, trade) for trade in shown])
    of_all = f"The last {len(shown)} of {count} fills" if len(shown) < count else f"{count} fills"
    say(f"{of_all}; sold {kwh(sold_wh):.3f} kWh, bought {kwh(bought_wh):.3f} kWh in all.")
    say(ACCOUNTING)


def _trade_cells(past: MarketPast, trade: _Trade) -> tuple[str, ...]:
    return (
        iso_utc(slot_start_s(trade.slot, past.slot_s)),
        past.name_of(trade.household),
        "sold" if trade.side == "ask" else "bought",
        str(trade.filled_wh),
        price_text(trade.price),
        money_text(trade.amount_units),
    )
