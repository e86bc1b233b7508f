"""A run in a few plain sentences and lines, for a terminal."""

from __future__ import annotations

import textwrap
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
    scarce = next((flow for flow in traded if flow.import_wh > flow.export_wh), None)
    plenty = next((flow for flow in traded if flow.export_wh > flow.import_wh), None)
    told: dict[int, list[str]] = {}

    def tell(flow: SlotFlow, sentence: str) -> None:
        told.setdefault(flow.start_s, []).append(sentence)

    if not flows[0].pv_wh:
        tell(
            flows[0],
            "Night. No sun: everybody draws from the supplier. There are bids on the book and no"
            " asks, so there is no price.",
        )
    tell(
        first,
        "The first roof has more than its home needs:"
        f" {first.traded_wh} Wh go to neighbours at {_price(first)}.",
    )
    if scarce is not None:
        tell(
            scarce,
            f"Local energy is scarce ({scarce.export_wh} Wh asked, {scarce.import_wh} Wh bid): the"
            f" price is high in its band, {_price(scarce)}, and still below the supplier's"
            f" {cent_per_kwh(outcome.tariffs.retail):.1f} ct/kWh.",
        )
    if plenty is not None:
        tell(
            plenty,
            f"Now there is more than all need: the price falls to {_price(plenty)}, and is still"
            f" above the feed-in tariff of {cent_per_kwh(outcome.tariffs.feed_in):.1f} ct/kWh.",
        )
    tell(
        busiest,
        f"The busiest slot: {busiest.traded_wh} Wh change hands at {_price(busiest)}.",
    )
    tell(last, f"The last trade, {last.traded_wh} Wh at {_price(last)}.")
    for start_s, sentences in sorted(told.items()):
        yield textwrap.fill(
            " ".join([iso_utc(start_s)[11:16] + " UTC ", *sentences]),
            width=88,
            subsequent_indent=" " * 11,
        )


def _price(flow: SlotFlow) -> str:
    assert flow.price is not None
    return f"{cent_per_kwh(flow.price):.1f} ct/kWh"
