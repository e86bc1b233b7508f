"""Household daemons as processes of their own: their settings, their meters, their lives.

Each is ``daisee node run`` on a configuration file, as on a Raspberry Pi. Its meter replays the
home's profile by the machine's clock, a slot of the profile in each slot of the market.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.chain.community import Community
from node.chain.network.keeping import KeyFiles
from node.clock import wall_seconds
from node.errors import ChainUnreachable, ConfigurationError
from node.market.strategies import DEFAULT_STRATEGY
from node.slots import iso_utc, slot_start_s
from node.store import NodeDatabase

__all__ = ["REST_S", "Child", "HomeFolder", "HomeProcess", "peak_rss_kb", "write_profile"]

PROGRAM: Final = (sys.executable, "-m", "node.cli.main")
STOP_WITHIN_S: Final = 20.0
LOOK_EVERY_S: Final = 0.25
REST_S: Final = 3_600
METER_PERIOD_S: Final = 1
MAX_POWER_W: Final = 10**9
"""A quarter of an hour of a profile may be lived through in seconds."""


class Child:
    """A daisee command that runs until it is stopped, with a log of its own. It leads a session of
    its own: Ctrl-C is for whoever started it, who then stops it in order."""

    def __init__(self, name: str, log: Path, arguments: Sequence[str]) -> None:
        self.name = name
        self.log = log
        self.peak_rss_kb = 0
        self._arguments = arguments
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The process; None when it does not run."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *PROGRAM,
                *self._arguments,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
            )

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if that is not heard."""
        process = self._process
        if process is None:
            return
        self.look()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
        except TimeoutError:
            await self.kill()
        self._process = None

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def look(self) -> int:
        """The most memory that it has held so far, in kB."""
        if self.pid is not None:
            self.peak_rss_kb = max(self.peak_rss_kb, peak_rss_kb(self.pid))
        return self.peak_rss_kb

    def says(self, word: str) -> int:
        """How often a word is in its log."""
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace").count(word)
        return 0

    def last_words(self, lines: int = 4) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""


def peak_rss_kb(pid: int) -> int:
    """The most resident memory of a process so far; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


@dataclass(frozen=True, slots=True)
class HomeFolder:
    """Where a home's settings, keys, profile and database are."""

    path: Path

    @property
    def keys(self) -> KeyFiles:
        """The household's one key."""
        return KeyFiles(self.path / "household.json", self.path / "password")

    @property
    def database(self) -> Path:
        """The node's database."""
        return self.path / "node.db"

    @property
    def profile(self) -> Path:
        """What its meter replays; the meter has the name of the file."""
        return self.path / f"{self.path.name}.csv"

    @property
    def config(self) -> Path:
        """The settings."""
        return self.path / "daisee.toml"

    def write_settings(
        self,
        community: Community,
        *,
        number: int,
        rpc_url: str,
        relay_url: str | None,
        strategy: str = DEFAULT_STRATEGY,
        parameters: Mapping[str, float] | None = None,
    ) -> None:
        """What ``daisee join`` and a person would have written."""
        chosen = "".join(f"{key} = {value}\n" for key, value in (parameters or {}).items())
        relay = "" if relay_url is None else f'relay = "{relay_url}"\n'
        self.config.write_text(
            f'[meter]\nkind = "replay"\nfile = "{self.profile}"\nperiod_s = {METER_PERIOD_S}\n'
            f"max_power_w = {MAX_POWER_W}\n\n"
            f'[household]\nname = "{self.path.name}"\nnumber = {number}\n'
            f"slot_s = {community.slot_s}\n\n"
            f'[chain]\nrpc = "{rpc_url}"\nchain_id = {community.chain_id}\n'
            f'market = "{community.market}"\ntrade = true\n'
            f"created_in_block = {community.created_in_block}\n"
            f"gas_price_wei = {community.gas_price_wei}\n"
            f"finality_depth = {community.finality_depth}\n{relay}\n"
            f'[key]\nkeystore = "{self.keys.keystore}"\npassword_file = "{self.keys.password}"\n\n'
            f'[strategy]\nname = "{strategy}"\n{chosen}\n'
            f'[storage]\ndatabase = "{self.database}"\n\n[metrics]\nserve = false\n'
        )


class HomeProcess(Child):
    """One household's daemon."""

    def __init__(self, folder: HomeFolder) -> None:
        super().__init__(
            folder.path.name,
            folder.path / "node.log",
            ("node", "run", "--config", str(folder.config)),
        )
        self.folder = folder

    async def until_it_follows(self, within_s: float) -> None:
        """Wait until it has read its meter and its market. Raises ChainUnreachable when it does
        not in time, ConfigurationError when it ends."""
        deadline_s = wall_seconds() + within_s
        while wall_seconds() < deadline_s:
            if self.pid is None:
                raise ConfigurationError(f"{self.name} ended: {self.last_words()}")
            if self._follows():
                return
            await asyncio.sleep(LOOK_EVERY_S)
        raise ChainUnreachable(
            f"{self.name} does not follow the market after {within_s:.0f} s: {self.last_words()}",
            next_step="fewer homes, or a machine with less to do",
        )

    def _follows(self) -> bool:
        try:
            with NodeDatabase.open_read_only(self.folder.database) as storage:
                return storage.cursor().block >= 0 and storage.last_reading() is not None
        except ConfigurationError:
            return False  # it is not there yet, or being made


def write_profile(
    path: Path,
    *,
    first_slot: int,
    slot_s: int,
    import_wh: Sequence[int],
    export_wh: Sequence[int],
    rest_s: int = REST_S,
) -> None:
    """A profile whose slots count exactly these energies, from a slot on; then it rests, and begins
    again (``rest_s`` 0: at once).

    Steps of a second. The registers move in the middle half of a slot only: a process that looks a
    little late at the end of a slot still finds what they said there.
    """
    lines = ["start,load_wh,pv_wh"]
    begin_s = slot_start_s(first_slot, slot_s)
    still_s, moving_s = slot_s // 4, max(slot_s - 2 * (slot_s // 4), 1)
    for index, (imported, exported) in enumerate(zip(import_wh, export_wh, strict=True)):
        for second in range(slot_s):
            moved = range(max(second - still_s, 0), max(second + 1 - still_s, 0))
            shares = [
                energy * min(moved.stop, moving_s) // moving_s
                - energy * min(moved.start, moving_s) // moving_s
                for energy in (imported, exported)
            ]
            lines.append(f"{iso_utc(begin_s + index * slot_s + second)},{shares[0]},{shares[1]}")
    end_s = begin_s + len(import_wh) * slot_s
    lines += [f"{iso_utc(end_s + second)},0,0" for second in range(rest_s)]
    part = path.with_name(path.name + ".part")
    part.write_text("\n".join(lines) + "\n")
    part.replace(path)


def _environment() -> dict[str, str]:
    """Ours, without settings that were meant for a node of ours."""
    return {
        name: value
        for name, value in os.environ.items()
        if not (name.startswith("DAISEE_") and "__" in name)
    }
