"""A program that is run to its end says why it failed, and never outlives who waits for it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from node.chain.network.commands import failure_of
from node.clock import wall_seconds
from tests.support.living import living

WAITS = "import time; time.sleep(600)"


def failure(command: list[str], within_s: float = 60) -> str:
    return asyncio.run(failure_of(command, within_s=within_s))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ""),
        ("import sys; sys.exit('no room\\nleft')", "no room\nleft"),
        ("import sys; sys.exit(3)", "it ended with 3"),
        ("print('only to be read'); raise SystemExit(4)", "it ended with 4"),
    ],
)
def test_says_why_it_failed(text: str, why: str) -> None:
    assert failure([sys.executable, "-c", text]) == why


def test_a_program_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    assert failure([str(tmp_path / "none")]) == "No such file or directory"


def test_whoever_is_cancelled_has_ended_it(tmp_path: Path) -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(
            failure_of([sys.executable, "-c", WAITS, str(tmp_path)], within_s=600)
        )
        begun_s = wall_seconds()
        while not living(tmp_path):
            assert wall_seconds() < begun_s + 60
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert living(tmp_path) == []


def test_it_is_ended_when_its_time_is_over(tmp_path: Path) -> None:
    why = failure([sys.executable, "-c", WAITS, str(tmp_path)], within_s=1)
    assert why == "not done after 1 s"
    assert living(tmp_path) == []
