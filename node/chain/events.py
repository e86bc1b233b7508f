"""The market's logs, decoded into the kernel's events.

All data of the market's events are static 32-byte words, so a log is cut into words: no decoder in
between, and a log that does not have the expected length is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from node.chain.contracts import contract
from node.chain.json_rpc import number
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


class LogDecoder:
    """Decodes the logs of one market, whose slot length it must know for the rules."""

    def __init__(self, slot_s: int) -> None:
        self._slot_s = slot_s
        topics = contract("EnergyMarket").topics
        self._decoders: dict[bytes, Callable[[LogPosition, list[int], bytes], MarketEvent]] = {
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
        events: list[MarketEvent] = []
        for log in logs:
            topics = [as_bytes(topic) for topic in log["topics"]]
            decoder = self._decoders.get(topics[0])
            if decoder is None:
                continue
            position = LogPosition(number(log["blockNumber"]), number(log["logIndex"]))
            data = as_bytes(log["data"])
            words = [int.from_bytes(topic) for topic in topics[1:]]
            words += [int.from_bytes(data[i : i + 32]) for i in range(0, len(data), 32)]
            try:
                events.append(decoder(position, words, data))
            except (ValueError, IndexError) as error:
                raise ChainMismatch(
                    f"log {position.index} of block {position.block} is not of this market version",
                    next_step="check the market's address, or update this node",
                ) from error
        return events

    def _rules_scheduled(
        self, position: LogPosition, words: list[int], _data: bytes
    ) -> RulesScheduled:
        version, from_slot, offset, gate, floor, tick, ticks, fee, recipient = words
        return RulesScheduled(
            position,
            version,
            from_slot,
            rules_of(self._slot_s, offset, gate, floor, tick, ticks, fee, recipient),
        )


def rules_of(
    slot_s: int, offset: int, gate: int, floor: int, tick: int, ticks: int, fee: int, recipient: int
) -> MarketRules:
    """The contract's words for rules as the kernel's."""
    return MarketRules(
        slot_s=slot_s,
        gate_offset_s=_signed(offset),
        gate_s=gate,
        grid=PriceGrid(floor, tick, ticks),
        network_fee=fee,
        fee_recipient="" if recipient == 0 else f"0x{recipient:040x}",
    )


def _accepted(position: LogPosition, words: list[int], data: bytes) -> OrderAccepted:
    slot, household, side, energy, limit, prefix, _ = words
    return OrderAccepted(position, slot, household, Side(side), energy, limit, prefix, data[-32:])


def _refused(position: LogPosition, words: list[int], _data: bytes) -> OrderRefused:
    slot, household, side, reason = words
    return OrderRefused(position, slot, household, side, Refusal(reason))


def _cleared(position: LogPosition, words: list[int], _data: bytes) -> SlotCleared:
    slot, has_price, price, matched, asks, bids = words
    return SlotCleared(position, slot, price if has_price else None, matched, asks, bids)


def _settled(position: LogPosition, words: list[int], _data: bytes) -> OrderSettled:
    slot, household, side, filled, price, amount = words
    return OrderSettled(
        position, slot, household, Side(side), filled, price or None, _signed(amount)
    )


def _deposited(position: LogPosition, words: list[int], _data: bytes) -> Deposited:
    household, _, amount = words
    return Deposited(position, household, amount)


def _withdrawn(position: LogPosition, words: list[int], _data: bytes) -> Withdrawn:
    household, _, amount = words
    return Withdrawn(position, household, amount)


def as_bytes(value: bytes | str) -> bytes:
    """Bytes of an answer: some endpoints give them as such, others as hex text."""
    return bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else bytes(value)


def _signed(word: int) -> int:
    """A two's complement word as a number."""
    return word - 2**256 if word >> 255 else word
