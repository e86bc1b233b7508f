"""The node's figures in Prometheus's text format 0.0.4, written by hand: it is twenty lines.

Names carry their unit and counters end with ``_total``, as Prometheus asks. What is not known has
no sample at all: a zero would be a figure.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from node.publish.state import PublishedState

__all__ = ["CONTENT_TYPE", "Family", "Kind", "Sample", "exposition", "families"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Kind(StrEnum):
    """What a figure does: a counter only rises, but for restarts."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure of a family, told apart by its labels."""

    value: int
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """Figures of one name."""

    name: str
    kind: Kind
    says: str
    samples: Sequence[Sample]


def exposition(figures: Iterable[Family]) -> str:
    """The text of families; one without samples is left out."""
    return "".join(_family_text(family) for family in figures if family.samples)


def _family_text(family: Family) -> str:
    says = family.says.replace("\\", r"\\").replace("\n", r"\n")
    lines = [f"# HELP {family.name} {says}", f"# TYPE {family.name} {family.kind}"]
    lines += [f"{family.name}{_labels_text(one.labels)} {one.value}" for one in family.samples]
    return "\n".join(lines) + "\n"


def _labels_text(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    escaped = (
        (name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for name, value in labels
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"


def families(state: PublishedState, version: str) -> tuple[Family, ...]:
    """Every figure of a state."""
    counters = state.counters
    orders = (
        ("sent", counters.orders_sent),
        ("accepted", counters.orders_accepted),
        ("refused", counters.orders_refused),
        ("late", counters.orders_late),
    )
    return (
        Family(
            "daisee_build_info",
            Kind.GAUGE,
            "Which daisee this is.",
            (Sample(1, (("version", version),)),),
        ),
        _gauge("daisee_start_time_seconds", "Since when the counters count.", state.since_s),
        _counter("daisee_import_wh_total", "Energy drawn from the grid.", state.import_wh),
        _counter("daisee_export_wh_total", "Energy fed into the grid.", state.export_wh),
        _gauge("daisee_power_w", "Power now, negative into the grid.", state.power_w),
        _gauge("daisee_power_va", "Apparent power now.", state.power_va),
        _gauge("daisee_meter_up", "Whether the meter speaks.", int(state.meter_ok)),
        _gauge(
            "daisee_meter_last_frame_timestamp_seconds",
            "When the meter last said something that could be used.",
            state.last_frame_at_s,
        ),
        _counter("daisee_meter_frames_total", "Frames that could be used.", counters.frames),
        _counter(
            "daisee_meter_frames_rejected_total",
            "Frames that could not.",
            counters.frames_rejected,
        ),
        _counter(
            "daisee_meter_values_held_total",
            "Register values that the guard did not believe.",
            counters.values_held,
        ),
        _counter("daisee_slots_closed_total", "Slots closed.", counters.slots_closed),
        _counter(
            "daisee_slots_estimated_total",
            "Slots whose energy was split across a gap.",
            counters.slots_estimated,
        ),
        _gauge(
            "daisee_slot_start_timestamp_seconds",
            "Start of the slot that was closed last.",
            state.slot_start_s,
        ),
        _gauge("daisee_slot_import_wh", "Import of that slot.", state.slot_import_wh),
        _gauge("daisee_slot_export_wh", "Export of that slot.", state.slot_export_wh),
        Family(
            "daisee_orders_total",
            Kind.COUNTER,
            "Orders, by what became of them.",
            tuple(Sample(count, (("outcome", outcome),)) for outcome, count in orders),
        ),
        _gauge(
            "daisee_clearing_price_units_per_wh",
            "The last clearing price; 1000 are a cent per kWh.",
            state.price_units_per_wh,
        ),
        _gauge("daisee_bought_today_wh", "Bought from neighbours today.", state.bought_today_wh),
        _gauge("daisee_sold_today_wh", "Sold to neighbours today.", state.sold_today_wh),
        _gauge(
            "daisee_amount_today_units",
            "Earned today, negative where paid; 10^8 are a euro.",
            state.amount_today_units,
        ),
        _gauge("daisee_chain_up", "Whether the chain answers.", int(state.chain_ok)),
    )


def _gauge(name: str, says: str, value: int | None) -> Family:
    return _one(name, Kind.GAUGE, says, value)


def _counter(name: str, says: str, value: int | None) -> Family:
    return _one(name, Kind.COUNTER, says, value)


def _one(name: str, kind: Kind, says: str, value: int | None) -> Family:
    return Family(name, kind, says, () if value is None else (Sample(value),))
