"""What a development chain offers beyond JSON-RPC: blocks stamped by the caller's clock."""

from __future__ import annotations

from typing import Protocol

from node.chain.keys import Key
from node.chain.rpc import Rpc


class Engine(Protocol):
    """A chain of our own making: in process, or a process that this one started.

    ``funder`` is an account with more than enough gas money; ``gas_price`` what to offer.
    """

    name: str
    rpc: Rpc
    funder: Key
    gas_price: int

    async def stamp(self, unix_s: int) -> None:
        """Give the next block this time; it must be later than the last block's."""
        ...

    async def close(self) -> None:
        """Stop it."""
        ...
