"""A process that does nothing but keep slots and orders, and says on its output what is durable.

``python -m tests.support.slot_writer PATH SLOTS [LOG_BYTES]`` goes on from what the file holds. One
transaction is one line on the output, written after it returned: ``slot N`` or ``order N``. Its
end is somebody's signal, or the number of slots. A short log is copied into the file more often.
With ``--nurse`` each line of its input has such a process born.
"""

from __future__ import annotations

import os
import random
import sys
from itertools import chain
from pathlib import Path
from unittest.mock import patch

from node.model import Order, RegisterReading, SampleBatch, Side, SignedOrder, SlotEnergy
from node.store import NodeDatabase, opening


def slot_of(number: int) -> tuple[RegisterReading, SlotEnergy, SampleBatch]:
    """What is kept of the n-th slot; anybody can tell again what it must be."""
    rng = random.Random(number)
    energy = SlotEnergy(number, rng.randrange(1_000), rng.randrange(1_000))
    samples = rng.randbytes(rng.choice((200, 900, 3_700)))
    start_s = number * 900
    return (
        RegisterReading("m", start_s + 900, number, number),
        energy,
        SampleBatch("m", start_s, start_s + 899, 900, samples),
    )


def order_of(number: int) -> SignedOrder:
    """The order of the n-th slot."""
    signature = random.Random(-number - 1).randbytes(64)
    return SignedOrder(Order(7, number, Side.BID, number % 1_000 + 1, 9_000), signature)


def keep_slot(database: NodeDatabase, number: int) -> None:
    """The transaction that closes a slot."""
    reading, energy, samples = slot_of(number)
    with database.transaction():
        database.add_reading(reading)
        database.add_slot_energy(energy)
        database.set_meter_state("m", str(number))
        database.add_samples(samples)


def keep_order(database: NodeDatabase, number: int) -> None:
    """The transaction that must come before an order is sent."""
    with database.transaction():
        database.add_intent(order_of(number))


def kept(database: NodeDatabase) -> int:
    """How many of these transactions a database holds: the first ones, each whole, or an
    AssertionError. Slot 0 is the first, its order the second, slot 1 the third."""
    slots = database.totals().slots
    orders = [signed for signed, _ in database.open_intents()]
    assert slots - len(orders) in (0, 1), (slots, len(orders))
    assert orders == [order_of(number) for number in range(len(orders))]
    samples = chain(database.samples("m", 0, slots * 900 + 10**6), [None])
    for number in range(slots):
        _, energy, batch = slot_of(number)
        assert database.slot_energy(number) == energy
        assert next(samples) == batch
    assert next(samples) is None
    last = slot_of(slots - 1)[0] if slots else None
    assert database.last_reading() == last
    assert database.meter_state("m") == (str(slots - 1) if slots else None)
    return slots + len(orders)


def write(path: Path, slots: int, log_bytes: int) -> None:
    """Go on with a file for so many slots, and tell."""
    with patch.object(opening, "LOG_BYTES", log_bytes), NodeDatabase.open(path) as database:
        first = database.totals().slots
        if first > len(database.open_intents()):
            keep_order(database, first - 1)
            os.write(1, b"order %d\n" % (first - 1))
        for number in range(first, first + slots):
            keep_slot(database, number)
            os.write(1, b"slot %d\n" % number)
            keep_order(database, number)
            os.write(1, b"order %d\n" % number)


def nurse(path: Path, slots: int, log_bytes: int) -> None:
    """Bear a writer for each line of the input, and say when it died: a new process each, without
    the time that Python takes to start."""
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            write(path, slots, log_bytes)
            os._exit(0)
        os.write(1, b"born %d\n" % child)
        _, status = os.waitpid(child, 0)
        os.write(1, b"died %d\n" % os.waitstatus_to_exitcode(status))


def main() -> None:
    """Write once, or nurse writers."""
    path, slots = Path(sys.argv[1]), int(sys.argv[2])
    log_bytes = int(sys.argv[3]) if len(sys.argv) > 3 else opening.LOG_BYTES
    (nurse if "--nurse" in sys.argv else write)(path, slots, log_bytes)


if __name__ == "__main__":
    main()
