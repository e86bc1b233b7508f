"""The owner's word is durable before it is answered."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from node.clock import SystemClock
from node.errors import StorageBusy
from node.meter.believing import MeterBook
from node.service.confirming import Answer, Confirmation, ask, heed
from tests.support.meter_samples import MESSAGES, NOON_S, MemoryStorage, came, frame

PATIENCE_S = 30


def book_awaiting_a_swap() -> MeterBook:
    book = MeterBook(MESSAGES)
    for at_s, meter_id in enumerate(("old", "old", "new", "new", "new")):
        book.observe(came(NOON_S + 10 * at_s, frame(100, 100, meter_id=meter_id)))
    return book


class Disk:
    """A storage that has room, or has not."""

    def __init__(self, book: MeterBook) -> None:
        self.storage = MemoryStorage()
        self.is_full = False
        self._book = book

    def keep(self) -> None:
        if self.is_full:
            raise StorageBusy("the disk is full")
        self._book.keep(self.storage)
        self.storage.commit()

    def kept(self) -> MeterBook:
        """What a process finds that is started after the power went."""
        return MeterBook(MESSAGES, self.storage.meter_state("meter"))


def heeded(database: Path, book: MeterBook, disk: Disk, use: Callable[[], Awaitable[None]]) -> None:
    async def life() -> None:
        listening = asyncio.create_task(heed(database, book, SystemClock(), disk.keep))
        try:
            await asyncio.sleep(0)  # it listens before it waits
            await use()
            assert not listening.done()
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    asyncio.run(life())


def series_of(book: MeterBook) -> str | None:
    return book.health(NOON_S, connected=True).meter_id


def test_what_was_confirmed_outlives_the_process(tmp_path: Path) -> None:
    database, book = tmp_path / "node.db", book_awaiting_a_swap()
    disk = Disk(book)
    disk.keep()
    assert series_of(disk.kept()) == "old"

    async def use() -> None:
        answer = await ask(database, Confirmation.SWAP, SystemClock(), PATIENCE_S)
        assert answer == Answer(done=True)
        assert series_of(disk.kept()) == "new"

    heeded(database, book, disk, use)


def test_what_cannot_be_kept_is_not_done_and_can_be_asked_again(tmp_path: Path) -> None:
    database, book = tmp_path / "node.db", book_awaiting_a_swap()
    disk = Disk(book)
    disk.keep()

    async def asked() -> Answer:
        answer = await ask(database, Confirmation.SWAP, SystemClock(), PATIENCE_S)
        assert answer is not None
        return answer

    async def use() -> None:
        disk.is_full = True
        for _ in range(2):
            answer = await asked()
            assert not answer.done
            assert "the disk is full" in answer.why
        assert series_of(disk.kept()) == "old"
        disk.is_full = False
        assert (await asked()).done
        assert series_of(disk.kept()) == "new"
        late = await asked()
        assert (late.done, "no swap to confirm" in late.why) == (False, True)

    heeded(database, book, disk, use)


def test_an_answer_that_cannot_be_written_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, book = tmp_path / "node.db", book_awaiting_a_swap()
    disk = Disk(book)

    tried = asyncio.Event()

    def full(*_: object, **__: object) -> int:
        tried.set()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def use() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", full)
            asked = asyncio.create_task(ask(database, Confirmation.SWAP, SystemClock(), PATIENCE_S))
            await tried.wait()
            asked.cancel()
        answer = await ask(database, Confirmation.SWAP, SystemClock(), PATIENCE_S)
        assert answer is not None
        assert "no swap to confirm" in answer.why

    heeded(database, book, disk, use)
