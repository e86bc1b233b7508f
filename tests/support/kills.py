"""kill -9 of the real daemon, again and again, and what must hold afterwards.

A lane is one household: one database, one port whose meter counts on while the daemon is dead.
After each kill everything that another process could read before it (readings, closed slots,
orders) must be there unchanged; at the end the books must close over all lives of the daemon.
"""

from __future__ import annotations

import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from node.clock import wall_seconds
from tests.support.node_process import FedLine, NodeFolder, NodeProcess, fed_line, pause

SLOT_S: Final = 2
FRAMES_PER_S: Final = 8.0

LANES: Final = 4
"""Daemons that live at the same time: most of a life is waiting."""

LONGEST_START_S: Final = 1.5
LONGEST_LIFE_S: Final = 3.0
LAST_LIFE_S: Final = 8.0

ESTIMATED: Final = 1

_TABLES: Final = {
    "reading": "SELECT * FROM reading ORDER BY number",
    "slot_energy": "SELECT * FROM slot_energy ORDER BY slot",
    "intent": "SELECT slot, side, household, energy_wh, limit_price, evidence, signature"
    " FROM intent ORDER BY slot, side",
}
"""What is acknowledged once it can be read. An order's state moves on; its bytes never change."""

Rows = dict[str, list[tuple[object, ...]]]


@dataclass(frozen=True, slots=True)
class Lane:
    """What one household lived through."""

    kills: int
    kills_while_starting: int
    kills_while_writing: int
    slots: int
    estimated: int
    orders: int
    import_wh: int
    gap_wh: int


@dataclass(frozen=True, slots=True)
class KillReport:
    """All lanes together."""

    lanes: tuple[Lane, ...]
    wall_s: float

    def text(self) -> str:
        """One line of figures."""
        names = ("kills", "kills_while_starting", "kills_while_writing", "slots", "estimated")
        sums = {name: sum(getattr(lane, name) for lane in self.lanes) for name in names}
        sums["orders"] = sum(lane.orders for lane in self.lanes)
        sums["import_wh"] = sum(lane.import_wh for lane in self.lanes)
        sums["lost_wh"] = sum(lane.gap_wh for lane in self.lanes)
        figures = " ".join(f"{name}={value}" for name, value in sums.items())
        return f"{figures} lost_readings=0 double_orders=0 wall_s={self.wall_s:.0f}"


def kill_again_and_again(folder: Path, count: int, seed: int) -> KillReport:
    """Spread the kills over the lanes; the first thing that does not hold is an AssertionError."""
    begun_s = wall_seconds()
    share = [count // LANES + (lane < count % LANES) for lane in range(LANES)]
    folders = [folder / f"lane{lane}" for lane in range(LANES)]
    for one in folders:
        one.mkdir()
    with ThreadPoolExecutor(LANES) as pool:
        lanes = pool.map(
            _live_lane, folders, share, [random.Random(f"{seed} {lane}") for lane in range(LANES)]
        )
        return KillReport(tuple(lanes), wall_seconds() - begun_s)


def _live_lane(folder: Path, kills: int, rng: random.Random) -> Lane:
    home = NodeFolder(folder, SLOT_S)
    config = home.write()
    starting = writing = 0
    with fed_line(home.port, frames_per_s=FRAMES_PER_S) as line:
        for _ in range(kills):
            kind = _one_life(home, config, rng)
            starting += kind == "starting"
            writing += kind == "writing"
        _last_life(config)
        rows = _rows(home.database)
        _check_books(rows, line)
    first, last = rows["reading"][0], rows["reading"][-1]
    imported = _column(last, "import_wh") - _column(first, "import_wh")
    booked = sum(int(str(row[1])) for row in rows["slot_energy"])
    return Lane(
        kills,
        starting,
        writing,
        len(rows["slot_energy"]),
        sum(int(str(row[3])) for row in rows["slot_energy"]),
        len(rows["intent"]),
        imported,
        imported - booked,
    )


def _one_life(home: NodeFolder, config: Path, rng: random.Random) -> str:
    """Start, live for a while, and die: while starting, at any moment, or in the middle of a
    write."""
    kind = rng.choices(("starting", "anytime", "writing"), (1, 2, 2))[0]
    process = NodeProcess(config)
    try:
        if kind == "starting":
            pause(rng.uniform(0.05, LONGEST_START_S))
        else:
            process.hear("READY=1")
        if kind == "anytime":
            pause(rng.uniform(0.0, LONGEST_LIFE_S))
        elif kind == "writing":
            _until_written(home, process)
            pause(rng.choice((0.0, 0.0, 0.001, 0.003)))
        # Reading takes longer than a write: where the moment counts, nothing is read before.
        before = {} if kind == "writing" else _rows(home.database)
        process.kill()
    finally:
        process.close()
    after = _rows(home.database)
    for table, rows in before.items():
        assert set(rows) <= set(after[table]), f"{table}: what was read is gone"
    return kind


def _until_written(home: NodeFolder, process: NodeProcess) -> None:
    """Wait for a write to the log: the daemon is in the middle of a transaction, or just after."""
    log = home.database.with_name(home.database.name + "-wal")
    end_s = wall_seconds() + LONGEST_LIFE_S
    seen_ns = log.stat().st_mtime_ns
    while log.stat().st_mtime_ns == seen_ns:
        if wall_seconds() > end_s or process.process.poll() is not None:
            return
        pause(0.0005)


def _last_life(config: Path) -> None:
    """Undisturbed: what is still to be closed is closed; then an orderly end."""
    process = NodeProcess(config)
    try:
        process.hear("READY=1")
        pause(LAST_LIFE_S)
        code, _ = process.stop()
        assert code == 0, process.text()
    finally:
        process.close()


def _rows(database: Path) -> Rows:
    """Everything that is acknowledged; the file is whole, or this fails."""
    if not database.exists() or database.stat().st_size == 0:
        return {}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as raw:
        if not raw.execute("SELECT 1 FROM sqlite_schema WHERE name = 'intent'").fetchall():
            return {}
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {table: raw.execute(query).fetchall() for table, query in _TABLES.items()}


def _check_books(rows: Rows, line: FedLine) -> None:
    """Slots whose sum is the registers' difference, both ends as the meter said them, and one order
    at most for each side of a slot, of exactly its energy. Where nobody could tell the registers of
    a boundary, the energy is in the next slot, which says so: else there is no hole."""
    readings, slots, intents = rows["reading"], rows["slot_energy"], rows["intent"]
    for before, after in pairwise(slots):
        is_next = int(str(after[0])) == int(str(before[0])) + 1
        assert is_next or after[3] == ESTIMATED, f"a slot is missing before {after}"
    for name, column in (("import_wh", 1), ("export_wh", 2)):
        grown = _column(readings[-1], name) - _column(readings[0], name)
        assert grown == sum(int(str(row[column])) for row in slots), name
    for reading in (readings[0], readings[-1]):
        said = line.between(_column(reading, "taken_at_s"))
        assert _column(reading, "import_wh") in said[0], reading
        assert _column(reading, "export_wh") in said[1], reading
    keys = [(row[0], row[1]) for row in intents]
    assert len(keys) == len(set(keys)), "two orders for one side of a slot"
    energies = {row[0]: (row[2], row[1]) for row in slots}  # by side: ask sells the export
    for slot, side, _, energy_wh, *_ in intents:
        assert energy_wh == energies[slot][int(str(side))], (slot, side)


_READING: Final = ("number", "meter_id", "taken_at_s", "import_wh", "export_wh")


def _column(reading: tuple[object, ...], name: str) -> int:
    return int(str(reading[_READING.index(name)]))
