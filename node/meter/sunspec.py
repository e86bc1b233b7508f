"""SunSpec: the 16-bit registers of an inverter or meter behind Modbus, decoded by their models.

Models 101-103 are inverters, 111-113 the same in floats; 201-204 are meters, 211-214 in floats. The
phases of a family share one layout. A value and its scale factor (a power of ten) must come from
one read: some inverters move the factor.

* What a device does not implement has a value of its own for each type. For a counter it is **0**:
  an inverter that sleeps or boots says 0, which is "absent", never "reset". So does a meter that
  never counted in that direction.
* A counter of 32 bits starts again at 2**32 times its scale. A float counter resolves only 2 Wh
  above 16.7 MWh, 4 Wh above 33.5 MWh, and so on.
* An inverter's counter is **production**: what of it crossed the grid connection only a meter there
  can tell. It feeds no register here.
* Whether a meter's import is the household's depends on how its clamps sit: ``is_reversed`` turns
  both registers and the power around.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from node.meter.codec import Decoded, MeterFrame, Rejected
from node.meter.messages import Labels, floor_wh, plausible_id, refused, round_w
from node.model import EvidenceClass

KIND: Final = "sunspec"

PROBE_ADDRESSES: Final = (40000, 0, 50000)
"""Where a device's map may begin with ``SunS``."""

MARKER: Final = (0x5375, 0x6E53)
END_OF_MAP: Final = 0xFFFF
COMMON_MODEL: Final = 1
MAX_MODELS: Final = 64

PRODUCTION_NOTE: Final = (
    "production of an inverter: what crossed the grid connection it cannot tell"
)

_MAX_SCALE: Final = 10
_SIZES: Final = {"acc32": 2, "float32": 2}
"""In registers; every other type has one."""


@dataclass(frozen=True, slots=True)
class _Point:
    """A value of a model: where it stands (the model's id is at 0, its length at 1), its type, and
    where its scale factor stands."""

    name: str
    at: int
    type: str
    scale_at: int | None = None


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a family of models says of energy, and how long its model is."""

    length: int
    points: tuple[_Point, ...]
    is_meter: bool


def _floats(*names_at: tuple[str, int]) -> tuple[_Point, ...]:
    return tuple(_Point(name, at, "float32") for name, at in names_at)


_INVERTER: Final = _Layout(
    50,
    (
        _Point("A", 2, "uint16", 6),
        _Point("W", 14, "int16", 15),
        _Point("Hz", 16, "uint16", 17),
        _Point("VA", 18, "int16", 19),
        _Point("WH", 24, "acc32", 26),
        _Point("DCW", 31, "int16", 32),
        _Point("St", 38, "enum16"),
    ),
    is_meter=False,
)
_INVERTER_FLOAT: Final = _Layout(
    60,
    (
        *_floats(("A", 2), ("W", 22), ("Hz", 24), ("VA", 26), ("WH", 32), ("DCW", 38)),
        _Point("St", 48, "enum16"),
    ),
    is_meter=False,
)
_METER: Final = _Layout(
    105,
    (
        _Point("A", 2, "int16", 6),
        _Point("PhV", 7, "int16", 15),
        _Point("Hz", 16, "int16", 17),
        *(
            _Point(name, 18 + i, "int16", 22)
            for i, name in enumerate(("W", "WphA", "WphB", "WphC"))
        ),
        _Point("VA", 23, "int16", 27),
        _Point("TotWhExp", 38, "acc32", 54),
        _Point("TotWhImp", 46, "acc32", 54),
    ),
    is_meter=True,
)
_METER_FLOAT: Final = _Layout(
    124,
    _floats(
        ("A", 2),
        ("PhV", 10),
        ("Hz", 26),
        ("W", 28),
        ("WphA", 30),
        ("WphB", 32),
        ("WphC", 34),
        ("VA", 36),
        ("TotWhExp", 60),
        ("TotWhImp", 68),
    ),
    is_meter=True,
)
_LAYOUTS: Final = {
    **dict.fromkeys((101, 102, 103), _INVERTER),
    **dict.fromkeys((111, 112, 113), _INVERTER_FLOAT),
    **dict.fromkeys((201, 202, 203, 204), _METER),
    **dict.fromkeys((211, 212, 213, 214), _METER_FLOAT),
}


def decode_map(registers: Sequence[int], *, is_reversed: bool = False) -> list[Decoded]:
    """A device's whole map, from ``SunS`` on: a frame for each inverter and meter in it, called
    after the common model before it. Never raises."""
    if not _are_registers(registers) or tuple(registers[:2]) != MARKER:
        return [_refused("not a SunSpec map: it does not begin with SunS", registers)]
    found: list[Decoded] = []
    device, models_of_device, at = "", 0, len(MARKER)
    for _ in range(MAX_MODELS):
        if at < len(registers) and registers[at] == END_OF_MAP:
            return found or [_refused("neither an inverter nor a meter in it", registers)]
        model = registers[at : at + 2]
        if len(model) < 2:
            break
        block = registers[at : at + 2 + model[1]]
        if model[0] == COMMON_MODEL:
            device, models_of_device = _device(block), 0
        elif model[0] in _LAYOUTS:
            models_of_device += 1
            suffix = f"/{models_of_device}" if models_of_device > 1 else ""
            name = f"{device}{suffix}" if device else ""
            found += decode_model(block, name, is_reversed=is_reversed)
        at += 2 + model[1]
    return [*found, _refused("the map breaks off before its end", registers)]


def decode_model(
    registers: Sequence[int], meter_id: str = "", *, is_reversed: bool = False
) -> list[Decoded]:
    """One inverter or meter model, from its id on. Never raises."""
    if len(registers) < 2 or not _are_registers(registers):
        return [_refused("not the registers of a model", registers)]
    layout = _LAYOUTS.get(registers[0])
    if layout is None:
        return [_refused(f"model {registers[0]} is neither inverter nor meter", registers)]
    if not layout.length <= registers[1] <= len(registers) - 2:
        reason = f"model {registers[0]} with {len(registers) - 2} of {registers[1]} registers"
        return [_refused(f"{reason}; it has {layout.length}", registers)]
    labels = Labels(_bytes_of(registers))
    values = {point.name: _value(point, registers, labels) for point in layout.points}
    present = {name: value for name, value in values.items() if value is not None}
    labels.keep("model", str(registers[0]))
    for name, value in present.items():
        labels.number(name, value)
    frame = MeterFrame(KIND, EvidenceClass.C, plausible_id(meter_id))
    if layout.is_meter:
        return labels.close(_metered(frame, present, labels, is_reversed=is_reversed))
    return labels.close(_produced(frame, present, labels))


def _metered(
    frame: MeterFrame, values: dict[str, Decimal], labels: Labels, *, is_reversed: bool
) -> MeterFrame:
    """The two registers of a meter; import is positive in its power, too."""
    imported, exported = (
        floor_wh(labels.energy_wh(name, values[name])) if name in values else None
        for name in ("TotWhImp", "TotWhExp")
    )
    power = labels.power("W", values["W"]) if "W" in values else None
    if is_reversed:
        imported, exported = exported, imported
        power = None if power is None else -power
    return replace(frame, import_wh=imported, export_wh=exported, power_w=round_w(power))


def _produced(frame: MeterFrame, values: dict[str, Decimal], labels: Labels) -> MeterFrame:
    """What an inverter says goes into no register of the household's connection."""
    produced = floor_wh(labels.energy_wh("WH", values["WH"])) if "WH" in values else None
    if produced is not None:
        labels.keep("production_wh", str(produced))
    return replace(frame, notes=(PRODUCTION_NOTE,))


def _value(point: _Point, registers: Sequence[int], labels: Labels) -> Decimal | None:
    """A point's value in its unit; None when the device does not implement it."""
    words = registers[point.at : point.at + _SIZES.get(point.type, 1)]
    number = _number(point.type, words)
    if number is None or point.scale_at is None:
        return number
    scale = _number("int16", registers[point.scale_at : point.scale_at + 1])
    if scale is None or abs(scale) > _MAX_SCALE:
        labels.refuse(point.name, "has no scale factor")
        return None
    return number.scaleb(scale)


def _number(kind: str, words: Sequence[int]) -> Decimal | None:
    """What registers mean by their type; None for the value that means "not implemented"."""
    raw = _bytes_of(words)
    match kind:
        case "int16":
            signed = int.from_bytes(raw, "big", signed=True)
            return None if signed == -0x8000 else Decimal(signed)
        case "uint16" | "enum16":
            return None if words[0] == 0xFFFF else Decimal(words[0])
        case "acc32":
            counted = int.from_bytes(raw, "big")
            return Decimal(counted) if counted else None
        case _:
            (real,) = struct.unpack(">f", raw)
            number = Decimal(real)
            return None if number.is_nan() else number


def _device(common: Sequence[int]) -> str:
    """Manufacturer and serial number, as the common model states them."""
    manufacturer, serial = _text(common[2:18]), _text(common[50:66])
    return f"{manufacturer}/{serial}" if manufacturer and serial else ""


def _text(words: Sequence[int]) -> str:
    return _bytes_of(words).rstrip(b"\0 ").decode("latin-1")


def _are_registers(registers: Sequence[int]) -> bool:
    return all(type(word) is int and 0 <= word <= 0xFFFF for word in registers)


def _bytes_of(registers: Sequence[int]) -> bytes:
    return b"".join(word.to_bytes(2, "big") for word in registers)


def _refused(reason: str, registers: Sequence[int]) -> Rejected:
    return refused(reason, _bytes_of(registers) if _are_registers(registers) else b"")
