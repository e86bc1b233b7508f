"""A run in a few plain sentences and lines, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from node.slots import iso_utc
from node.units import cent_per_kwh, eur, kwh
from simulations.outcome import RunOutcome, SlotFlow
from simulations.results import energy_totals, mean_price, percentage


def headline(outcome: RunOutcome) -> str:
    """What the run came to."""
    totals = energy_totals(outcome.flows)
    alone = percentage(totals.own_use_wh, totals.load_wh)
    shared = percentage(totals.own_use_wh + totals.traded_wh, totals.load_wh)
    price = mean_price(outcome.flows)
    saved = eur(sum(home.savings_units for home in outcome.homes))
    lines = [
        f"{len(outcome.homes)} homes, {len(outcome.flows)} slots, {outcome.orders} orders on"
        f" {outcome.chain.engine}: {kwh(totals.traded_wh):.1f} kWh went to neighbours"
        + ("" if price is None else f" at {cent_per_kwh(round(price)):.2f} ct/kWh on average")
        + f", EUR {saved:.2f} saved.",
    ]
    if alone is not None and shared is not None:
        lines.append(
            f"Covered by local sun: {alone:.1f} % of the load at home alone,"
            f" {shared:.1f} % together."
        )
    errors = outcome.energy_error_wh, outcome.money_error_units
    lines.append(
        "Every Wh and every unit of credit is accounted for."
        if errors == (0, 0)
        else f"THIS RUN DOES NOT ADD UP: {errors[0]} Wh and {errors[1]} units are missing."
    )
    return "\n".join(lines)


def homes_rows(outcome: RunOutcome) -> Iterator[str]:
    """One line a home, at most twenty."""
    width = max(4, *(len(home.name) for home in outcome.homes))
    yield f"{'home':<{width}}  load kWh  PV kWh  bought  sold  saved EUR"
    for home in outcome.homes[:20]:
        yield (
            f"{home.name:<{width}}  {kwh(home.load_wh):8.1f}  {kwh(home.pv_wh):6.1f}"
            f"  {kwh(home.bought_wh):6.1f}  {kwh(home.sold_wh):4.1f}"
            f"  {eur(home.savings_units):9.2f}"
        )
    if len(outcome.homes) > 20:
        yield f"... and {len(outcome.homes) - 20} more in results.json"


def moments(outcome: RunOutcome) -> Iterator[str]:
    """A day told in its turning points, for who sees a market for the first time."""
    flows = outcome.flows
    traded = [flow for flow in flows if flow.price is not None]
    if not traded:
        yield "Nothing was traded: nobody had anything left over."
        return
    first, last = traded[0], traded[-1]
    busiest = max(traded, key=lambda flow: flow.traded_wh)
    yield (
        f"{_clock(flows[0])}  Night. No sun: everybody draws from the supplier. Bids are on the"
        " book, no asks; no price."
    )
    yield (
        f"{_clock(first)}  The first roof has more than its home needs: {first.traded_wh} Wh go to"
        f" neighbours at {_price(first)}."
    )
    scarce = [flow for flow in traded if flow.import_wh > flow.export_wh]
    plenty = [flow for flow in traded if flow.export_wh > flow.import_wh]
    if scarce:
        yield (
            f"{_clock(scarce[0])}  Local energy is scarce ({scarce[0].export_wh} Wh asked,"
            f" {scarce[0].import_wh} Wh bid): the price is at its cap, {_price(scarce[0])}, still"
            f" below the supplier's {cent_per_kwh(outcome.tariffs.retail):.1f} ct/kWh."
        )
    if plenty:
        yield (
            f"{_clock(plenty[0])}  Now there is more than all need: the price falls to"
            f" {_price(plenty[0])}, still above the feed-in tariff of"
            f" {cent_per_kwh(outcome.tariffs.feed_in):.1f} ct/kWh."
        )
    yield (
        f"{_clock(busiest)}  The busiest quarter of an hour: {busiest.traded_wh} Wh change hands at"
        f" {_price(busiest)}."
    )
    yield f"{_clock(last)}  The last trade of the day, {last.traded_wh} Wh at {_price(last)}."


def _clock(flow: SlotFlow) -> str:
    return iso_utc(flow.start_s)[11:16] + " UTC"


def _price(flow: SlotFlow) -> str:
    assert flow.price is not None
    return f"{cent_per_kwh(flow.price):.1f} ct/kWh"
