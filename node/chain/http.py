"""A connection to a chain over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import ClientSession, ClientTimeout, TCPConnector
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.types import RPCEndpoint

from node.chain.rpc import Rpc

REQUEST_TIMEOUT_S: Final = 30

MAX_CONNECTIONS: Final = 100


class OneSessionProvider(AsyncHTTPProvider):
    """web3's provider with one HTTP session of its own. Make it where a loop runs.

    web3 keeps sessions behind a thread's lock, which it waits for in another thread: a request that
    is cancelled meanwhile leaves the lock taken for ever, and every later request waits for it.
    """

    def __init__(self, url: str, *, connections: int = MAX_CONNECTIONS) -> None:
        # web3's own retries are off: whoever calls bounds its tries.
        super().__init__(url, exception_retry_configuration=None)
        self._session = ClientSession(
            connector=TCPConnector(limit=connections),
            timeout=ClientTimeout(total=REQUEST_TIMEOUT_S),
            raise_for_status=True,
        )

    async def _make_request(self, method: RPCEndpoint, request_data: bytes) -> bytes:
        del method  # web3 retries by it
        address, headers = str(self.endpoint_uri), self.get_request_headers()
        async with self._session.post(address, data=request_data, headers=headers) as answer:
            return await answer.read()

    async def disconnect(self) -> None:
        """Close the session; again is harmless."""
        await self._session.close()


@asynccontextmanager
async def http_rpc(url: str) -> AsyncIterator[Rpc]:
    """Speak to the endpoint of a URL until the block ends. Raises ChainUnreachable."""
    provider = OneSessionProvider(url)
    w3: AsyncWeb3[Any] = AsyncWeb3(provider, middleware=[])
    try:
        yield await Rpc.connect(w3)
    finally:
        await provider.disconnect()
