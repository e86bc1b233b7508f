"""Enedis R4H, R4M, R4Q: weekly, monthly, daily curves of the points above 36 kVA (C1..C4).

Whole kW, stamped at the START of the step, with the offset; five or ten minutes. One file carries
several quantities, of which active energy is taken. A row without value is a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Final

from node.billing.formats.enedis import (
    OTHER_QUANTITY,
    direction_of,
    letter_quality,
    minutes_s,
)
from node.billing.formats.head import Format, Head
from node.billing.formats.xml_stream import XmlReader
from node.billing.identifiers import prm_fault
from node.billing.rows import Intake, Lane, Stamped, Unreadable

__all__ = ["R4X"]

_ACTIVE: Final = frozenset({"EA", "PA"})


class _Handler:
    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.reader = XmlReader(self.begin, self.end)
        self._prm = ""
        self._of: dict[str, str] = {}
        self._lane: Lane | None = None
        self._corrected = False

    def begin(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "Donnees_Courbe":
            self._of, self._lane = {}, None
        elif name == "Donnees_Point_Mesure":
            if self._lane is None:
                self._lane = self._lane_of()
            self._lane.add(
                self.reader.line,
                attributes.get("Horodatage", ""),
                attributes.get("Valeur_Point", ""),
                letter_quality(attributes.get("Statut_Point", ""), corrected=self._corrected),
            )

    def end(self, name: str, text: str) -> None:
        if name in {"Granularite", "Unite_Mesure", "Grandeur_Metier", "Grandeur_Physique"}:
            self._of[name] = text
        elif name == "Identifiant_PRM":
            self._prm = text
        elif name == "Nature_De_Courbe_Demandee":
            self._corrected = text.lower().startswith("corr")
        elif name == "Date_Creation":
            self._intake.note_publication(text)

    def _lane_of(self) -> Lane:
        direction = direction_of(self._of.get("Grandeur_Metier", ""))
        quantity = self._of.get("Grandeur_Physique", "")
        if direction is None or quantity.upper() not in _ACTIVE:
            return self._intake.closed_lane(self._prm, OTHER_QUANTITY)
        return self._intake.lane(
            self._prm,
            direction,
            step_s=minutes_s(self._of.get("Granularite", "")),
            unit=self._of.get("Unite_Mesure", ""),
            stamped=Stamped.AT_START,
            fault=prm_fault(self._prm),
        )


def _recognises(head: Head) -> bool:
    return head.root == "Courbe"


def _read(stream: IO[bytes], intake: Intake, _: Head) -> None:
    handler = _Handler(intake)
    handler.reader.walk(stream)
    if not intake.rows_seen:
        raise Unreadable("no rows in the file")


R4X: Final = Format(
    "r4x", "Enedis R4H, R4M, R4Q load curve, XML", "Europe/Paris", _recognises, _read
)
