"""A community's ledger: every event of its market, in one file of the run folder.

A finished run leaves one behind, an observer of a live chain keeps one growing. Everything that a
report or an audit says is rebuilt from it. It is itself rebuilt from the chain, so a power cut may
take the last appends, never the file.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError, Disagreement
from node.model import BEFORE_ALL, LogPosition, MarketEvent
from node.store.database import Database
from node.store.ledger_kinds import KINDS, EventKind
from node.store.opening import open_for_writing, open_read_only
from node.store.sqlite import ROWS_AT_ONCE, Connection, DatabaseKind, Row

LEDGER_FILE: Final = "ledger.sqlite"

KIND: Final = DatabaseKind(
    title="ledger of market events",
    schema="ledger",
    application_id=int.from_bytes(b"dsLG"),
    repair="give the folder of a finished run, or make it again from the chain or the scenario",
)

_KIND_OF: Final = {kind.record: kind for kind in KINDS}
_SLOT_RANGE: Final = """
SELECT min(slot), max(slot) FROM (
    SELECT min(slot) AS slot FROM order_accepted UNION ALL
    SELECT max(slot) FROM order_accepted UNION ALL
    SELECT min(slot) FROM slot_cleared UNION ALL
    SELECT max(slot) FROM slot_cleared
)
"""


class LedgerDatabase(Database):
    """The market events of a community. Use as a context manager, or ``close`` it.

    Every method may raise StorageBusy (disk full, file held by another program) or
    ConfigurationError (damaged file); see ``node.store.sqlite``.
    """

    def __init__(self, connection: Connection, *, writes_file: bool) -> None:
        super().__init__(connection)
        self._writes_file = writes_file

    @classmethod
    def open(cls, folder: Path) -> LedgerDatabase:
        """Open the ledger of a run folder to read it; not one event changes.

        Raises ConfigurationError (none there, damaged, unfinished, newer).
        """
        connection = open_read_only(KIND, folder / LEDGER_FILE)
        return cls(connection, writes_file=False)

    @classmethod
    def open_to_append(cls, folder: Path | None) -> LedgerDatabase:
        """Open the ledger of a folder to go on with it, or begin one; None keeps it in memory.

        Raises ConfigurationError (no such folder, no access, damaged, newer).
        """
        if folder is None:
            return cls(open_for_writing(KIND, None, synchronous="NORMAL"), writes_file=False)
        if not folder.is_dir():
            raise ConfigurationError(
                "no such folder", file=folder, next_step="make it, or give the path of another"
            )
        connection = open_for_writing(KIND, folder / LEDGER_FILE, synchronous="NORMAL")
        return cls(connection, writes_file=True)

    def close(self) -> None:
        """Let go of the file, and leave it whole and readable anywhere; again is harmless."""
        if self._writes_file:
            self._writes_file = False
            self._connection.close_as_one_file()
        super().close()

    def append(self, events: Iterable[MarketEvent]) -> None:
        """Add events, all or none; hand over many at once, for each call is one transaction.

        An event that is already there is left alone, so an observer may read a page twice. Raises
        Disagreement when another event of its kind stands at its position: the chain was
        reorganised, or is another one.
        """
        with self._connection.transaction():
            source = iter(events)
            while chunk := list(islice(source, ROWS_AT_ONCE)):
                self._append_chunk(chunk)

    def events(
        self,
        *,
        slot: int | None = None,
        household: int | None = None,
        from_slot: int | None = None,
        to_slot: int | None = None,
        kinds: Collection[type[MarketEvent]] | None = None,
    ) -> Iterator[MarketEvent]:
        """Events in the order of the chain, a bounded number of them in memory.

        Each filter given narrows them: one ``slot``; ``from_slot`` (included) to ``to_slot`` (not
        included); one ``household``; some ``kinds``. An event that has no slot (credit, rules) or
        no household (clearings, rules) never passes a filter by it.
        """
        by_slot = (("slot = ?", slot), ("slot >= ?", from_slot), ("slot < ?", to_slot))
        slot_terms = [(term, value) for term, value in by_slot if value is not None]
        household_terms = [] if household is None else [("household = ?", household)]
        terms = slot_terms + household_terms
        chosen = (
            kind
            for kind in KINDS
            if (kinds is None or kind.record in kinds)
            and (kind.of_slot or not slot_terms)
            and (kind.of_household or not household_terms)
        )
        return heapq.merge(*(self._events_of(kind, terms) for kind in chosen), key=_place)

    def last_position(self) -> LogPosition:
        """The position of the last event, from where an observer goes on; BEFORE_ALL if none."""
        places = [
            row for kind in KINDS if (row := self._connection.one(kind.select + _LAST)) is not None
        ]
        return LogPosition(*max(row[:2] for row in places)) if places else BEFORE_ALL

    def slots(self) -> range:
        """From the first slot that was ordered or cleared to the last; empty if there is none."""
        row = self._connection.one(_SLOT_RANGE)
        assert row is not None
        return range(0) if row[0] is None else range(row[0], row[1] + 1)

    def set_names(self, names: Mapping[int, str]) -> None:
        """Name households; a household that has a name gets the new one."""
        with self._connection.transaction():
            self._connection.execute_many(
                "INSERT INTO household_name (household, name) VALUES (?, ?)"
                " ON CONFLICT DO UPDATE SET name = excluded.name",
                names.items(),
            )

    def names(self) -> dict[int, str]:
        """The households' names by number, in the order of the numbers."""
        query = "SELECT household, name FROM household_name ORDER BY household"
        return dict(self._connection.rows(query))

    def set_facts(self, facts: Mapping[str, str | int]) -> None:
        """Keep what is needed to read the events; a fact that is there gets the new value."""
        with self._connection.transaction():
            self._connection.execute_many(
                "INSERT INTO fact (name, value) VALUES (?, ?)"
                " ON CONFLICT DO UPDATE SET value = excluded.value",
                facts.items(),
            )

    def facts(self) -> dict[str, str | int]:
        """The facts by name, in the order of the names."""
        return dict(self._connection.rows("SELECT name, value FROM fact ORDER BY name"))

    def _append_chunk(self, chunk: list[MarketEvent]) -> None:
        by_kind: dict[type[MarketEvent], list[MarketEvent]] = {}
        for event in chunk:
            by_kind.setdefault(type(event), []).append(event)
        for record, events in by_kind.items():
            kind = _KIND_OF[record]
            added = self._connection.execute_many(kind.insert + _IF_NEW, map(kind.row, events))
            if added < len(events):
                self._agree(kind, events)

    def _agree(self, kind: EventKind, events: list[MarketEvent]) -> None:
        """Make sure that what was there already is what arrived now."""
        for event in events:
            row = self._connection.one(kind.select + _AT, _place(event))
            assert row is not None
            kept = _event(kind, row)
            if kept != event:
                raise Disagreement(
                    f"the ledger has {kept} where the chain now says {event}",
                    next_step="make the ledger again from the chain",
                )

    def _events_of(self, kind: EventKind, terms: list[tuple[str, int]]) -> Iterator[MarketEvent]:
        where = " WHERE " + " AND ".join(term for term, _ in terms) if terms else ""
        values = [value for _, value in terms]
        for row in self._connection.rows(kind.select + where + _IN_ORDER, values):
            yield _event(kind, row)


_IF_NEW: Final = " ON CONFLICT DO NOTHING"
_AT: Final = " WHERE block = ? AND log_index = ?"
_IN_ORDER: Final = " ORDER BY block, log_index"
_LAST: Final = " ORDER BY block DESC, log_index DESC LIMIT 1"


def _event(kind: EventKind, row: Row) -> MarketEvent:
    return kind.event(LogPosition(row[0], row[1]), row)


def _place(event: MarketEvent) -> tuple[int, int]:
    return (event.position.block, event.position.index)
