"""The registers of one meter by its serial number, and how they are kept as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, Final

from node.errors import MeterError
from node.meter.boundaries import Point, RegisterTrack
from node.meter.counted import Begin, CountedRegister
from node.meter.guard import GuardState
from node.meter.guard import Series as Suspect
from node.meter.teleinfo import Offsets
from node.model import EvidenceClass, Quality, RegisterReading

VERSION: Final = 1

_BEFORE_ALL_S: Final = -1


@dataclass(slots=True)
class MeterSeries:
    """One meter, from its first sample to its last. ``continues`` is the meter whose totals it goes
    on from, once the owner has confirmed the swap."""

    meter_id: str
    evidence_class: EvidenceClass
    imported: CountedRegister = field(default_factory=CountedRegister)
    exported: CountedRegister = field(default_factory=CountedRegister)
    samples: int = 0
    continues: str | None = None

    @property
    def registers(self) -> tuple[CountedRegister, CountedRegister]:
        """Import and export."""
        return self.imported, self.exported

    @property
    def has_begun(self) -> bool:
        """Whether any register is counted."""
        return any(register.has_begun for register in self.registers)

    @property
    def last_at_s(self) -> int | None:
        """The newest sample that was believed."""
        times_s = [register.track.last[0] for register in self.registers if register.track.last]
        return max(times_s, default=None)

    def reading(self) -> RegisterReading | None:
        """The totals as of the newest sample."""
        at_s = self.last_at_s
        if at_s is None:
            return None
        return self.reading_of(
            at_s, self.imported.counted_wh, self.exported.counted_wh, Quality.METERED
        )

    def reading_of(
        self, at_s: int, import_wh: int, export_wh: int, quality: Quality
    ) -> RegisterReading:
        """A reading of this meter."""
        return RegisterReading(
            self.meter_id, at_s, import_wh, export_wh, self.evidence_class, quality, self.continues
        )

    def continued_by(self, successor: MeterSeries) -> MeterSeries:
        """The totals of this meter, going on with another one."""
        return MeterSeries(
            successor.meter_id,
            successor.evidence_class,
            self.imported.continued_by(successor.imported),
            self.exported.continued_by(successor.exported),
            successor.samples,
            self.meter_id,
        )


@dataclass(frozen=True, slots=True)
class KeptState:
    """All that must outlive the process. ``kept`` counts how often it was kept; ``answered`` is the
    last reading that was given out for an instant; ``closed`` are meters that were replaced, each
    with its id, its last sample's time and its last totals."""

    kept: int = 0
    series: MeterSeries | None = None
    newcomer: MeterSeries | None = None
    answered: RegisterReading | None = None
    offsets: Offsets | None = None
    closed: tuple[tuple[str, int, int, int], ...] = ()


def write_state(state: KeptState) -> str:
    """One line of JSON: a few hundred bytes, some thousand after hours without an answer."""
    answered = state.answered
    document = {
        "version": VERSION,
        "kept": state.kept,
        "series": _written(state.series, answered),
        "newcomer": _written(state.newcomer, None),
        "answered": None
        if answered is None
        else [
            *(answered.meter_id, answered.taken_at_s, answered.import_wh, answered.export_wh),
            *(answered.evidence_class.value, answered.quality.value, answered.continues),
        ],
        "offsets": None if state.offsets is None else list(astuple(state.offsets)),
        "closed": [list(closed) for closed in state.closed],
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def read_state(text: str) -> KeptState:
    """What ``write_state`` wrote. Raises MeterError for anything else: counting anew would be worse
    than asking."""
    try:
        return _kept(json.loads(text))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise MeterError(
            f"what was kept of the meter cannot be read: {error!r}",
            next_step="restore the database from its backup, or update daisee if it is older "
            "than the database",
        ) from error


def _kept(document: Mapping[str, Any]) -> KeptState:
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']}, not {VERSION}")
    answered, offsets = document["answered"], document["offsets"]
    return KeptState(
        kept=_whole(document["kept"]),
        series=_series(document["series"]),
        newcomer=_series(document["newcomer"]),
        answered=None if answered is None else _reading(answered),
        offsets=None if offsets is None else Offsets(*map(_whole, offsets)),
        closed=tuple(
            (_text(meter_id), _whole(at_s), _whole(import_wh), _whole(export_wh))
            for meter_id, at_s, import_wh, export_wh in document["closed"]
        ),
    )


def _written(series: MeterSeries | None, answered: RegisterReading | None) -> object:
    if series is None:
        return None
    wh = (None, None) if answered is None else (answered.import_wh, answered.export_wh)
    after_s = _BEFORE_ALL_S if answered is None else answered.taken_at_s
    return {
        "meter": series.meter_id,
        "class": series.evidence_class.value,
        "samples": series.samples,
        "continues": series.continues,
        "import": _written_register(series.imported, after_s, wh[0]),
        "export": _written_register(series.exported, after_s, wh[1]),
    }


def _written_register(register: CountedRegister, after_s: int, wh: int | None) -> object:
    """What was answered is a point of its own: what is answered later never falls below it."""
    if register.guard is None or register.begin is None:
        return {"base": register.base_wh}
    points: list[Point] = list(register.track.points_after(after_s))
    if wh is not None and points and points[0][0] > after_s >= register.begin.at_s:
        points.insert(0, (after_s, wh))
    guard = register.guard
    return {
        "guard": [guard.counted_wh, guard.register_wh, guard.at_s, guard.agreeing, guard.held],
        "suspect": None if guard.suspect is None else list(astuple(guard.suspect)),
        "begin": list(astuple(register.begin)),
        "unsure_until": register.track.unsure_until_s,
        "points": [list(point) for point in points],
    }


def _series(document: Mapping[str, Any] | None) -> MeterSeries | None:
    if document is None:
        return None
    return MeterSeries(
        meter_id=_text(document["meter"]),
        evidence_class=EvidenceClass(document["class"]),
        imported=_register(document["import"]),
        exported=_register(document["export"]),
        samples=_whole(document["samples"]),
        continues=None if document["continues"] is None else _text(document["continues"]),
    )


def _register(document: Mapping[str, Any]) -> CountedRegister:
    if "guard" not in document:
        base_wh = document["base"]
        return CountedRegister(None if base_wh is None else _whole(base_wh))
    counted_wh, register_wh, at_s, agreeing, held = map(_whole, document["guard"])
    suspect = document["suspect"]
    guard = GuardState(
        counted_wh,
        register_wh,
        at_s,
        None if suspect is None else Suspect(*map(_whole, suspect)),
        agreeing,
        held,
    )
    begin_wh, begin_s, is_known_before = document["begin"]
    points = [(_whole(point_s), _whole(wh)) for point_s, wh in document["points"]]
    return CountedRegister.restored(
        Begin(_whole(begin_wh), _whole(begin_s), is_known_before is True),
        guard,
        RegisterTrack(points, _whole(document["unsure_until"])),
    )


def _reading(values: Sequence[Any]) -> RegisterReading:
    meter_id, taken_at_s, import_wh, export_wh, evidence_class, quality, continues = values
    return RegisterReading(
        _text(meter_id),
        *(_whole(taken_at_s), _whole(import_wh), _whole(export_wh)),
        EvidenceClass(evidence_class),
        Quality(quality),
        None if continues is None else _text(continues),
    )


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
