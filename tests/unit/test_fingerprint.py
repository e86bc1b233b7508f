"""Four words: enough bits, read aloud in any language, never the same for other keys."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from node.chain.fingerprint import BITS, WORDS, same_words, words_of

WORD = re.compile(r"([bdlmrstv][aiou]){3}")


def test_four_words_carry_sixty_bits() -> None:
    assert BITS == 60
    assert 32 ** (3 * WORDS) == 2**BITS


@settings(max_examples=20)
@given(st.binary(max_size=200))
def test_words_are_syllables_and_always_the_same(content: bytes) -> None:
    words = words_of(content)
    assert words == words_of(content)
    assert len(words.split(" ")) == WORDS
    assert all(WORD.fullmatch(word) for word in words.split(" "))


def test_one_changed_bit_changes_every_word_sooner_or_later() -> None:
    """Each word of 200 fingerprints differs from its neighbour's: no word hangs on a part only."""
    made = [words_of(number.to_bytes(4)).split(" ") for number in range(200)]
    assert len({tuple(words) for words in made}) == 200
    for place in range(WORDS):
        assert len({words[place] for words in made}) > 190


def test_every_syllable_occurs() -> None:
    letters = "".join(words_of(number.to_bytes(4)).replace(" ", "") for number in range(60))
    syllables = {letters[at : at + 2] for at in range(0, len(letters), 2)}
    assert len(syllables) == 32


def test_typed_words_may_have_other_case_spaces_and_hyphens() -> None:
    words = words_of(b"lilas")
    assert same_words(words, words)
    assert same_words(words, f"  {words.upper().replace(' ', '-')}\n")
    assert same_words(words, words.replace(" ", ", "))
    assert not same_words(words, " ".join(words.split(" ")[:3]))
    assert not same_words(words, words[:-1] + ("a" if words[-1] != "a" else "i"))
    assert not same_words(words, "")
