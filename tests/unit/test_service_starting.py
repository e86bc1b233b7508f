"""A start while the disk is full: what is told of it, and what is left behind."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from node.errors import ConfigurationError, StorageBusy
from node.service.evidence import evidence_key
from node.service.instance import only_instance
from node.service.notify import Notifier
from node.service.starting import patiently


@pytest.mark.parametrize("call", ["open", "ftruncate", "write"])
def test_a_full_disk_at_the_lock_is_transient_and_leaves_it_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    database = tmp_path / "node.db"

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(f"node.service.instance.os.{call}", full)
        with pytest.raises(StorageBusy, match="No space left"), only_instance(database):
            pytest.fail("the lock was taken")
    with only_instance(database):
        assert (tmp_path / "node.db.lock").read_text() == f"{os.getpid()}\n"


def test_a_full_disk_at_the_evidence_key_is_transient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("node.service.evidence.os.fsync", full)
        with pytest.raises(StorageBusy, match="No space left"):
            evidence_key(tmp_path / "node.db")
    assert len(evidence_key(tmp_path / "node.db")) == 32


def test_a_start_that_is_told_to_stop_begins_nothing() -> None:
    async def scenario() -> None:
        stop = asyncio.Event()

        def full() -> str:
            stop.set()
            raise StorageBusy("no room")

        assert await patiently(full, stop, Notifier({})) is None

    asyncio.run(scenario())


def test_what_is_no_matter_of_waiting_ends_the_start() -> None:
    def foreign() -> None:
        raise ConfigurationError("another node uses it")

    async def scenario() -> None:
        with pytest.raises(ConfigurationError):
            await patiently(foreign, asyncio.Event(), Notifier({}))

    asyncio.run(scenario())
