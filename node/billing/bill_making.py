"""Bills of a period, from an operation, dated tariffs and curves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date

from node.billing.allocation import Key
from node.billing.bill_energy import BilledEnergy, billed_energy, calendar_of
from node.billing.bill_lines import LineBook, Vat, rate_of
from node.billing.bill_shadow import shadow_lines
from node.billing.bills import (
    COMMUNITY,
    Bill,
    BillKind,
    EnergySums,
    Line,
    LineKind,
    Measure,
    PeriodBills,
    Remark,
    Stamp,
)
from node.billing.curve_files import CurveTable
from node.billing.market_key import StatedMarket
from node.billing.operation import Consumer, LocalAccise, Operation, Producer
from node.billing.series import MISSING
from node.billing.tariff_needs import TARIFF_REASONS, all_that_lacks
from node.billing.tariffs import Standing, TariffTables
from node.billing.time_of_use import Period
from node.errors import Refused
from node.slots import iso_utc

__all__ = ["bill_energy", "bill_period", "refuse_virtual", "revised"]


def bill_period(
    operation: Operation,
    tariffs: TariffTables,
    key: Key,
    production: CurveTable,
    consumption: CurveTable,
    period: Period,
    *,
    provisional: bool = False,
    stated: StatedMarket | None = None,
) -> PeriodBills:
    """Allocate and bill a period. What bills need and nobody says is refused, never guessed.
    ``stated`` is what the market filled, for its key; curves are in steps that hold whole slots.

    Steps in which a curve has a gap are refused too, or, ``provisional``, left out and counted.
    Raises Refused with its reason, ConfigurationError for curves that do not fit the operation.
    """
    refuse_virtual(key)
    tables = tariffs.accepting(operation.accepted)
    energy = billed_energy(operation, tables, key, production, consumption, period, stated=stated)
    return bill_energy(operation, tables, energy, provisional=provisional)


def refuse_virtual(key: Key) -> None:
    """Raise Refused for Italy's key. It delivers nothing; and what it shares is the smaller sum of
    an hour, not of a step, so that no step of it could be opened again alone."""
    if key.name == "virtual":
        raise Refused(
            "the key virtual delivers nothing, so there is no local energy to bill",
            reason="virtual_key",
            next_step="share the incentive instead: node.billing.virtual",
        )


def bill_energy(
    operation: Operation, tables: TariffTables, energy: BilledEnergy, *, provisional: bool = False
) -> PeriodBills:
    """Bill what was allocated. ``tables`` accept what the operation accepts. Who joins after the
    period gets no bill; who left before it gets one, for there may be notes to stand on it.

    Raises Refused as ``bill_period`` does; for tariff rows, of all that lack at once.
    """
    try:
        return _bills(operation, tables, energy, is_provisional=provisional)
    except Refused as error:
        if error.reason not in TARIFF_REASONS:
            raise
        raise all_that_lacks(error, operation, tables, energy.spans) from error


def _bills(
    operation: Operation, tables: TariffTables, energy: BilledEnergy, *, is_provisional: bool
) -> PeriodBills:
    open_steps = energy.allocation.open_steps
    if open_steps and not is_provisional:
        raise Refused(
            f"{_gap_text(energy)}: {len(open_steps)} steps of {energy.period} are open",
            reason="open_steps",
            next_step="ask the operator for the missing values, or bill provisionally",
        )
    stamp = Stamp(
        operation=operation.name,
        rules=operation.rules,
        period=energy.period,
        key=energy.allocation.key.name,
        tariffs=tables.digest_of(energy.period.first, energy.period.until),
        inputs=energy.digest(),
        open_steps=len(open_steps),
    )
    until = energy.period.until
    members = [
        (place, consumer)
        for place, consumer in enumerate(operation.consumers.values())
        if consumer.first < until
    ]
    local = {
        consumer.point: list(_local_lines(operation, tables, energy, place, consumer))
        for place, consumer in members
    }
    sold: dict[str, list[Line]] = {
        producer.point: [] for producer in operation.producers.values() if producer.first < until
    }
    for lines in local.values():
        for line in lines:
            if line.seller != COMMUNITY:
                sold[line.seller].append(line)
    made = PeriodBills(
        stamp,
        tuple(
            _consumer_bill(operation, stamp, energy, consumer, local[consumer.point])
            for _, consumer in members
        ),
        tuple(
            _shadow(operation, tables, stamp, energy, place, consumer)
            for place, consumer in members
            if consumer.turpe is not None
        ),
        tuple(
            _statement(operation, stamp, energy, operation.producers[point], lines)
            for point, lines in sold.items()
        ),
    )
    assert made.balance_cents() == 0, made.balance_cents()
    return made


def _gap_text(energy: BilledEnergy) -> str:
    """Whose curve has the first gap, and when."""
    step = energy.allocation.open_steps[0]
    curves = {**energy.allocation.production, **energy.allocation.consumption}
    point = next(point for point, curve in curves.items() if curve[step] == MISSING)
    return f"{point} has no value from {iso_utc(energy.first_s + step * energy.step_s)}"


def _local_lines(
    operation: Operation,
    tables: TariffTables,
    energy: BilledEnergy,
    place: int,
    consumer: Consumer,
) -> Iterator[Line]:
    """What a consumer pays for local energy, producer by producer, and the community's fee."""
    calendar = calendar_of(consumer, tables)
    fee_wh: dict[int, int] = {}
    for number, producer in enumerate(operation.producers.values()):
        book = LineBook(producer.point, consumer.point)
        by_span: dict[int, int] = {}
        for label, energy_wh in zip(energy.labels, energy.shared(number, place), strict=True):
            if not energy_wh:
                continue
            first, until = energy.spans[label.span]
            price = operation.price(producer.point, consumer.point, first)
            whose = f"{producer.point} to {consumer.point}"
            rate, time_class = rate_of(price.rate, label.classes[calendar], whose)
            book.add(
                LineKind.LOCAL_ENERGY,
                (first, until),
                (Measure.WH, energy_wh, rate),
                _vat_of(producer, tables, first),
                time_class=time_class,
            )
            by_span[label.span] = by_span.get(label.span, 0) + energy_wh
        for span, energy_wh in sorted(by_span.items()):
            _add_accise(operation, tables, book, consumer, producer, energy.spans[span], energy_wh)
            fee_wh[span] = fee_wh.get(span, 0) + energy_wh
        yield from book.with_vat()
    book = LineBook(COMMUNITY, consumer.point)
    for span, energy_wh in sorted(fee_wh.items()):
        first, until = energy.spans[span]
        fee = operation.fee(first)
        if fee is not None:
            vat = Vat.of(tables.vat.at("normal", first)) if fee.has_vat else Vat(0, "")
            amount = (Measure.WH, energy_wh, fee.rate)
            book.add(LineKind.COMMUNITY_FEE, (first, until), amount, vat)
    yield from book.with_vat()


def _vat_of(producer: Producer, tables: TariffTables, day: date) -> Vat:
    if producer.vat_reference:
        return Vat(0, producer.vat_reference)
    return Vat.of(tables.vat.at("normal", day))


def _add_accise(
    operation: Operation,
    tables: TariffTables,
    book: LineBook,
    consumer: Consumer,
    producer: Producer,
    span: tuple[date, date],
    energy_wh: int,
) -> None:
    vat = _vat_of(producer, tables, span[0])
    if operation.local_accise is LocalAccise.EXEMPT:
        amount, reference = (Measure.WH, energy_wh, 0), operation.local_accise_reference
        book.add(LineKind.ACCISE, span, amount, vat, reference=reference)
        return
    row = tables.accise.at(consumer.accise, span[0])
    book.add(
        LineKind.ACCISE,
        span,
        (Measure.WH, energy_wh, row.value),
        vat,
        reference=row.reference,
        standing=row.standing,
    )


def _consumer_bill(
    operation: Operation,
    stamp: Stamp,
    energy: BilledEnergy,
    consumer: Consumer,
    lines: Sequence[Line],
) -> Bill:
    days = energy.days(consumer.point, is_producer=False)
    exempt = operation.local_accise is LocalAccise.EXEMPT
    more = [Remark.ACCISE_EXEMPT] if exempt and lines else []
    more += _off_peak(consumer, energy, lines)
    return Bill(
        kind=BillKind.CONSUMER,
        point=consumer.point,
        name=consumer.name,
        stamp=stamp,
        energy=_total(day.energy for day in days),
        lines=tuple(lines),
        days=days,
        remarks=_remarks(stamp, lines, more),
    )


def _off_peak(consumer: Consumer, energy: BilledEnergy, lines: Iterable[Line]) -> list[Remark]:
    """A remark, if lines are by class and off-peak hours begin or end inside a step."""
    step_min = energy.step_s // 60
    inside = any(minute % step_min for window in consumer.off_peak_min for minute in window)
    by_class = any(line.time_class for line in lines)
    return [Remark.OFF_PEAK_INSIDE_STEP] if inside and by_class else []


def _shadow(
    operation: Operation,
    tables: TariffTables,
    stamp: Stamp,
    energy: BilledEnergy,
    place: int,
    consumer: Consumer,
) -> Bill:
    lines = tuple(shadow_lines(operation, tables, energy, place, consumer))
    days = energy.days(consumer.point, is_producer=False)
    more = [Remark.SHADOW, *_off_peak(consumer, energy, lines)]
    return Bill(
        kind=BillKind.SHADOW,
        point=consumer.point,
        name=consumer.name,
        stamp=stamp,
        energy=_total(day.energy for day in days),
        lines=lines,
        remarks=_remarks(stamp, lines, more),
    )


def _statement(
    operation: Operation,
    stamp: Stamp,
    energy: BilledEnergy,
    producer: Producer,
    lines: Sequence[Line],
) -> Bill:
    days = energy.days(producer.point, is_producer=True)
    total = _total(day.energy for day in days)
    book = LineBook(producer.point, "")
    if producer.surplus_units is not None and total.rest_wh:
        period = (stamp.period.first, stamp.period.until)
        book.add(
            LineKind.SURPLUS,
            period,
            (Measure.WH, total.rest_wh, producer.surplus_units),
            Vat(0, ""),
        )
    exempt = operation.local_accise is LocalAccise.EXEMPT
    return Bill(
        kind=BillKind.PRODUCER,
        point=producer.point,
        name=producer.name,
        stamp=stamp,
        energy=total,
        lines=tuple(lines),
        days=days,
        memo=tuple(book.lines()),
        remarks=_remarks(stamp, lines, [Remark.ACCISE_EXEMPT] if exempt and lines else []),
    )


def _total(sums: Iterable[EnergySums]) -> EnergySums:
    measured_wh = shared_wh = 0
    for each in sums:
        measured_wh += each.measured_wh
        shared_wh += each.shared_wh
    return EnergySums(measured_wh, shared_wh)


def _remarks(stamp: Stamp, lines: Iterable[Line], more: Iterable[Remark]) -> tuple[Remark, ...]:
    standings = {line.standing for line in lines}
    found = [Remark.ACCOUNTING, *more]
    if stamp.open_steps:
        found.append(Remark.PROVISIONAL)
    if Standing.ONE_SOURCE in standings:
        found.append(Remark.ONE_SOURCE)
    if Standing.DOUBTFUL in standings:
        found.append(Remark.DOUBTFUL)
    return (*found, Remark.NO_CONFORMITY)


def revised(bills: PeriodBills, revision: int) -> PeriodBills:
    """The same bills as a revision, which their numbers say. One after the first is told to be
    settled by correction lines of a later bill, not by paying the month again."""
    stamp = replace(bills.stamp, revision=revision)
    more = (Remark.REVISION,) if revision > 1 else ()
    consumers, producers = (
        tuple(replace(bill, stamp=stamp, remarks=(*more, *bill.remarks)) for bill in group)
        for group in (bills.consumers, bills.producers)
    )
    shadows = tuple(replace(bill, stamp=stamp) for bill in bills.shadows)
    return PeriodBills(stamp, consumers, shadows, producers)
