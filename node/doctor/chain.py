"""The chain, the market on it, and the household's standing and key there.

Loaded only where the settings name a chain: what speaks Ethereum is slow to load.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from enum import IntEnum
from functools import partial
from importlib import resources
from typing import Any, Final

from node.chain.bootstrap import REGISTRY
from node.chain.client import MARKET
from node.chain.http import http_rpc
from node.chain.json_rpc import BadAnswer, block_query, field_of, number, table_of
from node.chain.keys import Key
from node.chain.keystore import read_keystore
from node.chain.rpc import NO_ANSWER, Rpc
from node.config import ChainSection, password_of
from node.doctor.case import Case, in_thread
from node.doctor.findings import Finding, error, ok, warning
from node.errors import ChainUnreachable, DaiseeError
from node.slots import iso_utc
from node.units import duration_text

__all__ = ["chain_checks", "clock_finding", "head_finding", "is_known_code"]

HEAD_WARNING_S: Final = 60
HEAD_ERROR_S: Final = 300

AHEAD_WARNING_S: Final = 2
AHEAD_ERROR_S: Final = 30
"""Block time that far in the future: a gate would be missed by this machine's clock."""

WAITING_WARNING: Final = 4


class _Standing(IntEnum):
    """A household's standing, with the numbers that it has on chain."""

    UNKNOWN = 0
    SUSPENDED = 1
    NO_SIGNER = 2
    GOOD = 3


async def chain_checks(case: Case) -> AsyncIterator[Finding]:
    """N001 to N004, T002 and K001 to K003."""
    chain = case.config.chain
    if chain is None:
        yield ok("N001", "paper mode: there is no [chain]")
        return
    try:
        async with http_rpc(chain.rpc) as rpc:
            yield ok("N001", chain.rpc)
            async for finding in _on_chain(case, chain, rpc):
                yield finding
    except ChainUnreachable as failure:
        raise ChainUnreachable(
            f"{chain.rpc}: {failure.message}",
            next_step="check rpc in [chain], the network, and that the validator runs",
        ) from failure


async def _on_chain(case: Case, chain: ChainSection, rpc: Rpc) -> AsyncIterator[Finding]:
    if rpc.chain_id != chain.chain_id:
        yield error(
            "N002",
            f"it serves chain {rpc.chain_id}, the settings say {chain.chain_id}",
            "ask the operator for the right rpc and chain_id; nothing is sent meanwhile",
        )
        return
    yield ok("N002", str(chain.chain_id))
    block = await _asked(rpc, *block_query())
    head, head_s = _read(block, "number"), _read(block, "timestamp")
    yield head_finding(head, head_s, case.clock.now_s())
    yield clock_finding(head_s, case.clock.now_s())
    code = await rpc.code_at(chain.market)
    yield _code_finding(code, chain)
    if not is_known_code(code, _artifact()):
        return
    key: Key | None = None
    if case.config.trades:
        key = await _key(case)
        yield ok("K001", key.address)
    else:
        yield ok("K001", "paper mode: nothing is signed")
    yield await _standing(case, chain, rpc, key)
    if key is not None:
        yield await _waiting(rpc, key)


def head_finding(head: int, head_s: int, now_s: int) -> Finding:
    """N003: how old the newest block is."""
    age_s = max(now_s - head_s, 0)
    said = f"block {head} is {duration_text(age_s)} old"
    step = "ask the operator: too few validators agree, or this one fell behind"
    if age_s >= HEAD_ERROR_S:
        return error("N003", said, step)
    if age_s >= HEAD_WARNING_S:
        return warning("N003", said, step)
    return ok("N003", said)


def clock_finding(head_s: int, now_s: int) -> Finding:
    """T002. A block from the future says that this clock is behind; one from the past says
    nothing, as the chain may be slow."""
    ahead_s = head_s - now_s
    said = f"the newest block is {ahead_s} s in this machine's future ({iso_utc(head_s)})"
    step = "timedatectl set-ntp true; gates open and close by block time"
    if ahead_s >= AHEAD_ERROR_S:
        return error("T002", said, step)
    if ahead_s >= AHEAD_WARNING_S:
        return warning("T002", said, step)
    return ok(
        "T002", f"the newest block is of {iso_utc(head_s)}, this machine's clock is not behind"
    )


def _artifact() -> dict[str, Any]:
    text = resources.files("node.chain").joinpath("artifacts", "EnergyMarket.json").read_text()
    artifact: dict[str, Any] = json.loads(text)
    return artifact


def is_known_code(code: bytes, artifact: dict[str, Any]) -> bool:
    """Whether code on chain is what our compiler made, but for the values that a constructor wrote
    into it (addresses, the slot's length)."""
    known = bytes.fromhex(artifact["deployedBytecode"].removeprefix("0x"))
    if len(code) != len(known):
        return False
    bare = bytearray(code)
    for place in artifact["immutableReferences"]:
        start, length = place["start"], place["length"]
        bare[start : start + length] = known[start : start + length]
    return bytes(bare) == known


def _code_finding(code: bytes, chain: ChainSection) -> Finding:
    if not code:
        return error(
            "N004",
            f"there is no contract at {chain.market}",
            "check market in [chain] with what the operator wrote",
        )
    if not is_known_code(code, _artifact()):
        return error(
            "N004",
            f"the contract at {chain.market} has other code than this daisee's market",
            "another version of the market, or no market: ask the operator which daisee to use",
        )
    return ok("N004", f"{len(code)} bytes, as compiled")


async def _key(case: Case) -> Key:
    """Raises ConfigurationError, which is K001's finding."""
    keystore = case.config.key.keystore
    assert keystore is not None  # the settings were checked: who trades has one
    password = password_of(case.config, case.environment)
    return await in_thread(partial(read_keystore, keystore, password))


async def _standing(case: Case, chain: ChainSection, rpc: Rpc, key: Key | None) -> Finding:
    household = case.config.household.number
    if not household:
        return ok("K002", "not a member yet: household.number is 0")
    try:
        registry = await rpc.call(chain.market, MARKET, "REGISTRY")
        number_, signer, _ = await rpc.call(registry, REGISTRY, "standingOf", household, 1)
    except DaiseeError as failure:
        return error("K002", failure.message, "ask the operator whether the household is admitted")
    standing = _Standing(number_)
    word = standing.name.lower().replace("_", " ")
    if standing is not _Standing.GOOD:
        return error(
            "K002",
            f"household {household} is {word}",
            "ask the operator; a new key is named by the household's owner",
        )
    if key is not None and signer.lower() != key.address.lower():
        return error(
            "K002",
            f"the signer of household {household} is {signer}, this key is {key.address}",
            "put the right keystore in place, or have the owner name this key",
        )
    return ok("K002", f"household {household} is in good standing")


async def _waiting(rpc: Rpc, key: Key) -> Finding:
    mined, sent = [
        _number(await _asked(rpc, "eth_getTransactionCount", key.address, at))
        for at in ("latest", "pending")
    ]
    waiting = sent - mined
    if waiting >= WAITING_WARNING:
        return warning(
            "K003",
            f"{waiting} transactions wait behind nonce {mined}",
            "see N003; if blocks come, the gas price of this node may be too low",
        )
    return ok("K003", f"nonce {mined}, {waiting} waiting")


async def _asked(rpc: Rpc, method: str, *parameters: object) -> Any:  # noqa: ANN401 - JSON
    try:
        return await rpc.ask(method, *parameters)
    except NO_ANSWER as failure:
        raise ChainUnreachable(f"no answer to {method}: {failure}") from failure


def _read(block: object, name: str) -> int:
    try:
        return number(field_of(table_of(block), name))
    except BadAnswer as failure:
        raise ChainUnreachable(f"a block that is none: {failure}") from failure


def _number(answer: object) -> int:
    try:
        return number(answer)
    except BadAnswer as failure:
        raise ChainUnreachable(f"no nonce: {failure}") from failure
