"""What was told of sums over members, and to whom: kept, so that what is told next betrays nobody.

A sum that hides everybody by itself may betray somebody together with one of last week. So each is
written down before it is shown, by the random names of its members, for the days that it is about.
Sums of different steps are different values; a month's sum is held against those of all its steps,
which keeps back a little more than it must in a month in which somebody joined or left.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from node.billing.access import MAY, Grant, Subject, View, Viewer
from node.billing.anonymity import Total
from node.billing.views import visible_totals
from node.errors import ConfigurationError
from node.model import Side

__all__ = ["MAX_TOLD", "Telling", "TellingBook", "tellings_from"]

MAX_TOLD: Final = 100_000
"""Sums that one book holds at most."""


@dataclass(frozen=True, slots=True)
class Telling:
    """A sum that was told: whose, of what they drew (bid) or fed in (ask), from when to when."""

    viewer: str
    side: Side
    from_s: int
    to_s: int
    members: frozenset[str]

    def line(self) -> str:
        """How it is kept: one JSON document on a line."""
        return json.dumps(
            {
                "viewer": self.viewer,
                "side": self.side.word,
                "from_s": self.from_s,
                "to_s": self.to_s,
                "members": sorted(self.members),
            },
            sort_keys=True,
        )


def tellings_from(lines: Iterable[str]) -> list[Telling]:
    """What lines hold that ``Telling.line`` wrote. Raises ConfigurationError for others: whoever
    goes on without what was told before would tell too much."""
    sides = {side.word: side for side in Side}
    found = []
    for number, line in enumerate(lines, start=1):
        if number > MAX_TOLD:
            raise ConfigurationError(f"holds more than {MAX_TOLD} sums that were told")
        try:
            kept = json.loads(line)
            found.append(
                Telling(
                    str(kept["viewer"]),
                    sides[kept["side"]],
                    int(kept["from_s"]),
                    int(kept["to_s"]),
                    frozenset(map(str, kept["members"])),
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"is no sum that was told ({error!r})", line=number) from error
    return found


class TellingBook:
    """Decides what may be told, and remembers it. ``new`` is what the caller has to keep."""

    def __init__(self, known: Iterable[Telling] = ()) -> None:
        self._known = list(known)
        self.new: list[Telling] = []

    def tell(
        self,
        viewer: Viewer,
        view: View,
        side: Side,
        span: tuple[int, int],
        totals: Sequence[Total],
        subjects: Sequence[Subject],
        k: int,
        now_s: int,
    ) -> list[Total]:
        """Those of the totals that somebody may see, in their order; what it saw before it may see
        again. Who sees everything anyhow is told nothing by a sum, so that is not remembered."""
        grant = MAY[view][viewer.role]
        if grant is not Grant.TOTALS:
            return visible_totals(viewer, view, totals, subjects, k, now_s)
        who = f"{viewer.role}:{viewer.name}"
        told = [one for one in (*self._known, *self.new) if one.side is side]
        seen = {one.members for one in told if one.viewer == who and (one.from_s, one.to_s) == span}
        overlapping = {
            one.members: None for one in told if one.from_s < span[1] and one.to_s > span[0]
        }
        out = [Total("told", members) for members in overlapping]
        asked = [total for total in totals if total.members not in seen]
        allowed = visible_totals(viewer, view, asked, subjects, k, now_s, out=out)
        self.new += [Telling(who, side, *span, total.members) for total in allowed]
        return [total for total in totals if total.members in seen or total in allowed]
