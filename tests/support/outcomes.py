"""Outcomes of runs that never ran: whole neighbourhoods in a few lines, for whoever shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from simulations.outcome import (
    ChainUse,
    HomeOutcome,
    RunOutcome,
    SlotFlow,
    Tariffs,
    TradeLine,
)

MIDSUMMER_S: Final = 1_466_467_200
"""2016-06-21T00:00:00Z."""

DAY_S: Final = 86_400
PRICE: Final = 15_100


def neighbourhood(
    *,
    homes: int | Sequence[str] = 8,
    slots: int = 96,
    slot_s: int = 900,
    start_s: int = MIDSUMMER_S,
    producers: int | None = None,
    trading: bool = True,
) -> RunOutcome:
    """Homes with a plausible load, the first ``producers`` of them (half, if not said) with a
    roof, which share all they can: every figure adds up."""
    names = [f"home-{n + 1:02}" for n in range(homes)] if isinstance(homes, int) else list(homes)
    roofs = (len(names) + 1) // 2 if producers is None else producers
    members = [HomeOutcome(name, "fixed", *([0] * 10)) for name in names]
    flows = []
    trades: list[TradeLine] = []
    for index in range(slots):
        at_s = start_s + index * slot_s
        loads = [_load_wh(n, at_s, slot_s) for n in range(len(names))]
        suns = [_sun_wh(n, at_s, slot_s) if n < roofs else 0 for n in range(len(names))]
        traded_wh = _step(members, loads, suns, trading=trading)
        price = PRICE + 200 * (index % 7) if traded_wh else None
        flows.append(_flow(at_s, slot_s, loads, suns, traded_wh, price))
        if price is not None and len(trades) < 5:
            trades.append(TradeLine(at_s, names[0], "ask", traded_wh, price, traded_wh * price))
    return RunOutcome(
        title="A street in June",
        slot_s=slot_s,
        seed=42,
        version="0.1.0",
        tariffs=Tariffs(),
        network_fee=0,
        floor_price=4_000,
        cap_price=26_300,
        flows=tuple(flows),
        homes=tuple(_with_money(member) for member in members),
        biggest_trades=tuple(trades),
        orders=slots * len(names),
        energy_error_wh=0,
        money_error_units=0,
        chain=ChainUse("embedded", 2 * slots, 3 * slots, 80_000 * slots),
        cpu_s=12.3456,
        wall_s=13.5,
        peak_rss_mb=120.04,
    )


def _load_wh(home: int, at_s: int, slot_s: int) -> int:
    """More in the evening, and every home a little differently."""
    phase = 2 * math.pi * ((at_s % DAY_S) / DAY_S - 0.8)
    return round((300 + 40 * (home % 5)) * (1.2 + math.cos(phase)) * slot_s / 3_600)


def _sun_wh(home: int, at_s: int, slot_s: int) -> int:
    """A half sine between six and six, of a few kW."""
    phase = math.pi * ((at_s % DAY_S) / DAY_S - 0.25) * 2
    return round(max(0.0, math.sin(phase)) * (2_500 + 300 * (home % 4)) * slot_s / 3_600)


def _step(
    members: list[HomeOutcome], loads: Sequence[int], suns: Sequence[int], *, trading: bool
) -> int:
    """One slot: add it to every home, and return what was traded. Fills go in the homes' order."""
    imports = [max(load - sun, 0) for load, sun in zip(loads, suns, strict=True)]
    exports = [max(sun - load, 0) for load, sun in zip(loads, suns, strict=True)]
    traded_wh = min(sum(imports), sum(exports)) if trading else 0
    to_buy, to_sell = traded_wh, traded_wh
    for index, member in enumerate(members):
        bought, sold = min(imports[index], to_buy), min(exports[index], to_sell)
        to_buy, to_sell = to_buy - bought, to_sell - sold
        members[index] = replace(
            member,
            load_wh=member.load_wh + loads[index],
            pv_wh=member.pv_wh + suns[index],
            own_use_wh=member.own_use_wh + min(loads[index], suns[index]),
            import_wh=member.import_wh + imports[index],
            export_wh=member.export_wh + exports[index],
            bought_wh=member.bought_wh + bought,
            sold_wh=member.sold_wh + sold,
        )
    return traded_wh


def _flow(
    at_s: int,
    slot_s: int,
    loads: Sequence[int],
    suns: Sequence[int],
    traded_wh: int,
    price: int | None,
) -> SlotFlow:
    """The neighbourhood in one slot."""
    own_use_wh = sum(min(load, sun) for load, sun in zip(loads, suns, strict=True))
    return SlotFlow(
        slot=at_s // slot_s,
        start_s=at_s,
        load_wh=sum(loads),
        pv_wh=sum(suns),
        own_use_wh=own_use_wh,
        import_wh=sum(loads) - own_use_wh,
        export_wh=sum(suns) - own_use_wh,
        traded_wh=traded_wh,
        price=price,
    )


def _with_money(home: HomeOutcome) -> HomeOutcome:
    """As if every slot had cleared at one price."""
    paid, earned = home.bought_wh * PRICE, home.sold_wh * PRICE
    tariffs = Tariffs()
    gain = home.bought_wh * tariffs.retail - paid + earned - home.sold_wh * tariffs.feed_in
    return replace(home, paid_units=paid, earned_units=earned, savings_units=gain)
