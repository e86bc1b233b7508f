"""Operators' files made up for tests: any number of points, any days, in several formats.

The numbers are arbitrary and repeat for a seed; nothing here is anyone's consumption.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

PARIS = ZoneInfo("Europe/Paris")

R63_HEADER = (
    "Identifiant PRM;Date de début;Date de fin;Grandeur physique;Grandeur métier;"
    "Etape métier;Unité;Horodate;Valeur;Nature;Pas;Indice de vraisemblance;Etat complémentaire"
)


def prm(number: int) -> str:
    """The PRM of a made-up point."""
    return f"{30_000_000_000_000 + number:014d}"


def ends(first: date, days: int, step_s: int, zone: ZoneInfo = PARIS) -> list[datetime]:
    """The local ends of every step of whole local days."""
    start = datetime.combine(first, time(), zone).astimezone(UTC)
    stop = datetime.combine(first + timedelta(days=days), time(), zone).astimezone(UTC)
    steps = int((stop - start).total_seconds()) // step_s
    return [
        (start + timedelta(seconds=step_s * (step + 1))).astimezone(zone) for step in range(steps)
    ]


def watts(count: int, seed: int) -> list[int]:
    """Mean powers of a made-up home."""
    random_ = random.Random(seed)
    return [random_.randrange(60, 6_000) for _ in range(count)]


def r63_row(point: str, stamp: str, value: str, *, nature: str = "B", step: str = "PT30M") -> str:
    """One row of an R63 CSV."""
    return (
        f"{point};2025-01-01 00:00:00;2026-01-01 00:00:00;PA;CONS;BRUT;W;"
        f"{stamp};{value};{nature};{step};0;0"
    )


def r63_lines(
    points: Sequence[str], first: date, days: int, *, step_min: int = 30
) -> Iterator[str]:
    """An R63 CSV of whole days, line by line, with bare local stamps as Enedis writes them."""
    yield R63_HEADER
    stamps = [end.strftime("%Y-%m-%d %H:%M:%S") for end in ends(first, days, step_min * 60)]
    for number, point in enumerate(points):
        values = watts(len(stamps), number)
        for stamp, value in zip(stamps, values, strict=True):
            yield r63_row(point, stamp, str(value), step=f"PT{step_min}M")


def write_r63(path: Path, points: Sequence[str], first: date, days: int) -> Path:
    """The same as a file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in r63_lines(points, first, days))
    return path


def write_r63_json(path: Path, points: Sequence[str], first: date, days: int) -> Path:
    """The same points and values as R63 JSON."""
    stamps = [end.strftime("%Y-%m-%d %H:%M:%S") for end in ends(first, days, 1800)]
    measures = [
        {
            "idPrm": point,
            "etapeMetier": "BRUT",
            "periode": {"dateDebut": str(first), "dateFin": str(first + timedelta(days=days))},
            "grandeur": [
                {
                    "grandeurMetier": "CONS",
                    "grandeurPhysique": "PA",
                    "unite": "W",
                    "points": [
                        {"v": str(value), "d": stamp, "p": "PT30M", "n": "B", "iv": "0"}
                        for stamp, value in zip(stamps, watts(len(stamps), number), strict=True)
                    ],
                }
            ],
        }
        for number, point in enumerate(points)
    ]
    header = {"siDemandeur": "SGE", "codeFlux": "R63", "format": "JSON"}
    path.write_text(json.dumps({"header": header, "mesures": measures}), encoding="utf-8")
    return path


def write_r50(path: Path, points: Sequence[str], first: date, days: int) -> Path:
    """The same points and values as R50."""
    stamps = [end.isoformat() for end in ends(first, days, 1800)]
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="UTF-8"?><R50><En_Tete_Flux>')
        file.write("<Identifiant_Flux>R50</Identifiant_Flux>")
        file.write("<Date_Creation>2026-01-02T03:00:41+01:00</Date_Creation>")
        file.write("<Pas_Publication>30</Pas_Publication></En_Tete_Flux>\n")
        for number, point in enumerate(points):
            file.write(f"<PRM><Id_PRM>{point}</Id_PRM><Donnees_Releve>\n")
            for stamp, value in zip(stamps, watts(len(stamps), number), strict=True):
                file.write(f"<PDC><H>{stamp}</H><V>{value}</V><IV>0</IV></PDC>\n")
            file.write("</Donnees_Releve></PRM>\n")
        file.write("</R50>\n")
    return path
