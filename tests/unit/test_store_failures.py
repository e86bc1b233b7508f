"""A household node's database when something is wrong with its file, folder or disk."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest

from node.errors import ConfigurationError, StorageBusy
from node.model import Side
from node.store import NodeDatabase, opening
from tests.support.processes import run_in_process
from tests.support.slot_life import SLOT, bid
from tests.support.small_disk import run_with_small_disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


class TestFailures:
    def test_no_such_folder(self, tmp_path: Path) -> None:
        absent = tmp_path / "absent" / "node.sqlite"
        with pytest.raises(ConfigurationError, match="folder exists") as caught:
            NodeDatabase.open(absent)
        assert caught.value.file == absent

    def test_a_folder_is_no_database(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="next: "):
            NodeDatabase.open(tmp_path)

    def test_a_file_of_something_else_is_left_alone(self, path: Path) -> None:
        path.write_bytes(b"start,load_wh,pv_wh\n" * 500)
        before = path.read_bytes()
        with pytest.raises(ConfigurationError, match=r"damaged .*not a database"):
            NodeDatabase.open(path)
        assert path.read_bytes() == before

    def test_another_programs_database_is_left_alone(self, path: Path) -> None:
        with sqlite3.connect(path) as foreign:
            foreign.execute("CREATE TABLE states (id INTEGER)")
        foreign.close()
        before = path.read_bytes()
        with pytest.raises(ConfigurationError, match="not a household node's database"):
            NodeDatabase.open(path)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("part", [3, 2])
    def test_a_truncated_file(self, path: Path, part: int) -> None:
        with NodeDatabase.open(path) as database, database.transaction():
            for slot in range(1_000):
                database.add_intent(bid(slot))
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // part])
        with pytest.raises(ConfigurationError, match="damaged") as caught:
            NodeDatabase.open(path)
        assert "backup" in caught.value.next_step

    def test_damage_inside_is_told_when_it_is_met(self, path: Path) -> None:
        with NodeDatabase.open(path) as database, database.transaction():
            for slot in range(1_000):
                database.add_intent(bid(slot))
        whole = bytearray(path.read_bytes())
        half = len(whole) // 2
        whole[half:] = b"\xa5" * (len(whole) - half)
        path.write_bytes(whole)
        with (
            NodeDatabase.open(path) as database,
            pytest.raises(ConfigurationError, match="damaged"),
        ):
            database.own_trades()

    def test_a_later_version_says_what_to_do(self, path: Path) -> None:
        NodeDatabase.open(path).close()
        later = sqlite3.connect(path)
        later.execute("PRAGMA user_version = 999")
        later.close()
        with pytest.raises(ConfigurationError, match="version 999") as caught:
            NodeDatabase.open(path)
        assert "install the daisee that wrote it" in caught.value.next_step

    def test_a_file_held_by_another_program_is_transient(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(opening, "BUSY_WAIT_S", 0.01)
        with NodeDatabase.open(path) as database:
            holder = sqlite3.connect(path, isolation_level=None)
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageBusy, match="locked"), database.transaction():
                pytest.fail("the transaction began")
            with pytest.raises(StorageBusy, match="locked"):
                database.add_intent(bid())
            assert database.intent(SLOT, Side.BID) is None
            holder.execute("COMMIT")
            holder.close()
            database.add_intent(bid())

    def test_a_full_disk_is_transient_and_nothing_acknowledged_is_lost(self, path: Path) -> None:
        ended = run_in_process(
            """
            import resource, sys
            from pathlib import Path
            from node.errors import StorageBusy
            from node.model import SlotEnergy
            from node.store import NodeDatabase

            database = NodeDatabase.open(Path(sys.argv[1]))
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
            kept = 0
            try:
                while kept < 100_000:
                    with database.transaction():
                        database.add_slot_energy(SlotEnergy(kept, kept, 0))
                    kept += 1
            except StorageBusy as error:
                assert "full disk" in error.next_step
            assert 0 < kept < 100_000, kept
            assert database.totals().slots == kept
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            database.add_slot_energy(SlotEnergy(kept, kept, 0))
            print(kept + 1)
            """,
            path,
        )
        assert ended.returncode == 0, ended.stderr
        with NodeDatabase.open(path) as database:
            assert database.totals().slots == int(ended.stdout)

    def test_a_disk_that_is_really_full_comes_back_when_room_does(self, tmp_path: Path) -> None:
        """A file system of 512 KiB: the node, a new database, then a backup find it full."""
        ended = run_with_small_disk(
            """
            import sys
            from pathlib import Path
            from node.errors import StorageBusy
            from node.model import SampleBatch
            from node.store import NodeDatabase

            disk = Path(sys.argv[1])
            path, ballast = disk / "node.sqlite", disk / "ballast"
            ballast.write_bytes(bytes(100_000))
            database = NodeDatabase.open(path)
            kept = 0
            try:
                while True:
                    database.add_samples(SampleBatch("m", kept, kept, 1, bytes(2_000)))
                    kept += 1
            except StorageBusy as error:
                assert error.next_step
            for attempt in (
                lambda: NodeDatabase.open(disk / "other.sqlite"),
                lambda: database.backup(disk / "backup.sqlite"),
            ):
                try:
                    attempt()
                except StorageBusy as error:
                    assert error.next_step
                else:
                    sys.exit("there was room")
            assert not (disk / "backup.sqlite.part").exists()
            assert len(list(database.samples("m", 0, kept))) == kept > 10
            ballast.unlink()
            (disk / "other.sqlite").unlink()
            database.add_samples(SampleBatch("m", kept, kept, 1, bytes(2_000)))
            database.close()
            with NodeDatabase.open(path) as database:
                assert database.integrity() == []
                assert len(list(database.samples("m", 0, kept + 1))) == kept + 1
            """,
            tmp_path,
        )
        assert ended.returncode == 0, ended.stderr

    def test_a_folder_that_turned_read_only_is_told_and_comes_back(self) -> None:
        """As another user, for root may write anywhere. An open database goes on."""
        with tempfile.TemporaryDirectory() as folder:
            ended = run_in_process(
                """
                import os, sys
                from pathlib import Path
                from node.errors import ConfigurationError
                from node.model import SlotEnergy
                from node.store import NodeDatabase

                folder = Path(sys.argv[1])
                path = folder / "node.sqlite"
                NodeDatabase.open(None).close()  # Python itself may be out of the other's reach
                if os.getuid() == 0:
                    os.chown(folder, 65534, 65534)
                    os.setgid(65534)
                    os.setuid(65534)
                with NodeDatabase.open(path) as database:
                    database.add_slot_energy(SlotEnergy(1, 1, 1))
                    folder.chmod(0o555)
                    database.add_slot_energy(SlotEnergy(2, 1, 1))
                    try:
                        database.backup(folder / "backup.sqlite")
                    except ConfigurationError as error:
                        assert "this user may write" in error.next_step, error
                    else:
                        sys.exit("the backup was made")
                for mode, new in ((0o600, "new.sqlite"), (0o400, "node.sqlite")):
                    path.chmod(mode)
                    try:
                        NodeDatabase.open(folder / new)
                    except ConfigurationError as error:
                        assert error.exit_code == 3
                        assert "this user may write" in error.next_step, error
                    else:
                        sys.exit(f"{new} was opened")
                folder.chmod(0o755)
                path.chmod(0o600)
                with NodeDatabase.open(path) as database:
                    database.add_slot_energy(SlotEnergy(3, 1, 1))
                    assert database.totals().slots == 3
                """,
                Path(folder),
            )
            assert ended.returncode == 0, ended.stderr

    def test_closing_again_is_harmless(self, path: Path) -> None:
        database = NodeDatabase.open(path)
        database.close()
        database.close()
