"""Bytes that come one after the other, from a serial line or through TCP, to decoded arrivals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from node.clock import Clock
from node.errors import MeterSilent
from node.meter.arrivals import Arrived, Connect, Transport
from node.meter.codec import Codec, MeterFrame
from node.meter.decoders import MakeCodec

__all__ = ["MAX_CHUNK_BYTES", "Keep", "StreamTransport", "connect_tcp", "keep_nothing"]

MAX_CHUNK_BYTES: Final = 4_096

CONNECT_S: Final = 10
"""How long a host may take to answer."""

Keep = Callable[[bytes], None]
"""Takes the raw bytes of what arrives, for a recording."""


def keep_nothing(_: bytes) -> None:
    """When nothing is recorded."""


class ByteSource(Protocol):
    """An open stream of bytes."""

    async def read(self) -> bytes:
        """The next bytes, never none. Raises MeterSilent when the stream is lost."""
        ...

    def heard(self, *, is_frame: bool, at_s: int) -> bool:
        """Told after each chunk whether it completed a frame. True when the source changed the way
        in which it listens, so that a new stream begins."""
        ...


class StreamTransport:
    """Reads one source; a codec for each way in which it listens."""

    def __init__(
        self, source: ByteSource, make_codec: MakeCodec, clock: Clock, keep: Keep = keep_nothing
    ) -> None:
        self._source = source
        self._make_codec = make_codec
        self._clock = clock
        self._keep = keep
        self.codec: Codec = make_codec()

    async def arrivals(self) -> AsyncIterator[Arrived]:
        """Everything that the stream says. Raises MeterSilent when it is lost."""
        while True:
            chunk = await self._source.read()
            self._keep(chunk)
            at_s = self._clock.now_s()
            decoded = self.codec.feed(chunk)
            is_frame = any(isinstance(item, MeterFrame) for item in decoded)
            for item in decoded:
                yield Arrived(at_s, item)
            if self._source.heard(is_frame=is_frame, at_s=at_s):
                self.codec = self._make_codec()


class _TcpSource:
    def __init__(self, reader: asyncio.StreamReader, address: str) -> None:
        self._reader = reader
        self._address = address

    async def read(self) -> bytes:
        try:
            chunk = await self._reader.read(MAX_CHUNK_BYTES)
        except OSError as error:
            raise MeterSilent(f"{self._address} is lost ({error.strerror})") from error
        if not chunk:
            raise MeterSilent(f"{self._address} closed the connection")
        return chunk

    def heard(self, *, is_frame: bool, at_s: int) -> bool:
        del is_frame, at_s  # a host listens in one way
        return False


def connect_tcp(
    host: str, port: int, make_codec: MakeCodec, clock: Clock, keep: Keep = keep_nothing
) -> Connect:
    """A meter's bytes from a host that hands them on as they come (ser2net and its like). The
    line's speed, characters and parity are that host's business."""

    @asynccontextmanager
    async def connection() -> AsyncIterator[Transport]:
        address = f"{host}:{port}"
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(host, port, limit=MAX_CHUNK_BYTES)
        except (OSError, TimeoutError) as error:
            reason = getattr(error, "strerror", None) or f"no answer within {CONNECT_S} s"
            raise MeterSilent(
                f"{address} cannot be reached ({reason})", next_step="check host and port"
            ) from error
        try:
            yield StreamTransport(_TcpSource(reader, address), make_codec, clock, keep)
        finally:
            writer.close()

    def connect() -> AbstractAsyncContextManager[Transport]:
        return connection()

    return connect
