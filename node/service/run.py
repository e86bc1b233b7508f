"""The household's service, from start to stop: every room opened, joined and closed again.

::

    run_service
      ├── meter      LiveMeter.run         reads, and connects again when the meter was lost
      ├── node       HouseholdNode.run     slot after slot
      ├── page       /status.json and /metrics on loopback
      ├── publish    the household's MQTT broker, if there is one
      ├── upkeep     the nightly backup
      └── watchdog   tells systemd that the node makes progress

The meter and the node are the service: if one of them fails by a bug, the process ends, and systemd
starts another. What only shows or saves may fail and is begun again, while the node goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from typing import Final

from node import __version__
from node.clock import Clock
from node.config import NodeConfig, refuse_open_secrets
from node.daemon import HouseholdNode
from node.errors import ConfigurationError, DaiseeError, StorageBusy, Transient
from node.meter.live import STATE_KEY, LiveMeter
from node.meter.sources import connect_for
from node.model import Household
from node.ports import IntentState, Market, OrderSigner
from node.publish.status_http import serve_status
from node.service.believed import Believed
from node.service.confirming import heed
from node.service.evidence import EVIDENCE_KEY_BYTES, evidence_key
from node.service.instance import only_instance
from node.service.market import HouseholdKey, LateMarket, Limits
from node.service.notify import Notifier
from node.service.paper import PaperMarket, PaperSigner, told_on_paper
from node.service.picture import Picture
from node.service.publishing import publish
from node.service.rooms import broker_of, check_rooms, meter_of, strategy_of
from node.service.starting import patiently
from node.service.upkeep import Upkeep
from node.store import NodeDatabase
from node.store.disk import may_pass

__all__ = ["EVIDENCE_KEY_BYTES", "run_service"]

log = logging.getLogger("daisee.service")

FIRST_PAUSE_S: Final = 5
LONGEST_PAUSE_S: Final = 300


async def run_service(
    config: NodeConfig,
    clock: Clock,
    *,
    environment: Mapping[str, str] | None = None,
    stop: asyncio.Event | None = None,
) -> Mapping[str, object]:
    """Run a household's node until SIGTERM, SIGINT or ``stop``. Everything that was known is then
    on the disk. Returns how it stood at the end, as its status page had it.

    A disk that is full at the start is waited for, until it has room or the node is told to stop.
    Raises ConfigurationError for settings that cannot be used.
    """
    environment = os.environ if environment is None else environment
    check_rooms(config)
    refuse_open_secrets(config)
    stop = stop or asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    slot_s = config.household.slot_s
    market: Market
    signer: OrderSigner = PaperSigner()
    key = HouseholdKey(config, environment) if config.trades else None
    async with AsyncExitStack() as rooms:
        late = None
        if config.chain is not None:
            late = LateMarket(config.chain, slot_s, config.household.number, clock, key)
            await rooms.enter_async_context(late)
        if late is None or key is None:
            market = PaperMarket(slot_s, late)
        else:
            market, signer = late, key

        def open_rooms() -> Service:
            with ExitStack() as unless_whole:
                storage = _storage_of(config, unless_whole)
                opened = Service(config, clock, storage, market, signer, environment)
                rooms.enter_context(unless_whole.pop_all())
            return opened

        service = await patiently(open_rooms, stop, Notifier(environment))
        if service is None:
            return {"mode": "trade" if config.trades else "paper", "started": False}
        if late is not None:
            late.on_limits = service.take_limits
        await service.run(stop)
        return service.picture.more()


def _storage_of(config: NodeConfig, rooms: ExitStack) -> NodeDatabase:
    """The node's database, for this process alone. Raises StorageBusy while the disk is full."""
    database = config.storage.database
    try:
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        kind = StorageBusy if may_pass(error) else ConfigurationError
        raise kind(f"no folder for the database: {error}") from error
    rooms.enter_context(only_instance(database))
    storage = rooms.enter_context(NodeDatabase.open(database))
    if config.trades:
        _leave_paper_behind(storage)
    return storage


def _leave_paper_behind(storage: NodeDatabase) -> None:
    """Orders that were written down without a signature are never sent, whatever comes."""
    for signed, _ in storage.open_intents():
        if not signed.signature:
            order = signed.order
            storage.set_intent_state(order.slot, order.side, IntentState.EXPIRED, "paper_mode")


class Service:
    """One run: the rooms, and the tasks that live in them."""

    def __init__(
        self,
        config: NodeConfig,
        clock: Clock,
        storage: NodeDatabase,
        market: Market,
        signer: OrderSigner,
        environment: Mapping[str, str],
    ) -> None:
        self._config = config
        self._clock = clock
        self._storage = storage
        self._notifier = Notifier(environment)
        rng = random.SystemRandom()
        settings = meter_of(config)
        believed = Believed()
        self._meter = LiveMeter(
            connect_for(settings, clock),
            clock,
            settings=settings,
            state=storage.meter_state(STATE_KEY),
            on_sample=believed.take,
        )
        household = config.household
        self._node = HouseholdNode(
            household=Household(
                household.number, household.import_limit_wh, household.export_limit_wh
            ),
            slot_s=household.slot_s,
            meter=self._meter,
            strategy=strategy_of(config),
            signer=signer,
            market=market,
            storage=storage,
            clock=clock,
            rng=rng,
            evidence_key=evidence_key(config.storage.database),
        )
        self._market = market
        self._upkeep = Upkeep(config.storage, storage, clock, rng)
        self.picture = Picture(
            config, clock, storage, self._meter, self._node, self._upkeep, believed
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Until it is told to stop; then what the meter said last is kept too."""
        if not self._config.trades:
            logging.getLogger("daisee.node").addFilter(told_on_paper)
        page_is_up = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._meter.run(), name="meter"),
                    group.create_task(self._node.run(), name="node"),
                    group.create_task(self._boundary("page", lambda: self._page(page_is_up))),
                    group.create_task(self._boundary("upkeep", self._upkeep.run)),
                    group.create_task(self._boundary("confirming", self._heed)),
                    group.create_task(self._watchdog(), name="watchdog"),
                ]
                if self._config.publish is not None:
                    tasks.append(group.create_task(self._boundary("publish", self._publish)))
                await page_is_up.wait()
                log.info("ready version=%s mode=%s", __version__, self._mode)
                self._notifier.ready(f"{self._mode}: reading the meter")
                await stop.wait()
                self._notifier.stopping()
                for task in tasks:
                    task.cancel()
        finally:
            logging.getLogger("daisee.node").removeFilter(told_on_paper)
            self._keep_at_last()
        log.info("stopped")

    def take_limits(self, limits: Limits) -> None:
        """What the registry lets one order carry, once the chain has told: never more than the
        settings allow."""
        household = self._config.household
        self._node.household = replace(
            self._node.household,
            import_limit_wh=min(limits.import_wh, household.import_limit_wh),
            export_limit_wh=min(limits.export_wh, household.export_limit_wh),
        )

    @property
    def _mode(self) -> str:
        return "trade" if self._config.trades else "paper"

    def _keep(self) -> None:
        """What the meter knows, to the disk. Raises Transient or ConfigurationError."""
        with self._storage.transaction():
            self._meter.keep(self._storage)

    def _keep_at_last(self) -> None:
        """The raw samples since the last slot: the energy itself is in the registers."""
        try:
            self._keep()
        except Transient as error:
            log.warning("samples_not_kept why=%r", str(error))

    async def _boundary(self, name: str, task: Callable[[], Awaitable[None]]) -> None:
        """Begin again what only shows or saves, whatever it failed by: the meter goes on. The pause
        grows with each failure up to a bound."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await task()
            except DaiseeError as error:
                log.warning("task_failed name=%s why=%r", name, str(error))
            except Exception:  # the task boundary
                log.exception("task_broke name=%s", name)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _page(self, is_up: asyncio.Event) -> None:
        """The status page. If it cannot be served the node is ready all the same."""
        metrics = self._config.metrics
        if not metrics.serve:
            is_up.set()
            await asyncio.Event().wait()
        try:
            async with serve_status(
                self.picture.state,
                version=__version__,
                more=self.picture.more,
                host=metrics.host,
                port=metrics.port,
            ) as port:
                log.info("status_page url=http://%s:%d/status.json", metrics.host, port)
                is_up.set()
                await asyncio.Event().wait()
        finally:
            is_up.set()

    async def _heed(self) -> None:
        await heed(self._config.storage.database, self._meter, self._clock, self._keep)

    async def _publish(self) -> None:
        broker = broker_of(self._config)
        assert broker is not None
        assert self._config.publish is not None
        await publish(broker, self._config.publish, self._clock, self._storage, self.picture.state)

    async def _watchdog(self) -> None:
        """Tell systemd of progress, and of nothing else: an agenda that stands still is killed.

        Progress is a look at the agenda, a step that was taken, a page of events that was read. A
        time of day is none: it stands still for a sound node whose clock was set back a little.
        """
        if not self._notifier.watchdog_s:
            return
        seen: object = None
        while True:
            status = self._node.status()
            progress = (status.looks, status.cursor, status.counters)
            if progress != seen:
                seen = progress
                self._notifier.alive()
            await asyncio.sleep(self._notifier.watchdog_s / 6)
