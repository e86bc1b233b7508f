"""Enedis R50: the half-hourly curves of Linky meters on subscription.

Mean W, stamped at the END of the step, with the offset. ``IV`` 1 marks a doubtful value; a missing
``V`` is a gap. The flow is of consumption points (segment C5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Final

from node.billing.conformity import FindingClass, Treatment
from node.billing.formats.enedis import minutes_s
from node.billing.formats.head import Format, Head
from node.billing.formats.xml_stream import XmlReader
from node.billing.identifiers import prm_fault
from node.billing.rows import Intake, Lane, Refusal, Stamped, Unreadable
from node.billing.series import Direction, StepQuality

__all__ = ["R50"]

_NO_POINT: Final = Refusal(
    FindingClass.CORRUPT, Treatment.ASK, "no_point", "rows that belong to no delivery point"
)


class _Handler:
    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.reader = XmlReader(self.begin, self.end)
        self._step_s = 0
        self._lane: Lane | None = None
        self._row: dict[str, str] = {}

    def begin(self, name: str, _: Mapping[str, str]) -> None:
        if name == "PDC":
            self._row = {}
        elif name == "PRM":
            self._lane = None

    def end(self, name: str, text: str) -> None:
        if name in {"H", "V", "IV"}:
            self._row[name] = text
        elif name == "PDC":
            self._take()
        elif name == "Id_PRM":
            self._lane = self._intake.lane(
                text,
                Direction.WITHDRAWAL,
                step_s=self._step_s,
                unit="W",
                stamped=Stamped.AT_END,
                fault=prm_fault(text),
            )
        elif name == "Pas_Publication":
            self._step_s = minutes_s(text)
        elif name == "Date_Creation":
            self._intake.note_publication(text)

    def _take(self) -> None:
        row = self._row
        stamp, value = row.get("H", ""), row.get("V", "")
        if self._lane is None:
            self._intake.refuse(_NO_POINT, self.reader.line, raw=f"{stamp} {value}")
            return
        sure = row.get("IV", "0") in {"", "0"}
        quality = StepQuality.METERED if sure else StepQuality.DOUBTFUL
        self._lane.add(self.reader.line, stamp, value, quality)


def _recognises(head: Head) -> bool:
    return head.root == "R50"


def _read(stream: IO[bytes], intake: Intake, _: Head) -> None:
    handler = _Handler(intake)
    handler.reader.walk(stream)
    if not intake.rows_seen:
        raise Unreadable("no rows in the file")


R50: Final = Format(
    "r50", "Enedis R50 load curve of Linky meters, XML", "Europe/Paris", _recognises, _read
)
