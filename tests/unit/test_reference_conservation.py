"""Money is conserved after every act on the reference market, whatever is done and in what order.

The sum is made here from the events alone: what is escrowed and what is owed are not asked of the
market but worked out again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from node.errors import Refused
from node.market.clearing import clear
from node.market.reference import ReferenceMarket
from node.model import (
    Deposited,
    Household,
    MarketRules,
    Order,
    OrderAccepted,
    OrderSettled,
    PriceGrid,
    Side,
    SlotCleared,
    Withdrawn,
)

HOUSEHOLDS: Final = range(1, 5)
RECIPIENTS: Final = ("0xfee", "0xother")
GRID: Final = PriceGrid(4_000, 200, 5)
FIRST: Final = 20_000
LIMIT_WH: Final = 400
FIRST_CREDIT: Final = 5_000_000
"""Enough for two or three bids: some are refused for want of it."""

numbers = st.sampled_from(HOUSEHOLDS)
sides = st.sampled_from(Side)
amounts = st.integers(1, 3_000_000)
energies = st.integers(1, LIMIT_WH + 20)
ticks = st.integers(0, GRID.ticks)  # the last one is off the grid
# Days: within the window of lazy settlement, at its edge, at the ring's edge, beyond.
jumps = st.sampled_from([1, 1, 1, 2, 127, 128, 129, 255, 256, 257, 300])


class ConservedMoney(RuleBasedStateMachine):
    """A market of slots of a day, so that its ring of 256 slots comes round within an example."""

    def __init__(self) -> None:
        super().__init__()
        self.market = ReferenceMarket(
            MarketRules(
                slot_s=86_400, gate_s=3_600, grid=GRID, network_fee=70, fee_recipient=RECIPIENTS[0]
            )
        )
        assert self.market.ring_slots == 256
        for number in HOUSEHOLDS:
            self.market.admit(Household(number, LIMIT_WH, LIMIT_WH))
            self.market.deposit(number, FIRST_CREDIT)
        self.slot = FIRST
        self.now_s = self.market.rules_at(FIRST).gate_opens_s(FIRST)
        self.net_deposits = 0
        self.fees_taken = 0
        self.last_version = 0
        self.books: defaultdict[int, list[Order]] = defaultdict(list)
        self.cleared: dict[int, tuple[int | None, int]] = {}
        self.fills: dict[tuple[int, int, Side], int] = {}
        self.settled: set[tuple[int, int, Side]] = set()
        self.hear()

    def hear(self) -> None:
        """Learn from the events what the market did."""
        for event in self.market.drain_events():
            match event:
                case Deposited():
                    self.net_deposits += event.amount_units
                case Withdrawn():
                    self.net_deposits -= event.amount_units
                case OrderAccepted():
                    known = {(o.household, o.side) for o in self.books[event.slot]}
                    assert (event.household, event.side) not in known
                    assert event.slot not in self.cleared
                    self.books[event.slot].append(
                        Order(
                            event.household,
                            event.slot,
                            event.side,
                            event.energy_wh,
                            event.limit_price,
                        )
                    )
                case SlotCleared():
                    assert event.slot not in self.cleared
                    self._check_clearing(event)
                case OrderSettled():
                    self._check_settlement(event)
                case _:
                    pass

    def _check_clearing(self, event: SlotCleared) -> None:
        book = self.books[event.slot]
        clearing = clear(book)
        assert (event.price, event.matched_wh) == (clearing.price, clearing.matched_wh)
        assert (event.ask_wh, event.bid_wh) == (clearing.ask_wh, clearing.bid_wh)
        self.cleared[event.slot] = (event.price, event.matched_wh)
        for order, fill in zip(book, clearing.filled_wh, strict=True):
            self.fills[order.slot, order.household, order.side] = fill

    def _check_settlement(self, event: OrderSettled) -> None:
        key = (event.slot, event.household, event.side)
        assert key not in self.settled
        self.settled.add(key)
        assert event.filled_wh == self.fills[key]
        price = self.cleared[event.slot][0] or 0
        fee = self.market.rules_at(event.slot).network_fee
        paid = event.filled_wh * (price + fee)
        earned = event.filled_wh * price
        assert event.amount_units == (earned if event.side is Side.ASK else -paid)

    # What may happen

    @rule(jump=jumps)
    def let_a_gate_open(self, jump: int) -> None:
        """Time never goes back: the gates of earlier slots have closed."""
        self.slot += jump
        self.now_s = self.market.rules_at(self.slot).gate_opens_s(self.slot)

    @rule()
    def let_the_gate_close(self) -> None:
        self.now_s = self.market.rules_at(self.slot).gate_closes_s(self.slot)

    @rule(household=numbers, amount=amounts)
    def deposit(self, household: int, amount: int) -> None:
        self.market.deposit(household, amount)

    @rule(household=numbers, amount=amounts)
    def withdraw(self, household: int, amount: int) -> None:
        try:
            self.market.withdraw(household, amount)
        except Refused:
            assert self.market.balance_units(household) < amount

    @rule(recipient=st.sampled_from(RECIPIENTS), amount=st.integers(1, 50_000))
    def withdraw_fees(self, recipient: str, amount: int) -> None:
        try:
            self.market.withdraw_fees(recipient, amount)
        except Refused:
            assert self.market.fees_units(recipient) < amount
        else:
            self.fees_taken += amount

    @rule(
        lines=st.lists(st.tuples(numbers, sides, energies, ticks), min_size=1, max_size=10),
        late=st.sampled_from([0, 0, 0, 1]),
        forged=st.sets(st.integers(0, 20)),
    )
    def order_in_a_batch(
        self, lines: list[tuple[int, Side, int, int]], late: int, forged: set[int]
    ) -> None:
        """Orders of the newest slot, or of the one before; some with a wrong signature."""
        slot = self.slot - late
        orders = [
            Order(n, slot, side, energy, GRID.floor_price + tick * GRID.tick_size)
            for n, side, energy, tick in lines
        ]
        signed = [number not in forged for number in range(len(orders))]
        self.market.submit_batch(orders, self.now_s, signed=signed)

    @rule(household=numbers, side=sides, energy=energies, tick=ticks)
    def order_alone(self, household: int, side: Side, energy: int, tick: int) -> None:
        price = GRID.floor_price + tick * GRID.tick_size
        try:
            self.market.submit(Order(household, self.slot, side, energy, price), self.now_s)
        except Refused:
            assert self.market.drain_events() == []

    @precondition(lambda self: self.books)
    @rule(data=st.data())
    def clear_a_slot(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.books)))
        if slot in self.cleared:
            with pytest.raises(Refused, match="already cleared"):
                self.market.clear(slot, self.now_s)
        elif self._gate_is_open(slot):
            with pytest.raises(Refused, match="still open"):
                self.market.clear(slot, self.now_s)
        else:
            self.market.clear(slot, self.now_s)

    @rule(back=st.integers(0, 300))
    def clear_an_empty_slot(self, back: int) -> None:
        if self.slot - back not in self.books:
            with pytest.raises(Refused, match="has no orders"):
                self.market.clear(self.slot - back, self.now_s)

    @precondition(lambda self: self.books)
    @rule(data=st.data(), households=st.lists(st.integers(1, 6), max_size=5))
    def settle_somebody(self, data: st.DataObject, households: list[int]) -> None:
        """Households that ordered, that did not, and that do not exist, of any slot ever."""
        slot = data.draw(st.sampled_from(sorted(self.books)))
        if self._gate_is_open(slot):
            with pytest.raises(Refused, match="still open"):
                self.market.settle(slot, households, self.now_s)
        else:
            self.market.settle(slot, households, self.now_s)

    @rule(household=numbers, suspended=st.sampled_from([True, False, False]))
    def change_standing(self, household: int, *, suspended: bool) -> None:
        self.market.set_standing(household, active=not suspended, signer_named=True)

    @rule(paused=st.sampled_from([True, False, False]))
    def pause(self, *, paused: bool) -> None:
        self.market.paused = paused

    @rule(
        ahead=st.integers(1, 3),
        fee=st.sampled_from([0, 70, 500]),
        recipient=st.sampled_from(RECIPIENTS),
    )
    def schedule_rules(self, ahead: int, fee: int, recipient: str) -> None:
        rules = MarketRules(86_400, 0, 3_600, GRID, fee, recipient)
        from_slot = self.slot + 1 + ahead
        if from_slot > self.last_version:
            self.market.schedule_rules(from_slot, rules, self.now_s)
            self.last_version = from_slot
        else:
            with pytest.raises(Refused, match="not in the future"):
                self.market.schedule_rules(from_slot, rules, self.now_s)

    def _gate_is_open(self, slot: int) -> bool:
        return self.now_s < self.market.rules_at(slot).gate_closes_s(slot)

    # What must hold

    @invariant()
    def money_is_conserved(self) -> None:
        self.hear()
        balances = [self.market.balance_units(n) for n in HOUSEHOLDS]
        fees = [self.market.fees_units(recipient) for recipient in RECIPIENTS]
        assert min(*balances, *fees) >= 0
        held = sum(self._held_units(order) for book in self.books.values() for order in book)
        assert sum(balances) + sum(fees) + self.fees_taken + held == self.net_deposits

    def _held_units(self, order: Order) -> int:
        """What the market owes of an order: escrow while uncleared, entitlements until settled."""
        key = (order.slot, order.household, order.side)
        if key in self.settled:
            return 0
        price, _ = self.cleared.get(order.slot, (None, 0))
        earned = self.fills.get(key, 0) * (price or 0)
        if order.side is Side.ASK:
            return earned
        fee = self.market.rules_at(order.slot).network_fee
        return order.energy_wh * (order.limit_price + fee) - earned

    def teardown(self) -> None:
        """In the end everything can be settled, and then nothing is held."""
        self.hear()
        self.let_the_gate_close()
        for slot in list(self.books):
            self.market.settle(slot, HOUSEHOLDS, self.now_s)
        self.hear()
        assert set(self.cleared) >= set(self.books)
        keys = {(o.slot, o.household, o.side) for book in self.books.values() for o in book}
        assert self.settled == keys
        self.money_is_conserved()


TestConservedMoney = ConservedMoney.TestCase
TestConservedMoney.settings = settings(
    max_examples=3 * settings().max_examples, stateful_step_count=50
)
