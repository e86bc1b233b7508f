"""A meter that replays known energies: simulation and tests, through the interface of real meters.

What it tells is simulated: nothing that it reads can prove a delivery. Its evidence is of class C,
as of any uncertified source.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate

from node.clock import Clock
from node.model import EvidenceClass, RegisterReading
from node.ports import MeterStorage

__all__ = ["ReplayMeter"]


class ReplayMeter:
    """Cumulative registers of a home whose load and PV are known for each step.

    Behind one meter a home's PV serves its load first: in each step the import is what the load
    exceeds the PV by, the export what the PV exceeds the load by. Within a step the registers
    stand where the last completed step left them; before the first step they have their initial
    values, after the last one their final ones.

    ``load_wh`` and ``pv_wh`` are equally long (else ValueError). The initial values keep homes from
    all starting at 0, which real registers never do.
    """

    __slots__ = ("_clock", "_export_wh", "_import_wh", "_meter_id", "_start_s", "_step_s", "_steps")

    def __init__(
        self,
        meter_id: str,
        clock: Clock,
        *,
        start_s: int,
        step_s: int,
        load_wh: Sequence[int],
        pv_wh: Sequence[int],
        initial_import_wh: int = 0,
        initial_export_wh: int = 0,
    ) -> None:
        if step_s <= 0:
            raise ValueError(f"steps of {step_s} s")
        self._meter_id = meter_id
        self._clock = clock
        self._start_s = start_s
        self._step_s = step_s
        self._steps = len(load_wh)
        net_wh = array("q", (load - pv for load, pv in zip(load_wh, pv_wh, strict=True)))
        self._import_wh = _register((max(net, 0) for net in net_wh), initial_import_wh)
        self._export_wh = _register((max(-net, 0) for net in net_wh), initial_export_wh)

    async def read(self) -> RegisterReading:
        """The registers as of the clock's now."""
        return await self.read_at(self._clock.now_s())

    def keep(self, storage: MeterStorage) -> None:
        """Nothing: a replay knows its past and its future."""

    async def read_at(self, instant_s: int) -> RegisterReading:
        """The registers as of any instant."""
        completed = min(max((instant_s - self._start_s) // self._step_s, 0), self._steps)
        return RegisterReading(
            self._meter_id,
            instant_s,
            self._import_wh[completed],
            self._export_wh[completed],
            EvidenceClass.C,
        )


def _register(steps_wh: Iterable[int], initial_wh: int) -> array[int]:
    """A register before the first step and after each: one look-up answers any instant."""
    return array("q", accumulate(steps_wh, initial=initial_wh))
