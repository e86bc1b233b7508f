"""What a hostile member can cost the others, at the worst: measured, and held to stated bounds.

Nothing that it does may stop clearing, anybody's settlement or anybody's withdrawal. Gas is what a
receipt would say under London's rules. ``WORST_GAS`` is what docs and users may rely on.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

import pytest

from node.chain.client import GAS_PER_BATCH, GAS_PER_ORDER, order_argument
from node.market.clearing import clear
from node.market.reference import WINDOW_SLOTS
from node.model import (
    MAX_ENERGY_WH,
    MarketRules,
    Order,
    OrderAccepted,
    OrderRefused,
    OrderSettled,
    PriceGrid,
    Refusal,
    Side,
)
from tests.support.evm import Done, Reverted
from tests.support.market_chain import (
    FEE_RECIPIENT,
    GENESIS_S,
    OUTSIDER,
    Community,
    Moment,
    refused,
)

WORST_GAS: Final = {
    "clearing, every tick taken on both sides": 650_000,
    "one more tick on both sides of a clearing": 2_500,
    "a refused order in a batch": 12_000,
    "an order that clears the full book that its ring held": 700_000,
    "an order after a silence, with a window of cleared slots to settle": 1_500_000,
    "an order after a silence, with a window to settle and a full book to clear": 2_000_000,
    "settling a household that has nothing to settle": 12_000,
}

DAY_S: Final = 86_400
RING: Final = 2 * WINDOW_SLOTS
TICKS: Final = 224
DAILY: Final = MarketRules(
    slot_s=DAY_S, gate_s=DAY_S // 2, network_fee=200, fee_recipient=FEE_RECIPIENT
)
FEW_TICKS: Final = MarketRules(
    slot_s=DAY_S,
    gate_s=DAY_S // 2,
    grid=PriceGrid(10, 2, 4),
    network_fee=3,
    fee_recipient=FEE_RECIPIENT,
)
FIRST_SLOT: Final = GENESIS_S // DAY_S + 300
VILLAIN, HONEST, SELLER = 1, 2, 3
ACCOUNT_UNITS: Final = 2**52


@cache
def opened(rules: MarketRules, members: int) -> tuple[Community, Moment]:
    community = Community(rules)
    for _ in range(members):
        community.admit(MAX_ENERGY_WH, MAX_ENERGY_WH, units=ACCOUNT_UNITS)
    return community, community.save()


def village(rules: MarketRules = FEW_TICKS, members: int = 3) -> Community:
    community, moment = opened(rules, members)
    community.restore(moment)
    return community


def submit(community: Community, orders: Sequence[Order]) -> Done:
    """Submit orders of one slot while its gate is open."""
    community.evm.now_s = max(community.evm.now_s, DAILY.gate_opens_s(orders[0].slot))
    return community.submit_batch(community.signed(order) for order in orders)


def close(community: Community, slot: int) -> None:
    """Let a slot's gate close."""
    community.evm.now_s = max(community.evm.now_s, DAILY.gate_closes_s(slot))


def accepted(community: Community, done: Done) -> int:
    return sum(isinstance(event, OrderAccepted) for event in community.events(done))


def trade(slot: int, *, rules: MarketRules = FEW_TICKS, energy_wh: int = 3) -> list[Order]:
    """The villain buys, the seller sells."""
    return [
        Order(VILLAIN, slot, Side.BID, energy_wh, rules.grid.cap_price),
        Order(SELLER, slot, Side.ASK, energy_wh, rules.grid.floor_price),
    ]


def every_tick(slot: int, ask_wh: int, bid_wh: int, ticks: int = TICKS) -> list[Order]:
    """A conspiracy of as many households as there are ticks, each on both sides."""
    return [
        Order(1 + tick, slot, side, energy_wh, DAILY.grid.price_of(tick))
        for tick in range(ticks)
        for side, energy_wh in ((Side.ASK, ask_wh), (Side.BID, bid_wh))
    ]


def submit_in_batches(community: Community, orders: Sequence[Order]) -> int:
    batches = [orders[i : i + 100] for i in range(0, len(orders), 100)]
    return sum(accepted(community, submit(community, batch)) for batch in batches)


# Clearing


@pytest.mark.parametrize(
    ("ask_wh", "bid_wh"), [(1, 1), (1, 2), (MAX_ENERGY_WH, 5_000_000), (MAX_ENERGY_WH,) * 2]
)
def test_every_tick_taken_on_both_sides(ask_wh: int, bid_wh: int) -> None:
    """With a rationed tick, which costs another look at the book, and without."""
    community = village(DAILY, TICKS)
    book = every_tick(FIRST_SLOT, ask_wh, bid_wh)
    assert submit_in_batches(community, book) == 2 * TICKS
    close(community, FIRST_SLOT)
    done = community.clear(FIRST_SLOT)
    assert done.gas_used <= WORST_GAS["clearing, every tick taken on both sides"]
    expected = clear(book)
    assert community.view("resultOf", FIRST_SLOT) == (True, expected.price, expected.matched_wh)
    settled = community.settle(FIRST_SLOT, range(1, TICKS + 1))
    assert sum(isinstance(event, OrderSettled) for event in community.events(settled)) == 2 * TICKS


def test_what_one_more_tick_costs() -> None:
    """A member takes one tick a side and no more: the rest of a book it cannot touch."""
    community = village(DAILY, TICKS)
    gas: list[int] = []
    for slot, ticks in ((FIRST_SLOT, TICKS // 2), (FIRST_SLOT + 1, TICKS)):
        submit_in_batches(community, every_tick(slot, 1, 1, ticks))
        close(community, slot)
        gas.append(community.clear(slot).gas_used)
    each = (gas[1] - gas[0]) / (TICKS // 2)
    assert each <= WORST_GAS["one more tick on both sides of a clearing"]


def test_a_member_cannot_take_a_second_tick() -> None:
    community = village()
    prices = [FEW_TICKS.grid.price_of(tick) for tick in range(4)]
    done = submit(community, [Order(VILLAIN, FIRST_SLOT, Side.BID, 1, p) for p in prices])
    events = community.events(done)
    assert [type(event) for event in events] == [OrderAccepted, *[OrderRefused] * 3]


# Storage: 1 Wh everywhere, for ever


def test_ordering_in_every_slot_does_not_grow_the_chain() -> None:
    """Once the ring has gone round, a slot adds one word, its result, whoever ordered in it."""
    community = village()
    storage = community.evm.save
    for slot in range(FIRST_SLOT, FIRST_SLOT + RING + 1):
        submit(community, trade(slot, energy_wh=1))
    before = set(storage().storage)
    newest = range(FIRST_SLOT + RING + 1, FIRST_SLOT + RING + 31)
    for slot in newest:
        assert accepted(community, submit(community, trade(slot, energy_wh=1))) == 2
    grown = {key for key, value in storage().storage.items() if value} - before
    assert len(grown) <= len(newest)


# Money


def test_draining_the_account_after_ordering_takes_nothing_from_the_seller() -> None:
    community = village()
    submit(community, trade(FIRST_SLOT))
    community.withdraw(VILLAIN, community.balance_units(VILLAIN))
    close(community, FIRST_SLOT)
    community.settle(FIRST_SLOT, [SELLER])
    earned = 3 * (FEW_TICKS.grid.floor_price + FEW_TICKS.grid.cap_price) // 2
    community.withdraw(SELLER, ACCOUNT_UNITS + earned)
    community.settle(FIRST_SLOT, [VILLAIN])
    assert community.view("feesOf", FEE_RECIPIENT) == 3 * FEW_TICKS.network_fee
    held = community.credit_units(community.addresses["EnergyMarket"])
    balances = sum(community.balance_units(number) for number in community.members)
    assert held == balances + 3 * FEW_TICKS.network_fee


def test_one_who_never_settles_keeps_nobody_waiting() -> None:
    """Years later the others have settled and withdrawn, and anybody can settle the villain too."""
    community = village()
    submit(community, trade(FIRST_SLOT))
    close(community, FIRST_SLOT)
    community.settle(FIRST_SLOT, [SELLER])
    community.withdraw(SELLER, community.balance_units(SELLER))
    for revolution in range(1, 4):
        slot = FIRST_SLOT + revolution * RING
        order = Order(HONEST, slot, Side.ASK, 1, FEW_TICKS.grid.floor_price)
        assert accepted(community, submit(community, [order])) == 1
        close(community, slot)
        community.settle(slot, [HONEST])
    events = community.events(community.settle(FIRST_SLOT, [VILLAIN]))
    (settled,) = [event for event in events if isinstance(event, OrderSettled)]
    assert (settled.household, settled.filled_wh) == (VILLAIN, 3)
    community.withdraw(VILLAIN, community.balance_units(VILLAIN))


def test_settling_strangers_and_the_settled_changes_nothing() -> None:
    community = village()
    submit(community, trade(FIRST_SLOT))
    close(community, FIRST_SLOT)
    community.settle(FIRST_SLOT, [VILLAIN, SELLER])
    crowd = [VILLAIN, VILLAIN, SELLER, 0, 99, 2**32 - 1, HONEST, *range(1_000, 1_020)]
    done = community.settle(FIRST_SLOT, crowd)
    assert done.logs == ()
    worst = WORST_GAS["settling a household that has nothing to settle"]
    assert done.gas_used - 21_000 <= worst * len(crowd)


# Batches


def test_a_bad_order_costs_little_and_stops_nobody() -> None:
    community = village()
    good = [community.signed(order) for order in trade(FIRST_SLOT)]
    community.evm.now_s = DAILY.gate_opens_s(FIRST_SLOT)
    rng = random.Random(5)
    bad = list(malformed(community, rng))
    arguments = [order_argument(good[0]), *bad, order_argument(good[1])]
    alone = community.evm.save()
    without = community.submit_batch(good).gas_used
    community.evm.restore(alone)
    done = community.send("EnergyMarket", "submitBatch", arguments, sender=OUTSIDER)
    events = community.events(done)
    assert [type(event) for event in events] == [
        OrderAccepted,
        *[OrderRefused] * len(bad),
        OrderAccepted,
    ]
    each = (done.gas_used - without) / len(bad)
    assert each <= WORST_GAS["a refused order in a batch"]


def malformed(community: Community, rng: random.Random) -> Iterable[tuple[object, ...]]:
    """Words at random, numbers at their ends, signatures of nothing, and orders of others."""
    signature = (rng.randbytes(32), rng.randbytes(32))
    for _ in range(60):
        yield (rng.getrandbits(256), rng.randbytes(32), *signature)
    ends = (0, 1, FIRST_SLOT, 2**31, 2**32 - 1)
    for household in (0, VILLAIN, 2**32 - 1):
        for slot in ends:
            for rest in (0, 2**96 - 1, 1 << 96, 2**192 - 1):
                yield (household | slot << 32 | rest << 64, bytes(32), *signature)
    order = Order(HONEST, FIRST_SLOT, Side.BID, 1, FEW_TICKS.grid.cap_price)
    word, evidence, r, vs = order_argument(community.signed(order))
    for wrong in ((bytes(32), bytes(32)), (b"\xff" * 32, b"\xff" * 32), (vs, r), (r, bytes(32))):
        yield (word, evidence, *wrong)


def test_calldata_cut_short_hurts_its_sender_alone() -> None:
    community = village()
    community.evm.now_s = DAILY.gate_opens_s(FIRST_SLOT)
    good = [order_argument(community.signed(order)) for order in trade(FIRST_SLOT)]
    data = community.known("EnergyMarket").call("submitBatch", good)
    market = community.addresses["EnergyMarket"]
    for length in (3, 4, 36, 68, 100, len(data) - 1):
        with pytest.raises(Reverted):
            community.evm.send_data(
                market, community.known("EnergyMarket"), data[:length], sender=OUTSIDER
            )
    assert accepted(community, submit(community, trade(FIRST_SLOT))) == 2


# The dearest orders


def test_an_order_pays_for_the_book_that_it_reuses() -> None:
    """Nobody cleared the full book of a revolution ago: the order that needs its place does."""
    community = village(DAILY, TICKS)
    submit_in_batches(community, every_tick(FIRST_SLOT, 1, 2))
    newcomer = community.admit(MAX_ENERGY_WH, 0, units=ACCOUNT_UNITS).number
    order = Order(newcomer, FIRST_SLOT + RING, Side.BID, 1, DAILY.grid.cap_price)
    done = submit(community, [order])
    assert accepted(community, done) == 1
    assert community.view("resultOf", FIRST_SLOT)[0]
    worst = WORST_GAS["an order that clears the full book that its ring held"]
    assert done.gas_used <= min(worst, GAS_PER_BATCH + GAS_PER_ORDER)


def test_a_window_of_cleared_slots_settles_at_once() -> None:
    """Slots that were cleared late stay pending; after a silence one order settles them all."""
    community = village()
    slots = range(FIRST_SLOT, FIRST_SLOT + WINDOW_SLOTS)
    for slot in slots:
        submit(community, trade(slot))
    close(community, slots[-1])
    for slot in slots:
        community.clear(slot)
    done = submit(community, trade(slots[-1] + WINDOW_SLOTS)[:1])
    settled = [e for e in community.events(done) if isinstance(e, OrderSettled)]
    assert len(settled) == WINDOW_SLOTS
    worst = WORST_GAS["an order after a silence, with a window of cleared slots to settle"]
    assert done.gas_used <= min(worst, GAS_PER_BATCH + GAS_PER_ORDER)


def test_the_dearest_order_that_we_know() -> None:
    """A window of slots that were cleared late leaves at once, and the place of the new slot, in
    the ring of books and of rows, holds a full book that nobody cleared."""
    community = village(DAILY, TICKS)
    oldest = FIRST_SLOT
    submit_in_batches(community, every_tick(oldest, 1, 2))
    later = range(oldest + 1, oldest + WINDOW_SLOTS)
    for slot in later:
        submit(community, trade(slot, rules=DAILY))
    close(community, later[-1])
    for slot in later:
        community.clear(slot)
    done = submit(community, trade(oldest + RING, rules=DAILY)[:1])
    settled = [e for e in community.events(done) if isinstance(e, OrderSettled)]
    assert len(settled) == len(later) + 2  # both sides of the oldest slot
    worst = WORST_GAS["an order after a silence, with a window to settle and a full book to clear"]
    assert done.gas_used <= worst


def test_a_direct_order_is_refused_with_its_reason() -> None:
    community = village()
    community.evm.now_s = DAILY.gate_opens_s(FIRST_SLOT)
    with pytest.raises(Reverted) as caught:
        community.submit(community.signed(Order(VILLAIN, FIRST_SLOT, Side.BID, 0, 10)))
    assert refused(caught.value) == Refusal.ENERGY_OUT_OF_LIMIT
