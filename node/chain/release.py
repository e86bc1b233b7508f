"""Whether the code on a chain is this release's own, whoever deployed it and with what settings.

A contract's immutables (its market's slot length, the registry it asks) are written into its code
when it is created, so two communities' code hashes differ. Everything else must be what the
compiler made: the code is compared with the places of the immutables blanked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final

from node.chain.rpc import Rpc
from node.errors import ChainMismatch

__all__ = ["is_release_code", "verify_release"]

_NAMED: Final = frozenset(
    {"AccessManager", "EnergyMarket", "HouseholdRegistry", "RecordBook", "SettlementCredit"}
)


def is_release_code(name: str, code: bytes) -> bool:
    """Whether code at an address is this release's contract of that name."""
    made, immutables = _compiled(name)
    return len(code) == len(made) and _blanked(code, immutables) == _blanked(made, immutables)


async def verify_release(rpc: Rpc, contracts: Mapping[str, str]) -> None:
    """Check that every contract, by name, is this release's. Raises ChainMismatch if one is not."""
    for name, address in contracts.items():
        if not is_release_code(name, await rpc.code_at(address)):
            raise ChainMismatch(
                f"the code of {name} at {address} is not the one of this release of daisee",
                next_step="install the release that the community uses; 'daisee --version' tells"
                " which one this is",
            )


def _blanked(code: bytes, places: tuple[tuple[int, int], ...]) -> bytes:
    blank = bytearray(code)
    for start, length in places:
        blank[start : start + length] = bytes(length)
    return bytes(blank)


@cache
def _compiled(name: str) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """The compiler's own code, and where its immutables go."""
    assert name in _NAMED, name
    text = resources.files("node.chain").joinpath("artifacts", f"{name}.json").read_text()
    artifact = json.loads(text)
    places = tuple((place["start"], place["length"]) for place in artifact["immutableReferences"])
    return bytes.fromhex(artifact["deployedBytecode"].removeprefix("0x")), places
