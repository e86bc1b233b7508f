"""Which value of a step is in force, where the operator both ruled and sent curves.

A ruling is the distribution operator's signed word, and so is a curve that it marks as corrected:
of these two, the later one holds, and that a ruling gave way is kept with its reason. A value that
is no correction (raw, estimated, read again) does not undo a ruling, however late it comes: it is
**held** for a person, and the ruling stays in force until the operator corrects its curve or rules
again. Of two rulings the later one holds; of two of one second, that which was taken later.

The value in force follows from the curves that are kept and the rulings that were taken, not from
the order in which they came in.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from node.billing.claims import Series
from node.billing.curve_files import CurveTable
from node.billing.curve_store import Said
from node.errors import ConfigurationError, Refused
from node.model import Side
from node.slots import iso_utc, parse_iso_utc

__all__ = [
    "RuledSteps",
    "RulingState",
    "SaidOf",
    "TakenRuling",
    "held_of",
    "in_force",
    "taken_document",
    "taken_from",
]

SaidOf = Callable[[str, Side, int, int], Said | None]
"""What the operator's newest file says of a point's step: which point, side, start and length."""


class RulingState(StrEnum):
    """What became of a ruling in a step: it holds; it holds, but a later curve says otherwise; a
    later correction of the operator's holds; a later ruling does."""

    IN_FORCE = "in_force"
    HELD = "held"
    SUPERSEDED = "superseded"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class TakenRuling:
    """A ruling that bills are made with: of which dispute, about which delivery point, under which
    version of the rules, and the Wh of each step that it states, by its start. The household's
    number is left out: nothing here may link a point with what stands on chain."""

    dispute: str
    point: str
    side: Side
    step_s: int
    stated_wh: Mapping[int, int]
    rules: str
    made_at_s: int

    @classmethod
    def of(
        cls, dispute: str, point: str, reference: Series, rules: str, made_at_s: int
    ) -> TakenRuling:
        """The ruling of a dispute on a household, about its delivery point."""
        stated_wh = reference.stated()
        return cls(dispute, point, reference.side, reference.step_s, stated_wh, rules, made_at_s)

    @property
    def span(self) -> tuple[int, int]:
        """From its first step to the end of its last."""
        return min(self.stated_wh), max(self.stated_wh) + self.step_s


@dataclass(frozen=True, slots=True)
class RuledSteps:
    """What became of a ruling in the steps of ``[from_s, to_s)``, and why."""

    dispute: str
    point: str
    side: Side
    from_s: int
    to_s: int
    state: RulingState
    reason: str = ""

    def document(self) -> dict[str, object]:
        """For JSON."""
        return {
            "dispute": self.dispute,
            "point": self.point,
            "side": self.side.word,
            "from": iso_utc(self.from_s),
            "to": iso_utc(self.to_s),
            "state": self.state.value,
            "reason": self.reason,
        }


def taken_document(ruling: TakenRuling) -> dict[str, object]:
    """A ruling for the archive."""
    return {
        "dispute": ruling.dispute,
        "point": ruling.point,
        "side": ruling.side.word,
        "step_s": ruling.step_s,
        "stated_wh": {iso_utc(start_s): wh for start_s, wh in ruling.stated_wh.items()},
        "rules": ruling.rules,
        "made_at": iso_utc(ruling.made_at_s),
    }


def taken_from(document: Mapping[str, Any]) -> TakenRuling:
    """The ruling of a document. Raises ConfigurationError for what is none."""
    try:
        return TakenRuling(
            str(document["dispute"]),
            str(document["point"]),
            {side.word: side for side in Side}[document["side"]],
            int(document["step_s"]),
            {parse_iso_utc(start): int(wh) for start, wh in document["stated_wh"].items()},
            str(document["rules"]),
            parse_iso_utc(document["made_at"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"this is no ruling that was taken ({error})") from error


def in_force(
    production: CurveTable,
    consumption: CurveTable,
    rulings: Sequence[TakenRuling],
    said: SaidOf,
) -> tuple[CurveTable, CurveTable, tuple[RuledSteps, ...]]:
    """The curves with the ruled values that hold, and what became of each ruling here.

    Raises Refused (``other_step``) for a ruling in other steps than the curves'.
    """
    tables = {Side.ASK: production, Side.BID: consumption}
    values: dict[tuple[Side, str], array[int]] = {}
    found: list[RuledSteps] = []
    decided: set[tuple[Side, str, int]] = set()
    by_age = sorted(rulings, key=lambda one: one.made_at_s)
    for ruling in reversed(by_age):
        side, point = ruling.side, ruling.point
        table = tables[side]
        if point not in table.points or not _overlaps(table, ruling):
            continue
        if ruling.step_s != table.step_s:
            raise Refused(
                f"dispute {ruling.dispute[:12]} was ruled in steps of {ruling.step_s} s,"
                f" the curves have {table.step_s} s",
                reason="other_step",
                next_step="have the operator rule in the steps of its curve",
            )
        for start_s, value_wh in sorted(ruling.stated_wh.items()):
            step = (start_s - table.start_s) // table.step_s
            if not 0 <= step < table.steps:
                continue
            place = (side, point, step)
            if place in decided:
                state, reason = RulingState.REPLACED, "a later ruling"
            else:
                latest = said(point, side, start_s, table.step_s)
                kept_wh = table.points[point][step]
                state, reason = _state(ruling, value_wh, kept_wh, latest)
            decided.add(place)
            if state in {RulingState.IN_FORCE, RulingState.HELD}:
                curve = values.setdefault((side, point), array("q", table.points[point]))
                curve[step] = value_wh
            _add(found, ruling, start_s, table.step_s, state, reason)
    corrected = {
        side: replace(
            table,
            points={
                point: values.get((side, point), curve) for point, curve in table.points.items()
            },
        )
        for side, table in tables.items()
    }
    return corrected[Side.ASK], corrected[Side.BID], tuple(reversed(found))


def _overlaps(table: CurveTable, ruling: TakenRuling) -> bool:
    starts, (from_s, to_s) = table.starts_s, ruling.span
    return from_s < starts.stop and to_s > starts.start


def _state(
    ruling: TakenRuling, value_wh: int, kept_wh: int, latest: Said | None
) -> tuple[RulingState, str]:
    if latest is None or kept_wh == value_wh or latest.at_s <= ruling.made_at_s:
        return RulingState.IN_FORCE, ""
    when = f"{latest.file} of {iso_utc(latest.at_s)}"
    if latest.is_corrected:
        return RulingState.SUPERSEDED, f"the operator's later correction, {when}"
    return RulingState.HELD, f"{when} says otherwise, and is no correction"


def _add(
    found: list[RuledSteps],
    ruling: TakenRuling,
    start_s: int,
    step_s: int,
    state: RulingState,
    reason: str,
) -> None:
    """Keep a step, with those before it if the same became of them."""
    one = RuledSteps(
        ruling.dispute,
        ruling.point,
        ruling.side,
        start_s,
        start_s + step_s,
        state,
        reason,
    )
    last = found[-1] if found else one
    if last.to_s == start_s and replace(last, from_s=start_s, to_s=one.to_s) == one:
        found[-1] = replace(last, to_s=one.to_s)
    else:
        found.append(one)


def held_of(ruled: Iterable[RuledSteps]) -> list[str]:
    """What a person must see to, a sentence each."""
    return [
        f"dispute {one.dispute[:12]}, {one.point} from {iso_utc(one.from_s)} to"
        f" {iso_utc(one.to_s)}: the ruling stays, {one.reason}"
        for one in ruled
        if one.state is RulingState.HELD
    ]
