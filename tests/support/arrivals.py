"""Taking a known number of things from a meter's connection, with patience but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from node.meter.arrivals import Arrived, Connect
from node.meter.codec import MeterFrame

PATIENCE_S: Final = 20.0


async def first_frames(
    connect: Connect, count: int, *, meanwhile: Callable[[], None] = lambda: None
) -> list[MeterFrame]:
    """The first frames of a new connection; ``meanwhile`` runs once it is open, and again and again
    until they are there."""
    return [
        arrived.decoded
        for arrived in await first_arrivals(connect, count, meanwhile=meanwhile)
        if isinstance(arrived.decoded, MeterFrame)
    ]


async def first_arrivals(
    connect: Connect, frames: int, *, meanwhile: Callable[[], None] = lambda: None
) -> list[Arrived]:
    """Everything that comes up to and with so many frames."""
    found: list[Arrived] = []

    async def listen() -> None:
        left = frames
        async for arrived in transport.arrivals():
            found.append(arrived)
            left -= isinstance(arrived.decoded, MeterFrame)
            if left == 0:
                return

    async with asyncio.timeout(PATIENCE_S), connect() as transport:
        listening = asyncio.ensure_future(listen())
        while not listening.done():
            meanwhile()
            await asyncio.wait({listening}, timeout=0.2)
        listening.result()
    return found
