"""A chain's HTTP endpoint as bad networks and bad endpoints make it: a seeded proxy before a chain.

A fault comes before the request has reached the chain or after it has: what the caller sees is the
same, what happened is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Final

from aiohttp import ClientSession

SLOW_S: Final = 0.5
OTHER_CHAIN: Final = 0xBAD
STALE_BLOCKS: Final = 3


class RpcFault(StrEnum):
    """What an endpoint can do to whoever asks it."""

    SLOW = "slow"
    SERVER_ERROR = "5xx"
    RESET = "reset"
    CUT = "cut short"
    WRONG_CHAIN = "wrong chain"
    STALE_HEAD = "stale head"
    NO_RECEIPT = "no receipt"
    LOGS_TWICE = "logs twice"


class RpcProxy:
    """``odds`` says which fault comes how often, and may be changed at any time."""

    def __init__(self, upstream: str, session: ClientSession, rng: random.Random) -> None:
        self.odds: Mapping[RpcFault, float] = {}
        self.asked: Counter[str] = Counter()
        self.happened: Counter[RpcFault] = Counter()
        self.url = ""
        self._upstream = upstream
        self._session = session
        self._rng = rng
        self._open: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: a request after the other."""
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._one(reader, writer):
                pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        del self._open[task]

    async def close(self) -> None:
        """Let go of the connections that clients keep open."""
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*self._open)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next(
            int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-le")
        )
        body = await reader.readexactly(length)
        method = json.loads(body)["method"]
        self.asked[method] += 1
        answers_before = self._rng.random() < 0.5
        if self._strikes(RpcFault.RESET):
            if not answers_before:
                await self._forward(body)
            writer.transport.abort()
            return False
        if self._strikes(RpcFault.SERVER_ERROR):
            if not answers_before:
                await self._forward(body)
            await _reply(writer, b"upstream sent too big a header", status="502 Bad Gateway")
            return True
        answer = await self._forward(body)
        if self._strikes(RpcFault.SLOW):
            await asyncio.sleep(SLOW_S)
        if b'"latest"' in body and method == "eth_getBlockByNumber":
            answer = await self._older(body, answer)
        answer = self._bent(method, answer)
        if self._strikes(RpcFault.CUT):
            half = answer[: len(answer) // 2]
            await _reply(writer, half, length=len(half) if answers_before else len(answer))
            return answers_before
        await _reply(writer, answer)
        return True

    async def _older(self, body: bytes, answer: bytes) -> bytes:
        """Perhaps a block that was the newest one some blocks ago."""
        if not self._strikes(RpcFault.STALE_HEAD):
            return answer
        number = int(json.loads(answer)["result"]["number"], 16)
        stale = f'"{max(number - STALE_BLOCKS, 0):#x}"'
        return await self._forward(body.replace(b'"latest"', stale.encode()))

    def _bent(self, method: str, answer: bytes) -> bytes:
        document: dict[str, Any] = json.loads(answer)
        if method == "eth_chainId" and self._strikes(RpcFault.WRONG_CHAIN):
            document["result"] = hex(OTHER_CHAIN)
        elif method == "eth_getTransactionReceipt" and self._strikes(RpcFault.NO_RECEIPT):
            document["result"] = None
        elif method == "eth_getLogs" and self._strikes(RpcFault.LOGS_TWICE):
            document["result"] = document["result"] * 2
        return json.dumps(document).encode()

    async def _forward(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._upstream, data=body, headers=headers) as response:
            return await response.read()

    def _strikes(self, fault: RpcFault) -> bool:
        struck = self._rng.random() < self.odds.get(fault, 0.0)
        self.happened[fault] += struck
        return struck


async def _reply(
    writer: asyncio.StreamWriter,
    body: bytes,
    *,
    status: str = "200 OK",
    length: int | None = None,
) -> None:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


@asynccontextmanager
async def rpc_proxy(upstream: str, rng: random.Random) -> AsyncIterator[RpcProxy]:
    """A proxy on a free port of the loopback interface, without faults at first."""
    async with ClientSession() as session:
        proxy = RpcProxy(upstream, session, rng)
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            server.close()
            await proxy.close()
            await server.wait_closed()
