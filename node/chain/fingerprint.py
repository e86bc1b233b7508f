"""Four words that two people compare over the telephone, for what they mean to be the same keys.

The words are of no language, so that they are read aloud in any: three syllables each, of a
consonant and a vowel that telephones and French and English ears tell apart. Four of them carry
60 bits, and each guess costs a thief 16 MB and a twentieth of a second: nobody finds other keys
with the same words.
"""

from __future__ import annotations

import hashlib
from typing import Final

from eth_utils.crypto import keccak

__all__ = ["BITS", "WORDS", "same_words", "words_of"]

CONSONANTS: Final = "bdlmrstv"
VOWELS: Final = "aiou"
SYLLABLES_PER_WORD: Final = 3
WORDS: Final = 4

_SYLLABLE_BITS: Final = 5
BITS: Final = WORDS * SYLLABLES_PER_WORD * _SYLLABLE_BITS

_ROUNDS: Final = 2**14
_BLOCK_SIZE: Final = 8
_SALT: Final = b"daisee fingerprint 1"


def words_of(content: bytes) -> str:
    """The four words of anything, with a space between two."""
    stretched = hashlib.scrypt(
        keccak(content), salt=_SALT, n=_ROUNDS, r=_BLOCK_SIZE, p=1, dklen=8, maxmem=2**26
    )
    number = int.from_bytes(stretched) >> (64 - BITS)
    return " ".join(_word(number, place) for place in range(WORDS))


def same_words(words: str, typed: str) -> bool:
    """Whether somebody typed these words; case, hyphens and how many spaces do not matter."""
    return words.split() == typed.lower().replace("-", " ").replace(",", " ").split()


def _word(number: int, place: int) -> str:
    first = place * SYLLABLES_PER_WORD
    return "".join(_syllable(number, first + count) for count in range(SYLLABLES_PER_WORD))


def _syllable(number: int, place: int) -> str:
    """Of five bits, counted from the front: three choose the consonant, two the vowel."""
    bits = number >> (BITS - _SYLLABLE_BITS * (place + 1)) & (2**_SYLLABLE_BITS - 1)
    return CONSONANTS[bits >> 2] + VOWELS[bits & 3]
