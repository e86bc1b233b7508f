"""Ctrl-C ends a command that waits, whichever thread the signal reaches."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from node.cli.interrupting import until_interrupted
from node.errors import MeterSilent

GIVE_UP_S = 60.0


def test_a_signal_that_does_not_break_the_wait_ends_it_all_the_same() -> None:
    waits = threading.Event()

    def interrupt() -> None:
        waits.wait(GIVE_UP_S)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    async def listen() -> None:
        asyncio.get_running_loop().call_soon(waits.set)
        await asyncio.wait_for(asyncio.Event().wait(), GIVE_UP_S)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert until_interrupted(listen())
    thread.join()


def test_what_ends_by_itself_was_not_interrupted() -> None:
    assert not until_interrupted(asyncio.sleep(0))


def test_a_failure_is_told() -> None:
    async def fail() -> None:
        raise MeterSilent("gone")

    with pytest.raises(MeterSilent, match="gone"):
        until_interrupted(fail())


def test_a_task_that_is_cancelled_by_something_else_is_no_interruption() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        until_interrupted(cancelled())
