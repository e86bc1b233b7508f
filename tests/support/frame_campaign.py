"""Mutated frames, from the line to the counted register: what comes through, by codec and damage.

Each life of a stream is a new codec and a new ``MeterBook``. Frames are damaged by one kind of
mutation or left as they are, in a share that changes from life to life; now and then the node
starts again. Nothing here catches an exception: a crash ends the campaign.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from node.meter.arrivals import Arrived
from node.meter.believing import MeterBook, MeterSample
from node.meter.codec import MAX_BUFFER_BYTES, MeterFrame
from node.meter.guard import Limits
from node.meter.recording import Reader
from tests.support.frame_streams import BEGIN_S, MAX_POWER_W, Registers, Stream
from tests.support.mutations import Line, mutate

DAMAGED_SHARES: Final = (0.3, 0.5, 0.8)

RESTARTED_SHARE: Final = 0.005
"""Before so many frames the node starts again, with what its book kept."""

MOST_RESYNC: Final = 1
"""Undamaged frames that may be lost after damage: the second one is read."""

SPAN_FRAMES: Final = 3
"""A counted value that is wrong, but by no more than what the connection lets through in so many
frames, is plausible; beyond it is not."""


@dataclass(slots=True)
class Tally:
    """What became of the frames of one stream.

    ``other_fields`` are decoded frames that say anything which was not sent, ``other_registers``
    those of them whose registers are wrong: what the codec alone let through. ``counted`` are
    samples that reached the counted totals; ``plausible`` and ``implausible`` those of them that
    were not what the meter had sent. ``resync`` is the most undamaged frames that were lost in a
    row after damage.
    """

    sent: int = 0
    mutated: int = 0
    other_fields: Counter[str] = field(default_factory=Counter)
    other_registers: Counter[str] = field(default_factory=Counter)
    by_mutation: Counter[str] = field(default_factory=Counter)
    counted: int = 0
    plausible: int = 0
    most_wrong_wh: int = 0
    implausible: int = 0
    resync: int = 0
    buffer: int = 0

    def add(self, other: Tally) -> None:
        """Both together."""
        self.sent += other.sent
        self.mutated += other.mutated
        self.other_fields += other.other_fields
        self.other_registers += other.other_registers
        self.by_mutation += other.by_mutation
        self.counted += other.counted
        self.plausible += other.plausible
        self.most_wrong_wh = max(self.most_wrong_wh, other.most_wrong_wh)
        self.implausible += other.implausible
        self.resync = max(self.resync, other.resync)
        self.buffer = max(self.buffer, other.buffer)


class Lives:
    """Lives of one stream, one after the other."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._good = stream.good
        self._items = [frozenset(good.fields.items()) for good in self._good]
        self._near_wh = Limits(MAX_POWER_W, lateness_s=0).may_grow_wh(
            SPAN_FRAMES * stream.settings.period_s
        )

    def live(self, random: Random) -> Tally:
        """One life."""
        stream, tally = self._stream, Tally()
        codec, book = stream.codec(), MeterBook(stream.settings)
        share = random.choice(DAMAGED_SHARES)
        lost, mutation = 0, ""
        for at, sent in enumerate(stream.sent):
            if random.random() < RESTARTED_SHARE:
                book = MeterBook(stream.settings, book.state())
            arrived, is_damaged = sent, random.random() < share
            if is_damaged:
                mutant = mutate(sent, random, stream.line)
                arrived, mutation = mutant.arrived, mutant.mutation
                tally.by_mutation[mutation] += 1
                tally.mutated += 1
            is_read = False
            for decoded in codec.feed(arrived):
                if isinstance(decoded, MeterFrame):
                    self._judge(tally, decoded, at, mutation)
                    is_read = is_read or registers_of(decoded) == registers_of(self._good[at])
                at_s = BEGIN_S + at * stream.settings.period_s
                sample = book.observe(Arrived(at_s, decoded))
                if sample is not None:
                    self._weigh(tally, sample)
            lost = 0 if is_damaged or is_read else lost + 1
            tally.resync = max(tally.resync, lost)
            tally.buffer = max(tally.buffer, getattr(codec, "buffered_bytes", 0))
        tally.sent = len(stream.sent)
        return tally

    def _judge(self, tally: Tally, frame: MeterFrame, at: int, mutation: str) -> None:
        """What the codec let through. A frame that was cut may hold groups of the one before."""
        said = frame.fields.items()
        before = max(at - 1, 0)
        if said <= self._items[at] or said <= self._items[before] | self._items[at]:
            return
        tally.other_fields[mutation] += 1
        true = [registers_of(good) for good in self._good[before : at + 1]]
        tally.other_registers[mutation] += any(
            value is not None and value not in {registers[place] for registers in true}
            for place, value in enumerate(registers_of(frame))
        )

    def _weigh(self, tally: Tally, sample: MeterSample) -> None:
        """What reached the counted totals, against what was true at the time of the sample."""
        if sample.counted is None or sample.said.held:
            return
        at = (sample.said.at_s - BEGIN_S) // self._stream.settings.period_s
        near = self._good[max(at - 1, 0) : at + 1]
        tally.counted += 1
        for place, counted_wh in enumerate((sample.counted.import_wh, sample.counted.export_wh)):
            true = [registers_of(good)[place] or 0 for good in near]
            wrong_wh = min(abs(counted_wh - true_wh) for true_wh in true)
            tally.most_wrong_wh = max(tally.most_wrong_wh, wrong_wh)
            tally.plausible += 0 < wrong_wh <= self._near_wh
            tally.implausible += wrong_wh > self._near_wh


def registers_of(frame: MeterFrame) -> Registers:
    """Import and export."""
    return frame.import_wh, frame.export_wh


def campaign(streams: Iterable[Stream], mutated: int, random: Random) -> dict[str, Tally]:
    """So many mutated frames, evenly over the lives of all streams."""
    lives = [(stream, Lives(stream)) for stream in streams]
    tallies: dict[str, Tally] = {}
    done = 0
    while done < mutated:
        for stream, life in lives:
            tally = life.live(random)
            tallies.setdefault(f"{stream.name}, {stream.line.value}", Tally()).add(tally)
            done += tally.mutated
            if done >= mutated:
                break
    return tallies


def faults(tallies: dict[str, Tally]) -> list[str]:
    """Which bars were missed, by which stream."""
    missed = []
    for name, tally in tallies.items():
        if tally.implausible:
            missed.append(f"{name}: {tally.implausible} implausible values counted")
        if tally.resync > MOST_RESYNC:
            missed.append(f"{name}: {tally.resync} frames lost after damage")
        if tally.buffer > MAX_BUFFER_BYTES:
            missed.append(f"{name}: a buffer of {tally.buffer} bytes")
        if not tally.counted:
            missed.append(f"{name}: nothing was counted at all")
    return missed


def damaged_messages(
    recordings: Iterable[tuple[str, Reader, bytes]], mutated: int, random: Random
) -> dict[str, int]:
    """Messages come whole over a network, which checks them: only that no damage crashes a reader.
    How many of each kind were read."""
    recordings, counts = list(recordings), Counter[str]()
    while recordings and counts.total() < mutated:
        kind, read, content = random.choice(recordings)
        mutant = mutate(content, random, Line.PLAIN_8N1)
        read(mutant.arrived)
        counts[kind] += 1
    return dict(counts)


def table(tallies: dict[str, Tally]) -> str:
    """Every stream, every kind of damage, and which of the one let through what of the other."""
    rows: list[Sequence[object]] = [
        (
            *("stream", "mutated", "other fields", "wrong registers", "counted", "plausible"),
            *("most Wh", "implausible", "resync", "buffer"),
        )
    ]
    total = Tally()
    for name, tally in tallies.items():
        total.add(tally)
        rows.append((name, *_figures(tally)))
    rows.append(("all", *_figures(total)))
    kinds: list[Sequence[object]] = [
        ("damage", "mutated", "other fields", "wrong registers", "rate")
    ]
    for mutation, count in sorted(total.by_mutation.items()):
        wrong = total.other_registers[mutation]
        kinds.append((mutation, count, total.other_fields[mutation], wrong, f"{wrong / count:.1e}"))
    pairs: list[Sequence[object]] = [("what let through", "mutated", "wrong registers", "rate")]
    for name, tally in tallies.items():
        for mutation, wrong in sorted(tally.other_registers.items()):
            if wrong:
                count = tally.by_mutation[mutation]
                pairs.append((f"{name}: {mutation}", count, wrong, f"{wrong / count:.1e}"))
    return "\n\n".join(map(_aligned, (rows, kinds, pairs)))


def _figures(tally: Tally) -> Sequence[object]:
    return (
        *(tally.mutated, tally.other_fields.total(), tally.other_registers.total(), tally.counted),
        *(tally.plausible, tally.most_wrong_wh, tally.implausible, tally.resync, tally.buffer),
    )


def _aligned(rows: Sequence[Sequence[object]]) -> str:
    widths = [max(len(str(row[at])) for row in rows) for at in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            str(cell).ljust(width) if at == 0 else str(cell).rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
