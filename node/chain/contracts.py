"""The compiled contracts: their bytecode, and calls, results and reverts as Python values.

The artifacts are committed and compared with a fresh compilation by ``scripts/compile-contracts``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

Abi = Sequence[Mapping[str, Any]]

RESULT_WORD: Final = 32


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a contract: its selector and the types on both sides."""

    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def call(self, *arguments: object) -> bytes:
        """Call data."""
        return self.selector + encode(self.inputs, arguments)

    def result(self, data: bytes) -> tuple[Any, ...]:
        """The values that a call returned."""
        return tuple(decode(self.outputs, data))


@dataclass(frozen=True, slots=True)
class Contract:
    """One compiled contract."""

    name: str
    bytecode: bytes
    constructor_inputs: tuple[str, ...]
    functions: Mapping[str, Function]
    errors: Mapping[bytes, tuple[str, tuple[str, ...]]]
    topics: Mapping[str, bytes]

    def creation(self, *arguments: object) -> bytes:
        """What to send to create it."""
        return self.bytecode + encode(self.constructor_inputs, arguments)

    def call(self, function: str, *arguments: object) -> bytes:
        """Call data of a function by name."""
        return self.functions[function].call(*arguments)

    def revert_reason(self, data: bytes) -> tuple[str, tuple[Any, ...]]:
        """The custom error behind revert data, with its values; ``("unknown", ())`` if none is."""
        known = self.errors.get(data[:4])
        if known is None:
            return "unknown", ()
        name, inputs = known
        return name, tuple(decode(inputs, data[4:]))


@cache
def contract(name: str) -> Contract:
    """A contract of this project, or OpenZeppelin's AccessManager."""
    text = resources.files("node.chain").joinpath("artifacts", f"{name}.json").read_text()
    return contract_of(name, json.loads(text))


def contract_of(name: str, artifact: Mapping[str, Any]) -> Contract:
    """A contract from what a compiler made of it: its ``abi`` and ``bytecode``."""
    abi: Abi = artifact["abi"]
    functions = {entry["name"]: _function(entry) for entry in abi if entry["type"] == "function"}
    errors = {
        keccak(text=_signature(entry))[:4]: (entry["name"], _types(entry["inputs"]))
        for entry in abi
        if entry["type"] == "error"
    }
    topics = {
        entry["name"]: keccak(text=_signature(entry)) for entry in abi if entry["type"] == "event"
    }
    constructor = [entry for entry in abi if entry["type"] == "constructor"]
    return Contract(
        name=name,
        bytecode=bytes.fromhex(artifact["bytecode"].removeprefix("0x")),
        constructor_inputs=_types(constructor[0]["inputs"]) if constructor else (),
        functions=functions,
        errors=errors,
        topics=topics,
    )


def _function(entry: Mapping[str, Any]) -> Function:
    return Function(
        name=entry["name"],
        selector=keccak(text=_signature(entry))[:4],
        inputs=_types(entry["inputs"]),
        outputs=_types(entry["outputs"]),
    )


def _signature(entry: Mapping[str, Any]) -> str:
    return f"{entry['name']}({','.join(_types(entry['inputs']))})"


def _types(parameters: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Canonical types, structs spelled out as tuples."""
    return tuple(_type(parameter) for parameter in parameters)


def _type(parameter: Mapping[str, Any]) -> str:
    kind: str = parameter["type"]
    if kind.startswith("tuple"):
        return f"({','.join(_types(parameter['components']))}){kind.removeprefix('tuple')}"
    return kind
