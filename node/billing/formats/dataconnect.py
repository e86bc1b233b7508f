"""Enedis Data Connect v5: the load curve (clc, plc) and daily energies (dc, dp) of one point.

A call answers for at most seven days. Stamps are bare; the interface description calls them UTC,
the catalogue local time: the same meter's other flows show that they are the legal time of France,
at the END of the step. Whether consumption or production was asked for is not in the answer.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import IO, Final

from node.billing.amounts import NO_NUMBER, AmountReader
from node.billing.conformity import FindingClass, Treatment
from node.billing.formats.enedis import letter_quality, step_of
from node.billing.formats.head import Format, Head
from node.billing.formats.json_stream import JsonObject
from node.billing.formats.json_values import members, objects, text_of
from node.billing.identifiers import prm_fault
from node.billing.perimeter import midnight_s
from node.billing.rows import Intake, Refusal, Stamped, Unreadable
from node.billing.series import (
    WATT_MINUTES_PER_WH,
    Direction,
    PeriodEnergy,
    SharedPart,
)

__all__ = ["DATA_CONNECT"]

_UNSURE: Final = Refusal(
    FindingClass.NON_STANDARD,
    Treatment.ASK,
    "direction",
    "the answer does not say whether it is of consumption or production, and neither does the"
    " perimeter; state the direction",
)
_NO_DAY: Final = Refusal(FindingClass.CORRUPT, Treatment.ASK, "stamp", "the day is none")
_NO_ENERGY: Final = Refusal(
    FindingClass.NON_STANDARD, Treatment.ASK, "number", "the value is no amount of this flow"
)


def _recognises(head: Head) -> bool:
    return head.is_json and '"meter_reading"' in head.text


def _read(stream: IO[bytes], intake: Intake, _: Head) -> None:
    rest = JsonObject("", lambda _line, _element: None).read(stream)
    reading = members(rest.get("meter_reading"), 1, "meter_reading")
    point_id = text_of(reading, "usage_point_id")
    kind = members(reading.get("reading_type") or {}, 1, "reading_type")
    unit = text_of(kind, "unit")
    if not unit:
        raise Unreadable("no unit")
    direction = _direction(intake, point_id)
    corrected = text_of(reading, "quality").upper().startswith("CORR")
    for item in objects(reading.get("interval_reading"), 1, "interval_reading"):
        stamp, value = text_of(item, "date"), text_of(item, "value")
        if direction is None:
            intake.refuse(_UNSURE, 1, point_id=point_id, raw=f"{stamp} {value}")
            continue
        length = text_of(item, "interval_length")
        if not length and len(stamp) == len("2019-05-06"):
            _day(intake, point_id, direction, (stamp, value, unit))
            continue
        lane = intake.lane(
            point_id,
            direction,
            step_s=step_of(length),
            unit=unit,
            stamped=Stamped.AT_END,
            fault=prm_fault(point_id),
        )
        quality = letter_quality(text_of(item, "measure_type") or "B", corrected=corrected)
        lane.add(1, stamp, value, quality)


def _direction(intake: Intake, point_id: str) -> Direction | None:
    """What the caller states, or the perimeter; a point outside has the usual one."""
    if intake.expected.direction is not None:
        return intake.expected.direction
    perimeter = intake.expected.perimeter
    if perimeter is None or point_id not in perimeter:
        return Direction.WITHDRAWAL
    found = [
        direction
        for direction in (Direction.WITHDRAWAL, Direction.INJECTION)
        if perimeter.of_point(point_id, direction)
    ]
    return found[0] if len(found) == 1 else None


def _day(intake: Intake, point_id: str, direction: Direction, row: tuple[str, str, str]) -> None:
    """One row of a daily answer."""
    stamp, value, unit = row
    try:
        day = date.fromisoformat(stamp)
        from_s = midnight_s(day, intake.expected.zone)
        to_s = midnight_s(day + timedelta(days=1), intake.expected.zone)
    except (ValueError, OverflowError):
        intake.refuse(_NO_DAY, 1, point_id=point_id, raw=f"{stamp} {value}")
        return
    amount = NO_NUMBER if unit.upper() != "WH" else AmountReader(unit, 0).read(value)
    if amount == NO_NUMBER:
        intake.refuse(_NO_ENERGY, 1, point_id=point_id, raw=f"{stamp} {value} {unit}")
        return
    energy = PeriodEnergy(
        point_id,
        direction,
        SharedPart.WHOLE,
        "",
        "",
        from_s,
        to_s,
        amount // WATT_MINUTES_PER_WH,
        source=intake.log.file,
    )
    intake.keep_energy(1, energy, prm_fault(point_id))


DATA_CONNECT: Final = Format(
    "data-connect", "Enedis Data Connect v5, JSON", "Europe/Paris", _recognises, _read
)
