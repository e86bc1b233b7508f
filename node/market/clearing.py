"""How a slot clears: uniform price, maximum volume, midpoint. The specification, as code.

A slot's book is its orders in the order in which the market accepted them. Write ``S(<=p)`` for the
ask energy with limit at most ``p`` and ``S(<p)`` for that strictly below; ``D(>=p)`` and ``D(>p)``
for the bid energy with limit at least and strictly above ``p``. Over the prices that occur in the
book::

    volume = max over p of min(S(<=p), D(>=p))          0: no price, nothing trades
    lo     = the smallest p with S(<=p) >= D(>p)
    hi     = the largest  p with D(>=p) >= S(<p)        [lo, hi]: all market-clearing prices
    price  = (lo + hi) / 2                              exact, because ticks are even

Asks below and bids above the price fill whole, asks above and bids below it fill 0. Orders *at* the
price share what is left on their side; at most one side is ever rationed. With ``V`` the energy of
that side at the price, ``L`` what is left for it, ``c`` the energy accepted there before an order
and ``q`` the order's own::

    fill = floor((c + q) * L / V) - floor(c * L / V)

The fills of the tick sum to ``L`` exactly, and each is within 1 Wh of its pro-rata share. There is
no randomness and no priority in time beyond that rounding.

Energy in Wh, prices in units/Wh, all integers. The contract's twin is
``contracts/libraries/Clearing.sol``; both implement "The price of a slot" in ``docs/market.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from node.model import Order, Side


@dataclass(frozen=True, slots=True)
class Clearing:
    """How a slot cleared. ``filled_wh`` stands in the order of the book it was made from.

    ``low`` and ``high`` bound the market-clearing prices; they and ``price`` are None when nothing
    trades.
    """

    price: int | None
    matched_wh: int
    ask_wh: int
    bid_wh: int
    low: int | None
    high: int | None
    filled_wh: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where supply and demand cross: the volume and the interval of market-clearing prices."""

    matched_wh: int
    low: int
    high: int

    @property
    def price(self) -> int:
        """The midpoint of the interval."""
        return (self.low + self.high) // 2


def clear(book: Sequence[Order]) -> Clearing:
    """Clear one slot's book, given in acceptance order."""
    asks = energy_by_price(book, Side.ASK)
    bids = energy_by_price(book, Side.BID)
    ask_wh, bid_wh = sum(asks.values()), sum(bids.values())
    crossing = find_crossing(asks, bids)
    if crossing is None:
        return Clearing(None, 0, ask_wh, bid_wh, None, None, (0,) * len(book))
    price = crossing.price
    asks_below = sum(energy for limit, energy in asks.items() if limit < price)
    bids_above = sum(energy for limit, energy in bids.items() if limit > price)
    filled_wh = fill_orders(
        book,
        price,
        ask_share=(crossing.matched_wh - asks_below, asks.get(price, 0)),
        bid_share=(crossing.matched_wh - bids_above, bids.get(price, 0)),
    )
    return Clearing(
        price, crossing.matched_wh, ask_wh, bid_wh, crossing.low, crossing.high, filled_wh
    )


def energy_by_price(book: Iterable[Order], side: Side) -> dict[int, int]:
    """The energy of one side at each limit price that occurs on it."""
    energies: dict[int, int] = {}
    for order in book:
        if order.side is side:
            energies[order.limit_price] = energies.get(order.limit_price, 0) + order.energy_wh
    return energies


def find_crossing(asks: Mapping[int, int], bids: Mapping[int, int]) -> Crossing | None:
    """Volume and price interval of two sides, given as energy by price; None if nothing trades."""
    matched_wh = 0
    low: int | None = None
    high = 0
    asks_below = 0  # S(<p)
    bids_from = sum(bids.values())  # D(>=p)
    for price in sorted(asks.keys() | bids.keys()):
        asks_up_to = asks_below + asks.get(price, 0)  # S(<=p)
        bids_above = bids_from - bids.get(price, 0)  # D(>p)
        matched_wh = max(matched_wh, min(asks_up_to, bids_from))
        if low is None and asks_up_to >= bids_above:
            low = price
        if bids_from >= asks_below:
            high = price
        asks_below, bids_from = asks_up_to, bids_above
    if matched_wh == 0:
        return None
    assert low is not None
    return Crossing(matched_wh, low, high)


def fill_orders(
    book: Iterable[Order], price: int, ask_share: tuple[int, int], bid_share: tuple[int, int]
) -> tuple[int, ...]:
    """Every order's fill at the clearing price.

    ``ask_share`` and ``bid_share`` are (left, total) of the side's orders at the price: how much of
    their energy is filled, and how much there is.
    """
    fills: list[int] = []
    prefix = {Side.ASK: 0, Side.BID: 0}  # energy at the price accepted before, on each side
    for order in book:
        limit, side, energy = order.limit_price, order.side, order.energy_wh
        if limit == price:
            left, total = ask_share if side is Side.ASK else bid_share
            before = prefix[side]
            prefix[side] = before + energy
            fills.append(energy if left == total else share_at_price(before, energy, left, total))
        elif (limit < price) is (side is Side.ASK):
            fills.append(energy)
        else:
            fills.append(0)
    return tuple(fills)


def share_at_price(prefix_wh: int, energy_wh: int, left_wh: int, total_wh: int) -> int:
    """An order's share of a rationed tick, from the energy accepted there before it."""
    return (prefix_wh + energy_wh) * left_wh // total_wh - prefix_wh * left_wh // total_wh
