"""Signed documents as text that survives a letter, a chat and a QR code.

``DAISEE-INVITE1:`` and letters and digits without case: a checksum, signatures of 64 bytes and the
compressed document. All of it fits the alphanumeric mode of QR codes. Spaces and line breaks, which
mail programs put in, mean nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from node.errors import Refused

__all__ = ["SIGNATURE_BYTES", "Envelope", "open_envelope", "recovered", "seal_envelope"]

SIGNATURE_BYTES: Final = 64
MAX_TEXT: Final = 65_536
MAX_DOCUMENT_BYTES: Final = 32_768

_CHECKSUM_BYTES: Final = 4
_PARITY: Final = 1 << 255


@dataclass(frozen=True, slots=True)
class Envelope:
    """A document as its signers saw it. Whose signatures they are is for the reader to find out."""

    content: bytes
    document: Mapping[str, Any]
    signatures: tuple[bytes, ...]


def seal_envelope(kind: str, content: bytes, signatures: Sequence[bytes]) -> str:
    """The text of a document, which is JSON, and of the signatures over it."""
    assert all(len(signature) == SIGNATURE_BYTES for signature in signatures)
    packed = b"".join(signatures) + zlib.compress(content, 9)
    packed = keccak(packed)[:_CHECKSUM_BYTES] + packed
    return f"{_prefix(kind)}{base64.b32encode(packed).decode().rstrip('=')}"


def open_envelope(kind: str, text: str, signatures: int) -> Envelope:
    """What a text holds. Raises Refused, reason ``damaged``, when it is not whole or not one."""
    if len(text) > MAX_TEXT:
        raise _damaged(kind, "it is too long")
    letters = "".join(text.split()).upper()
    if not letters.startswith(_prefix(kind)):
        raise _damaged(kind, f"it does not begin with {_prefix(kind)}")
    letters = letters.removeprefix(_prefix(kind))
    try:
        packed = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except (binascii.Error, ValueError) as error:
        raise _damaged(kind, "a part is missing, or there is more than belongs there") from error
    checksum, packed = packed[:_CHECKSUM_BYTES], packed[_CHECKSUM_BYTES:]
    if keccak(packed)[:_CHECKSUM_BYTES] != checksum:
        raise _damaged(kind, "a part is missing or was changed")
    end = SIGNATURE_BYTES * signatures
    content = _unpacked(kind, packed[end:])
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _damaged(kind, "it holds no document") from error
    if not isinstance(document, dict):
        raise _damaged(kind, "it holds no document")
    made = tuple(packed[at : at + SIGNATURE_BYTES] for at in range(0, end, SIGNATURE_BYTES))
    return Envelope(content, document, made)


def recovered(digest: bytes, compact: bytes) -> str:
    """Whose compact signature (EIP-2098) of a digest it is; empty if it is nobody's."""
    word = int.from_bytes(compact[32:])
    vrs = (word >> 255, int.from_bytes(compact[:32]), word % _PARITY)
    try:
        key = Signature(vrs=vrs).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError):
        return ""
    return key.to_checksum_address()


def _unpacked(kind: str, packed: bytes) -> bytes:
    """Decompressed within a bound: a few bytes could stand for gigabytes."""
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(packed, MAX_DOCUMENT_BYTES)
    except zlib.error as error:
        raise _damaged(kind, "it cannot be unpacked") from error
    if not inflate.eof or inflate.unused_data:
        raise _damaged(kind, "it cannot be unpacked whole")
    return content


def _prefix(kind: str) -> str:
    return f"DAISEE-{kind.upper()}1:"


def _damaged(kind: str, why: str) -> Refused:
    return Refused(
        f"this {kind} cannot be read: {why}",
        reason="damaged",
        next_step="copy it again, from its first letter to its last, or ask for the file",
    )
