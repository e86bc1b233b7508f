"""Foundry's anvil: a fast development chain in a process of its own, on loopback, London rules.

``AnvilChain.start`` runs a binary that is already on the machine; ``AnvilChain.attach`` uses a
development chain that somebody else runs. Both need the ``evm_`` and ``anvil_`` methods: a chain
that keeps its own time cannot replay a day of homes in a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientError
from web3 import AsyncWeb3
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

from node.chain.http import OneSessionProvider
from node.chain.keys import Key
from node.chain.rpc import Rpc
from node.errors import ChainMismatch, ChainUnreachable, ConfigurationError
from node.slots import iso_utc

BINARY_VARIABLE: Final = "DAISEE_ANVIL"
IN_NODE_MODULES: Final = "node_modules/@foundry-rs/anvil-*/bin/anvil"

START_TRIES: Final = 100
START_PAUSE_S: Final = 0.1
STOP_TIMEOUT_S: Final = 5.0

MAX_CONNECTIONS: Final = 4
GAS_PRICE: Final = 2 * 10**9
FUNDER_BALANCE: Final = 10**30


class AnvilChain:
    """An anvil, our own or somebody else's. Implements ``node.chain.engines.engine.Engine``."""

    name = "anvil"

    def __init__(
        self, rpc: Rpc, provider: OneSessionProvider, funder: Key, process: Process | None
    ) -> None:
        self.rpc = rpc
        self.funder = funder
        self.gas_price = GAS_PRICE
        self._provider = provider
        self._process = process

    @classmethod
    async def start(cls, *, genesis_s: int, funder: Key) -> AnvilChain:
        """Start anvil on a free port of the loopback interface.

        Raises ConfigurationError when there is no binary, ChainUnreachable when it does not answer.
        """
        port = _free_port()
        process = await asyncio.create_subprocess_exec(
            str(find_anvil()),
            *("--host", "127.0.0.1", "--port", str(port), "--hardfork", "london"),
            *("--timestamp", str(genesis_s), "--gas-limit", "30000000", "--accounts", "1"),
            *("--prune-history", "--silent"),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
        try:
            return await cls._connect(f"http://127.0.0.1:{port}", funder, process)
        except BaseException:
            await _stop(process)
            raise

    @classmethod
    async def attach(cls, url: str, *, not_after_s: int, funder: Key) -> AnvilChain:
        """Use a running development chain, from its current block on.

        Raises ChainUnreachable when it does not answer, ChainMismatch when it keeps its own time
        or is already later than ``not_after_s``: time cannot be turned back.
        """
        chain = await cls._connect(url, funder, None)
        block = await chain.rpc.w3.eth.get_block("latest")
        if int(block["timestamp"]) > not_after_s:
            await chain.close()
            raise ChainMismatch(
                f"the chain at {url} is at {iso_utc(int(block['timestamp']))}, and the run begins"
                f" at {iso_utc(not_after_s)}",
                next_step=f"start the chain with --timestamp {not_after_s}",
            )
        return chain

    @classmethod
    async def _connect(cls, url: str, funder: Key, process: Process | None) -> AnvilChain:
        provider = OneSessionProvider(url, connections=MAX_CONNECTIONS)
        w3: AsyncWeb3[Any] = AsyncWeb3(provider, middleware=[])
        try:
            rpc = await _first_answer(w3, process)
            chain = cls(rpc, provider, funder, process)
            await chain._ask("anvil_setBalance", [funder.address, hex(FUNDER_BALANCE)])
        except BaseException:
            await provider.disconnect()
            raise
        return chain

    async def stamp(self, unix_s: int) -> None:
        """Give the next block this time."""
        await self._ask("evm_setNextBlockTimestamp", [unix_s])

    async def close(self) -> None:
        """Close the connection, and the process if it is ours."""
        await self._provider.disconnect()
        if self._process is not None:
            await _stop(self._process)

    async def _ask(self, method: str, parameters: list[object]) -> None:
        try:
            answer = await self._provider.make_request(RPCEndpoint(method), parameters)
        except (Web3Exception, ClientError, OSError, TimeoutError) as error:
            raise ChainUnreachable(f"{method}: {error}") from error
        if "error" in answer:
            raise ChainMismatch(
                f"the chain at {self._provider.endpoint_uri} does not know {method}",
                next_step="simulate on a development chain such as anvil, or on --chain embedded",
            )


async def _first_answer(w3: AsyncWeb3[Any], process: Process | None) -> Rpc:
    """Connect; a process that was just started may take a while to answer."""
    for _ in range(START_TRIES if process else 0):
        try:
            return await Rpc.connect(w3)
        except ChainUnreachable:
            if process is not None and process.returncode is not None:
                raise
            await asyncio.sleep(START_PAUSE_S)
    return await Rpc.connect(w3)


def find_anvil() -> Path:
    """The anvil binary: $DAISEE_ANVIL, on the PATH, or in node_modules of this or a parent folder.

    Raises ConfigurationError when there is none.
    """
    named = os.environ.get(BINARY_VARIABLE)
    if named and Path(named).is_file():
        return Path(named)
    on_path = shutil.which("anvil")
    if on_path:
        return Path(on_path)
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).parents[3]):
        for found in sorted(folder.glob(IN_NODE_MODULES)):
            return found
    raise ConfigurationError(
        "there is no anvil on this machine",
        next_step="run scripts/setup contracts, or use --chain embedded, which needs nothing",
    )


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _stop(process: Process) -> None:
    """End our own child: politely, then not."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
