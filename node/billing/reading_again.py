"""Reading a file again of which more can be taken than before.

Some rows are refused for want of what a person knows: the segment of a point, or that a point takes
part at all. Once the operation says it, the same file gives more. It is kept as a further import,
which fills what is missing and undoes nothing that a later file said.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from node.billing.conformity import Finding
from node.billing.series import MISSING, Curve, StepQuality, resampled

__all__ = ["KEEPING", "named_again", "refused_in_reading", "without_later"]

KEEPING: Final = frozenset(
    {"same_value", "less_trusted", "older_file", "other_step", "index_differs"}
)
"""Rules of findings that come of what is kept already, and not of the file alone."""


def named_again(file: str, times: int) -> str:
    """The name of a file that is read again once more, or more often; 0 is the first reading."""
    more = f" ({times})" if times > 1 else ""
    return f"{file}, read again{more}" if times else file


def refused_in_reading(findings: Iterable[Finding]) -> int:
    """The rows that were refused when a file was read."""
    return sum(finding.rows for finding in findings if finding.rule not in KEEPING)


def without_later(arrived: Curve, then: Curve | None, now: Curve | None) -> Curve:
    """A curve that is read again, with a gap wherever a later import changed what was kept: a gap
    erases nothing. ``then`` is what was kept once the file was read first, ``now`` what is today.
    """
    if now is None:
        return arrived
    before = _over(arrived, then)
    values, quality = array("q", arrived.watt_minutes), bytearray(arrived.quality)
    for place, kept in enumerate(_over(arrived, now)):
        if kept[1] and kept != before[place]:
            values[place], quality[place] = MISSING, StepQuality.GAP
    return replace(arrived, watt_minutes=values, quality=bytes(quality))


def _over(arrived: Curve, kept: Curve | None) -> list[tuple[int, int]]:
    """Value and quality of what is kept, on the steps of a curve that arrived."""
    if kept is None:
        return [(MISSING, int(StepQuality.GAP))] * len(arrived)
    same = resampled(kept, arrived.step_s).window(arrived.start_s, arrived.end_s)
    return list(zip(same.watt_minutes, same.quality, strict=True))
