"""From the objects of a telegram to registers, power, time and serial number.

Units and scale are read from each value, never assumed: meters say kWh with three or seven
decimals, and power in kW or W. Belgium and the Netherlands count by tariff and give no total, and
do not even agree which tariff is the low one; only their sum is used. Luxembourg and Sweden give
totals only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Final

from node.meter.codec import Decoded, MeterFrame
from node.meter.p1.telegram import Objects, Telegram, objects_of, refused
from node.model import EvidenceClass

KIND: Final = "dsmr-p1"

CENTRAL_EUROPE_S: Final = 3600
"""What winter time is ahead of UTC. Summer time is an hour more: a fixed offset, no time zone."""

NO_CHECKSUM: Final = (
    "this version of the telegram has no checksum: believe a value when the next telegram agrees"
)
NO_END: Final = "the line that ends a telegram is missing: its last lines may be, too"
NO_REGISTERS: Final = "the telegram tells no energy register of an electricity meter"

_VALUE: Final = re.compile(
    r"(?:[.*]\d{1,3})?\((-?)(\d{1,10})(?:\.(\d{1,10}))?\*(k?Wh?)\)", re.ASCII
)
_TIME: Final = re.compile(r"\((\d{12})([SW])\)", re.ASCII)
_TEXT: Final = re.compile(r"(?:[.*]\d{1,3})?\(([^()]+)\)")
_SERIAL: Final = re.compile(r"[A-Za-z0-9][ -~]*")

_SERIAL_CODES: Final = ("0-0:96.1.1", "0-0:42.0.0", "0-0:96.1.0", "0-0:96.1.255", "1-0:0.0.0")
"""The usual place, Luxembourg's, Hungary's, and two of the EasyMeter. 0-0:96.1.4 is no serial
number: it is Belgium's version of the specification."""

_TARIFFS: Final = 4


def register_codes(quantity: int) -> tuple[str, ...]:
    """The total of import (1) or export (2), and after it the tariffs."""
    return tuple(f"1-0:{quantity}.8.{tariff}" for tariff in range(_TARIFFS + 1))


_IMPORT: Final = register_codes(1)
_EXPORT: Final = register_codes(2)
_POWER: Final = ("1-0:1.7.0", "1-0:2.7.0")
_USED: Final = frozenset((*_IMPORT, *_EXPORT, *_POWER))


def read_telegram(telegram: Telegram, winter_offset_s: int = CENTRAL_EUROPE_S) -> Decoded:
    """What a believable telegram says; a refusal where its lines contradict one another."""
    objects = objects_of(telegram)
    fault = _contradiction(objects)
    if fault is None and telegram.crc is None and (doubt := next(_doubts(objects), None)):
        fault = f"no checksum, and {doubt}"
    if fault is not None:
        return refused(telegram.body, fault)
    return _frame(telegram, objects, winter_offset_s)


def _frame(telegram: Telegram, objects: Objects, winter_offset_s: int) -> MeterFrame:
    fields = objects.fields
    import_wh = _register_wh(fields, _IMPORT)
    export_wh = _register_wh(fields, _EXPORT)
    taken_at_s = _time_s(fields.get("0-0:1.0.0", ""), winter_offset_s)
    notes = [f"not understood: {line[:80]}" for line in objects.strange]
    if telegram.crc is None:
        notes.append(NO_CHECKSUM)
    if not telegram.is_ended:
        notes.append(NO_END)
    if import_wh is None and export_wh is None:
        notes.append(NO_REGISTERS)
    return MeterFrame(
        kind=KIND,
        evidence_class=EvidenceClass.B,
        meter_id=_serial(fields),
        import_wh=import_wh,
        export_wh=export_wh,
        power_w=_net_power_w(fields),
        taken_at_s=taken_at_s,
        complete=telegram.is_ended,
        fields=fields,
        notes=tuple(notes),
    )


def _contradiction(objects: Objects) -> str | None:
    if said_twice := sorted(objects.repeated & _USED):
        return f"{said_twice[0]} stands in the telegram twice, with different values"
    return None


def _doubts(objects: Objects) -> Iterator[str]:
    """Without a checksum: what only damage explains. A meter writes all its registers with the same
    digits, and every tariff in each telegram: a lost, doubled or changed character mostly shows."""
    if objects.strange:
        yield f"a line is damaged: {objects.strange[0][:80]!r}"
    if objects.repeated:
        yield f"{min(objects.repeated)} is said twice, with different values"
    raws = [objects.fields[code] for code in (*_IMPORT, *_EXPORT) if code in objects.fields]
    if not raws:
        yield "there is no energy register"
    if any(_VALUE.fullmatch(raw) is None for raw in raws):
        yield "a register is unreadable"
    if len({re.sub(r"\d", "0", raw) for raw in raws}) > 1:
        yield "the registers have different numbers of digits"
    for total, first, second, *_ in (_IMPORT, _EXPORT):
        said = [code in objects.fields for code in (total, first, second)]
        if said in ([False, True, False], [False, False, True]):
            yield "the register of a tariff is missing"


def _register_wh(fields: Mapping[str, str], codes: Sequence[str]) -> int | None:
    """The total, or the sum of the tariffs where there is no total. None unless all are readable
    as energy: part of a sum would be a wrong sum."""
    total, *tariffs = codes
    said = [total] if total in fields else [code for code in tariffs if code in fields]
    values = [_quantity(fields[code], "Wh") for code in said]
    readable = [value for value in values if value is not None and value >= 0]
    if not readable or len(readable) < len(said):
        return None
    return int(sum(readable))


def _net_power_w(fields: Mapping[str, str]) -> int | None:
    """Import less export, cut to whole W. With one of the two only, its zero tells nothing: power
    may flow the other way."""
    received, returned = (_quantity(fields.get(code, ""), "W") for code in _POWER)
    if received is None or returned is None:
        net = (received or Decimal()) - (returned or Decimal())
        return int(net) if net else None
    return int(received - returned)


def _quantity(raw: str, unit: str) -> Decimal | None:
    """A value in the unit (``Wh`` or ``W``), exact, with or without a "k" before it."""
    match = _VALUE.fullmatch(raw)
    if match is None or match[4].removeprefix("k") != unit:
        return None
    sign, whole, decimals, said = match.groups()
    return Decimal(f"{sign}{whole}.{decimals or '0'}").scaleb(3 if said.startswith("k") else 0)


def _time_s(raw: str, winter_offset_s: int) -> int | None:
    """``YYMMDDhhmmss`` and S for summer or W for winter time, as unix seconds."""
    match = _TIME.fullmatch(raw)
    if match is None:
        return None
    offset_s = winter_offset_s + (3600 if match[2] == "S" else 0)
    zone = timezone(timedelta(seconds=offset_s))
    try:
        local = datetime.strptime(match[1], "%y%m%d%H%M%S").replace(tzinfo=zone)
    except ValueError:
        return None
    return int(local.astimezone(UTC).timestamp())


def _serial(fields: Mapping[str, str]) -> str | None:
    """The serial number, out of its hexadecimal where it is that."""
    for code in _SERIAL_CODES:
        match = _TEXT.fullmatch(fields.get(code, ""))
        if match is not None:
            return _decoded(match[1])
    return None


def _decoded(text: str) -> str:
    """Specifications want ASCII written in hexadecimal; not all meters and networks follow."""
    try:
        decoded = bytes.fromhex(text).decode("ascii")
    except ValueError:
        return text
    return decoded if _SERIAL.fullmatch(decoded) else text
