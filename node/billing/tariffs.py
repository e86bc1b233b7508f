"""Dated tariffs: the grid's TURPE, the accise, the CTA and VAT, each row with its legal reference.

The tables are CSV files beside this module; an operation may add rows of its own in a TOML file. A
row holds in ``[from, until)``. No row is stretched: a day that none covers is refused, and so is,
unless told otherwise, a row whose figure two publications do not agree on (``standing``). Whoever
bills compares the figures with the act that a row names.

Rates are integers: units per Wh, units per year, or hundredths of a per cent.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from node.billing.tariff_file import own_rows
from node.errors import ConfigurationError, Refused
from node.units import UNITS_PER_CREDIT, UNITS_PER_WH_IN_CENT_PER_KWH

__all__ = [
    "BASE",
    "CLASS_SETS",
    "FOUR_CLASSES",
    "PEAK_CLASSES",
    "Rate",
    "Standing",
    "Table",
    "TariffTables",
    "Turpe",
    "ct_kwh",
    "eur_mwh",
    "eur_year",
    "per_cent",
    "read_tariffs",
]

_TABLES: Final = ("turpe", "accise", "cta", "vat")
BASE: Final = ("BASE",)
PEAK_CLASSES: Final = ("HP", "HC")
FOUR_CLASSES: Final = ("HPH", "HCH", "HPB", "HCB")
CLASS_SETS: Final = (BASE, PEAK_CLASSES, FOUR_CLASSES)
"""Time classes that the grid's tariffs know: peak and off-peak hours (HP, HC), and these in the
high season (H) and in the low one (B)."""

_UNITS_PER_WH_IN_EUR_PER_MWH: Final = UNITS_PER_CREDIT // 10**6
_HEAD: Final = ("name", "from", "until", "standing")


class Standing(StrEnum):
    """How well a row is known: two publications give its figure; one does; or what is known of it
    does not fit together."""

    CONFIRMED = "confirmed"
    ONE_SOURCE = "one_source"
    DOUBTFUL = "doubtful"


class _Row(Protocol):
    """What every row has."""

    @property
    def name(self) -> str: ...
    @property
    def first(self) -> date: ...
    @property
    def until(self) -> date: ...
    @property
    def standing(self) -> Standing: ...
    @property
    def reference(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Rate:
    """One rate in ``[first, until)``: units per Wh (accise) or hundredths of a per cent."""

    name: str
    first: date
    until: date
    standing: Standing
    reference: str
    value: int


@dataclass(frozen=True, slots=True)
class Turpe:
    """An option of the grid's tariff up to 36 kVA in ``[first, until)``.

    Fixed parts in units per year (``power_units`` per kVA of it). ``allo`` are units per Wh by time
    class for what comes over the whole grid; ``auto``, if the option is one of collective
    self-consumption, for what comes from the operation.
    """

    name: str
    first: date
    until: date
    standing: Standing
    reference: str
    management_units: int
    metering_units: int
    power_units: int
    allo: Mapping[str, int]
    auto: Mapping[str, int] | None

    @property
    def classes(self) -> tuple[str, ...]:
        """The time classes, in the tariff's order."""
        return tuple(self.allo)


_R = TypeVar("_R", bound=_Row)


@dataclass(frozen=True, slots=True)
class Table(Generic[_R]):
    """The rows of one tariff, by name and date."""

    title: str
    rows: tuple[_R, ...]
    accepted: frozenset[Standing]

    def at(self, name: str, day: date) -> _R:
        """The row that holds on a day. Raises Refused if none does, or if it is not known well
        enough."""
        row = next(
            (row for row in self.rows if row.name == name and row.first <= day < row.until), None
        )
        if row is None:
            raise Refused(
                f"{self.title}: no row says what {name} is on {day}",
                reason="tariff_unknown",
                next_step="write the row, with the act that sets it, into a file of your own and"
                " give it with --tariffs; docs/billing.md, Rows of your own, has one to begin with",
            )
        if row.standing not in self.accepted:
            raise Refused(
                f"{self.title}: {name} from {row.first} is {row.standing} ({row.reference})",
                reason="tariff_unconfirmed",
                next_step=f'compare it with the act, then accept = ["{row.standing}"] in [tariffs]',
            )
        return row

    def changes(self, name: str, first: date, until: date) -> set[date]:
        """The days after ``first`` and before ``until`` on which a row begins or ends."""
        days = {day for row in self.rows if row.name == name for day in (row.first, row.until)}
        return {day for day in days if first < day < until}


@dataclass(frozen=True, slots=True)
class TariffTables:
    """All tables."""

    turpe: Table[Turpe]
    accise: Table[Rate]
    cta: Table[Rate]
    vat: Table[Rate]

    def digest_of(self, first: date, until: date) -> str:
        """Over the rows that hold within ``[first, until)``: bills name what they were made from,
        and rows of another time change none."""
        rows: list[Turpe | Rate] = [*self.turpe.rows, *self.accise.rows]
        rows += [*self.cta.rows, *self.vat.rows]
        held = (repr(row) for row in rows if row.first < until and row.until > first)
        return sha256("\n".join(held).encode()).hexdigest()

    def accepting(self, standings: Iterable[Standing]) -> TariffTables:
        """The same tables, with rows of these standings accepted beside confirmed ones."""
        accepted = frozenset({Standing.CONFIRMED, *standings})
        return TariffTables(
            Table(self.turpe.title, self.turpe.rows, accepted),
            Table(self.accise.title, self.accise.rows, accepted),
            Table(self.cta.title, self.cta.rows, accepted),
            Table(self.vat.title, self.vat.rows, accepted),
        )


def read_tariffs(own: Path | None = None) -> TariffTables:
    """The tables that come along, with the rows of a file of one's own added.

    Raises ConfigurationError for a row that cannot be used, for two that hold at one time, and for
    a row of one's own that leaves a gap to its neighbour.
    """
    shipped = {table: _shipped(table) for table in _TABLES}
    added = {} if own is None else own_rows(own, {t: rows[0] for t, rows in shipped.items()})

    def read(table: str, make: Callable[[Mapping[str, str]], _R]) -> tuple[_R, ...]:
        columns, *rows = shipped[table]
        cells = [_Cells(dict(zip(columns, row, strict=True)), f"{table}.csv") for row in rows]
        cells += [_Cells(row.cells, row.file, row.line) for row in added.get(table, ())]
        return _in_order([(each, _made(each, make)) for each in cells])

    accepted = frozenset({Standing.CONFIRMED})
    return TariffTables(
        Table("TURPE", read("turpe", _turpe), accepted),
        Table("accise", read("accise", lambda cells: _rate(cells, "eur_mwh", eur_mwh)), accepted),
        Table("CTA", read("cta", lambda cells: _rate(cells, "per_cent", per_cent)), accepted),
        Table("VAT", read("vat", lambda cells: _rate(cells, "per_cent", per_cent)), accepted),
    )


def ct_kwh(text: str) -> int:
    """Cents per kWh as units per Wh. Raises ValueError for what is not exact in units."""
    return _exact(text, UNITS_PER_WH_IN_CENT_PER_KWH)


def eur_mwh(text: str) -> int:
    """EUR per MWh as units per Wh. Raises ValueError for what is not exact in units."""
    return _exact(text, _UNITS_PER_WH_IN_EUR_PER_MWH)


def eur_year(text: str) -> int:
    """EUR as units. Raises ValueError for what is not exact in units."""
    return _exact(text, UNITS_PER_CREDIT)


def per_cent(text: str) -> int:
    """Per cent as hundredths of one. Raises ValueError for more than two decimals."""
    return _exact(text, 100)


def _exact(text: str, factor: int) -> int:
    try:
        number = Decimal(text.strip().replace(",", "."))
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no number") from error
    if not number.is_finite() or abs(number) > 10**6:
        raise ValueError(f"{text!r} is no number that a tariff has")
    scaled = number * factor
    if scaled < 0 or scaled != scaled.to_integral_value():
        raise ValueError(f"{text!r} is negative, or has more decimals than a bill can hold")
    return int(scaled)


@dataclass(frozen=True, slots=True)
class _Cells:
    """A row before it is read, and where it stands; ``line`` if it is one's own."""

    cells: Mapping[str, str]
    file: Path | str
    line: int | None = None

    @property
    def is_own(self) -> bool:
        return isinstance(self.file, Path)


def _shipped(table: str) -> list[list[str]]:
    """The rows of a table that comes along, its columns first."""
    text = files("node.billing").joinpath("tariff_tables", f"{table}.csv").read_text("utf-8")
    return [row for row in csv.reader(text.splitlines()) if row]


def _made(where: _Cells, make: Callable[[Mapping[str, str]], _R]) -> _R:
    try:
        return make(where.cells)
    except ValueError as error:
        raise ConfigurationError(str(error), file=where.file, line=where.line) from error


def _in_order(rows: list[tuple[_Cells, _R]]) -> tuple[_R, ...]:
    """The rows by name and date; two that hold at once are refused, and so is a gap beside a row of
    one's own: it would be found on the day on which somebody is to be billed."""
    rows.sort(key=lambda pair: (pair[1].name, pair[1].first))
    for (where, before), (where_after, after) in itertools.pairwise(rows):
        if before.name != after.name:
            continue
        own = where_after if where_after.is_own else where
        if after.first < before.until:
            raise ConfigurationError(
                f"two rows of {after.name} hold on {after.first}", file=own.file, line=own.line
            )
        if before.until < after.first and own.is_own:
            raise ConfigurationError(
                f"no row of {after.name} holds from {before.until} to {after.first}",
                file=own.file,
                line=own.line,
                next_step="add the row between, or let this one begin or end beside its neighbour",
            )
    return tuple(row for _, row in rows)


def _head(cells: Mapping[str, str]) -> tuple[str, date, date, Standing, str]:
    name, first, until, standing = (cells[column] for column in _HEAD)
    holds_from, holds_until = date.fromisoformat(first), date.fromisoformat(until)
    if holds_until <= holds_from or not cells["reference"]:
        raise ValueError("until is not after from, or no reference is given")
    return name, holds_from, holds_until, Standing(standing), cells["reference"]


def _rate(cells: Mapping[str, str], column: str, parse: Callable[[str], int]) -> Rate:
    return Rate(*_head(cells), parse(cells[column]))


def _turpe(cells: Mapping[str, str]) -> Turpe:
    classes = tuple(cells["classes"].split())
    if classes not in CLASS_SETS:
        raise ValueError(f"time classes {cells['classes']!r} are none that the tariff has")
    allo = _by_class(classes, cells["allo_ct_kwh"])
    auto = _by_class(classes, cells["auto_ct_kwh"]) if cells["auto_ct_kwh"] else None
    return Turpe(
        *_head(cells),
        eur_year(cells["management_eur_year"]),
        eur_year(cells["metering_eur_year"]),
        eur_year(cells["power_eur_kva_year"]),
        allo,
        auto,
    )


def _by_class(classes: tuple[str, ...], text: str) -> dict[str, int]:
    rates = [ct_kwh(rate) for rate in text.split()]
    if len(rates) != len(classes):
        raise ValueError(f"{len(rates)} rates for the classes {' '.join(classes)}")
    return dict(zip(classes, rates, strict=True))
