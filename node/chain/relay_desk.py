"""Who may hand an order to a relay, and which: everything that the chain would refuse anyway.

What a stranger sends costs the relay a bounded effort and the chain nothing: members are known from
the registry's own events, so that no request makes the relay ask anybody anything until its
signature is a member's. The market has the last word; this is a sieve before it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from node.chain.bootstrap import REGISTRY
from node.chain.carrier import Carrier
from node.chain.client import BLOCKS_PER_PAGE
from node.chain.json_rpc import as_bytes
from node.chain.keys import OrderReader
from node.chain.relay_orders import Answer
from node.chain.rpc import Rpc
from node.clock import Clock, wall_seconds
from node.errors import ChainMismatch, ChainUnreachable, Refused
from node.model import MarketRules, Refusal, Side, SignedOrder

__all__ = ["Desk", "Limits", "Member", "Members"]

READ_AGAIN_BLOCKS: Final = 24
"""A chain without finality may replace so many: their events are read again each time."""

EARLY_S: Final = 30
"""An order may come so long before its gate opens: clocks differ, and the relay holds it."""

RULES_KEPT: Final = 64
MAX_BUCKETS: Final = 8_192


@dataclass(frozen=True, slots=True)
class Member:
    """A household as the registry knows it now."""

    import_limit_wh: int
    export_limit_wh: int
    signer: str | None = None
    active: bool = True

    def limit_wh(self, side: Side) -> int:
        """The most that one order of this side may carry."""
        return self.export_limit_wh if side is Side.ASK else self.import_limit_wh


class Members:
    """All households of a registry, followed from its events."""

    def __init__(self, rpc: Rpc, registry: str, created_in_block: int = 0) -> None:
        self.ready = False
        self._rpc = rpc
        self._registry = registry
        self._next = created_in_block
        self._first = created_in_block
        self._members: dict[int, Member] = {}
        topics = REGISTRY.topics
        self._changes: dict[bytes, Callable[[Member, list[int]], Member]] = {
            topics["HouseholdSuspended"]: lambda member, _: replace(member, active=False),
            topics["HouseholdReinstated"]: lambda member, _: replace(member, active=True),
            topics["LimitsChanged"]: lambda member, words: replace(
                member, import_limit_wh=words[1], export_limit_wh=words[2]
            ),
            topics["SignerNamed"]: lambda member, words: replace(
                member, signer=f"0x{words[1]:040x}"
            ),
            topics["SignerRevoked"]: lambda member, _: replace(member, signer=None),
        }

    def __len__(self) -> int:
        return len(self._members)

    def get(self, number: int) -> Member | None:
        """A household, if it was admitted."""
        return self._members.get(number)

    def signers(self) -> list[tuple[int, str]]:
        """The households that may order, each with its signer in lower case."""
        return [
            (number, member.signer)
            for number, member in sorted(self._members.items())
            if member.active and member.signer is not None
        ]

    async def follow(self) -> None:
        """Learn what changed since the last time. Raises ChainUnreachable, ChainMismatch."""
        head = await self._rpc.head()
        first = max(self._first, min(self._next, head + 1) - READ_AGAIN_BLOCKS)
        while first <= head:
            last = min(first + BLOCKS_PER_PAGE - 1, head)
            for log in await self._rpc.logs(self._registry, first, last):
                try:
                    self._learn(log)
                except IndexError as error:
                    raise ChainMismatch(
                        f"block {log['blockNumber']} has a log that is not of this registry",
                        next_step="check the registry's address, or update this relay",
                    ) from error
            self._next = first = last + 1
        self.ready = True

    def _learn(self, log: Mapping[str, Any]) -> None:
        topics, data = [as_bytes(topic) for topic in log["topics"]], as_bytes(log["data"])
        if not topics:
            return
        words = [int.from_bytes(topic) for topic in topics[1:]]
        words += [int.from_bytes(data[i : i + 32]) for i in range(0, len(data), 32)]
        if topics[0] == REGISTRY.topics["HouseholdAdmitted"]:
            self._members[words[0]] = Member(words[2], words[3])
            return
        change = self._changes.get(topics[0])
        member = self._members.get(words[0]) if words else None
        if change is not None and member is not None:
            self._members[words[0]] = change(member, words)


@dataclass(frozen=True, slots=True)
class Limits:
    """Orders that may come at once, and how many more each second, of one household and of one
    address. A request that is no list of orders counts as ``malformed_cost`` of them."""

    household_burst: int = 8
    household_per_s: float = 1.0
    address_burst: int = 200
    address_per_s: float = 20.0
    malformed_cost: int = 20


class Buckets:
    """An allowance for each key, which fills again with time; the least used keys are forgotten,
    and begin with a full one."""

    def __init__(self, burst: int, per_s: float, seconds: Callable[[], float]) -> None:
        self._burst = burst
        self._per_s = per_s
        self._seconds = seconds
        self._left: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def take(self, key: object, cost: int = 1) -> bool:
        """Whether the key may have so much now; if not, it keeps what it has."""
        now_s = self._seconds()
        left, since_s = self._left.pop(key, (float(self._burst), now_s))
        left = min(left + (now_s - since_s) * self._per_s, self._burst)
        allowed = cost <= left
        self._left[key] = (left - cost if allowed else left, now_s)
        if len(self._left) > MAX_BUCKETS:
            self._left.popitem(last=False)
        return allowed


class Desk:
    """Looks at orders one by one, and hands the good ones to the carrier."""

    def __init__(
        self,
        *,
        members: Members,
        carrier: Carrier,
        rules_at: Callable[[int], Awaitable[MarketRules]],
        reader: OrderReader,
        clock: Clock,
        limits: Limits | None = None,
        seconds: Callable[[], float] = wall_seconds,
    ) -> None:
        limits = limits or Limits()
        self.taken = 0
        self.refused: Counter[str] = Counter()
        self.malformed_cost = limits.malformed_cost
        self._members = members
        self._carrier = carrier
        self._rules_at = rules_at
        self._reader = reader
        self._clock = clock
        self._rules: OrderedDict[int, MarketRules] = OrderedDict()
        self._households = Buckets(limits.household_burst, limits.household_per_s, seconds)
        self._addresses = Buckets(limits.address_burst, limits.address_per_s, seconds)

    def allows(self, address: str, orders: int) -> bool:
        """Whether an address may hand over so many orders now."""
        allowed = self._addresses.take(address, orders)
        if not allowed:
            self.refused["address_too_busy"] += orders
        return allowed

    async def take(self, orders: Sequence[SignedOrder]) -> list[Answer]:
        """Answer each order by itself. Raises ChainUnreachable before the members are known."""
        if not self._members.ready:
            raise ChainUnreachable("the relay does not know the members yet")
        answers = []
        for signed in orders:
            reason = await self._reason_against(signed)
            if reason:
                self.refused[reason] += 1
            else:
                self.taken += 1
            answers.append(Answer(reason))
        return answers

    async def _reason_against(self, signed: SignedOrder) -> str:
        """Cheap questions first; nothing is asked of the chain for who is no member."""
        refusal = self._standing_of(signed)
        if refusal is not Refusal.NONE:
            return refusal.word
        order = signed.order
        # Only now: a forger must not use up the allowance of the household that he names.
        if not self._households.take(order.household):
            return "household_too_busy"
        try:
            rules = await self._rules_of(order.slot)
            self._take(signed, rules)
        except ChainUnreachable:
            return "chain_away"
        except Refused as refused:
            return refused.reason
        return ""

    def _take(self, signed: SignedOrder, rules: MarketRules) -> None:
        """Raises Refused for what the rules do not allow now, and as the carrier does."""
        order = signed.order
        opens_s, closes_s = rules.gate_opens_s(order.slot), rules.gate_closes_s(order.slot)
        refusal = Refusal.NONE
        if not opens_s - EARLY_S <= self._clock.now_s() < closes_s:
            refusal = Refusal.GATE_NOT_OPEN
        elif not rules.grid.contains(order.limit_price):
            refusal = Refusal.PRICE_OFF_GRID
        if refusal is not Refusal.NONE:
            raise Refused("the market would not take it", reason=refusal.word)
        self._carrier.take(signed, opens_s, closes_s)

    def _standing_of(self, signed: SignedOrder) -> Refusal:
        """Whether a member signed it, and within its limits; reasons in the market's order."""
        order, member = signed.order, self._members.get(signed.order.household)
        refusal = Refusal.NONE
        if member is None:
            refusal = Refusal.UNKNOWN_HOUSEHOLD
        elif not member.active:
            refusal = Refusal.SUSPENDED
        elif member.signer is None:
            refusal = Refusal.NO_SIGNER
        elif not 0 < order.energy_wh <= member.limit_wh(order.side):
            refusal = Refusal.ENERGY_OUT_OF_LIMIT
        elif (self._reader.signer_of(signed) or "").lower() != member.signer:
            refusal = Refusal.WRONG_SIGNATURE
        return refusal

    async def _rules_of(self, slot: int) -> MarketRules:
        """Final once the gate has opened; asked for again until then."""
        known = self._rules.get(slot)
        if known is not None:
            return known
        rules = await self._rules_at(slot)
        if rules.gate_opens_s(slot) <= self._clock.now_s():
            self._rules[slot] = rules
            if len(self._rules) > RULES_KEPT:
                self._rules.popitem(last=False)
        return rules
