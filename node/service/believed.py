"""Which of a meter's totals this process may pass on: those that a sample of its own stands under.

After a power cut the meter's state is that of the last closed slot, while the household's broker
has heard more since. The first believed sample lifts the total over that again.
"""

from __future__ import annotations

from node.meter.live import MeterHealth, MeterSample

__all__ = ["Believed"]


class Believed:
    """Listens to the samples of a live meter: give it ``take`` as ``on_sample``."""

    def __init__(self) -> None:
        self._meter_id: str | None = None
        self._imports = self._exports = False

    def take(self, sample: MeterSample) -> None:
        """A sample that was vouched for. One in which the guard held a register settles nothing:
        it does not say which."""
        counted, said = sample.counted, sample.said
        if counted is None:
            return
        if counted.meter_id != self._meter_id:
            self._meter_id = counted.meter_id
            self._imports = self._exports = False
        if said.held:
            return
        self._imports |= _has_begun(said.import_wh, counted.import_wh)
        self._exports |= _has_begun(said.export_wh, counted.export_wh)

    def totals_wh(self, health: MeterHealth) -> tuple[int | None, int | None]:
        """Import and export as they may be published; None for what is not known."""
        registers = health.registers
        if registers is None or registers.meter_id != self._meter_id:
            return None, None
        return (
            registers.import_wh if self._imports else None,
            registers.export_wh if self._exports else None,
        )


def _has_begun(register_wh: int | None, counted_wh: int) -> bool:
    """Whether a meter tells a register, and it is counted. A total of 0 under a register that shows
    more is none yet: whoever books rises would book the whole register as the first one."""
    return register_wh is not None and (counted_wh > 0 or register_wh == 0)
