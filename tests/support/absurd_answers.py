"""An endpoint that answers whatever it is told to: null, half a log, a number without end.

``SENSIBLE`` is what a chain with one market answers; ``results`` draws what a broken or lying one
may give in its place.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from hypothesis import strategies as st
from web3.providers.async_base import AsyncBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from node.chain.bootstrap import REGISTRY
from node.chain.client import MARKET

CHAIN_ID: Final = 1337
ADDRESS: Final = "0x" + "aa" * 20
BLOCK: Final = 5


def words(*values: int) -> str:
    """Values as the ABI writes static ones."""
    return "0x" + "".join(f"{value % 2**256:064x}" for value in values)


def topics_of(name: str, *values: int) -> list[str]:
    """The topics of an event of the market or its registry."""
    found = {**REGISTRY.topics, **MARKET.topics}[name]
    return ["0x" + found.hex(), *(words(value) for value in values)]


def log_of(name: str, indexed: tuple[int, ...], *values: int) -> dict[str, Any]:
    """A log as an endpoint gives it."""
    return {
        "address": ADDRESS,
        "topics": topics_of(name, *indexed),
        "data": words(*values),
        "blockNumber": hex(BLOCK),
        "logIndex": "0x1",
    }


RULES: Final = words(1, 0, 300, 4_000, 100, 224, 0, 0)

LOGS: Final = (
    log_of("SlotCleared", (1_628_063,), 1, 7_000, 1, 1, 1),
    log_of("OrderAccepted", (1_628_063, 1), 1, 5, 9_000, 0, 0),
    log_of("OrderRefused", (1_628_063, 1), 1, 9),
    log_of("OrderSettled", (1_628_063, 1), 1, 5, 7_000, -35_000),
    log_of("RulesScheduled", (2,), 1_628_070, 0, 300, 4_000, 100, 224, 0, 0),
    log_of("HouseholdAdmitted", (2, 7), 1_000, 1_000, 1),
    log_of("LimitsChanged", (2,), 5, 6),
)

SENSIBLE: Final[Mapping[str, Any]] = {
    "eth_chainId": hex(CHAIN_ID),
    "eth_blockNumber": hex(BLOCK),
    "eth_getCode": "0x6001",
    "eth_getBalance": hex(10**19),
    "eth_getBlockByNumber": {
        "number": hex(BLOCK),
        "hash": "0x" + "11" * 32,
        "baseFeePerGas": "0x7",
        "timestamp": "0x1",
    },
    "eth_call": RULES,
    "eth_getLogs": [],
    "eth_getTransactionCount": "0x1",
    "eth_sendRawTransaction": "0x" + "22" * 32,
    "eth_getTransactionByHash": {"hash": "0x" + "22" * 32},
    "eth_getTransactionReceipt": {
        "blockNumber": hex(BLOCK),
        "gasUsed": "0x1",
        "status": "0x1",
        "logs": [],
    },
}

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.sampled_from([2**63 - 1, 2**63, 2**200, 10**400, -1, 0]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["", "0x", "0x1", "0xz", "-0x5", hex(2**63), hex(2**300), "0x" + "11" * 32]),
    st.lists(
        st.sampled_from([0, 1, 2**32, 2**63, 2**64, 2**200, 2**256 - 1, 900]), max_size=10
    ).map(lambda values: words(*values)),
)
_json = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def _spoilt(draw: st.DrawFn, sound: Mapping[str, Any]) -> dict[str, Any]:
    """A log, block or receipt with fields that are missing or absurd."""
    found = copy.deepcopy(dict(sound))
    for name in draw(st.lists(st.sampled_from(sorted(found)), min_size=1, max_size=3)):
        if draw(st.booleans()):
            found.pop(name, None)
        else:
            found[name] = draw(_json)
    return found


_logs = st.lists(
    st.one_of(st.sampled_from(LOGS), st.sampled_from(LOGS).flatmap(_spoilt), _json), max_size=4
)


@st.composite
def results(draw: st.DrawFn) -> tuple[str, Any]:
    """A method, and what an endpoint answers to it: a result, or a whole document (``None``)."""
    method = draw(st.sampled_from([*sorted(SENSIBLE), ""]))
    if not method:
        return method, draw(_documents)
    choices = [_json, _logs]
    if isinstance(SENSIBLE[method], dict):
        choices += [_spoilt(SENSIBLE[method])] * 2
    if method == "eth_getTransactionReceipt":
        choices.append(_logs.map(lambda logs: {**SENSIBLE[method], "logs": logs}))
    if method == "eth_getLogs":
        choices.append(_logs)
    return method, {"result": draw(st.one_of(choices))}


_errors = st.fixed_dictionaries(
    {
        "error": st.one_of(
            _json, st.fixed_dictionaries({"code": _json, "message": _json, "data": _json})
        )
    }
)
_documents = st.one_of(_json, st.just({}), _errors, _errors.map(lambda e: {**e, "result": None}))


class AbsurdEndpoint(AsyncBaseProvider):
    """Answers sensibly but for one method, or for all of them when that is the empty one."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Any] = dict(SENSIBLE)
        self.absurd: tuple[str, Any] | None = None

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:  # noqa: ANN401 - JSON
        if self.absurd is not None and self.absurd[0] in (method, ""):
            found = self.absurd[1]
            if isinstance(found, dict) and "jsonrpc" not in found:
                found = {"jsonrpc": "2.0", "id": 1, **found}
            answer: RPCResponse = copy.deepcopy(found)
            return answer
        answered = copy.deepcopy(self.answers[method])
        if (
            method == "eth_getBlockByNumber"
            and isinstance(answered, dict)
            and params[0] != "latest"
        ):
            answered["number"] = params[0]
        return {"jsonrpc": "2.0", "id": 1, "result": answered}
