"""What a bill is: lines whose amounts follow from what they state, and totals that sum to the cent.

Everything is counted in integers: Wh, days, units (10**-8 EUR) per Wh or per year, hundredths of a
per cent. A line is worth quantity x rate, exact until it is rounded to the cent, once, half away
from zero. VAT is a line too, on the rounded lines of one seller, buyer and rate. A total is the sum
of its lines.

A line between a producer and a consumer stands, the same object, on the consumer's bill and on the
producer's statement: what one pays the other gets, to the cent, whatever rounding did.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from node.billing.tariffs import Standing
from node.billing.time_of_use import Period
from node.units import UNITS_PER_CREDIT

__all__ = [
    "BILLING_RULES",
    "COMMUNITY",
    "SUPPLIER",
    "Bill",
    "BillKind",
    "Day",
    "EnergySums",
    "Line",
    "LineKind",
    "Measure",
    "PeriodBills",
    "Remark",
    "Stamp",
    "cents",
]

BILLING_RULES: Final = "1"
"""The version of this arithmetic, stamped on each bill beside the version of the voted rules."""

COMMUNITY: Final = "community"
SUPPLIER: Final = "supplier"
"""Who sells what no producer does."""

_UNITS_PER_CENT: Final = UNITS_PER_CREDIT // 100
_WHOLE: Final = 10_000
"""Hundredths of a per cent in the whole."""


class BillKind(StrEnum):
    """A consumer's bill for local energy; the shadow of its supplier's bill for the rest, which is
    no bill; a producer's statement."""

    CONSUMER = "consumer"
    SHADOW = "shadow"
    PRODUCER = "producer"


class LineKind(StrEnum):
    """What a line is for."""

    LOCAL_ENERGY = "local_energy"
    COMMUNITY_FEE = "community_fee"
    STANDING_CHARGE = "standing_charge"
    COMPLEMENT = "complement"
    TURPE_MANAGEMENT = "turpe_management"
    TURPE_METERING = "turpe_metering"
    TURPE_POWER = "turpe_power"
    TURPE_AUTO = "turpe_autoproduite"
    TURPE_ALLO = "turpe_alloproduite"
    TURPE_ENERGY = "turpe_energy"
    CTA = "cta"
    ACCISE = "accise"
    VAT = "vat"
    SURPLUS = "surplus"
    NOTE = "note"
    NOTE_ACCISE = "note_accise"
    NOTE_VAT = "note_vat"

    @property
    def is_note(self) -> bool:
        """Whether it corrects a bill of before."""
        return self in {LineKind.NOTE, LineKind.NOTE_ACCISE, LineKind.NOTE_VAT}


class Measure(StrEnum):
    """What a line's quantity counts: Wh at units per Wh, days at units per year, cents at
    hundredths of a per cent."""

    WH = "wh"
    DAYS = "days"
    CENTS = "cents"


class Remark(StrEnum):
    """What a reader must know beside the figures."""

    ACCOUNTING = "accounting"
    NO_CONFORMITY = "no_conformity"
    SHADOW = "shadow"
    PROVISIONAL = "provisional"
    ONE_SOURCE = "one_source"
    DOUBTFUL = "doubtful"
    ACCISE_EXEMPT = "accise_exempt"
    OFF_PEAK_INSIDE_STEP = "off_peak_inside_step"
    REVISION = "revision"


def cents(units: int, divisor: int = 1) -> int:
    """Units divided by a positive number as whole cents, half away from zero."""
    whole = divisor * _UNITS_PER_CENT
    half_up = (2 * abs(units) + whole) // (2 * whole)
    return half_up if units >= 0 else -half_up


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill. ``until`` is the first day after. ``vat`` is the VAT rate that applies to
    it; on a line of VAT, 0. ``reference`` is the act that sets the rate, empty for an agreed one.
    """

    kind: LineKind
    seller: str
    buyer: str
    first: date
    until: date
    measure: Measure
    quantity: int
    rate: int
    vat: int = 0
    time_class: str = ""
    reference: str = ""
    standing: Standing = Standing.CONFIRMED

    @property
    def amount_cents(self) -> int:
        """What the line is worth, rounded once."""
        product = self.quantity * self.rate
        match self.measure:
            case Measure.WH:
                return cents(product)
            case Measure.DAYS:
                return cents(product, _days_of(self.first.year))
            case Measure.CENTS:
                return cents(product * _UNITS_PER_CENT, _WHOLE)


def _days_of(year: int) -> int:
    return (date(year + 1, 1, 1) - date(year, 1, 1)).days


@dataclass(frozen=True, slots=True)
class EnergySums:
    """Wh of a bill: all that was measured, what was shared within the operation, and the rest."""

    measured_wh: int
    shared_wh: int

    @property
    def rest_wh(self) -> int:
        """A consumer's complement, a producer's surplus."""
        return self.measured_wh - self.shared_wh


@dataclass(frozen=True, slots=True)
class Day:
    """A local day of a bill's annex."""

    day: date
    energy: EnergySums


@dataclass(frozen=True, slots=True)
class Stamp:
    """What bills were made from and under which rules: the same stamp, the same bills.

    ``inputs`` is a digest of the curves and of what the key made of them. ``open_steps`` counts the
    steps that had no value and are not billed.
    """

    operation: str
    rules: str
    period: Period
    key: str
    tariffs: str
    inputs: str
    open_steps: int = 0
    revision: int = 1
    billing_rules: str = BILLING_RULES


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill, a shadow or a statement. ``memo`` are lines that are told but no part of the total:
    what others pay."""

    kind: BillKind
    point: str
    name: str
    stamp: Stamp
    energy: EnergySums
    lines: tuple[Line, ...]
    days: tuple[Day, ...] = ()
    memo: tuple[Line, ...] = ()
    remarks: tuple[Remark, ...] = ()

    @property
    def number(self) -> str:
        """``2025-10-consumer-30000000000011``; a later revision says which it is."""
        revision = f"-r{self.stamp.revision}" if self.stamp.revision > 1 else ""
        return f"{self.stamp.period}-{self.kind}-{self.point}{revision}"

    @property
    def total_cents(self) -> int:
        """The sum of the lines."""
        return _sum(self.lines)

    @property
    def vat_cents(self) -> int:
        """How much of it is VAT."""
        kinds = {LineKind.VAT, LineKind.NOTE_VAT}
        return _sum(line for line in self.lines if line.kind in kinds)


@dataclass(frozen=True, slots=True)
class PeriodBills:
    """All bills of an operation's period."""

    stamp: Stamp
    consumers: tuple[Bill, ...]
    shadows: tuple[Bill, ...]
    producers: tuple[Bill, ...]

    @property
    def every(self) -> tuple[Bill, ...]:
        """Bills, shadows and statements, in this order."""
        return (*self.consumers, *self.shadows, *self.producers)

    @property
    def collected_cents(self) -> int:
        """What consumers pay for local energy, VAT and fee included."""
        return sum(bill.total_cents for bill in self.consumers)

    @property
    def community_cents(self) -> int:
        """What of it is the community's: fees and their VAT."""
        return sum(
            _sum(line for line in bill.lines if line.seller == COMMUNITY) for bill in self.consumers
        )

    @property
    def producers_cents(self) -> int:
        """What of it producers get."""
        return sum(bill.total_cents for bill in self.producers)

    def accise_cents(self) -> int:
        """The accise in what producers get: they owe it to the State."""
        kinds = {LineKind.ACCISE, LineKind.NOTE_ACCISE}
        return sum(
            _sum(line for line in bill.lines if line.kind in kinds) for bill in self.producers
        )

    def balance_cents(self) -> int:
        """What was collected and reached nobody: 0."""
        return self.collected_cents - self.community_cents - self.producers_cents


def _sum(lines: Iterable[Line]) -> int:
    return sum(line.amount_cents for line in lines)
