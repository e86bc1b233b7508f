"""A backup is opened and checked before it takes the place of an older one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from node.errors import ConfigurationError, DaiseeError, StorageBusy
from node.model import Side, SlotEnergy
from node.store import NodeDatabase
from node.store.backup import backups_of
from tests.support.processes import run_in_process
from tests.support.slot_life import SLOT, bid


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "node.sqlite"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "backups" / "node.sqlite"


def fill(path: Path, slots: int) -> None:
    with NodeDatabase.open(path) as database, database.transaction():
        for slot in range(slots):
            database.add_slot_energy(SlotEnergy(slot, slot, 0))
            database.add_intent(bid(slot))


def slots_in(path: Path) -> int:
    with NodeDatabase.open_read_only(path) as database:
        return database.totals().slots


def test_a_backup_is_one_whole_file_for_its_owner_alone(path: Path, place: Path) -> None:
    with NodeDatabase.open(path) as database:
        database.add_intent(bid())  # still in the write-ahead log
        database.backup(place)
    assert list(place.parent.iterdir()) == [place]
    assert place.stat().st_mode & 0o077 == 0
    with NodeDatabase.open_read_only(place) as copy:
        assert copy.integrity() == []
        assert copy.intent(SLOT, Side.BID) == bid()
    assert list(place.parent.iterdir()) == [place]


def test_it_takes_the_databases_place_and_life_goes_on(path: Path, place: Path) -> None:
    fill(path, 10)
    with NodeDatabase.open(path) as database:
        database.backup(place)
    path.unlink()
    place.rename(path)
    with NodeDatabase.open(path) as database:
        database.add_slot_energy(SlotEnergy(10, 1, 1))
        assert database.totals().slots == 11


def test_the_newest_have_the_lowest_numbers_and_the_oldest_go(path: Path, place: Path) -> None:
    with NodeDatabase.open(path) as database:
        for slot in range(6):
            database.add_slot_energy(SlotEnergy(slot, 1, 1))
            database.backup(place, keep=3)
        assert [slots_in(copy) for copy in backups_of(place)] == [6, 5, 4]
        database.backup(place, keep=2)
        assert [slots_in(copy) for copy in backups_of(place)] == [6, 6]
        database.backup(place, keep=1)
        assert backups_of(place) == [place]


def test_a_lost_one_leaves_a_gap_that_is_filled_first(path: Path, place: Path) -> None:
    with NodeDatabase.open(path) as database:
        for slot in range(3):
            database.add_slot_energy(SlotEnergy(slot, 1, 1))
            database.backup(place, keep=3)
        place.with_name("node.sqlite.1").unlink()
        database.add_slot_energy(SlotEnergy(3, 1, 1))
        database.backup(place, keep=3)
        assert [slots_in(copy) for copy in backups_of(place)] == [4, 3, 1]


def test_another_thread_may_copy_while_the_node_writes(path: Path, place: Path) -> None:
    done = run_in_process(
        """
        import sys, threading
        from pathlib import Path
        from node.model import SlotEnergy
        from node.store import NodeDatabase

        path = Path(sys.argv[1])
        place = path.parent / "backups" / path.name
        with NodeDatabase.open(path) as database:
            started = threading.Event()
            def copies():
                for _ in range(10):
                    database.backup(place)
                    started.set()
            copier = threading.Thread(target=copies)
            copier.start()
            slot = 0
            while copier.is_alive() or not started.is_set():
                database.add_slot_energy(SlotEnergy(slot, 1, 1))
                slot += 1
            copier.join()
            assert database.totals().slots == slot > 0
        """,
        path,
    )
    assert done.returncode == 0, done.stderr
    copies = backups_of(place)
    assert len(copies) == 7
    for copy in copies:
        with NodeDatabase.open_read_only(copy) as database:
            assert database.integrity() == []


def test_a_damaged_database_never_replaces_a_good_backup(path: Path, place: Path) -> None:
    fill(path, 1_000)
    with NodeDatabase.open(path) as database:
        database.backup(place)
    before = place.read_bytes()
    whole = bytearray(path.read_bytes())
    half = len(whole) // 2
    whole[half:] = b"\xa5" * (len(whole) - half)
    path.write_bytes(whole)
    with NodeDatabase.open(path) as database:
        assert database.integrity() != []
        with pytest.raises(ConfigurationError, match="damaged") as caught:
            database.backup(place)
    assert "backup" in caught.value.next_step
    assert place.read_bytes() == before
    assert list(place.parent.iterdir()) == [place]


def test_no_folder_to_put_it_in(path: Path, tmp_path: Path) -> None:
    with NodeDatabase.open(path) as database:
        with pytest.raises(ConfigurationError, match="cannot be backed up") as caught:
            database.backup(tmp_path / "absent" / "node.sqlite")
        assert "folder exists" in caught.value.next_step
        database.add_intent(bid())


def test_what_a_power_cut_left_is_cleared_away(path: Path, place: Path) -> None:
    for name in ("node.sqlite.part", "node.sqlite.part-journal"):
        (place.parent / name).write_bytes(b"half a copy" * 1_000)
    with NodeDatabase.open(path) as database:
        database.backup(place)
    assert list(place.parent.iterdir()) == [place]


def test_a_full_disk_leaves_the_backup_from_before(path: Path, place: Path) -> None:
    fill(path, 2_000)
    with NodeDatabase.open(path) as database:
        database.backup(place)
    ended = run_in_process(
        """
        import resource, sys
        from pathlib import Path
        from node.errors import StorageBusy
        from node.store import NodeDatabase

        path = Path(sys.argv[1])
        place = path.parent / "backups" / path.name
        with NodeDatabase.open(path) as database:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
            try:
                database.backup(place)
            except StorageBusy as error:
                print(error.next_step)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            left = sorted(found.name for found in place.parent.iterdir())
            assert left == ["node.sqlite"], left
            database.backup(place)
        """,
        path,
    )
    assert ended.returncode == 0, ended.stderr
    assert "full disk" in ended.stdout
    assert [slots_in(copy) for copy in backups_of(place)] == [2_000, 2_000]


@pytest.mark.parametrize("number", range(1, 5))
def test_whatever_step_fails_the_newest_good_copy_is_there(
    number: int, path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each renaming in turn meets an input/output error."""
    left = [number]
    real = Path.replace

    def failing(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(5, "Input/output error")
        return real(self, target)

    with NodeDatabase.open(path) as database:
        for slot in range(3):
            database.add_slot_energy(SlotEnergy(slot, 1, 1))
            database.backup(place, keep=4)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", failing)
            with pytest.raises(StorageBusy, match="Input/output"):
                database.backup(place, keep=4)
        assert max(slots_in(copy) for copy in backups_of(place)) == 3
        assert len(backups_of(place)) == 3
        database.backup(place, keep=4)
        assert slots_in(place) == 3


def test_a_database_is_looked_at_without_a_byte_changed(path: Path) -> None:
    fill(path, 5)
    before = path.read_bytes()
    with NodeDatabase.open_read_only(path) as database:
        assert database.totals().slots == 5
        with pytest.raises(DaiseeError, match="readonly"):
            database.add_intent(bid())
    assert path.read_bytes() == before


def test_there_is_nothing_to_look_at(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no household node's database there"):
        NodeDatabase.open_read_only(path)
    assert not path.exists()


def test_a_whole_database_has_nothing_wrong_and_a_held_one_can_be_checked(path: Path) -> None:
    with NodeDatabase.open(path) as database:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert database.integrity() == []
        holder.close()
