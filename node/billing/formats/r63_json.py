"""Enedis R63 as JSON, and the same body as Data Connect hands it out for one point since 2026."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import IO, Final

from node.billing.formats.enedis import CurveRow, enedis_lane
from node.billing.formats.head import Format, Head
from node.billing.formats.json_stream import JsonObject
from node.billing.formats.json_values import members, objects, text_of
from node.billing.rows import Intake, Lane, Unreadable
from node.billing.series import StepQuality

__all__ = ["R63_JSON"]

_FLOW: Final = re.compile(r'"codeFlux"\s*:\s*"R63[AB]?"')


def _recognises(head: Head) -> bool:
    if not head.is_json:
        return False
    alone = '"idPrm"' in head.text and '"grandeur"' in head.text and "codeFlux" not in head.text
    return bool(_FLOW.search(head.text)) or (alone and '"contexte"' not in head.text)


def _read(stream: IO[bytes], intake: Intake, _: Head) -> None:
    seen = 0

    def take(line: int, element: object) -> None:
        nonlocal seen
        seen += 1
        _measure(intake, line, element)

    rest = JsonObject("mesures", take).read(stream)
    if "idPrm" in rest:
        take(1, rest)
    if not seen:
        raise Unreadable("no measures in the file")


def _measure(intake: Intake, line: int, element: object) -> None:
    measure = members(element, line, "a measure")
    for quantity in objects(measure.get("grandeur"), line, "grandeur"):
        _curve(intake, line, measure, quantity)


def _curve(
    intake: Intake, line: int, measure: Mapping[str, object], quantity: Mapping[str, object]
) -> None:
    lanes: dict[tuple[str, str, str], tuple[Lane, StepQuality]] = {}
    for point in objects(quantity.get("points"), line, "points"):
        own = (text_of(point, "p"), text_of(point, "n"), text_of(point, "iv"))
        if own not in lanes:
            step, nature, likelihood = own
            row = CurveRow(
                text_of(measure, "idPrm"),
                text_of(quantity, "grandeurMetier"),
                text_of(quantity, "grandeurPhysique"),
                text_of(quantity, "unite"),
                step or text_of(measure, "pas"),
                nature,
                text_of(measure, "etapeMetier"),
                likelihood,
            )
            lanes[own] = enedis_lane(intake, row)
        lane, quality = lanes[own]
        lane.add(line, text_of(point, "d"), text_of(point, "v"), quality)


R63_JSON: Final = Format(
    "r63-json", "Enedis R63 load curve, JSON", "Europe/Paris", _recognises, _read
)
