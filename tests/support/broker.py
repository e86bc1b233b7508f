"""A real MQTT broker on loopback: mosquitto, as a household runs it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from node.clock import wall_seconds

_PLACES: Final = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/bin",
    "/usr/local/bin",
    "/opt/homebrew/sbin",
)
_UP_WITHIN_S: Final = 10.0


class Broker:
    """A broker of a test: it can be stopped, killed and started again on its port."""

    def __init__(self, program: str, configuration: Path, port: int) -> None:
        self.port = port
        self._command = [program, "-c", str(configuration)]
        self._log = configuration.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return once it accepts connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        give_up_s = wall_seconds() + _UP_WITHIN_S
        while wall_seconds() < give_up_s:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                continue
            return
        pytest.fail(f"mosquitto does not come up:\n{self.log}")

    def stop(self) -> None:
        """End it; its clients see their connections close."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text(errors="replace")


@contextmanager
def broker(folder: Path, *settings: str) -> Iterator[Broker]:
    """A running broker with these further lines of configuration, open to all if there are none.

    Nothing is persisted: after a restart it has forgotten every retained message. Skips the test
    where mosquitto is not installed.
    """
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path=":".join(_PLACES))
    if program is None:
        pytest.skip("mosquitto is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    configuration = folder / f"mosquitto-{port}.conf"
    lines = [
        f"listener {port} 127.0.0.1",
        "user root",  # only asked for when root starts it; it would not read a test's folder
        "persistence false",
        "log_type all",
        *(settings or ("allow_anonymous true",)),
    ]
    configuration.write_text("\n".join(lines) + "\n")
    running = Broker(program, configuration, port)
    running.start()
    try:
        yield running
    finally:
        running.stop()
