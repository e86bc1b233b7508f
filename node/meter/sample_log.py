"""Raw samples, packed for the database: what shows how a slot's energy came about.

A meter that speaks every second gives 86,400 samples a day; as rows they would wear an SD card out.
They stay in memory and are handed over in batches, column by column as differences: two to three
bytes a sample.

::

    zlib( version  count  then for each column: count x varint )      columns in the order of Sample

A value is written as its difference to the one before it in its column, folded to a natural number
(0, -1, 1, -2, ... as 0, 1, 2, 3, ...) and one higher, so that 0 can say that there was none. A
varint has seven bits a byte, the lowest first; bit 7 says that more follow.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from node.model import SampleBatch

MAX_SAMPLES: Final = 3_600
"""Samples of one batch: more often than that nobody needs to ask, at one a second."""

MAX_BATCHES: Final = 400
"""Batches that wait for a storage: more than two weeks of a meter that speaks every second. The
oldest go first; registers do not depend on them."""

_VERSION: Final = 1
_COLUMNS: Final = 6
_MAX_VARINT_BYTES: Final = 10
_MAX_UNPACKED_BYTES: Final = 2 + _COLUMNS * MAX_SAMPLES * _MAX_VARINT_BYTES


@dataclass(frozen=True, slots=True)
class Sample:
    """What a meter said at an instant by the node's clock, as it said it: registers in Wh, power in
    W (import positive) or VA. ``held`` counts the registers in it that were not believed."""

    at_s: int
    import_wh: int | None = None
    export_wh: int | None = None
    power_w: int | None = None
    power_va: int | None = None
    held: int = 0


_VALUES_OF: Final = attrgetter("at_s", "import_wh", "export_wh", "power_w", "power_va", "held")


def pack(meter_id: str, samples: Sequence[Sample], *, from_s: int | None = None) -> SampleBatch:
    """A batch of 1 to MAX_SAMPLES samples, in the order in which they came. ``from_s`` names the
    batch where another one already has the time of its first sample."""
    assert 0 < len(samples) <= MAX_SAMPLES, len(samples)
    packed = bytearray([_VERSION])
    _put(packed, len(samples))
    for column in zip(*map(_VALUES_OF, samples), strict=True):
        before = 0
        for value in column:
            if value is None:
                packed.append(0)
                continue
            _put(packed, _folded(value - before) + 1)
            before = value
    times_s = [sample.at_s for sample in samples]
    return SampleBatch(
        meter_id,
        times_s[0] if from_s is None else from_s,
        max(times_s),
        len(samples),
        zlib.compress(bytes(packed)),
    )


def unpack(packed: bytes) -> list[Sample]:
    """The samples of a batch. Raises ValueError for anything that ``pack`` did not write."""
    try:
        expander = zlib.decompressobj()
        plain = expander.decompress(packed, _MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise ValueError(f"not a batch of samples: {error}") from error
    if not expander.eof or not plain or plain[0] != _VERSION:
        raise ValueError("not a batch of samples, or one of a later version")
    numbers = _numbers(plain[1:])
    count = next(numbers, 0)
    rest = list(numbers)
    if not 0 < count <= MAX_SAMPLES or len(rest) != _COLUMNS * count:
        raise ValueError(f"a batch of {count} samples with {len(rest)} values")
    columns = [_column(rest[begin : begin + count]) for begin in range(0, len(rest), count)]
    times_s, imports, exports, powers_w, powers_va, held = columns
    return [
        Sample(
            times_s[at] or 0, imports[at], exports[at], powers_w[at], powers_va[at], held[at] or 0
        )
        for at in range(count)
    ]


class SampleLog:
    """Collects samples, and keeps their batches until they are known to be durable."""

    __slots__ = ("_batches", "_last_from_s", "_meter_id", "_samples")

    def __init__(self) -> None:
        self._meter_id = ""
        self._samples: list[Sample] = []
        self._batches: deque[SampleBatch] = deque(maxlen=MAX_BATCHES)
        self._last_from_s: int | None = None

    def add(self, meter_id: str, sample: Sample) -> None:
        """Take the next sample; another meter begins another batch."""
        if meter_id != self._meter_id or len(self._samples) >= MAX_SAMPLES:
            self._seal()
            self._meter_id = meter_id
        self._samples.append(sample)

    def batches(self) -> Sequence[SampleBatch]:
        """Everything that is not known to be durable."""
        self._seal()
        return tuple(self._batches)

    def drop(self, batches: Sequence[SampleBatch]) -> None:
        """These are durable."""
        durable = set(batches)
        kept = [batch for batch in self._batches if batch not in durable]
        self._batches = deque(kept, maxlen=MAX_BATCHES)

    def _seal(self) -> None:
        if not self._samples:
            return
        from_s = self._samples[0].at_s
        # A clock that was set back must not give two batches one name.
        if self._last_from_s is not None:
            from_s = max(from_s, self._last_from_s + 1)
        self._last_from_s = from_s
        self._batches.append(pack(self._meter_id, self._samples, from_s=from_s))
        self._samples = []


def _folded(number: int) -> int:
    return 2 * number if number >= 0 else -2 * number - 1


def _unfolded(number: int) -> int:
    return number >> 1 if number % 2 == 0 else -((number + 1) >> 1)


def _put(packed: bytearray, number: int) -> None:
    while number > 0x7F:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)


def _numbers(plain: bytes) -> Iterator[int]:
    number, shift = 0, 0
    for byte in plain:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number, shift = 0, 0
        elif shift >= 7 * _MAX_VARINT_BYTES:
            raise ValueError("a number of a batch has no end")
    if shift:
        raise ValueError("the last number of a batch is cut off")


def _column(numbers: Sequence[int]) -> list[int | None]:
    values: list[int | None] = []
    before = 0
    for number in numbers:
        if number:
            before += _unfolded(number - 1)
        values.append(before if number else None)
    return values
