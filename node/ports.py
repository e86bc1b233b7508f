"""What the rooms ask of each other, as Protocols: no room imports another sideways.

The composition roots (``daemon.py``, ``cli/``, ``doctor.py``, ``simulations/neighbourhood.py``)
hand each room what it asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol

from node.model import (
    EventPage,
    LogPosition,
    MarketRules,
    Order,
    OrderSettled,
    RegisterReading,
    SampleBatch,
    SignedOrder,
    SlotCleared,
    SlotEnergy,
)


class MeterSource(Protocol):
    """A meter, whatever it is: it tells its cumulative registers.

    Raises MeterSilent (try again; MeterNotYet where that is no trouble) or MeterError (a person
    must look).
    """

    async def read(self) -> RegisterReading:
        """The registers as of now, or of the last moment at which the meter spoke."""
        ...

    async def read_at(self, instant_s: int) -> RegisterReading:
        """The registers as of an instant that has passed, with ``taken_at_s`` that instant.

        Waits some seconds for the sample after it, however seldom the meter speaks: whoever asks
        has other things to do meanwhile, and asks again (MeterNotYet, MeterSilent). Between samples
        that lie far apart the value is estimated, and its quality says so. Raises MeterError for an
        instant before everything that is known.
        """
        ...

    def keep(self, storage: MeterStorage) -> None:
        """Hand over what is not durable yet, inside a transaction of the caller's: raw samples
        since the last time, and the state from which a later start goes on. If the transaction
        fails, the next call hands over the same again."""
        ...


class MeterStorage(Protocol):
    """Where a meter's source keeps what must outlive the process."""

    def meter_state(self, source: str) -> str | None:
        """What a source kept last, as the text that it gave; None for a new one."""
        ...

    def set_meter_state(self, source: str, state: str) -> None:
        """Keep a source's state in place of the one before."""
        ...

    def add_samples(self, batch: SampleBatch) -> None:
        """Keep raw samples. The same batch again (meter, start) changes nothing."""
        ...


class OrderSigner(Protocol):
    """Holds a household's signing key."""

    def sign(self, order: Order) -> bytes:
        """The order's signature; the same order always gives the same bytes."""
        ...


class Market(Protocol):
    """What a household asks of its market, whichever engine answers.

    Every method may raise ChainUnreachable; none retries by itself.
    """

    async def rules_at(self, slot: int) -> MarketRules:
        """The rules under which a slot is ordered and settled."""
        ...

    async def submit(self, signed: SignedOrder) -> None:
        """Hand an order over. Returning says only that it was taken along, not that it was
        accepted: acceptance and refusal are events."""
        ...

    async def clear(self, slot: int) -> None:
        """Clear a slot whose gate has closed. Raises Refused if it is too early, if it already is
        cleared, or if nobody ordered."""
        ...

    async def events_after(self, position: LogPosition, household: int) -> EventPage:
        """Every clearing, and what concerns one household, after a position; after an earlier one
        if the chain has replaced the block of this one since, and the page says so."""
        ...


class IntentState(StrEnum):
    """The life of an order at home. PENDING is persisted before anything is sent. ELSEWHERE is one
    that the chain accepted of this household and that this database has no signed bytes of: it was
    made by another node, or before a backup was put back."""

    PENDING = "pending"
    SENT = "sent"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    EXPIRED = "expired"
    ELSEWHERE = "elsewhere"


class IntentStorage(Protocol):
    """Where the outbox keeps signed orders: at most one for each (slot, side)."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing; on return everything inside is durable."""
        ...

    def intent(self, slot: int, side: int) -> SignedOrder | None:
        """The persisted order of this slot and side, with the very bytes that were signed; None
        also where the order is ELSEWHERE."""
        ...

    def add_intent(self, signed: SignedOrder) -> None:
        """Persist a new order as PENDING. Raises ValueError if the slot and side have one."""
        ...

    def set_intent_state(
        self,
        slot: int,
        side: int,
        state: IntentState,
        reason: str = "",
        *,
        at: LogPosition | None = None,
    ) -> None:
        """Move an order on; an acceptance says where in the chain it stands. Raises ValueError if
        there is no such order."""
        ...

    def replace_signature(self, signed: SignedOrder) -> None:
        """Keep the same order's new signature, of a household whose key was changed; it is PENDING
        again. Raises ValueError if there is no such order, or one that is not open any more."""
        ...

    def open_intents(self) -> Sequence[tuple[SignedOrder, IntentState]]:
        """The orders that are PENDING or SENT, oldest first."""
        ...


class NodeStorage(IntentStorage, MeterStorage, Protocol):
    """What a household node keeps in its database."""

    def add_reading(self, reading: RegisterReading) -> None:
        """Keep the reading that closes a slot."""
        ...

    def last_reading(self) -> RegisterReading | None:
        """The newest reading kept."""
        ...

    def last_readings(self, count: int) -> Sequence[RegisterReading]:
        """The ``count`` readings kept last, oldest first."""
        ...

    def add_slot_energy(self, energy: SlotEnergy) -> None:
        """Keep a closed slot. Raises ValueError if the slot is already closed."""
        ...

    def slot_energy(self, slot: int) -> SlotEnergy | None:
        """A closed slot."""
        ...

    def cursor(self) -> LogPosition:
        """Up to where events were projected; BEFORE_ALL in a new database."""
        ...

    def set_cursor(self, position: LogPosition) -> None:
        """Remember it with its block's hash, in the transaction that stored those events."""
        ...

    def add_clearing(self, cleared: SlotCleared) -> None:
        """Project a clearing; the same one again changes nothing."""
        ...

    def recent_clearings(self, count: int) -> Sequence[SlotCleared]:
        """The newest ``count`` clearings, oldest first."""
        ...

    def add_settlement(self, settled: OrderSettled) -> None:
        """Project a settlement; the same one again changes nothing."""
        ...
