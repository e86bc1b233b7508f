"""What is kept of a person outside the office: official curves and bills, for its own copy.

Everything is in Wh, cents and UTC. Whoever stands on the other side of a line of a bill is named in
it by delivery point, as on the bill itself; nothing else of others is in it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from node.billing.archive import RULINGS, Archive
from node.billing.archive_tables import TABLES
from node.billing.bill_keeping import PAIRS
from node.billing.curve_files import read_curve_table
from node.billing.curve_rows import Row, finding_from, unpacked_values
from node.billing.market_key import MARKET_FILES
from node.billing.series import MISSING, Curve, Direction, StepQuality
from node.errors import ConfigurationError
from node.slots import iso_utc

__all__ = ["PointStorage", "copy_of_bills", "copy_of_curves"]

RULED: Final = "ruled.jsonl"


class PointStorage(Protocol):
    """Where curves are kept; ``node.store.curves.CurveDatabase`` is one."""

    def all_of(self, point_id: str) -> Mapping[str, Sequence[Row]]:
        """Every row of a point, by table."""
        ...


def copy_of_curves(storage: PointStorage, points: Collection[str]) -> dict[str, object]:
    """All that is kept of these points, in every version: curves by UTC day, indexes, energies of
    periods (the operator's, and those that retention made of curves), findings."""
    kept = [storage.all_of(point) for point in sorted(points)]
    return {
        "curve_days": [_day(row) for rows in kept for row in rows["curve_day"]],
        "indexes": [_index(row) for rows in kept for row in rows["register_value"]],
        "energies": [_energy(row) for rows in kept for row in rows["period_energy"]],
        "findings": [_finding(row) for rows in kept for row in rows["finding"]],
    }


def _day(row: Row) -> dict[str, object]:
    point, direction, day_s, version, step_s, _, packed, codes, source = row
    day = Curve(point, Direction(direction), step_s, day_s, unpacked_values(packed), codes)
    return {
        "point": point,
        "direction": direction,
        "start": iso_utc(day_s),
        "step_s": step_s,
        "import": version,
        "source": source,
        "values_wh": _values(day.energy_wh()),
        "quality": [StepQuality(code).name.lower() for code in codes],
    }


def _index(row: Row) -> dict[str, object]:
    point, direction, calendar, register, taken_at_s, version, value_wh, quality, source = row
    return {
        "point": point,
        "direction": direction,
        "calendar": calendar,
        "register": register,
        "taken_at": iso_utc(taken_at_s),
        "import": version,
        "value_wh": value_wh,
        "quality": StepQuality(quality).name.lower(),
        "source": source,
    }


def _energy(row: Row) -> dict[str, object]:
    point, direction, part, calendar, register, to_s, version, from_s, energy_wh, *rest = row
    quality, source = rest
    return {
        "point": point,
        "direction": direction,
        "part": part,
        "calendar": calendar,
        "register": register,
        "from": None if from_s is None else iso_utc(from_s),
        "to": iso_utc(to_s),
        "import": version,
        "energy_wh": energy_wh,
        "quality": StepQuality(quality).name.lower(),
        "source": source,
    }


def _finding(row: Row) -> dict[str, object]:
    number, finding = finding_from(row)
    return {
        "point": finding.point_id,
        "import": number,
        "file": finding.file,
        "line": finding.line,
        "rule": finding.rule,
        "message": finding.message,
        "raw": finding.raw,
    }


def _values(values: Sequence[int]) -> list[int | None]:
    return [None if value == MISSING else value for value in values]


def copy_of_bills(archive: Archive, points: Collection[str]) -> dict[str, object]:
    """All that the folder of bills holds of these points: bills, what they were made from, what was
    shared with whom, notes, and rulings."""
    history = archive.history()
    return {
        "bills": [
            _document(path)
            for point in sorted(points)
            for path in sorted(
                (archive.folder / "outbox" / point).glob("*.json"), key=lambda path: path.stem
            )
        ],
        "curves": [one for folder in _revisions(archive) for one in _tables(folder, points)],
        "market": [one for folder in _revisions(archive) for one in _filled(folder, points)],
        "shared": [one for folder in _revisions(archive) for one in _shared(folder, points)],
        "notes": [
            {**note, "period": path.parent.parent.name, "revision": int(path.parent.name)}
            for path in (folder / "notes.json" for folder in _revisions(archive))
            if path.exists()
            for note in _document(path)["notes"]
            if note["party"] in points
        ],
        "noted": [
            item
            for entry in history
            for item in entry.get("notes", ())
            if {item["seller"], item["buyer"]} & set(points)
        ],
        "rulings": list(_lines(archive.folder / RULINGS, points)),
        "ruled": [
            one
            for path in sorted(archive.folder.glob(f"*/{RULED}"))
            for one in _lines(path, points)
        ],
    }


def _revisions(archive: Archive) -> list[Path]:
    """The folders of all revisions of all periods, in order."""
    return [
        folder
        for period in archive.periods()
        for folder in sorted((archive.folder / period).glob("*"), key=lambda path: path.name)
        if folder.is_dir() and folder.name.isdecimal()
    ]


def _tables(folder: Path, points: Collection[str]) -> Iterator[dict[str, object]]:
    """The columns of some points in what a revision was billed from."""
    for name in TABLES:
        if name in MARKET_FILES or not (folder / name).exists():
            continue
        table = read_curve_table(folder / name)
        for point in sorted(points & table.points.keys()):
            yield {
                "point": point,
                "period": folder.parent.name,
                "revision": int(folder.name),
                "what": name.partition(".")[0],
                "start": iso_utc(table.start_s),
                "step_s": table.step_s,
                "values_wh": _values(table.points[point]),
            }


def _filled(folder: Path, points: Collection[str]) -> Iterator[dict[str, object]]:
    """What the market filled of some points, by slot, where its allocation was billed."""
    for path in (folder / name for name in MARKET_FILES):
        if not path.exists():
            continue
        head, *rows = (line.split(",") for line in path.read_text("utf-8").splitlines())
        for place, point in enumerate(head):
            if point in points:
                yield {
                    "point": point,
                    "period": folder.parent.name,
                    "revision": int(folder.name),
                    "what": path.stem,
                    "filled_wh": {row[0]: int(row[place]) for row in rows if row[place]},
                }


def _shared(folder: Path, points: Collection[str]) -> Iterator[dict[str, object]]:
    """What went from whom to whom in a revision, where one of them is one of these points."""
    if not (folder / PAIRS).exists():
        return
    document = _document(folder / PAIRS)
    for row, producer in enumerate(document["producers"]):
        for column, consumer in enumerate(document["consumers"]):
            if {producer, consumer} & set(points):
                yield {
                    "period": folder.parent.name,
                    "revision": int(folder.name),
                    "producer": producer,
                    "consumer": consumer,
                    "energy_wh": sum(matrix[row][column] for matrix in document["pairs"].values()),
                }


def _document(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot be read ({error})", file=path) from error


def _lines(path: Path, points: Collection[str]) -> Iterator[dict[str, Any]]:
    """The lines of a file that are about one of these points."""
    if not path.exists():
        return
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        try:
            found = dict(json.loads(line))
        except ValueError as error:
            raise ConfigurationError(f"cannot be read ({error})", file=path, line=number) from error
        if found.get("point") in points:
            yield found
