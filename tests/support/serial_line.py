"""A serial line without a cable: a pseudo-terminal whose other end a test writes into."""

from __future__ import annotations

import os
import pty
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class SerialLine:
    """``path`` is the port; ``say`` is what a meter would do."""

    def __init__(self) -> None:
        self._meter, self._port = pty.openpty()
        os.set_blocking(self._meter, False)
        self.path = os.ttyname(self._port)

    def say(self, content: bytes) -> None:
        """Put bytes on the line. What the kernel has no room for is lost, as on a real one."""
        with suppress(BlockingIOError):
            os.write(self._meter, content)

    def settings(self) -> tuple[int, int, int]:
        """Input flags, control flags and speed, as whoever opened the port has set them."""
        iflag, _, cflag, _, speed, _, _ = termios.tcgetattr(self._port)
        return iflag, cflag, speed

    def unplug(self) -> None:
        """Pull the cable."""
        if self._meter >= 0:
            os.close(self._meter)
            self._meter = -1

    def close(self) -> None:
        """The end."""
        self.unplug()
        os.close(self._port)


@contextmanager
def serial_line() -> Iterator[SerialLine]:
    """A line for the time of a test."""
    line = SerialLine()
    try:
        yield line
    finally:
        line.close()
