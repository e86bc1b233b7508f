"""What a run leaves behind, as records: the material of ``results.json`` and ``report.html``.

All sums are integers (Wh, credit units); percentages and euros are made when shown.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tariffs:
    """What the supplier pays for surplus and asks for residual energy, in units/Wh."""

    feed_in: int = 3_000
    retail: int = 28_000


@dataclass(frozen=True, slots=True)
class SlotFlow:
    """The whole neighbourhood in one slot, in Wh.

    ``own_use_wh`` never left a home; ``import_wh`` and ``export_wh`` are what the meters counted;
    ``traded_wh`` is the part of both that was allocated between neighbours. ``price`` is in
    units/Wh, None when nothing traded.
    """

    slot: int
    start_s: int
    load_wh: int
    pv_wh: int
    own_use_wh: int
    import_wh: int
    export_wh: int
    traded_wh: int
    price: int | None


@dataclass(frozen=True, slots=True)
class HomeOutcome:
    """One home over the whole run. Money is in units: ``paid_units`` for what it bought from
    neighbours (fee included), ``earned_units`` for what it sold them; ``savings_units`` is the
    whole gain against having the supplier only."""

    name: str
    strategy: str
    load_wh: int
    pv_wh: int
    own_use_wh: int
    import_wh: int
    export_wh: int
    bought_wh: int
    sold_wh: int
    paid_units: int
    earned_units: int
    savings_units: int


@dataclass(frozen=True, slots=True)
class ChainUse:
    """What the run asked of its chain. The reference market counts calls as transactions, and has
    no ``market`` address."""

    engine: str
    blocks: int
    transactions: int
    gas_used: int
    market: str = ""


@dataclass(frozen=True, slots=True)
class TradeLine:
    """One filled order, for the list of the biggest trades."""

    start_s: int
    home: str
    side: str
    filled_wh: int
    price: int
    amount_units: int


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """Everything a report needs."""

    title: str
    slot_s: int
    seed: int
    version: str
    tariffs: Tariffs
    network_fee: int
    floor_price: int
    cap_price: int
    flows: tuple[SlotFlow, ...]
    homes: tuple[HomeOutcome, ...]
    biggest_trades: tuple[TradeLine, ...]
    orders: int
    energy_error_wh: int
    money_error_units: int
    chain: ChainUse
    cpu_s: float
    wall_s: float
    peak_rss_mb: float
