"""A market on a chain as one household's node meets it: orders out, events back."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from node.chain.client import MARKET, MarketClient
from node.chain.community import genesis_hash_of
from node.chain.heads import FollowedChain
from node.chain.rpc import Rpc, Sender
from node.clock import Clock
from node.errors import ChainMismatch, ChainUnreachable, Refused
from node.model import EventPage, LogPosition, MarketRules, SignedOrder

log = logging.getLogger("daisee.node")

REMEMBERED: Final = 16
"""Slots whose rules, and relayed orders whose fate, are remembered."""

LEAST_WAIT_S: Final = 5
"""A receipt is waited for no longer than until the gate closes, but so long at least: later slots
must not wait for an order that is over."""

_NEXT_STEP: Final = "check the RPC URL; nothing is traded until it serves the agreed chain"

_WORDS: Final = {
    "EnergyMarketAlreadyCleared": "already_cleared",
    "EnergyMarketGateStillOpen": "gate_still_open",
    "EnergyMarketNoOrders": "no_orders",
}
"""The contract's errors in the words that every market uses."""


class OrderRelay(Protocol):
    """Somebody who carries orders for others, in this program or far away."""

    async def hand_over(self, signed: SignedOrder) -> None:
        """Give it an order. Raises Refused when it does not take it, ChainUnreachable when it does
        not answer; whatever it says, only the chain's events tell what became of the order."""
        ...


class ChainMarket:
    """Implements ``node.ports.Market`` for one household.

    Orders go to the relay, if there is one, and otherwise to the chain from the household's own
    account, in a batch of one: so that a refusal is an event there too. The relay has one chance:
    an order that is handed over a second time goes by itself, and so does one that comes when only
    a quarter of its gate is left. ``sender`` is that account, or tells which one it is now: a
    household's key may be replaced while the node runs.
    """

    def __init__(
        self,
        client: MarketClient,
        sender: Sender | Callable[[], Sender],
        clock: Clock,
        relay: OrderRelay | None = None,
        *,
        genesis_hash: str | None = None,
    ) -> None:
        self._genesis_hash = genesis_hash
        self._client = client
        self._followed = FollowedChain(client, client.where.created_in_block)
        self._sender: Callable[[], Sender]
        self._sender = (lambda: sender) if isinstance(sender, Sender) else sender
        self._clock = clock
        self._relay = relay
        self._rules: dict[int, MarketRules] = {}
        self._relayed: deque[SignedOrder] = deque(maxlen=REMEMBERED)

    async def rules_at(self, slot: int) -> MarketRules:
        """The rules of a slot. Once its gate has opened they are final, and not asked for again."""
        known = self._rules.get(slot)
        if known is not None:
            return known
        rules = await self._client.rules_at(slot)
        if rules.gate_opens_s(slot) <= self._clock.now_s():
            if len(self._rules) == REMEMBERED:
                del self._rules[min(self._rules)]
            self._rules[slot] = rules
        return rules

    async def submit(self, signed: SignedOrder) -> None:
        """To the relay first; to the chain without one, when it fails, or when it is late."""
        if await self._relays(signed):
            return
        await self._still_on_the_agreed_chain()
        slot = signed.order.slot
        rules = await self.rules_at(slot)
        left_s = max(rules.gate_closes_s(slot) - self._clock.now_s(), LEAST_WAIT_S)
        await self._client.submit_batch(self._sender(), [signed], within_s=left_s)

    async def _relays(self, signed: SignedOrder) -> bool:
        """Whether the relay took an order along that it had not been given before."""
        if self._relay is None or signed in self._relayed:
            return False
        slot = signed.order.slot
        rules = await self.rules_at(slot)
        if self._clock.now_s() >= rules.gate_closes_s(slot) - rules.gate_s // 4:
            return False
        try:
            await self._relay.hand_over(signed)
        except (Refused, ChainUnreachable) as why:
            log.info("relay_passed_over slot=%d why=%r", slot, why.message)
            return False
        self._relayed.append(signed)
        return True

    async def clear(self, slot: int) -> None:
        """Clear a slot, after asking whether it still needs that: most nodes come too late, and
        need not pay for a transaction to learn it.

        The question is answered as of the last block, in which the gate may still be open when in
        the next one it is not; so that answer alone is no reason not to try. A receipt is waited
        for no longer than a quarter of a gate: clearing can be done later, the next slot's order
        cannot.
        """
        await self._still_on_the_agreed_chain()
        within_s = max((await self.rules_at(slot)).gate_s // 4, LEAST_WAIT_S)
        try:
            await self._client.rpc.call(self._client.where.address, MARKET, "clear", slot)
        except Refused as refusal:
            if _WORDS.get(refusal.reason) != "gate_still_open":
                raise _in_common_words(refusal) from refusal
        try:
            await self._client.clear(self._sender(), slot, within_s=within_s)
        except Refused as refusal:
            raise _in_common_words(refusal) from refusal

    async def events_after(self, position: LogPosition, household: int) -> EventPage:
        """Every clearing, and what concerns the household, by the chain's own filter."""
        await self._still_on_the_agreed_chain()
        return await self._followed.events_after(position, household)

    async def _still_on_the_agreed_chain(self) -> None:
        """Ask before anything is sent or believed: an endpoint may be pointed at another chain
        while this node runs. Raises ChainMismatch."""
        agreed = self._client.rpc.chain_id
        now = await Rpc.connect(self._client.rpc.w3)
        if now.chain_id != agreed:
            raise ChainMismatch(
                f"the endpoint serves chain {now.chain_id}, and the market is on chain {agreed}",
                next_step=_NEXT_STEP,
            )
        await check_genesis(now, self._genesis_hash)


async def check_genesis(rpc: Rpc, agreed: str | None) -> None:
    """Another chain may have the same id. None is agreed in older settings, and then any goes.
    Raises ChainMismatch."""
    if agreed is None:
        return
    found = await genesis_hash_of(rpc)
    if found.lower() != agreed.lower():
        raise ChainMismatch(
            f"the endpoint's chain began with {found}, and the agreed one with {agreed}",
            next_step=_NEXT_STEP,
        )


def _in_common_words(refusal: Refused) -> Refused:
    reason = _WORDS.get(refusal.reason, refusal.reason)
    return Refused(refusal.message, reason=reason, next_step=refusal.next_step)
