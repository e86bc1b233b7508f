"""Every household's credit in the market, rebuilt from its events alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from node.market.history import RuleVersions, SlotRecord, completed, market_orders, order_of
from node.market.reference import escrow_units
from node.model import (
    Deposited,
    MarketEvent,
    MarketRules,
    OrderAccepted,
    OrderSettled,
    RulesScheduled,
    Side,
    Withdrawn,
)

__all__ = ["Account", "Accounts", "accounts_from", "with_due"]

OrderKey = tuple[int, int, Side]


@dataclass(frozen=True, slots=True)
class Account:
    """A household's money in units: what came and went, and what its open orders hold.

    ``escrow_units`` is set aside for bids that are not settled. ``due_units`` is what settlement
    will bring of cleared orders: a seller's earnings, and the part of a buyer's escrow that comes
    back. ``paid_units`` counts upwards and includes the network fee.
    """

    household: int
    deposited_units: int = 0
    withdrawn_units: int = 0
    earned_units: int = 0
    paid_units: int = 0
    escrow_units: int = 0
    due_units: int = 0

    @property
    def balance_units(self) -> int:
        """The free credit: what the owner may withdraw and new bids may use."""
        return (
            self.deposited_units
            - self.withdrawn_units
            + self.earned_units
            - self.paid_units
            - self.escrow_units
        )


@dataclass(frozen=True, slots=True)
class Accounts:
    """All accounts by household number, the fees collected, and the orders not settled yet."""

    by_household: dict[int, Account]
    network_fees_units: int
    unsettled: frozenset[OrderKey]

    @property
    def unsettled_slots(self) -> list[int]:
        """The slots that ``with_due`` needs the records of."""
        return sorted({slot for slot, _, _ in self.unsettled})


class _Flow:
    """An account while it is being added up."""

    __slots__ = ("deposited", "earned", "escrow", "paid", "withdrawn")

    def __init__(self) -> None:
        self.deposited = self.withdrawn = self.earned = self.paid = self.escrow = 0


def accounts_from(events: Iterable[MarketEvent], rules: MarketRules) -> Accounts:
    """Add up every account. ``events`` are in chain order, from the first, either all of them or
    all of one household together with the rules; ``rules`` hold before the first version."""
    versions = RuleVersions(rules)
    flows: dict[int, _Flow] = {}
    escrow: dict[OrderKey, int] = {}
    network_fees_units = 0
    for event in events:
        match event:
            case Deposited():
                flows.setdefault(event.household, _Flow()).deposited += event.amount_units
            case Withdrawn():
                flows.setdefault(event.household, _Flow()).withdrawn += event.amount_units
            case OrderAccepted():
                held = escrow_units(order_of(event), versions.at(event.slot))
                escrow[event.slot, event.household, event.side] = held
                flows.setdefault(event.household, _Flow()).escrow += held
            case OrderSettled():
                flow = flows.setdefault(event.household, _Flow())
                flow.escrow -= escrow.pop((event.slot, event.household, event.side), 0)
                if event.side is Side.ASK:
                    flow.earned += event.amount_units
                else:
                    flow.paid -= event.amount_units
                    energy_units = event.filled_wh * (event.price or 0)
                    network_fees_units -= event.amount_units + energy_units
            case RulesScheduled():
                versions.add(event)
            case _:
                pass
    return Accounts(
        by_household={number: _account(number, flows[number]) for number in sorted(flows)},
        network_fees_units=network_fees_units,
        unsettled=frozenset(escrow),
    )


def _account(household: int, flow: _Flow) -> Account:
    return Account(
        household=household,
        deposited_units=flow.deposited,
        withdrawn_units=flow.withdrawn,
        earned_units=flow.earned,
        paid_units=flow.paid,
        escrow_units=flow.escrow,
    )


def with_due(accounts: Accounts, records: Iterable[SlotRecord]) -> Accounts:
    """Add what is due of cleared orders that are not settled, from the records of their slots."""
    by_household = dict(accounts.by_household)
    for record in records:
        for order, known in zip(market_orders(record), completed(record).orders, strict=True):
            key = (order.slot, order.household, order.side)
            if key not in accounts.unsettled or known.amount_units is None:
                continue
            account = by_household[order.household]
            held_units = escrow_units(order, record.rules)
            due_units = account.due_units + held_units + known.amount_units
            by_household[order.household] = replace(account, due_units=due_units)
    return replace(accounts, by_household=by_household)
