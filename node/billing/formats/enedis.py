"""What Enedis's flows have in common: quantities, quality letters, and the side of the stamp.

Linky meters (segments C5 and P4) are stamped at the END of a step, all others (C1..C4, P1..P3) at
its START. The rows say which by their letter (B is Linky's raw curve) and step (5 and 10 minutes
are never Linky's); where neither does, the perimeter must, and otherwise the rows are refused:
half an hour in the wrong place is an error that nobody would see.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from node.billing.conformity import FindingClass, Treatment
from node.billing.identifiers import prm_fault
from node.billing.rows import Intake, Lane, Refusal, Stamped
from node.billing.series import Direction, StepQuality

__all__ = [
    "LETTERS",
    "OTHER_QUANTITY",
    "CurveRow",
    "direction_of",
    "enedis_lane",
    "letter_quality",
    "minutes_s",
    "register_value",
    "side_by_segment",
    "step_of",
]

LETTERS: Final = {
    "B": StepQuality.METERED,
    "R": StepQuality.METERED,
    "H": StepQuality.RECONSTRUCTED,
    "P": StepQuality.RECONSTRUCTED,
    "S": StepQuality.OUTAGE,
    "T": StepQuality.OUTAGE,
    "F": StepQuality.OUTAGE,
    "G": StepQuality.OUTAGE,
    "E": StepQuality.ESTIMATED,
    "C": StepQuality.CORRECTED,
    "K": StepQuality.COMPUTED,
    "D": StepQuality.MANUAL,
}
"""The letters of a point's state; another letter makes a value doubtful, never good."""

OTHER_QUANTITY: Final = Refusal(
    FindingClass.USELESS,
    Treatment.DROP,
    "other_quantity",
    "a quantity that is not active energy drawn or fed in",
)

_ACTIVE: Final = frozenset({"PA", "EA"})
_LINKY_NEVER_S: Final = frozenset({300, 600})
_ISO_STEP: Final = re.compile(r"PT(?:(\d{1,3})M|(\d)H)", re.ASCII)


@dataclass(frozen=True, slots=True)
class CurveRow:
    """What the rows of a curve say of themselves, besides stamp and value, all as text."""

    prm: str
    business: str
    quantity: str
    unit: str
    step: str
    nature: str = ""
    stage: str = ""
    likelihood: str = ""


def direction_of(business: str) -> Direction | None:
    """The direction of a ``grandeur métier``."""
    return {"CONS": Direction.WITHDRAWAL, "PROD": Direction.INJECTION}.get(business.upper())


def minutes_s(text: str) -> int:
    """Seconds of a number of minutes; 0 if it is none."""
    return int(text) * 60 if re.fullmatch(r"[0-9]{1,3}", text) else 0


def step_of(text: str) -> int:
    """Seconds of ``PT30M`` or ``PT1H``; 0 if it is neither."""
    match = _ISO_STEP.fullmatch(text)
    if match is None:
        return 0
    return int(match[1]) * 60 if match[1] else int(match[2]) * 3600


def letter_quality(nature: str, *, corrected: bool = False, doubtful: bool = False) -> StepQuality:
    """The quality of a value with this letter."""
    quality = LETTERS.get(nature.upper(), StepQuality.DOUBTFUL)
    if corrected and quality is StepQuality.METERED:
        quality = StepQuality.CORRECTED
    return min(quality, StepQuality.DOUBTFUL) if doubtful else quality


def side_by_segment(segment: str) -> Stamped | None:
    """Where the values of a segment are stamped; None for no segment."""
    if not segment:
        return None
    return Stamped.AT_END if segment in {"C5", "P4"} else Stamped.AT_START


def register_value(text: str) -> int | None:
    """A cumulative index as a whole number; None if it is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else None


def enedis_lane(intake: Intake, row: CurveRow) -> tuple[Lane, StepQuality]:
    """The lane and the quality of rows of flows R63 and SGE."""
    is_raw = row.stage.upper().startswith("BRUT")
    quality = letter_quality(
        row.nature or ("R" if is_raw else ""),
        corrected=row.stage.upper().startswith("CORR"),
        doubtful=row.likelihood not in {"", "0"},
    )
    direction = direction_of(row.business)
    refusal = intake.refusal_of(row.prm, direction or Direction.WITHDRAWAL, prm_fault(row.prm))
    if refusal is None and (direction is None or row.quantity.upper() not in _ACTIVE):
        refusal = OTHER_QUANTITY
    step_s = step_of(row.step)
    stamped = _side(intake, row, step_s)
    if refusal is None and stamped is None and step_s:
        refusal = Refusal(
            FindingClass.NON_STANDARD,
            Treatment.ASK,
            "stamp_side",
            f"nature {row.nature[:8]!r} and step {row.step[:8]!r} do not show whether a stamp is"
            " the start or the end of its step; state the point's segment in the perimeter",
        )
    if refusal is not None or direction is None:
        return intake.closed_lane(row.prm, refusal or OTHER_QUANTITY), quality
    lane = intake.lane(
        row.prm, direction, step_s=step_s, unit=row.unit, stamped=stamped or Stamped.AT_END
    )
    return lane, quality


def _side(intake: Intake, row: CurveRow, step_s: int) -> Stamped | None:
    """Where these rows are stamped; None if unknown, or if letter and segment contradict."""
    perimeter = intake.expected.perimeter
    stated = side_by_segment("" if perimeter is None else perimeter.segment(row.prm))
    if row.nature.upper() == "B":
        return Stamped.AT_END if stated in {None, Stamped.AT_END} else None
    if stated is None and step_s in _LINKY_NEVER_S:
        return Stamped.AT_START
    return stated
