"""What a run comes to, from its ledger and its load curves: sums, errors, and ``slots.jsonl``.

The ledger's events are read again slot by slot, so a year of many homes needs little memory, and
what is reported is what the market said, not what the simulator believes.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, Protocol

from node.market.history import SlotRecord, completed, rebuild
from node.model import MarketRules, RulesScheduled, Side
from node.slots import slot_start_s
from node.store import LedgerDatabase, NodeDatabase
from simulations.neighbourhood import Home
from simulations.outcome import HomeOutcome, SlotFlow, Tariffs, TradeLine

SLOTS_AT_ONCE: Final = 2_000
BIGGEST_TRADES: Final = 12


class Metered(Protocol):
    """A home that traded: its number, what it started with, what its meter is known to count in
    each slot, and the database of its node."""

    @property
    def home(self) -> Home:
        """Its profile and its strategy."""
        ...

    @property
    def number(self) -> int:
        """Its number on the market."""
        ...

    @property
    def storage(self) -> NodeDatabase:
        """What its node knows."""
        ...

    @property
    def deposit_units(self) -> int:
        """Its first credit."""
        ...

    @property
    def import_wh(self) -> Sequence[int]:
        """By slot."""
        ...

    @property
    def export_wh(self) -> Sequence[int]:
        """By slot."""
        ...


@dataclass(slots=True)
class HomeTrade:
    """What a home traded over the run."""

    bought_wh: int = 0
    sold_wh: int = 0
    paid_units: int = 0
    earned_units: int = 0


@dataclass(slots=True)
class Figures:
    """Sums over a run, filled while its slots pass by in ``watch``."""

    rules: MarketRules
    names: Mapping[int, str]
    orders: int = 0
    energy_error_wh: int = 0
    amounts_units: int = 0
    fees_units: int = 0
    traded: defaultdict[int, HomeTrade] = field(default_factory=lambda: defaultdict(HomeTrade))
    traded_wh: dict[int, tuple[int, int | None]] = field(default_factory=dict)  # volume, price
    biggest: list[tuple[int, int, TradeLine]] = field(default_factory=list)
    _count: int = 0

    def watch(self, records: Iterable[SlotRecord]) -> Iterator[SlotRecord]:
        """Pass records on, adding each one up."""
        for record in records:
            self._add(record)
            yield record

    def _add(self, record: SlotRecord) -> None:
        cleared = record.cleared
        matched_wh = cleared.matched_wh if cleared else 0
        price = cleared.price if cleared else None
        self.traded_wh[record.slot] = (matched_wh, price)
        side_wh = {Side.ASK: 0, Side.BID: 0}
        for order in record.orders:
            filled_wh, amount_units = order.filled_wh or 0, order.amount_units or 0
            self.orders += 1
            side_wh[order.side] += filled_wh
            self.energy_error_wh += max(filled_wh - order.energy_wh, 0)
            self.amounts_units += amount_units
            trade = self.traded[order.household]
            if order.side is Side.ASK:
                trade.sold_wh += filled_wh
                trade.earned_units += amount_units
            else:
                trade.bought_wh += filled_wh
                trade.paid_units -= amount_units
                self.fees_units += filled_wh * record.rules.network_fee
            if filled_wh and price is not None:
                self._remember(record, order.household, order.side, filled_wh, price, amount_units)
        # Both sides must have traded exactly the volume.
        self.energy_error_wh += sum(abs(energy - matched_wh) for energy in side_wh.values())

    def _remember(
        self,
        record: SlotRecord,
        household: int,
        side: Side,
        filled_wh: int,
        price: int,
        amount_units: int,
    ) -> None:
        if len(self.biggest) == BIGGEST_TRADES and filled_wh <= self.biggest[0][0]:
            return
        self._count += 1  # of two equal trades the earlier one stays ahead
        line = TradeLine(
            slot_start_s(record.slot, record.rules.slot_s),
            self.names[household],
            side.word,
            filled_wh,
            price,
            amount_units,
        )
        push = heapq.heappush if len(self.biggest) < BIGGEST_TRADES else heapq.heappushpop
        push(self.biggest, (filled_wh, -self._count, line))

    def biggest_trades(self) -> tuple[TradeLine, ...]:
        """The biggest first."""
        return tuple(line for _, _, line in sorted(self.biggest, reverse=True))


def records_of(ledger: LedgerDatabase, rules: MarketRules, slots: range) -> Iterator[SlotRecord]:
    """Every slot of a range from the ledger, empty ones too, with all figures filled in."""
    scheduled = list(ledger.events(kinds=(RulesScheduled,)))
    for first in range(slots.start, slots.stop, SLOTS_AT_ONCE):
        window = range(first, min(first + SLOTS_AT_ONCE, slots.stop))
        events = ledger.events(from_slot=window.start, to_slot=window.stop)
        found = {record.slot: record for record in rebuild(chain(scheduled, events), rules)}
        for slot in window:
            record = found.get(slot)
            yield SlotRecord(slot, rules) if record is None else completed(record)


def metering_error_wh(members: Sequence[Metered]) -> int:
    """By how much closed slots differ from the load curves, over all homes: 0, or Wh were lost."""
    error = 0
    for member in members:
        totals = member.storage.totals()
        error += abs(totals.import_wh - sum(member.import_wh))
        error += abs(totals.export_wh - sum(member.export_wh))
    return error


def money_error_units(
    figures: Figures, members: Sequence[Metered], balances: Mapping[int, int], fees_units: int
) -> int:
    """By how much the market's own accounts differ from deposits and settled amounts, to the unit.

    Zero says: every payment arrived, nothing was made and nothing was lost.
    """
    error = abs(figures.amounts_units + figures.fees_units) + abs(fees_units - figures.fees_units)
    for member in members:
        number = member.number
        trade = figures.traded[number]
        expected = member.deposit_units + trade.earned_units - trade.paid_units
        error += abs(balances[number] - expected)
    return error


def flows_of(members: Sequence[Metered], figures: Figures, slots: range) -> tuple[SlotFlow, ...]:
    """The whole neighbourhood, slot by slot."""
    slot_s = figures.rules.slot_s
    per_slot = slot_s // members[0].home.profile.step_s
    sums = [[0, 0, 0, 0] for _ in slots]
    for member in members:
        profile = member.home.profile
        for i, row in enumerate(sums):
            steps = slice(i * per_slot, (i + 1) * per_slot)
            row[0] += sum(profile.load_wh[steps])
            row[1] += sum(profile.pv_wh[steps])
            row[2] += member.import_wh[i]
            row[3] += member.export_wh[i]
    return tuple(
        SlotFlow(
            slot=slot,
            start_s=slot_start_s(slot, slot_s),
            load_wh=load,
            pv_wh=pv,
            own_use_wh=load - imported,
            import_wh=imported,
            export_wh=exported,
            traded_wh=figures.traded_wh[slot][0],
            price=figures.traded_wh[slot][1],
        )
        for slot, (load, pv, imported, exported) in zip(slots, sums, strict=True)
    )


def home_outcome(member: Metered, figures: Figures, tariffs: Tariffs) -> HomeOutcome:
    """One home over the run. Its saving is against buying all from, and selling all to, the
    supplier."""
    profile = member.home.profile
    import_wh, export_wh = sum(member.import_wh), sum(member.export_wh)
    trade = figures.traded[member.number]
    saved_buying = trade.bought_wh * tariffs.retail - trade.paid_units
    gained_selling = trade.earned_units - trade.sold_wh * tariffs.feed_in
    load_wh = sum(profile.load_wh)
    return HomeOutcome(
        name=member.home.name,
        strategy=member.home.strategy.name,
        load_wh=load_wh,
        pv_wh=sum(profile.pv_wh),
        own_use_wh=load_wh - import_wh,
        import_wh=import_wh,
        export_wh=export_wh,
        bought_wh=trade.bought_wh,
        sold_wh=trade.sold_wh,
        paid_units=trade.paid_units,
        earned_units=trade.earned_units,
        savings_units=saved_buying + gained_selling,
    )
