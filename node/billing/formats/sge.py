"""Enedis SGE, answer of ConsultationMesuresDetaillees (v2 until 2023, v3): one point's curve.

``grandeur/mesure`` (v3: ``points``) with value, date, step and nature. Mean W; Linky's rows (nature
B) are stamped at the END of the step, the others at its START.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Final

from node.billing.formats.enedis import CurveRow, enedis_lane
from node.billing.formats.head import Format, Head
from node.billing.formats.xml_stream import XmlReader
from node.billing.rows import Intake, Lane, Unreadable
from node.billing.series import StepQuality

__all__ = ["SGE"]

_ROWS: Final = frozenset({"mesure", "points"})
_OF_ROW: Final = frozenset({"v", "d", "p", "n", "iv"})
_OF_QUANTITY: Final = frozenset({"grandeurMetier", "grandeurPhysique", "unite"})
_MOST_LANES: Final = 1_000
"""Kinds of row remembered; an answer has a handful."""


class _Handler:
    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.reader = XmlReader(self.begin, self.end)
        self._prm = ""
        self._stage = ""
        self._of: dict[str, str] = {}
        self._row: dict[str, str] = {}
        self._lanes: dict[CurveRow, tuple[Lane, StepQuality]] = {}

    def begin(self, name: str, _: Mapping[str, str]) -> None:
        if name == "grandeur":
            self._of = {}
        elif name in _ROWS:
            self._row = {}

    def end(self, name: str, text: str) -> None:
        if name in _OF_ROW:
            self._row[name] = text
        elif name in _ROWS:
            self._take()
        elif name in _OF_QUANTITY:
            self._of[name] = text
        elif name in {"pointId", "idPrm"}:
            self._prm = text
        elif name in {"mesuresCorrigees", "etapeMetier"}:
            self._stage = text
        elif name in {"faultstring", "Fault"}:
            raise Unreadable(f"the service answered with an error: {text[:100]}", self.reader.line)

    def _take(self) -> None:
        row = CurveRow(
            self._prm,
            self._of.get("grandeurMetier", ""),
            self._of.get("grandeurPhysique", ""),
            self._of.get("unite", ""),
            self._row.get("p", ""),
            self._row.get("n", ""),
            self._stage,
            self._row.get("iv", ""),
        )
        if row not in self._lanes:
            if len(self._lanes) >= _MOST_LANES:
                self._lanes.clear()
            self._lanes[row] = enedis_lane(self._intake, row)
        lane, quality = self._lanes[row]
        lane.add(self.reader.line, self._row.get("d", ""), self._row.get("v", ""), quality)


def _recognises(head: Head) -> bool:
    return head.root in {"Envelope", "consulterMesuresDetailleesResponse"} and (
        "consulterMesuresDetaillees" in head.text or "Fault" in head.text
    )


def _read(stream: IO[bytes], intake: Intake, _: Head) -> None:
    handler = _Handler(intake)
    handler.reader.walk(stream)
    if not intake.rows_seen:
        raise Unreadable("no rows in the answer")


SGE: Final = Format(
    "sge",
    "Enedis SGE ConsultationMesuresDetaillees, SOAP answer",
    "Europe/Paris",
    _recognises,
    _read,
)
