"""Enedis R171: daily indexes of the points above 36 kVA; of its quantities, active energy is taken.

Bare stamps in the legal time of France, to the second at which the meter was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Final

from node.billing.formats.head import Format, Head
from node.billing.formats.index_rows import IndexRow, keep_index
from node.billing.formats.xml_stream import XmlReader
from node.billing.rows import Intake, Unreadable

__all__ = ["R171"]

_OF_SERIES: Final = frozenset(
    {
        "prmId",
        "type",
        "grandeurMetier",
        "grandeurPhysique",
        "typeCalendrier",
        "codeClasseTemporelle",
        "unite",
    }
)


class _Handler:
    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.reader = XmlReader(self.begin, self.end)
        self._series: dict[str, str] = {}
        self._row: dict[str, str] = {}

    def begin(self, name: str, _: Mapping[str, str]) -> None:
        if name == "serieMesuresDatees":
            self._series = {}
        elif name == "mesureDatee":
            self._row = {}

    def end(self, name: str, text: str) -> None:
        if name in _OF_SERIES:
            self._series[name] = text
        elif name in {"dateFin", "valeur"}:
            self._row[name] = text
        elif name == "mesureDatee":
            self._take()
        elif name == "dateHeureCreation":
            self._intake.note_publication(text)

    def _take(self) -> None:
        of, stamp = self._series.get, self._row.get("dateFin", "")
        is_index = of("type", "").upper() == "INDEX"
        row = IndexRow(
            of("prmId", ""),
            of("grandeurMetier", ""),
            of("grandeurPhysique", "") if is_index else "",
            of("unite", ""),
            of("typeCalendrier", ""),
            of("codeClasseTemporelle", ""),
            self._intake.stamps.read(stamp),
            stamp,
            self._row.get("valeur", ""),
        )
        keep_index(self._intake, self.reader.line, row)


def _recognises(head: Head) -> bool:
    return head.root == "R171"


def _read(stream: IO[bytes], intake: Intake, _: Head) -> None:
    handler = _Handler(intake)
    handler.reader.walk(stream)
    if not intake.rows_seen:
        raise Unreadable("no rows in the file")


R171: Final = Format(
    "r171", "Enedis R171 indexes above 36 kVA, XML", "Europe/Paris", _recognises, _read
)
