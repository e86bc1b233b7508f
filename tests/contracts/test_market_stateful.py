"""Whole lives of a market, on the contract and on the reference, compared after every step.

The domain is narrow (few households, few ticks, few Wh) and the rules are whole slots, so that
books are full of ties and rationing and a short run already recycles the ring. Slots last a day:
the ring then has 256 slots, which is its least, and twice the window of pending slots.

A *run* is one slot's worth of orders that was traded. ``RUNS`` says how many there are at least:
200 in the suite; ``scripts/campaign stateful`` sets DAISEE_STATEFUL_RUNS to 2,000 or 20,000.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import ClassVar, Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from node.market.reference import WINDOW_SLOTS
from node.model import (
    MarketEvent,
    MarketRules,
    Order,
    OrderAccepted,
    OrderRefused,
    OrderSettled,
    PriceGrid,
    Refusal,
    Side,
    SlotCleared,
)
from tests.support.market_chain import FEE_RECIPIENT, GENESIS_S, Community, Moment
from tests.support.twin_market import TwinMarket

DAY_S: Final = 86_400
RING: Final = 2 * WINDOW_SLOTS
QUARTER_S: Final = RING // 4 * DAY_S
"""The furthest that rules may move a gate, and the longest that it may stay open."""

STEPS: Final = 40
RUNS: Final = int(os.environ.get("DAISEE_STATEFUL_RUNS", "200"))
LEAST_RUNS: Final = 200
RUNS_PER_EXAMPLE: Final = 10
"""How many of an example's steps trade a slot, at the very least on average."""

FIRST_RULES: Final = MarketRules(
    slot_s=DAY_S,
    gate_s=DAY_S // 2,
    grid=PriceGrid(10, 2, 4),
    network_fee=3,
    fee_recipient=FEE_RECIPIENT,
)
OTHER_RECIPIENT: Final = "0x" + "ef" * 20

# Limits in Wh (import, export) and credit in units. The fourth has no producer; the fifth and the
# sixth cannot pay for all that they may order.
MEMBERS: Final = {
    1: ((20, 20), 10**6),
    2: ((20, 20), 10**6),
    3: ((20, 20), 10**6),
    4: ((20, 0), 10**6),
    5: ((20, 20), 150),
    6: ((3, 20), 0),
}
STRANGER: Final = 9

GoodOrders = list[tuple[int, Side, int, int]]
WildOrders = list[tuple[int, Side, int, int, int, bool]]

numbers = st.sampled_from(sorted(MEMBERS))
mostly = st.sampled_from((True, True, True, False))
days = st.sampled_from((1, 1, 1, 1, 2, 3, 127, 128, 129))
silences = st.sampled_from((5, 63, 64, 127, 128, 129, 130, 191, 255, 256, 257, 300))
rulebooks = st.builds(
    MarketRules,
    slot_s=st.just(DAY_S),
    gate_offset_s=st.sampled_from((0, 0, 0, -DAY_S, 3 * DAY_S, -64 * DAY_S, 64 * DAY_S)),
    gate_s=st.sampled_from((DAY_S // 2, DAY_S // 2, DAY_S, 3 * DAY_S, 64 * DAY_S)),
    grid=st.sampled_from((PriceGrid(10, 2, 4), PriceGrid(12, 4, 3), PriceGrid(7, 2, 1))),
    network_fee=st.sampled_from((0, 3, 40)),
    fee_recipient=st.sampled_from((FEE_RECIPIENT, OTHER_RECIPIENT)),
)
# (household, side, Wh, tick): a tick of the grid in force, so that ties are frequent.
good_orders = st.lists(
    st.tuples(numbers, st.sampled_from(Side), st.integers(1, 4), st.integers(0, 3)),
    min_size=4,
    max_size=10,
    unique_by=lambda order: (order[0], order[1]),
)
# (household, side, Wh, price, which of the slots at hand, signed with a key of the past)
wild_orders = st.lists(
    st.tuples(
        st.sampled_from((*MEMBERS, *MEMBERS, STRANGER)),
        st.sampled_from(Side),
        st.sampled_from((1, 1, 2, 2, 3, 5, 20, 0, 21, 2**24)),
        st.sampled_from((12, 12, 12, 16, 16, 16, 7, 8, 10, 13, 18, 18, 20, 24, 2**32 - 1)),
        st.integers(0, 7),
        st.sampled_from((False, False, False, False, True)),
    ),
    min_size=1,
    max_size=8,
)


@cache
def opened() -> tuple[Community, Moment]:
    """The members' community, and the moment to come back to."""
    community = Community(FIRST_RULES)
    for limits, _ in MEMBERS.values():
        community.admit(*limits)
    return community, community.save()


REACHED: Final = {
    "a book used again",
    "a row used again",
    "a window left behind",
    "an order behind the window",
    *(
        refusal.word
        for refusal in Refusal
        if refusal not in (Refusal.NONE, Refusal.MALFORMED_SIDE)  # no such order in the reference
    ),
}
"""What a campaign of LEAST_RUNS comes across, or its rules are no longer what they were."""


class MarketLife(RuleBasedStateMachine):
    """What may happen to a market, in any order."""

    reached: ClassVar[Counter[str]] = Counter()

    @initialize()
    def open_market(self) -> None:
        community, moment = opened()
        community.restore(moment)
        self.twin = TwinMarket(community, {n: limits for n, (limits, _) in MEMBERS.items()})
        self.touched: set[int] = set()
        self.known: list[int] = []  # slots that had an order, oldest first
        self.twin.now_s = GENESIS_S + 400 * DAY_S
        for number, (_, units) in MEMBERS.items():
            if units:
                self.twin.deposit(number, units)

    # Slots

    @rule(after=days, orders=good_orders, healed=mostly)
    def trade_and_settle(self, *, after: int, orders: GoodOrders, healed: bool) -> None:
        """Time goes on, a gate is open, everybody orders, the slot clears, all settle."""
        slot = self._trade(self._slot_after(after), orders, healed=healed)
        self._note(self.twin.settle(slot, [*MEMBERS, STRANGER]))

    @rule(after=days, orders=good_orders, healed=mostly)
    def trade_and_leave(self, *, after: int, orders: GoodOrders, healed: bool) -> None:
        """The same, but who ordered settles by its next order, or when somebody asks."""
        self._trade(self._slot_after(after), orders, healed=healed)

    @precondition(lambda self: self.known)
    @rule(
        which=st.integers(0, 7),
        orders=good_orders,
        sides=st.sampled_from((tuple(Side), tuple(Side), (Side.ASK,), (Side.BID,))),
    )
    def trade_when_the_ring_comes_round(
        self, which: int, orders: GoodOrders, sides: tuple[Side, ...]
    ) -> None:
        """A slot that uses an earlier one's book and rows again, or one side of the book alone."""
        old = self.known[-1 - which % len(self.known)]
        ahead = (old - self.twin.now_s // DAY_S) % RING
        some = [order for order in orders if order[1] in sides]
        self._trade(self._slot_after(ahead + 1), some, healed=True)

    @rule(after=days, again=days)
    def trade_and_forget(self, after: int, again: int) -> None:
        """Two slots that nobody clears: their rows leave the window as they are."""
        for days_later in (after, again):
            slot = self._slot_after(days_later)
            grid = self.twin.rules_at(slot).grid
            bid = Order(1, slot, Side.BID, 5, grid.cap_price)
            ask = Order(2, slot, Side.ASK, 3, grid.floor_price)
            self._submit([bid, ask], [False, False])

    @rule(orders=good_orders)
    def order_behind_the_window(self, orders: GoodOrders) -> None:
        """Rules with a late gate, then rules with an early one: two gates open at one time, further
        apart than an account's window reaches. The older slot's order comes last."""
        today = self.twin.now_s // DAY_S
        late = replace(FIRST_RULES, gate_offset_s=QUARTER_S, gate_s=QUARTER_S)
        self.twin.schedule(today + 1, late)
        self.twin.schedule(today + 70, replace(late, gate_offset_s=-QUARTER_S))
        self.twin.schedule(today + 200, FIRST_RULES)
        self.twin.now_s = (today + 135) * DAY_S
        slots = self._open_slots()
        self._heal()
        for slot in (slots[0], slots[-1]) if slots else ():
            self._submit(self._book(slot, orders), [False] * len(orders))
        self.twin.now_s += DAY_S
        if slots and slots[-1] in self.known:
            self.settle_an_old_slot(self.known[::-1].index(slots[-1]), sorted(MEMBERS))

    @rule(after=st.sampled_from((0, 0, 1)), orders=wild_orders, alone=st.booleans())
    def submit_anything(self, *, after: int, orders: WildOrders, alone: bool) -> None:
        """Orders good and bad, of slots whose gates are open, closed, or never were."""
        self.twin.now_s += after * DAY_S
        slots = self._slots_at_hand()
        book = [
            Order(number, slots[which % len(slots)], side, energy_wh, price)
            for number, side, energy_wh, price, which, _ in orders
        ]
        stale = [order[-1] for order in orders]
        if alone:
            self._note(self.twin.submit(book[0], stale=stale[0]))
        self._submit(book, stale)

    @precondition(lambda self: self.known)
    @rule(which=st.integers(0, 30), households=st.lists(numbers, max_size=4))
    def settle_an_old_slot(self, which: int, households: list[int]) -> None:
        """In any order of slots, also before the gate closes, also for nobody, and always again."""
        slot = self.known[-1 - which % len(self.known)]
        for _ in range(2):
            self._note(self.twin.settle(slot, households))
        self.touched.add(slot)

    @precondition(lambda self: self.known)
    @rule(which=st.integers(0, 30), beside=st.sampled_from((0, 0, 0, 1)))
    def clear_an_old_slot(self, which: int, beside: int) -> None:
        slot = self.known[-1 - which % len(self.known)] + beside
        self._note(self.twin.clear(slot))
        self.touched.add(slot)

    @rule(length=silences)
    def be_silent(self, length: int) -> None:
        """Nothing happens for so long that windows move on and the ring turns."""
        self.twin.now_s += length * DAY_S

    # Money, members, rules

    @rule(number=numbers, units=st.sampled_from((1, 60, 1_000)))
    def deposit(self, number: int, units: int) -> None:
        self.twin.deposit(number, units)

    @rule(number=numbers, units=st.sampled_from((0, 30, 10**5)), left=st.sampled_from((-1, 0, 40)))
    def withdraw(self, number: int, units: int, left: int) -> None:
        """A sum that there may not be, then all but a little, or a unit more than there is."""
        self.twin.withdraw(number, units)
        self.twin.withdraw(number, max(self.twin.reference.balance_units(number) - left, 0))
        for recipient in (FEE_RECIPIENT, OTHER_RECIPIENT):
            held = self.twin.reference.fees_units(recipient)
            self.twin.withdraw_fees(recipient, max(held - left, 0))

    @rule(number=numbers, active=mostly, revoked=st.booleans())
    def change_member(self, *, number: int, active: bool, revoked: bool) -> None:
        """The operator suspends or revokes, only the owner names the next signer; then it orders,
        twice the same."""
        self.twin.set_active(number, active=active)
        if revoked and self.twin.standings[number][1]:
            self.twin.revoke_signer(number)
        else:
            self.twin.rotate_key(number)
        slot = self._slot_after(0)
        price = self.twin.rules_at(slot).grid.floor_price
        self._submit([Order(number, slot, Side.BID, 1, price)] * 2, [False, False])

    @rule(number=numbers, import_wh=st.integers(0, 20), export_wh=st.integers(0, 20))
    def change_limits(self, number: int, import_wh: int, export_wh: int) -> None:
        self.twin.change_limits(number, import_wh, export_wh)

    @rule(ahead=st.sampled_from((0, 1, 2, 3, 66, 130)), rules=rulebooks)
    def schedule_rules(self, ahead: int, rules: MarketRules) -> None:
        """What was ordered before settles under the rules of its own slot."""
        self.twin.schedule(self.twin.now_s // DAY_S + ahead, rules)
        if self.known:
            self.settle_an_old_slot(0, sorted(MEMBERS))

    @rule(orders=wild_orders)
    def pause_and_resume(self, orders: WildOrders) -> None:
        """While paused no order is taken, and everything else goes on."""
        self.twin.set_paused(paused=True)
        self.submit_anything(after=0, orders=orders, alone=True)
        if self.known:
            self.settle_an_old_slot(0, sorted(MEMBERS))
        self.withdraw(1, 30, 0)
        self.twin.set_paused(paused=False)

    @invariant()
    def markets_agree(self) -> None:
        """Every balance, every allocation of the slots in question, and the sum of all money."""
        self.twin.check_money()
        for slot in sorted(self.touched):
            self.twin.check_allocations(slot)
        self.touched.clear()

    # How

    def _slot_after(self, days_later: int) -> int:
        """Let time go on, until a gate is open at the least; the newest slot whose gate it is."""
        later_s = (self.twin.now_s // DAY_S + days_later) * DAY_S
        self.twin.now_s = max(later_s, self.twin.now_s)
        slots = self._open_slots()
        if slots:
            return slots[0]
        today = self.twin.now_s // DAY_S
        opening = {s: self.twin.rules_at(s).gate_opens_s(s) for s in range(today - 131, today + 70)}
        coming = {s: opens_s for s, opens_s in opening.items() if opens_s > self.twin.now_s}
        slot = min(coming, key=lambda s: coming[s])
        self.twin.now_s = coming[slot]
        return slot

    def _trade(self, slot: int, orders: GoodOrders, *, healed: bool) -> int:
        """Everybody orders, and the slot is cleared when its gate has closed."""
        if healed:
            self._heal()
        self._submit(self._book(slot, orders), [False] * len(orders))
        closes_s = self.twin.rules_at(slot).gate_closes_s(slot)
        if closes_s <= self.twin.now_s + 4 * DAY_S:  # waiting longer would close all other gates
            self.twin.now_s = closes_s
        self._note(self.twin.clear(slot))
        return slot

    def _book(self, slot: int, orders: GoodOrders) -> list[Order]:
        grid = self.twin.rules_at(slot).grid
        return [
            Order(number, slot, side, energy_wh, grid.price_of(min(tick, grid.ticks - 1)))
            for number, side, energy_wh, tick in orders
        ]

    def _heal(self) -> None:
        """Everybody is a member in good standing again."""
        for number, (limits, _) in MEMBERS.items():
            active, signer_named = self.twin.standings[number]
            if not active:
                self.twin.set_active(number, active=True)
            if not signer_named:
                self.twin.rotate_key(number)
            if self.twin.limits_wh[number] != limits:
                self.twin.change_limits(number, *limits)

    def _open_slots(self) -> list[int]:
        today = self.twin.now_s // DAY_S
        slots = range(today + 65, today - 131, -1)
        return [s for s in slots if self.twin.rules_at(s).gate_is_open(s, self.twin.now_s)]

    def _slots_at_hand(self) -> list[int]:
        """The newest, the oldest and a middle open slot, and some that are not open."""
        slots = self._open_slots()
        today = self.twin.now_s // DAY_S
        some = [slots[0], slots[-1], slots[len(slots) // 2]] if slots else []
        return [*some, *some, today - 1, today - 2, today + 70]

    def _submit(self, book: list[Order], stale: list[bool]) -> None:
        events = self.twin.submit_batch(book, stale=stale)
        self._note(events)
        accepted = sorted({event.slot for event in events if isinstance(event, OrderAccepted)})
        self.known += [slot for slot in accepted if slot not in self.known]
        self.touched.update(accepted)
        MarketLife.reached["run"] += bool(accepted)
        for event in events:
            if isinstance(event, SlotCleared):
                self.reached["a book used again"] += 1
            if isinstance(event, OrderSettled) and accepted:
                age = accepted[-1] - event.slot
                self.reached["a row used again"] += age >= RING
                self.reached["a window left behind"] += WINDOW_SLOTS <= age < RING

    def _note(self, events: list[MarketEvent]) -> None:
        newest = max(self.known, default=0)
        for event in events:
            if isinstance(event, OrderRefused):
                self.reached[event.reason.word] += 1
            if isinstance(event, OrderAccepted) and newest - event.slot >= WINDOW_SLOTS:
                self.reached["an order behind the window"] += 1
            if isinstance(event, OrderSettled):
                self.touched.add(event.slot)


def test_lives_of_a_market_agree_with_the_reference() -> None:
    MarketLife.reached.clear()
    run_state_machine_as_test(
        MarketLife,
        settings=settings(
            max_examples=-(-RUNS // RUNS_PER_EXAMPLE),
            stateful_step_count=STEPS,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
    reached = {what for what, count in MarketLife.reached.items() if count}
    assert MarketLife.reached["run"] >= RUNS
    if RUNS >= LEAST_RUNS:
        assert reached >= REACHED
