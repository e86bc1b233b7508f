"""Enedis R64: indexes with their context, on order, as JSON or CSV.

Bare stamps in the legal time of France, at the START of the day. Labels arrive with broken accents,
so calendars and registers are known by their identifiers. ``iv`` other than 0 marks a doubt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import IO, Final

from node.billing.formats.head import Format, Head
from node.billing.formats.index_rows import IndexRow, keep_index
from node.billing.formats.json_stream import JsonObject
from node.billing.formats.json_values import members, objects, text_of
from node.billing.formats.r63_csv import COLUMNS_FAULT, columns_of
from node.billing.formats.text_lines import cells_of, text_lines
from node.billing.rows import Intake, Unreadable

__all__ = ["R64_CSV", "R64_JSON"]

_FLOW: Final = re.compile(r'"codeFlux"\s*:\s*"R64[AB]?"')
_COLUMNS: Final = {
    "prm": r"identifiant prm",
    "quantity": r"grandeur physique",
    "business": r"grandeur m.{0,3}tier",
    "unit": r"unit.{0,2}",
    "stamp": r"horodate",
    "calendar": r"identifiant calendrier",
    "register": r"identifiant classe temporelle",
    "dial": r"(code )?cadran",
    "value": r"valeur",
    "likelihood": r"indice de vraisemblance",
}
_MUST: Final = frozenset({"prm", "quantity", "business", "unit", "stamp", "value", "register"})


def _is_json(head: Head) -> bool:
    return head.is_json and bool(_FLOW.search(head.text))


def _is_csv(head: Head) -> bool:
    line = head.first_line
    return "identifiant prm" in line and "horodate" in line and "calendrier" in line


def _read_json(stream: IO[bytes], intake: Intake, _: Head) -> None:
    seen = 0

    def take(line: int, element: object) -> None:
        nonlocal seen
        seen += 1
        measure = members(element, line, "a measure")
        for context in objects(measure.get("contexte"), line, "contexte"):
            for quantity in objects(context.get("grandeur"), line, "grandeur"):
                _quantity(intake, line, text_of(measure, "idPrm"), quantity)

    JsonObject("mesures", take).read(stream)
    if not seen:
        raise Unreadable("no measures in the file")


def _quantity(intake: Intake, line: int, prm: str, quantity: Mapping[str, object]) -> None:
    for calendar in objects(quantity.get("calendrier"), line, "calendrier"):
        calendar_id = text_of(calendar, "idCalendrier")
        for register in objects(calendar.get("classeTemporelle"), line, "classeTemporelle"):
            register_id = text_of(register, "idClasseTemporelle")
            _values(intake, line, (prm, calendar_id, register_id), quantity, register)
    for dial in objects(quantity.get("cadranTotalisateur"), line, "cadranTotalisateur"):
        _values(intake, line, (prm, "", text_of(dial, "codeCadran") or "TOTAL"), quantity, dial)


def _values(
    intake: Intake,
    line: int,
    names: tuple[str, str, str],
    quantity: Mapping[str, object],
    holder: Mapping[str, object],
) -> None:
    prm, calendar, register = names
    for value in objects(holder.get("valeur"), line, "valeur"):
        stamp = text_of(value, "d")
        row = IndexRow(
            prm,
            text_of(quantity, "grandeurMetier"),
            text_of(quantity, "grandeurPhysique"),
            text_of(quantity, "unite"),
            calendar,
            register,
            intake.stamps.read(stamp if len(stamp) > len("2026-01-01") else f"{stamp} 00:00:00"),
            stamp,
            text_of(value, "v"),
            text_of(value, "iv") not in {"", "0"},
        )
        keep_index(intake, line, row)


def _read_csv(stream: IO[bytes], intake: Intake, _: Head) -> None:
    lines = text_lines(stream)
    header = next(lines, (1, ""))[1]
    columns, width = columns_of(header, _COLUMNS, _MUST), len(cells_of(header))
    for number, line in lines:
        if not line.strip():
            continue
        cells = [cell.strip() for cell in cells_of(line)]
        if len(cells) != width:
            intake.refuse(COLUMNS_FAULT, number, raw=line)
            continue
        of = {name: cells[place] for name, place in columns.items()}
        stamp = of["stamp"]
        row = IndexRow(
            of["prm"],
            of["business"],
            of["quantity"],
            of["unit"],
            of.get("calendar", ""),
            of["register"] or of.get("dial", "") or "TOTAL",
            intake.stamps.read(stamp if len(stamp) > len("2026-01-01") else f"{stamp} 00:00:00"),
            stamp,
            of["value"],
            of.get("likelihood", "") not in {"", "0"},
        )
        keep_index(intake, number, row)


R64_JSON: Final = Format(
    "r64-json", "Enedis R64 indexes, JSON", "Europe/Paris", _is_json, _read_json
)
R64_CSV: Final = Format("r64-csv", "Enedis R64 indexes, CSV", "Europe/Paris", _is_csv, _read_csv)
