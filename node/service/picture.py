"""What a node shows of itself: drawn from its store, its meter and its agenda, never kept.

``store_picture`` needs the database alone: ``daisee node status`` draws it where no node answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from node.agenda import NodeStatus
from node.clock import Clock
from node.config import NodeConfig
from node.daemon import HouseholdNode
from node.meter.health import MeterHealth, MeterState
from node.meter.live import LiveMeter
from node.model import LogPosition
from node.ports import IntentState
from node.publish.state import Counters, PublishedState
from node.service.believed import Believed
from node.service.upkeep import Upkeep
from node.slots import iso_utc, slot_at, slot_start_s
from node.store import NodeDatabase, OwnTotals, OwnTrade

__all__ = ["Picture", "day_start_s", "store_picture"]

SLOTS_SHOWN: Final = 4
ORDERS_SHOWN: Final = 4

SYNCHRONISED: Final = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd touches it when the clock has been set from the network."""

SPEAKING: Final = frozenset({MeterState.SPEAKING, MeterState.NOT_PRODUCER})


def day_start_s(now_s: int, zone: ZoneInfo) -> int:
    """The midnight with which the local day began: 23, 24 or 25 hours before the next one."""
    now = datetime.fromtimestamp(now_s, zone)
    return int(now.replace(hour=0, minute=0, second=0, fold=0).timestamp())


def store_picture(storage: NodeDatabase, config: NodeConfig, now_s: int) -> dict[str, object]:
    """Today's totals, the last slots and the last orders, as a database tells them."""
    slot_s = config.household.slot_s
    slot = slot_at(now_s, slot_s)
    day_s = day_start_s(now_s, ZoneInfo(config.household.time_zone))
    closed = (storage.slot_energy(slot - back) for back in range(1, SLOTS_SHOWN + 1))
    trades = storage.own_trades(slot - ORDERS_SHOWN)[-ORDERS_SHOWN:]
    reading = storage.last_reading()
    final_block = _final_block(storage.cursor(), config)
    return {
        "mode": "trade" if config.trades else "paper",
        "household": config.household.number,
        "slot": slot,
        "slots": [
            {
                "slot": energy.slot,
                "start": iso_utc(slot_start_s(energy.slot, slot_s)),
                "import_wh": energy.import_wh,
                "export_wh": energy.export_wh,
                "quality": energy.quality.value,
            }
            for energy in closed
            if energy is not None
        ],
        "orders": [_order(trade, final_block, on_paper=not config.trades) for trade in trades],
        "final_block": max(final_block, 0),
        "today": _today(storage.totals(slot_at(day_s, slot_s)), day_s),
        "last_reading_at_s": None if reading is None else reading.taken_at_s,
    }


def _final_block(cursor: LogPosition, config: NodeConfig) -> int:
    """The last block that the chain's engine never takes back, of those that were followed."""
    depth = 0 if config.chain is None else config.chain.finality_depth
    return cursor.block - depth


def _order(trade: OwnTrade, final_block: int, *, on_paper: bool) -> dict[str, object]:
    """In paper mode an order that nobody took is what it was meant to be, and not refused. Its
    money is final with the block in which it moved."""
    is_paper = on_paper and trade.state not in (IntentState.ACCEPTED, IntentState.ELSEWHERE)
    order, cleared, settled = trade.order, trade.cleared, trade.settled
    return {
        "slot": order.slot,
        "side": order.side.word,
        "energy_wh": order.energy_wh,
        "limit_price": order.limit_price,
        "state": "paper" if is_paper else trade.state.value,
        "reason": "" if is_paper else trade.reason,
        "price": None if cleared is None else cleared.price,
        "filled_wh": None if settled is None else settled.filled_wh,
        "amount_units": None if settled is None else settled.amount_units,
        "final": settled is not None and settled.position.block <= final_block,
    }


def _today(totals: OwnTotals, day_s: int) -> dict[str, object]:
    return {
        "since_s": day_s,
        "slots": totals.slots,
        "import_wh": totals.import_wh,
        "export_wh": totals.export_wh,
        "bought_wh": totals.bought_wh,
        "sold_wh": totals.sold_wh,
        "amount_units": totals.earned_units - totals.paid_units,
    }


class Picture:
    """The running node, for its page and its broker."""

    def __init__(
        self,
        config: NodeConfig,
        clock: Clock,
        storage: NodeDatabase,
        meter: LiveMeter,
        node: HouseholdNode,
        upkeep: Upkeep,
        believed: Believed,
    ) -> None:
        self._config = config
        self._clock = clock
        self._storage = storage
        self._meter = meter
        self._node = node
        self._upkeep = upkeep
        self._believed = believed
        self._zone = ZoneInfo(config.household.time_zone)
        self._totals = OwnTotals(0, 0, 0, 0, 0, 0, 0)
        self._totals_hold_for: object = None

    def state(self) -> PublishedState:
        """What is published, as of now."""
        now_s = self._clock.now_s()
        health, status = self._meter.health, self._node.status()
        day_s = day_start_s(now_s, self._zone)
        totals = self._totals_since(day_s, status)
        energy = status.last_energy
        cleared = next(iter(self._storage.recent_clearings(1)), None)
        slot_s = self._config.household.slot_s
        import_wh, export_wh = self._believed.totals_wh(health)
        return PublishedState(
            at_s=now_s,
            since_s=status.since_s,
            meter_id=health.meter_id or "",
            import_wh=import_wh,
            export_wh=export_wh,
            power_w=health.power_w,
            power_va=health.power_va,
            meter_ok=health.state in SPEAKING,
            chain_ok=self._config.chain is not None and status.chain_reachable,
            last_frame_at_s=health.last_frame_at_s,
            slot_start_s=None if energy is None else slot_start_s(energy.slot, slot_s),
            slot_import_wh=None if energy is None else energy.import_wh,
            slot_export_wh=None if energy is None else energy.export_wh,
            price_units_per_wh=None if cleared is None else cleared.price,
            day_start_s=day_s,
            bought_today_wh=totals.bought_wh,
            sold_today_wh=totals.sold_wh,
            amount_today_units=totals.earned_units - totals.paid_units,
            counters=_counters(health, status, on_paper=not self._config.trades),
        )

    def more(self) -> Mapping[str, object]:
        """What the status page says besides: troubles with their next steps, slots, orders."""
        now_s = self._clock.now_s()
        health, status = self._meter.health, self._node.status()
        return {
            **store_picture(self._storage, self._config, now_s),
            "meter": _meter(health),
            "chain": {
                "known": self._config.chain is not None,
                "reachable": status.chain_reachable,
                "since_s": status.chain_since_s,
                "block": max(status.cursor.block, 0),
            },
            "troubles": [
                {
                    "step": trouble.step.word,
                    "kind": trouble.kind,
                    "message": trouble.message,
                    "next_step": trouble.next_step,
                    "since_s": trouble.since_s,
                }
                for trouble in status.troubles
            ],
            "clock": {
                "now_s": now_s,
                "synchronised": SYNCHRONISED.exists(),
                "meter_ahead_s": health.clock_ahead_s,
            },
            "backup": {"at_s": self._upkeep.last_backup_s, "trouble": self._upkeep.trouble},
            "counters": asdict(status.counters),
        }

    def _totals_since(self, day_s: int, status: NodeStatus) -> OwnTotals:
        """Summed again only when a slot was closed or the chain went on: not every few seconds."""
        holds_for = (day_s, status.last_energy, status.cursor)
        if holds_for != self._totals_hold_for:
            self._totals = self._storage.totals(slot_at(day_s, self._config.household.slot_s))
            self._totals_hold_for = holds_for
        return self._totals


def _meter(health: MeterHealth) -> dict[str, object]:
    """Without the meter's number: who may read the page may pass it on."""
    return {
        "state": health.state.value,
        "connected": health.connected,
        "last_frame_at_s": health.last_frame_at_s,
        "frames": health.frames,
        "rejected": health.rejected,
        "held": health.held,
        "notes": list(health.notes),
        "power_w": health.power_w,
        "power_va": health.power_va,
        "fault": health.fault,
    }


def _counters(health: MeterHealth, status: NodeStatus, *, on_paper: bool) -> Counters:
    seen = status.counters
    return Counters(
        frames=health.frames,
        frames_rejected=health.rejected,
        values_held=health.held,
        slots_closed=seen.slots_closed,
        slots_estimated=seen.slots_estimated,
        orders_sent=0 if on_paper else seen.orders_sent,
        orders_accepted=seen.orders_accepted,
        orders_refused=0 if on_paper else seen.orders_given_up,
        orders_late=seen.orders_late,
    )
