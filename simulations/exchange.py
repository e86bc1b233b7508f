"""The market that a simulated neighbourhood trades on, and the reference as one.

The reference and a chain (``chain_exchange.py``) take the same calls and answer with the same
events; what a household's node sees of them is the ``Market`` of ``node.ports``, served by
``neighbourhood.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from node.clock import Clock
from node.market.reference import ReferenceMarket
from node.model import Household, MarketEvent, MarketRules, Order, SignedOrder
from node.ports import OrderSigner
from simulations.outcome import ChainUse


class Exchange(Protocol):
    """One community's market, as the simulator drives it."""

    rules: MarketRules
    facts: Mapping[str, str | int]

    async def admit(
        self, name: str, *, import_limit_wh: int, export_limit_wh: int
    ) -> tuple[Household, OrderSigner]:
        """Admit a home; returns its household and what signs for it."""
        ...

    async def fund(self, amounts_units: Mapping[int, int]) -> None:
        """Give households their first credit."""
        ...

    def take(self, signed: SignedOrder) -> None:
        """Hold an order until the next flush."""
        ...

    async def flush(self) -> None:
        """Bring the orders held to the market, as one batch or several."""
        ...

    async def clear(self, slot: int) -> None:
        """Clear a slot. Raises Refused if nobody ordered, or if it already is."""
        ...

    async def settle(self, slot: int, households: Sequence[int]) -> None:
        """Settle these households' orders of a slot."""
        ...

    async def new_events(self) -> Sequence[MarketEvent]:
        """What happened since the last call."""
        ...

    async def balance_units(self, household: int) -> int:
        """A household's free credit, as the market itself says it."""
        ...

    async def fees_units(self) -> int:
        """What the market holds for the fee recipient of its rules."""
        ...

    async def use(self) -> ChainUse:
        """What was asked of the chain."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


class Unsigned:
    """Signs nothing: the reference market takes orders as they are."""

    def sign(self, _order: Order) -> bytes:
        """No signature."""
        return b""


class ReferenceExchange:
    """Trading on the reference market: no chain, no signatures. Implements ``Exchange``."""

    def __init__(self, rules: MarketRules, clock: Clock) -> None:
        self.rules = rules
        self.facts: Mapping[str, str | int] = {"engine": "reference"}
        self._market = ReferenceMarket(rules)
        self._clock = clock
        self._held: list[Order] = []
        self._admitted = 0

    async def admit(
        self, _name: str, *, import_limit_wh: int, export_limit_wh: int
    ) -> tuple[Household, OrderSigner]:
        """The next number."""
        self._admitted += 1
        household = Household(self._admitted, import_limit_wh, export_limit_wh)
        self._market.admit(household)
        return household, Unsigned()

    async def fund(self, amounts_units: Mapping[int, int]) -> None:
        """Plain deposits."""
        for household, amount in amounts_units.items():
            self._market.deposit(household, amount)

    def take(self, signed: SignedOrder) -> None:
        """Hold it."""
        self._held.append(signed.order)

    async def flush(self) -> None:
        """One batch."""
        if self._held:
            orders, self._held = self._held, []
            self._market.submit_batch(orders, self._clock.now_s())

    async def clear(self, slot: int) -> None:
        """By the clock."""
        self._market.clear(slot, self._clock.now_s())

    async def settle(self, slot: int, households: Sequence[int]) -> None:
        """By the clock."""
        self._market.settle(slot, households, self._clock.now_s())

    async def new_events(self) -> Sequence[MarketEvent]:
        """Drained, not kept."""
        return self._market.drain_events()

    async def balance_units(self, household: int) -> int:
        """From its account."""
        return self._market.balance_units(household)

    async def fees_units(self) -> int:
        """From its account."""
        return self._market.fees_units(self.rules.fee_recipient)

    async def use(self) -> ChainUse:
        """Calls count as transactions; there are no blocks and no gas."""
        return ChainUse("reference", 0, self._market.blocks, 0)

    async def close(self) -> None:
        """Nothing to let go of."""
