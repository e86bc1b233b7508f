"""Trading on a chain: the contracts behind the client, driven like any simulated market."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from node.chain.bootstrap import (
    Deployment,
    Role,
    admit,
    deploy,
    grant,
    issue_and_deposit,
    market_client,
)
from node.chain.client import MAX_BATCH
from node.chain.engines.anvil import AnvilChain
from node.chain.engines.embedded import EmbeddedChain
from node.chain.engines.engine import Engine
from node.chain.keys import Key, MarketSigner
from node.chain.relay import Relay
from node.chain.rpc import Sender
from node.clock import Clock, ManualClock
from node.model import Household, LogPosition, MarketEvent, MarketRules, SignedOrder
from node.ports import OrderSigner
from simulations.outcome import ChainUse


class ChainExchange:
    """Trading on a chain: signed orders, relayed in batches. Implements ``Exchange``.

    One simulated operator holds every role. Keys are made from the seed: they are for simulation
    and worth nothing.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        rules: MarketRules,
        seed: int,
        operator: Sender,
        deployment: Deployment,
    ) -> None:
        self.rules = rules
        self.facts: Mapping[str, str | int] = {
            "engine": engine.name,
            "chain_id": engine.rpc.chain_id,
            "market": deployment.market,
        }
        self._engine = engine
        self._clock = clock
        self._seed = seed
        self._operator = operator
        self._deployment = deployment
        self._market = market_client(engine.rpc, deployment)
        self._relay = Relay(self._market, operator)
        self._seen = LogPosition(deployment.created_in_block, -1)

    @classmethod
    async def open(
        cls, engine: Engine, clock: Clock, rules: MarketRules, seed: int
    ) -> ChainExchange:
        """Deploy a community's contracts on a chain. The chain is closed with the exchange."""
        operator = Sender(engine.rpc, engine.funder, gas_price=engine.gas_price)
        deployment = await deploy(engine.rpc, operator, rules)
        for role in Role:
            await grant(operator, deployment, role, operator.address)
        return cls(engine, clock, rules, seed, operator, deployment)

    async def admit(
        self, name: str, *, import_limit_wh: int, export_limit_wh: int
    ) -> tuple[Household, OrderSigner]:
        """Admit a home whose one key is owner and signer."""
        rpc = self._engine.rpc
        key = simulated_key(self._seed, name)
        number = await admit(
            rpc,
            self._operator,
            self._deployment,
            key,
            key.address,
            import_limit_wh=import_limit_wh,
            export_limit_wh=export_limit_wh,
        )
        household = Household(number, import_limit_wh, export_limit_wh)
        return household, MarketSigner(key, rpc.chain_id, self._deployment.market)

    async def fund(self, amounts_units: Mapping[int, int]) -> None:
        """Issue the credit and put it into the households' accounts."""
        await issue_and_deposit(self._operator, self._deployment, amounts_units)

    def take(self, signed: SignedOrder) -> None:
        """Hand an order to the relay."""
        self._relay.take(signed)

    async def flush(self) -> None:
        """Let the relay send what it holds, in blocks stamped from now on."""
        await self._engine.stamp(self._clock.now_s())
        await self._relay.flush()

    async def clear(self, slot: int) -> None:
        """Clear in a block stamped now."""
        await self._engine.stamp(self._clock.now_s())
        await self._market.clear(self._operator, slot)

    async def settle(self, slot: int, households: Sequence[int]) -> None:
        """Settle in batches, in blocks stamped from now on."""
        await self._engine.stamp(self._clock.now_s())
        for first in range(0, len(households), MAX_BATCH):
            await self._market.settle(self._operator, slot, households[first : first + MAX_BATCH])

    async def new_events(self) -> Sequence[MarketEvent]:
        """Read the logs of the blocks since the last call."""
        events: list[MarketEvent] = []
        more = True
        while more:  # each page reaches further, up to the head
            page = await self._market.events_after(self._seen)
            events += page.events
            self._seen, more = page.upto, page.more
        return events

    async def balance_units(self, household: int) -> int:
        """Ask the contract."""
        return await self._market.balance_units(household)

    async def fees_units(self) -> int:
        """Ask the contract."""
        recipient = self.rules.fee_recipient
        return await self._market.fees_units(recipient) if recipient else 0

    async def use(self) -> ChainUse:
        """Blocks since deployment, and what the operator's transactions used."""
        head = await self._engine.rpc.head()
        return ChainUse(
            self._engine.name,
            head - self._deployment.created_in_block,
            self._operator.transactions,
            self._operator.gas_used,
            self._deployment.market,
        )

    async def close(self) -> None:
        """Stop the engine."""
        await self._engine.close()


async def open_chain(
    chain: str, rules: MarketRules, clock: ManualClock, seed: int
) -> ChainExchange:
    """An exchange on a new ``embedded`` or ``anvil`` chain, or on the development chain at a URL.

    Raises ConfigurationError (no anvil here), ChainUnreachable, ChainMismatch.
    """
    funder = Key(_FUNDER_SECRET)
    now_s = clock.now_s()
    engine: Engine
    if chain == "embedded":
        engine = await EmbeddedChain.start(genesis_s=now_s, funder=funder)
    elif chain == "anvil":
        engine = await AnvilChain.start(genesis_s=now_s, funder=funder)
    else:
        engine = await AnvilChain.attach(chain, not_after_s=now_s, funder=funder)
    try:
        return await ChainExchange.open(engine, clock, rules, seed)
    except BaseException:
        await engine.close()
        raise


def simulated_key(seed: int, name: str) -> Key:
    """A home's key, made from the run's seed: for simulation, worth nothing."""
    return Key(hashlib.sha256(f"daisee simulated key {seed} {name}".encode()).digest())


_FUNDER_SECRET: Final = b"daisee simulated funder account."
