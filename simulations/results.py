"""``results.json``: a run in one document, integers in base units, for other programs to read."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from node.units import UNITS_PER_CREDIT, eur
from simulations.outcome import HomeOutcome, RunOutcome, SlotFlow

RESULTS_SCHEMA: Final = "daisee.results/1"
"""Changes when a field changes its meaning or goes; a new field leaves it as it is."""


@dataclass(frozen=True, slots=True)
class EnergyTotals:
    """The neighbourhood over the whole run, in Wh."""

    load_wh: int
    pv_wh: int
    own_use_wh: int
    import_wh: int
    export_wh: int
    traded_wh: int

    @property
    def residual_wh(self) -> int:
        """Import that no neighbour covered: the supplier delivered it."""
        return self.import_wh - self.traded_wh

    @property
    def surplus_wh(self) -> int:
        """Export that no neighbour took: the surplus buyer has it."""
        return self.export_wh - self.traded_wh


def energy_totals(flows: Sequence[SlotFlow]) -> EnergyTotals:
    """Sum the slots of a run."""
    return EnergyTotals(
        load_wh=sum(flow.load_wh for flow in flows),
        pv_wh=sum(flow.pv_wh for flow in flows),
        own_use_wh=sum(flow.own_use_wh for flow in flows),
        import_wh=sum(flow.import_wh for flow in flows),
        export_wh=sum(flow.export_wh for flow in flows),
        traded_wh=sum(flow.traded_wh for flow in flows),
    )


def percentage(part: int, whole: int) -> float | None:
    """``part`` of ``whole`` in per cent, rounded to 3 decimals; None of a whole that is 0."""
    return round(100 * part / whole, 3) if whole else None


def mean_price(flows: Sequence[SlotFlow]) -> float | None:
    """The price of the average Wh traded, in units/Wh; None when nothing was."""
    traded_wh = sum(flow.traded_wh for flow in flows if flow.price is not None)
    if traded_wh == 0:
        return None
    paid_units = sum(flow.traded_wh * flow.price for flow in flows if flow.price is not None)
    return round(paid_units / traded_wh, 3)


def results_document(outcome: RunOutcome) -> dict[str, object]:
    """The document of ``results.json``: JSON values only, the same for the same outcome."""
    energy = energy_totals(outcome.flows)
    return {
        "schema": RESULTS_SCHEMA,
        "homes": len(outcome.homes),
        "slots": len(outcome.flows),
        "orders": outcome.orders,
        **asdict(energy, dict_factory=_without_own_use),
        "self_sufficiency_pct": percentage(energy.own_use_wh + energy.traded_wh, energy.load_wh),
        "self_consumption_pct": percentage(energy.own_use_wh + energy.traded_wh, energy.pv_wh),
        "no_market": {
            "self_sufficiency_pct": percentage(energy.own_use_wh, energy.load_wh),
            "self_consumption_pct": percentage(energy.own_use_wh, energy.pv_wh),
        },
        "mean_price": mean_price(outcome.flows),
        "savings_eur": _savings_eur([home.savings_units for home in outcome.homes]),
        "energy_error_wh": outcome.energy_error_wh,
        "money_error_units": outcome.money_error_units,
        "chain": {key: value for key, value in asdict(outcome.chain).items() if value != ""},
        "cpu_s": round(outcome.cpu_s, 3),
        "wall_s": round(outcome.wall_s, 3),
        "peak_rss_mb": round(outcome.peak_rss_mb, 1),
        "seed": outcome.seed,
        "version": outcome.version,
        "households": [_household(home) for home in outcome.homes],
    }


def _without_own_use(fields: list[tuple[str, int]]) -> dict[str, int]:
    """The totals that the document names at its top; own use shows in the percentages."""
    return {name: energy_wh for name, energy_wh in fields if name != "own_use_wh"}


def _savings_eur(savings_units: Sequence[int]) -> dict[str, float | None]:
    """The gain against the supplier alone, over all homes and per home."""
    if not savings_units:
        return {"total": 0.0, "min": None, "median": None, "max": None}
    return {
        "total": eur(sum(savings_units)),
        "min": eur(min(savings_units)),
        "median": statistics.median(savings_units) / UNITS_PER_CREDIT,
        "max": eur(max(savings_units)),
    }


def _household(home: HomeOutcome) -> dict[str, object]:
    """One home, under the name of its file."""
    return {
        **asdict(home),
        "self_sufficiency_pct": percentage(home.own_use_wh + home.bought_wh, home.load_wh),
        "self_consumption_pct": percentage(home.own_use_wh + home.sold_wh, home.pv_wh),
    }
