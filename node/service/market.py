"""The market as a service meets it: the chain may be away when the node starts, and come later.

Everything that speaks Ethereum is loaded when the market is asked for the first time, in a thread:
web3 takes longer to load than the rest of the node, and the meter must not wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from node.clock import Clock
from node.config import ChainSection, NodeConfig, password_of
from node.errors import ChainMismatch, ChainUnreachable, ConfigurationError, Refused
from node.model import EventPage, LogPosition, MarketRules, Order, SignedOrder

if TYPE_CHECKING:
    from node.chain.household_market import ChainMarket
    from node.chain.keys import Key, MarketSigner
    from node.chain.rpc import Rpc

__all__ = ["HouseholdKey", "LateMarket", "Limits"]

log = logging.getLogger("daisee.service")

CONNECT_WITHIN_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What the registry allows one order of a household to carry."""

    import_wh: int
    export_wh: int


class HouseholdKey:
    """The household's key, opened once: for orders and for the transactions that carry them.

    A keystore that was replaced while the node runs is opened before the next order is signed: the
    owner has named another key. Implements ``node.ports.OrderSigner``. The chain's id comes from
    the settings, not from whoever answers: a signature made for one chain counts on no other.
    """

    def __init__(self, config: NodeConfig, environment: Mapping[str, str]) -> None:
        self._config = config
        self._environment = environment
        self._key: Key | None = None
        self._pen: MarketSigner | None = None
        self._read: object = None

    def open(self) -> Key:
        """The key. Takes a second the first time. Raises ConfigurationError."""
        return self._key or self._opened()

    def refresh(self) -> None:
        """Open the keystore again if it is not the file that was read. One that cannot be used is
        told once, and the key that is known stays."""
        if self._key is None or self._stamp() == self._read:
            return
        try:
            key = self._opened()
        except ConfigurationError as error:
            log.warning("key_not_read why=%r", str(error))
        else:
            log.info("key_changed signer=%s", key.address)

    def sign(self, order: Order) -> bytes:
        """The order's signature."""
        if self._pen is None:
            self.open()
        self.refresh()
        assert self._pen is not None
        return self._pen.sign(order)

    def _opened(self) -> Key:
        from node.chain.keys import MarketSigner  # noqa: PLC0415 - see the module's docstring
        from node.chain.keystore import read_keystore  # noqa: PLC0415

        chain, keystore = self._config.chain, self._config.key.keystore
        assert chain is not None
        assert keystore is not None
        self._read = self._stamp()
        self._key = read_keystore(keystore, password_of(self._config, self._environment))
        self._pen = MarketSigner(self._key, chain.chain_id, chain.market)
        return self._key

    def _stamp(self) -> object:
        """What tells one keystore file from another; None where there is none."""
        assert self._config.key.keystore is not None
        try:
            found = self._config.key.keystore.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


class LateMarket:
    """Implements ``node.ports.Market``; connects when asked, and asks again when that failed.

    A wrong chain or contract is ChainUnreachable here: it is told, nothing is sent, and the node
    goes on reading its meter until the endpoint serves the right one. Use as an async context
    manager. Without a key (paper mode) it reads only.
    """

    def __init__(
        self,
        chain: ChainSection,
        slot_s: int,
        household: int,
        clock: Clock,
        key: HouseholdKey | None,
    ) -> None:
        self.on_limits: Callable[[Limits], None] | None = None
        self.trouble = ""
        self._chain = chain
        self._slot_s = slot_s
        self._household = household
        self._clock = clock
        self._key = key
        self._market: ChainMarket | None = None
        self._open = AsyncExitStack()
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._market = None
        await self._open.aclose()

    async def rules_at(self, slot: int) -> MarketRules:
        """The rules of a slot."""
        return await (await self._connected()).rules_at(slot)

    async def submit(self, signed: SignedOrder) -> None:
        """Send an order. One of paper mode, from before the household went live, stays at home."""
        if not signed.signature:
            log.warning("paper_order_not_sent slot=%d", signed.order.slot)
            return
        await (await self._connected()).submit(signed)

    async def clear(self, slot: int) -> None:
        """Clear a slot."""
        await (await self._connected()).clear(slot)

    async def events_after(self, position: LogPosition, household: int) -> EventPage:
        """The market's events for the household."""
        return await (await self._connected()).events_after(position, household)

    async def _connected(self) -> ChainMarket:
        if self._market is not None:
            return self._market
        async with self._connecting:
            if self._market is None:
                try:
                    async with asyncio.timeout(CONNECT_WITHIN_S):
                        self._market = await self._connect()
                except TimeoutError as error:
                    raise self._unreachable("it does not answer in time") from error
                except (ChainUnreachable, ChainMismatch, Refused) as error:
                    raise self._unreachable(error.message) from error
                if self.trouble:
                    log.info("chain_back rpc=%s", self._chain.rpc)
                self.trouble = ""
            return self._market

    async def _connect(self) -> ChainMarket:
        """A checked connection: the chain and the market that the settings name."""
        for room in ("bootstrap", "household_market", "http", "relay_http"):
            await asyncio.to_thread(import_module, f"node.chain.{room}")
        from node.chain.client import MarketAddress, MarketClient  # noqa: PLC0415 - loaded now
        from node.chain.household_market import ChainMarket, check_genesis  # noqa: PLC0415
        from node.chain.http import http_rpc  # noqa: PLC0415
        from node.chain.keys import Key  # noqa: PLC0415
        from node.chain.relay_http import RelayClient  # noqa: PLC0415
        from node.chain.rpc import Sender  # noqa: PLC0415

        key = Key(_NOBODY) if self._key is None else await asyncio.to_thread(self._key.open)
        chain = self._chain
        async with AsyncExitStack() as unless_right:
            rpc = await unless_right.enter_async_context(http_rpc(chain.rpc))
            if rpc.chain_id != chain.chain_id:
                raise ChainMismatch(f"{chain.rpc} serves chain {rpc.chain_id}")
            await check_genesis(rpc, chain.genesis_hash)
            found = await MarketClient.connect(rpc, chain.market)
            if found.where.slot_s != self._slot_s:
                raise ChainMismatch(f"the market's slots have {found.where.slot_s} s")
            await self._tell_limits(rpc)
            relay = None
            if chain.relay is not None:
                relay = await unless_right.enter_async_context(RelayClient.open(chain.relay))
            self._open.push_async_exit(unless_right.pop_all())
        where = MarketAddress(chain.market, self._slot_s, chain.created_in_block)
        sender = Sender(rpc, key, gas_price=chain.gas_price_wei)

        def sender_now() -> Sender:
            """Of the key that the household has now: the old one's account gets no more gas."""
            nonlocal sender
            if self._key is not None:
                self._key.refresh()
                if (now := self._key.open()).address != sender.address:
                    sender = Sender(rpc, now, gas_price=chain.gas_price_wei)
            return sender

        return ChainMarket(
            MarketClient(rpc, where),
            sender_now,
            self._clock,
            relay,
            genesis_hash=chain.genesis_hash,
        )

    async def _tell_limits(self, rpc: Rpc) -> None:
        from node.chain.bootstrap import REGISTRY  # noqa: PLC0415
        from node.chain.client import MARKET  # noqa: PLC0415

        if self._household and self.on_limits is not None:
            registry = await rpc.call(self._chain.market, MARKET, "REGISTRY")
            limits = await rpc.call(registry, REGISTRY, "limitsOf", self._household)
            self.on_limits(Limits(*limits))

    def _unreachable(self, why: str) -> ChainUnreachable:
        if why != self.trouble:
            log.warning("chain_away rpc=%s why=%r", self._chain.rpc, why)
        self.trouble = why
        return ChainUnreachable(why, next_step="check rpc, chain_id and market in [chain]")


_NOBODY: Final = b"\x01" * 32
"""In paper mode nothing is sent; a sender wants a key all the same."""
