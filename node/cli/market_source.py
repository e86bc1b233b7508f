"""Where the market's own allocation comes from, for the commands that bill it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TypeVar, cast

import click

from node.billing.allocation import Key
from node.billing.curve_files import CurveTable
from node.billing.keys import is_of_market
from node.billing.market_key import StatedMarket, in_market_steps, key_on, stated_by
from node.billing.operation import Operation
from node.billing.reconcile import SideOf, fills_of
from node.billing.time_of_use import Period
from node.cli.output import counted
from node.cli.sources import MarketPast, open_past, source_options
from node.cli.supplier_reconcile import points_option, whose_points
from node.errors import ChainMismatch, ChainUnreachable, ConfigurationError, Refused
from node.market.history import SlotRecord
from node.model import Side
from node.slots import iso_utc, slot_start_s

__all__ = [
    "MarketChoice",
    "allocation_key",
    "awaited_market",
    "billed_market",
    "check_source",
    "market_options",
]

HOUR_S = 3_600
"""The longest step: the last of a period ends within this after it."""

_F = TypeVar("_F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class MarketChoice:
    """A finished run, or a market on a live chain, and the file that says whose points are whose;
    nothing of it for a key that is not the market's."""

    run_folder: Path | None = None
    rpc: str | None = None
    market: str | None = None
    points_file: Path | None = None

    @property
    def is_given(self) -> bool:
        """Whether any of the options was."""
        return self != MarketChoice()


def market_options(command: _F) -> _F:
    """The options that say which market a key of the kind "market" means, as ``source``."""

    @wraps(command)
    def chosen(
        *,
        run_folder: Path | None,
        rpc: str | None,
        market: str | None,
        points_file: Path | None,
        **others: object,
    ) -> object:
        return command(source=MarketChoice(run_folder, rpc, market, points_file), **others)

    return cast("_F", source_options(points_option(chosen)))


def check_source(key: Key, source: MarketChoice) -> None:
    """Raise click.UsageError for a market that the key does not mean, or that is half named."""
    if not source.is_given:
        return
    if not is_of_market(key):
        raise click.UsageError(
            '--run, --rpc, --market and --points go with a --key whose kind is "market".'
        )
    if (source.run_folder is None) == (source.rpc is None):
        raise click.UsageError("Say which market: --run DIR, or --rpc URL --market ADDRESS.")
    if (source.rpc is None) != (source.market is None):
        raise click.UsageError("--rpc URL and --market ADDRESS go together.")


def _told(
    source: MarketChoice, producers: Collection[str], consumers: Collection[str], span_s: range
) -> StatedMarket:
    """What the market filled in the slots that begin in ``span_s``, by the members' points.

    Raises Refused if a slot is still open, if the source ends before the span begins, and for a
    household that traded and is no member; errors as ``open_past`` does.
    """
    with open_past(source.run_folder, source.rpc, source.market) as past:
        points = _points(past, source.points_file, producers, consumers)
        slot_s = past.slot_s
        slots = range(-(-span_s.start // slot_s), -(-span_s.stop // slot_s))
        known = past.source.slots()
        if known.stop <= slots.start:
            raise Refused(
                f"{past.where} holds nothing from {iso_utc(span_s.start)} on",
                reason="market_empty",
                next_step="give the market of that time, or a node that has all of its chain",
            )
        records = counted(past.records(slots.start, slots.stop), "slots")
        fills = (fill for record in records for fill in fills_of([_closed(record, slot_s)]))
        return stated_by(fills, slot_s, lambda who, side: points.get((who, side)))


def _closed(record: SlotRecord, slot_s: int) -> SlotRecord:
    if record.cleared is None and record.orders:
        raise Refused(
            f"slot {record.slot} ({iso_utc(slot_start_s(record.slot, slot_s))}) is not cleared",
            reason="market_open",
            next_step="clear it (anyone may, and every node tries to), then run this again",
        )
    return record


def _points(
    past: MarketPast, path: Path | None, producers: Collection[str], consumers: Collection[str]
) -> dict[SideOf, str]:
    """The members' points by household and side."""
    household_of = whose_points(past, path)
    found: dict[SideOf, str] = {}
    for side, members in ((Side.ASK, producers), (Side.BID, consumers)):
        for point in members:
            if point not in household_of:
                continue
            place = (household_of[point], side)
            if place in found:
                raise ConfigurationError(
                    f"household {place[0]} has two points in one direction", file=path
                )
            found[place] = point
    return found


def billed_market(source: MarketChoice, operation: Operation, period: Period) -> StatedMarket:
    """What the market filled in a period, for bills. Raises as ``_told`` does."""
    span_s = range(period.start_s, period.end_s + -period.end_s % HOUR_S)
    return _told(source, operation.producers, operation.consumers, span_s)


def awaited_market(source: MarketChoice, operation: Operation, period: Period) -> StatedMarket:
    """The same for the month's round: Refused in place of all that keeps a market from being read,
    so that this month waits, and others need not."""
    try:
        return billed_market(source, operation, period)
    except (ConfigurationError, ChainUnreachable, ChainMismatch, click.UsageError) as error:
        raise Refused(
            f"the market cannot be read: {error.message}",
            reason="market_source",
            next_step=getattr(error, "next_step", "")
            or "correct what names it, and run this again",
        ) from error


def allocation_key(
    key: Key, source: MarketChoice, production: CurveTable, consumption: CurveTable
) -> tuple[Key, CurveTable, CurveTable]:
    """A key and the curves that it is applied to: the market's on these curves, in steps that hold
    whole slots; any other as it is."""
    check_source(key, source)
    if not is_of_market(key):
        return key, production, consumption
    starts_s = production.starts_s
    span_s = range(starts_s.start, starts_s.stop)
    stated = _told(source, production.points, consumption.points, span_s)
    made, used = in_market_steps(production, consumption, stated.slot_s)
    return key_on(key, stated, made.points, used.points, made.starts_s), made, used
