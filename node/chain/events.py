"""The market's logs, decoded into the kernel's events.

All data of the market's events are static 32-byte words, so a log is cut into words: no decoder in
between, and a log that does not have the expected length is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from node.chain.contracts import contract
from node.chain.json_rpc import BadAnswer, log_of
from node.errors import ChainMismatch
from node.model import (
    Deposited,
    LogPosition,
    MarketEvent,
    MarketRules,
    OrderAccepted,
    OrderRefused,
    OrderSettled,
    PriceGrid,
    Refusal,
    RulesScheduled,
    Side,
    SlotCleared,
    Withdrawn,
)

Log = Mapping[str, Any]
_Decoder = Callable[[LogPosition, list[int], bytes], MarketEvent]

COUNTS_END: Final = 2**63
"""What the market counts stays far below: no database would keep more."""

OFFSET_END_S: Final = 2**31
WORD_BYTES: Final = 32

LAST_SECOND: Final = 253_402_300_799
"""Of the year 9999: a slot that is over ended before."""


class LogDecoder:
    """Decodes the logs of one market, whose slot length it must know for the rules."""

    def __init__(self, slot_s: int) -> None:
        self._slot_s = slot_s
        self._last_slot = LAST_SECOND // slot_s
        topics = contract("EnergyMarket").topics
        self._decoders: dict[bytes, _Decoder] = {
            topics["OrderAccepted"]: _accepted,
            topics["OrderRefused"]: _refused,
            topics["SlotCleared"]: _cleared,
            topics["OrderSettled"]: _settled,
            topics["Deposited"]: _deposited,
            topics["Withdrawn"]: _withdrawn,
            topics["RulesScheduled"]: self._rules_scheduled,
        }

    def decode(self, logs: Iterable[Log]) -> list[MarketEvent]:
        """The market's events among the logs, in their order; others (pauses, fees) are left out.

        Raises ChainMismatch when a log does not have the form that this version knows.
        """
        next_step = "check the market's address, or update this node"
        try:
            known = [log_of(log) for log in logs]
        except BadAnswer as error:
            raise ChainMismatch(f"this is no log: {error}", next_step=next_step) from error
        events: list[MarketEvent] = []
        for log in known:
            topics, data = log["topics"], log["data"]
            decoder = self._decoders.get(topics[0]) if topics else None
            if decoder is None:
                continue
            position = LogPosition(log["blockNumber"], log["logIndex"])
            try:
                events.append(self._event(decoder, position, topics, data))
            except ValueError as error:
                raise ChainMismatch(
                    f"log {position.index} of block {position.block} is not of this market version",
                    next_step=next_step,
                ) from error
        return events

    def _event(
        self, decoder: _Decoder, position: LogPosition, topics: Sequence[bytes], data: bytes
    ) -> MarketEvent:
        """Raises ValueError for what no market can have told."""
        if len(data) % WORD_BYTES:
            raise ValueError(f"{len(data)} bytes are no words")
        words = [int.from_bytes(topic) for topic in topics[1:]]
        words += [int.from_bytes(data[i : i + 32]) for i in range(0, len(data), WORD_BYTES)]
        event = decoder(position, words, data)
        match event:
            case OrderAccepted() | SlotCleared() | OrderSettled() if event.slot > self._last_slot:
                raise ValueError(f"slot {event.slot} is beyond the year 9999")
        return event

    def _rules_scheduled(
        self, position: LogPosition, words: list[int], _data: bytes
    ) -> RulesScheduled:
        version, from_slot, offset, gate, floor, tick, ticks, fee, recipient = words
        _counts(version, from_slot)
        return RulesScheduled(
            position,
            version,
            from_slot,
            rules_of(self._slot_s, offset, gate, floor, tick, ticks, fee, recipient),
        )


def rules_of(
    slot_s: int, offset: int, gate: int, floor: int, tick: int, ticks: int, fee: int, recipient: int
) -> MarketRules:
    """The contract's words for rules as the kernel's. Raises ValueError for rules of no market."""
    offset_s = _signed(offset)
    if not -OFFSET_END_S <= offset_s < OFFSET_END_S or gate >= OFFSET_END_S:
        raise ValueError(f"a gate of {gate} s, {offset_s} s after its slot")
    if recipient >> 160:
        raise ValueError("a fee recipient that is no address")
    return MarketRules(
        slot_s=slot_s,
        gate_offset_s=offset_s,
        gate_s=gate,
        grid=PriceGrid(floor, tick, ticks),
        network_fee=fee,
        fee_recipient="" if recipient == 0 else f"0x{recipient:040x}",
    )


def _accepted(position: LogPosition, words: list[int], data: bytes) -> OrderAccepted:
    slot, household, side, energy, limit, prefix, _ = words
    _counts(slot, household, energy, limit, prefix)
    return OrderAccepted(position, slot, household, Side(side), energy, limit, prefix, data[-32:])


def _refused(position: LogPosition, words: list[int], _data: bytes) -> OrderRefused:
    slot, household, side, reason = words
    _counts(*words)
    return OrderRefused(position, slot, household, side, Refusal(reason))


def _cleared(position: LogPosition, words: list[int], _data: bytes) -> SlotCleared:
    slot, has_price, price, matched, asks, bids = words
    _counts(*words)
    return SlotCleared(position, slot, price if has_price else None, matched, asks, bids)


def _settled(position: LogPosition, words: list[int], _data: bytes) -> OrderSettled:
    slot, household, side, filled, price, amount = words
    _counts(slot, household, filled, price, abs(_signed(amount)))
    return OrderSettled(
        position, slot, household, Side(side), filled, price or None, _signed(amount)
    )


def _deposited(position: LogPosition, words: list[int], _data: bytes) -> Deposited:
    household, _, amount = words
    _counts(household, amount)
    return Deposited(position, household, amount)


def _withdrawn(position: LogPosition, words: list[int], _data: bytes) -> Withdrawn:
    household, _, amount = words
    _counts(household, amount)
    return Withdrawn(position, household, amount)


def _counts(*words: int) -> None:
    if max(words) >= COUNTS_END:
        raise ValueError(f"{max(words)} counts nothing")


def _signed(word: int) -> int:
    """A two's complement word as a number."""
    return word - 2**256 if word >> 255 else word
