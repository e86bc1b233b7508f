"""A household node's database when something is wrong with its file, folder or disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from node.errors import ConfigurationError, StorageBusy
from node.model import Side
from node.store import NodeDatabase, opening
from tests.support.processes import run_in_process
from tests.support.slot_life import SLOT, bid


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

    def test_closing_again_is_harmless(self, path: Path) -> None:
        database = NodeDatabase.open(path)
        database.close()
        database.close()
