"""The operation of a TOML file that people own; docs/billing.md shows one.

Every number with a decimal is written in quotes, so that it is what was written and not a floating
point number. A field that nobody knows is refused: it may be a price, misspelt.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar

from node.billing.months import zone_of
from node.billing.operation import (
    EVER,
    NEVER,
    Consumer,
    Fee,
    LocalAccise,
    Operation,
    Price,
    Producer,
    Supply,
)
from node.billing.perimeter import parse_segment
from node.billing.tariffs import Standing, ct_kwh, eur_year
from node.billing.time_of_use import parse_off_peak
from node.errors import ConfigurationError

__all__ = ["operation_from", "read_operation"]

MAX_OPERATION_BYTES: Final = 16 * 2**20

_POINT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)

_T = TypeVar("_T")
_D = TypeVar("_D")
_K = TypeVar("_K")
_M = TypeVar("_M", Consumer, Producer)


def read_operation(path: Path) -> Operation:
    """The operation of a TOML file. Raises ConfigurationError, naming the file."""
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_OPERATION_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot be read ({error.strerror})", file=path) from error
    if len(text) > MAX_OPERATION_BYTES:
        raise ConfigurationError(f"is larger than {MAX_OPERATION_BYTES} bytes", file=path)
    try:
        fields = tomllib.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"is not TOML: {error}", file=path) from error
    return operation_from(fields, file=path)


def operation_from(fields: Mapping[str, Any], *, file: Path | None = None) -> Operation:
    """The operation that a document describes. Raises ConfigurationError for what is missing,
    unknown, or does not fit together."""
    document = _Section("the file", fields, file)
    own = document.inner("operation")
    taxes = document.inner("taxes", needed=False)
    tariffs = document.inner("tariffs", needed=False)
    operation = Operation(
        name=own.text("name"),
        rules=own.text("rules"),
        zone=zone_of(own.text("timezone", "Europe/Paris")),
        consumers=document.members("consumer", _consumer),
        producers=document.members("producer", _producer),
        prices=_grouped(
            map(_price, document.each("price")), lambda price: (price.producer, price.consumer)
        ),
        supplies=_grouped(map(_supply, document.each("supply")), lambda supply: supply.consumer),
        fees=tuple(map(_fee, document.each("fee"))),
        local_accise=taxes.parsed("local_accise", LocalAccise, "due"),
        local_accise_reference=taxes.text("reference", ""),
        accepted=tuple(tariffs.parsed_each("accept", Standing)),
    )
    for section in (document, own, taxes, tariffs):
        section.nothing_else()
    _check(operation, document)
    return operation


def _check(operation: Operation, document: _Section) -> None:
    if operation.local_accise is LocalAccise.EXEMPT and not operation.local_accise_reference:
        raise document.wrong("[taxes] exempts local energy without the reference that allows it")
    for price in itertools.chain.from_iterable(operation.prices.values()):
        if price.producer not in operation.producers:
            raise document.wrong(f"a price of {price.producer}, who is no producer")
        if price.consumer is not None and price.consumer not in operation.consumers:
            raise document.wrong(f"a price for {price.consumer}, who is no consumer")
    for supply in itertools.chain.from_iterable(operation.supplies.values()):
        if supply.consumer not in operation.consumers:
            raise document.wrong(f"a supply of {supply.consumer}, who is no consumer")
    for consumer in operation.consumers.values():
        if consumer.turpe is not None and consumer.kva is None:
            raise document.wrong(f"{consumer.point} has a turpe option, but no kva")
    _check_dates(operation, document)


def _check_dates(operation: Operation, document: _Section) -> None:
    for what, groups in (
        ("price", operation.prices.values()),
        ("supply", operation.supplies.values()),
        ("fee", [operation.fees]),
    ):
        for dated in groups:
            _check_once(document, what, dated)


def _check_once(document: _Section, what: str, dated: Iterable[Price | Supply | Fee]) -> None:
    """Refuse two of one kind that hold at one time."""
    ordered = sorted(dated, key=lambda entry: entry.first)
    for before, after in itertools.pairwise(ordered):
        if after.first < before.until:
            raise document.wrong(f"two of [[{what}]] hold on {after.first}")


def _grouped(items: Iterable[_D], key: Callable[[_D], _K]) -> dict[_K, tuple[_D, ...]]:
    """Items by their key, in their order."""
    found: dict[_K, tuple[_D, ...]] = {}
    for item in items:
        found[key(item)] = (*found.get(key(item), ()), item)
    return found


class _Section:
    """A table of the document; it knows which of its fields were asked for."""

    def __init__(self, title: str, fields: Mapping[str, Any], file: Path | None) -> None:
        self._title = title
        self._fields = fields
        self._file = file
        self._used: set[str] = set()

    def wrong(self, message: str) -> ConfigurationError:
        return ConfigurationError(
            message, file=self._file, next_step="docs/billing.md shows an operation's file"
        )

    def nothing_else(self) -> None:
        unknown = sorted(set(self._fields) - self._used)
        if unknown:
            raise self.wrong(f"{self._title}: nobody knows {', '.join(unknown)}")

    def get(self, name: str) -> Any:  # noqa: ANN401  (TOML may hold anything)
        self._used.add(name)
        return self._fields.get(name)

    def text(self, name: str, default: str | None = None) -> str:
        found = self.get(name)
        if found is None and default is not None:
            return default
        if not isinstance(found, str) or (not found and default is None):
            raise self.wrong(f"{self._title}: {name} is not a text in quotes")
        return found

    def parsed(self, name: str, parse: Callable[[str], _T], default: str | None = None) -> _T:
        text = self.text(name, default)
        try:
            return parse(text)
        except ValueError as error:
            raise self.wrong(f"{self._title}: {name}: {error}") from error

    def parsed_each(self, name: str, parse: Callable[[str], _T]) -> list[_T]:
        found = self.get(name)
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise self.wrong(f"{self._title}: {name} is not a list of texts in quotes")
        try:
            return [parse(text) for text in found]
        except ValueError as error:
            raise self.wrong(f"{self._title}: {name}: {error}") from error

    def whole(self, name: str) -> int | None:
        found = self.get(name)
        if found is not None and (type(found) is not int or not 0 < found <= 10**6):
            raise self.wrong(f"{self._title}: {name} is no whole number above 0")
        return found

    def day(self, name: str, default: date) -> date:
        found = self.get(name)
        if found is None:
            return default
        if type(found) is not date:
            raise self.wrong(f"{self._title}: {name} is no date (write 2025-01-01, no quotes)")
        return found

    def span(self) -> tuple[date, date]:
        first, until = self.day("from", EVER), self.day("until", NEVER)
        if until <= first:
            raise self.wrong(f"{self._title}: until is not after from")
        return first, until

    def rate(self, name: str) -> int | dict[str, int]:
        """A price in cents per kWh, or a table of them by time class."""
        found = self.get(name)
        if not isinstance(found, Mapping):
            return self.parsed(name, ct_kwh)
        prices = _Section(f"{self._title}, {name}", found, self._file)
        return {time_class: prices.parsed(time_class, ct_kwh) for time_class in found}

    def inner(self, name: str, *, needed: bool = True) -> _Section:
        found = self.get(name)
        if found is None and not needed:
            found = {}
        if not isinstance(found, Mapping):
            raise self.wrong(f"there is no table [{name}]")
        return _Section(f"[{name}]", found, self._file)

    def each(self, name: str) -> list[_Section]:
        found = self.get(name)
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
            raise self.wrong(f"{name} is not a list [[{name}]]")
        return [
            _Section(f"[[{name}]] {place}", item, self._file)
            for place, item in enumerate(found, start=1)
        ]

    def members(self, name: str, make: Callable[[_Section], _M]) -> dict[str, _M]:
        found: dict[str, _M] = {}
        for section in self.each(name):
            member = make(section)
            section.nothing_else()
            if member.point in found:
                raise self.wrong(f"{name} {member.point} stands twice")
            found[member.point] = member
        if not found:
            raise self.wrong(f"there is no [[{name}]]")
        return dict(sorted(found.items()))


def _point(text: str) -> str:
    """A delivery point's number; it names files, so it may hold nothing that leads elsewhere."""
    if not _POINT.fullmatch(text):
        raise ValueError(f"{text!r} is no number of a delivery point")
    return text


def _consumer(section: _Section) -> Consumer:
    point = section.parsed("point", _point)
    first, until = section.span()
    turpe = section.text("turpe", "")
    return Consumer(
        point=point,
        name=section.text("name", point),
        kva=section.whole("kva"),
        turpe=turpe or None,
        off_peak_min=section.parsed("off_peak", parse_off_peak, ""),
        accise=section.text("accise", "household"),
        first=first,
        until=until,
        segment=section.parsed("segment", parse_segment, ""),
    )


def _producer(section: _Section) -> Producer:
    point = section.parsed("point", _point)
    first, until = section.span()
    surplus = section.text("surplus_ct_kwh", "")
    return Producer(
        point=point,
        name=section.text("name", point),
        vat_reference=section.text("no_vat", ""),
        surplus_units=section.parsed("surplus_ct_kwh", ct_kwh) if surplus else None,
        first=first,
        until=until,
        segment=section.parsed("segment", parse_segment, ""),
        kva=section.whole("kva"),
    )


def _price(section: _Section) -> Price:
    consumer = section.text("consumer", "")
    first, until = section.span()
    price = Price(section.text("producer"), consumer or None, first, until, section.rate("ct_kwh"))
    section.nothing_else()
    return price


def _supply(section: _Section) -> Supply:
    first, until = section.span()
    supply = Supply(
        section.text("consumer"),
        first,
        until,
        section.parsed("standing_eur_year", eur_year),
        section.rate("ct_kwh"),
    )
    section.nothing_else()
    return supply


def _fee(section: _Section) -> Fee:
    first, until = section.span()
    has_vat = section.text("vat", "normal")
    if has_vat not in {"normal", "none"}:
        raise section.wrong('[[fee]]: vat is "normal" or "none"')
    fee = Fee(first, until, section.parsed("ct_kwh", ct_kwh), has_vat == "normal")
    section.nothing_else()
    return fee
