"""A household's key, and the EIP-712 signatures that it makes.

The digest is put together here word by word, because a node signs every slot and the contract's
``orderDigest`` checks it in the tests; the elliptic curve is eth-keys with coincurve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from eth_keys.constants import SECPK1_N
from eth_keys.datatypes import PrivateKey, Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from node.model import Order, SignedOrder

COMPACT_BYTES: Final = 64
"""Length of a compact signature."""

_DOMAIN_TYPE = keccak(
    text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_ORDER_TYPE = keccak(
    text="Order(uint32 household,uint32 slot,uint8 side,uint32 energyWh,uint32 limitPrice,"
    "bytes32 evidence)"
)
_NAME_SIGNER_TYPE = keccak(
    text="NameSigner(uint32 household,address signer,uint256 nonce,uint256 deadline)"
)


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a signature counts: one contract on one chain."""

    name: str
    chain_id: int
    contract: str
    version: str = "1"

    def digest(self, struct_hash: bytes) -> bytes:
        """What is signed for a struct in this domain."""
        return keccak(b"\x19\x01" + self.separator() + struct_hash)

    def separator(self) -> bytes:
        """The domain's own hash."""
        return keccak(
            _DOMAIN_TYPE
            + keccak(text=self.name)
            + keccak(text=self.version)
            + _word(self.chain_id)
            + _address_word(self.contract)
        )


class Key:
    """A private key in memory. It is never printed: ``repr`` shows the address."""

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)
        self.address: str = self._key.public_key.to_checksum_address()

    def __repr__(self) -> str:
        return f"Key({self.address})"

    def sign_compact(self, digest: bytes) -> bytes:
        """64 bytes: r, then the parity in the top bit of s (EIP-2098). Deterministic (RFC 6979)."""
        signature = self._key.sign_msg_hash(digest)
        return _word(signature.r) + _word(signature.s | (signature.v << 255))

    def sign_recoverable(self, digest: bytes) -> bytes:
        """65 bytes: r, s, v with v 27 or 28, as contracts of the field expect it."""
        signature = self._key.sign_msg_hash(digest)
        return _word(signature.r) + _word(signature.s) + bytes([27 + signature.v])

    @property
    def secret(self) -> bytes:
        """The 32 bytes themselves, for signing transactions and for the keystore only."""
        return self._key.to_bytes()


class MarketSigner:
    """Signs a household's orders for one market. Implements ``node.ports.OrderSigner``."""

    def __init__(self, key: Key, chain_id: int, market: str) -> None:
        self._key = key
        self._prefix = b"\x19\x01" + market_domain(chain_id, market).separator()

    def sign(self, order: Order) -> bytes:
        """The order's compact signature; the same order always gives the same bytes."""
        return self._key.sign_compact(keccak(self._prefix + order_hash(order)))


class OrderReader:
    """Tells who signed the orders of one market."""

    def __init__(self, chain_id: int, market: str) -> None:
        self._prefix = b"\x19\x01" + market_domain(chain_id, market).separator()

    def signer_of(self, signed: SignedOrder) -> str | None:
        """The address whose key made an order's signature; None if it is no signature at all.

        What the contract takes for none, is none here: the upper half of the curve, a wrong length.
        """
        if len(signed.signature) != COMPACT_BYTES:
            return None
        r, rest = int.from_bytes(signed.signature[:32]), int.from_bytes(signed.signature[32:])
        s = rest & (2**255 - 1)
        if not 0 < r < SECPK1_N or not 0 < s <= SECPK1_N // 2:
            return None
        digest = keccak(self._prefix + order_hash(signed.order))
        try:
            key = Signature(vrs=(rest >> 255, r, s)).recover_public_key_from_msg_hash(digest)
        except (BadSignature, ValidationError):
            return None
        return key.to_checksum_address()


def market_domain(chain_id: int, market: str) -> Domain:
    """The domain of orders."""
    return Domain("daisee market", chain_id, market)


def registry_domain(chain_id: int, registry: str) -> Domain:
    """The domain in which an owner names its household's signer."""
    return Domain("daisee registry", chain_id, registry)


def order_hash(order: Order) -> bytes:
    """The EIP-712 struct hash of an order."""
    return keccak(
        _ORDER_TYPE
        + _word(order.household)
        + _word(order.slot)
        + _word(order.side)
        + _word(order.energy_wh)
        + _word(order.limit_price)
        + order.evidence
    )


def name_signer_hash(household: int, signer: str, nonce: int, deadline_s: int) -> bytes:
    """The EIP-712 struct hash by which an owner names a signer."""
    return keccak(
        _NAME_SIGNER_TYPE
        + _word(household)
        + _address_word(signer)
        + _word(nonce)
        + _word(deadline_s)
    )


def _word(number: int) -> bytes:
    return number.to_bytes(32)


def _address_word(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address.removeprefix("0x"))
