"""The charts of the report, as inline SVG.

No chart tells things apart by colour alone: neighbours' energy and surplus are hatched, lines are
dashed, and every figure a chart shows stands in words or in a table beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from node.units import cent_per_kwh, eur
from simulations.outcome import HomeOutcome, RunOutcome
from simulations.report.series import (
    EnergyBin,
    Period,
    PriceBin,
    adjacent_runs,
)
from simulations.report.svg import (
    MOST_LABELS,
    Caption,
    Point,
    Scale,
    area,
    box,
    frame,
    label,
    line_across,
    line_down,
    per_cent,
    strokes,
    time_axis,
    value_axis,
)
from simulations.report.text import (
    Text,
    money,
    money_places,
    name,
    percent,
    short_day,
    short_month,
    shortened,
    year,
)

MOST_NAMED_HOMES: Final = 24
"""Up to so many homes each has a row with its name; beyond, a skyline without names."""

MOST_SKYLINE_BARS: Final = 200
ROW_HEIGHT_PX: Final = 26
SHARE_HEIGHT_PX: Final = 58
NAME_LENGTH: Final = 14
HEADROOM: Final = 1.06


@dataclass(frozen=True, slots=True)
class Share:
    """One bar of the comparison with and without the market, in per cent of the whole."""

    label: Text
    own_pct: float
    neighbours_pct: float


def day_chart(bins: Sequence[EnergyBin], caption: Caption) -> str:
    """Mean power by source over a day: what homes use above the line, surplus below."""
    layers = [
        [bin_.power_kw(bin_.own_use_wh) for bin_ in bins],
        [bin_.power_kw(bin_.own_use_wh + bin_.traded_wh) for bin_ in bins],
        [bin_.power_kw(bin_.own_use_wh + bin_.traded_wh + bin_.residual_wh) for bin_ in bins],
    ]
    below = [-bin_.power_kw(bin_.surplus_wh) for bin_ in bins]
    time = Scale(bins[0].start_s, bins[-1].end_s)
    power = Scale(HEADROOM * min(below), HEADROOM * max(layers[2]) or 1.0)

    def edge(values: Sequence[float]) -> list[Point]:
        """A line through the bins' middles, level to both ends of the day."""
        inner = [
            (time.at((bin_.start_s + bin_.end_s) / 2), power.down(kw))
            for bin_, kw in zip(bins, values, strict=True)
        ]
        return [(0.0, inner[0][1]), *inner, (1.0, inner[-1][1])]

    zero = edge([0.0] * len(bins))
    edges = [edge(layer) for layer in layers]
    spare = edge(below)
    content = [_power_axis(power)]
    for index, css in enumerate(("own", "near", "supplier")):
        under = edges[index - 1] if index else zero
        content.append(area(f"day-{css}", [*edges[index], *reversed(under)], css))
    content.append(area("day-spare", [*zero, *reversed(spare)], "spare"))
    content.append(
        strokes(
            [
                ("edge-supplier", edges[2]),
                ("edge-near", edges[1]),
                ("edge-own", edges[0]),
                ("edge-spare", spare if min(below) < 0 else []),
            ]
        )
    )
    content.append(line_across(power.down(0), "zero"))
    content.append(time_axis(time))
    return frame("day", "tall", caption, "".join(content))


def overview_chart(period: Period, bins: Sequence[EnergyBin], caption: Caption) -> str:
    """Energy by source for each day, month or year of the run, as stacked bars in kWh."""
    most_wh = max(bin_.own_use_wh + bin_.traded_wh + bin_.residual_wh for bin_ in bins)
    least_wh = -max(bin_.surplus_wh for bin_ in bins)
    energy = Scale(HEADROOM * least_wh / 1_000, HEADROOM * most_wh / 1_000 or 1.0)
    zero = energy.down(0)
    content = [value_axis(energy, name("kWh"))]
    step = 1 / len(bins)
    for index, bin_ in enumerate(bins):
        left, width = (index + 0.14) * step, 0.72 * step
        top = zero
        for css, part_wh in (
            ("own", bin_.own_use_wh),
            ("near", bin_.traded_wh),
            ("supplier", bin_.residual_wh),
        ):
            height = energy.at(part_wh / 1_000) - energy.at(0)
            top -= height
            content.append(box(left, top, width, height, css) if part_wh else "")
        depth = energy.at(0) - energy.at(-bin_.surplus_wh / 1_000)
        content.append(box(left, zero, width, depth, "spare") if bin_.surplus_wh else "")
    content.append(line_across(zero, "zero"))
    named = {Period.DAY: short_day, Period.MONTH: short_month, Period.YEAR: year}[period]
    every = -(-len(bins) // MOST_LABELS)
    content += [
        label(((index + 0.5) * step, 1), named(bins[index].start_s), "x", (0, 1.6))
        for index in range(0, len(bins), every)
    ]
    return frame("periods", "middle", caption, "".join(content))


def shares_chart(chart_id: str, shares: Sequence[Share], caption: Caption) -> str:
    """Bars from 0 to 100 %: own sun, and what neighbours add to it."""
    content = []
    for index, share in enumerate(shares):
        own, whole = share.own_pct / 100, (share.own_pct + share.neighbours_pct) / 100
        words, top = SHARE_HEIGHT_PX * index + 14, SHARE_HEIGHT_PX * index + 23
        content.append(
            f'<text class="row" x="0" y="{words}">{share.label.svg()}</text>'
            f'<text class="value" x="100%" y="{words}">{percent(100 * whole).svg()}</text>'
            f'<rect class="track" y="{top}" width="100%" height="18"/>'
            f'<rect class="own" y="{top}" width="{per_cent(own)}" height="18"/>'
            f'<rect class="near" x="{per_cent(own)}" y="{top}" '
            f'width="{per_cent(max(whole - own, 0.0))}" height="18"/>'
        )
    return frame(chart_id, "bars", caption, "".join(content), SHARE_HEIGHT_PX * len(shares))


def price_chart(outcome: RunOutcome, prices: Sequence[PriceBin], caption: Caption) -> str:
    """The clearing price between the two tariffs, and the band in which orders may be priced."""
    first, last = outcome.flows[0], outcome.flows[-1]
    time = Scale(first.start_s, last.start_s + outcome.slot_s)
    retail, feed_in = outcome.tariffs.retail, outcome.tariffs.feed_in
    top = max(retail, outcome.cap_price, *(bin_.high for bin_ in prices), 1)
    cents = Scale(min(0.0, cent_per_kwh(feed_in)), 1.12 * cent_per_kwh(top))

    def y(units_per_wh: float) -> float:
        return cents.down(units_per_wh / 1_000)

    band_top, band_foot = y(outcome.cap_price), y(outcome.floor_price)
    content = [
        box(0, band_top, 1, max(band_foot - band_top, 0.004), "band"),
        value_axis(cents, Text("ct/kWh", "c€/kWh")),
        line_across(y(retail), "retail"),
        line_across(y(feed_in), "feed-in"),
    ]
    runs = adjacent_runs(prices)
    for index, run in enumerate(runs):
        if any(bin_.low != bin_.high for bin_ in run):
            outline = [
                *_stairs(run, time, lambda bin_: y(bin_.high)),
                *reversed(_stairs(run, time, lambda bin_: y(bin_.low))),
            ]
            content.append(area(f"range-{index}", outline, "range"))
    content.append(
        strokes([("price", _stairs(run, time, lambda bin_: y(bin_.mean))) for run in runs])
    )
    content.append(line_across(cents.down(0), "zero"))
    content.append(time_axis(time))
    return frame("price", "tall", caption, "".join(content))


def savings_chart(homes: Sequence[HomeOutcome], caption: Caption) -> str:
    """What each home gained: named rows in a small neighbourhood, a skyline in a large one."""
    ordered = sorted(homes, key=lambda home: (-home.savings_units, home.name))
    if len(ordered) <= MOST_NAMED_HOMES:
        return _savings_rows(ordered, caption)
    return _savings_skyline([home.savings_units for home in reversed(ordered)], caption)


def _savings_rows(homes: Sequence[HomeOutcome], caption: Caption) -> str:
    """A row for each home, the best first, with a line through the median."""
    savings = [home.savings_units for home in homes]
    scale = Scale(min(0, *savings, 0), max(0, *savings, 1))
    places = money_places(max(abs(units) for units in savings))
    zero, median = scale.at(0), scale.at(statistics.median(savings))
    content = []
    for index, home in enumerate(homes):
        top, words = ROW_HEIGHT_PX * index + 5, ROW_HEIGHT_PX * index + 18
        end = scale.at(home.savings_units)
        css = "loss" if home.savings_units < 0 else "gain"
        content.append(
            f'<text class="row" x="0" dx="-.75em" y="{words}" text-anchor="end">'
            f"{name(shortened(home.name, NAME_LENGTH)).svg()}</text>"
            f'<rect class="{css}" x="{per_cent(min(zero, end))}" y="{top}" '
            f'width="{per_cent(abs(end - zero))}" height="{ROW_HEIGHT_PX - 10}"/>'
            f'<text class="value" x="100%" dx="5.8em" y="{words}">'
            f"{money(home.savings_units, places).svg()}</text>"
        )
    content.append(line_down(zero, "zero"))
    content.append(line_down(median, "median"))
    return frame("savings", "rows", caption, "".join(content), ROW_HEIGHT_PX * len(homes))


def _savings_skyline(ascending_units: Sequence[int], caption: Caption) -> str:
    """A thin bar for each home, from the least to the most; evenly chosen homes if too many."""
    count = min(len(ascending_units), MOST_SKYLINE_BARS)
    last = len(ascending_units) - 1
    shown = [ascending_units[index * last // (count - 1)] for index in range(count)]
    low, high = eur(min(shown[0], 0)), eur(max(shown[-1], 0))
    euros = Scale(HEADROOM * low, HEADROOM * high or 1.0)
    zero, step = euros.down(0), 1 / count
    content = [value_axis(euros, name("€"), signed=True)]
    for index, units in enumerate(shown):
        end = euros.down(eur(units))
        css = "loss" if units < 0 else "gain"
        content.append(box(index * step, min(zero, end), step * 0.8, abs(end - zero), css))
    content.append(line_across(zero, "zero"))
    content.append(
        line_across(euros.down(eur(round(statistics.median(ascending_units)))), "median")
    )
    return frame("savings", "middle", caption, "".join(content))


def _stairs(
    run: Sequence[PriceBin], time: Scale, level: Callable[[PriceBin], float]
) -> list[Point]:
    """Level within a bin, upright between two: a price holds for its whole slot."""
    points: list[Point] = []
    for bin_ in run:
        y = level(bin_)
        points += [(time.at(bin_.start_s), y), (time.at(bin_.end_s), y)]
    return points


def _power_axis(power: Scale) -> str:
    """The axis in kW, or in W where a kW would be far above the chart."""
    if max(power.high, -power.low) >= 1:
        return value_axis(power, name("kW"))
    return value_axis(Scale(1_000 * power.low, 1_000 * power.high), name("W"))
