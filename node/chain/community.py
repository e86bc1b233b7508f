"""The community file: which chain, which contracts, whom to ask. Every member has the same one.

It holds nothing secret. Whoever has it can tell the agreed chain from any other:
``verify_community`` asks an endpoint for the genesis block, the chain's id and the code of every
contract.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from eth_utils.crypto import keccak

from node.chain.json_rpc import block_query
from node.chain.network.record import GAS_PRICE_WEI
from node.chain.rpc import NO_ANSWER, Rpc
from node.config.endpoints import without_credentials
from node.errors import ChainMismatch, ChainUnreachable, ConfigurationError

__all__ = [
    "CONTRACTS",
    "ENGINES",
    "GAS_PRICE_WEI",
    "Community",
    "code_hash_at",
    "community_of",
    "document_of",
    "genesis_hash_of",
    "load_community",
    "save_community",
    "verify_community",
]

ENGINES: Final = ("besu", "geth", "embedded", "anvil")

CONTRACTS: Final = (
    "AccessManager",
    "HouseholdRegistry",
    "SettlementCredit",
    "EnergyMarket",
    "RecordBook",
)

MAX_FILE_BYTES: Final = 2**16
MAX_NAME: Final = 80
MAX_URLS: Final = 16

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_HASH: Final = re.compile(r"0x[0-9a-f]{64}")
_URL: Final = re.compile(r"https?://[^\s\"'@]{1,200}")
_HEADING: Final = """\
# A community's chain and contracts, as its operator published them. Nothing here is secret; every
# member's file is the same, and a node refuses a chain or a contract that differs from it.
"""


@dataclass(frozen=True, slots=True)
class Community:
    """What all members of a community agree on.

    ``code_hashes`` are keccak-256 of each contract's code on the chain; ``finality_depth`` is the
    number of blocks after which a block is final (0 where blocks are final at once); ``operator``
    is the address of the account that admits members and signs invites.
    """

    name: str
    operator: str
    chain_id: int
    genesis_hash: str
    engine: str
    finality_depth: int
    rpc_urls: tuple[str, ...]
    relay_urls: tuple[str, ...]
    slot_s: int
    contracts: Mapping[str, str]
    code_hashes: Mapping[str, str]
    created_in_block: int
    gas_price_wei: int = GAS_PRICE_WEI

    @property
    def market(self) -> str:
        """The market's address."""
        return self.contracts["EnergyMarket"]


def load_community(path: Path) -> Community:
    """Read a community file. Raises ConfigurationError when it cannot be used."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        document = tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigurationError(
            f"the community file cannot be read ({error.strerror})",
            file=path,
            next_step="the operator has it: 'daisee chain deploy' writes it",
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"this is no community file: {error}", file=path) from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError("this is too long for a community file", file=path)
    try:
        return community_of(document)
    except ConfigurationError as error:
        raise ConfigurationError(error.message, file=path, next_step=error.next_step) from error


def save_community(path: Path, community: Community) -> None:
    """Write a community file in place of what is there, whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(_HEADING + "\n".join(_toml_lines(document_of(community))) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def document_of(community: Community) -> dict[str, Any]:
    """A community as plain values: what a file, an invite or a page says of it."""
    values = {field.name: getattr(community, field.name) for field in fields(community)}
    return {
        name: dict(value)
        if isinstance(value, Mapping)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in values.items()
    }


def community_of(document: Mapping[str, object]) -> Community:
    """A community from plain values, whoever wrote them. Raises ConfigurationError."""
    known = [field.name for field in fields(Community)]
    if strange := sorted(set(document) - set(known)):
        raise ConfigurationError(f"{strange[0]} is nothing that a community file says")
    if missing := [name for name in known if name not in document and name != "gas_price_wei"]:
        raise ConfigurationError(f"{missing[0]} is missing")
    return Community(
        name=_text(document, "name"),
        operator=_matching("operator", document["operator"], _ADDRESS),
        chain_id=_whole(document, "chain_id", 1, 2**63 - 1),
        genesis_hash=_matching("genesis_hash", document["genesis_hash"], _HASH),
        engine=_engine(document["engine"]),
        finality_depth=_whole(document, "finality_depth", 0, 10_000),
        rpc_urls=_urls(document, "rpc_urls", least=1),
        relay_urls=_urls(document, "relay_urls", least=0),
        slot_s=_whole(document, "slot_s", 1, 86_400),
        contracts=_by_contract(document, "contracts", _ADDRESS),
        code_hashes=_by_contract(document, "code_hashes", _HASH),
        created_in_block=_whole(document, "created_in_block", 0, 2**63 - 1),
        gas_price_wei=_whole(
            {"gas_price_wei": GAS_PRICE_WEI} | dict(document), "gas_price_wei", 0, 10**15
        ),
    )


async def verify_community(rpc: Rpc, community: Community) -> None:
    """Check that an endpoint serves the agreed chain with the agreed contracts.

    Raises ChainMismatch at the first difference, ChainUnreachable when it cannot be asked.
    """
    if rpc.chain_id != community.chain_id:
        raise ChainMismatch(
            f"the endpoint serves chain {rpc.chain_id}, and {community.name} agreed on chain"
            f" {community.chain_id}",
            next_step="check the RPC URL",
        )
    genesis = await genesis_hash_of(rpc)
    if genesis != community.genesis_hash:
        raise ChainMismatch(
            f"the endpoint's chain began with {genesis}, and {community.name}'s with"
            f" {community.genesis_hash}",
            next_step="check the RPC URL; if the chain was founded anew, ask for a new invite",
        )
    for name, address in community.contracts.items():
        found = await code_hash_at(rpc, address)
        if found != community.code_hashes[name]:
            raise ChainMismatch(
                f"the code of {name} at {address} is not the agreed one: {found}",
                next_step="trade nothing, and ask the operator which contracts are right",
            )


async def genesis_hash_of(rpc: Rpc) -> str:
    """The hash of the first block of an endpoint's chain. Raises ChainUnreachable."""
    try:
        block = await rpc.ask(*block_query(0))
    except NO_ANSWER as error:
        raise ChainUnreachable(f"no first block from the chain: {error}") from error
    if not isinstance(block, Mapping) or "hash" not in block:
        raise ChainUnreachable("the chain answers without its first block")
    found = block["hash"]
    return "0x" + found.hex() if isinstance(found, bytes) else str(found)


async def code_hash_at(rpc: Rpc, address: str) -> str:
    """keccak-256 of the code at an address. Raises ChainUnreachable."""
    return "0x" + keccak(await rpc.code_at(address)).hex()


def _text(document: Mapping[str, object], name: str) -> str:
    value = document[name]
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise ConfigurationError(f"{name} must be 1 to {MAX_NAME} printable characters")
    return value


def _whole(document: Mapping[str, object], name: str, least: int, most: int) -> int:
    value = document[name]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigurationError(f"{name} is {value!r}; an integer in {least}..{most} is needed")
    return value


def _engine(value: object) -> str:
    if not isinstance(value, str) or value not in ENGINES:
        raise ConfigurationError(f"engine is {value!r}; one of {', '.join(ENGINES)}")
    return value


def _matching(name: str, value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        digits = 64 if pattern is _HASH else 40
        raise ConfigurationError(f"{name} is {value!r}; 0x and {digits} hexadecimal digits")
    return value


def _urls(document: Mapping[str, object], name: str, *, least: int) -> tuple[str, ...]:
    value = document[name]
    if not isinstance(value, list | tuple) or not least <= len(value) <= MAX_URLS:
        raise ConfigurationError(f"{name} must list {least} to {MAX_URLS} URLs")
    for url in value:
        if not isinstance(url, str) or _URL.fullmatch(url) is None:
            shown = without_credentials(str(url))
            raise ConfigurationError(
                f"{name} has {shown!r}; a URL of http or https is needed, without user or token:"
                " every member has the same file"
            )
    return tuple(value)


def _by_contract(
    document: Mapping[str, object], name: str, pattern: re.Pattern[str]
) -> dict[str, str]:
    value = document[name]
    if not isinstance(value, Mapping) or set(value) != set(CONTRACTS):
        raise ConfigurationError(f"{name} must name {', '.join(CONTRACTS)}, and nothing else")
    return {
        contract: _matching(f"{name}.{contract}", value[contract], pattern)
        for contract in CONTRACTS
    }


def _toml_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """TOML of plain values: a string of JSON is one of TOML, printable text and URLs even more."""
    for name, value in document.items():
        if not isinstance(value, Mapping):
            yield f"{name} = {json.dumps(value, ensure_ascii=False)}"
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield f"\n[{name}]"
            yield from (f"{key} = {json.dumps(value[key])}" for key in value)
