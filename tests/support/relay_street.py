"""A market in real time with many members, and relays for it: on geth validators or on anvil."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from node.chain.bootstrap import ACCESS, CREDIT, REGISTRY, Deployment, Role, deploy, grant_all
from node.chain.client import MARKET, MarketAddress, MarketClient
from node.chain.engines.anvil import AnvilChain, find_anvil
from node.chain.http import http_rpc
from node.chain.json_rpc import number, wei
from node.chain.keyfiles import open_key
from node.chain.keys import Key, MarketSigner, name_signer_hash, registry_domain
from node.chain.network.geth import find_geth
from node.chain.network.layout import Plan, init_network, operator_files
from node.chain.network.local import LocalNetwork
from node.chain.relay_desk import Limits
from node.chain.relay_http import serve_relay
from node.chain.rpc import Rpc, Sender, signed_transaction
from node.clock import SystemClock
from node.errors import ConfigurationError
from node.model import (
    BEFORE_ALL,
    MarketEvent,
    MarketRules,
    Order,
    OrderAccepted,
    Side,
    SignedOrder,
)
from node.service.relaying import RelayService
from node.slots import slot_at

GAS_PRICE: Final = 2 * 10**9
CREDIT_UNITS: Final = 10**12
LIMIT_WH: Final = 9_000
NO_DEADLINE_S: Final = 2**64 - 1

HOMES_AT_ONCE: Final = 25
GAS_PER_HOME: Final = 450_000
RECEIPT_TRIES: Final = 600

OPEN_SLOTS: Final = 30
RULES: Final = MarketRules(slot_s=3_600, gate_s=OPEN_SLOTS * 3_600)
"""So many gates are open at any time, and all but the oldest for an hour and more."""

BEHIND_S: Final = 120
"""A chain's newest block may be older than this machine's clock: its slot may not have ended."""


@dataclass(frozen=True, slots=True)
class RelayStreet:
    """Contracts, an operator, and members whose one key is owner and signer."""

    url: str
    rpc: Rpc
    where: MarketAddress
    registry: str
    operator: Key
    keys: Sequence[Key]
    network: LocalNetwork | None = None
    rules: MarketRules = RULES
    clock: SystemClock = field(default_factory=SystemClock)

    @property
    def client(self) -> MarketClient:
        """The market."""
        return MarketClient(self.rpc, self.where)

    def slots(self, count: int) -> list[int]:
        """Slots whose gates are open, newest first."""
        newest = slot_at(self.clock.now_s() - BEHIND_S, self.rules.slot_s) - 1
        return [newest - back for back in range(count)]

    def order(self, household: int, side: Side = Side.BID, slot: int | None = None) -> SignedOrder:
        """A good order of a member."""
        slot = self.slots(1)[0] if slot is None else slot
        ticks = household % 40
        return self.sign(Order(household, slot, side, 100 + household % 900, 4_000 + 100 * ticks))

    def sign(self, order: Order, key: Key | None = None) -> SignedOrder:
        """An order as its household signs it, or somebody else."""
        key = self.keys[order.household - 1] if key is None else key
        signer = MarketSigner(key, self.rpc.chain_id, self.where.address)
        return SignedOrder(order, signer.sign(order))

    async def events(self) -> list[MarketEvent]:
        """Everything that the contract has told."""
        events: list[MarketEvent] = []
        position, more = BEFORE_ALL, True
        while more:
            page = await self.client.events_after(position)
            events += page.events
            position, more = page.upto, page.more
        return events

    async def accepted(self) -> list[OrderAccepted]:
        """The orders that the contract has accepted."""
        return [event for event in await self.events() if isinstance(event, OrderAccepted)]

    async def until_accepted(self, count: int, *, within_s: float = 30.0) -> list[OrderAccepted]:
        """Wait for so many."""
        async with asyncio.timeout(within_s):
            while True:
                found = await self.accepted()
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.2)

    async def give_gas(self, *accounts: str) -> None:
        """Pay for accounts' transactions."""
        calls = [(account, b"", 10**20, 21_000) for account in accounts]
        await send_all(self.rpc, self.operator, calls)


@asynccontextmanager
async def street_on_anvil(homes: int) -> AsyncIterator[RelayStreet]:
    """A block every second; skips where there is no anvil."""
    try:
        find_anvil()
    except ConfigurationError as error:
        pytest.skip(error.message)
    operator = Key(b"f" * 32)
    chain = await AnvilChain.start(genesis_s=SystemClock().now_s() - 60, funder=operator)
    try:
        provider = chain.rpc.w3.provider
        url = str(getattr(provider, "endpoint_uri", ""))
        street = await _founded(url, chain.rpc, operator, homes, None)
        await chain.rpc.ask("evm_setAutomine", False)  # noqa: FBT003 - JSON-RPC has no names
        await chain.rpc.ask("evm_setIntervalMining", 1)
        yield street
    finally:
        await chain.close()


@asynccontextmanager
async def street_on_geth(
    folder: Path, homes: int, validators: int, *, period_s: int = 1
) -> AsyncIterator[RelayStreet]:
    """Real validators. Raises ConfigurationError where there is no geth."""
    find_geth()
    plan = Plan(
        *("street", "geth", 20_777),
        validators=validators,
        rpc_nodes=1,
        period_s=period_s,
        light_keys=True,
    )
    init_network(folder, plan, secrets.token_bytes)
    operator = open_key(operator_files(folder))
    async with LocalNetwork(folder) as network, http_rpc(network.rpc_url()) as rpc:
        await network.until_block(1, within_s=60.0)
        yield await _founded(network.rpc_url(), rpc, operator, homes, network)


@asynccontextmanager
async def relaying(
    street: RelayStreet, key: Key, *, limits: Limits | None = None, behind_front: bool = False
) -> AsyncIterator[tuple[RelayService, str]]:
    """A relay in this process, with an account of its own; gives it and its address."""
    if not wei(await street.rpc.ask("eth_getBalance", key.address, "latest")):
        await street.give_gas(key.address)
    service = RelayService(street.client, street.registry, key, street.clock, limits or Limits())
    await service.members.follow()
    async with AsyncExitStack() as until_end:
        port = await until_end.enter_async_context(
            serve_relay(service.desk, service.status, behind_front=behind_front)
        )
        tasks = [
            asyncio.create_task(service.carrier.run()),
            asyncio.create_task(service.follow_members()),
        ]
        try:
            yield service, f"http://127.0.0.1:{port}"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def send_all(
    rpc: Rpc, key: Key, calls: Sequence[tuple[str, bytes, int, int]]
) -> list[Mapping[str, object]]:
    """Send transactions (to, data, value, gas) without waiting for one before the next; their
    receipts, all of which must tell of success."""
    first = number(await rpc.ask("eth_getTransactionCount", key.address, "pending"))
    hashes = []
    for nonce, (to, data, value, gas) in enumerate(calls, start=first):
        transaction = {
            "to": rpc.w3.to_checksum_address(to),
            "data": data,
            "value": value,
            "gas": gas,
            "gasPrice": GAS_PRICE,
            "nonce": nonce,
            "chainId": rpc.chain_id,
        }
        signed = signed_transaction(transaction, key)
        await rpc.ask("eth_sendRawTransaction", signed.raw)
        hashes.append(signed.hash)
    return [await _success(rpc, transaction_hash) for transaction_hash in hashes]


async def _success(rpc: Rpc, transaction_hash: str) -> Mapping[str, object]:
    for _ in range(RECEIPT_TRIES):
        receipt: Mapping[str, Any] | None = await rpc.ask(
            "eth_getTransactionReceipt", transaction_hash
        )
        if receipt is not None:
            assert number(receipt["status"]) == 1, receipt
            return receipt
        await asyncio.sleep(0.1)
    raise AssertionError(f"no receipt of {transaction_hash}")


async def _founded(
    url: str, rpc: Rpc, operator: Key, homes: int, network: LocalNetwork | None
) -> RelayStreet:
    sender = Sender(rpc, operator, gas_price=GAS_PRICE)
    deployment = await deploy(rpc, sender, RULES)
    roles = (Role.OPERATOR, Role.TREASURER, Role.GUARDIAN)
    await grant_all(sender, deployment, [(role, operator.address, 0) for role in roles])
    keys = [Key((1_000_000 + home).to_bytes(32)) for home in range(homes)]
    await admit_many(rpc, operator, deployment, keys)
    where = MarketAddress(deployment.market, deployment.slot_s, deployment.created_in_block)
    return RelayStreet(url, rpc, where, deployment.registry, operator, keys, network)


async def admit_many(rpc: Rpc, operator: Key, deployment: Deployment, keys: Sequence[Key]) -> None:
    """Admit homes numbered from 1 on, name their signers and give them credit: many in each
    transaction, through the access manager, for which the operator has the roles."""
    access, registry = deployment.access, deployment.registry
    credit, market = deployment.credit, deployment.market
    domain = registry_domain(rpc.chain_id, registry)

    def run(target: str, data: bytes) -> bytes:
        return ACCESS.call("execute", target, data)

    def home(household: int, key: Key) -> list[bytes]:
        digest = domain.digest(name_signer_hash(household, key.address, 0, NO_DEADLINE_S))
        named = (household, key.address, NO_DEADLINE_S, key.sign_recoverable(digest))
        return [
            run(registry, REGISTRY.call("admit", key.address, LIMIT_WH, LIMIT_WH, 1)),
            run(registry, REGISTRY.call("nameSignerFor", *named)),
            run(market, MARKET.call("deposit", household, CREDIT_UNITS)),
        ]

    total = CREDIT_UNITS * len(keys)
    funds = [
        run(credit, CREDIT.call("issue", access, total)),
        run(credit, CREDIT.call("approve", market, total)),
    ]
    bundles = [funds] + [
        [
            call
            for at, key in enumerate(keys[first : first + HOMES_AT_ONCE], first + 1)
            for call in home(at, key)
        ]
        for first in range(0, len(keys), HOMES_AT_ONCE)
    ]
    gas = 400_000 + GAS_PER_HOME * HOMES_AT_ONCE
    calls = [(access, ACCESS.call("multicall", bundle), 0, gas) for bundle in bundles]
    await send_all(rpc, operator, calls)
