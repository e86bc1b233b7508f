"""What was told of sums over members, and to whom: kept, so that what is told next betrays nobody.

A sum that hides everybody by itself may betray somebody together with one of last week. So each is
written down before it is shown, by the random names of its members, for the days that it is about.
Sums of different steps are different values; a month's sum is held against those of all its steps,
which keeps back a little more than it must in a month in which somebody joined or left.

What everybody is told of a month, its sums over all members, must not hang on what somebody asked
before. So a group that somebody asks for is held against the sums over all too, told or not yet,
and must hide k members in any combination with them, whoever puts them together: each member, who
knows itself, and each supplier, who knows its clients. Of groups, who asks first is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from node.billing.access import MAY, Grant, Subject, View, Viewer
from node.billing.anonymity import Total, releasable
from node.billing.views import published, visible_totals
from node.errors import ConfigurationError
from node.model import Side

__all__ = ["MAX_TOLD", "Asked", "Telling", "TellingBook", "tellings_from"]

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


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for sums of what: a side of some steps of a community."""

    viewer: Viewer
    view: View
    side: Side
    span: tuple[int, int]
    subjects: Sequence[Subject]
    k: int
    now_s: int

    def telling(self, members: frozenset[str]) -> Telling:
        """The answer, with the sum over these members."""
        who = f"{self.viewer.role}:{self.viewer.name}"
        return Telling(who, self.side, *self.span, members)


class TellingBook:
    """Decides what may be told, and remembers it. ``new`` is what the caller has to keep."""

    def __init__(self, known: Iterable[Telling] = ()) -> None:
        self._known = list(known)
        self.new: list[Telling] = []

    def may_tell(self, asked: Asked, members: frozenset[str]) -> bool:
        """Whether somebody may see the sum over all members; what it saw before it may see again.
        Who sees everything anyhow may."""
        if self.was_told(asked, members):
            return True
        whole = [Total("whole", members)]
        return all(
            visible_totals(
                asked.viewer, asked.view, whole, asked.subjects, asked.k, asked.now_s, out=out
            )
            for out in self._out(asked, ())
        )

    def groups(
        self, asked: Asked, groups: Sequence[Total], wholes: Iterable[Telling]
    ) -> list[Total]:
        """Those sums over some members that somebody may see, in their order; ``wholes``: the sums
        over all that are told, or would be to whoever asks."""
        if MAY[asked.view][asked.viewer.role] is not Grant.TOTALS:
            return visible_totals(
                asked.viewer, asked.view, groups, asked.subjects, asked.k, asked.now_s
            )
        public = published(asked.subjects, asked.now_s)
        suppliers = {one.supplier for one in asked.subjects}
        allowed = [group for group in groups if not self.was_told(asked, group.members)]
        for out in self._out(asked, wholes):
            # Whoever of k + 1 looks for itself is left with k others.
            allowed = releasable(allowed, asked.k + 1, known=public, out=out)
            for supplier in suppliers:
                clients = {one.person for one in asked.subjects if one.supplier == supplier}
                allowed = releasable(allowed, asked.k, known=public | clients, out=out)
        return [one for one in groups if one in allowed or self.was_told(asked, one.members)]

    def keep(self, asked: Asked, members: frozenset[str]) -> None:
        """Write down a sum that is about to be shown. Who sees everything anyhow is told nothing by
        one, so that is not remembered."""
        is_told = MAY[asked.view][asked.viewer.role] is Grant.TOTALS
        if is_told and not self.was_told(asked, members):
            self.new.append(asked.telling(members))

    def was_told(self, asked: Asked, members: frozenset[str]) -> bool:
        """Whether it saw this sum before."""
        return asked.telling(members) in self._known or asked.telling(members) in self.new

    def _out(self, asked: Asked, wholes: Iterable[Telling]) -> list[list[Total]]:
        """The sums of the same values that are out, or will be: in each part of the span in which
        they are the same ones."""
        from_s, to_s = asked.span
        told = [
            one
            for one in (*wholes, *self._known, *self.new)
            if one.side is asked.side and one.from_s < to_s and one.to_s > from_s
        ]
        starts = {from_s, *(max(one.from_s, from_s) for one in told)}
        starts |= {one.to_s for one in told if one.to_s < to_s}
        parts = (
            dict.fromkeys(one.members for one in told if one.from_s <= at_s < one.to_s)
            for at_s in sorted(starts)
        )
        return [[Total("out", one) for one in part] for part in dict.fromkeys(map(tuple, parts))]
