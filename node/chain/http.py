"""A connection to a chain over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import (
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    TCPConnector,
    encode_basic_auth,
)
from aiohttp.hdrs import AUTHORIZATION
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.types import RPCEndpoint

from node.chain.rpc import Rpc
from node.config.endpoints import endpoint_of
from node.errors import ChainUnreachable

REQUEST_TIMEOUT_S: Final = 30

MAX_CONNECTIONS: Final = 100

FOR_MEMBERS: Final = (
    "write the URL with your number and token into a file, chmod 600, and name it: file:PATH with"
    " --rpc, or as rpc in [chain]"
)
_REFUSED: Final = (401, 403)


class OneSessionProvider(AsyncHTTPProvider):
    """web3's provider with one HTTP session of its own. Make it where a loop runs.

    ``place`` is a URL or ``file:PATH``. The token of one is the session's alone: no URL that web3,
    or an error of it, has to show holds any. Raises ConfigurationError.

    web3 keeps sessions behind a thread's lock, which it waits for in another thread: a request that
    is cancelled meanwhile leaves the lock taken for ever, and every later request waits for it.
    """

    def __init__(self, place: str, *, connections: int = MAX_CONNECTIONS) -> None:
        endpoint = endpoint_of(place)
        # web3's own retries are off: whoever calls bounds its tries.
        super().__init__(endpoint.url, exception_retry_configuration=None)
        self._opens: dict[str, str] = {}
        if endpoint.user or endpoint.password:
            credentials = encode_basic_auth(endpoint.user, endpoint.password, "utf-8")
            self._opens = {AUTHORIZATION: credentials}
        self._session = ClientSession(
            connector=TCPConnector(limit=connections),
            timeout=ClientTimeout(total=REQUEST_TIMEOUT_S),
            raise_for_status=True,
        )

    async def _make_request(self, method: RPCEndpoint, request_data: bytes) -> bytes:
        del method  # web3 retries by it
        address, headers = str(self.endpoint_uri), self.get_request_headers() | self._opens
        async with self._session.post(address, data=request_data, headers=headers) as answer:
            return await answer.read()

    async def disconnect(self) -> None:
        """Close the session; again is harmless."""
        await self._session.close()


@asynccontextmanager
async def http_rpc(place: str) -> AsyncIterator[Rpc]:
    """Speak to the endpoint of a URL, or of a file that holds one, until the block ends.

    Raises ConfigurationError and ChainUnreachable.
    """
    provider = OneSessionProvider(place)
    w3: AsyncWeb3[Any] = AsyncWeb3(provider, middleware=[])
    try:
        yield await _connected(w3)
    finally:
        await provider.disconnect()


async def _connected(w3: AsyncWeb3[Any]) -> Rpc:
    try:
        return await Rpc.connect(w3)
    except ChainUnreachable as error:
        why = error.__cause__
        if isinstance(why, ClientResponseError) and why.status in _REFUSED:
            raise ChainUnreachable(
                "the endpoint wants a member's token, or another one", next_step=FOR_MEMBERS
            ) from error
        raise
