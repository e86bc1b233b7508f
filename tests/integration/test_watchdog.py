"""What systemd is told of: a sound node is never killed for its clock, one that stands still is."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from itertools import pairwise
from typing import cast

import pytest

from node.daemon import HouseholdNode
from node.market.strategies import FixedReserve
from node.model import Household, RegisterReading
from node.ports import MeterStorage
from node.service.notify import Notifier
from node.service.run import Service
from node.slots import slot_at
from node.store import NodeDatabase
from tests.support.reference_street import HOME, RULES, START_S, Signer, Street
from tests.support.skipping_loop import LoopClock

WATCHDOG_S = 180.0
"""As the unit file has it."""

SET_AFTER_S, WATCHED_S = 1_000, 4_000


class Stepped(LoopClock):
    """A clock that is set back by some seconds."""

    back_s = 0

    def now_s(self) -> int:
        return super().now_s() - self.back_s


class Even:
    """A meter through which a Wh goes in every second. It may stand still for ever."""

    def __init__(self, clock: Stepped) -> None:
        self.stands_still = False
        self._clock = clock

    async def read(self) -> RegisterReading:
        return await self.read_at(self._clock.now_s())

    async def read_at(self, instant_s: int) -> RegisterReading:
        if self.stands_still:
            await asyncio.Event().wait()
        return RegisterReading("m", instant_s, instant_s - START_S + 10**6, 0)

    def keep(self, storage: MeterStorage) -> None:
        pass


class Told:
    """Stands for systemd: when it was told that the node is alive."""

    watchdog_s = WATCHDOG_S

    def __init__(self) -> None:
        self.at_s: list[float] = []

    def alive(self) -> None:
        self.at_s.append(asyncio.get_running_loop().time())


class Watched(Service):
    """A service of which only the node runs."""

    def __init__(self, node: HouseholdNode, told: Told) -> None:
        self._node = node
        self._notifier = cast("Notifier", told)

    async def watch(self) -> None:
        """As the service's own task does."""
        await self._watchdog()


def longest_silence_s(slot_s: int, back_s: int, *, stands_still: bool = False) -> float:
    clock = Stepped(START_S)
    meter, told = Even(clock), Told()

    async def life() -> float:
        with NodeDatabase.open(None) as storage:
            node = HouseholdNode(
                household=Household(HOME, 9_000, 9_000),
                slot_s=slot_s,
                meter=meter,
                strategy=FixedReserve(),
                signer=Signer(),
                market=Street(clock, replace(RULES, slot_s=slot_s)),
                storage=storage,
                clock=clock,
                rng=random.Random(1),
                evidence_key=b"k" * 32,
            )
            living = [
                asyncio.create_task(Watched(node, told).watch()),
                asyncio.create_task(node.run()),
            ]
            await asyncio.sleep(SET_AFTER_S)
            clock.back_s, meter.stands_still = back_s, stands_still
            await asyncio.sleep(WATCHED_S)
            for task in living:
                task.cancel()
            await asyncio.wait(living)
            assert slot_at(clock.now_s(), slot_s) > slot_at(START_S + SET_AFTER_S, slot_s)
        moments = [0.0, *told.at_s, float(SET_AFTER_S + WATCHED_S)]
        return max(later - before for before, later in pairwise(moments))

    return clock.run(life())


@pytest.mark.parametrize("slot_s", [900, 1_800, 3_600])
@pytest.mark.parametrize("share", [0, 0.5, 1, 1.1, 3], ids="{} of the tolerance".format)
def test_a_clock_that_is_set_back_is_no_lack_of_progress(slot_s: int, share: float) -> None:
    assert longest_silence_s(slot_s, round(slot_s / 10 * share)) <= WATCHDOG_S / 2


def test_a_node_that_stands_still_is_found_out() -> None:
    assert longest_silence_s(900, 0, stands_still=True) > WATCHDOG_S
