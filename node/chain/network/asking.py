"""One question to one node of the network: over the socket of its own user, or over HTTP.

Where the market speaks through web3, the operator's commands ask a handful of questions, some of
which no member may ask; they need no more than JSON-RPC itself.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout

from node.errors import ChainUnreachable, Refused

__all__ = ["ask"]

ANSWER_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 2**24
_CHUNK_BYTES: Final = 2**16


async def ask(
    endpoint: str | Path,
    method: str,
    *parameters: object,
    within_s: float = ANSWER_S,
) -> Any:  # noqa: ANN401 - JSON
    """The result of one JSON-RPC call to a socket (a path) or to a URL.

    Raises ChainUnreachable when no answer comes in time, Refused when the answer is an error.
    """
    question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
    try:
        async with asyncio.timeout(within_s):
            if isinstance(endpoint, Path):
                answer = await _over_socket(endpoint, question)
            else:
                answer = await _over_http(endpoint, question)
    except (OSError, TimeoutError, ClientError, ValueError) as error:
        raise ChainUnreachable(f"{endpoint} does not answer {method}: {error}") from error
    if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
        raise ChainUnreachable(f"{endpoint} does not speak JSON-RPC")
    if "error" in answer:
        message = answer["error"].get("message", "") if isinstance(answer["error"], dict) else ""
        raise Refused(f"{method}: {message}", reason="rpc_error")
    return answer["result"]


async def _over_socket(path: Path, question: dict[str, object]) -> object:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(json.dumps(question).encode() + b"\n")
        await writer.drain()
        received = b""
        while len(received) <= MAX_ANSWER_BYTES:
            chunk = await reader.read(_CHUNK_BYTES)
            received += chunk
            # geth ends an answer with a newline, of which a document on one line has no other.
            if not chunk or received.endswith(b"\n"):
                return json.loads(received)
        raise ValueError("the answer is too long")
    finally:
        writer.close()


async def _over_http(url: str, question: dict[str, object]) -> object:
    timeout = ClientTimeout(total=ANSWER_S)
    async with (
        ClientSession(timeout=timeout) as session,
        session.post(url, json=question) as answer,
    ):
        content = await answer.content.read(MAX_ANSWER_BYTES)
        while not answer.content.at_eof() and len(content) <= MAX_ANSWER_BYTES:
            content += await answer.content.read(MAX_ANSWER_BYTES)
        return json.loads(content)
