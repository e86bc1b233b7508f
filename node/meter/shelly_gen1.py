"""Shelly's first generation: the HTTP status, and MQTT topics with one value each.

Relay meters (``meters``, ``relay/<n>/energy``) count **watt-minutes**, energy meters (``emeters``,
``emeter/<n>/total``) count **Wh**. Three energy meters are the phases of one 3EM and are added up;
one or two are clamps of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from node.meter.codec import Decoded, MeterFrame
from node.meter.messages import (
    WATT_MINUTE,
    WH,
    JsonValue,
    Labels,
    decimal_of,
    floor_wh,
    plausible_id,
    refused,
    round_w,
    total,
)
from node.model import EvidenceClass

KIND: Final = "shelly"

MAX_METERS: Final = 8

PHASES: Final = 3
PHASES_NOTE: Final = "phases are counted apart: not the same as a meter that nets them"


@dataclass(frozen=True, slots=True)
class _Family:
    """One of the two kinds of meters: its name in the status and in topics, the unit of its
    registers, and what they are called in the status."""

    name: str
    unit_wh: Fraction
    imported: str
    exported: str | None

    @property
    def block(self) -> str:
        """The list in the HTTP status."""
        return f"{self.name}s"


_RELAYS: Final = _Family("meter", WATT_MINUTE, "total", None)
_CLAMPS: Final = _Family("emeter", WH, "total", "total_returned")

_TOPICS: Final = {
    ("relay", "energy"): (_RELAYS, "import_wh"),
    ("relay", "power"): (_RELAYS, "power_w"),
    ("emeter", "total"): (_CLAMPS, "import_wh"),
    ("emeter", "total_returned"): (_CLAMPS, "export_wh"),
    ("emeter", "power"): (_CLAMPS, "power_w"),
}
"""What a topic's group and last level say. ``emeter/<n>/energy`` starts again with the device, and
is no register."""


def decode_value(device: str, way: Sequence[str], payload: bytes) -> list[Decoded]:
    """``shellies/<device>/relay/0/energy`` and its like; ``way`` is what follows the device."""
    if len(way) != 3 or not _is_index(way[1]) or (way[0], way[2]) not in _TOPICS:
        return [refused("a topic without readings", payload)]
    family, register = _TOPICS[way[0], way[2]]
    label, text = ".".join(way), payload.decode("latin-1").strip()
    number = decimal_of(text)
    value: JsonValue = text if number is None else number
    labels = Labels(payload)
    if register == "power_w":
        readings = _Readings(None, None, labels.power(label, value))
    else:
        energy_wh = labels.energy_wh(label, value, family.unit_wh)
        is_import = register == "import_wh"
        readings = (
            _Readings(energy_wh, None, None) if is_import else _Readings(None, energy_wh, None)
        )
    return labels.close(readings.frame(device, f"{family.name}:{way[1]}", None))


def decode_status(device: str, status: Mapping[str, JsonValue], payload: bytes) -> list[Decoded]:
    """The whole status, as HTTP answers it and ``shellies/<device>/info`` carries it."""
    mac = status.get("mac")
    name = device or (mac if isinstance(mac, str) else "")
    found: list[Decoded] = []
    for family in (_RELAYS, _CLAMPS):
        meters = status.get(family.block, [])
        if not isinstance(meters, list) or len(meters) > MAX_METERS:
            found.append(refused(f"{family.block} is no list of up to {MAX_METERS}", payload))
        elif family is _CLAMPS and len(meters) == PHASES:
            found += _frame(name, family, list(enumerate(meters)), status, payload)
        else:
            for numbered in enumerate(meters):
                found += _frame(name, family, [numbered], status, payload)
    return found or [refused("no meter in it", payload)]


@dataclass(frozen=True, slots=True)
class _Readings:
    """The exact values of one meter."""

    import_wh: Fraction | None
    export_wh: Fraction | None
    power_w: Fraction | None

    def frame(
        self, device: str, meter: str, taken_at_s: int | None, notes: tuple[str, ...] = ()
    ) -> MeterFrame:
        return MeterFrame(
            KIND,
            EvidenceClass.C,
            plausible_id(f"{device}/{meter}") if device else None,
            import_wh=floor_wh(self.import_wh),
            export_wh=floor_wh(self.export_wh),
            power_w=round_w(self.power_w),
            taken_at_s=taken_at_s,
            notes=notes,
        )


def _frame(
    device: str,
    family: _Family,
    meters: list[tuple[int, JsonValue]],
    status: Mapping[str, JsonValue],
    payload: bytes,
) -> list[Decoded]:
    """One meter, or the phases of one."""
    labels = Labels(payload)
    phases = [_readings(family, index, meter, labels) for index, meter in meters]
    has_time = "unixtime" in status and bool(labels.accepted)
    taken_at_s = labels.unix_s("unixtime", status["unixtime"]) if has_time else None
    readings = _Readings(
        import_wh=total(phase.import_wh for phase in phases),
        export_wh=total(phase.export_wh for phase in phases),
        power_w=total(phase.power_w for phase in phases),
    )
    is_summed = len(meters) > 1
    name = family.name if is_summed else f"{family.name}:{meters[0][0]}"
    notes = (PHASES_NOTE,) if is_summed else ()
    return labels.close(readings.frame(device, name, taken_at_s, notes))


def _readings(family: _Family, index: int, meter: JsonValue, labels: Labels) -> _Readings:
    label = f"{family.block}.{index}"
    if not isinstance(meter, dict):
        labels.refuse(label, "not a meter")
        return _Readings(None, None, None)
    if meter.get("is_valid") is False:
        labels.refuse(label, "the device says that these values are not valid")
        return _Readings(None, None, None)
    labels.keep_all(label, meter)
    power = f"{label}.power"
    return _Readings(
        import_wh=_register(family.imported, label, meter, family, labels),
        export_wh=_register(family.exported, label, meter, family, labels),
        power_w=labels.power(power, meter["power"]) if "power" in meter else None,
    )


def _register(
    name: str | None, label: str, meter: dict[str, JsonValue], family: _Family, labels: Labels
) -> Fraction | None:
    if name is None or name not in meter:
        return None
    return labels.energy_wh(f"{label}.{name}", meter[name], family.unit_wh)


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 2
