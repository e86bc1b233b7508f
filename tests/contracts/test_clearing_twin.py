"""The contract clears as the reference does: random books, each to the Wh and to the unit.

A book is signed, submitted, cleared and settled on the real contract. Every event that comes of it
(prefixes, totals, price, volume, fills, amounts), every allocation and every balance must be what
``node.market.clearing`` says. The books are made to be difficult: ties, one side empty, everybody
at one tick or at the ends of the band, the largest energies and prices that the contract takes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import pytest

from node.market.clearing import Clearing, clear
from node.market.reference import escrow_units, settlement_units
from node.model import (
    BEFORE_ALL,
    MAX_ENERGY_WH,
    MAX_PRICE,
    MarketEvent,
    MarketRules,
    Order,
    OrderAccepted,
    OrderSettled,
    PriceGrid,
    Side,
    SlotCleared,
)
from node.slots import slot_at
from tests.support.market_chain import FEE_RECIPIENT, GENESIS_S, Community, Moment
from tests.support.market_chain import without_positions as bare

HOUSEHOLDS: Final = 15
ACCOUNT_UNITS: Final = 2**64
"""Pays for the largest bid at the largest price and fee, many times over."""

BOOKS: Final = int(os.environ.get("DAISEE_TWIN_BOOKS", "500"))
BOOKS_OF_THE_CAMPAIGN: Final = 10_000
SHARES: Final = 10
"""Tests among which the books are divided, so that they can run side by side."""

SEED: Final = int(os.environ.get("DAISEE_CAMPAIGN_SEED", "0"))

GRIDS: Final[Mapping[str, MarketRules]] = {
    "default": MarketRules(),
    "narrow": MarketRules(
        grid=PriceGrid(4_000, 100, 4), network_fee=150, fee_recipient=FEE_RECIPIENT
    ),
    "key": MarketRules(grid=PriceGrid(9_000, 2, 1)),  # floor = cap: the default dynamic key
    "lowest": MarketRules(grid=PriceGrid(1, 2, 224), network_fee=1, fee_recipient=FEE_RECIPIENT),
    "highest": MarketRules(
        grid=PriceGrid(MAX_PRICE - 223 * 2**20, 2**20, 224),
        network_fee=MAX_PRICE,
        fee_recipient=FEE_RECIPIENT,
    ),
}

Prices = Callable[[random.Random, Side, PriceGrid], int]


def _anywhere(rng: random.Random, _side: Side, grid: PriceGrid) -> int:
    return grid.price_of(rng.randrange(grid.ticks))


def _few(rng: random.Random, _side: Side, grid: PriceGrid) -> int:
    return grid.price_of(min(rng.randrange(4) * 7, grid.ticks - 1))


def _one(_rng: random.Random, _side: Side, grid: PriceGrid) -> int:
    return grid.price_of(grid.ticks // 2)


def _ends(rng: random.Random, _side: Side, grid: PriceGrid) -> int:
    return grid.price_of(rng.choice((0, grid.ticks - 1)))


def _crossing(_rng: random.Random, side: Side, grid: PriceGrid) -> int:
    return grid.floor_price if side is Side.ASK else grid.cap_price


def _apart(rng: random.Random, side: Side, grid: PriceGrid) -> int:
    """Asks above bids, but for a tick in the middle where they meet."""
    middle = grid.ticks // 2
    away = rng.randrange(3)
    tick = middle + away if side is Side.ASK else middle - away
    return grid.price_of(min(max(tick, 0), grid.ticks - 1))


PRICES: Final[Sequence[Prices]] = (_anywhere, _few, _one, _ends, _crossing, _apart)

Energies = Callable[[random.Random], int]

ENERGIES: Final[Sequence[Energies]] = (
    lambda rng: rng.randint(1, 3),
    lambda rng: rng.randint(1, 5_000),
    lambda rng: rng.choice((1, MAX_ENERGY_WH)),
    lambda rng: MAX_ENERGY_WH - rng.randrange(3),
)

SIDES: Final[Sequence[Sequence[Side]]] = (
    (Side.ASK, Side.BID),
    (Side.ASK, Side.BID),
    (Side.ASK, Side.BID),
    (Side.ASK, Side.ASK, Side.ASK, Side.BID),
    (Side.ASK, Side.BID, Side.BID, Side.BID),
    (Side.ASK,),
    (Side.BID,),
)


def random_book(rng: random.Random, slot: int, grid: PriceGrid) -> list[Order]:
    """2 to 30 orders of at most HOUSEHOLDS households, in a random order of acceptance."""
    prices, energies, sides = rng.choice(PRICES), rng.choice(ENERGIES), rng.choice(SIDES)
    places = [(household, side) for household in range(1, HOUSEHOLDS + 1) for side in set(sides)]
    rng.shuffle(places)
    wanted = rng.choice((2, 3, 5, 8, 12, 20, 30))
    weights = {side: sides.count(side) for side in set(sides)}
    places.sort(key=lambda place: rng.random() / weights[place[1]])
    return [
        Order(household, slot, side, energies(rng), prices(rng, side, grid), rng.randbytes(32))
        for household, side in places[:wanted]
    ]


@cache
def opened(grid: str) -> tuple[Community, Moment]:
    """A community with members who can pay for anything, and the moment to come back to."""
    community = Community(GRIDS[grid])
    for _ in range(HOUSEHOLDS):
        community.admit(MAX_ENERGY_WH, MAX_ENERGY_WH, units=ACCOUNT_UNITS)
    return community, community.save()


@dataclass(slots=True)
class Twin:
    """What the books so far must have left in the accounts."""

    balances: dict[int, int]
    fees_units: int = 0


def expected_events(
    book: Sequence[Order], cleared: Clearing, rules: MarketRules
) -> list[MarketEvent]:
    """Acceptances in the order of the book, the clearing, settlements in the order of the book."""
    prefixes_wh: dict[tuple[Side, int], int] = {}
    accepted: list[MarketEvent] = []
    settled: list[MarketEvent] = []
    for order, filled_wh in zip(book, cleared.filled_wh, strict=True):
        side, energy_wh, limit = order.side, order.energy_wh, order.limit_price
        prefix_wh = prefixes_wh.get((side, limit), 0)
        prefixes_wh[side, limit] = prefix_wh + energy_wh
        whose = (BEFORE_ALL, order.slot, order.household, side)
        accepted.append(OrderAccepted(*whose, energy_wh, limit, prefix_wh, order.evidence))
        _, _, amount = settlement_units(order, filled_wh, cleared.price, rules)
        settled.append(OrderSettled(*whose, filled_wh, cleared.price, amount))
    totals = (cleared.price, cleared.matched_wh, cleared.ask_wh, cleared.bid_wh)
    return [*accepted, SlotCleared(BEFORE_ALL, book[0].slot, *totals), *settled]


def settle_twin(twin: Twin, book: Sequence[Order], cleared: Clearing, rules: MarketRules) -> None:
    """What a book moves between the accounts, once it is settled whole."""
    for order, filled_wh in zip(book, cleared.filled_wh, strict=True):
        credited, fee_units, _ = settlement_units(order, filled_wh, cleared.price, rules)
        twin.balances[order.household] += credited - escrow_units(order, rules)
        twin.fees_units += fee_units


def by_household(book: Sequence[Order]) -> list[Order]:
    """The order in which settle pays: households as asked for, asks before bids."""
    return sorted(book, key=lambda order: (order.household, order.side))


def check_book(community: Community, twin: Twin, book: Sequence[Order], rng: random.Random) -> None:
    """Trade a book on the contract and compare everything with the reference."""
    rules, slot = community.rules, book[0].slot
    cleared = clear(book)
    fills = dict(zip(book, cleared.filled_wh, strict=True))
    community.evm.now_s = rules.gate_opens_s(slot)
    signed = [community.signed(order) for order in book]
    cut = rng.randrange(len(book) + 1)
    events = community.events(community.submit_batch(signed[:cut]))
    events += community.events(community.submit_batch(signed[cut:]))
    community.evm.now_s = rules.gate_closes_s(slot)
    events += community.events(community.clear(slot))
    if rng.random() < 0.2:  # a view over all ticks costs as much as a clearing
        check_book_of_ticks(community, book)
    households = sorted({order.household for order in book})
    events += community.events(community.settle(slot, households))

    expected = expected_events(book, cleared, rules)
    settled_from = len(book) + 1
    expected[settled_from:] = sorted(
        expected[settled_from:],
        key=lambda event: by_household(book).index(_order_of(book, event)),
    )
    assert bare(events) == expected
    settle_twin(twin, book, cleared, rules)
    for household in households:
        assert community.balance_units(household) == twin.balances[household], household
    assert community.view("feesOf", FEE_RECIPIENT) == twin.fees_units
    order = rng.choice(book)
    check_allocation(community, order, fills[order], cleared.price)


def _order_of(book: Sequence[Order], event: MarketEvent) -> Order:
    assert isinstance(event, OrderSettled)
    return next(o for o in book if (o.household, o.side) == (event.household, event.side))


def check_book_of_ticks(community: Community, book: Sequence[Order]) -> None:
    """The energies that the contract keeps by tick are the sums of the book."""
    grid = community.rules.grid
    by_tick = {side: [0] * grid.ticks for side in Side}
    for order in book:
        by_tick[order.side][grid.tick_of(order.limit_price)] += order.energy_wh
    asks, bids = community.view("bookOf", book[0].slot)
    assert (list(asks), list(bids)) == (by_tick[Side.ASK], by_tick[Side.BID])


def check_allocation(community: Community, order: Order, filled_wh: int, price: int | None) -> None:
    """The contract's own account of an order."""
    cleared, settled, at, ask_wh, sold_wh, earned, bid_wh, bought_wh, paid = community.view(
        "allocation", order.slot, order.household
    )
    assert (cleared, settled, at) == (True, True, price or 0)
    if order.side is Side.ASK:
        assert (ask_wh, sold_wh, earned) == (order.energy_wh, filled_wh, filled_wh * at)
    else:
        fee = community.rules.network_fee
        assert (bid_wh, bought_wh, paid) == (order.energy_wh, filled_wh, filled_wh * (at + fee))


def check_books(first: int, count: int) -> None:
    """Books number ``first`` and after, dealt out to one chain per grid."""
    per_grid = -(-count // len(GRIDS))
    for number, grid in enumerate(GRIDS):
        community, moment = opened(grid)
        community.restore(moment)
        twin = Twin(dict.fromkeys(range(1, HOUSEHOLDS + 1), ACCOUNT_UNITS))
        slot = slot_at(GENESIS_S, community.rules.slot_s)
        for turn in range(per_grid):
            rng = random.Random(f"{SEED} {first + turn * len(GRIDS) + number}")
            # Sometimes a silence: the slots between have no orders and their books stay old.
            slot += 1 if rng.random() < 0.9 else rng.choice((2, 127, 128, 129, 2_880, 2_881))
            check_book(community, twin, random_book(rng, slot, community.rules.grid), rng)


@pytest.mark.parametrize("share", range(SHARES))
def test_random_books_clear_as_the_reference(share: int) -> None:
    count = BOOKS // SHARES
    check_books(share * count, count)


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_many_random_books_clear_as_the_reference(share: int) -> None:
    count = BOOKS_OF_THE_CAMPAIGN // SHARES
    check_books(BOOKS + share * count, count)


def test_the_books_are_difficult() -> None:
    """The generator reaches what it is there for: every kind of outcome, every awkward book."""
    rng = random.Random(7)
    seen: set[str] = set()
    for _ in range(400):
        for rules in GRIDS.values():
            book = random_book(rng, 1, rules.grid)
            cleared = clear(book)
            filled = dict(zip(book, cleared.filled_wh, strict=True))
            for order, energy_wh in filled.items():
                if 0 < energy_wh < order.energy_wh:
                    seen.add(f"rationed {order.side.word}")
            limits = {(order.side, order.limit_price) for order in book}
            seen.add("ties" if len(limits) < len(book) else "no ties")
            seen.add("price" if cleared.price is not None else "no price")
            if cleared.price is None and cleared.ask_wh and cleared.bid_wh:
                seen.add("no crossing")
            if cleared.low != cleared.high:
                seen.add("interval")
            if max(order.energy_wh for order in book) == MAX_ENERGY_WH:
                seen.add("largest energy")
            if rules.grid.cap_price == MAX_PRICE == max(order.limit_price for order in book):
                seen.add("largest price")
            seen |= {f"no {s.word}" for s in Side if all(o.side is not s for o in book)}
    assert seen == {
        "rationed ask",
        "rationed bid",
        "ties",
        "no ties",
        "price",
        "no price",
        "no crossing",
        "interval",
        "largest energy",
        "largest price",
        "no ask",
        "no bid",
    }
