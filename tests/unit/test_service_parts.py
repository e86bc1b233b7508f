"""Parts of the service by themselves: nightly upkeep, the evidence key, paper, local days."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from contextlib import suppress
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from node.clock import ManualClock
from node.config import StorageSection
from node.errors import ConfigurationError, Refused, StorageBusy
from node.model import BEFORE_ALL, Order, SampleBatch, Side, SignedOrder
from node.service.evidence import EVIDENCE_KEY, evidence_key
from node.service.instance import only_instance
from node.service.notify import Notifier
from node.service.paper import PaperMarket, PaperSigner
from node.service.picture import day_start_s
from node.service.upkeep import DAY_S, HOUR_S, OVERDUE_S, SOON_S, TRIES, Upkeep
from node.slots import parse_iso_utc
from node.store import NodeDatabase

NOON_S = 20_000 * DAY_S + 12 * HOUR_S


class EndingClock(ManualClock):
    """A clock that jumps, up to an end: whoever sleeps beyond it gets a TimeoutError."""

    ends_at_s = 2**40

    async def sleep_until(self, unix_s: int) -> None:
        if unix_s > self.ends_at_s:
            raise TimeoutError
        await super().sleep_until(unix_s)


class Night:
    """Upkeep of a database in a folder, by a clock that jumps."""

    def __init__(self, folder: Path, now_s: int = NOON_S) -> None:
        self.settings = StorageSection(
            folder / "node.db", folder / "backups", keep_backups=2, keep_samples_days=31
        )
        self.storage = NodeDatabase.open(self.settings.database)
        self.clock = EndingClock(now_s)
        self.upkeep = Upkeep(self.settings, self.storage, self.clock, random.Random(1))

    def made_at(self, at_s: int) -> None:
        """The newest backup is from then."""
        os.utime(self.upkeep.backup_path, (at_s, at_s))


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path)


def test_the_first_backup_comes_soon_and_the_next_at_night(night: Night) -> None:
    assert night.upkeep.last_backup_s is None
    assert night.upkeep.next_s(NOON_S) == NOON_S + SOON_S
    asyncio.run(night.upkeep.back_up())
    night.made_at(NOON_S)
    due_s = night.upkeep.next_s(NOON_S)
    assert due_s // DAY_S == NOON_S // DAY_S + 1
    assert due_s % DAY_S // HOUR_S == night.settings.backup_hour
    assert night.upkeep.next_s(due_s) == due_s + DAY_S, "not twice in one night"


def test_a_node_that_was_off_at_night_catches_up(night: Night) -> None:
    asyncio.run(night.upkeep.back_up())
    night.made_at(NOON_S - OVERDUE_S - 1)
    assert night.upkeep.next_s(NOON_S) == NOON_S + SOON_S


def test_a_backup_holds_the_key_too_and_can_be_opened(night: Night) -> None:
    key = evidence_key(night.settings.database)
    asyncio.run(night.upkeep.back_up())
    asyncio.run(night.upkeep.back_up())
    asyncio.run(night.upkeep.back_up())
    folder = night.settings.backup_folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "evidence.key",
        "node.db",
        "node.db.1",
    ]
    assert evidence_key(folder / "node.db") == key
    with NodeDatabase.open_read_only(folder / "node.db") as copy:
        assert copy.integrity() == []


def test_raw_samples_are_forgotten_after_their_days(night: Night) -> None:
    for age_days in (40, 32, 30, 1):
        end_s = NOON_S - age_days * DAY_S
        night.storage.add_samples(SampleBatch("m", end_s - 900, end_s, 1, b"x"))
    assert night.upkeep.forget_samples() == 2
    kept = [batch.to_s for batch in night.storage.samples("m", 0, NOON_S)]
    assert kept == [NOON_S - 30 * DAY_S, NOON_S - DAY_S]


def test_samples_are_forgotten_while_no_backup_can_be_made(night: Night) -> None:
    night.settings.backup_folder.write_text("a file stands where the folder was meant to be")
    end_s = NOON_S - 40 * DAY_S
    night.storage.add_samples(SampleBatch("m", end_s - 900, end_s, 1, b"x"))

    async def two_nights() -> None:
        with suppress(TimeoutError):
            await night.upkeep.run()

    night.clock.ends_at_s = NOON_S + 2 * DAY_S
    asyncio.run(two_nights())
    assert "backups" in night.upkeep.trouble
    assert list(night.storage.samples("m", 0, NOON_S)) == []


@pytest.mark.parametrize("torn", [b"", b"\0" * 31])
def test_a_torn_copy_of_the_key_is_mended_by_the_next_backup(night: Night, torn: bytes) -> None:
    """As left by a power cut between making the file and filling it."""
    key = evidence_key(night.settings.database)
    folder = night.settings.backup_folder
    folder.mkdir()
    (folder / EVIDENCE_KEY).write_bytes(torn)
    (folder / f"{EVIDENCE_KEY}.part").write_bytes(torn)
    asyncio.run(night.upkeep.back_up())
    assert evidence_key(folder / "node.db") == key
    assert (folder / EVIDENCE_KEY).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir()) == [EVIDENCE_KEY, "node.db"]


def test_a_power_cut_while_the_key_is_copied_leaves_the_copy_from_before(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evidence_key(night.settings.database)
    asyncio.run(night.upkeep.back_up())
    night.settings.database.with_name(EVIDENCE_KEY).write_bytes(first[::-1])

    def cut(_file: int) -> None:
        raise OSError(errno.EIO, "the power went")

    with monkeypatch.context() as patch:
        patch.setattr("node.service.evidence.os.fsync", cut)
        with pytest.raises((OSError, StorageBusy)):
            asyncio.run(night.upkeep.back_up())
    copy = night.settings.backup_folder / EVIDENCE_KEY
    assert copy.read_bytes() == first
    asyncio.run(night.upkeep.back_up())
    assert copy.read_bytes() == first[::-1]
    assert copy.with_name(f"{EVIDENCE_KEY}.1").read_bytes() == first, "old evidence wants it"


def test_a_damaged_key_never_replaces_the_last_good_copy(night: Night) -> None:
    key = evidence_key(night.settings.database)
    asyncio.run(night.upkeep.back_up())
    night.settings.database.with_name(EVIDENCE_KEY).write_bytes(b"")
    asyncio.run(night.upkeep.back_up())
    assert evidence_key(night.settings.backup_folder / "node.db") == key


def test_a_failing_backup_is_tried_again_and_told_once(
    night: Night, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [StorageBusy("no room")] * (TRIES + 1)
    tried_at: list[int] = []
    made = asyncio.Event()
    loop: asyncio.AbstractEventLoop
    real = night.storage.backup

    def backup(path: Path, *, keep: int) -> None:
        tried_at.append(night.clock.now_s())
        if failures:
            raise failures.pop()
        real(path, keep=keep)
        if path.with_name(path.name + ".1").exists():  # the second one that succeeds
            loop.call_soon_threadsafe(made.set)

    monkeypatch.setattr(night.storage, "backup", backup)

    async def until_made() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(night.upkeep.run())
            await made.wait()
            task.cancel()

    asyncio.run(until_made())
    assert tried_at[1] - tried_at[0] == HOUR_S
    assert len(tried_at) >= TRIES + 2
    assert caplog.text.count("backup_failed") == 1
    assert night.upkeep.trouble == ""


def test_the_evidence_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    database = tmp_path / "node.db"
    key = evidence_key(database)
    assert evidence_key(database) == key
    path = tmp_path / "evidence.key"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(key[:-1])
    with pytest.raises(ConfigurationError, match="31 bytes instead of 32"):
        evidence_key(database)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        evidence_key(tmp_path / "nowhere" / "node.db")


def test_one_instance_at_a_time(tmp_path: Path) -> None:
    database = tmp_path / "node.db"
    with only_instance(database):
        again = pytest.raises(ConfigurationError, match=f"process {os.getpid()}")
        with again, only_instance(database):
            pass
    with only_instance(database):
        pass
    with (
        pytest.raises(ConfigurationError, match="cannot lock"),
        only_instance(tmp_path / "nowhere" / "node.db"),
    ):
        pass


@pytest.mark.parametrize(
    ("now", "began"),
    [
        ("2026-03-29T21:59:00Z", "2026-03-28T23:00:00Z"),  # a day of 23 hours
        ("2026-03-29T22:00:00Z", "2026-03-29T22:00:00Z"),
        ("2026-10-25T22:59:00Z", "2026-10-24T22:00:00Z"),  # a day of 25 hours
        ("2026-10-25T23:00:00Z", "2026-10-25T23:00:00Z"),
    ],
)
def test_a_day_begins_at_local_midnight(now: str, began: str) -> None:
    assert day_start_s(parse_iso_utc(now), ZoneInfo("Europe/Paris")) == parse_iso_utc(began)


def test_on_paper_rules_are_usual_and_nothing_happens() -> None:
    market = PaperMarket(900, None)
    order = Order(0, 7, Side.BID, 100, 4_000)
    signed = SignedOrder(order, PaperSigner().sign(order))
    assert signed.signature == b""

    async def live() -> None:
        rules = await market.rules_at(7)
        assert (rules.slot_s, rules.gate_s) == (900, 300)
        await market.submit(signed)
        page = await market.events_after(BEFORE_ALL, 0)
        assert (list(page.events), page.upto, page.more) == ([], BEFORE_ALL, False)
        with pytest.raises(Refused):
            await market.clear(7)

    asyncio.run(live())


def test_a_notifier_without_systemd_says_nothing() -> None:
    quiet = Notifier({})
    quiet.ready("reading")
    assert quiet.watchdog_s == 0.0
    assert Notifier({"WATCHDOG_USEC": "30000000"}).watchdog_s == 30.0
    assert Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_s == 0.0
    Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).alive()
