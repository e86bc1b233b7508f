"""The market's own allocation as a key: what the chain filled, held to the operator's curves.

The chain filled what nodes had read, slot by slot. The operator's measure prevails: in every step
the fills are reduced as ``node.billing.reconcile`` reduces them, and what is left is a key like any
other. A month keeps what the chain stated, so that a curve that comes late, or a ruling, is
reconciled again from it without the chain. No household's number is kept, only delivery points, in
the order of these numbers, which settles who bears the last Wh of a cut.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from node.billing.allocation import Key
from node.billing.curve_files import CurveTable
from node.billing.keys import is_of_market, market
from node.billing.reconcile import Fill, SideOf, reconcile
from node.billing.series import MISSING, STEPS_S, Curve, Direction
from node.errors import Refused
from node.model import Side
from node.slots import iso_utc, parse_iso_utc

__all__ = [
    "MARKET_FILES",
    "StatedMarket",
    "in_market_steps",
    "kept_market",
    "key_on",
    "market_entry",
    "market_files",
    "stated_by",
]

Filled = Mapping[str, Mapping[int, int]]
"""Wh by delivery point and slot; no slot of 0 Wh."""

MARKET_FILES: Final = ("market_given.csv", "market_taken.csv")


@dataclass(frozen=True, slots=True)
class StatedMarket:
    """What the chain filled: asks (given) and bids (taken), points in the order of their
    households' numbers."""

    slot_s: int
    given: Filled
    taken: Filled


def stated_by(
    fills: Iterable[Fill], slot_s: int, point_of: Callable[[int, Side], str | None]
) -> StatedMarket:
    """The fills of cleared slots by delivery point. Raises Refused for a household that traded and
    has no point among the members."""
    sides: dict[Side, dict[str, dict[int, int]]] = {Side.ASK: {}, Side.BID: {}}
    for fill in sorted(fills, key=lambda fill: (fill.household, fill.slot)):
        if not fill.filled_wh:
            continue
        point = point_of(fill.household, fill.side)
        if point is None:
            what = "sold" if fill.side is Side.ASK else "bought"
            raise Refused(
                f"household {fill.household} {what} in the market, and no member's point is its",
                reason="market_point",
                next_step="name its point in the file of --points, and the member in the"
                " operation's file",
            )
        sides[fill.side].setdefault(point, {})[fill.slot] = fill.filled_wh
    return StatedMarket(slot_s, sides[Side.ASK], sides[Side.BID])


def in_market_steps(
    production: CurveTable, consumption: CurveTable, slot_s: int
) -> tuple[CurveTable, CurveTable]:
    """The curves in steps that hold whole slots: their own, or, where slots are longer, those of
    the slots. Raises Refused where neither fits the other."""
    steps = {table.step_s for table in (production, consumption) if table.points}
    longest = max(steps | {slot_s})
    if longest not in STEPS_S or any(longest % step for step in steps | {slot_s}):
        raise Refused(
            f"slots of {slot_s} s and curves in steps of {sorted(steps)} s do not fit each other",
            reason="market_steps",
            next_step="ask the operator for curves that fit the slots",
        )
    return _in_steps(production, longest), _in_steps(consumption, longest)


def _in_steps(table: CurveTable, step_s: int) -> CurveTable:
    parts = step_s // table.step_s if table.points else 1
    if parts == 1:
        return table if table.points else CurveTable(table.start_s, step_s, {})
    if table.start_s % step_s or table.steps % parts:
        raise Refused(
            f"the curves do not begin and end with a slot of {step_s} s",
            reason="market_steps",
            next_step="give curves of whole slots",
        )
    points = {
        point: array("q", (_sum_wh(curve[at : at + parts]) for at in range(0, len(curve), parts)))
        for point, curve in table.points.items()
    }
    return CurveTable(table.start_s, step_s, points)


def _sum_wh(parts_wh: Sequence[int]) -> int:
    return MISSING if MISSING in parts_wh else sum(parts_wh)


def key_on(
    key: Key,
    stated: StatedMarket | None,
    production: Mapping[str, array[int]],
    consumption: Mapping[str, array[int]],
    steps_s: range,
) -> Key:
    """The key for these curves, whose steps begin at ``steps_s``: if it is the market's, what was
    stated, reduced to what they say; any other as it is.

    Each step is reduced by its own values alone: a corrected one changes no other. A step with a
    gap keeps what was stated; it stays open. Raises Refused for a point without a curve.
    """
    if stated is None or not is_of_market(key):
        return key
    names: dict[SideOf, str] = {}
    fills: list[Fill] = []
    official: dict[SideOf, Curve] = {}
    for side, filled, table, direction in (
        (Side.ASK, stated.given, production, Direction.INJECTION),
        (Side.BID, stated.taken, consumption, Direction.WITHDRAWAL),
    ):
        curves = CurveTable(steps_s.start, steps_s.step, table)
        for number, (point, by_slot) in enumerate(filled.items(), start=1):
            mine = [
                Fill(slot, number, side, filled_wh, filled_wh, 0)
                for slot, filled_wh in by_slot.items()
                if steps_s.start <= slot * stated.slot_s < steps_s.stop
            ]
            if mine and point not in table:
                raise Refused(
                    f"{point} traded in the market, and has no {direction} curve",
                    reason="market_point",
                    next_step="import its curve, or correct the file of --points",
                )
            if mine:
                names[number, side] = point
                official[number, side] = curves.curve(point, direction)
                fills += mine
    found = reconcile(fills, official, stated.slot_s)
    left: dict[Side, dict[str, array[int]]] = {Side.ASK: {}, Side.BID: {}}
    for (_, side), point in names.items():
        left[side][point] = array("q", (0,)) * len(steps_s)
    for fill, corrected_wh in zip(found.fills, found.corrected_wh, strict=True):
        step = (fill.slot * stated.slot_s - steps_s.start) // steps_s.step
        left[fill.side][names[fill.household, fill.side]][step] += corrected_wh
    return market(left[Side.ASK], left[Side.BID])


def market_files(stated: StatedMarket | None) -> dict[str, str]:
    """What was stated as files, by name: a row for each slot in which anybody traded."""
    if stated is None:
        return {}
    return {
        name: "".join(_lines(filled, stated.slot_s))
        for name, filled in zip(MARKET_FILES, (stated.given, stated.taken), strict=True)
        if filled
    }


def _lines(filled: Filled, slot_s: int) -> Iterator[str]:
    yield ",".join(("start", *filled)) + "\n"
    for slot in sorted({slot for by_slot in filled.values() for slot in by_slot}):
        cells = (str(by_slot.get(slot, "")) for by_slot in filled.values())
        yield ",".join((iso_utc(slot * slot_s), *cells)) + "\n"


def market_entry(stated: StatedMarket) -> dict[str, object]:
    """What the history says of it, so that a file that is lost or changed is seen."""
    text = "".join(market_files(stated).values())
    return {"slot_s": stated.slot_s, "stated": sha256(text.encode()).hexdigest()}


def kept_market(folder: Path, entry: Mapping[str, Any]) -> StatedMarket:
    """What a month was billed from, as ``market_entry`` of it says. Raises Refused if its files are
    not what was billed."""
    stated = _billed_from(folder, entry)
    if stated is None:
        raise Refused(
            f"{' and '.join(MARKET_FILES)} in {folder} are not what was billed",
            reason="market_lost",
            next_step="put these files back from a backup",
        )
    return stated


def _billed_from(folder: Path, entry: Mapping[str, Any]) -> StatedMarket | None:
    try:
        slot_s = int(entry["slot_s"])
        given, taken = (_read(folder / name, slot_s) for name in MARKET_FILES)
    except (OSError, ValueError):
        return None
    stated = StatedMarket(slot_s, given, taken)
    return stated if market_entry(stated) == entry else None


def _read(path: Path, slot_s: int) -> Filled:
    """A file of ``market_files``; one that was not written had no fills. Raises ValueError."""
    if not path.exists():
        return {}
    head, *rows = path.read_text("utf-8").splitlines()
    points = head.split(",")[1:]
    found: dict[str, dict[int, int]] = {point: {} for point in points}
    for row in rows:
        stamp, *cells = row.split(",")
        for point, cell in zip(points, cells, strict=True):
            if cell:
                found[point][parse_iso_utc(stamp) // slot_s] = int(cell)
    return found
