"""The contract and the reference, driven side by side and compared after every call.

What a call emits, what it is refused for, every balance and every allocation must agree; and the
money must add up to what the market holds of the settlement credit, with the escrow and the
entitlements counted here from the events alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from node.chain.bootstrap import Role
from node.chain.keys import MarketSigner
from node.errors import Refused
from node.market.clearing import clear
from node.market.reference import Allocation, ReferenceMarket, escrow_units, settlement_units
from node.model import (
    Household,
    MarketEvent,
    MarketRules,
    Order,
    OrderAccepted,
    OrderSettled,
    Refusal,
    Side,
    SignedOrder,
    SlotCleared,
)
from tests.support.evm import Done, Reverted
from tests.support.market_chain import HOLDERS, Community, key_of, without_positions

REASONS: Final = {
    "EnergyMarketGateStillOpen": "gate_still_open",
    "EnergyMarketAlreadyCleared": "already_cleared",
    "EnergyMarketNoOrders": "no_orders",
    "EnergyMarketRowRecycled": "row_recycled",
    "EnergyMarketInsufficientBalance": "insufficient_balance",
    "EnergyMarketNotFuture": "not_future",
}
"""The contract's errors under the reference's names."""


@dataclass(slots=True)
class Ledger:
    """The books and orders that stand open, from the events alone."""

    books: dict[int, list[Order]]
    fills: dict[tuple[int, int, Side], tuple[int, int | None]]
    unsettled: dict[tuple[int, int, Side], Order]

    def note(self, event: MarketEvent) -> None:
        """Take an event into account."""
        match event:
            case OrderAccepted():
                order = Order(
                    event.household, event.slot, event.side, event.energy_wh, event.limit_price
                )
                self.books.setdefault(event.slot, []).append(order)
                self.unsettled[event.slot, event.household, event.side] = order
            case SlotCleared():
                book = self.books.pop(event.slot)
                cleared = clear(book)
                for order, filled_wh in zip(book, cleared.filled_wh, strict=True):
                    key = (order.slot, order.household, order.side)
                    self.fills[key] = (filled_wh, cleared.price)
            case OrderSettled():
                # An order that settles twice, or unasked, is missing here.
                del self.unsettled[event.slot, event.household, event.side]
            case _:
                pass


class TwinMarket:
    """Two markets of the same members. Every method does the same thing to both."""

    def __init__(self, community: Community, limits_wh: dict[int, tuple[int, int]]) -> None:
        self.community = community
        self.reference = ReferenceMarket(community.rules)
        self.limits_wh = dict(limits_wh)
        self.standings = {number: [True, True] for number in limits_wh}
        self.recipients: set[str] = {community.rules.fee_recipient}
        self.ledger = Ledger({}, {}, {})
        self.put_in_units = 0
        self._keys = 0
        self._past_pens: dict[int, MarketSigner] = {}
        for number in limits_wh:
            self._tell_reference(number)
        self.reference.drain_events()

    @property
    def now_s(self) -> int:
        """The block time of both."""
        return self.community.evm.now_s

    @now_s.setter
    def now_s(self, unix_s: int) -> None:
        assert unix_s >= self.now_s
        self.community.evm.now_s = unix_s

    def rules_at(self, slot: int) -> MarketRules:
        """The rules of a slot."""
        return self.reference.rules_at(slot)

    def both(
        self, on_chain: Callable[[], Done], in_reference: Callable[[], None]
    ) -> list[MarketEvent]:
        """Do one thing to both; returns its events. A refusal must be the same refusal."""
        reason, events = "", list[MarketEvent]()
        try:
            events = without_positions(self.community.events(on_chain()))
        except Reverted as error:
            reason = _reason(error)
        expected = ""
        try:
            in_reference()
        except Refused as refused:
            expected = refused.reason
        assert reason == expected, f"contract: {reason or 'done'}, reference: {expected or 'done'}"
        _check_same(events, without_positions(self.reference.drain_events()))
        for event in events:
            self.ledger.note(event)
        return events

    # Orders and slots

    def submit_batch(self, orders: Sequence[Order], *, stale: Sequence[bool]) -> list[MarketEvent]:
        """A batch; ``stale`` marks the orders that are signed with a past key of their household,
        or with a neighbour's if it has none."""
        signed = [self._sign(order, old) for order, old in zip(orders, stale, strict=True)]
        return self.both(
            lambda: self.community.submit_batch(signed),
            lambda: self.reference.submit_batch(
                orders, self.now_s, signed=[not old for old in stale]
            ),
        )

    def submit(self, order: Order, *, stale: bool = False) -> list[MarketEvent]:
        """One order by itself, which may be refused."""
        return self.both(
            lambda: self.community.submit(self._sign(order, stale)),
            lambda: self.reference.submit(order, self.now_s, signed=not stale),
        )

    def clear(self, slot: int) -> list[MarketEvent]:
        """Clear a slot, which may be refused."""
        return self.both(
            lambda: self.community.clear(slot), lambda: self.reference.clear(slot, self.now_s)
        )

    def settle(self, slot: int, households: Sequence[int]) -> list[MarketEvent]:
        """Settle households in a slot, which may be refused."""
        return self.both(
            lambda: self.community.settle(slot, households),
            lambda: self.reference.settle(slot, households, self.now_s),
        )

    # Money

    def deposit(self, number: int, units: int) -> None:
        """Credit comes into an account."""
        self.put_in_units += units
        self.both(
            lambda: self.community.deposit(number, units),
            lambda: self.reference.deposit(number, units),
        )

    def withdraw(self, number: int, units: int) -> None:
        """The owner takes credit out; refused when there is not so much."""
        owner = self.community.members[number].owner.address
        before = self.community.credit_units(owner)
        self.both(
            lambda: self.community.withdraw(number, units),
            lambda: self.reference.withdraw(number, units),
        )
        self.put_in_units -= self.community.credit_units(owner) - before

    def withdraw_fees(self, recipient: str, units: int) -> None:
        """A fee recipient takes credit out; refused when there is not so much."""
        before = self.community.credit_units(recipient)
        self.both(
            lambda: self.community.send(
                "EnergyMarket", "withdrawFees", units, recipient, sender=recipient
            ),
            lambda: self.reference.withdraw_fees(recipient, units),
        )
        self.put_in_units -= self.community.credit_units(recipient) - before

    # Members and rules

    def schedule(self, from_slot: int, rules: MarketRules) -> None:
        """New rules from a slot on, which may be refused."""
        self.recipients.add(rules.fee_recipient)
        self.both(
            lambda: self.community.schedule(from_slot, rules),
            lambda: self.reference.schedule_rules(from_slot, rules, self.now_s),
        )

    def set_active(self, number: int, *, active: bool) -> None:
        """Suspend or reinstate a household."""
        self._operate("reinstate" if active else "suspend", number)
        self.standings[number][0] = active
        self._tell_reference(number)

    def revoke_signer(self, number: int) -> None:
        """The operator takes a household's signer away."""
        self._operate("revokeSigner", number)
        self.standings[number][1] = False
        self._tell_reference(number)

    def rotate_key(self, number: int) -> None:
        """The owner names a signer that has never been."""
        self._keys += 1
        self._past_pens[number] = self.community.members[number].pen
        self.community.name_signer(number, key_of(f"key {number}/{self._keys}"))
        self.standings[number][1] = True
        self._tell_reference(number)

    def change_limits(self, number: int, import_wh: int, export_wh: int) -> None:
        """The operator changes what a household may order."""
        self._operate("changeLimits", number, import_wh, export_wh)
        self.limits_wh[number] = (import_wh, export_wh)
        self._tell_reference(number)

    def set_paused(self, *, paused: bool) -> None:
        """The guardian stops orders, or lets them through again."""
        guardian = HOLDERS[Role.GUARDIAN]
        function = "pause" if paused else "unpause"
        self.community.send("EnergyMarket", function, sender=guardian)
        self.reference.paused = paused

    # What must hold

    def check_money(self) -> None:
        """Balances agree, and everything adds up to what the market holds."""
        balances = {number: self.community.balance_units(number) for number in self.limits_wh}
        assert balances == {number: self.reference.balance_units(number) for number in balances}
        fees = {to: int(self.community.view("feesOf", to)) for to in self.recipients if to}
        assert fees == {to: self.reference.fees_units(to) for to in fees}
        due = sum(self._due_units(order) for order in self.ledger.unsettled.values())
        held = self.community.credit_units(self.community.addresses["EnergyMarket"])
        assert sum(balances.values()) + sum(fees.values()) + due == held == self.put_in_units

    def _due_units(self, order: Order) -> int:
        """The escrow of an uncleared order, the entitlements of a cleared one."""
        rules = self.rules_at(order.slot)
        fill = self.ledger.fills.get((order.slot, order.household, order.side))
        if fill is None:
            return escrow_units(order, rules)
        credited, fee_units, _ = settlement_units(order, *fill, rules)
        return credited + fee_units

    def check_allocations(self, slot: int) -> None:
        """Every household's allocation of a slot agrees, and so does the result."""
        cleared, price, matched_wh = self.community.view("resultOf", slot)
        result = self.reference.result(slot)
        assert (cleared, price or None, matched_wh) == (
            (False, None, 0) if result is None else (True, *result)
        )
        for number in self.limits_wh:
            assert self._allocation(slot, number) == self._reference_allocation(slot, number)

    def _allocation(self, slot: int, number: int) -> Allocation | str:
        try:
            cleared, settled, price, *energies_and_amounts = self.community.view(
                "allocation", slot, number
            )
        except Reverted as error:
            return _reason(error)
        return Allocation(cleared, settled, price or None, *energies_and_amounts)

    def _reference_allocation(self, slot: int, number: int) -> Allocation | str:
        try:
            return self.reference.allocation(slot, number)
        except Refused as refused:
            return refused.reason

    def _sign(self, order: Order, stale: bool) -> SignedOrder:  # noqa: FBT001 - one of a pair
        if not stale:
            return self.community.signed(order)
        others = (m.pen for m in self.community.members.values() if m.number != order.household)
        pen = self._past_pens.get(order.household) or next(others)
        return SignedOrder(order, pen.sign(order))

    def _operate(self, function: str, *arguments: object) -> None:
        operator = HOLDERS[Role.OPERATOR]
        self.community.send("HouseholdRegistry", function, *arguments, sender=operator)

    def _tell_reference(self, number: int) -> None:
        import_wh, export_wh = self.limits_wh[number]
        active, signer_named = self.standings[number]
        self.reference.admit(Household(number, import_wh, export_wh, active, signer_named))


def _check_same(events: list[MarketEvent], expected: list[MarketEvent]) -> None:
    """Fails with the first event that differs."""
    for at, (here, there) in enumerate(zip_longest(events, expected)):
        assert here == there, f"event {at}: contract {here}, reference {there}"


def _reason(error: Reverted) -> str:
    if error.name == "EnergyMarketOrderRefused":
        return Refusal(error.values[0]).word
    return REASONS.get(error.name, error.name)
