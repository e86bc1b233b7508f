"""The rows of one file on their way to curves: what every format hands over, in compact arrays.

A format opens a lane for each kind of row that it meets (point, direction, step, unit, side of the
stamp) and adds rows to it; the lane refuses what cannot be used under a finding. 23 bytes a row.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from zoneinfo import ZoneInfo

from node.billing.amounts import NO_NUMBER, UNITS, AmountReader
from node.billing.conformity import FindingClass, FindingLog, Treatment
from node.billing.identifiers import cups_fault, ean_fault, prm_fault
from node.billing.perimeter import Perimeter
from node.billing.series import (
    MISSING,
    STEPS_S,
    Direction,
    PeriodEnergy,
    RegisterValue,
    StepQuality,
)
from node.billing.stamps import NO_STAMP, SKIPPED, StampReader

__all__ = [
    "MAX_ROWS",
    "Expectations",
    "Intake",
    "Lane",
    "Refusal",
    "Rows",
    "Stamped",
    "TooMuch",
    "Unreadable",
]

MAX_ROWS: Final = 20_000_000
"""Rows of one file: 1,000 points for a year at 30 minutes, and some."""

MAX_OTHERS: Final = 1_500_000
"""Indexes and energies of one file: four registers of 1,000 points, daily for a year. Each is an
object of its own, ten times a row of a curve, so there can be far fewer of them."""

MAX_NAME_CHARS: Final = 200
"""Of a calendar and a register together."""

MAX_LANES: Final = 100_000


class TooMuch(Exception):
    """A file is larger than any that an operator sends, in bytes, rows or depth."""


class Unreadable(Exception):
    """A file cannot be read to its end, or is not built as its flow is; with the line if known."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class Stamped(Enum):
    """On which side of its step an operator stamps a value."""

    AT_START = "start"
    AT_END = "end"


@dataclass(frozen=True, slots=True)
class Expectations:
    """What is known before a file is read. ``perimeter`` None: every point is taken. ``step_s``:
    the step of the operation, None to keep that of the file. ``direction``: of the files that do
    not say whether they are of consumption or production."""

    zone: ZoneInfo
    perimeter: Perimeter | None = None
    step_s: int | None = None
    direction: Direction | None = None


@dataclass(slots=True)
class Rows:
    """The rows of one point and direction in the order of the file. A start is negative where a
    bare local time occurs twice (see ``node.billing.stamps``)."""

    point_id: str
    direction: Direction
    starts: array[int] = field(default_factory=lambda: array("q"))
    steps_s: array[int] = field(default_factory=lambda: array("H"))
    watt_minutes: array[int] = field(default_factory=lambda: array("q"))
    lines: array[int] = field(default_factory=lambda: array("I"))
    quality: bytearray = field(default_factory=bytearray)

    def in_order_of_the_file(self) -> None:
        """Put rows back where they stood, for a format that handed some over later."""
        order = sorted(range(len(self.lines)), key=self.lines.__getitem__)
        for column in (self.starts, self.steps_s, self.watt_minutes, self.lines):
            column[:] = array(column.typecode, [column[index] for index in order])
        self.quality[:] = bytes(self.quality[index] for index in order)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the rows of a lane are refused, all alike."""

    klass: FindingClass
    treatment: Treatment
    rule: str
    message: str


def _read_nothing(_: str) -> int:
    return NO_NUMBER


class Lane:
    """Rows of one kind. ``refusal`` is None where they are taken."""

    __slots__ = (
        "_amounts",
        "_intake",
        "_offset_s",
        "_read",
        "_rows",
        "_stamps",
        "_step_s",
        "refusal",
    )

    def __init__(
        self,
        intake: Intake,
        rows: Rows,
        step_s: int,
        stamped: Stamped,
        amounts: AmountReader | None,
        refusal: Refusal | None,
    ) -> None:
        self._intake = intake
        self._rows = rows
        self._step_s = step_s
        self._offset_s = step_s if stamped is Stamped.AT_END else 0
        self._amounts = amounts
        self._read = amounts.read if amounts is not None else _read_nothing
        self._stamps = intake.stamps
        self.refusal = refusal

    @property
    def amounts(self) -> AmountReader:
        """How this lane's numbers are read."""
        assert self._amounts is not None
        return self._amounts

    def add(
        self, line: int, stamp: str, amount: str | None, quality: StepQuality, raw: str = ""
    ) -> None:
        """One row as text; an empty amount is a gap that the operator states."""
        if self.refusal is not None:
            self.refuse_all(line, line, 1, raw)
            return
        stamp_s = self._stamps.read(stamp)
        if NO_STAMP <= stamp_s <= SKIPPED:
            self._intake.refuse_stamp(stamp_s, stamp, line, self._rows.point_id, raw)
            return
        self.add_at(line, stamp_s, amount, quality, raw or f"{stamp} {amount}")

    def add_at(
        self, line: int, stamp_s: int, amount: str | None, quality: StepQuality, raw: str
    ) -> None:
        """The same for a stamp that is read already (as ``StampReader`` gives it)."""
        if self.refusal is not None:
            self.refuse_all(line, line, 1, raw)
            return
        value = self._read(amount) if amount else MISSING
        if value == NO_NUMBER:
            self._intake.refuse(
                Refusal(
                    FindingClass.NON_STANDARD,
                    Treatment.ASK,
                    "number",
                    "the value is no amount of this flow",
                ),
                line,
                point_id=self._rows.point_id,
                raw=raw,
            )
            return
        self._intake.count(1)
        rows, offset_s = self._rows, self._offset_s
        rows.starts.append(stamp_s - offset_s if stamp_s >= 0 else stamp_s + offset_s)
        rows.watt_minutes.append(value)
        rows.steps_s.append(self._step_s)
        rows.lines.append(line)
        rows.quality.append(StepQuality.GAP if value == MISSING else quality)

    def take_run(
        self, first_line: int, stamps_s: Sequence[int], values: Sequence[int], quality: int
    ) -> None:
        """Rows of consecutive lines, all with a value or all without."""
        count = len(stamps_s)
        if self.refusal is not None:
            self.refuse_all(first_line, first_line + count - 1, count, "")
            return
        self._intake.count(count)
        rows, offset_s = self._rows, self._offset_s
        if offset_s:
            rows.starts.extend([at - offset_s if at >= 0 else at + offset_s for at in stamps_s])
        else:
            rows.starts.extend(stamps_s)
        rows.watt_minutes.extend(values)
        rows.steps_s.extend([self._step_s] * count)
        rows.lines.extend(range(first_line, first_line + count))
        rows.quality.extend(bytes([quality]) * count)

    def refuse_all(self, first_line: int, last_line: int, count: int, raw: str) -> None:
        """Rows of a lane whose rows are refused."""
        assert self.refusal is not None
        self._intake.refuse(
            self.refusal,
            first_line,
            last_line=last_line,
            rows=count,
            point_id=self._rows.point_id,
            raw=raw,
        )


class Intake:
    """All rows of one file, and what was found in it. ``rows_seen`` counts every row,
    ``others_taken`` those that are indexes or energies of a period, not steps of a curve."""

    def __init__(self, expected: Expectations, log: FindingLog) -> None:
        self.expected = expected
        self.log = log
        self.stamps = StampReader(expected.zone)
        self.rows_seen = 0
        self.series: dict[tuple[str, Direction], Rows] = {}
        self.registers: list[RegisterValue] = []
        self.energies: list[PeriodEnergy] = []
        self.published_s: int | None = None
        self.others_taken = 0
        self._amounts: dict[tuple[str, int, str], AmountReader] = {}
        self._lanes: dict[tuple[object, ...], Lane] = {}

    def count(self, rows: int) -> None:
        """Note rows of the file. Raises TooMuch."""
        self.rows_seen += rows
        if self.rows_seen > MAX_ROWS:
            raise TooMuch(f"more than {MAX_ROWS} rows")

    def refuse(
        self,
        refusal: Refusal,
        line: int,
        *,
        last_line: int = 0,
        rows: int = 1,
        point_id: str = "",
        raw: str = "",
    ) -> None:
        """Rows that are not taken. Of what is useless the content is not kept, and neither is that
        of a row of which nobody can say whose it is: it may be a stranger's, and nothing would find
        it when its owner is erased."""
        self.count(rows)
        if refusal.klass is FindingClass.USELESS:
            raw = ""
        elif raw and not self._is_ours(point_id):
            raw = f"{len(raw)} characters, not kept"
        self.log.add(
            refusal.klass,
            refusal.treatment,
            refusal.rule,
            refusal.message,
            line=line,
            last_line=last_line,
            rows=rows,
            point_id=point_id,
            raw=raw,
        )

    def _is_ours(self, point_id: str) -> bool:
        """Whether a row's content can be kept under its point."""
        if not _is_point(point_id):
            return False
        perimeter = self.expected.perimeter
        return perimeter is None or point_id in perimeter

    def refuse_stamp(self, code: int, stamp: str, line: int, point_id: str, raw: str) -> None:
        """A row whose stamp is none (NO_STAMP), or a local time that does not exist (SKIPPED)."""
        if code == SKIPPED:
            refusal = Refusal(
                FindingClass.NON_STANDARD,
                Treatment.ASK,
                "skipped_hour",
                f"a local time that the clock of {self.stamps.zone.key} skipped",
            )
        else:
            refusal = Refusal(FindingClass.CORRUPT, Treatment.ASK, "stamp", "the stamp is none")
        self.refuse(refusal, line, point_id=point_id, raw=raw or stamp)

    def lane(
        self,
        point_id: str,
        direction: Direction,
        *,
        step_s: int,
        unit: str,
        stamped: Stamped,
        fault: str = "",
        decimal_mark: str = ".",
    ) -> Lane:
        """The lane for rows of this kind. ``fault`` says what is wrong with the identifier."""
        key = (point_id, direction, step_s, unit, stamped, fault, decimal_mark)
        known = self._lanes.get(key)
        if known is not None:
            return known
        if len(self._lanes) >= MAX_LANES:
            raise TooMuch(f"more than {MAX_LANES} kinds of row")
        refusal = self.refusal_of(point_id, direction, fault) or _refusal_of(step_s, unit)
        if refusal is None:
            rows = self.series.setdefault((point_id, direction), Rows(point_id, direction))
            amounts = self._amounts.setdefault(
                (unit, step_s, decimal_mark),
                AmountReader(unit, step_s, decimal_mark=decimal_mark),
            )
            lane = Lane(self, rows, step_s, stamped, amounts, None)
        else:
            lane = Lane(self, Rows(point_id, direction), step_s, stamped, None, refusal)
        self._lanes[key] = lane
        return lane

    def closed_lane(self, point_id: str, refusal: Refusal) -> Lane:
        """A lane that refuses everything, for rows that a format cannot make anything of."""
        rows = Rows(point_id, Direction.WITHDRAWAL)
        return Lane(self, rows, 0, Stamped.AT_END, None, refusal)

    def note_publication(self, stamp: str) -> None:
        """When the operator says it wrote the file: an older one undoes nothing of a newer."""
        at_s = self.stamps.read(stamp)
        if at_s > SKIPPED:
            self.published_s = at_s

    def keep_register(self, line: int, value: RegisterValue, fault: str) -> None:
        """A row that is a cumulative index."""
        if self._takes_other(line, value, fault):
            self.registers.append(value)

    def keep_energy(self, line: int, energy: PeriodEnergy, fault: str) -> None:
        """A row that is the energy of a period."""
        if self._takes_other(line, energy, fault):
            self.energies.append(energy)

    def _takes_other(self, line: int, row: RegisterValue | PeriodEnergy, fault: str) -> bool:
        """Whether a row that is no step of a curve is taken. Raises TooMuch."""
        refusal = self.refusal_of(row.point_id, row.direction, fault)
        name = f"{row.calendar} {row.register}"
        if refusal is None and not (name.isprintable() and len(name) <= MAX_NAME_CHARS):
            refusal = _NO_REGISTER
        if refusal is not None:
            self.refuse(refusal, line, point_id=row.point_id)
            return False
        self.count(1)
        self.others_taken += 1
        if self.others_taken > MAX_OTHERS:
            raise TooMuch(f"more than {MAX_OTHERS} indexes and energies of periods")
        return True

    def refusal_of(self, point_id: str, direction: Direction, fault: str) -> Refusal | None:
        """Why nothing of a point is taken: its identifier, or the perimeter."""
        if fault:
            return Refusal(FindingClass.NON_STANDARD, Treatment.ASK, "point_form", fault)
        perimeter = self.expected.perimeter
        if perimeter is None:
            return None
        if point_id not in perimeter:
            return Refusal(
                FindingClass.USELESS,
                Treatment.DROP,
                "outside_perimeter",
                "the delivery point is not in the perimeter",
            )
        if not perimeter.of_point(point_id, direction):
            return Refusal(
                FindingClass.USELESS,
                Treatment.DROP,
                "other_direction",
                f"the perimeter has this point, but not its {direction}",
            )
        return None

    @property
    def rounded(self) -> int:
        """How many amounts were finer than a watt-minute."""
        return sum(reader.rounded for reader in self._amounts.values())


_NO_REGISTER: Final = Refusal(
    FindingClass.NON_STANDARD,
    Treatment.ASK,
    "register",
    "calendar and register have no names as operators give them",
)


def _is_point(text: str) -> bool:
    """Whether a text has the form of a delivery point of any country."""
    return not all(fault(text) for fault in (prm_fault, cups_fault, ean_fault))


def _refusal_of(step_s: int, unit: str) -> Refusal | None:
    if unit.upper() not in UNITS:
        return Refusal(
            FindingClass.NON_STANDARD, Treatment.ASK, "unit", f"the unit is {unit[:20]!r}"
        )
    if step_s not in STEPS_S:
        return Refusal(FindingClass.NON_STANDARD, Treatment.ASK, "step", f"the step is {step_s} s")
    return None
