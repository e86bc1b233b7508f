"""What the report draws: the slots of a run, summed into few bins whatever the run's length.

A year of hours and a minute of ten-second slots both become at most a few hundred points, so that
the page stays small. Energy is summed as integers; only a price's mean is a float.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from itertools import pairwise
from typing import Final

from simulations.outcome import SlotFlow

DAY_S: Final = 86_400
MAX_DAY_BINS: Final = 144
MAX_PRICE_BINS: Final = 288
MAX_PRICE_DAYS: Final = 106
DAYS_TOGETHER: Final = (1, 7, 28)
MAX_DAYS_SHOWN_SINGLY: Final = 62
MAX_MONTHS_SHOWN_SINGLY: Final = 48
SHORT_RUN_S: Final = 3 * DAY_S


@dataclass(frozen=True, slots=True)
class EnergyBin:
    """Energy by source between two instants, in Wh.

    ``covered_s`` counts the seconds of every slot that went in: in an average day many times the
    bin's own length. ``residual_wh`` came from the supplier, ``surplus_wh`` went to the grid.
    """

    start_s: int
    end_s: int
    covered_s: int
    own_use_wh: int
    traded_wh: int
    residual_wh: int
    surplus_wh: int

    def power_kw(self, energy_wh: int) -> float:
        """An energy of this bin as its mean power."""
        return energy_wh * 3.6 / self.covered_s


@dataclass(frozen=True, slots=True)
class PriceBin:
    """The clearing prices between two instants, in units/Wh; ``mean`` is weighted by volume."""

    start_s: int
    end_s: int
    low: int
    mean: float
    high: int


class Period(Enum):
    """What one bar of the overview stands for."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"


def span_s(flows: Sequence[SlotFlow], slot_s: int) -> int:
    """From the first instant of the first slot to the last of the last; 0 without slots."""
    return flows[-1].start_s + slot_s - flows[0].start_s if flows else 0


def is_one_day(flows: Sequence[SlotFlow], slot_s: int) -> bool:
    """Whether a run is short enough to be drawn as it was, not as an average day."""
    return span_s(flows, slot_s) <= DAY_S


def day_bins(flows: Sequence[SlotFlow], slot_s: int) -> tuple[EnergyBin, ...]:
    """The run itself when it is at most a day long, else its average day.

    The bins of an average day are stamped in seconds of the day, from 0 on.
    """
    if not flows:
        return ()
    if is_one_day(flows, slot_s):
        first_s = flows[0].start_s
        width_s = _bin_width_s(span_s(flows, slot_s), slot_s, MAX_DAY_BINS)
        return _binned(
            flows, slot_s, lambda start_s: start_s - (start_s - first_s) % width_s, width_s
        )
    width_s = min(_bin_width_s(DAY_S, slot_s, MAX_DAY_BINS), DAY_S)
    return _binned(flows, slot_s, lambda start_s: start_s % DAY_S // width_s * width_s, width_s)


def period_bins(flows: Sequence[SlotFlow], slot_s: int) -> tuple[Period, tuple[EnergyBin, ...]]:
    """The run's days, or its months or years when there are too many days to tell apart."""
    days = {flow.start_s // DAY_S for flow in flows}
    months = {period_start_s(Period.MONTH, day * DAY_S) for day in days}
    if len(days) <= MAX_DAYS_SHOWN_SINGLY:
        period = Period.DAY
    elif len(months) <= MAX_MONTHS_SHOWN_SINGLY:
        period = Period.MONTH
    else:
        period = Period.YEAR
    return period, _binned(flows, slot_s, lambda start_s: period_start_s(period, start_s), 0)


def period_start_s(period: Period, unix_s: int) -> int:
    """The first instant of the day, month or year, in UTC, that an instant lies in."""
    if period is Period.DAY:
        return unix_s - unix_s % DAY_S
    instant = datetime.fromtimestamp(unix_s, UTC)
    month = instant.month if period is Period.MONTH else 1
    return int(datetime(instant.year, month, 1, tzinfo=UTC).timestamp())


def price_bins(flows: Sequence[SlotFlow], slot_s: int) -> tuple[PriceBin, ...]:
    """Prices slot by slot in a short run, by days or weeks in a longer one; bins without a trade
    are left out."""
    if not flows:
        return ()
    span = span_s(flows, slot_s)
    if span <= SHORT_RUN_S:
        origin_s, width_s = flows[0].start_s, _bin_width_s(span, slot_s, MAX_PRICE_BINS)
    else:
        origin_s = period_start_s(Period.DAY, flows[0].start_s)
        days = -(-(flows[-1].start_s + slot_s - origin_s) // DAY_S)
        fitting = (together for together in DAYS_TOGETHER if days <= together * MAX_PRICE_DAYS)
        width_s = DAY_S * next(fitting, -(-days // MAX_PRICE_DAYS))
    traded: dict[int, list[tuple[int, int]]] = {}
    for flow in flows:
        if flow.price is not None and flow.traded_wh:
            start_s = flow.start_s - (flow.start_s - origin_s) % width_s
            traded.setdefault(start_s, []).append((flow.price, flow.traded_wh))
    return tuple(
        _price_bin(start_s, start_s + width_s, trades) for start_s, trades in sorted(traded.items())
    )


def adjacent_runs(bins: Sequence[PriceBin]) -> list[list[PriceBin]]:
    """The bins cut where time passed without a trade: a line must not bridge a night."""
    runs: list[list[PriceBin]] = [[bins[0]]] if bins else []
    for before, after in pairwise(bins):
        if before.end_s == after.start_s:
            runs[-1].append(after)
        else:
            runs.append([after])
    return runs


def _bin_width_s(whole_s: int, step_s: int, most: int) -> int:
    """The least multiple of a step that cuts a span into at most ``most`` bins."""
    steps = -(-whole_s // step_s)
    return step_s * -(-steps // most)


def _binned(
    flows: Sequence[SlotFlow], slot_s: int, bin_start: Callable[[int], int], width_s: int
) -> tuple[EnergyBin, ...]:
    """Sum the flows whose starts fall into one bin; a width of 0 ends a bin with its last slot."""
    members: dict[int, list[SlotFlow]] = {}
    for flow in flows:
        members.setdefault(bin_start(flow.start_s), []).append(flow)
    return tuple(
        EnergyBin(
            start_s=start_s,
            end_s=start_s + width_s if width_s else inside[-1].start_s + slot_s,
            covered_s=slot_s * len(inside),
            own_use_wh=sum(flow.own_use_wh for flow in inside),
            traded_wh=sum(flow.traded_wh for flow in inside),
            residual_wh=sum(flow.import_wh - flow.traded_wh for flow in inside),
            surplus_wh=sum(flow.export_wh - flow.traded_wh for flow in inside),
        )
        for start_s, inside in sorted(members.items())
    )


def _price_bin(start_s: int, end_s: int, trades: Sequence[tuple[int, int]]) -> PriceBin:
    """Sum up the trades of one bin, each a price and its volume."""
    volume_wh = sum(traded_wh for _, traded_wh in trades)
    prices = [price for price, _ in trades]
    mean = sum(price * traded_wh for price, traded_wh in trades) / volume_wh
    return PriceBin(start_s, end_s, min(prices), mean, max(prices))
