"""A curve that arrives, over what is kept: which value of each step holds, and what is told of it.

Of two values of a step the more trusted one holds, and of two equally trusted ones that of the file
that was said later (``sayings``). That is one order of all values, so the same files give the same
curve in whatever order they come; only steps of another length than what is kept are brought to it,
whichever file is the later.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from node.billing.conformity import Finding, FindingClass, Treatment
from node.billing.sayings import NOBODY, Stand
from node.billing.series import (
    Curve,
    StepQuality,
    TouchedSteps,
    resampled,
    touched_steps,
)

__all__ = ["Merge", "merged", "valued_runs"]

_TRUST: Final = {
    StepQuality.CORRECTED: 3,
    StepQuality.METERED: 2,
    StepQuality.MANUAL: 2,
}
"""How far a value is trusted; 1 for every other quality."""


@dataclass(frozen=True, slots=True)
class Merge:
    """What came of it: the curve, which import said each of its steps last, the runs of steps that
    had no value before, those that have another now, and the findings."""

    curve: Curve
    said: Sequence[int]
    added: Sequence[TouchedSteps] = ()
    touched: Sequence[TouchedSteps] = ()
    findings: Sequence[Finding] = ()


def merged(
    before: Curve,
    said: Sequence[int],
    arrived: Curve,
    version: int,
    stand: Callable[[int], Stand],
    file: str,
) -> Merge:
    """Merge what an import brought, as ``version``, into what was kept."""
    findings = []
    rows_a_step = int(arrived.step_s == before.step_s)
    if arrived.step_s != before.step_s:
        findings.append(_other_step(file, before, arrived))
        arrived = resampled(arrived, before.step_s)
    new = arrived.window(before.start_s, before.end_s)
    values, quality, by = array("q", before.watt_minutes), bytearray(before.quality), list(said)
    mine = stand(version)
    side = {number: _side(stand(number), mine) for number in set(said) - {NOBODY}}
    side[NOBODY] = -1
    refused: dict[str, list[int]] = {}
    added = bytearray(len(before))
    for index, (value, code) in enumerate(zip(new.watt_minutes, new.quality, strict=True)):
        if not code:
            continue
        kept = values[index], quality[index]
        if not kept[1]:
            added[index] = 1
        elif kept == (value, code):
            if side[by[index]] < 0:
                by[index] = version
            continue
        elif rule := _refusal(kept, (value, code), is_older=side[by[index]] > 0):
            refused.setdefault(rule, []).append(before.step_start_s(index))
            continue
        values[index], quality[index], by[index] = value, code, version
    curve = replace(before, watt_minutes=values, quality=bytes(quality), source=arrived.source)
    touched = touched_steps(before, curve) if _has_changed(before, curve) else []
    for rule, places in refused.items():
        finding = _refused(file, arrived, rule, places)
        findings.append(replace(finding, rows=len(places) * rows_a_step))
    return Merge(
        curve,
        by,
        valued_runs(replace(before, quality=bytes(added))),
        _without_added(before, touched),
        findings,
    )


def _has_changed(before: Curve, after: Curve) -> bool:
    return (before.watt_minutes, before.quality) != (after.watt_minutes, after.quality)


def _side(kept: Stand, mine: Stand) -> int:
    """1 if what is kept was said later, -1 if before, 0 if by the same file."""
    return (kept > mine) - (kept < mine)


def _refusal(kept: tuple[int, int], arrived: tuple[int, int], *, is_older: bool) -> str:
    """Why a (value, quality) does not replace the one that is kept; empty if it does."""
    trust, new_trust = (_TRUST.get(StepQuality(code), 1) for _, code in (kept, arrived))
    if new_trust < trust:
        return "same_value" if kept[0] == arrived[0] else "less_trusted"
    return "older_file" if new_trust == trust and is_older else ""


def _refused(file: str, curve: Curve, rule: str, places: list[int]) -> Finding:
    messages = {
        "same_value": (Treatment.DROP, "the value is kept already, with a better quality"),
        "less_trusted": (Treatment.ASK, "a less trusted value does not replace what is kept"),
        "older_file": (Treatment.DROP, "a later file of the operator's said what is kept"),
    }
    treatment, message = messages[rule]
    steps = f"{len(places)} {'step' if len(places) == 1 else 'steps'}"
    return replace(
        _finding(file, curve, treatment, rule, f"{steps}: {message}"),
        from_s=places[0],
        to_s=places[-1] + curve.step_s,
    )


def _other_step(file: str, before: Curve, arrived: Curve) -> Finding:
    return _finding(
        file,
        arrived,
        Treatment.REPAIR,
        "other_step",
        f"steps of {arrived.step_s // 60} min, kept are {before.step_s // 60} min;"
        " normalised by energy",
    )


def _finding(file: str, curve: Curve, treatment: Treatment, rule: str, message: str) -> Finding:
    return Finding(
        FindingClass.NON_STANDARD, treatment, rule, message, file, point_id=curve.point_id
    )


def valued_runs(curve: Curve) -> list[TouchedSteps]:
    """The runs of steps that have a quality."""
    ends = [curve.start_s, *(at_s for gap in curve.gaps() for at_s in gap), curve.end_s]
    return [
        TouchedSteps(curve.point_id, curve.direction, curve.step_s, from_s, to_s)
        for from_s, to_s in zip(ends[::2], ends[1::2], strict=True)
        if from_s < to_s
    ]


def _without_added(before: Curve, runs: list[TouchedSteps]) -> list[TouchedSteps]:
    """The parts of these runs in which there was a value before."""
    kept: list[TouchedSteps] = []
    for run in runs:
        for at_s in range(run.from_s, run.to_s, run.step_s):
            if not before.quality[(at_s - before.start_s) // before.step_s]:
                continue
            if kept and kept[-1].to_s == at_s:
                kept[-1] = replace(kept[-1], to_s=at_s + run.step_s)
            else:
                kept.append(replace(run, from_s=at_s, to_s=at_s + run.step_s))
    return kept
