"""A connection to a chain over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import ClientTimeout
from web3 import AsyncHTTPProvider, AsyncWeb3

from node.chain.rpc import Rpc

REQUEST_TIMEOUT_S: Final = 30


@asynccontextmanager
async def http_rpc(url: str) -> AsyncIterator[Rpc]:
    """Speak to the endpoint of a URL until the block ends. Raises ChainUnreachable.

    web3's own retries are off: whoever calls bounds its tries.
    """
    provider = AsyncHTTPProvider(
        url,
        request_kwargs={"timeout": ClientTimeout(total=REQUEST_TIMEOUT_S)},
        exception_retry_configuration=None,
    )
    w3: AsyncWeb3[Any] = AsyncWeb3(provider, middleware=[])
    try:
        yield await Rpc.connect(w3)
    finally:
        await provider.disconnect()
