"""Enedis R151: the daily indexes of Linky meters on subscription, and their maximal power.

``Date_Releve`` names the day whose END the index is of: it was taken at the next midnight. The same
registers come on the distributor's calendar and on the supplier's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import IO, Final

from node.billing.formats.enedis import OTHER_QUANTITY
from node.billing.formats.head import Format, Head
from node.billing.formats.index_rows import IndexRow, keep_index
from node.billing.formats.xml_stream import XmlReader
from node.billing.perimeter import midnight_s
from node.billing.rows import Intake, Unreadable
from node.billing.stamps import NO_STAMP

__all__ = ["R151"]

_CALENDARS: Final = {
    "Classe_Temporelle_Distributeur": "Id_Calendrier_Distributeur",
    "Classe_Temporelle": "Id_Calendrier_Fournisseur",
}


class _Handler:
    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.reader = XmlReader(self.begin, self.end)
        self._unit = ""
        self._prm = ""
        self._reading: dict[str, str] = {}
        self._register: dict[str, str] = {}

    def begin(self, name: str, _: Mapping[str, str]) -> None:
        if name == "PRM":
            self._prm = ""
        elif name == "Donnees_Releve":
            self._reading = {}
        elif name in _CALENDARS or name == "Puissance_Maximale":
            self._register = {}

    def end(self, name: str, text: str) -> None:
        if name in _CALENDARS:
            self._take(self._reading.get(_CALENDARS[name], ""))
        elif name == "Puissance_Maximale":
            self._intake.refuse(OTHER_QUANTITY, self.reader.line, point_id=self._prm)
        elif name in {"Id_Classe_Temporelle", "Valeur", "Indice_Vraisemblance"}:
            self._register[name] = text
        elif name == "Date_Releve" or name.startswith("Id_Calendrier_"):
            self._reading[name] = text
        elif name == "Id_PRM":
            self._prm = text
        elif name == "Unite_Mesure_Index":
            self._unit = text
        elif name == "Date_Creation":
            self._intake.note_publication(text)

    def _take(self, calendar: str) -> None:
        day = self._reading.get("Date_Releve", "")
        try:
            end_of_day = date.fromisoformat(day) + timedelta(days=1)
            at_s = midnight_s(end_of_day, self._intake.expected.zone)
        except (ValueError, OverflowError):
            at_s = NO_STAMP
        row = IndexRow(
            self._prm,
            "CONS",
            "EA",
            self._unit,
            calendar,
            self._register.get("Id_Classe_Temporelle", ""),
            at_s,
            day,
            self._register.get("Valeur", ""),
            self._register.get("Indice_Vraisemblance", "0") not in {"", "0"},
        )
        keep_index(self._intake, self.reader.line, row)


def _recognises(head: Head) -> bool:
    return head.root == "R151"


def _read(stream: IO[bytes], intake: Intake, _: Head) -> None:
    handler = _Handler(intake)
    handler.reader.walk(stream)
    if not intake.rows_seen:
        raise Unreadable("no rows in the file")


R151: Final = Format("r151", "Enedis R151 daily indexes, XML", "Europe/Paris", _recognises, _read)
