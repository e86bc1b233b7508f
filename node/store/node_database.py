"""A household node's own database: the life of its slots, from the register to the money.

Implements ``node.ports.NodeStorage``. In a file, whatever returned is on the disk; in memory the
same schema and the same code serve the simulator. One process writes it at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Final

from node.errors import Disagreement
from node.model import (
    BEFORE_ALL,
    LogPosition,
    OrderAccepted,
    OrderSettled,
    RegisterReading,
    SampleBatch,
    Side,
    SignedOrder,
    SlotCleared,
    SlotEnergy,
)
from node.ports import IntentState
from node.store import node_statements as sql
from node.store.backup import BACKUPS_KEPT, back_up
from node.store.checkpoints import SPACING, superseded
from node.store.database import Database, make_private
from node.store.node_rows import (
    QUALITY_NUMBER,
    STATE_NUMBER,
    OwnTotals,
    OwnTrade,
    clearing_of,
    clearing_row,
    elsewhere_row,
    intent_row,
    open_intent_of,
    own_trade_of,
    reading_of,
    reading_row,
    samples_row,
    settlement_of,
    settlement_row,
    signed_order_of,
    slot_energy_of,
)
from node.store.opening import open_for_writing, open_read_only
from node.store.sqlite import ROWS_AT_ONCE, Connection, DatabaseKind

KIND: Final = DatabaseKind(
    title="household node's database",
    schema="node",
    application_id=int.from_bytes(b"dsND"),
    repair="put the last backup in its place, or move it away: a new one reads the chain again",
    page_bytes=1024,
)

RECENT_CLEARINGS: Final = 256
"""Newest clearings kept in memory, because strategies look at them in every slot."""

_ALL_SLOTS: Final = (-(2**63), 2**63 - 1)


class NodeDatabase(Database):
    """``node.ports.NodeStorage`` on SQLite. Use as a context manager, or ``close`` it.

    Every method may raise StorageBusy (disk full, file held by another program) or
    ConfigurationError (damaged or read-only file); see ``node.store.sqlite``.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._execute = connection.execute
        self._one = connection.one
        self._recent: deque[SlotCleared] = deque(maxlen=RECENT_CLEARINGS)
        self._recent_holds_at = -1
        self._cursor = BEFORE_ALL
        self._cursor_holds_at = -1

    @classmethod
    def open(cls, path: Path | None) -> NodeDatabase:
        """Open or create a node's database, readable by its owner alone; None keeps it in memory.

        Raises ConfigurationError (no such folder, no access, damaged, newer or foreign file) or
        StorageBusy (full disk, held file).
        """
        if path is not None:
            make_private(KIND, path)
        return cls(open_for_writing(KIND, path, synchronous="FULL"))

    @classmethod
    def open_read_only(cls, path: Path) -> NodeDatabase:
        """Open an existing database to look at it, also while its node writes it: not a byte
        changes. Raises ConfigurationError (absent, of another version, damaged, no access)."""
        return cls(open_read_only(KIND, path))

    def backup(self, path: Path, *, keep: int = BACKUPS_KEPT) -> None:
        """Copy the database to a file that is opened again and checked before it takes its name;
        ``path.1`` is then the one before, up to ``keep`` of them. The last good one always stays.

        Has a connection of its own: it may run in another thread than the rest, and the node goes
        on meanwhile. Raises StorageBusy (no space, held file) or ConfigurationError (no such
        folder, no access, or this database is damaged: then no copy of it replaces a good one).
        """
        assert self._connection.path is not None, "a database in memory has no backup"
        back_up(KIND, self._connection.path, path, keep=keep)

    def integrity(self) -> list[str]:
        """What SQLite's full check finds wrong with the file; nothing if it is whole."""
        return self._connection.damage()

    def add_reading(self, reading: RegisterReading) -> None:
        """Keep the reading that closes a slot."""
        self._execute(sql.ADD_READING, reading_row(reading))

    def last_reading(self) -> RegisterReading | None:
        """The reading kept last, whatever its clock said."""
        row = self._one(sql.LAST_READING)
        return None if row is None else reading_of(row)

    def last_readings(self, count: int) -> Sequence[RegisterReading]:
        """The ``count`` readings kept last, oldest first."""
        newest_first = self._connection.all(sql.LAST_READINGS, (count,))
        return [reading_of(row) for row in reversed(newest_first)]

    def meter_state(self, source: str) -> str | None:
        """What a meter's source kept last; None for a new one."""
        row = self._one(sql.METER_STATE, (source,))
        return None if row is None else row[0]

    def set_meter_state(self, source: str, state: str) -> None:
        """Keep a source's state in place of the one before."""
        self._execute(sql.SET_METER_STATE, (source, state))

    def add_samples(self, batch: SampleBatch) -> None:
        """Keep raw samples. The same batch again (meter, start) changes nothing."""
        self._execute(sql.ADD_SAMPLES, samples_row(batch))

    def samples(self, meter_id: str, from_s: int, to_s: int) -> Iterator[SampleBatch]:
        """The batches of one meter with samples in ``[from_s, to_s)``, in the order of time, a
        bounded number of them in memory. A batch's own ``to_s`` is its last sample's."""
        span = {"meter_id": meter_id, "from_s": from_s, "to_s": to_s}
        for row in self._connection.rows(sql.SAMPLES, span):
            yield SampleBatch(*row)

    def prune_samples(self, before_s: int) -> int:
        """Forget the batches that ended before ``before_s``; how many there were. Other
        writers have their turn in between: each ROWS_AT_ONCE is a transaction."""
        pruned, last = 0, ROWS_AT_ONCE
        values = {"before_s": before_s, "at_once": ROWS_AT_ONCE}
        while last == ROWS_AT_ONCE:
            last = self._execute(sql.PRUNE_SAMPLES, values)
            pruned += last
        return pruned

    def add_slot_energy(self, energy: SlotEnergy) -> None:
        """Keep a closed slot. Raises ValueError if the slot is already closed."""
        row = (energy.slot, energy.import_wh, energy.export_wh, QUALITY_NUMBER[energy.quality])
        if not self._execute(sql.ADD_SLOT_ENERGY, row):
            raise ValueError(f"slot {energy.slot} is already closed")

    def slot_energy(self, slot: int) -> SlotEnergy | None:
        """A closed slot."""
        row = self._one(sql.SLOT_ENERGY, (slot,))
        return None if row is None else slot_energy_of(row)

    def call_estimated(self, slot: int) -> None:
        """A closed slot is an estimate from now on: what it was booked stays, but nobody can vouch
        that it is its own."""
        self._execute(sql.CALL_ESTIMATED, (slot,))

    def intent(self, slot: int, side: int) -> SignedOrder | None:
        """The persisted order of this slot and side, with the very bytes that were signed; None
        also where the order is ELSEWHERE."""
        row = self._one(sql.INTENT, (slot, int(side)))
        return None if row is None else signed_order_of(row)

    def add_intent(self, signed: SignedOrder) -> None:
        """Persist a new order as PENDING. Raises ValueError if the slot and side have one."""
        if not self._execute(sql.ADD_INTENT, intent_row(signed)):
            order = signed.order
            raise ValueError(f"slot {order.slot} already has its {order.side.word}")

    def add_elsewhere(self, event: OrderAccepted) -> None:
        """Keep that the chain accepted an order that was not made here, until ``rewind`` undoes it;
        where the slot and side have an order already, nothing changes."""
        self._execute(sql.ADD_ELSEWHERE, elsewhere_row(event))

    def is_elsewhere(self, slot: int, side: int) -> bool:
        """Whether the slot and side have such an order."""
        return self._one(sql.IS_ELSEWHERE, (slot, int(side))) is not None

    def set_intent_state(
        self,
        slot: int,
        side: int,
        state: IntentState,
        reason: str = "",
        *,
        at: LogPosition | None = None,
    ) -> None:
        """Move an order on; an acceptance says where in the chain it stands, so that ``rewind``
        can undo it. Raises ValueError if there is no such order."""
        place = (None, None) if at is None else (at.block, at.index)
        if not self._execute(
            sql.SET_INTENT_STATE, (STATE_NUMBER[state], reason, *place, slot, int(side))
        ):
            raise ValueError(f"slot {slot} has no {Side(side).word} to be {state}")

    def replace_signature(self, signed: SignedOrder) -> None:
        """Keep the same order's new signature; it is PENDING again. Raises ValueError if there is
        no such order, or one that is not open any more."""
        order = signed.order
        if not self._execute(
            sql.REPLACE_SIGNATURE, (signed.signature, order.slot, int(order.side))
        ):
            raise ValueError(f"slot {order.slot} has no open {order.side.word} to be signed again")

    def open_intents(self) -> Sequence[tuple[SignedOrder, IntentState]]:
        """The orders that are PENDING or SENT, oldest slot first."""
        return [open_intent_of(row) for row in self._connection.all(sql.OPEN_INTENTS)]

    def cursor(self) -> LogPosition:
        """Up to where events were projected, with what is known of the blocks before; BEFORE_ALL in
        a new database."""
        if self._cursor_holds_at != self._connection.rollbacks:
            row = self._one(sql.CURSOR)
            assert row is not None
            passed = self._connection.all(sql.CHECKPOINTS)
            self._cursor = replace(
                LogPosition(*row), before=tuple(LogPosition(*at) for at in passed)
            )
            self._cursor_holds_at = self._connection.rollbacks
        return self._cursor

    def set_cursor(self, position: LogPosition) -> None:
        """Remember it, in the transaction that stored those events; now and then as a checkpoint
        too."""
        known = self.cursor()
        if (position, position.block_hash) == (known, known.block_hash):
            return  # a chain at rest must not wear the disk
        self._execute(sql.SET_CURSOR, (position.block, position.index, position.block_hash))
        passed = self._passed(known.before, position)
        self._cursor = LogPosition(position.block, position.index, position.block_hash, passed)
        self._cursor_holds_at = self._connection.rollbacks

    def _passed(self, known: tuple[LogPosition, ...], now: LogPosition) -> tuple[LogPosition, ...]:
        """The checkpoints at a position: those before it, with its own block if it has a hash and
        they are far enough behind."""
        passed = tuple(at for at in known if at.block <= now.block)
        if len(passed) < len(known):
            self._execute(sql.FORGET_CHECKPOINTS, (now.block,))
        if not now.block_hash or (passed and now.block < passed[-1].block + SPACING):
            return passed
        self._execute(sql.ADD_CHECKPOINT, (now.block, now.index, now.block_hash))
        passed += (LogPosition(now.block, now.index, now.block_hash),)
        gone = set(superseded(at.block for at in passed))
        for block in gone:
            self._execute(sql.FORGET_CHECKPOINT, (block,))
        return tuple(at for at in passed if at.block not in gone)

    def rewind(self, to: LogPosition) -> None:
        """Forget what was projected from after a position, which the chain has replaced: those
        clearings, settlements and orders from ELSEWHERE go, orders accepted there are SENT again,
        and the cursor is there at the latest. A transaction of its own, or a part of the one around
        it."""
        after = (to.block, to.index)
        with self._connection.joined_transaction():
            self._recent_holds_at = -1
            self._execute(sql.FORGET_SETTLEMENTS, after)
            self._execute(sql.FORGET_CLEARINGS, after)
            self._execute(sql.FORGET_ELSEWHERE, after)
            self._execute(sql.FORGET_ACCEPTANCES, after)
            self.set_cursor(min(self.cursor(), to))

    def add_clearing(self, cleared: SlotCleared) -> None:
        """Project a clearing; the same one again changes nothing. Raises Disagreement if the slot
        was cleared otherwise, or elsewhere in the chain."""
        if self._execute(sql.ADD_CLEARING, clearing_row(cleared)):
            self._remember(cleared)
            return
        kept = self._one(sql.CLEARING, (cleared.slot,))
        assert kept is not None
        _agree(clearing_of(kept), cleared)

    def recent_clearings(self, count: int) -> Sequence[SlotCleared]:
        """The newest ``count`` clearings, oldest first."""
        if count > RECENT_CLEARINGS:
            return self._newest_clearings(count)
        if self._recent_holds_at != self._connection.rollbacks:
            self._recent.clear()
            self._recent.extend(self._newest_clearings(RECENT_CLEARINGS))
            self._recent_holds_at = self._connection.rollbacks
        return list(islice(self._recent, max(len(self._recent) - count, 0), None))

    def add_settlement(self, settled: OrderSettled) -> None:
        """Project a settlement; the same one again changes nothing. Raises Disagreement if the
        order was settled otherwise, or elsewhere in the chain."""
        if self._execute(sql.ADD_SETTLEMENT, settlement_row(settled)):
            return
        kept = self._one(sql.SETTLEMENT, (settled.slot, int(settled.side)))
        assert kept is not None
        _agree(settlement_of(kept), settled)

    def own_trades(
        self, from_slot: int | None = None, to_slot: int | None = None
    ) -> Sequence[OwnTrade]:
        """The household's orders with what became of them, by slot and side. ``from_slot`` is
        included, ``to_slot`` is not; None leaves that end open."""
        rows = self._connection.all(sql.OWN_TRADES, _span(from_slot, to_slot))
        return [own_trade_of(row) for row in rows]

    def totals(self, from_slot: int | None = None, to_slot: int | None = None) -> OwnTotals:
        """Sums over the same range of slots."""
        span = _span(from_slot, to_slot)
        energy = self._one(sql.ENERGY_TOTALS, span)
        trade = self._one(sql.TRADE_TOTALS, span)
        assert energy is not None
        assert trade is not None
        return OwnTotals(*energy, *trade)

    def _newest_clearings(self, count: int) -> list[SlotCleared]:
        newest_first = self._connection.all(sql.RECENT_CLEARINGS, (count,))
        return [clearing_of(row) for row in reversed(newest_first)]

    def _remember(self, cleared: SlotCleared) -> None:
        """Keep the newest clearings in memory; one out of turn has them read again."""
        if self._recent and self._recent[-1].slot > cleared.slot:
            self._recent_holds_at = -1
        else:
            self._recent.append(cleared)


def _span(from_slot: int | None, to_slot: int | None) -> tuple[int, int]:
    first, end = _ALL_SLOTS
    return (first if from_slot is None else from_slot, end if to_slot is None else to_slot)


def _agree(kept: SlotCleared | OrderSettled, arrived: SlotCleared | OrderSettled) -> None:
    """Raise Disagreement, with the first field in which two records of one fact differ."""
    for field in fields(kept):
        old, new = getattr(kept, field.name), getattr(arrived, field.name)
        if old != new:
            raise Disagreement(
                f"{type(kept).__name__} of slot {kept.slot}: {field.name} was {old}, now {new}",
                next_step="run 'daisee audit' against the chain",
            )
