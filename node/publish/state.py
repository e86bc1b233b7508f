"""What is published: one frozen picture of the node, and the floor under its energy indices.

Whoever composes the node draws a new ``PublishedState`` whenever something changed; every output
(MQTT, Prometheus, the status page) is a pure function of it. None means *not known*: nothing here
is ever replaced by a zero.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import asdict, dataclass, replace
from typing import Final

from node.errors import ConfigurationError

__all__ = [
    "STATUS_SCHEMA",
    "Counters",
    "Indices",
    "NodeIdentity",
    "PublishedState",
    "Retained",
    "new_device_id",
]

STATUS_SCHEMA: Final = "daisee.status/1"
"""What ``/status.json`` is: by this a reader knows that a node answers, and not another program."""

AHEAD_WH: Final = 36_000
"""How far above a register the index that a broker kept may stand: what 36 kVA draw in an hour. A
node that lost what it had published lost no more, as it keeps that with each slot. Whatever else
stands there is not the node's word."""

MAX_RETAINED_BYTES: Final = 200

_DEVICE_ID: Final = re.compile(r"^[a-z0-9_]{4,40}$")


@dataclass(frozen=True, slots=True)
class Counters:
    """What has happened since the process started, or since ``PublishedState.since_s``."""

    frames: int = 0
    frames_rejected: int = 0
    values_held: int = 0
    slots_closed: int = 0
    slots_estimated: int = 0
    orders_sent: int = 0
    orders_accepted: int = 0
    orders_refused: int = 0
    orders_late: int = 0


@dataclass(frozen=True, slots=True)
class PublishedState:
    """The node as of ``at_s``.

    ``meter_id`` never leaves the machine: it only tells when another meter took over. ``slot_*``
    is the last closed slot, with the price that it cleared at if it did; ``*_today_*`` counts from
    ``day_start_s``. ``amount_today_units`` is signed from the household's view: earned is positive.
    """

    at_s: int
    since_s: int = 0
    meter_id: str = ""
    import_wh: int | None = None
    export_wh: int | None = None
    power_w: int | None = None
    power_va: int | None = None
    meter_ok: bool = False
    chain_ok: bool = False
    last_frame_at_s: int | None = None
    slot_start_s: int | None = None
    slot_import_wh: int | None = None
    slot_export_wh: int | None = None
    price_units_per_wh: int | None = None
    day_start_s: int | None = None
    bought_today_wh: int | None = None
    sold_today_wh: int | None = None
    amount_today_units: int | None = None
    counters: Counters = Counters()


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who publishes. ``device_id`` is random and kept in the node's database: it says nothing of
    the household, its meter or its delivery point."""

    device_id: str
    name: str = "daisee"
    version: str = ""

    def __post_init__(self) -> None:
        if _DEVICE_ID.match(self.device_id) is None:
            raise ConfigurationError(
                f"device id {self.device_id!r} is not 4 to 40 of a-z, 0-9 and _",
                next_step="remove it, and the node draws one by itself",
            )


def new_device_id(randomness: random.Random) -> str:
    """A device id for a new node; give it a ``random.SystemRandom``."""
    return f"daisee_{randomness.getrandbits(48):012x}"


@dataclass(frozen=True, slots=True)
class Indices:
    """The highest energy indices published for one meter, and how many meters came before it.

    Home Assistant books a falling total as a new meter's whole index: 0.1 kWh of jitter became
    215 kWh elsewhere. So an index is published only if it is not below the last one. Another meter
    (``series`` counts them) gets entities of its own, and starts from its own register.
    """

    meter_id: str = ""
    series: int = 1
    import_wh: int = 0
    export_wh: int = 0

    def advanced(self, state: PublishedState) -> Indices:
        """The indices after a state: the same where the state knows none, or a lower one."""
        base = self
        if state.meter_id and state.meter_id != self.meter_id:
            taken_over = self.meter_id != ""
            base = Indices(state.meter_id, self.series + taken_over)
        return replace(
            base,
            import_wh=max(base.import_wh, state.import_wh or 0),
            export_wh=max(base.export_wh, state.export_wh or 0),
        )

    def to_text(self) -> str:
        """JSON to keep across restarts, in the node's own database."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str | None) -> Indices:
        """What ``to_text`` wrote; a new start for None. Raises ValueError for anything else."""
        if text is None:
            return cls()
        kept = json.loads(text)
        if not isinstance(kept, dict) or kept.keys() != asdict(cls()).keys():
            raise ValueError(f"no published indices: {text[:80]!r}")
        indices = cls(**kept)
        figures = (indices.series, indices.import_wh, indices.export_wh)
        if any(type(figure) is not int or figure < 0 for figure in figures):
            raise ValueError(f"no published indices: {text[:80]!r}")
        return indices


@dataclass(frozen=True, slots=True)
class Retained:
    """What the node's own topic still says from an earlier life: a floor under the first index of
    each register. None for what it does not say, or what was looked at already.

    Anybody with a login at the broker can write there. So it counts once for each register, and
    only where a node like this one could have written it.
    """

    import_wh: int | None = None
    export_wh: int | None = None

    @classmethod
    def from_payload(cls, payload: bytes) -> Retained:
        """What a message says; nothing for one that is not the node's."""
        try:
            said = json.loads(payload) if len(payload) <= MAX_RETAINED_BYTES else None
        except ValueError:
            return cls()
        if not isinstance(said, dict):
            return cls()
        import_wh, export_wh = said.get("import_wh"), said.get("export_wh")
        return cls(
            import_wh if type(import_wh) is int else None,
            export_wh if type(export_wh) is int else None,
        )

    def under(self, indices: Indices, state: PublishedState) -> tuple[Indices, Retained]:
        """Indices that do not lie below what was retained, and what of it is still to be looked at,
        because the state does not tell that register yet."""
        raised = replace(
            indices,
            import_wh=_raised(indices.import_wh, self.import_wh, state.import_wh),
            export_wh=_raised(indices.export_wh, self.export_wh, state.export_wh),
        )
        left = Retained(
            self.import_wh if state.import_wh is None else None,
            self.export_wh if state.export_wh is None else None,
        )
        return raised, left


def _raised(index_wh: int, retained_wh: int | None, register_wh: int | None) -> int:
    if retained_wh is None or register_wh is None or retained_wh > register_wh + AHEAD_WH:
        return index_wh
    return max(index_wh, retained_wh)
