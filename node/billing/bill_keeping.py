"""A billed month's allocation as files, so that a later correction opens the touched steps only.

``given.csv`` and ``allocated.csv`` are what each point gave and got in each step, ``pairs.json``
the sums between each two by group of steps. They are taken up again if they are what was billed,
to the byte, and if members, prices and tariffs still cut the month into the same groups; otherwise
the month is allocated anew as a whole, under the same key.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from node.billing.allocation import Allocation, Key, Matrix
from node.billing.allocation.rounds import resolve
from node.billing.bill_energy import BilledEnergy, Frame, energy_of
from node.billing.curve_files import CurveTable, curve_table_text, read_curve_table
from node.errors import ConfigurationError

__all__ = ["PAIRS", "energy_files", "kept_energy", "kept_table", "pairs_digest", "same_table"]

PAIRS: Final = "pairs.json"


def energy_files(energy: BilledEnergy) -> dict[str, str]:
    """The allocation as files, by name."""
    allocation, frame = energy.allocation, energy.frame
    files = {
        name: "".join(curve_table_text(CurveTable(frame.first_s, frame.step_s, curves)))
        for name, curves in (
            ("given.csv", allocation.given),
            ("allocated.csv", allocation.allocated),
        )
        if curves
    }
    return {**files, PAIRS: _pairs_text(energy)}


def pairs_digest(energy: BilledEnergy) -> str:
    """Over the sums between each two: for the history."""
    return sha256(_pairs_text(energy).encode()).hexdigest()


def _pairs_text(energy: BilledEnergy) -> str:
    """Who joins later is left out, so that a later member changes nothing."""
    frame, allocation = energy.frame, energy.allocation
    producers = [p for p in allocation.production if p not in frame.later_producers]
    consumers = [c for c in allocation.consumption if c not in frame.later_consumers]
    rows = [place for place, p in enumerate(allocation.production) if p in producers]
    columns = [place for place, c in enumerate(allocation.consumption) if c in consumers]
    pairs = {
        str(group): [[matrix[row][column] for column in columns] for row in rows]
        for group, matrix in sorted(allocation.pairs.items())
    }
    document = {
        "producers": producers,
        "consumers": consumers,
        "groups": _groups(frame),
        "pairs": pairs,
    }
    return json.dumps(document, sort_keys=True) + "\n"


def _groups(frame: Frame) -> list[list[object]]:
    """What each group of steps is, and which steps are its, as plain values."""
    starts = [step for step, group in enumerate(frame.groups) if _begins(frame, step, group)]
    labels: list[list[object]] = [
        [
            *(day.isoformat() for day in frame.spans[label.span]),
            [
                [list(calendar.classes), [list(window) for window in calendar.off_peak_min], name]
                for calendar, name in sorted(label.classes.items())
            ],
        ]
        for label in frame.labels
    ]
    return [*labels, [[step, frame.groups[step]] for step in starts]]


def _begins(frame: Frame, step: int, group: int) -> bool:
    return step == 0 or frame.groups[step - 1] != group


def kept_energy(
    folder: Path, before: Frame, key: Key, entry: Mapping[str, Any]
) -> BilledEnergy | None:
    """The energy of a revision that was billed; None if its files are missing, or are not what the
    history's entry says was billed, or if the month is cut into other groups now. ``before`` is
    the revision's own curves."""
    try:
        text = (folder / PAIRS).read_text("utf-8")
        document = json.loads(text)
        given = kept_table(folder / "given.csv", before.first_s, before.step_s)
        allocated = kept_table(folder / "allocated.csv", before.first_s, before.step_s)
    except (OSError, ValueError, ConfigurationError):
        return None
    if sha256(text.encode()).hexdigest() != entry.get("pairs"):
        return None
    if document["groups"] != json.loads(json.dumps(_groups(before))):
        return None
    makers = _filled(before.production, given, before.later_producers)
    takers = _filled(before.consumption, allocated, before.later_consumers)
    if makers is None or takers is None:
        return None
    energy = energy_of(
        before,
        Allocation(
            key,
            resolve(key, tuple(before.production), tuple(before.consumption), len(before.groups)),
            before.production,
            before.consumption,
            makers,
            takers,
            (),
            _pairs(document, before),
        ),
    )
    return energy if energy.digest() == entry["inputs"] else None


def kept_table(path: Path, start_s: int, step_s: int) -> CurveTable:
    """A table of the archive; one that was not written had no curves."""
    return read_curve_table(path) if path.exists() else CurveTable(start_s, step_s, {})


def same_table(one: CurveTable, other: CurveTable) -> bool:
    """Whether two tables say the same."""
    if not one.points and not other.points:
        return True
    return (one.start_s, one.step_s, dict(one.points)) == (
        other.start_s,
        other.step_s,
        dict(other.points),
    )


def _filled(
    wanted: Mapping[str, array[int]], table: CurveTable, later: frozenset[str]
) -> dict[str, array[int]] | None:
    """The table's curves for these points, 0 for who joins later; None if they are of others."""
    found: dict[str, array[int]] = {}
    for point, measured in wanted.items():
        if point in later:
            found[point] = array("q", (0,)) * len(measured)
        elif point in table.points and len(table.points[point]) == len(measured):
            found[point] = table.points[point]
        else:
            return None
    return found if set(table.points) <= set(found) else None


def _pairs(document: Mapping[str, Any], frame: Frame) -> dict[int, Matrix]:
    rows = {point: place for place, point in enumerate(document["producers"])}
    columns = {point: place for place, point in enumerate(document["consumers"])}
    return {
        int(group): [
            [
                matrix[rows[p]][columns[c]] if p in rows and c in columns else 0
                for c in frame.consumption
            ]
            for p in frame.production
        ]
        for group, matrix in document["pairs"].items()
    }
