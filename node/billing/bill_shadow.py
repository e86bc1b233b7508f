"""The shadow of a supplier's bill: what the rest of a consumer's energy costs elsewhere.

The supplier bills it, not the operation. The shadow shows what the grid's tariff makes of local
energy (autoproduite) and of the rest (alloproduite), and what remains of taxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from node.billing.bill_energy import BilledEnergy, Span, calendar_of
from node.billing.bill_lines import LineBook, Vat, rate_of
from node.billing.bills import SUPPLIER, Line, LineKind, Measure
from node.billing.operation import Consumer, Operation
from node.billing.tariffs import TariffTables, Turpe

__all__ = ["shadow_lines"]


def shadow_lines(
    operation: Operation,
    tables: TariffTables,
    energy: BilledEnergy,
    place: int,
    consumer: Consumer,
) -> Iterator[Line]:
    """The lines of a consumer with a TURPE option. Raises Refused for what nobody says."""
    assert consumer.turpe is not None
    assert consumer.kva is not None
    local_wh = _local(energy, place)
    all_wh = energy.consumed[consumer.point]
    calendar = calendar_of(consumer, tables)
    book = LineBook(SUPPLIER, consumer.point)
    for number, (first, until) in enumerate(energy.spans):
        if first >= consumer.until or until <= consumer.first:
            continue
        by_class = dict.fromkeys(calendar.classes, (0, 0))
        for group, label in enumerate(energy.labels):
            if label.span == number:
                time_class = label.classes[calendar]
                local, rest = by_class[time_class]
                rest += all_wh[group] - local_wh[group]
                by_class[time_class] = (local + local_wh[group], rest)
        span = (first, until)
        turpe = tables.turpe.at(consumer.turpe, first)
        _add_supply(operation, tables, book, consumer, span, by_class)
        _add_fixed(tables, book, turpe, consumer.kva, span)
        _add_energy(tables, book, turpe, span, by_class)
        _add_accise(tables, book, consumer, span, sum(rest for _, rest in by_class.values()))
    yield from book.with_vat()


def _local(energy: BilledEnergy, place: int) -> list[int]:
    """What a consumer got from all producers, by group."""
    return [
        sum(row[place] for row in energy.allocation.pairs[group])
        for group in range(len(energy.labels))
    ]


def _normal(tables: TariffTables, day: date) -> Vat:
    return Vat.of(tables.vat.at("normal", day))


def _standing(tables: TariffTables, day: date) -> Vat:
    return Vat.of(tables.vat.at("standing_charge", day))


def _days(span: Span, rate: int) -> tuple[Measure, int, int]:
    return Measure.DAYS, (span[1] - span[0]).days, rate


def _add_supply(
    operation: Operation,
    tables: TariffTables,
    book: LineBook,
    consumer: Consumer,
    span: Span,
    by_class: Mapping[str, tuple[int, int]],
) -> None:
    supply = operation.supply(consumer.point, span[0])
    vat = _standing(tables, span[0])
    book.add(LineKind.STANDING_CHARGE, span, _days(span, supply.standing_units), vat)
    for time_class, (_, rest_wh) in by_class.items():
        if rest_wh:
            rate, stated = rate_of(supply.rate, time_class, f"the supplier of {consumer.point}")
            amount = (Measure.WH, rest_wh, rate)
            vat = _normal(tables, span[0])
            book.add(LineKind.COMPLEMENT, span, amount, vat, time_class=stated)


def _add_fixed(tables: TariffTables, book: LineBook, turpe: Turpe, kva: int, span: Span) -> None:
    """The fixed parts, once for each point, and the CTA on them."""
    cta = tables.cta.at("distribution", span[0])
    vat = _standing(tables, span[0])
    base_cents = 0
    for kind, rate in (
        (LineKind.TURPE_MANAGEMENT, turpe.management_units),
        (LineKind.TURPE_METERING, turpe.metering_units),
        (LineKind.TURPE_POWER, turpe.power_units * kva),
    ):
        days = _days(span, rate)
        first, until = span
        base_cents += Line(kind, "", "", first, until, *days).amount_cents
        book.add(
            kind,
            span,
            days,
            vat,
            reference=turpe.reference,
            standing=turpe.standing,
            apart=True,
        )
    book.add(
        LineKind.CTA,
        span,
        (Measure.CENTS, base_cents, cta.value),
        vat,
        reference=cta.reference,
        standing=cta.standing,
        apart=True,
    )


def _add_energy(
    tables: TariffTables,
    book: LineBook,
    turpe: Turpe,
    span: Span,
    by_class: Mapping[str, tuple[int, int]],
) -> None:
    """The grid's variable part. An option without collective self-consumption knows one rate for
    all that comes in, wherever it was produced."""
    for time_class in turpe.classes:
        local_wh, rest_wh = by_class[time_class]
        if turpe.auto is None:
            parts = [(LineKind.TURPE_ENERGY, local_wh + rest_wh, turpe.allo[time_class])]
        else:
            parts = [
                (LineKind.TURPE_AUTO, local_wh, turpe.auto[time_class]),
                (LineKind.TURPE_ALLO, rest_wh, turpe.allo[time_class]),
            ]
        for kind, energy_wh, rate in parts:
            if energy_wh:
                book.add(
                    kind,
                    span,
                    (Measure.WH, energy_wh, rate),
                    _normal(tables, span[0]),
                    time_class=time_class,
                    reference=turpe.reference,
                    standing=turpe.standing,
                )


def _add_accise(
    tables: TariffTables, book: LineBook, consumer: Consumer, span: Span, rest_wh: int
) -> None:
    if rest_wh:
        row = tables.accise.at(consumer.accise, span[0])
        book.add(
            LineKind.ACCISE,
            span,
            (Measure.WH, rest_wh, row.value),
            _normal(tables, span[0]),
            reference=row.reference,
            standing=row.standing,
        )
