r"""Serial lines, set with termios and read without a thread.

Why not through pyserial: it clears INPCK at every change of the line, and bytes with a wrong parity
bit then pass for good ones. Here INPCK is set, and IGNPAR, PARMRK and ISTRIP are not, so that

* a byte that fails its parity arrives as 0x00, which no protocol with parity may contain: the group
  or line it stands in is refused. PARMRK would mark it with two more bytes, which codecs would then
  have to unpick; IGNPAR would drop it, and what is left can look whole;
* an adapter that ignores the seven data bits delivers the parity bit in the eighth: bytes above
  0x7F, which are refused too. ISTRIP would hide that.

A line is read in gulps of up to two seconds: the kernel keeps the bytes meanwhile, and the daemon
wakes once for what would else wake it fifty times.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from node.clock import Clock
from node.errors import MeterError, MeterSilent
from node.meter.arrivals import Connect, Transport
from node.meter.decoders import MakeCodec
from node.meter.lines import Line, LineMode
from node.meter.transports.stream import MAX_CHUNK_BYTES, Keep, StreamTransport, keep_nothing

__all__ = ["SerialPort", "connect_serial"]

GULP_BYTES: Final = 2_048
"""Half of what the kernel keeps of a line that nobody reads."""

LONGEST_NAP_S: Final = 2.0

_SPEEDS: Final = {
    baud: getattr(termios, f"B{baud}")
    for baud in (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
}
_IN_USE: Final = frozenset({errno.EBUSY, errno.EAGAIN})


class SerialPort:
    """An open port: a terminal line, or a named pipe that a receiver writes into.

    With several ``lines`` it listens in each for ``listen_s`` from the first byte on; without a
    frame in that time it goes on to the next, round and round: a Linky that its supplier switched
    to the other mode is found again.
    """

    def __init__(self, path: str, lines: Sequence[Line], listen_s: int) -> None:
        """Open and set the port. Raises MeterSilent or MeterError."""
        assert lines, path
        self._path = path
        self._lines = lines
        self._listen_s = listen_s
        self._at = 0
        self._since_s: int | None = None
        self._is_busy = False
        self._fd = _opened(path)
        try:
            self._is_line = _is_line(path, self._fd)
            self._set()
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def line(self) -> Line:
        """How the line is set now."""
        return self._lines[self._at]

    def close(self) -> None:
        """Give the port back."""
        os.close(self._fd)

    async def read(self) -> bytes:
        """The next bytes. Raises MeterSilent when the port is gone."""
        nap_s = min(GULP_BYTES / self.line.bytes_per_s, LONGEST_NAP_S)
        while True:
            if not self._is_busy:
                await self._readable()
            await asyncio.sleep(nap_s)
            chunk = self.read_now()
            # On a line that hardly pauses there is no need to wait for its next byte.
            self._is_busy = 2 * len(chunk) > nap_s * self.line.bytes_per_s
            if chunk:
                return chunk

    def heard(self, *, is_frame: bool, at_s: int) -> bool:
        """Move on to the next setting when this one gave no frame for long enough."""
        if is_frame or self._since_s is None:
            self._since_s = at_s
            return False
        if len(self._lines) == 1 or at_s - self._since_s < self._listen_s:
            return False
        self._at = (self._at + 1) % len(self._lines)
        self._since_s = None
        self._set()
        return True

    def read_now(self) -> bytes:
        """What is there, nothing if nothing came yet. Raises MeterSilent when the port is gone."""
        try:
            chunk = os.read(self._fd, MAX_CHUNK_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._gone(error.strerror) from error
        if not chunk:
            raise self._gone("hung up")
        return chunk

    def _gone(self, reason: str | None) -> MeterSilent:
        return MeterSilent(f"{self._path} is gone ({reason})", next_step="check the cable")

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._fd, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_reader(self._fd)

    def _set(self) -> None:
        if not self._is_line:
            return
        try:
            _set_line(self._fd, self.line)
        except (OSError, termios.error) as error:
            raise self._gone(f"it cannot be set to {self.line}: {error}") from error


def connect_serial(
    path: str,
    lines: Sequence[Line],
    make_codec: MakeCodec,
    clock: Clock,
    *,
    listen_s: int = 10,
    keep: Keep = keep_nothing,
) -> Connect:
    """A meter on a serial port. Entering raises MeterSilent when the port is not there or in use,
    MeterError when it may not be opened or is no port."""

    @asynccontextmanager
    async def connection() -> AsyncIterator[Transport]:
        port = SerialPort(path, lines, listen_s)
        try:
            yield StreamTransport(port, make_codec, clock, keep)
        finally:
            port.close()

    def connect() -> AbstractAsyncContextManager[Transport]:
        return connection()

    return connect


def _opened(path: str) -> int:
    """The port, for this process alone: two readers would each get half of the bytes."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise MeterError(
            f"{path} may not be opened",
            next_step="add the daemon's user to the port's group: usermod -aG dialout USER",
        ) from error
    except OSError as error:
        if error.errno in _IN_USE:
            raise _in_use(path) from error
        raise MeterSilent(
            f"{path} cannot be opened ({error.strerror})",
            next_step="check the cable, and the name: daisee meter detect lists the ports",
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise _in_use(path) from error
    return fd


def _in_use(path: str) -> MeterSilent:
    return MeterSilent(f"{path} is in use", next_step="stop the other program that reads it")


def _is_line(path: str, fd: int) -> bool:
    """Whether it is a terminal line; a pipe needs no setting. Raises MeterError for a file."""
    if os.isatty(fd):
        return True
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        return False
    raise MeterError(
        f"{path} is no serial port",
        next_step='to replay a recorded file, write kind = "replay" and file = "..."',
    )


def _set_line(fd: int, line: Line) -> None:
    """Raw, as the module says; what arrived under the old setting is thrown away.

    Ports that are no real line (a pseudo-terminal of socat or ser2net) know no seven bits and no
    parity, and may refuse to be told: they are set to eight bits, and a parity bit that comes
    along is seen as a byte above 0x7F.
    """
    try:
        _set_raw(fd, line.baud, line.mode)
    except termios.error:
        _set_raw(fd, line.baud, LineMode.EIGHT_NONE)
    termios.tcflush(fd, termios.TCIFLUSH)


def _set_raw(fd: int, baud: int, mode: LineMode) -> None:
    _, _, cflag, _, _, _, characters = termios.tcgetattr(fd)
    cflag &= ~(termios.CSIZE | termios.PARENB | termios.PARODD | termios.CSTOPB | termios.CRTSCTS)
    cflag |= termios.CREAD | termios.CLOCAL
    iflag = 0
    if mode is LineMode.SEVEN_EVEN:
        cflag |= termios.CS7 | termios.PARENB
        iflag = termios.INPCK
    else:
        cflag |= termios.CS8
    characters[termios.VMIN] = 1
    characters[termios.VTIME] = 0
    attributes = [iflag, 0, cflag, 0, _SPEEDS[baud], _SPEEDS[baud], characters]
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
