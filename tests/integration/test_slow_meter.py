"""A meter that speaks every five minutes, and the node's other duties meanwhile.

The clock is the event loop's, which skips every wait: the seconds in here are exact.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Final

import pytest

from node.daemon import HouseholdNode
from node.errors import MeterNotYet, MeterSilent
from node.meter.arrivals import Arrived, Transport
from node.meter.live import PERIODS_TO_WAIT, WAIT_S, LiveMeter
from node.model import MarketRules, SignedOrder
from node.slots import slot_start_s
from node.store import NodeDatabase
from tests.support.meter_samples import MESSAGES, frame
from tests.support.reference_street import CREDIT, HOME, SLOT, START_S, Street, node_of
from tests.support.skipping_loop import LoopClock

PERIOD_S: Final = 300
TASMOTA: Final = replace(MESSAGES, period_s=PERIOD_S)
WATCHDOG_S: Final = 180
"""As the unit file has it."""

SOON_S: Final = 20


@dataclass(slots=True)
class Rare:
    """Says its registers at these instants, and is silent but connected afterwards."""

    clock: LoopClock
    said: Sequence[tuple[int, int]]

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Transport]:
        yield self

    async def arrivals(self) -> AsyncIterator[Arrived]:
        for at_s, import_wh in self.said:
            await self.clock.sleep_until(at_s)
            yield Arrived(at_s, frame(import_wh, 7))
        await asyncio.Event().wait()


@dataclass(slots=True)
class Life:
    """A node with such a meter, and for how long its progress stood still at most."""

    clock: LoopClock
    said: Sequence[tuple[int, int]]
    still_s: int = 0

    @asynccontextmanager
    async def meter(self) -> AsyncIterator[LiveMeter]:
        """The meter while it is read."""
        connect = Rare(self.clock, self.said).connect
        meter = LiveMeter(connect, self.clock, settings=TASMOTA, random=Random(1))
        running = asyncio.create_task(meter.run())
        try:
            yield meter
        finally:
            running.cancel()

    def lived(self, street: Street, storage: NodeDatabase, slots: int) -> HouseholdNode:
        """The node after some slots."""

        async def life() -> HouseholdNode:
            async with self.meter() as meter:
                node = node_of(street, storage, meter=meter)
                watching = asyncio.create_task(self.watch(node))
                await node.run(slots=slots)
                watching.cancel()
                return node

        return self.clock.run(life())

    async def watch(self, node: HouseholdNode) -> None:
        """What the service's watchdog looks at, as often as it does."""
        seen: object = None
        since_s = self.clock.now_s()
        while True:
            status = node.status()
            progress = (status.looks, status.cursor, status.counters)
            if progress != seen:
                seen, since_s = progress, self.clock.now_s()
            self.still_s = max(self.still_s, self.clock.now_s() - since_s)
            await asyncio.sleep(WATCHDOG_S / 6)


@pytest.fixture
def clock() -> LoopClock:
    return LoopClock(START_S)


def test_every_slot_is_closed_once_the_meter_has_spoken(
    clock: LoopClock, caplog: pytest.LogCaptureFixture
) -> None:
    """At its own end, though the sample behind it comes minutes later; no Wh is lost, and that the
    meter takes its time is no trouble."""
    slots = 8
    at_s = range(START_S - 330, START_S + (slots + 1) * 900, PERIOD_S)
    said = [(second, 10_000 + 36 * number + number**2) for number, second in enumerate(at_s)]
    life = Life(clock, said)
    with NodeDatabase.open(None) as storage:
        node = life.lived(Street(clock), storage, slots)
        closed = [storage.slot_energy(SLOT + number) for number in range(slots)]
        readings = storage.last_readings(slots + 1)
    assert None not in closed
    assert sum(energy.import_wh for energy in closed if energy) == (
        readings[-1].import_wh - readings[0].import_wh
    )
    ends_s = [slot_start_s(SLOT + number, 900) for number in range(1, slots + 1)]
    assert [reading.taken_at_s for reading in readings[1:]] == ends_s
    for reading in readings[1:]:
        before, after = (wh for second, wh in said if abs(second - reading.taken_at_s) < PERIOD_S)
        assert before < reading.import_wh < after
    assert (node.status().steps_failed, node.status().troubles) == (0, [])
    assert "fails" not in caplog.text
    assert life.still_s < WATCHDOG_S / 2


def test_orders_and_resends_do_not_wait_for_the_meter(clock: LoopClock) -> None:
    """The first slot is metered, but its order refused for want of credit. Its second try is due
    while the second slot waits for what the meter says five minutes after that slot's end."""
    rules = MarketRules(gate_s=1_332)
    end_s = START_S + rules.slot_s
    again_s = end_s + rules.gate_s - rules.gate_s // 4
    spoke_s, speaks_s = end_s + rules.slot_s - 10, end_s + rules.slot_s + 290
    assert spoke_s < again_s < speaks_s - SOON_S
    said = [(START_S - 1, 100), (START_S, 101), (end_s, 400), (spoke_s, 460), (speaks_s, 480)]
    sent_at_s: list[int] = []
    street = Street(clock, rules)
    street.market.withdraw(HOME, CREDIT)

    def credit(_: SignedOrder) -> None:
        sent_at_s.append(clock.now_s())
        street.market.deposit(HOME, CREDIT)

    street.after_submit = credit
    life = Life(clock, said)
    with NodeDatabase.open(None) as storage:
        node = life.lived(street, storage, 2)
        assert storage.slot_energy(SLOT + 1) is not None
    assert (node.counters.orders_sent, node.counters.orders_resent) == (1, 1)
    first_s, second_s = sent_at_s
    assert end_s <= first_s <= end_s + SOON_S
    assert again_s <= second_s <= again_s + SOON_S
    assert life.still_s < WATCHDOG_S / 2


def test_a_meter_that_never_speaks_is_a_trouble_after_some_periods(clock: LoopClock) -> None:
    """And at no time keeps the agenda from its progress."""
    life = Life(clock, [(START_S - PERIOD_S, 100), (START_S, 101)])
    excused_s = PERIODS_TO_WAIT * PERIOD_S

    async def asked() -> None:
        async with life.meter() as meter:
            assert (await meter.read_at(START_S)).import_wh == 101
            with pytest.raises(MeterNotYet):
                await meter.read_at(START_S + 1)
            assert clock.now_s() <= START_S + WAIT_S
            await clock.sleep_until(START_S + 1 + excused_s)
            with pytest.raises(MeterSilent) as silent:
                await meter.read_at(START_S + 1)
            assert silent.type is MeterSilent
            assert clock.now_s() <= START_S + 1 + excused_s + WAIT_S

    clock.run(asked())


def test_a_node_whose_meter_fell_silent_goes_on_and_says_so(clock: LoopClock) -> None:
    life = Life(clock, [(START_S - PERIOD_S, 100), (START_S, 101)])
    with NodeDatabase.open(None) as storage:
        node = life.lived(Street(clock), storage, 4)
        assert storage.slot_energy(SLOT) is None
    assert [trouble.kind for trouble in node.status().troubles] == ["MeterSilent"]
    assert life.still_s < WATCHDOG_S / 2
