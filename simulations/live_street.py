"""A street in real time: validators, a relay and household daemons, each a process on loopback.

::

    LiveStreet
      ├── LocalNetwork     validators and a node that answers members
      ├── relay            daisee relay run
      └── HomeProcess ...  daisee node run, one for each home

What is started here is stopped here, by its process id, however the street ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from node.chain.bootstrap import (
    Deployment,
    Newcomer,
    admit_all,
    issue_and_deposit,
    market_client,
)
from node.chain.client import MAX_BATCH
from node.chain.community import CONTRACTS, GAS_PRICE_WEI, Community, save_community
from node.chain.http import http_rpc
from node.chain.json_rpc import block_query, number
from node.chain.keyfiles import open_key
from node.chain.keys import Key
from node.chain.network.founding import found_community
from node.chain.network.keeping import KEY_BYTES, make_account
from node.chain.network.layout import COMMUNITY_FILE, Plan, init_network, operator_files
from node.chain.network.local import LocalNetwork
from node.chain.rpc import Call, Rpc, Sender
from node.clock import SystemClock, wall_seconds
from node.errors import ChainUnreachable, ConfigurationError
from node.model import (
    BEFORE_ALL,
    MarketEvent,
    MarketRules,
    OrderAccepted,
    OrderSettled,
    SlotCleared,
)
from node.slots import slot_at
from simulations.live_homes import REST_S, Child, HomeFolder, HomeProcess, write_profile
from simulations.neighbourhood import Home

__all__ = ["LiveHome", "LiveStreet", "Pulse", "StreetPlan", "Traffic"]

CHAIN_ID: Final = 20_261
FIRST_BLOCK_WITHIN_S: Final = 60.0
RELAY_WITHIN_S: Final = 60.0
PULSE_EVERY_S: Final = 0.25

STARTING_AT_ONCE: Final = 2
"""Daemons that load their programs at the same time."""

START_WITHIN_S: Final = 90.0
START_LEAD_S: Final = 10
START_LEAD_PER_HOME_S: Final = 4
"""The first slot begins so long after the daemons are started: a busy machine starts one in some
seconds, and all must be there when the slot ends."""

ETHER: Final = 10**18
LIMIT_STEP_WH: Final = 500


@dataclass(frozen=True, slots=True)
class StreetPlan:
    """What a street is made of. With more than one lap the homes' profiles begin again when they
    end; their credit is for so many laps."""

    engine: str = "geth"
    validators: int = 4
    period_s: int = 1
    has_relay: bool = True
    laps: int = 1


@dataclass(frozen=True, slots=True)
class LiveHome:
    """A home that was admitted: its number, its credit, what its meter will count in each slot."""

    home: Home
    number: int
    deposit_units: int
    import_wh: Sequence[int]
    export_wh: Sequence[int]
    process: HomeProcess


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a range of blocks carried."""

    blocks: int
    transactions: int
    gas_used: int


@dataclass(slots=True)
class Pulse:
    """The longest time for which members saw no new block, by this machine's clock: a block's own
    time says when it was begun."""

    longest_gap_s: float = 0.0


class LiveStreet:
    """Use as an async context manager: on entering there are a chain, a market and members;
    ``open`` starts the daemons. ``tell`` hears what goes on."""

    def __init__(
        self,
        folder: Path,
        homes: Sequence[Home],
        rules: MarketRules,
        plan: StreetPlan,
        tell: Callable[[str], None] = lambda _stage: None,
    ) -> None:
        self.folder = folder
        self.rules = rules
        self.homes: list[LiveHome] = []
        self.slots = range(0)
        self._homes = homes
        self._plan = plan
        self._tell = tell
        self._open = AsyncExitStack()
        self._clock = SystemClock()

    async def __aenter__(self) -> Self:
        try:
            await self._found()
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    async def open(self) -> range:
        """Start the daemons, a few at a time; the slots in which their profiles play. Raises
        ConfigurationError when the machine is too slow to have them all in time."""
        lead_s = START_LEAD_S + START_LEAD_PER_HOME_S * len(self.homes)
        slot_s = self.rules.slot_s
        first = slot_at(self._clock.now_s() + lead_s, slot_s) + 1
        self.slots = range(first, first + len(self.homes[0].import_wh))
        for home in self.homes:
            write_profile(
                home.process.folder.profile,
                first_slot=first,
                slot_s=slot_s,
                import_wh=home.import_wh,
                export_wh=home.export_wh,
                rest_s=0 if self._plan.laps > 1 else REST_S,
            )
        self._tell(f"starting {len(self.homes)} household daemons")
        turns = asyncio.Semaphore(STARTING_AT_ONCE)

        async def start(process: HomeProcess) -> None:
            async with turns:
                await process.start()
                await process.until_it_follows(START_WITHIN_S)

        await _together(*(start(home.process) for home in self.homes))
        late_s = self._clock.now_s() - (first + 1) * slot_s
        if late_s > 0:
            raise ConfigurationError(
                f"{len(self.homes)} daemons were {late_s} s late for the first slot's end",
                next_step="fewer homes, or a machine with less to do",
            )
        return self.slots

    async def stop_homes(self) -> None:
        """Stop the daemons politely: what they know is then on the disk."""
        await _together(*(home.process.stop() for home in self.homes))

    # What the chain says

    async def events(self) -> list[MarketEvent]:
        """Everything that the market said so far, read anew."""
        events: list[MarketEvent] = []
        position, more = BEFORE_ALL, True
        while more:
            page = await self.market.events_after(position)
            events += page.events
            position, more = page.upto, page.more
        return events

    async def settle_rest(self) -> None:
        """Settle what is not yet: an order settles when its household orders again."""
        events = await self.events()
        open_orders = {(e.slot, e.household) for e in events if isinstance(e, OrderAccepted)}
        settled = {(e.slot, e.household) for e in events if isinstance(e, OrderSettled)}
        for slot in sorted({slot for slot, _ in open_orders - settled}):
            numbers = sorted(number for at, number in open_orders - settled if at == slot)
            for begin in range(0, len(numbers), MAX_BATCH):
                await self.market.settle(self._operator, slot, numbers[begin : begin + MAX_BATCH])

    async def until_final(self) -> None:
        """Wait until what the chain says now cannot be taken back any more."""
        head = await self.rpc.head()
        depth = self.community.finality_depth
        await self.network.until_block(head + depth, within_s=60.0 + 4.0 * depth)

    async def balances(self) -> dict[int, int]:
        """Every home's free credit, as the market has it."""
        return {home.number: await self.market.balance_units(home.number) for home in self.homes}

    async def fees_units(self) -> int:
        """What the market holds for the recipient of network fees."""
        recipient = self.rules.fee_recipient
        return await self.market.fees_units(recipient) if recipient else 0

    async def traffic(self, from_block: int) -> Traffic:
        """What the blocks from one on carried."""
        head = await self.rpc.head()
        transactions = gas_used = 0
        for height in range(from_block, head + 1):
            block = await self.rpc.ask(*block_query(height))
            transactions += len(block["transactions"])
            gas_used += number(block["gasUsed"])
        return Traffic(max(head + 1 - from_block, 0), transactions, gas_used)

    @asynccontextmanager
    async def pulse(self) -> AsyncIterator[Pulse]:
        """Watch the chain's head until the block ends."""
        pulse = Pulse()
        task = asyncio.create_task(self._watch(pulse))
        try:
            yield pulse
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _watch(self, pulse: Pulse) -> None:
        head, since_s = -1, wall_seconds()
        while True:
            with contextlib.suppress(ChainUnreachable):
                seen = await self.rpc.head()
                if seen != head:
                    head, since_s = seen, wall_seconds()
            pulse.longest_gap_s = max(pulse.longest_gap_s, wall_seconds() - since_s)
            await asyncio.sleep(PULSE_EVERY_S)

    async def cleared(self) -> dict[int, SlotCleared]:
        """The clearings so far, by slot."""
        return {e.slot: e for e in await self.events() if isinstance(e, SlotCleared)}

    def now_s(self) -> int:
        """The time."""
        return self._clock.now_s()

    async def until(self, unix_s: int) -> None:
        """Let time pass."""
        await self._clock.sleep_until(unix_s)

    # From nothing to a market with members

    async def _found(self) -> None:
        plan = self._plan
        self._tell(f"starting {plan.validators} {plan.engine} validators")
        folder = self.folder / "network"
        settled = Plan(
            *("Live street", plan.engine, CHAIN_ID),
            validators=plan.validators,
            rpc_nodes=1,
            period_s=plan.period_s,
            light_keys=True,
        )
        network, _ = init_network(folder, settled, secrets.token_bytes)
        self.network = await self._open.enter_async_context(LocalNetwork(folder))
        await self.network.until_block(1, within_s=FIRST_BLOCK_WITHIN_S)
        self.rpc: Rpc = await self._open.enter_async_context(http_rpc(self.network.rpc_url()))
        self._tell("deploying the contracts")
        operator = open_key(operator_files(folder))
        purse = Key(secrets.token_bytes(KEY_BYTES))
        self.community: Community = await found_community(
            self.rpc,
            network,
            operator,
            self.rules,
            rpc_urls=[self.network.rpc_url()],
            grants=[("treasurer", purse.address)],
        )
        save_community(folder / COMMUNITY_FILE, self.community)
        self._operator = Sender(self.rpc, operator, gas_price=GAS_PRICE_WEI)
        self._purse = Sender(self.rpc, purse, gas_price=GAS_PRICE_WEI)
        await self._operator.pay(purse.address, 10_000 * ETHER)
        access, registry, credit, market, records = (
            self.community.contracts[name] for name in CONTRACTS
        )
        self._deployment = Deployment(
            *(access, registry, credit, market, records),
            self.rules.slot_s,
            self.community.created_in_block,
        )
        self.market = market_client(self.rpc, self._deployment)
        self.relay: Child | None = None
        self.relay_url = await self._start_relay(folder) if plan.has_relay else None
        await self._admit_all(self.relay_url)

    async def _start_relay(self, network: Path) -> str:
        files = HomeFolder(self.folder / "relay").keys
        address = make_account(files, secrets.token_bytes, light=True)
        await self._purse.pay(address, 100 * ETHER)
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            place = f"127.0.0.1:{probe.getsockname()[1]}"
        arguments = (
            *("relay", "run", "--community", str(network / COMMUNITY_FILE), "--listen", place),
            *("--key", str(files.keystore), "--password-file", str(files.password)),
        )
        self.relay = Child("relay", self.folder / "relay.log", arguments)
        await self.relay.start()
        self._open.push_async_callback(self.relay.stop)
        host, port = place.split(":")
        deadline_s = wall_seconds() + RELAY_WITHIN_S
        while wall_seconds() < deadline_s and self.relay.pid is not None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return f"http://{place}"
            await asyncio.sleep(0.2)
        raise ChainUnreachable(f"the relay does not come up: {self.relay.last_words()}")

    async def _admit_all(self, relay_url: str | None) -> None:
        """Keys, numbers, gas and credit for every home."""
        self._tell(f"admitting {len(self._homes)} households")
        newcomers = [self._newcomer(home) for home in self._homes]
        admitted = await admit_all(self.rpc, self._operator, self._deployment, newcomers)
        await self._purse.send_all([Call.paying(new.signer, ETHER) for new in newcomers])
        for home, household in zip(self._homes, admitted, strict=True):
            self.homes.append(self._lives(home, household, relay_url))
        deposits = {home.number: home.deposit_units for home in self.homes}
        await issue_and_deposit(self._purse, self._deployment, deposits)
        self._open.push_async_callback(self.stop_homes)

    def _newcomer(self, home: Home) -> Newcomer:
        files = self._folder_of(home).keys
        make_account(files, secrets.token_bytes, light=True)
        key = open_key(files)
        import_wh, export_wh = _flows(home)
        return Newcomer(key, key.address, _limit_wh(import_wh), _limit_wh(export_wh))

    def _lives(self, home: Home, number: int, relay_url: str | None) -> LiveHome:
        """Write a home's settings."""
        folder = self._folder_of(home)
        import_wh, export_wh = _flows(home)
        folder.write_settings(
            self.community,
            number=number,
            rpc_url=self.network.rpc_url(),
            relay_url=relay_url,
            strategy=home.strategy.name,
            parameters=_parameters(home),
        )
        most_price = self.rules.grid.cap_price + self.rules.network_fee
        deposit_units = self._plan.laps * sum(import_wh) * most_price
        return LiveHome(home, number, deposit_units, import_wh, export_wh, HomeProcess(folder))

    def _folder_of(self, home: Home) -> HomeFolder:
        folder = self.folder / "homes" / home.name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return HomeFolder(folder)


def _flows(home: Home) -> tuple[list[int], list[int]]:
    """What a home's meter counts in each slot: import and export."""
    profile = home.profile
    nets = [load - pv for load, pv in zip(profile.load_wh, profile.pv_wh, strict=True)]
    return [max(net, 0) for net in nets], [max(-net, 0) for net in nets]


def _limit_wh(energies_wh: Sequence[int]) -> int:
    """A home's highest slot, rounded up: it binds nobody honest."""
    return -(-max(energies_wh) // LIMIT_STEP_WH) * LIMIT_STEP_WH


def _parameters(home: Home) -> Mapping[str, float]:
    """A strategy's parameters, which are its fields."""
    found = {
        name: getattr(home.strategy, name) for name in signature(type(home.strategy)).parameters
    }
    return {name: value for name, value in found.items() if value is not None}


async def _together(*steps: Coroutine[Any, Any, None]) -> None:
    """Do all at a time. The first failure is raised as it is, when the others have ended."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
