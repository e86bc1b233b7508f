"""Telling systemd how the service is: the protocol of sd_notify(3), a line on a datagram socket."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

__all__ = ["Notifier"]

log = logging.getLogger("daisee.service")

_MICRO: Final = 1_000_000


class Notifier:
    """Says how the service is, in the words of the protocol; to nobody where nobody asked."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        watchdog_us = environment.get("WATCHDOG_USEC", "")
        pid = environment.get("WATCHDOG_PID", "")
        meant = not pid or pid == str(os.getpid())
        self.watchdog_s = int(watchdog_us) / _MICRO if meant and watchdog_us.isdecimal() else 0.0

    def ready(self, status: str) -> None:
        """The service does its work from here on."""
        self._say(f"READY=1\nSTATUS={status}")

    def still_starting(self, status: str, within_s: int) -> None:
        """The service is not ready yet, and says within so many seconds how it is: systemd waits
        beyond its TimeoutStartSec for as long as this is said."""
        self._say(f"EXTEND_TIMEOUT_USEC={within_s * _MICRO}\nSTATUS={status}")

    def stopping(self) -> None:
        """The service is about to end, as it was told to."""
        self._say("STOPPING=1\nSTATUS=stopping")

    def alive(self) -> None:
        """Progress was made: the watchdog may wait anew."""
        self._say("WATCHDOG=1")

    def status(self, status: str) -> None:
        """What ``systemctl status`` shows."""
        self._say(f"STATUS={status}")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        name = self._address
        address = "\0" + name[1:] if name.startswith("@") else name
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.settimeout(0)  # a full socket is no reason to wait
            try:
                line.sendto(text.encode(), address)
            except OSError as error:
                log.debug("notify_failed why=%r", str(error))
