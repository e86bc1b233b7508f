"""Signatures of claims and rulings, and the digest of a ruling in the public book.

Both are EIP-712 typed data in a domain of the community's book of records, so that what was signed
for one community counts in no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from node.chain.bootstrap import RECORDS
from node.chain.client import BLOCKS_PER_PAGE
from node.chain.keys import Domain, Key
from node.chain.rpc import Receipt, Rpc, Sender
from node.errors import ChainMismatch

__all__ = ["Papers", "RecordedRuling", "is_recorded", "record_ruling", "recorded_rulings"]

SIGNATURE_BYTES: Final = 64
DIGEST_BYTES: Final = 32

_CLAIM_TYPE: Final = keccak(
    text="Claim(string source,uint32 household,uint8 side,uint64 fromTime,uint64 toTime,"
    "bytes32 content)"
)
_RULING_TYPE: Final = keccak(text="Ruling(bytes32 claim,string outcome,bytes32 content)")


ClaimHead = tuple[str, int, int, tuple[int, int], bytes]
"""What a signature of a claim covers: source, household, side, span in seconds, digest."""


class Papers:
    """Signs, and tells who signed, within one community. Implements
    ``node.billing.claims.SignatureCheck``."""

    def __init__(self, chain_id: int, records: str) -> None:
        self._domain = Domain("daisee disputes", chain_id, records)

    def sign_claim(self, key: Key, head: ClaimHead) -> bytes:
        """A claimant's signature."""
        return key.sign_compact(self._claim_digest(head))

    def sign_ruling(self, key: Key, claim: bytes, outcome: str, content: bytes) -> bytes:
        """The distribution operator's signature of a ruling."""
        return key.sign_compact(self._ruling_digest(claim, outcome, content))

    def claimant(self, head: ClaimHead, signature: bytes) -> str | None:
        """The address that signed a claim; None if the signature is none."""
        return _signer(self._claim_digest(head), signature)

    def ruler(self, claim: bytes, outcome: str, content: bytes, signature: bytes) -> str | None:
        """The address that signed a ruling; None if the signature is none."""
        return _signer(self._ruling_digest(claim, outcome, content), signature)

    def _claim_digest(self, head: ClaimHead) -> bytes:
        source, household, side, (from_s, to_s), content = head
        numbers = b"".join(word.to_bytes(32) for word in (household, side, from_s, to_s))
        return self._domain.digest(keccak(_CLAIM_TYPE + keccak(text=source) + numbers + content))

    def _ruling_digest(self, claim: bytes, outcome: str, content: bytes) -> bytes:
        return self._domain.digest(keccak(_RULING_TYPE + claim + keccak(text=outcome) + content))


def _signer(digest: bytes, signature: bytes) -> str | None:
    if len(signature) != SIGNATURE_BYTES:
        return None
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    try:
        whole = Signature(vrs=(s >> 255, r, s & (2**255 - 1)))
        return whole.recover_public_key_from_msg_hash(digest).to_checksum_address()
    except (BadSignature, ValidationError):
        return None


@dataclass(frozen=True, slots=True)
class RecordedRuling:
    """A ruling as the chain knows it: a digest, the first slot that it touches, and since when."""

    number: int
    slot: int
    digest: bytes
    block: int


async def record_ruling(sender: Sender, records: str, slot: int, digest: bytes) -> Receipt:
    """Put a ruling's digest on chain. Raises Refused unless the sender is distribution operator."""
    return await sender.send(records, RECORDS, "recordRuling", slot, digest)


async def recorded_rulings(
    rpc: Rpc, records: str, from_block: int, to_block: int
) -> list[RecordedRuling]:
    """The rulings recorded in a range of blocks, both ends included, in chain order."""
    topic = "0x" + RECORDS.topics["RulingRecorded"].hex()
    return [_ruling_of(log) for log in await rpc.logs(records, from_block, to_block, [topic])]


def _ruling_of(log: Mapping[str, Any]) -> RecordedRuling:
    topics, digest = log["topics"], log["data"]
    if len(topics) <= 2 or len(digest) != DIGEST_BYTES:
        raise ChainMismatch(f"block {log['blockNumber']} has a log that is no ruling")
    return RecordedRuling(
        number=int.from_bytes(topics[1]),
        slot=int.from_bytes(topics[2]),
        digest=digest,
        block=log["blockNumber"],
    )


async def is_recorded(rpc: Rpc, records: str, from_block: int, digest: bytes) -> bool:
    """Whether a ruling's digest is on chain, from a block up to the head, page by page."""
    head = await rpc.head()
    for first in range(from_block, head + 1, BLOCKS_PER_PAGE):
        last = min(first + BLOCKS_PER_PAGE - 1, head)
        found = await recorded_rulings(rpc, records, first, last)
        if any(ruling.digest == digest for ruling in found):
            return True
    return False
