"""A machine's clock that is wrong until somebody sets it right, and a meter that believes it."""

from __future__ import annotations

from dataclasses import replace

from node.agenda import WATCH_S
from node.clock import Clock, ManualClock
from node.model import RegisterReading
from node.ports import MeterStorage
from tests.support.reference_street import meter_of


class SetClock:
    """A clock ahead of the street's until an instant, when somebody sets it right. Who sleeps by
    it wakes as often as the agenda looks at the time."""

    def __init__(self, clock: ManualClock, ahead_s: int, until_s: int) -> None:
        self._clock, self._ahead_s, self._until_s = clock, ahead_s, until_s

    def now_s(self) -> int:
        true_s = self._clock.now_s()
        return true_s + (self._ahead_s if true_s < self._until_s else 0)

    async def sleep_until(self, unix_s: int) -> None:
        left_s = min(unix_s - self.now_s(), WATCH_S)
        if left_s > 0:
            true_s = self._clock.now_s()
            is_set_meanwhile = true_s < self._until_s <= true_s + left_s
            self._clock.advance_to(self._until_s if is_set_meanwhile else true_s + left_s)


class StampedMeter:
    """The home's meter as a machine reads it: it knows no future, and each sample has the time that
    the machine's own clock shows."""

    def __init__(self, street: ManualClock, machine: Clock) -> None:
        self._meter, self._street, self._machine = meter_of(street), street, machine

    async def read(self) -> RegisterReading:
        return await self.read_at(self._machine.now_s())

    async def read_at(self, instant_s: int) -> RegisterReading:
        ahead_s = self._machine.now_s() - self._street.now_s()
        return replace(await self._meter.read_at(instant_s - ahead_s), taken_at_s=instant_s)

    def keep(self, storage: MeterStorage) -> None:
        pass
