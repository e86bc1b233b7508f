"""An EIP-2612 permit for the settlement credit."""

from __future__ import annotations

from typing import Final

from eth_utils.crypto import keccak

from node.chain.keys import Domain, Key

_PERMIT_TYPE: Final = keccak(
    text="Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)


def permit_arguments(
    credit: Domain, holder: Key, spender: str, units: int, nonce: int, deadline_s: int
) -> tuple[str, str, int, int, int, bytes, bytes]:
    """The arguments of ``permit`` by which a holder lets a spender take credit."""
    words = (int(holder.address, 16), int(spender, 16), units, nonce, deadline_s)
    struct_hash = keccak(_PERMIT_TYPE + b"".join(word.to_bytes(32) for word in words))
    signature = holder.sign_recoverable(credit.digest(struct_hash))
    r, s, v = signature[:32], signature[32:64], signature[64]
    return (holder.address, spender, units, deadline_s, v, r, s)
