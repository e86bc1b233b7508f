"""Encrypted P1: the whole telegram inside AES-128-GCM, as Luxembourg sends it.

::

    DB 08 <system title 8> 82 <length 2> 30 <invocation counter 4> <telegram> <tag 12>

The nonce is title and counter; the tag also covers ``30`` and the authentication key, which the
specification of Luxembourg gives for all meters alike. The encryption key is the meter's own, and
its customer gets it from the network operator: the tag proves that the line is good, not that the
meter said it.

The length is outside of what the tag covers. Damage to it must not swallow the telegrams after it:
a beginning inside of a telegram ends it. By chance one stands in ten million telegrams.
"""

from __future__ import annotations

from typing import Final

from Crypto.Cipher import AES

from node.meter.codec import MAX_REJECTED_BYTES, Decoded
from node.meter.p1.codec import MAX_TELEGRAM_BYTES, P1Codec, Reader
from node.meter.p1.reading import KIND, read_telegram
from node.meter.p1.telegram import ENCRYPTED_HEAD, refused

LUXEMBOURG_AUTHENTICATION_KEY: Final = bytes.fromhex("00112233445566778899AABBCCDDEEFF")

KEY_BYTES: Final = 16
_TAG_BYTES: Final = 12
_HEAD_BYTES: Final = 18
_BEFORE_LENGTH: Final = 13
_OVERHEAD: Final = 1 + 4 + _TAG_BYTES
_SECURITY: Final = b"\x30"

_OUTSIDE: Final = "outside of an encrypted telegram: the beginning of one was not heard"
_WRONG_TAG: Final = "the telegram does not authenticate: the line is bad, or the key is not right"
_NO_END: Final = "an encrypted telegram began before the last one had ended"
_CUT: Final = "the stream ended inside an encrypted telegram"


class EncryptedP1Codec:
    """Decodes one stream of a P1 port that is encrypted. Raises ValueError for a key that has not
    16 bytes."""

    __slots__ = ("_authenticated", "_buffer", "_is_told", "_key", "_read", "_skipped", "kind")

    def __init__(
        self,
        key: bytes,
        authentication_key: bytes = LUXEMBOURG_AUTHENTICATION_KEY,
        read: Reader = read_telegram,
    ) -> None:
        if len(key) != KEY_BYTES or len(authentication_key) != KEY_BYTES:
            raise ValueError(f"a key of AES-128 has {KEY_BYTES} bytes")
        self.kind: str = KIND
        self._key = key
        self._authenticated = _SECURITY + authentication_key
        self._read = read
        self._buffer = bytearray()
        self._skipped = bytearray()
        self._is_told = False

    @property
    def buffered_bytes(self) -> int:
        """How much of the stream is kept."""
        return len(self._buffer) + len(self._skipped)

    def feed(self, chunk: bytes) -> list[Decoded]:
        """Take the next bytes; return what is complete by now."""
        decoded: list[Decoded] = []
        for begin in range(0, len(chunk), MAX_TELEGRAM_BYTES):
            self._buffer += chunk[begin : begin + MAX_TELEGRAM_BYTES]
            while self._take_telegram(decoded):
                pass
        return decoded

    def finish(self) -> list[Decoded]:
        """The stream has ended: what was still incomplete is refused. A length that damage made up
        may have swallowed whole telegrams; they are found now."""
        decoded: list[Decoded] = []
        while ENCRYPTED_HEAD.match(self._buffer):
            self._refuse(bytes(self._buffer), _CUT, decoded)
            while self._take_telegram(decoded):
                pass
        self._skip(len(self._buffer))
        self._tell_skipped(decoded)
        return decoded

    def _take_telegram(self, decoded: list[Decoded]) -> bool:
        """Find and open the next telegram; False when more bytes are needed."""
        head = ENCRYPTED_HEAD.search(self._buffer)
        if head is None:
            self._skip(max(len(self._buffer) - _HEAD_BYTES + 1, 0))
            return False
        length = int.from_bytes(head[2], "big")
        nonce = head[1] + head[3]
        size = _BEFORE_LENGTH + length
        if not _OVERHEAD < length <= MAX_TELEGRAM_BYTES:
            self._skip(head.start() + 1)
            return True
        self._skip(head.start())
        inner = ENCRYPTED_HEAD.search(self._buffer, 1, size)
        if inner is not None:
            self._refuse(bytes(self._buffer[: inner.start()]), _NO_END, decoded)
            return True
        if len(self._buffer) < size:
            return False
        self._open(bytes(self._buffer[:size]), nonce, decoded)
        return True

    def _open(self, sent: bytes, nonce: bytes, decoded: list[Decoded]) -> None:
        """Take a telegram out of the buffer, if its tag is right."""
        cipher = AES.new(self._key, AES.MODE_GCM, nonce=nonce, mac_len=_TAG_BYTES)
        cipher.update(self._authenticated)
        try:
            plain = cipher.decrypt_and_verify(sent[_HEAD_BYTES:-_TAG_BYTES], sent[-_TAG_BYTES:])
        except ValueError:
            self._refuse(sent, _WRONG_TAG, decoded)
            return
        self._tell_skipped(decoded)
        del self._buffer[: len(sent)]
        self._is_told = False
        telegram = P1Codec(self._read)
        decoded += [*telegram.feed(plain), *telegram.finish()]

    def _refuse(self, sent: bytes, reason: str, decoded: list[Decoded]) -> None:
        """Refuse a telegram, and look for the next one right behind its first byte: it may begin
        inside of a length that damage made up."""
        self._tell_skipped(decoded)
        decoded.append(refused(sent, reason))
        del self._buffer[:1]
        self._is_told = True

    def _skip(self, count: int) -> None:
        """Leave bytes out; their beginning is kept, to be told, unless they were refused before."""
        if not self._is_told:
            self._skipped += self._buffer[: min(count, MAX_REJECTED_BYTES - len(self._skipped))]
        del self._buffer[:count]

    def _tell_skipped(self, decoded: list[Decoded]) -> None:
        if self._skipped:
            decoded.append(refused(bytes(self._skipped), _OUTSIDE))
            self._skipped.clear()
