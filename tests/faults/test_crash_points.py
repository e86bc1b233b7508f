"""A node loses its power at ten named points, again and again, on the real contracts.

``scripts/campaign crashes`` runs ten times as many. The chain is the embedded one; what was
accepted is read from the contract's own events, and the meter's curve says what should have been.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from node.clock import Clock
from node.daemon import HouseholdNode
from node.market.orders import evidence_commitment, evidence_salt
from node.model import OrderAccepted, Quality, Side
from node.ports import IntentState
from node.slots import slot_at, slot_end_s
from node.store import NodeDatabase
from simulations.turns import Turns
from simulations.watched import POINTS, Cutter, PowerCut, WatchedDatabase, WatchedMarket
from tests.support.chain_street import (
    RULES,
    SLOT,
    START_S,
    ChainHand,
    ChainStreet,
    chain_street,
    metered,
)

CRASHES: Final = int(os.environ.get("DAISEE_CRASHES", "10"))
SEED: Final = os.environ.get("DAISEE_CAMPAIGN_SEED", "0")
KEY: Final = b"k" * 32

AWAY_S: Final = (0, 1, 5, 30, 60, 120, 200, 250, 400, 1_000, 2_500, 9_000)
"""How long the power stays away: within the gate, after it, for slots."""


def curves(rng: random.Random) -> tuple[list[int], list[int]]:
    """Load and PV of a home, long enough for every crash."""
    slots = 40 * CRASHES + 200
    load_wh = [rng.choice((0, 100, 250, 700)) for _ in range(slots)]
    return load_wh, [rng.choice((0, 0, 300, 900)) for _ in range(slots)]


@dataclass(slots=True)
class House:
    """One daemon after the other on what the one before left on the disk."""

    street: ChainStreet
    folder: Path
    rng: random.Random
    clock: Clock
    name: str = "node"
    evidence_key: bytes = KEY
    cutter: Cutter = field(default_factory=Cutter)
    crashes: int = 0
    in_time: set[int] = field(default_factory=set)
    """Slots whose gate was open, with time to spare, when a daemon came back, and which it saw
    closing."""

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}-{self.crashes}.sqlite"

    def opened(self, path: Path) -> WatchedDatabase:
        return WatchedDatabase.watched(path, self.cutter.passing)

    def daemon(self, storage: NodeDatabase) -> HouseholdNode:
        market = WatchedMarket(self.street.market(clock=self.clock), self.cutter.passing)
        return self.street.node(
            storage, market=market, clock=self.clock, evidence_key=self.evidence_key
        )

    async def live_until_cut(self, point: str) -> None:
        """A daemon, until its power is cut; then the files are as that instant left them."""
        self.cutter.arm(point, self.rng.randint(1, 4))
        here = self.path
        with self.opened(here) as storage:
            with pytest.raises(PowerCut):
                await self.daemon(storage).run()
            kept = storage.last_reading()
            cut_s = self.clock.now_s()
            self.in_time -= {slot for slot in self.in_time if cut_s < RULES.gate_closes_s(slot)}
            self.crashes += 1
            as_on_the_disk(here, self.path)
        with NodeDatabase.open(self.path) as left:
            assert left.integrity() == []
            if not point.startswith("before the slot"):
                assert left.last_reading() == kept, "an acknowledged reading is lost"
        here.unlink()

    async def come_back(self) -> None:
        """The power is away for a while."""
        away_s = self.rng.choice(AWAY_S)
        await self.clock.sleep_until(self.clock.now_s() + away_s)
        now_s = self.clock.now_s()
        slot = slot_at(now_s, RULES.slot_s) - 1
        if slot >= SLOT and RULES.gate_is_open(slot, now_s + 30):
            self.in_time.add(slot)

    async def live_on(self, slots: int) -> None:
        """A last daemon, whose power holds."""
        with self.opened(self.path) as storage:
            node = self.daemon(storage)
            await node.run(slots=slots)
            assert node.status().troubles == []


def as_on_the_disk(path: Path, to: Path) -> Path:
    """A copy of a database as a power cut would leave it: the file and its log, both as they are
    at this moment, without whoever has them open being asked."""
    for suffix in ("", "-wal"):
        here = path.with_name(path.name + suffix)
        if here.exists():
            shutil.copyfile(here, to.with_name(to.name + suffix))
    return to


def no_double_order(accepted: list[OrderAccepted]) -> None:
    counts = Counter((event.household, event.slot, event.side) for event in accepted)
    assert max(counts.values()) == 1


def nothing_is_lost(house: House, accepted: list[OrderAccepted]) -> int:
    """Every slot has its own energy, and every order that this daemon calls its own is what the
    slot metered, with the evidence that the daemon can open. Returns how many there are."""
    load_wh, pv_wh = house.street.load_wh, house.street.pv_wh
    with NodeDatabase.open(house.path) as storage:
        assert storage.integrity() == []
        assert storage.open_intents() == []
        known = {
            (trade.order.slot, trade.order.side)
            for trade in storage.own_trades()
            if trade.state is IntentState.ACCEPTED
        }
        own = {
            (event.slot, event.side): event
            for event in accepted
            if (event.slot, event.side) in known
        }
        assert set(own) == known
        readings = storage.last_readings(100_000)
        closed = range(SLOT, slot_at(readings[-1].taken_at_s, RULES.slot_s))
        assert [r.taken_at_s for r in readings] == [
            START_S,
            *(slot_end_s(slot, RULES.slot_s) for slot in closed),
        ]
        for slot, before, after in zip(closed, readings, readings[1:], strict=False):
            energy = storage.slot_energy(slot)
            assert energy is not None
            expected = metered(load_wh, pv_wh, slot)
            energies = {Side.ASK: energy.export_wh, Side.BID: energy.import_wh}
            assert {side: wh for side, wh in energies.items() if wh} == expected
            assert energy.quality is Quality.METERED
            salt = evidence_salt(house.evidence_key, slot)
            for side in Side:
                event = own.get((slot, side))
                if event is not None:
                    assert event.energy_wh == expected[side]
                    assert event.evidence == evidence_commitment(salt, before, after)
        totals = storage.totals()
        first, last = readings[0], readings[-1]
        assert totals.import_wh == last.import_wh - first.import_wh
        assert totals.export_wh == last.export_wh - first.export_wh
        return len(known)


@pytest.mark.parametrize("point", POINTS)
def test_no_crash_makes_a_double_order_or_loses_a_wh(tmp_path: Path, point: str) -> None:
    rng = random.Random(f"{SEED} {point}")

    async def lived() -> None:
        async with chain_street(*curves(rng)) as street:
            house = House(street, tmp_path, rng, street.clock)
            for _ in range(CRASHES):
                await house.live_until_cut(point)
                await house.come_back()
            await house.live_on(4)
            accepted = await street.accepted()
            no_double_order(accepted)
            assert nothing_is_lost(house, accepted) == len(accepted)
            ordered = {event.slot for event in accepted}
            due = {slot for slot in house.in_time if metered(street.load_wh, street.pv_wh, slot)}
            assert due <= ordered, "a slot whose gate was open after a crash was not ordered"
            assert house.crashes == CRASHES

    asyncio.run(lived())


def test_two_daemons_on_one_key_have_one_order_together(tmp_path: Path) -> None:
    """Two machines with a copy of one key, each with a database of its own and power that goes:
    they use each other's nonces, and order the same slots."""
    rng = random.Random(f"{SEED} two daemons")
    crashes = CRASHES // 2

    async def one(house: House, end_slot: int) -> None:
        clock = house.clock
        assert isinstance(clock, ChainHand)
        try:
            for _ in range(crashes):
                await house.live_until_cut(rng.choice(POINTS[:6]))
                await house.come_back()
            await house.live_on(max(end_slot - slot_at(clock.now_s(), RULES.slot_s), 2))
        finally:
            clock.leave()

    async def lived() -> None:
        async with chain_street(*curves(rng)) as street:
            turns = Turns(START_S)
            clocks = [ChainHand(turns.join(), street.chain) for _ in range(2)]
            houses = [
                House(street, tmp_path, rng, clock, name, name.encode() * 32)
                for name, clock in zip("ab", clocks, strict=True)
            ]
            end_slot = SLOT + 8 * crashes
            await asyncio.gather(*(one(house, end_slot) for house in houses))
            accepted = await street.accepted()
            no_double_order(accepted)
            own = [nothing_is_lost(house, accepted) for house in houses]
            assert sum(own) == len(accepted)
            assert min(own) > 0

    asyncio.run(lived())
