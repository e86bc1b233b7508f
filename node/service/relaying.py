"""A relay, from start to stop: it knows the members, takes their orders, carries them in batches.

::

    run_relay
      ├── members   Members.follow      the registry's events, every second
      ├── carrier   Carrier.run         batches on their way to the chain
      ├── gas       GasMoney.look       gas for signers that run low, every ten minutes
      └── server    POST /orders, GET /status, POST /join-requests where a folder is for them
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node import __version__
from node.chain.carrier import Carrier
from node.chain.client import MARKET, MarketAddress, MarketClient
from node.chain.keys import Key, OrderReader
from node.chain.relay_desk import Desk, Limits, Members
from node.chain.relay_http import serve_relay
from node.chain.request_desk import RequestDesk
from node.chain.rpc import Rpc
from node.chain.top_ups import GasMoney, TopUps
from node.clock import Clock
from node.errors import DaiseeError
from node.service.notify import Notifier

__all__ = ["RelayPlace", "RelayService", "run_relay"]

log = logging.getLogger("daisee.relay")

FOLLOW_EVERY_S: Final = 1.0
SCHEMA: Final = "daisee.relay.status/1"


@dataclass(frozen=True, slots=True)
class RelayPlace:
    """Where a relay listens, and how much it lets anybody send.

    ``requests`` is the folder for join requests, if it takes them; ``book`` the operator's list of
    whom it invited, without which the relay cannot know a stranger's invite from the operator's.
    ``top_ups`` is None where the relay gives no gas.
    """

    host: str = "127.0.0.1"
    port: int = 8770
    beyond_loopback: bool = False
    behind_front: bool = False
    limits: Limits = field(default_factory=Limits)
    requests: Path | None = None
    book: Path | None = None
    top_ups: TopUps | None = field(default_factory=TopUps)


class RelayService:
    """A relay for one market: its rooms, joined."""

    def __init__(
        self,
        client: MarketClient,
        registry: str,
        key: Key,
        clock: Clock,
        limits: Limits,
        top_ups: TopUps | None = None,
    ) -> None:
        rpc, where = client.rpc, client.where
        self.carrier = Carrier(client, key, clock)
        self.members = Members(rpc, registry, where.created_in_block)
        self.desk = Desk(
            members=self.members,
            carrier=self.carrier,
            rules_at=client.rules_at,
            reader=OrderReader(rpc.chain_id, where.address),
            clock=clock,
            limits=limits,
        )
        self.gas: GasMoney | None = None
        if top_ups is not None:
            self.gas = GasMoney(rpc, registry, self.members, self.carrier, top_ups)
        self.requests: RequestDesk | None = None
        self._where = where
        self._chain_id = rpc.chain_id
        self._trouble = ""

    def status(self) -> Mapping[str, object]:
        """How it is, in figures: no household is named."""
        counts = self.carrier.counts
        requests, gas = self.requests, self.gas
        return {
            "account": self.carrier.address,
            "batches_in_flight": self.carrier.in_flight,
            "batches_mined": counts.batches,
            "block": self.carrier.head,
            "chain_id": self._chain_id,
            "gas_given_wei": 0 if gas is None else gas.given_wei,
            "gas_payments": 0 if gas is None else gas.payments,
            "gas_trouble": "" if gas is None else gas.trouble,
            "gas_used": counts.gas_used,
            "join_requests_kept": 0 if requests is None else requests.kept,
            "join_requests_refused": {}
            if requests is None
            else dict(sorted(requests.refused.items())),
            "market": self._where.address,
            "members": len(self.members),
            "orders_accepted": counts.accepted,
            "orders_expired": counts.expired,
            "orders_held": self.carrier.held,
            "orders_not_taken": dict(sorted(self.desk.refused.items())),
            "orders_refused": dict(sorted(counts.refused.items())),
            "orders_taken": self.desk.taken,
            "schema": SCHEMA,
            "transactions_cancelled": counts.cancelled,
            "transactions_resent": counts.resent,
            "trouble": self.carrier.trouble or self._trouble,
            "version": __version__,
        }

    async def follow_members(self) -> None:
        """Until cancelled; that the chain is away is told once."""
        while True:
            try:
                await self.members.follow()
            except DaiseeError as error:
                if not self._trouble:
                    log.warning("members_unknown why=%r", error.message)
                self._trouble = error.message
            else:
                self._trouble = ""
            await asyncio.sleep(FOLLOW_EVERY_S)

    async def give_gas(self) -> None:
        """Until cancelled. The first look comes after a period: a relay that is started again and
        again gives nothing."""
        gas = self.gas
        while gas is not None:
            await asyncio.sleep(gas.terms.every_s)
            try:
                await gas.look()
            except DaiseeError as error:
                if gas.trouble != error.message:
                    log.warning("gas_not_given why=%r", error.message)
                gas.trouble = error.message


async def run_relay(
    rpc: Rpc,
    where: MarketAddress,
    key: Key,
    clock: Clock,
    place: RelayPlace,
    *,
    stop: asyncio.Event | None = None,
    on_port: Callable[[int], None] | None = None,
) -> Mapping[str, object]:
    """Relay until SIGTERM, SIGINT or ``stop``. Returns how the relay stood at the end.

    Raises ChainUnreachable when the chain does not answer at the start, ConfigurationError when the
    place cannot be had.
    """
    stop = stop or asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    notifier = Notifier(os.environ)
    registry = str(await rpc.call(where.address, MARKET, "REGISTRY"))
    service = RelayService(
        MarketClient(rpc, where), registry, key, clock, place.limits, place.top_ups
    )
    if place.requests is not None:
        service.requests = RequestDesk(
            place.requests, rpc.chain_id, registry, clock, book=place.book
        )
    await service.members.follow()
    async with (
        serve_relay(
            service.desk,
            service.status,
            host=place.host,
            port=place.port,
            beyond_loopback=place.beyond_loopback,
            behind_front=place.behind_front,
            requests=service.requests,
        ) as port,
        asyncio.TaskGroup() as group,
    ):
        tasks = [
            group.create_task(service.carrier.run(), name="carrier"),
            group.create_task(service.follow_members(), name="members"),
            group.create_task(service.give_gas(), name="gas"),
        ]
        log.info("relay_ready host=%s port=%d account=%s", place.host, port, key.address)
        notifier.ready(f"relaying for {len(service.members)} households")
        if on_port is not None:
            on_port(port)
        await stop.wait()
        notifier.stopping()
        for task in tasks:
            task.cancel()
    log.info("relay_stopped held=%d", service.carrier.held)
    return service.status()
