"""Enedis R15: index readings of C5 and P4 points, and what a shared operation made of the energy.

``Classe_Mesure`` 1 is an index and 2 the energy between two of them; 3 to 6 are, for a point in a
collective self-consumption, the energy autoproduite, alloproduite, autoconsommée and the surplus.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import IO, Final

from node.billing.conformity import FindingClass, Treatment
from node.billing.formats.enedis import OTHER_QUANTITY, register_value
from node.billing.formats.head import Format, Head, folded
from node.billing.formats.index_rows import NO_INDEX
from node.billing.formats.xml_stream import XmlReader
from node.billing.identifiers import prm_fault
from node.billing.rows import Intake, Refusal, Unreadable
from node.billing.series import (
    Direction,
    PeriodEnergy,
    RegisterValue,
    SharedPart,
    StepQuality,
)
from node.billing.stamps import SKIPPED

__all__ = ["R15"]

_PARTS: Final = {
    "2": SharedPart.WHOLE,
    "3": SharedPart.AUTOPRODUITE,
    "4": SharedPart.ALLOPRODUITE,
    "5": SharedPart.AUTOCONSOMMEE,
    "6": SharedPart.SURPLUS,
}
_CALENDARS: Final = {
    "Classe_Temporelle_Distributeur": "Id_Calendrier_Distributeur",
    "Classe_Temporelle": "Id_Calendrier",
}
_DIRECTIONS: Final = {"0": Direction.WITHDRAWAL, "1": Direction.INJECTION}
_OF_READING: Final = frozenset(
    {
        "Date_Releve",
        "Date_Releve_Precedent",
        "Statut_Releve",
        "Nature_Index",
        "Id_Calendrier",
        "Id_Calendrier_Distributeur",
    }
)
_OF_REGISTER: Final = frozenset(
    {
        "Id_Classe_Temporelle",
        "Classe_Mesure",
        "Unite_Mesure",
        "Sens_Mesure",
        "Valeur",
        "Coefficient_Lecture",
    }
)
_WH: Final = {"WH": 1, "KWH": 1000}
_NO_STATE: Final = Refusal(
    FindingClass.NON_STANDARD,
    Treatment.ASK,
    "number",
    "unit, direction or reading coefficient is not that of this flow",
)


class _Handler:
    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.reader = XmlReader(self.begin, self.end)
        self._prm = ""
        self._reading: dict[str, str] = {}
        self._register: dict[str, str] = {}

    def begin(self, name: str, _: Mapping[str, str]) -> None:
        if name == "PRM":
            self._prm = ""
        elif name == "Donnees_Releve":
            self._reading = {}
        elif name in _CALENDARS:
            self._register = {}

    def end(self, name: str, text: str) -> None:
        if name in _OF_REGISTER:
            self._register[name] = text
        elif name in _OF_READING:
            self._reading[name] = text
        elif name in _CALENDARS:
            self._take(self._reading.get(_CALENDARS[name], ""))
        elif name == "Id_PRM":
            self._prm = text
        elif name == "Date_Creation":
            self._intake.note_publication(text)

    def _take(self, calendar: str) -> None:
        line, prm, of = self.reader.line, self._prm, self._register.get
        stamp = self._reading.get("Date_Releve", "")
        at_s = self._intake.stamps.read(stamp)
        if abs(at_s) <= SKIPPED:
            self._intake.refuse_stamp(at_s, stamp, line, prm, "")
            return
        measure, part = of("Classe_Mesure", ""), _PARTS.get(of("Classe_Mesure", ""))
        if part is None and measure != "1":
            self._intake.refuse(OTHER_QUANTITY, line, point_id=prm)
            return
        factor = _WH.get(of("Unite_Mesure", "").upper())
        direction = _DIRECTIONS.get(of("Sens_Mesure", "0"))
        coefficient = _coefficient(of("Coefficient_Lecture", "1"))
        value = register_value(of("Valeur", ""))
        raw = " ".join((stamp, of("Classe_Mesure", ""), of("Valeur", ""), of("Unite_Mesure", "")))
        if factor is None or direction is None or coefficient is None:
            self._intake.refuse(_NO_STATE, line, point_id=prm, raw=raw)
        elif value is None:
            self._intake.refuse(NO_INDEX, line, point_id=prm, raw=raw)
        else:
            name = of("Id_Classe_Temporelle", "")
            scaled_wh = value * factor * coefficient
            self._keep(part, direction, (calendar, name), abs(at_s), int(scaled_wh))

    def _keep(
        self,
        part: SharedPart | None,
        direction: Direction,
        names: tuple[str, str],
        at_s: int,
        energy_wh: int,
    ) -> None:
        fault, source = prm_fault(self._prm), self._intake.log.file
        quality = _quality(
            self._reading.get("Nature_Index", ""), self._reading.get("Statut_Releve", "")
        )
        if part is None:
            value = RegisterValue(self._prm, direction, *names, at_s, energy_wh, quality, source)
            self._intake.keep_register(self.reader.line, value, fault)
            return
        before_s = self._intake.stamps.read(self._reading.get("Date_Releve_Precedent", ""))
        from_s = abs(before_s) if abs(before_s) > SKIPPED else None
        energy = PeriodEnergy(
            self._prm, direction, part, *names, from_s, at_s, energy_wh, quality, source
        )
        self._intake.keep_energy(self.reader.line, energy, fault)


def _coefficient(text: str) -> int | None:
    """A meter's reading coefficient; None unless it is a whole number above 0."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    whole = value.is_finite() and 0 < value <= 10_000 and value == value.to_integral_value()
    return int(value) if whole else None


def _quality(nature: str, state: str) -> StepQuality:
    if folded(state).startswith("rectif") or folded(state).startswith("corr"):
        return StepQuality.CORRECTED
    words = {"reel": StepQuality.METERED, "estime": StepQuality.ESTIMATED}
    return words.get(folded(nature), StepQuality.DOUBTFUL)


def _recognises(head: Head) -> bool:
    return head.root == "R15"


def _read(stream: IO[bytes], intake: Intake, _: Head) -> None:
    handler = _Handler(intake)
    handler.reader.walk(stream)
    if not intake.rows_seen:
        raise Unreadable("no rows in the file")


R15: Final = Format(
    "r15", "Enedis R15 indexes and shared energies, XML", "Europe/Paris", _recognises, _read
)
