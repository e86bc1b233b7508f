"""What every JSON-RPC endpoint of a chain speaks: its numbers, and how a block is asked for."""

from __future__ import annotations

__all__ = ["block_query", "number"]


def block_query(at: int | str = "latest", *, whole: bool = False) -> tuple[str, str, bool]:
    """Method and parameters that ask for a block, by height or by a name such as ``latest``; with
    its transactions if ``whole``, else with their hashes alone."""
    return "eth_getBlockByNumber", at if isinstance(at, str) else hex(at), whole


def number(value: int | str) -> int:
    """A number of an answer: some endpoints give it as one, others as hex text."""
    return int(value, 16) if isinstance(value, str) else value
