"""A row that is a meter's cumulative index, as the flows R151, R64 and R171 have it."""

from __future__ import annotations

from dataclasses import dataclass
from sys import intern
from typing import Final

from node.billing.conformity import FindingClass, Treatment
from node.billing.formats.enedis import OTHER_QUANTITY, direction_of, register_value
from node.billing.identifiers import prm_fault
from node.billing.rows import Intake, Refusal
from node.billing.series import RegisterValue, StepQuality
from node.billing.stamps import NO_STAMP, SKIPPED

__all__ = ["NO_INDEX", "IndexRow", "keep_index"]

NO_INDEX: Final = Refusal(
    FindingClass.NON_STANDARD, Treatment.ASK, "number", "the value is no whole index"
)
_WH: Final = {"WH": 1, "KWH": 1000}


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One row, as text; the instant already read (see ``StampReader``)."""

    prm: str
    business: str
    quantity: str
    unit: str
    calendar: str
    register: str
    at_s: int
    stamp: str
    value: str
    doubtful: bool = False


def keep_index(intake: Intake, line: int, row: IndexRow) -> None:
    """Take the row, or refuse it under a finding."""
    direction = direction_of(row.business)
    if direction is None or row.quantity.upper() != "EA":
        intake.refuse(OTHER_QUANTITY, line, point_id=row.prm)
        return
    if row.at_s in {NO_STAMP, SKIPPED}:
        intake.refuse_stamp(row.at_s, row.stamp, line, row.prm, "")
        return
    factor = _WH.get(row.unit.upper())
    if factor is None:
        unit = f"the unit is {row.unit[:20]!r}"
        refusal = Refusal(FindingClass.NON_STANDARD, Treatment.ASK, "unit", unit)
        intake.refuse(refusal, line, point_id=row.prm, raw=f"{row.stamp} {row.value}")
        return
    value = register_value(row.value)
    if value is None:
        intake.refuse(NO_INDEX, line, point_id=row.prm, raw=f"{row.stamp} {row.value}")
        return
    intake.keep_register(
        line,
        RegisterValue(
            intern(row.prm),  # each comes with hundreds of rows
            direction,
            intern(row.calendar),
            intern(row.register),
            abs(row.at_s),
            value * factor,
            StepQuality.DOUBTFUL if row.doubtful else StepQuality.METERED,
            intake.log.file,
        ),
        prm_fault(row.prm),
    )
