"""Tasmota: plugs and clamps with its own counters, and two firmwares that read a real meter.

``tele/<device>/SENSOR`` and ``stat/<device>/STATUS8`` (or ``STATUS10``, under ``StatusSNS``) carry
an ``ENERGY`` block: ``Total`` and ``ExportActive`` in kWh, ``Power`` in W, each a number or a list
with one element per phase or channel. Firmware up to 8.3.1.1 lists something else under the same
name, total and two tariffs; nothing in the message tells them apart, so the owner does.

The **Teleinfo** firmware puts what a French meter said under ``TIC``. Its ``ENERGY.Total`` is
Tasmota's own counter, not the meter's index, and its ``Power`` is the meter's apparent power: with
this firmware only ``TIC`` counts. The **smart-meter script** publishes a block whose names its user
chose: ``json_path`` reads it by the owner's mapping.

``Time`` is local time without its zone, from a clock that may be years off: it is shown, and
trusted only where it states its offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from node.meter.codec import Decoded, MeterFrame, Rejected
from node.meter.json_path import NO_MAPPING, PathMapping, mapped_frame
from node.meter.messages import (
    CLOCK_END_S,
    KWH,
    SET_CLOCK_S,
    WH,
    JsonValue,
    Labels,
    decimal_of,
    floor_wh,
    parse_json,
    plausible_id,
    refused,
    round_w,
    total,
)
from node.meter.recorded import messages_of
from node.model import EvidenceClass
from node.slots import parse_iso_utc

KIND: Final = "tasmota"

OWN_COUNTER_NOTE: Final = "ENERGY.Total is Tasmota's own counter, not the meter's index: not used"

MAX_CHANNELS: Final = 16
"""Elements of a list; no device has more than 8 channels."""

_PREFIXES: Final = frozenset({"tele", "stat"})
_READINGS: Final = frozenset({"SENSOR", "STATUS8", "STATUS10"})

_TIC_REGISTERS: Final = (
    ("BASE",),
    ("HCHC", "HCHP"),
    ("EJPHN", "EJPHPM"),
    ("BBRHCJB", "BBRHPJB", "BBRHCJW", "BBRHPJW", "BBRHCJR", "BBRHPJR"),
    ("EAST",),
)
"""The indices that make up a meter's import, for each historic contract and for standard mode."""


class ListMeaning(StrEnum):
    """What ``Total`` and ``ExportActive`` mean when they are lists."""

    PHASES = "phases"
    TOTAL_FIRST = "total_first"


@dataclass(frozen=True, slots=True)
class TasmotaSettings:
    """What the owner says of a device: the names that a smart-meter script uses (instead of
    ``ENERGY``), and what a list of totals means."""

    mapping: PathMapping = NO_MAPPING
    lists: ListMeaning = ListMeaning.PHASES


DEFAULT: Final = TasmotaSettings()


def decode_message(
    topic: str, payload: bytes, settings: TasmotaSettings = DEFAULT
) -> list[Decoded]:
    """What one message says; without a topic it is taken for the payload of ``SENSOR``. Never
    raises."""
    *way, last = topic.split("/")
    device = plausible_id("/".join(step for step in way if step not in _PREFIXES))
    if last == "LWT":
        return _availability(device, payload)
    if topic and last not in _READINGS:
        return [refused(f"topic {topic[:80]} carries no readings", payload)]
    value = parse_json(payload)
    if isinstance(value, Rejected):
        return [value]
    sensors = value.get("StatusSNS", value) if isinstance(value, dict) else value
    if not isinstance(sensors, dict):
        return [refused("not an object of sensors", payload)]
    return _sensors(device, sensors, Labels(payload), settings)


def decode_ndjson(recording: bytes, settings: TasmotaSettings = DEFAULT) -> list[Decoded]:
    """Every message of a recording."""
    return [
        decoded
        for topic, payload in messages_of(recording)
        for decoded in decode_message(topic, payload, settings)
    ]


def _availability(device: str | None, payload: bytes) -> list[Decoded]:
    """The last will: the broker says ``Offline`` when the device went silent."""
    if payload not in {b"Online", b"Offline"}:
        return [refused("the last will is neither Online nor Offline", payload)]
    said = payload.decode("ascii")
    return [MeterFrame(KIND, EvidenceClass.C, device, fields={"LWT": said})]


def _sensors(
    device: str | None,
    sensors: dict[str, JsonValue],
    labels: Labels,
    settings: TasmotaSettings,
) -> list[Decoded]:
    taken_at_s = _time(sensors, labels)
    energy, tic = sensors.get("ENERGY"), sensors.get("TIC")
    if settings.mapping.rules:
        meter_id = settings.mapping.meter_id or device
        frame = mapped_frame(KIND, meter_id, sensors, settings.mapping, labels)
        return labels.close(frame)
    if isinstance(tic, dict):
        labels.keep_all("ENERGY", energy if isinstance(energy, dict) else {})
        return labels.close(_teleinfo(tic, has_own_counter=energy is not None, labels=labels))
    if isinstance(energy, dict):
        return labels.close(_energy(device, energy, taken_at_s, labels, settings.lists))
    blocks = ", ".join(name for name, value in sensors.items() if isinstance(value, dict))
    reason = f"no ENERGY and no TIC block; map the fields of one of these: {blocks[:200] or 'none'}"
    return [refused(reason, labels.payload)]


def _time(sensors: dict[str, JsonValue], labels: Labels) -> int | None:
    said = sensors.get("Time")
    if not isinstance(said, str):
        return None
    labels.keep("Time", said)
    try:
        instant = parse_iso_utc(said)
    except (ValueError, OverflowError):
        return None
    return instant if SET_CLOCK_S <= instant < CLOCK_END_S else None


def _energy(
    device: str | None,
    energy: dict[str, JsonValue],
    taken_at_s: int | None,
    labels: Labels,
    lists: ListMeaning,
) -> MeterFrame:
    """Tasmota's own counters."""
    labels.keep_all("ENERGY", energy)
    notes: list[str] = []
    if "Load" in energy:
        labels.refuse("ENERGY.Total", "this firmware reads a meter: its index is in TIC, not here")
        return MeterFrame(KIND, EvidenceClass.C, device, notes=(OWN_COUNTER_NOTE,))
    if isinstance(energy.get("Total"), list) and lists is ListMeaning.PHASES:
        notes.append("Total is a list: added up as phases")
    return MeterFrame(
        KIND,
        EvidenceClass.C,
        device,
        import_wh=floor_wh(_counter(energy, "Total", labels, lists)),
        export_wh=floor_wh(_counter(energy, "ExportActive", labels, lists)),
        power_w=round_w(_power(energy, labels)),
        taken_at_s=taken_at_s,
        notes=tuple(notes),
    )


def _counter(
    energy: dict[str, JsonValue], name: str, labels: Labels, lists: ListMeaning
) -> Fraction | None:
    label = f"ENERGY.{name}"
    match energy.get(name):
        case None if name not in energy:
            return None
        case [first, *_] if lists is ListMeaning.TOTAL_FIRST:
            return labels.energy_wh(label, first, KWH)
        case [*parts] if len(parts) <= MAX_CHANNELS:
            return total(
                labels.energy_wh(f"{label}.{index}", part, KWH) for index, part in enumerate(parts)
            )
        case value:
            return labels.energy_wh(label, value, KWH)


def _power(energy: dict[str, JsonValue], labels: Labels) -> Fraction | None:
    match energy.get("Power"):
        case None if "Power" not in energy:
            return None
        case [*parts] if len(parts) <= MAX_CHANNELS:
            return total(
                labels.power(f"ENERGY.Power.{index}", part) for index, part in enumerate(parts)
            )
        case value:
            return labels.power("ENERGY.Power", value)


def _teleinfo(tic: dict[str, JsonValue], *, has_own_counter: bool, labels: Labels) -> MeterFrame:
    """What the meter said. Its certified index came through an uncertified device: class C. The
    firmware may be set to publish changes only; a sum of some of the indices would be too low, so
    it is not made."""
    labels.keep_all("TIC", tic)
    present = [names for names in _TIC_REGISTERS if any(name in tic for name in names)]
    parts = present[0] if len(present) == 1 and all(name in tic for name in present[0]) else ()
    notes = [OWN_COUNTER_NOTE] if has_own_counter else []
    if present and not parts:
        notes.append("not every index of the contract is in this message: no sum is made")
    serial = tic.get("ADSC", tic.get("ADCO"))
    return MeterFrame(
        KIND,
        EvidenceClass.C,
        plausible_id(serial) if isinstance(serial, str) else None,
        import_wh=floor_wh(total(_index(tic, name, labels) for name in parts)),
        export_wh=floor_wh(_index(tic, "EAIT", labels)),
        power_va=round_w(_apparent(tic, labels)),
        notes=tuple(notes),
    )


def _index(tic: dict[str, JsonValue], name: str, labels: Labels) -> Fraction | None:
    return labels.energy_wh(f"TIC.{name}", _digits(tic[name]), WH) if name in tic else None


def _apparent(tic: dict[str, JsonValue], labels: Labels) -> Fraction | None:
    for name in ("SINSTS", "PAPP"):
        if name in tic:
            return labels.power(f"TIC.{name}", _digits(tic[name]))
    return None


def _digits(value: JsonValue) -> JsonValue:
    """Some builds publish the meter's digits as text, leading zeros and all."""
    number = decimal_of(value) if isinstance(value, str) and value.isdigit() else None
    return value if number is None else number
