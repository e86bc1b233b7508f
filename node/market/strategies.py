"""What a household asks for, or bids, for the energy that it metered: the price is its only choice.

A strategy is a value: its parameters and nothing else. What it may learn from stands in the
``MarketView`` that it is handed, so a restarted node prices as if it had never stopped, and equal
views (with equally seeded ``rng``) give equal prices. Every price stands on the grid of the rules.

A bid's limit is for the energy alone; who sets a bid by the worth of delivered energy takes the
network fee off first.
"""

from __future__ import annotations

import difflib
import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from node.errors import ConfigurationError
from node.model import MAX_TICKS, MarketRules, PriceGrid, Side, SlotCleared

__all__ = [
    "DEFAULT_STRATEGY",
    "STRATEGIES",
    "AdaptivePrice",
    "FixedReserve",
    "LinearScarcity",
    "MarketView",
    "OwnOutcome",
    "Strategy",
    "ZeroIntelligenceConstrained",
    "strategy_named",
]

MAX_WINDOW: Final = 1_000
"""Most slots that a strategy looks back: it bounds the work of one price."""


@dataclass(frozen=True, slots=True)
class OwnOutcome:
    """What became of one of the household's own orders."""

    slot: int
    side: Side
    energy_wh: int
    filled_wh: int


@dataclass(frozen=True, slots=True)
class MarketView:
    """What a household knows when it prices an order, and all that it may use.

    ``recent`` are the last clearings and ``own`` its own last outcomes, both newest last, as lists
    or tuples (their ends are sliced off). ``rng`` is the household's own, seeded by the caller.
    """

    rules: MarketRules
    rng: random.Random
    recent: Sequence[SlotCleared] = ()
    own: Sequence[OwnOutcome] = ()


class Strategy(Protocol):
    """Sets the limit price of an order."""

    @property
    def name(self) -> str:
        """The name under which ``strategy_named`` finds it."""
        ...

    def limit_price(self, side: Side, view: MarketView) -> int:
        """The limit price in units/Wh, on the grid of ``view.rules``.

        Raises ConfigurationError when its parameters and these rules exclude each other.
        """
        ...


@dataclass(frozen=True, slots=True)
class FixedReserve:
    """The same limit in every slot; unless told otherwise, asks at the floor, bids at the cap.

    Those two always cross, so all energy that can be traded is traded: at the limit of the side
    that has too much, in the middle of the band when the sides are equal.
    """

    name: ClassVar[str] = "fixed-reserve"
    ask_price: int | None = None
    bid_price: int | None = None

    def limit_price(self, side: Side, view: MarketView) -> int:
        """The reserve of the side. Raises ConfigurationError when it is not on the grid."""
        grid = view.rules.grid
        if side is Side.ASK:
            price = grid.floor_price if self.ask_price is None else self.ask_price
        else:
            price = grid.cap_price if self.bid_price is None else self.bid_price
        if not grid.contains(price):
            raise ConfigurationError(
                f"strategy {self.name}: {side.word}_price {price} is not on the price grid",
                next_step=_grid_text(grid),
            )
        return price


@dataclass(frozen=True, slots=True)
class ZeroIntelligenceConstrained:
    """Any price that makes no loss, each as likely as the next (Gode and Sunder, 1993).

    A seller draws from its cost to the cap, a buyer from the floor to its value less the network
    fee. By default the whole band: its ends lie inside the tariffs, so no price in it is a loss.
    """

    name: ClassVar[str] = "zero-intelligence"
    seller_cost: int | None = None
    buyer_value: int | None = None

    def limit_price(self, side: Side, view: MarketView) -> int:
        """A price drawn with ``view.rng``; ConfigurationError when every price is a loss."""
        grid, lowest, highest = view.rules.grid, 0, view.rules.grid.ticks - 1
        if side is Side.ASK and self.seller_cost is not None:
            above_floor = max(self.seller_cost - grid.floor_price, 0)
            lowest = -(-above_floor // grid.tick_size)
        if side is Side.BID and self.buyer_value is not None:
            worth = self.buyer_value - view.rules.network_fee
            highest = min((worth - grid.floor_price) // grid.tick_size, highest)
        if not 0 <= lowest <= highest < grid.ticks:
            limit = "seller_cost" if side is Side.ASK else "buyer_value"
            raise ConfigurationError(
                f"strategy {self.name}: with this {limit} every price of the band is a loss",
                next_step=_grid_text(grid),
            )
        return grid.price_of(view.rng.randint(lowest, highest))


@dataclass(frozen=True, slots=True)
class LinearScarcity:
    """Follows how scarce local energy was: from the floor, with nothing bid, to the cap.

    Scarcity is bids over bids and asks, in Wh, over the last ``window`` slots; one half before
    the first. All neighbours that saw the same slots come to the same price, where asks and bids
    just meet; each gives way by ``concession_ticks``, so that they also meet when one of them has
    not yet seen the newest slot.
    """

    name: ClassVar[str] = "linear-scarcity"
    window: int = 4
    concession_ticks: int = 5

    def __post_init__(self) -> None:
        _check_window(self.window)
        if not 0 <= self.concession_ticks <= MAX_TICKS:
            raise ValueError(f"concession_ticks {self.concession_ticks} is not in 0..{MAX_TICKS}")

    def limit_price(self, side: Side, view: MarketView) -> int:
        """Linear in scarcity between floor and cap, less the concession."""
        grid = view.rules.grid
        last = view.recent[-self.window :]
        bid_wh = sum(cleared.bid_wh for cleared in last)
        both_wh = bid_wh + sum(cleared.ask_wh for cleared in last)
        scarcity = bid_wh / both_wh if both_wh else 0.5
        price = grid.floor_price + scarcity * (grid.cap_price - grid.floor_price)
        give_way = self.concession_ticks * grid.tick_size
        return grid.nearest(price - give_way if side is Side.ASK else price + give_way)


@dataclass(frozen=True, slots=True)
class AdaptivePrice:
    """Expects the price of late and asks for a little better; how much, its own fills teach it.

    The expectation is the exponentially weighted mean of the last ``window`` clearing prices
    (weight ``alpha`` on the newest), the middle of the band before the first. The margin starts at
    ``-start_ticks``: willing. A whole fill widens it by ``widen_ticks``, no fill narrows it by
    ``narrow_ticks``, a part of a fill by the part of each; it never leaves +-``most_ticks``.
    Narrowing is the faster, because a missed trade costs more than a poor price.
    """

    name: ClassVar[str] = "adaptive"
    window: int = 32
    alpha: float = 0.2
    start_ticks: int = 10
    widen_ticks: float = 1.0
    narrow_ticks: float = 4.0
    most_ticks: int = 40

    def __post_init__(self) -> None:
        _check_window(self.window)
        if not 0.0 < self.alpha <= 1.0:
            raise ValueError(f"alpha {self.alpha} is not above 0 and at most 1")
        for steps in ("widen_ticks", "narrow_ticks"):
            if not 0.0 <= getattr(self, steps) <= MAX_TICKS:
                raise ValueError(f"{steps} {getattr(self, steps)} is not in 0..{MAX_TICKS}")
        if not 0 <= self.start_ticks <= self.most_ticks <= MAX_TICKS:
            raise ValueError(
                f"start_ticks {self.start_ticks} and most_ticks {self.most_ticks}:"
                f" 0 <= start <= most <= {MAX_TICKS} is needed"
            )

    def limit_price(self, side: Side, view: MarketView) -> int:
        """The expected price and the learnt margin, to the seller's or the buyer's good."""
        grid = view.rules.grid
        margin = self._margin_ticks(side, view.own) * grid.tick_size
        expected = self._expected_price(grid, view.recent)
        return grid.nearest(expected + margin if side is Side.ASK else expected - margin)

    def _expected_price(self, grid: PriceGrid, recent: Sequence[SlotCleared]) -> float:
        prices = [cleared.price for cleared in recent[-self.window :] if cleared.price is not None]
        if not prices:
            return (grid.floor_price + grid.cap_price) / 2
        mean = float(prices[0])
        for price in prices[1:]:
            mean += self.alpha * (price - mean)
        return mean

    def _margin_ticks(self, side: Side, own: Sequence[OwnOutcome]) -> float:
        margin = -float(self.start_ticks)
        for outcome in own[-self.window :]:
            if outcome.side is side and outcome.energy_wh > 0:
                share = min(outcome.filled_wh / outcome.energy_wh, 1.0)
                margin += share * self.widen_ticks - (1.0 - share) * self.narrow_ticks
                margin = min(max(margin, -self.most_ticks), self.most_ticks)
        return margin


STRATEGIES: Final[Mapping[str, Callable[..., Strategy]]] = {
    FixedReserve.name: FixedReserve,
    ZeroIntelligenceConstrained.name: ZeroIntelligenceConstrained,
    LinearScarcity.name: LinearScarcity,
    AdaptivePrice.name: AdaptivePrice,
}
"""Every strategy by its name, as settings and scenarios write it."""

DEFAULT_STRATEGY: Final = FixedReserve.name


def strategy_named(name: str, **parameters: float) -> Strategy:
    """The strategy of a name, with its own parameters where the defaults will not do.

    Raises ValueError for an unknown name or parameter (listing those that exist) and for a value
    that the strategy cannot work with.
    """
    if name not in STRATEGIES:
        raise ValueError(_unknown("strategy", name, STRATEGIES))
    kind = STRATEGIES[name]
    known = inspect.signature(kind).parameters
    for parameter, value in parameters.items():
        if parameter not in known:
            raise ValueError(_unknown(f"parameter of strategy {name}", parameter, known))
        whole = known[parameter].annotation != "float"
        if not _is_number(value, whole=whole):
            kind_of_number = "an integer" if whole else "a number"
            raise ValueError(f"strategy {name}: {parameter} {value!r} is not {kind_of_number}")
    return kind(**parameters)


def _is_number(value: object, *, whole: bool) -> bool:
    """Whether a value from a settings file is the kind of number asked for; True is none."""
    return isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)


def _unknown(what: str, name: str, known: Mapping[str, object]) -> str:
    """The sentence for a name that does not exist, with the nearest that does."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"unknown {what} {name!r}{hint}; there are: {', '.join(known)}"


def _check_window(window: int) -> None:
    if not 1 <= window <= MAX_WINDOW:
        raise ValueError(f"window {window} is not in 1..{MAX_WINDOW} slots")


def _grid_text(grid: PriceGrid) -> str:
    return (
        f"write {grid.floor_price} + k x {grid.tick_size} units/Wh, at most {grid.cap_price}"
        " (1000 units/Wh = 1 cent/kWh)"
    )
