"""The real daemon in a process of its own, fed by a real pseudo-terminal at the pace of life.

``FedLine`` is a Linky in standard mode that counts on whatever happens to the daemon, and remembers
what it said when. ``NodeProcess`` is ``daisee node run``; readiness is heard as systemd hears it.
"""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import tty
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.clock import SystemClock, wall_seconds
from tests.support.shared import CHECKOUT
from tests.support.teleinfo_frames import StandardMeter

READY_S: Final = 60.0
"""How long is waited; a machine that does ten other things is slow. The bar is elsewhere."""

STOP_S: Final = 10.0

PROGRAM: Final = (sys.executable, "-X", "faulthandler", "-m", "node.cli.main", "node", "run")


class FedLine:
    """A port at ``path`` (a link, as udev makes them) on which a meter speaks until ``close``.

    It draws 7.2 kW and feeds 3.6 kW, which a real one of 12 kVA could have done within each minute.
    ``said`` has, for each frame, when it went out and both registers.
    """

    def __init__(self, path: Path, *, frames_per_s: float) -> None:
        self.path = path
        self.said: list[tuple[int, int, int]] = []
        self._pause_s = 1 / frames_per_s
        self._meter = StandardMeter(at_s=SystemClock().now_s(), export_wh=5_000)
        self._ends: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.plug()
        self._thread = threading.Thread(target=self._speak, name="meter", daemon=True)
        self._thread.start()

    def plug(self) -> None:
        """Put the cable in: a new terminal, at the same path."""
        meter, port = pty.openpty()
        tty.setraw(port)
        os.set_blocking(meter, False)
        link = self.path.with_name(self.path.name + ".new")
        link.symlink_to(os.ttyname(port))
        link.replace(self.path)
        with self._lock:
            self._ends = meter, port

    def unplug(self) -> None:
        """Pull it out: the terminal hangs up and its path is gone. The meter counts on."""
        with self._lock:
            assert self._ends is not None
            for end in self._ends:
                os.close(end)
            self._ends = None
        self.path.unlink()

    def replace_meter(self, meter_id: str) -> None:
        """Another meter in the old one's place, with registers of its own."""
        with self._lock:
            self._meter = StandardMeter(at_s=self._meter.at_s, export_wh=777_000, meter_id=meter_id)

    def close(self) -> None:
        """The end of the meter."""
        self._stop.set()
        self._thread.join()
        if self._ends is not None:
            self.unplug()

    def between(self, at_s: int, slack_s: int = 2) -> tuple[range, range]:
        """What import and export may be read as of an instant, its arrival a little in doubt."""
        said = self.said
        before = max(bisect_left(said, (at_s - slack_s,)) - 1, 0)
        after = min(bisect_right(said, (at_s + slack_s + 1,)), len(said) - 1)
        imports = range(said[before][1], said[after][1] + 1)
        return imports, range(said[before][2], said[after][2] + 1)

    def _speak(self) -> None:
        while not self._stop.wait(self._pause_s):
            now_s = SystemClock().now_s()
            passed_s = max(now_s - self._meter.at_s, 0)
            with self._lock:
                self._meter = self._meter.used(2 * passed_s, passed_s, passed_s)
                frame = self._meter.frame()
                if self._ends is not None:
                    with suppress(BlockingIOError):  # nobody reads: lost, as on a real line
                        os.write(self._ends[0], frame)
            assert self._meter.export_wh is not None
            self.said.append((now_s, self._meter.import_wh, self._meter.export_wh))


@contextmanager
def fed_line(path: Path, *, frames_per_s: float = 4.0) -> Iterator[FedLine]:
    """A meter for the time of a test."""
    line = FedLine(path, frames_per_s=frames_per_s)
    try:
        yield line
    finally:
        line.close()


@dataclass(frozen=True, slots=True)
class NodeFolder:
    """Where a node of a test lives: its settings, its database and its port."""

    folder: Path
    slot_s: int = 2
    more: str = ""
    metrics_port: int = 0
    baud: int = 115_200
    number: int = 0
    port: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "port", self.folder / "ttyLinky")

    @property
    def database(self) -> Path:
        """The node's database."""
        return self.folder / "node.db"

    def write(self) -> Path:
        """Write the settings; returns their path."""
        page = f"port = {self.metrics_port}" if self.metrics_port else "serve = false"
        path = self.folder / "config.toml"
        path.write_text(
            f'[meter]\nkind = "linky-standard"\nport = "{self.port}"\nbaud = {self.baud}\n'
            "max_power_w = 1_000_000\n"
            f"[household]\nslot_s = {self.slot_s}\nnumber = {self.number}\n"
            f'[storage]\ndatabase = "{self.database}"\n[metrics]\n{page}\n{self.more}'
        )
        return path


class NodeProcess:
    """A running ``daisee node run``."""

    def __init__(
        self,
        config: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        watchdog_us: int = 0,
    ) -> None:
        self.log = config.with_name("node.log")
        self.started_s = wall_seconds()
        self._address = config.with_name("notify.socket")
        self._address.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self._address))
        extra = {"NOTIFY_SOCKET": str(self._address), **(environment or {})}
        if watchdog_us:
            extra["WATCHDOG_USEC"] = str(watchdog_us)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*PROGRAM, "--config", str(config), *arguments],
                cwd=CHECKOUT,
                env={**os.environ, **extra},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def hear(self, word: str, within_s: float = READY_S) -> float:
        """Wait until the node tells systemd this; seconds since the start. Fails if it does not,
        with what it did instead."""
        if not self.hears_of(word, within_s):
            self.process.send_signal(signal.SIGABRT)  # faulthandler tells where it stands
            self.process.wait(STOP_S)
            raise AssertionError(f"no {word} within {within_s} s:\n{self.text()}")
        return wall_seconds() - self.started_s

    def hears_of(self, word: str, within_s: float) -> bool:
        """Whether the node tells systemd this in time. Fails if it ends meanwhile."""
        end_s = wall_seconds() + within_s
        while (left_s := end_s - wall_seconds()) > 0:
            self._notify.settimeout(min(left_s, 0.2))
            try:
                told = self._notify.recv(4_096).decode()
            except TimeoutError:
                assert self.process.poll() is None, self.text()
                continue
            if word in told:
                return True
        return False

    def drain(self) -> None:
        """Forget what it told systemd so far."""
        self._notify.settimeout(0)
        with suppress(BlockingIOError):
            while True:
                self._notify.recv(4_096)

    def text(self) -> str:
        """What it logged, in all its lives."""
        return self.log.read_text(errors="replace")

    def stop(self) -> tuple[int, float]:
        """SIGTERM; the exit code, and how long it took."""
        begun_s = wall_seconds()
        self.process.terminate()
        return self.process.wait(STOP_S), wall_seconds() - begun_s

    def kill(self) -> None:
        """SIGKILL, as the machine's own out-of-memory killer does it."""
        self.process.kill()
        self.process.wait(STOP_S)

    def close(self) -> None:
        """Whatever happened: it is gone afterwards."""
        if self.process.poll() is None:
            self.kill()
        self._notify.close()


@contextmanager
def node_process(
    config: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    watchdog_us: int = 0,
) -> Iterator[NodeProcess]:
    """A daemon for the time of a test."""
    process = NodeProcess(config, *arguments, environment=environment, watchdog_us=watchdog_us)
    try:
        yield process
    finally:
        process.close()


def wait_for(happened: Callable[[], object], within_s: float = 20.0) -> None:
    """Ask until the answer is true; fails after a bound."""
    end_s = wall_seconds() + within_s
    while not happened():
        assert wall_seconds() < end_s, f"not within {within_s} s"
        pause(0.05)


def pause(seconds: float) -> None:
    """Let real time pass: these tests watch another process live."""
    threading.Event().wait(seconds)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
