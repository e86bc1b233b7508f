"""Gathering the lines between one seller and one buyer, with the VAT on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from node.billing.bill_energy import Span
from node.billing.bills import Line, LineKind, Measure
from node.billing.tariffs import Rate, Standing
from node.errors import Refused

__all__ = ["Amount", "LineBook", "Vat", "rate_of"]

Amount = tuple[Measure, int, int]
"""What a quantity counts, the quantity, the rate."""


@dataclass(frozen=True, slots=True, order=True)
class Vat:
    """A rate of VAT in hundredths of a per cent, and the act that sets it, or exempts from it."""

    rate: int
    reference: str
    standing: Standing = Standing.CONFIRMED

    @classmethod
    def of(cls, row: Rate) -> Vat:
        """The VAT of a row of the table."""
        return cls(row.value, row.reference, row.standing)


_Terms = tuple[LineKind, Measure, int, Vat, str, str, Standing]
"""What two quantities must have in common to stand on one line."""

_PLACE: Final = {kind: place for place, kind in enumerate(LineKind)}


@dataclass(slots=True)
class _Entry:
    """A line that is still growing."""

    terms: _Terms
    first: date
    until: date
    quantity: int


class LineBook:
    """Lines of one seller and buyer. What continues a line (the same thing at the same rate, from
    the day on which that ends, or within it) is added to it: a tariff that did not change is not
    two lines because another did, and is not rounded twice."""

    def __init__(self, seller: str, buyer: str) -> None:
        self._seller = seller
        self._buyer = buyer
        self._entries: list[_Entry] = []
        self._newest: dict[_Terms, _Entry] = {}

    def add(
        self,
        kind: LineKind,
        span: Span,
        amount: Amount,
        vat: Vat,
        *,
        time_class: str = "",
        reference: str = "",
        standing: Standing = Standing.CONFIRMED,
        apart: bool = False,
    ) -> None:
        """Take a quantity along, spans in their order. ``apart``: it must not join a line of
        another span."""
        measure, quantity, rate = amount
        terms = (kind, measure, rate, vat, time_class, reference, standing)
        entry = self._newest.get(terms)
        if entry is not None:
            within = entry.first <= span[0] and span[1] <= entry.until
            follows = entry.until == span[0] and not apart
            # Days count against the length of their year, so a line of days stays within one.
            if measure is Measure.DAYS and entry.first.year != span[0].year:
                follows = False
            if within or follows:
                entry.until = max(entry.until, span[1])
                entry.quantity += quantity
                return
        entry = _Entry(terms, *span, quantity)
        self._entries.append(entry)
        self._newest[terms] = entry

    def lines(self) -> Iterator[Line]:
        """The lines without VAT, kind by kind, each in the order of time."""
        for entry in self._ordered():
            yield self._line(entry)

    def with_vat(self) -> Iterator[Line]:
        """The lines, then one of VAT for each rate, on the sum of the rounded lines."""
        by_vat: dict[Vat, list[Line]] = {}
        for entry in self._ordered():
            line = self._line(entry)
            by_vat.setdefault(entry.terms[3], []).append(line)
            yield line
        for vat, lines in sorted(by_vat.items(), reverse=True):
            if not vat.rate and not vat.reference:
                continue
            yield Line(
                LineKind.VAT,
                self._seller,
                self._buyer,
                min(line.first for line in lines),
                max(line.until for line in lines),
                Measure.CENTS,
                sum(line.amount_cents for line in lines),
                vat.rate,
                reference=vat.reference,
                standing=vat.standing,
            )

    def _ordered(self) -> list[_Entry]:
        return sorted(self._entries, key=lambda entry: (_PLACE[entry.terms[0]], entry.first))

    def _line(self, entry: _Entry) -> Line:
        kind, measure, rate, vat, time_class, reference, standing = entry.terms
        return Line(
            kind,
            self._seller,
            self._buyer,
            entry.first,
            entry.until,
            measure,
            entry.quantity,
            rate,
            vat.rate,
            time_class,
            reference,
            standing,
        )


def rate_of(rate: int | Mapping[str, int], time_class: str, whose: str) -> tuple[int, str]:
    """A rate in a time class, and the class that it is stated for: its own, the peak or off-peak
    hours of both seasons, or none. Raises Refused if nothing is stated."""
    if isinstance(rate, int):
        return rate, ""
    for stated in (time_class, time_class[:2]):
        if stated in rate:
            return rate[stated], stated
    raise Refused(
        f"{whose}: no price for the hours {time_class}",
        reason="no_price",
        next_step="state one for every class of the consumer's tariff, or one for all hours",
    )
