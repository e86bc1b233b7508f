"""What an operation of collective self-consumption agreed on: members, prices, fee, taxes.

``operation_file.py`` reads it. All prices are without VAT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from node.billing.tariffs import Standing
from node.errors import Refused

__all__ = [
    "EVER",
    "NEVER",
    "Consumer",
    "Fee",
    "LocalAccise",
    "Operation",
    "Price",
    "Producer",
    "Supply",
]

EVER: Final = date(1, 1, 1)
NEVER: Final = date(9999, 12, 31)


class LocalAccise(StrEnum):
    """Whether the accise is due on what consumers get from the operation. DUE unless somebody says,
    with a reference, that the operation is exempt: that is disputed, and not for a program."""

    DUE = "due"
    EXEMPT = "exempt"


@dataclass(frozen=True, slots=True)
class Consumer:
    """A member that consumes, in ``[first, until)``. Without ``turpe`` there is no shadow of its
    supplier's bill. ``accise`` is its category, a name in the table. ``segment`` (C1..C5, P1..P4)
    and ``kva`` are what the operator's files of the point are read and checked with."""

    point: str
    name: str
    kva: int | None = None
    turpe: str | None = None
    off_peak_min: tuple[tuple[int, int], ...] = ()
    accise: str = "household"
    first: date = EVER
    until: date = NEVER
    segment: str = ""


@dataclass(frozen=True, slots=True)
class Producer:
    """A member that produces, in ``[first, until)``. ``vat_reference`` says why it charges no VAT,
    if it charges none; ``surplus_units`` is what the buyer of its surplus pays per Wh, if told.
    ``segment`` and ``kva`` are as a consumer's."""

    point: str
    name: str
    vat_reference: str = ""
    surplus_units: int | None = None
    first: date = EVER
    until: date = NEVER
    segment: str = ""
    kva: int | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """What a producer's energy costs a consumer (None: every one without a price of its own), in
    units per Wh: one number, or one by time class. 0 is a gift."""

    producer: str
    consumer: str | None
    first: date
    until: date
    rate: int | Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Supply:
    """A consumer's contract with its supplier, without grid, taxes and VAT: units per year, and
    units per Wh as in ``Price``."""

    consumer: str
    first: date
    until: date
    standing_units: int
    rate: int | Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Fee:
    """The community's fee on local energy, paid by its consumers, in units per Wh."""

    first: date
    until: date
    rate: int
    has_vat: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """All that bills are made from, beside energy and tariffs. ``rules`` is the version of the
    rules that the members voted; it is stamped on every bill. Prices go by producer and consumer,
    supplies by consumer."""

    name: str
    rules: str
    zone: ZoneInfo
    consumers: Mapping[str, Consumer]
    producers: Mapping[str, Producer]
    prices: Mapping[tuple[str, str | None], Sequence[Price]]
    supplies: Mapping[str, Sequence[Supply]]
    fees: tuple[Fee, ...]
    local_accise: LocalAccise = LocalAccise.DUE
    local_accise_reference: str = ""
    accepted: tuple[Standing, ...] = ()

    def price(self, producer: str, consumer: str, day: date) -> Price:
        """The price that holds between two on a day: their own, or the producer's for everybody.

        Raises Refused if they agreed on none.
        """
        for wanted in (consumer, None):
            for price in self.prices.get((producer, wanted), ()):
                if price.first <= day < price.until:
                    return price
        raise Refused(
            f"{producer} and {consumer} agreed on no price for {day}",
            reason="no_price",
            next_step="add a [[price]] to the operation's file; a gift has the price 0",
        )

    def supply(self, consumer: str, day: date) -> Supply:
        """A consumer's contract with its supplier on a day. Raises Refused if there is none."""
        for supply in self.supplies.get(consumer, ()):
            if supply.first <= day < supply.until:
                return supply
        raise Refused(
            f"nothing is known of {consumer}'s contract with its supplier on {day}",
            reason="no_supply",
            next_step="add a [[supply]], or take turpe out of its [[consumer]]",
        )

    def fee(self, day: date) -> Fee | None:
        """The community's fee on a day."""
        return next((fee for fee in self.fees if fee.first <= day < fee.until), None)
