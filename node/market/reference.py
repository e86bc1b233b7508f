"""The whole market in plain Python: acceptance, clearing, settlement and money of one community.

The executable twin of ``contracts/EnergyMarket.sol``, and the market that ``--chain reference``
trades on. It knows households by number and takes orders unsigned: whether a signature was good is
an argument. Time is an argument too: ``now_s`` stands for the block's time.

What it promises, after every call and to the unit::

    balances + fees + escrow of uncleared bids + entitlements of cleared, unsettled orders
        = deposited - withdrawn

Calls append events; ``drain_events`` hands them over in order and forgets them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from node.errors import Refused
from node.market.clearing import Clearing, clear
from node.model import (
    Deposited,
    Household,
    LogPosition,
    MarketEvent,
    MarketRules,
    Order,
    OrderAccepted,
    OrderRefused,
    OrderSettled,
    Refusal,
    RulesScheduled,
    Side,
    SlotCleared,
    Withdrawn,
)
from node.slots import slot_start_s

WINDOW_SLOTS = 128
"""Slots behind a household's newest order in which a pending order settles by itself."""

LAZY_SETTLEMENTS = 2
"""How many of its newest pending slots a household's order or withdrawal looks at to settle."""

RING_S = 30 * 86400
"""Books and rows are used again after at least this long."""


@dataclass(slots=True)
class _Account:
    balance_units: int = 0
    newest_slot: int = 0
    pending: set[int] = field(default_factory=set)  # slots within the window of newest_slot
    carried: set[int] = field(default_factory=set)  # slots that left it unsettled


@dataclass(slots=True)
class _Book:
    """The orders of a slot that is not cleared yet."""

    slot: int
    orders: list[Order] = field(default_factory=list)
    depth_wh: dict[tuple[Side, int], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Result:
    price: int | None
    matched_wh: int
    rules: MarketRules
    fills_wh: dict[tuple[int, Side], int]


@dataclass(frozen=True, slots=True)
class Allocation:
    """Both sides of a household in a slot; fills are 0 until the slot is cleared."""

    cleared: bool = False
    settled: bool = False
    price: int | None = None
    ask_wh: int = 0
    sold_wh: int = 0
    earned_units: int = 0
    bid_wh: int = 0
    bought_wh: int = 0
    paid_units: int = 0


class ReferenceMarket:
    """One community's market. Every method takes effect whole or raises Refused.

    An order whose side is no side cannot be made here; the contract refuses it as MALFORMED_SIDE.
    """

    def __init__(self, rules: MarketRules) -> None:
        self.ring_slots = max(-(-RING_S // rules.slot_s), 2 * WINDOW_SLOTS)
        self.paused = False
        self._versions: list[tuple[int, MarketRules]] = [(0, rules)]
        self._households: dict[int, Household] = {}
        self._accounts: dict[int, _Account] = {}
        self._fees_units: dict[str, int] = {}
        self._books: dict[int, _Book] = {}  # by slot, until it is cleared
        self._held: dict[int, int] = {}  # slot by ring index of its book
        self._rows: dict[tuple[int, int], dict[Side, Order]] = {}  # by household, ring index
        self._results: dict[int, _Result] = {}
        self._events: list[MarketEvent] = []
        self._block = 0
        self._index = 0
        self._emit_rules(0, rules)

    # Members and money

    def admit(self, household: Household) -> None:
        """Add a household, or replace what is known of it (limits, active, signer named)."""
        self._households[household.number] = household
        self._accounts.setdefault(household.number, _Account())

    def deposit(self, household: int, amount_units: int) -> None:
        """Credit comes into a household's account."""
        self._next_block()
        self._account(household).balance_units += amount_units
        self._events.append(Deposited(self._position(), household, amount_units))

    def withdraw(self, household: int, amount_units: int) -> None:
        """The owner takes credit out, after its newest orders settled."""
        account = self._account(household)
        balance = account.balance_units + self._lazy_proceeds_units(household, account)
        if amount_units > balance:
            raise Refused(
                f"household {household} has {balance} units, not {amount_units}",
                reason="insufficient_balance",
            )
        self._next_block()
        self._settle_newest(household, account)
        account.balance_units -= amount_units
        self._events.append(Withdrawn(self._position(), household, amount_units))

    def withdraw_fees(self, recipient: str, amount_units: int) -> None:
        """The fee recipient takes credit out of its own account."""
        held = self._fees_units.get(recipient, 0)
        if amount_units > held:
            raise Refused(f"fees are {held} units", reason="insufficient_balance")
        self._fees_units[recipient] = held - amount_units

    def balance_units(self, household: int) -> int:
        """Free credit, escrow not included."""
        return self._account(household).balance_units

    def fees_units(self, recipient: str) -> int:
        """What a fee recipient may withdraw."""
        return self._fees_units.get(recipient, 0)

    # Rules

    def rules_at(self, slot: int) -> MarketRules:
        """The newest version whose first slot is not after this one."""
        return next(rules for first, rules in reversed(self._versions) if first <= slot)

    def schedule_rules(self, from_slot: int, rules: MarketRules, now_s: int) -> None:
        """Set the rules from a slot on whose gate has not opened under old or new rules."""
        last_slot, last = self._versions[-1]
        opened = min(
            slot_start_s(from_slot, rules.slot_s) - 1,
            last.gate_opens_s(from_slot) - 1,
            rules.gate_opens_s(from_slot) - 1,
        )
        if from_slot <= last_slot or now_s > opened:
            raise Refused(f"slot {from_slot} is not in the future", reason="not_future")
        self._next_block()
        self._versions.append((from_slot, rules))
        self._emit_rules(from_slot, rules)

    # Orders

    def submit(self, order: Order, now_s: int, *, signed: bool = True) -> None:
        """One order. Raises Refused with the reason; then nothing has changed."""
        account = self._accounts.get(order.household)
        if account is not None:
            balance = account.balance_units + self._lazy_proceeds_units(order.household, account)
            refusal = self._refusal(order, now_s, signed=signed, balance_units=balance)
        else:
            refusal = self._refusal(order, now_s, signed=signed, balance_units=0)
        if refusal is not Refusal.NONE:
            raise Refused(f"order refused: {refusal.word}", reason=refusal.word)
        self._next_block()
        self._accept(order, now_s, signed=signed)

    def submit_batch(
        self, orders: Iterable[Order], now_s: int, *, signed: Sequence[bool] | None = None
    ) -> None:
        """Many orders: a bad one is skipped and reported and never blocks the others."""
        self._next_block()
        for i, order in enumerate(orders):
            refusal = self._accept(order, now_s, signed=signed is None or signed[i])
            if refusal is not Refusal.NONE:
                self._events.append(
                    OrderRefused(self._position(), order.slot, order.household, order.side, refusal)
                )

    def _accept(self, order: Order, now_s: int, *, signed: bool) -> Refusal:
        account = self._accounts.get(order.household, _Account())
        refusal = self._refusal(order, now_s, signed=signed, balance_units=None)
        if refusal is not Refusal.NONE:
            return refusal
        household, slot, rules = order.household, order.slot, self.rules_at(order.slot)
        self._settle_newest(household, account)  # proceeds may pay for this order
        escrow = escrow_units(order, rules)
        if escrow > account.balance_units:
            return Refusal.INSUFFICIENT_CREDIT
        account.balance_units -= escrow
        if slot > account.newest_slot:
            account.newest_slot = slot
            self._move_window(household, account)
        row_key = (household, slot % self.ring_slots)
        row = self._rows.get(row_key, {})
        held = next(iter(row.values())).slot if row else slot
        if held != slot:
            self._recycle_row(household, account, held)
            row = {}
        if account.newest_slot - slot < WINDOW_SLOTS:
            account.pending.add(slot)
        else:
            account.carried.add(slot)
        book = self._open_book(slot)
        depth_key = (order.side, order.limit_price)
        prefix_wh = book.depth_wh.get(depth_key, 0)
        book.depth_wh[depth_key] = prefix_wh + order.energy_wh
        book.orders.append(order)
        row[order.side] = order
        self._rows[row_key] = row
        self._events.append(
            OrderAccepted(
                self._position(),
                slot,
                household,
                order.side,
                order.energy_wh,
                order.limit_price,
                prefix_wh,
                order.evidence,
            )
        )
        return Refusal.NONE

    def _refusal(  # noqa: C901, PLR0911 - a flat run of checks reads as the specification
        self, order: Order, now_s: int, *, signed: bool, balance_units: int | None
    ) -> Refusal:
        """The first check that fails; credit is checked only where a balance is given."""
        if self.paused:
            return Refusal.PAUSED
        rules = self.rules_at(order.slot)
        if not rules.gate_is_open(order.slot, now_s):
            return Refusal.GATE_NOT_OPEN
        member = self._households.get(order.household)
        if member is None:
            return Refusal.UNKNOWN_HOUSEHOLD
        if not member.active:
            return Refusal.SUSPENDED
        if not member.signer_named:
            return Refusal.NO_SIGNER
        if not 0 < order.energy_wh <= member.limit_wh(order.side):
            return Refusal.ENERGY_OUT_OF_LIMIT
        if not rules.grid.contains(order.limit_price):
            return Refusal.PRICE_OFF_GRID
        row = self._rows.get((order.household, order.slot % self.ring_slots), {})
        if order.side in row and row[order.side].slot == order.slot:
            return Refusal.DUPLICATE
        if not signed:
            return Refusal.WRONG_SIGNATURE
        if balance_units is not None and escrow_units(order, rules) > balance_units:
            return Refusal.INSUFFICIENT_CREDIT
        return Refusal.NONE

    def _open_book(self, slot: int) -> _Book:
        """The slot's book. Using a book again first clears the slot that it held."""
        held = self._held.get(slot % self.ring_slots)
        if held != slot:
            if held in self._books:
                self._clear(self._books[held])
            self._held[slot % self.ring_slots] = slot
        return self._books.setdefault(slot, _Book(slot))

    # Clearing and settlement

    def clear(self, slot: int, now_s: int) -> None:
        """Clear a slot whose gate has closed. Raises Refused if it is too early, done, or empty."""
        if slot in self._results:
            raise Refused(f"slot {slot} is already cleared", reason="already_cleared")
        book = self._clearable(slot, now_s)
        self._next_block()
        self._clear(book)

    def settle(self, slot: int, households: Iterable[int], now_s: int) -> None:
        """Settle these households' orders of a slot, clearing it first if need be."""
        if slot not in self._results:
            book = self._clearable(slot, now_s)
            self._next_block()
            self._clear(book)
        else:
            self._next_block()
        for household in households:
            account = self._accounts.get(household)
            if account is not None and slot in account.pending | account.carried:
                self._pay(household, account, slot)

    def result(self, slot: int) -> tuple[int | None, int] | None:
        """Price and matched energy of a cleared slot."""
        result = self._results.get(slot)
        return None if result is None else (result.price, result.matched_wh)

    def allocation(self, slot: int, household: int) -> Allocation:
        """Both sides of a household, as long as its row stands. Raises Refused once recycled."""
        row = self._rows.get((household, slot % self.ring_slots), {})
        held = next(iter(row.values())).slot if row else slot
        if held > slot:
            raise Refused(f"slot {slot} left the ring", reason="row_recycled")
        ask, bid = (row.get(side) if held == slot else None for side in (Side.ASK, Side.BID))
        ask_wh, bid_wh = ask.energy_wh if ask else 0, bid.energy_wh if bid else 0
        result = self._results.get(slot)
        if result is None or not (ask or bid):
            return Allocation(ask_wh=ask_wh, bid_wh=bid_wh)
        account = self._account(household)
        sold_wh = result.fills_wh.get((household, Side.ASK), 0)
        bought_wh = result.fills_wh.get((household, Side.BID), 0)
        price = result.price or 0
        return Allocation(
            cleared=True,
            settled=slot not in account.pending | account.carried,
            price=result.price,
            ask_wh=ask_wh,
            sold_wh=sold_wh,
            earned_units=sold_wh * price,
            bid_wh=bid_wh,
            bought_wh=bought_wh,
            paid_units=bought_wh * (price + result.rules.network_fee),
        )

    def _clearable(self, slot: int, now_s: int) -> _Book:
        book = self._books.get(slot)
        if book is None:
            raise Refused(f"slot {slot} has no orders", reason="no_orders")
        if now_s < self.rules_at(slot).gate_closes_s(slot):
            raise Refused(f"the gate of slot {slot} is still open", reason="gate_still_open")
        return book

    def _clear(self, book: _Book) -> None:
        del self._books[book.slot]
        cleared: Clearing = clear(book.orders)
        fills = {
            (order.household, order.side): filled
            for order, filled in zip(book.orders, cleared.filled_wh, strict=True)
        }
        self._results[book.slot] = _Result(
            cleared.price, cleared.matched_wh, self.rules_at(book.slot), fills
        )
        self._events.append(
            SlotCleared(
                self._position(),
                book.slot,
                cleared.price,
                cleared.matched_wh,
                cleared.ask_wh,
                cleared.bid_wh,
            )
        )

    def _settle_newest(self, household: int, account: _Account) -> None:
        for slot in sorted(account.pending, reverse=True)[:LAZY_SETTLEMENTS]:
            if slot in self._results:
                self._pay(household, account, slot)

    def _lazy_proceeds_units(self, household: int, account: _Account) -> int:
        newest = sorted(account.pending, reverse=True)[:LAZY_SETTLEMENTS]
        return sum(
            settlement_units(order, *self._outcome(order))[0]
            for slot in newest
            if slot in self._results
            for order in self._rows[household, slot % self.ring_slots].values()
        )

    def _move_window(self, household: int, account: _Account) -> None:
        for slot in sorted(account.pending, reverse=True):
            if account.newest_slot - slot < WINDOW_SLOTS:
                continue
            if slot in self._results:
                self._pay(household, account, slot)
            else:
                account.pending.discard(slot)
                account.carried.add(slot)

    def _recycle_row(self, household: int, account: _Account, held: int) -> None:
        if held not in account.carried:
            return
        if held not in self._results:
            self._clear(self._books[held])
        self._pay(household, account, held)

    def _pay(self, household: int, account: _Account, slot: int) -> None:
        """Money moves for both sides of a household in a cleared slot; this happens once."""
        account.pending.discard(slot)
        account.carried.discard(slot)
        row = self._rows[household, slot % self.ring_slots]
        for side in Side:
            order = row.get(side)
            if order is None:
                continue
            filled_wh, price, rules = self._outcome(order)
            credited, fee_units, amount = settlement_units(order, filled_wh, price, rules)
            account.balance_units += credited
            if fee_units:
                held = self._fees_units.get(rules.fee_recipient, 0)
                self._fees_units[rules.fee_recipient] = held + fee_units
            self._events.append(
                OrderSettled(self._position(), slot, household, side, filled_wh, price, amount)
            )

    def _outcome(self, order: Order) -> tuple[int, int | None, MarketRules]:
        result = self._results[order.slot]
        return result.fills_wh[order.household, order.side], result.price, result.rules

    # Events

    def drain_events(self) -> list[MarketEvent]:
        """Everything that happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    @property
    def blocks(self) -> int:
        """How many calls have changed something."""
        return self._block

    def _emit_rules(self, from_slot: int, rules: MarketRules) -> None:
        version = len(self._versions) - 1
        self._events.append(RulesScheduled(self._position(), version, from_slot, rules))

    def _next_block(self) -> None:
        self._block += 1
        self._index = 0

    def _position(self) -> LogPosition:
        position = LogPosition(self._block, self._index)
        self._index += 1
        return position

    def _account(self, household: int) -> _Account:
        account = self._accounts.get(household)
        if account is None:
            raise Refused(f"no household {household}", reason=Refusal.UNKNOWN_HOUSEHOLD.word)
        return account

    def set_standing(self, household: int, *, active: bool, signer_named: bool) -> None:
        """Suspend or reinstate a household; take away its signer or have one named."""
        member = self._households[household]
        self.admit(replace(member, active=active, signer_named=signer_named))


def escrow_units(order: Order, rules: MarketRules) -> int:
    """What a bid sets aside when it is accepted: its worst case. Nothing for an ask."""
    if order.side is Side.ASK:
        return 0
    return order.energy_wh * (order.limit_price + rules.network_fee)


def settlement_units(
    order: Order, filled_wh: int, price: int | None, rules: MarketRules
) -> tuple[int, int, int]:
    """An order's (credit to the household, fee, amount from the household's view), in units."""
    if order.side is Side.ASK:
        earned = filled_wh * (price or 0)
        return earned, 0, earned
    fee = filled_wh * rules.network_fee
    paid = filled_wh * (price or 0) + fee
    return escrow_units(order, rules) - paid, fee, -paid
