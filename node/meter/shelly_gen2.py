"""Shelly's generations from the second on: a status of components, whole or as changes.

* ``switch``, ``pm1``, ``cover``, ``light``: ``aenergy.total`` counts *both* directions once the
  device has ``ret_aenergy``, so import is their difference;
* ``em`` with ``emdata`` (three phases), ``em1`` with ``em1data`` (one clamp): a register for each
  direction.

All count Wh. A status comes as the answer to ``Shelly.GetStatus`` or to one component's own
``GetStatus``, on ``<device>/status/<component>``, and as ``NotifyFullStatus``. ``NotifyStatus`` on
``<device>/events/rpc`` tells only what changed: whether the device has ``ret_aenergy`` at all its
last full status knows. Without that, ``aenergy`` alone is not taken for an import.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias

from node.meter.codec import Decoded, MeterFrame
from node.meter.messages import (
    JsonValue,
    Labels,
    floor_wh,
    plausible_id,
    refused,
    round_w,
    total,
)
from node.meter.shelly_gen1 import KIND, PHASES_NOTE
from node.model import EvidenceClass

Body: TypeAlias = dict[str, JsonValue]
"""The status of one component."""

Status: TypeAlias = Mapping[str, Body]
"""The components of one device by their names, ``switch:0`` and the like."""

MAX_COMPONENTS: Final = 32

CHANGE_NOTE: Final = "a change alone does not say what went back: aenergy is not taken for import"

_Take: TypeAlias = Callable[[str, JsonValue], Fraction | None]

_COMPONENT: Final = re.compile(r"(switch|pm1|cover|light|em|emdata|em1|em1data):\d{1,3}", re.ASCII)
_METER_OF: Final = {"emdata": "em", "em1data": "em1"}
_PHASES: Final = ("a", "b", "c")
_BY_LABEL: Final = {
    "total_act_power": "em",
    "total_act": "emdata",
    "act_power": "em1",
    "total_act_energy": "em1data",
    "aenergy": "switch",
    "apower": "switch",
}
"""What a component is, by a label that it has: its own ``GetStatus`` does not answer that."""

_METERED: Final = frozenset(
    {*_BY_LABEL, "ret_aenergy", "a_act_power", "a_total_act_energy", "total_act_ret"}
)


@dataclass(frozen=True, slots=True)
class Components:
    """What a message is about: a device, its components with meters, the device's time (label and
    value), and whether the components are complete or only what changed."""

    device: str
    bodies: dict[str, Body]
    taken_at: tuple[str, JsonValue] | None = None
    is_change: bool = False


def components_of(topic: str, value: Body) -> Components:
    """The components with meters in a message, whichever way they are wrapped."""
    way = topic.split("/")
    if len(way) >= 3 and way[-2] == "status":
        return Components("/".join(way[:-2]), _metered({way[-1]: value}))
    source = value.get("src")
    device = source if isinstance(source, str) else ""
    if topic.endswith("/events/rpc"):
        device = topic.removesuffix("/events/rpc")
    params, result = value.get("params"), value.get("result")
    if isinstance(params, dict):
        is_change = value.get("method") != "NotifyFullStatus"
        return Components(device, _metered(params), ("ts", params.get("ts")), is_change)
    status = result if isinstance(result, dict) else value
    system = status.get("sys")
    taken_at = None
    if isinstance(system, dict):
        taken_at = ("sys.unixtime", system.get("unixtime"))
        mac = system.get("mac")
        device = device or (mac if isinstance(mac, str) else "")
    return Components(device, _metered(status) or _alone(status), taken_at)


def decode_components(
    found: Components, payload: bytes, known: Status | None = None
) -> list[Decoded]:
    """A frame for each meter among the components; ``known`` is the device's last full status."""
    meters: dict[str, dict[str, Body]] = {}
    for name, body in found.bodies.items():
        component, number = name.split(":")
        meters.setdefault(f"{_METER_OF.get(component, component)}:{number}", {})[name] = body
    if not 0 < len(meters) <= MAX_COMPONENTS:
        return [refused("no component with a meter in it", payload)]
    return [
        decoded
        for meter, bodies in meters.items()
        for decoded in _meter(found, meter, bodies, payload, known or {})
    ]


def remember(known: Status, found: Components) -> dict[str, Body]:
    """The status of a device after a message: whole components replace what was known of them,
    changes are laid over it."""
    now = dict(known)
    for name, body in found.bodies.items():
        if found.is_change and name in now:
            now[name] = _overlay(now[name], body)
        elif not found.is_change and (name in now or len(now) < MAX_COMPONENTS):
            now[name] = body
    return now


def _overlay(before: Body, change: Body) -> Body:
    """A status with a change laid over it; null removes."""
    now = dict(before)
    for name, value in change.items():
        inner = now.get(name)
        if value is None:
            now.pop(name, None)
        elif isinstance(value, dict) and isinstance(inner, dict):
            now[name] = _overlay(inner, value)
        else:
            now[name] = value
    return now


def _metered(status: Mapping[str, JsonValue]) -> dict[str, Body]:
    """The components of a status that have meters: a bare relay has none."""
    return {
        name: body
        for name, body in status.items()
        if _COMPONENT.fullmatch(name) and isinstance(body, dict) and not _METERED.isdisjoint(body)
    }


def _alone(body: Body) -> dict[str, Body]:
    """One component that came without its name."""
    number = body.get("id", "0")
    for label, component in _BY_LABEL.items():
        name = f"{component}:{number}"
        if label in body and _COMPONENT.fullmatch(name):
            return {name: body}
    return {}


@dataclass(slots=True)
class _Readings:
    """What the components of one meter say together."""

    import_wh: Fraction | None = None
    export_wh: Fraction | None = None
    power_w: Fraction | None = None
    note: str = ""


def _meter(
    found: Components, meter: str, bodies: dict[str, Body], payload: bytes, known: Status
) -> list[Decoded]:
    labels = Labels(payload)
    taken_at_s = None
    if found.taken_at is not None and found.taken_at[1] is not None:
        taken_at_s = labels.unix_s(*found.taken_at)
    readings = _Readings()
    for name, body in bodies.items():
        labels.keep_all(name, body)
        if name.startswith(("em:", "emdata:")):
            _read_phases(name, body, labels, readings)
        elif name.startswith(("em1:", "em1data:")):
            _read_clamp(name, body, labels, readings)
        else:
            before = known.get(name) if found.is_change else {}
            _read_relay(name, body, before, labels, readings)
    frame = MeterFrame(
        KIND,
        EvidenceClass.C,
        plausible_id(f"{found.device}/{meter}") if found.device else None,
        import_wh=floor_wh(readings.import_wh),
        export_wh=floor_wh(readings.export_wh),
        power_w=round_w(readings.power_w),
        taken_at_s=taken_at_s,
        notes=(readings.note,) if readings.note else (),
    )
    return labels.close(frame)


def _read_phases(name: str, body: Body, labels: Labels, readings: _Readings) -> None:
    """A three-phase meter."""
    if name.startswith("em:"):
        readings.power_w = _total(name, body, "total_act_power", "act_power", labels.power)
        return
    readings.note = PHASES_NOTE
    take = labels.energy_wh
    readings.import_wh = _total(name, body, "total_act", "total_act_energy", take)
    readings.export_wh = _total(name, body, "total_act_ret", "total_act_ret_energy", take)


def _read_clamp(name: str, body: Body, labels: Labels, readings: _Readings) -> None:
    """A single clamp."""
    if name.startswith("em1:"):
        readings.power_w = _one(name, body, "act_power", labels.power)
        return
    readings.import_wh = _one(name, body, "total_act_energy", labels.energy_wh)
    readings.export_wh = _one(name, body, "total_act_ret_energy", labels.energy_wh)


def _read_relay(
    name: str, body: Body, before: Body | None, labels: Labels, readings: _Readings
) -> None:
    """A relay or power meter. ``before`` is what was known of it, of which the body is a change;
    empty when the body is whole, None when nothing was known."""
    readings.power_w = _one(name, body, "apower", labels.power)
    whole = _overlay(before or {}, body)
    returned_wh = _counter(name, "ret_aenergy", whole, labels)
    readings.export_wh = returned_wh if "ret_aenergy" in body else None
    if "aenergy" not in body:
        return
    both_wh = _counter(name, "aenergy", whole, labels)
    if "ret_aenergy" not in whole:
        readings.import_wh = both_wh if before is not None else None
        readings.note = CHANGE_NOTE if before is None else ""
    elif both_wh is not None and returned_wh is not None:
        readings.import_wh = _import(name, both_wh, returned_wh, labels)


def _import(name: str, both_wh: Fraction, returned_wh: Fraction, labels: Labels) -> Fraction | None:
    """What is left of both directions without what went back. The two counters are rounded apart:
    a difference of less than a Wh in the wrong direction is none."""
    if both_wh - returned_wh <= -1:
        labels.refuse(f"{name}.aenergy.total", "less than what went back, which is part of it")
        return None
    return max(both_wh - returned_wh, Fraction(0))


def _counter(name: str, label: str, body: Body, labels: Labels) -> Fraction | None:
    counter = body.get(label)
    if counter is None:
        return None
    if not isinstance(counter, dict):
        labels.refuse(f"{name}.{label}", "not a counter")
        return None
    return _one(f"{name}.{label}", counter, "total", labels.energy_wh)


def _total(name: str, body: Body, whole: str, phase: str, take: _Take) -> Fraction | None:
    """The device's own total, or the sum of all three phases where it has none."""
    if whole in body:
        return take(f"{name}.{whole}", body[whole])
    phases = [f"{letter}_{phase}" for letter in _PHASES]
    if any(label not in body for label in phases):
        return None
    return total(take(f"{name}.{label}", body[label]) for label in phases)


def _one(name: str, body: Body, label: str, take: _Take) -> Fraction | None:
    return take(f"{name}.{label}", body[label]) if label in body else None
