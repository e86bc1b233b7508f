"""What a bad line does to a stream of bytes: for the tests and campaigns of every codec.

Every function is pure: bytes and a ``random.Random`` in, bytes out. The same seed gives the same
damage. A line is what lies between the meter and the program, with what its receiver checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

PARITY_ERROR: Final = 0x00
"""What a receiver that checks parity delivers for a bad character (INPCK set, IGNPAR and PARMRK
off)."""


class Line(Enum):
    """A character on the wire has eight bits on all three: seven of data and even parity, checked
    by the receiver or not, or eight of data."""

    CHECKED_7E1 = "7E1, parity checked"
    UNCHECKED_7E1 = "7E1, parity not checked"
    PLAIN_8N1 = "8N1"


def received(character: int, flipped: int, line: Line) -> int:
    """What arrives of a character when the bits of ``flipped`` (0 to 255) are inverted on the wire.

    On the 7E1 lines the eighth bit is the parity. A checked line sees every odd number of flips.
    """
    if line is Line.PLAIN_8N1:
        return character ^ flipped
    if line is Line.CHECKED_7E1 and flipped.bit_count() % 2:
        return PARITY_ERROR
    return character ^ (flipped & 0x7F)


def damaged(sent: bytes, flips: Mapping[int, int], line: Line) -> bytes:
    """A stream of which the characters at the given positions had bits inverted."""
    arrived = bytearray(sent)
    for position, flipped in flips.items():
        arrived[position] = received(sent[position], flipped, line)
    return bytes(arrived)


def flip_bits(sent: bytes, random: Random, line: Line, count: int = 1) -> bytes:
    """Invert ``count`` different bits anywhere on the wire, parity bits included."""
    flips: dict[int, int] = {}
    for bit in random.sample(range(8 * len(sent)), min(count, 8 * len(sent))):
        flips[bit // 8] = flips.get(bit // 8, 0) | 1 << bit % 8
    return damaged(sent, flips, line)


def flip_bits_of_one_byte(sent: bytes, random: Random, line: Line, count: int = 2) -> bytes:
    """Invert ``count`` bits of one character: with two, parity sees nothing."""
    if not sent:
        return sent
    flipped = sum(1 << bit for bit in random.sample(range(8), count))
    return damaged(sent, {random.randrange(len(sent)): flipped}, line)


def add_noise(sent: bytes, random: Random, line: Line, bit_error_rate: float) -> bytes:
    """Invert every bit on the wire with the same probability, which is above 0."""
    flips: dict[int, int] = {}
    bit = int(random.expovariate(bit_error_rate))
    while bit < 8 * len(sent):
        flips[bit // 8] = flips.get(bit // 8, 0) | 1 << bit % 8
        bit += 1 + int(random.expovariate(bit_error_rate))
    return damaged(sent, flips, line)


def replace_bytes(sent: bytes, random: Random, line: Line, count: int = 1) -> bytes:
    """Turn ``count`` characters into others, with any of their bits inverted."""
    positions = random.sample(range(len(sent)), min(count, len(sent)))
    return damaged(sent, {position: random.randrange(1, 256) for position in positions}, line)


def lose_bytes(sent: bytes, random: Random, count: int = 1) -> bytes:
    """Lose ``count`` characters anywhere, as a receiver whose buffer overran."""
    lost = set(random.sample(range(len(sent)), min(count, len(sent))))
    return bytes(byte for position, byte in enumerate(sent) if position not in lost)


def double_bytes(sent: bytes, random: Random, count: int = 1) -> bytes:
    """Receive ``count`` characters twice."""
    doubled = set(random.sample(range(len(sent)), min(count, len(sent))))
    return b"".join(
        bytes([byte, byte]) if position in doubled else bytes([byte])
        for position, byte in enumerate(sent)
    )


def swap_neighbours(sent: bytes, random: Random) -> bytes:
    """Two different characters that follow each other change places; sums do not see it."""
    places = [place for place in range(len(sent) - 1) if sent[place] != sent[place + 1]]
    if not places:
        return sent
    place = random.choice(places)
    return _swapped(sent, place, place + 1)


def swap_any(sent: bytes, random: Random) -> bytes:
    """Two characters, however far from each other, change places."""
    if len(sent) < 2:
        return sent
    return _swapped(sent, *random.sample(range(len(sent)), 2))


def cut_out(sent: bytes, random: Random) -> bytes:
    """Lose a run of characters; across frames it may join the halves of two."""
    begin, end = sorted(random.sample(range(len(sent) + 1), 2)) if sent else (0, 0)
    return sent[:begin] + sent[end:]


def cut_off(sent: bytes, random: Random) -> bytes:
    """Lose the end, as when the plug is pulled."""
    return sent[: random.randrange(len(sent) + 1)]


def cut_head(sent: bytes, random: Random) -> bytes:
    """Lose the beginning, as when the program starts in the middle of a frame."""
    return sent[random.randrange(len(sent) + 1) :]


def insert_noise(sent: bytes, random: Random, most: int = 64) -> bytes:
    """Receive up to ``most`` characters that nobody sent."""
    place = random.randrange(len(sent) + 1)
    return sent[:place] + random.randbytes(random.randint(1, most)) + sent[place:]


def mutations(line: Line) -> Mapping[str, Callable[[bytes, Random], bytes]]:
    """Every kind of damage by its name, on one line: what a campaign draws from."""
    return {
        "one bit flipped": lambda sent, random: flip_bits(sent, random, line),
        "two bits flipped": lambda sent, random: flip_bits(sent, random, line, 2),
        "three to eight bits flipped": lambda sent, random: flip_bits(
            sent, random, line, random.randint(3, 8)
        ),
        "two bits of one byte flipped": lambda sent, random: flip_bits_of_one_byte(
            sent, random, line
        ),
        "one byte replaced": lambda sent, random: replace_bytes(sent, random, line),
        "bytes replaced": lambda sent, random: replace_bytes(
            sent, random, line, random.randint(2, 6)
        ),
        "one byte lost": lose_bytes,
        "bytes lost": lambda sent, random: lose_bytes(sent, random, random.randint(2, 6)),
        "one byte doubled": double_bytes,
        "bytes doubled": lambda sent, random: double_bytes(sent, random, random.randint(2, 6)),
        "neighbours swapped": swap_neighbours,
        "two bytes swapped": swap_any,
        "a run cut out": cut_out,
        "cut off": cut_off,
        "head missing": cut_head,
        "noise inserted": insert_noise,
    }


@dataclass(frozen=True, slots=True)
class Mutant:
    """Damaged bytes, and the name of what happened to them."""

    mutation: str
    arrived: bytes


def mutate(sent: bytes, random: Random, line: Line) -> Mutant:
    """One kind of damage, drawn at random."""
    kinds = mutations(line)
    name = random.choice(list(kinds))
    return Mutant(name, kinds[name](sent, random))


def every_byte_changed(sent: bytes, line: Line) -> Iterator[bytes]:
    """All streams in which one character arrives as another: 255 patterns of flips for each
    position, without those that arrive unchanged or alike."""
    for position, character in enumerate(sent):
        arrivals = {received(character, flipped, line) for flipped in range(1, 256)}
        for arrival in sorted(arrivals - {character}):
            yield sent[:position] + bytes([arrival]) + sent[position + 1 :]


def every_byte_lost(sent: bytes) -> Iterator[bytes]:
    """All streams in which one character is missing."""
    for position in range(len(sent)):
        yield sent[:position] + sent[position + 1 :]


def every_byte_doubled(sent: bytes) -> Iterator[bytes]:
    """All streams in which one character arrives twice."""
    for position in range(len(sent)):
        yield sent[: position + 1] + sent[position:]


def chunks(stream: bytes, random: Random, most: int = 64) -> Iterator[bytes]:
    """The stream in pieces of 1 to ``most`` bytes, as reads of a port return it."""
    begin = 0
    while begin < len(stream):
        end = begin + random.randint(1, most)
        yield stream[begin:end]
        begin = end


def _swapped(sent: bytes, first: int, second: int) -> bytes:
    arrived = bytearray(sent)
    arrived[first], arrived[second] = sent[second], sent[first]
    return bytes(arrived)
