"""The first block of a network, and who sealed a later one. Pure.

Both engines stop at the London rules, for which the contracts are compiled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from node.chain.json_rpc import number
from node.chain.network.record import Network

__all__ = [
    "GAS_LIMIT",
    "clique_extra_data",
    "clique_validators",
    "founders_of",
    "genesis_document",
    "qbft_extra_data",
    "qbft_validators",
    "sealer_of",
]

GAS_LIMIT: Final = 60_000_000
"""Gas of a block. Blocks are full at twice the target of the base fee, so that a street's orders
leave it near 0."""

OPERATOR_BALANCE_WEI: Final = 10**27
"""A billion coins of no value: enough gas for ever, and less than what overflows anywhere."""

EPOCH_BLOCKS: Final = 30_000
VANITY_BYTES: Final = 32
SEAL_BYTES: Final = 65
ADDRESS_BYTES: Final = 20

_STRING: Final = 0x80
_LIST: Final = 0xC0
_SHORT: Final = 55
"""Prefixes of RLP, and the longest content whose length the prefix holds."""

_QBFT_MIX_HASH: Final = "0x63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365"
"""By which Besu knows a block of its Byzantine engines."""

_FORKS_TO_LONDON: Final = (
    "homesteadBlock",
    "eip150Block",
    "eip155Block",
    "eip158Block",
    "byzantiumBlock",
    "constantinopleBlock",
    "petersburgBlock",
    "istanbulBlock",
    "berlinBlock",
    "londonBlock",
)
_SEALED_FIELDS: Final = (
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "baseFeePerGas",
)
_NUMBERS: Final = frozenset(
    {"difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas"}
)


def genesis_document(network: Network) -> dict[str, Any]:
    """What the engine's genesis file says."""
    addresses = [peer.address for peer in network.founders]
    config: dict[str, Any] = {"chainId": network.chain_id} | dict.fromkeys(_FORKS_TO_LONDON, 0)
    document: dict[str, Any] = {
        "nonce": "0x0",
        "timestamp": "0x0",
        "gasLimit": hex(GAS_LIMIT),
        "difficulty": "0x1",
        "coinbase": "0x" + "00" * ADDRESS_BYTES,
        "alloc": {network.operator.removeprefix("0x"): {"balance": hex(OPERATOR_BALANCE_WEI)}},
    }
    if network.engine == "geth":
        config["clique"] = {"period": network.period_s, "epoch": EPOCH_BLOCKS}
        document |= {"extraData": clique_extra_data(addresses), "baseFeePerGas": "0x0"}
    else:
        config["zeroBaseFee"] = True
        config["qbft"] = {
            "blockperiodseconds": network.period_s,
            "epochlength": EPOCH_BLOCKS,
            "requesttimeoutseconds": 2 * network.period_s,
        }
        document |= {"extraData": qbft_extra_data(addresses), "mixHash": _QBFT_MIX_HASH}
    return {"config": config} | document


def founders_of(document: Mapping[str, Any], engine: str) -> tuple[int, set[str]]:
    """The chain's number and the founders that a genesis file names. Raises ValueError, KeyError,
    TypeError or IndexError for what is none."""
    extra_data = document["extraData"]
    names = clique_validators(extra_data) if engine == "geth" else qbft_validators(extra_data)
    return document["config"]["chainId"], set(names)


def clique_extra_data(addresses: Sequence[str]) -> str:
    """Vanity, the sealers in ascending order, and the place of a seal."""
    sealers = b"".join(sorted(_bytes(address) for address in addresses))
    return "0x" + (bytes(VANITY_BYTES) + sealers + bytes(SEAL_BYTES)).hex()


def clique_validators(extra_data: str) -> list[str]:
    """The sealers that a genesis block or a checkpoint names."""
    middle = _bytes(extra_data)[VANITY_BYTES:-SEAL_BYTES]
    return [
        "0x" + middle[at : at + ADDRESS_BYTES].hex() for at in range(0, len(middle), ADDRESS_BYTES)
    ]


def qbft_extra_data(addresses: Sequence[str]) -> str:
    """RLP of vanity, validators, no vote, round 0 and no seals."""
    validators = [_bytes(address) for address in addresses]
    return "0x" + _rlp([bytes(VANITY_BYTES), validators, [], b"", []]).hex()


def qbft_validators(extra_data: str) -> list[str]:
    """The validators that a block names: with QBFT every block names all of them."""
    outer, _ = _rlp_item(_bytes(extra_data))
    _, rest = _rlp_item(outer)
    listed, _ = _rlp_item(rest)
    validators = []
    while listed:
        validator, listed = _rlp_item(listed)
        validators.append("0x" + validator.hex())
    return validators


def sealer_of(block: Mapping[str, Any], engine: str) -> str | None:
    """Who sealed a block, from its header as an endpoint gives it; None for the first block, and
    for a header that nobody sealed."""
    if number(block["number"]) == 0:
        return None
    if engine != "geth":
        return str(block["miner"]).lower()
    extra = _bytes(block["extraData"])
    header = dict(block) | {"extraData": "0x" + extra[:-SEAL_BYTES].hex()}
    names = [name for name in _SEALED_FIELDS if header.get(name) is not None]
    fields = [
        _minimal(number(header[name])) if name in _NUMBERS else _bytes(str(header[name]))
        for name in names
    ]
    try:
        seal = Signature(extra[-SEAL_BYTES:])
        key = seal.recover_public_key_from_msg_hash(keccak(_rlp(fields)))
    except (BadSignature, ValidationError):
        return None
    address: str = key.to_address()
    return address


def _rlp(item: bytes | list[Any]) -> bytes:
    """The recursive length prefix of bytes and lists: appendix B of Ethereum's yellow paper."""
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < _STRING:
            return item
        return _prefixed(item, _STRING)
    return _prefixed(b"".join(_rlp(part) for part in item), _LIST)


def _prefixed(content: bytes, kind: int) -> bytes:
    if len(content) <= _SHORT:
        return bytes([kind + len(content)]) + content
    length = _minimal(len(content))
    return bytes([kind + _SHORT + len(length)]) + length + content


def _rlp_item(encoded: bytes) -> tuple[bytes, bytes]:
    """The content of the first item, be it bytes or a list, and what follows it."""
    first = encoded[0]
    if first < _STRING:
        return encoded[:1], encoded[1:]
    length = first - (_LIST if first >= _LIST else _STRING)
    start = 1
    if length > _SHORT:
        start += length - _SHORT
        length = int.from_bytes(encoded[1:start])
    return encoded[start : start + length], encoded[start + length :]


def _minimal(value: int) -> bytes:
    """A number without leading zeros; 0 is nothing at all."""
    return value.to_bytes((value.bit_length() + 7) // 8)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
