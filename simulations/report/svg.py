"""The parts of a chart: a frame, scales, ticks, labels, shapes.

A chart has no size of its own: positions are percentages of its frame, so shapes stretch with the
page while letters and lines keep theirs, on a phone as in print. Filled shapes are clipped
rectangles, because a hatch inside a stretched drawing would be stretched too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from simulations.report.series import DAY_S
from simulations.report.text import Text, clock, number, short_day, short_month, year

HOUR_STEPS_S: Final = (60, 300, 600, 900, 1_800, 3_600, 10_800, 21_600)
DAY_STEPS: Final = (1, 2, 3, 5, 7, 10, 14)
MONTH_STEPS: Final = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1_200)
MOST_LABELS: Final = 7
CANVAS: Final = 1_000
"""Paths are drawn in thousandths of the frame's width and height."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values onto 0..1; values outside their range land on its ends."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Where a value stands."""
        if self.high <= self.low:
            return 0.0
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def down(self, value: float) -> float:
        """The same from the top: SVG counts downwards."""
        return 1.0 - self.at(value)


def hatches() -> str:
    """The patterns that fills refer to, once for the page."""
    drawn = "".join(
        f'<pattern id="hatch-{css}" width="{size}" height="{size}" '
        f'patternUnits="userSpaceOnUse" patternTransform="rotate({turn})">'
        f'<rect class="base-{css}" width="{size}" height="{size}"/>'
        f'<line class="line-{css}" y2="{size}"/></pattern>'
        for css, size, turn in (("near", 6, 45), ("spare", 5, -45), ("loss", 5, 90))
    )
    return f'<svg class="defs" aria-hidden="true"><defs>{drawn}</defs></svg>'


def per_cent(fraction: float) -> str:
    """A position or a length as an SVG percentage."""
    return f"{100 * fraction:.2f}".rstrip("0").rstrip(".") + "%"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values inside a range, at most ``most`` of them, and 0 if it lies inside."""
    if high <= low:
        return [low]
    step = _nice_step((high - low) / most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_places(values: Sequence[float]) -> int:
    """Decimals that tell neighbouring ticks apart."""
    if len(values) < 2:
        return 1
    return max(0, -math.floor(math.log10(abs(values[1] - values[0])) + 1e-9))


def time_ticks(start_s: int, end_s: int) -> list[tuple[int, Text]]:
    """Instants to name between two others: times within a day, days, months or years beyond."""
    span_s = end_s - start_s
    if span_s <= DAY_S:
        step_s = next((s for s in HOUR_STEPS_S if span_s / s < MOST_LABELS), HOUR_STEPS_S[-1])
        first_s = -(-start_s // step_s) * step_s
        return [(at_s, clock(at_s)) for at_s in range(first_s, end_s + 1, step_s)]
    days = span_s / DAY_S
    if days / DAY_STEPS[-1] < MOST_LABELS - 1:
        step = next(s for s in DAY_STEPS if days / s < MOST_LABELS - 1)
        first_s = -(-start_s // DAY_S) * DAY_S
        return [(at_s, short_day(at_s)) for at_s in range(first_s, end_s, step * DAY_S)]
    return _month_ticks(start_s, end_s)


@dataclass(frozen=True, slots=True)
class Caption:
    """What a chart is, and what can be read from it, for whoever does not see it."""

    title: Text
    description: Text


def frame(chart_id: str, css: str, caption: Caption, content: str, height_px: int = 0) -> str:
    """A chart. Its style gives its height unless ``height_px`` does."""
    title, description = caption.title, caption.description
    height = f' height="{height_px}"' if height_px else ""
    return (
        f'<svg class="chart {css}"{height} role="img" '
        f'aria-labelledby="{chart_id}-t {chart_id}-d">'
        f'<title id="{chart_id}-t" {title.plain_attributes()}>{_plain(title)}</title>'
        f'<desc id="{chart_id}-d" {description.plain_attributes()}>{_plain(description)}</desc>'
        f"{content}</svg>"
    )


def value_axis(scale: Scale, unit: Text, *, signed: bool = False) -> str:
    """Horizontal lines with their values at the left, and the unit above them.

    Values below 0 show without their sign where the chart only mirrors: energy has none.
    """
    values = ticks(scale.low, scale.high)
    places = tick_places(values)
    lines = "".join(
        line_across(scale.down(value), "grid")
        + label(
            (0, scale.down(value)),
            number(value if signed else abs(value), places),
            "y",
            (-0.6, 0.35),
        )
        for value in values
    )
    return lines + label((0, 0), unit, "y unit", (-3.05, -1))


def time_axis(time: Scale) -> str:
    """Instants under the chart."""
    return "".join(
        label((time.at(at_s), 1), text, "x", (0, 1.6))
        for at_s, text in time_ticks(int(time.low), int(time.high))
    )


def label(at: Point, text: Text, css: str, shift_em: tuple[float, float]) -> str:
    """Words at a position of the frame, moved by some of their own letters' sizes."""
    x, y = at
    return (
        f'<text class="{css}" x="{per_cent(x)}" y="{per_cent(y)}" dx="{shift_em[0]}em" '
        f'dy="{shift_em[1]}em">{text.svg()}</text>'
    )


def box(x: float, y: float, width: float, height: float, css: str) -> str:
    """A filled rectangle."""
    return (
        f'<rect class="{css}" x="{per_cent(x)}" y="{per_cent(y)}" '
        f'width="{per_cent(max(width, 0.0))}" height="{per_cent(max(height, 0.0))}"/>'
    )


def line_across(y: float, css: str) -> str:
    """A horizontal line through the frame."""
    return f'<line class="{css}" x2="100%" y1="{per_cent(y)}" y2="{per_cent(y)}"/>'


def line_down(x: float, css: str) -> str:
    """A vertical line through the frame."""
    return f'<line class="{css}" x1="{per_cent(x)}" x2="{per_cent(x)}" y2="100%"/>'


def area(clip_id: str, outline: Sequence[Point], css: str) -> str:
    """A filled shape."""
    return (
        f'<clipPath id="{clip_id}" clipPathUnits="objectBoundingBox">'
        f'<path transform="scale(.001)" d="{path(outline)}Z"/></clipPath>'
        f'<rect class="{css}" width="100%" height="100%" clip-path="url(#{clip_id})"/>'
    )


def strokes(paths: Sequence[tuple[str, Sequence[Point]]]) -> str:
    """Open lines, each with its style; they stretch, their width does not."""
    drawn = "".join(f'<path class="{css}" d="{path(points)}"/>' for css, points in paths if points)
    return (
        f'<svg class="strokes" width="100%" height="100%" viewBox="0 0 {CANVAS} {CANVAS}" '
        f'preserveAspectRatio="none">{drawn}</svg>'
    )


def path(points: Sequence[Point]) -> str:
    """Path data through points of the frame."""
    placed = [f"{round(x * CANVAS)} {round(y * CANVAS)}" for x, y in points]
    return "M" + "L".join(placed)


def _plain(text: Text) -> str:
    """The English form, escaped, for elements that cannot hold two languages."""
    return Text(text.en, text.en).html()


def _nice_step(least: float) -> float:
    """The next of 1, 2, 5, 10 ... at or above a step."""
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(
        (factor * power for factor in (1, 2, 5) if factor * power >= least * (1 - 1e-9)), 10 * power
    )


def _month_ticks(start_s: int, end_s: int) -> list[tuple[int, Text]]:
    """First days of months, every so many; the year instead where only Januaries are left."""
    first, last = datetime.fromtimestamp(start_s, UTC), datetime.fromtimestamp(end_s, UTC)
    months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    step = next(s for s in MONTH_STEPS if len(months) / s <= MOST_LABELS or s == MONTH_STEPS[-1])
    starts = [
        int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp())
        for month in months
        if month % step == 0
    ]
    named = year if step >= 12 else short_month
    return [(at_s, named(at_s)) for at_s in starts if start_s <= at_s < end_s]
