"""A start that waits for its disk: what is full at night has room again when its owner has looked.

A process that ended instead would be started again by systemd ten times, and then stay down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final, TypeVar

from node.errors import Transient
from node.service.notify import Notifier

__all__ = ["patiently"]

log = logging.getLogger("daisee.service")

FIRST_PAUSE_S: Final = 1
LONGEST_PAUSE_S: Final = 30
"""Between two tries; each pause is twice the one before."""

TRY_WITHIN_S: Final = 60
"""What one try may take, told to systemd on top of the pause before it."""

_T = TypeVar("_T")


async def patiently(begin: Callable[[], _T], stop: asyncio.Event, notifier: Notifier) -> _T | None:
    """What ``begin`` gives, tried again for as long as it raises Transient; None when it was told
    to stop before. Each reason is logged once, and systemd is told to wait."""
    pause_s, told = FIRST_PAUSE_S, ""
    while not stop.is_set():
        try:
            begun = begin()
        except Transient as error:
            why = str(error)
            if why != told:
                log.warning("start_waits why=%r", why)
            told = why
            notifier.still_starting(f"waiting: {error.message}", pause_s + TRY_WITHIN_S)
        else:
            if told:
                log.info("start_goes_on")
            return begun
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await stop.wait()
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    return None
