"""The household's broker is told what is new, and what it was told is remembered."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable

from node import __version__
from node.clock import Clock
from node.config import PublishSection
from node.publish.broker import BrokerSettings
from node.publish.mqtt import Publisher
from node.publish.state import NodeIdentity, PublishedState, new_device_id
from node.store import NodeDatabase

__all__ = ["publish"]

IDENTITY = "publisher"
MEMORY = "published"


async def publish(
    broker: BrokerSettings,
    settings: PublishSection,
    clock: Clock,
    storage: NodeDatabase,
    state: Callable[[], PublishedState],
) -> None:
    """Publish until cancelled. The highest indices that were told are kept with each closed slot,
    when another meter took over, and at the end.

    What is told in between may be lost with the power, and an index never falls all the same:
    ``state`` tells no total before the meter has spoken (``Believed``), and the publisher looks
    first what the broker retained.
    """
    publisher = Publisher(
        broker,
        NodeIdentity(_device_id(storage), settings.name, __version__),
        clock,
        memory=storage.meter_state(MEMORY),
        emon_node=settings.emon_node,
        every_s=settings.every_s,
    )
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(publisher.run(), name="broker")
            kept: object = None
            while True:
                drawn = state()
                publisher.update(drawn)
                if kept != (drawn.slot_start_s, publisher.series):
                    kept = drawn.slot_start_s, publisher.series
                    storage.set_meter_state(MEMORY, publisher.memory)
                await asyncio.sleep(settings.every_s)
    finally:
        storage.set_meter_state(MEMORY, publisher.memory)


def _device_id(storage: NodeDatabase) -> str:
    """Drawn once, then the same for ever: the house knows the node by it."""
    kept = storage.meter_state(IDENTITY)
    if kept is not None:
        return str(json.loads(kept)["device_id"])
    device_id = new_device_id(random.SystemRandom())
    storage.set_meter_state(IDENTITY, json.dumps({"device_id": device_id}))
    return device_id
