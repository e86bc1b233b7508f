"""Clocks: the machine's, and one that moves only when told to."""

from __future__ import annotations

import asyncio

from node.clock import Clock, ManualClock, SystemClock, cpu_seconds, wall_seconds


def test_a_manual_clock_moves_when_told_and_never_back() -> None:
    clock = ManualClock(100)
    clock.advance_to(160)
    clock.advance_to(150)
    assert clock.now_s() == 160


def test_sleeping_on_a_manual_clock_is_moving_it() -> None:
    clock = ManualClock(100)
    asyncio.run(clock.sleep_until(1_000_000))
    assert clock.now_s() == 1_000_000
    asyncio.run(clock.sleep_until(7))
    assert clock.now_s() == 1_000_000


def test_the_machines_clock_does_not_wake_early() -> None:
    async def naps(clock: Clock) -> tuple[int, int]:
        wake_s = clock.now_s() + 1
        await clock.sleep_until(wake_s)
        return wake_s, clock.now_s()

    wake_s, woken_s = asyncio.run(naps(SystemClock()))
    assert woken_s >= wake_s


def test_an_instant_that_has_passed_needs_no_sleep() -> None:
    clock = SystemClock()
    began_s = wall_seconds()
    asyncio.run(clock.sleep_until(clock.now_s() - 3_600))
    assert wall_seconds() - began_s < 60


def test_cpu_seconds_only_grow() -> None:
    before = cpu_seconds()
    sum(range(100_000))
    assert cpu_seconds() >= before >= 0
