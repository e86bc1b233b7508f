r"""Any JSON at all: the owner says where in it the registers stand, in which unit and which sign.

A path names an object's members, and a list's elements by number, with dots between them:
``SML.E_in``, ``emeters.0.total``. A dot that belongs to a name has a backslash before it:
``SML.1\.8\.0``. The empty path is the payload itself, for topics that carry a bare number.

Several paths may feed one register: their values are added up exactly, each with its sign (two
tariffs; three phases; everything minus what went back). If only some of them are there, the
register is not said: its sum would be wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from node.meter.codec import Decoded, MeterFrame, Rejected
from node.meter.messages import (
    MAX_DEPTH,
    JsonValue,
    Labels,
    decimal_of,
    floor_wh,
    parse_json,
    plausible_id,
    round_w,
    total,
)
from node.meter.recorded import messages_of
from node.model import EvidenceClass

KIND: Final = "json"

MAX_RULES: Final = 32

_SEPARATOR: Final = re.compile(r"(?<!\\)\.")


class Register(StrEnum):
    """What a path can feed; the names are those of ``MeterFrame``."""

    IMPORT_WH = "import_wh"
    EXPORT_WH = "export_wh"
    POWER_W = "power_w"
    POWER_VA = "power_va"

    @property
    def is_energy(self) -> bool:
        """Whether it is cumulative."""
        return self in {Register.IMPORT_WH, Register.EXPORT_WH}


ENERGY_UNITS: Final = {
    "Wh": Fraction(1),
    "kWh": Fraction(1000),
    "MWh": Fraction(1_000_000),
    "Wmin": Fraction(1, 60),
    "Ws": Fraction(1, 3600),
}
W_UNITS: Final = {"W": Fraction(1), "kW": Fraction(1000), "mW": Fraction(1, 1000)}
VA_UNITS: Final = {"VA": Fraction(1), "kVA": Fraction(1000)}


@dataclass(frozen=True, slots=True)
class PathRule:
    """One path, the register that it feeds, its unit, and its sign: 1, or -1 where it counts the
    other way. Raises ValueError when these do not fit together."""

    path: str
    register: Register
    unit: str
    sign: int = 1

    def __post_init__(self) -> None:
        if self.unit not in self._units:
            known = ", ".join(self._units)
            raise ValueError(f"unit {self.unit!r} of {self.register} (known: {known})")
        if self.sign not in {1, -1}:
            raise ValueError(f"sign {self.sign}; it is 1 or -1")
        if len(steps_of(self.path)) > MAX_DEPTH:
            raise ValueError(f"path {self.path!r} has more than {MAX_DEPTH} steps")

    @property
    def _units(self) -> dict[str, Fraction]:
        if self.register.is_energy:
            return ENERGY_UNITS
        return W_UNITS if self.register is Register.POWER_W else VA_UNITS

    @property
    def unit_size(self) -> Fraction:
        """The unit in Wh, W or VA."""
        return self._units[self.unit]

    @property
    def label(self) -> str:
        """What the path is called where values and refusals are shown."""
        return self.path or "payload"


@dataclass(frozen=True, slots=True)
class PathMapping:
    """Everything that the owner says about a source's messages. ``time_path`` leads to unix
    seconds. Raises ValueError above ``MAX_RULES`` rules."""

    rules: tuple[PathRule, ...] = ()
    meter_id: str | None = None
    time_path: str | None = None

    def __post_init__(self) -> None:
        if len(self.rules) > MAX_RULES:
            raise ValueError(f"{len(self.rules)} paths; {MAX_RULES} at most")

    def feeds(self, register: Register) -> bool:
        """Whether any path feeds a register."""
        return any(rule.register is register for rule in self.rules)


NO_MAPPING: Final = PathMapping()


@dataclass(frozen=True, slots=True)
class MappedRegisters:
    """What the paths of a mapping lead to in one message."""

    import_wh: int | None
    export_wh: int | None
    power_w: int | None
    power_va: int | None
    taken_at_s: int | None


def decode_message(topic: str, payload: bytes, mapping: PathMapping) -> list[Decoded]:
    """A message's registers by the owner's mapping. The meter is the one that the mapping names,
    else the topic. Never raises."""
    value = parse_json(payload)
    if isinstance(value, Rejected):
        return [value]
    labels = Labels(payload)
    frame = mapped_frame(KIND, mapping.meter_id or plausible_id(topic), value, mapping, labels)
    return labels.close(frame, nothing="none of the mapped paths is in it")


def decode_ndjson(recording: bytes, mapping: PathMapping) -> list[Decoded]:
    """Every message of a recording."""
    return [
        decoded
        for topic, payload in messages_of(recording)
        for decoded in decode_message(topic, payload, mapping)
    ]


def mapped_frame(
    kind: str, meter_id: str | None, value: JsonValue, mapping: PathMapping, labels: Labels
) -> MeterFrame:
    """The frame that a mapping makes of a document; its labels go into ``labels``."""
    found = mapped(value, mapping, labels)
    return MeterFrame(
        kind=kind,
        evidence_class=EvidenceClass.C,
        meter_id=meter_id,
        import_wh=found.import_wh,
        export_wh=found.export_wh,
        power_w=found.power_w,
        power_va=found.power_va,
        taken_at_s=found.taken_at_s,
    )


def mapped(value: JsonValue, mapping: PathMapping, labels: Labels) -> MappedRegisters:
    """The registers of a document by a mapping."""
    summed = {register: _sum(value, mapping, register, labels) for register in Register}
    taken_at_s = None
    if mapping.time_path is not None:
        is_there, instant = _at(value, mapping.time_path)
        taken_at_s = labels.unix_s(mapping.time_path, _as_number(instant)) if is_there else None
    return MappedRegisters(
        import_wh=floor_wh(_register(Register.IMPORT_WH, summed, mapping, labels)),
        export_wh=floor_wh(_register(Register.EXPORT_WH, summed, mapping, labels)),
        power_w=round_w(summed[Register.POWER_W]),
        power_va=round_w(summed[Register.POWER_VA]),
        taken_at_s=taken_at_s,
    )


def _sum(
    value: JsonValue, mapping: PathMapping, register: Register, labels: Labels
) -> Fraction | None:
    """The exact sum of the paths that feed a register; None if they are not all there."""
    rules = [rule for rule in mapping.rules if rule.register is register]
    found = [(rule, *_at(value, rule.path)) for rule in rules]
    missing = [rule.label for rule, is_there, _ in found if not is_there]
    if missing:
        if len(missing) < len(rules):
            labels.refuse(missing[0], f"missing: {register} would be summed up wrongly without it")
        return None
    return total(_part(rule, part, labels) for rule, _, part in found)


def _part(rule: PathRule, value: JsonValue, labels: Labels) -> Fraction | None:
    number = _as_number(value)
    if rule.register.is_energy:
        part = labels.energy_wh(rule.label, number, rule.unit_size, signed=True)
    else:
        part = labels.power(rule.label, number, rule.unit_size)
    return None if part is None else rule.sign * part


def _register(
    register: Register,
    summed: dict[Register, Fraction | None],
    mapping: PathMapping,
    labels: Labels,
) -> Fraction | None:
    """A register is never negative, whatever it is summed up from."""
    energy_wh = summed[register]
    if energy_wh is None or energy_wh >= 0:
        return energy_wh
    for rule in mapping.rules:
        if rule.register is register:
            labels.refuse(rule.label, f"makes {register} negative; check unit and sign")
    return None


def steps_of(path: str) -> list[str]:
    """The names on the way of a path."""
    return [step.replace("\\.", ".") for step in _SEPARATOR.split(path)] if path else []


def _at(value: JsonValue, path: str) -> tuple[bool, JsonValue]:
    """Whether there is anything at a path, and what."""
    for step in steps_of(path):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isascii() and step.isdigit():
            if len(step) > 4 or int(step) >= len(value):
                return False, None
            value = value[int(step)]
        else:
            return False, None
    return True, value


def _as_number(value: JsonValue) -> JsonValue:
    """Many publishers write numbers as text."""
    number = decimal_of(value) if isinstance(value, str) else None
    return value if number is None else number
