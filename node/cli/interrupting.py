"""Ctrl-C for commands that listen for as long as a person likes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

__all__ = ["until_interrupted"]


def until_interrupted(listening: Coroutine[Any, Any, None]) -> bool:
    """Run it to its end, or until Ctrl-C; whether that ended it. What it raises is raised.

    ``asyncio.run`` alone misses a signal that comes just before it begins to wait, or to another
    thread: nothing wakes it then but the next event, and a line may stay silent for ever.
    """
    return asyncio.run(_until_interrupted(listening))


async def _until_interrupted(listening: Coroutine[Any, Any, None]) -> bool:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(listening)
    was_interrupted = False

    def interrupt() -> None:
        nonlocal was_interrupted
        was_interrupted = True
        task.cancel()

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        await task
    except asyncio.CancelledError:
        if not was_interrupted:
            raise
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    return was_interrupted
