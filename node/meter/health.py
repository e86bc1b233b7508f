"""How a meter is, for status pages, the doctor and metrics: values, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from node.model import RegisterReading


class MeterState(StrEnum):
    """The one thing that a person should know first."""

    WAITING = "waiting"
    SPEAKING = "speaking"
    SILENT = "silent"
    NOT_PRODUCER = "not in producer mode"
    OTHER_METER = "another meter"
    SWAP_TO_CONFIRM = "swap to confirm"
    RESTART_TO_CONFIRM = "restart to confirm"
    FAULT = "needs a person"


@dataclass(frozen=True, slots=True)
class MeterHealth:
    """A meter at a glance.

    ``frames`` and ``rejected`` count what was decoded and what codecs refused; ``held`` the samples
    of registers that the guard did not believe; ``doubts`` the frames that nothing was given out
    for, by reason. ``registers`` are the counted totals of the newest sample. Of power a meter
    tells W or VA. ``clock_ahead_s`` is by how much the meter's clock is ahead of the node's, None
    where it has none that it trusts. ``fault`` says what a person must look at.
    """

    state: MeterState
    connected: bool = False
    last_frame_at_s: int | None = None
    frames: int = 0
    rejected: int = 0
    held: int = 0
    doubts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    meter_id: str | None = None
    power_w: int | None = None
    power_va: int | None = None
    registers: RegisterReading | None = None
    clock_ahead_s: int | None = None
    fault: str | None = None
