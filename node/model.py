"""The facts that move through the house, as frozen records. The kernel of the way of a Wh.

Energy is in Wh, money in credit units, prices in credit units per Wh, times in unix seconds.
``../docs/architecture.md`` draws which room produces which record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

from node.slots import slot_end_s

MAX_TICKS: Final = 224
"""Ticks of a price grid at most: 38 words of six energies for each side of a slot's book."""

MAX_ENERGY_WH: Final = 2**24 - 1
"""Largest energy of one order, and so the largest limit that a household can have."""

MAX_HOUSEHOLDS: Final = 2**18 - 1
"""Largest household number; with MAX_ENERGY_WH it keeps every sum of a slot below 2**42 Wh."""

MAX_PRICE: Final = 2**32 - 1
"""Largest price, fee and tick size, in units/Wh."""

NO_EVIDENCE: Final = bytes(32)


class Side(IntEnum):
    """The two sides of an order, with the numbers they have on chain."""

    ASK = 0
    BID = 1

    @property
    def word(self) -> str:
        """``ask`` or ``bid``, as every output writes it."""
        return "ask" if self is Side.ASK else "bid"


class Refusal(IntEnum):
    """Why the market did not accept an order, with the numbers they have on chain.

    The market checks in the order of the members from PAUSED on; the first that fails is reported.
    """

    NONE = 0
    PAUSED = 1
    MALFORMED_SIDE = 2
    GATE_NOT_OPEN = 3
    UNKNOWN_HOUSEHOLD = 4
    SUSPENDED = 5
    NO_SIGNER = 6
    ENERGY_OUT_OF_LIMIT = 7
    PRICE_OFF_GRID = 8
    DUPLICATE = 9
    WRONG_SIGNATURE = 10
    INSUFFICIENT_CREDIT = 11

    @property
    def word(self) -> str:
        """The reason in lower case with underscores, as outputs and metrics write it."""
        return self.name.lower()


class EvidenceClass(StrEnum):
    """What stands behind a reading: A, the meter signed it; B, a certified register read over its
    local interface, signed by the node only; C, an uncertified sensor; D, validated by the
    distribution operator or supplier, which prevails over all others."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"


class Quality(StrEnum):
    """Whether a slot's energy was read at both ends or its split was estimated across a gap."""

    METERED = "metered"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True)
class PriceGrid:
    """The prices that may be written on an order: ``floor_price + k * tick_size``, 0 <= k < ticks.

    ``tick_size`` is even, so that the midpoint of two prices of the grid is an integer.
    """

    floor_price: int = 4_000
    tick_size: int = 100
    ticks: int = MAX_TICKS

    def __post_init__(self) -> None:
        if self.floor_price <= 0:
            raise ValueError(f"floor price {self.floor_price} is not above 0")
        if self.tick_size <= 0 or self.tick_size % 2:
            raise ValueError(f"tick size {self.tick_size} is not a positive even number")
        if not 1 <= self.ticks <= MAX_TICKS:
            raise ValueError(f"{self.ticks} ticks; a grid has 1 to {MAX_TICKS}")
        if self.cap_price > MAX_PRICE:
            raise ValueError(f"cap price {self.cap_price} is above {MAX_PRICE}")

    @property
    def cap_price(self) -> int:
        """The highest price of the grid."""
        return self.floor_price + (self.ticks - 1) * self.tick_size

    def contains(self, price: int) -> bool:
        """Whether a price stands on the grid."""
        steps, rest = divmod(price - self.floor_price, self.tick_size)
        return rest == 0 and 0 <= steps < self.ticks

    def tick_of(self, price: int) -> int:
        """The tick of a price that stands on the grid."""
        assert self.contains(price), price
        return (price - self.floor_price) // self.tick_size

    def price_of(self, tick: int) -> int:
        """The price of a tick."""
        assert 0 <= tick < self.ticks, tick
        return self.floor_price + tick * self.tick_size

    def nearest(self, price: float) -> int:
        """The price of the grid nearest to any number: how strategies come to the grid."""
        tick = round((price - self.floor_price) / self.tick_size)
        return self.floor_price + min(max(tick, 0), self.ticks - 1) * self.tick_size


@dataclass(frozen=True, slots=True)
class MarketRules:
    """The versioned parameters of a market; ``slot_s`` alone never changes.

    The gate of slot ``s`` is ``[end of s + gate_offset_s, ... + gate_s)`` in block time.
    ``network_fee`` is paid by the buyer, per Wh, to ``fee_recipient`` (an account address).
    """

    slot_s: int = 900
    gate_offset_s: int = 0
    gate_s: int = 300
    grid: PriceGrid = PriceGrid()
    network_fee: int = 0
    fee_recipient: str = ""

    def __post_init__(self) -> None:
        if self.slot_s <= 0:
            raise ValueError(f"slot length {self.slot_s} s is not above 0")
        if self.gate_s <= 0:
            raise ValueError(f"gate of {self.gate_s} s is not above 0")
        if not 0 <= self.network_fee <= MAX_PRICE:
            raise ValueError(f"network fee {self.network_fee} is not in 0..{MAX_PRICE}")

    def gate_opens_s(self, slot: int) -> int:
        """First second in which orders of the slot are accepted."""
        return slot_end_s(slot, self.slot_s) + self.gate_offset_s

    def gate_closes_s(self, slot: int) -> int:
        """First second in which they no longer are; the slot can be cleared from then on."""
        return self.gate_opens_s(slot) + self.gate_s

    def gate_is_open(self, slot: int, now_s: int) -> bool:
        """Whether an order of the slot would be in time."""
        return self.gate_opens_s(slot) <= now_s < self.gate_closes_s(slot)


@dataclass(frozen=True, slots=True)
class RegisterReading:
    """One capture of a meter's cumulative registers.

    ``quality`` is estimated where the registers were not read at ``taken_at_s`` but lie between two
    captures too far apart: the sum across them is exact, its split is not. ``continues`` is the
    meter whose totals these go on from, once its owner has confirmed that it was replaced.
    """

    meter_id: str
    taken_at_s: int
    import_wh: int
    export_wh: int
    evidence_class: EvidenceClass = EvidenceClass.C
    quality: Quality = Quality.METERED
    continues: str | None = None


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Raw samples of one meter between two slots' ends, packed by the meter room: what shows how a
    slot's energy came about. ``packed`` is opaque to whoever stores it."""

    meter_id: str
    from_s: int
    to_s: int
    count: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class SlotEnergy:
    """What crossed a household's meter in one slot: differences of registers, never power."""

    slot: int
    import_wh: int
    export_wh: int
    quality: Quality = Quality.METERED


@dataclass(frozen=True, slots=True)
class Order:
    """A household's ask (sell) or bid (buy) for the energy that it metered in one slot."""

    household: int
    slot: int
    side: Side
    energy_wh: int
    limit_price: int
    evidence: bytes = NO_EVIDENCE


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """An order and its signer's 64-byte EIP-712 signature (EIP-2098: r, then parity and s).

    The signature is empty only on the reference market, which takes unsigned orders.
    """

    order: Order
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Household:
    """A member as the market knows it: a number, limits per side and slot, nothing personal."""

    number: int
    import_limit_wh: int
    export_limit_wh: int
    active: bool = True
    signer_named: bool = True

    def limit_wh(self, side: Side) -> int:
        """The most that one order of this side may carry."""
        return self.export_limit_wh if side is Side.ASK else self.import_limit_wh


@dataclass(frozen=True, slots=True, order=True)
class LogPosition:
    """Where an event stands in the chain: block number, then index of the log in the block.

    ``block_hash`` is the block's own, where it is known: it tells the block from another one that
    replaced it. ``before`` are ends of earlier blocks that whoever stands here went through, oldest
    first, by which a chain that went back can be followed. Positions are compared without these.
    """

    block: int
    index: int
    block_hash: bytes = field(default=b"", compare=False, repr=False)
    before: tuple[LogPosition, ...] = field(default=(), compare=False, repr=False)


BEFORE_ALL: Final = LogPosition(-1, -1)


@dataclass(frozen=True, slots=True)
class OrderAccepted:
    """The market took an order. ``prefix_wh`` is the energy of its side and tick before it."""

    position: LogPosition
    slot: int
    household: int
    side: Side
    energy_wh: int
    limit_price: int
    prefix_wh: int
    evidence: bytes = NO_EVIDENCE


@dataclass(frozen=True, slots=True)
class OrderRefused:
    """A batch skipped an order and says why. ``side`` is as sent and may be no side at all."""

    position: LogPosition
    slot: int
    household: int
    side: int
    reason: Refusal


@dataclass(frozen=True, slots=True)
class SlotCleared:
    """A slot has its price (None when nothing trades), its volume and both sides' totals."""

    position: LogPosition
    slot: int
    price: int | None
    matched_wh: int
    ask_wh: int
    bid_wh: int


@dataclass(frozen=True, slots=True)
class OrderSettled:
    """Money moved for one order. ``amount_units`` is signed from the household's view: a seller's
    is positive, a buyer's negative and includes the network fee."""

    position: LogPosition
    slot: int
    household: int
    side: Side
    filled_wh: int
    price: int | None
    amount_units: int


@dataclass(frozen=True, slots=True)
class Deposited:
    """Credit came into a household's account of the market."""

    position: LogPosition
    household: int
    amount_units: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The owner took credit out of a household's account of the market."""

    position: LogPosition
    household: int
    amount_units: int


@dataclass(frozen=True, slots=True)
class RulesScheduled:
    """The rules that hold from ``from_slot`` on, until a later version."""

    position: LogPosition
    version: int
    from_slot: int
    rules: MarketRules


MarketEvent = (
    OrderAccepted
    | OrderRefused
    | SlotCleared
    | OrderSettled
    | Deposited
    | Withdrawn
    | RulesScheduled
)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in chain order, the position up to which nothing was left out, and whether there is
    more after it.

    ``replaces`` is set when the chain took blocks back: everything known from after that position
    is void, and the events are those that follow it now.
    """

    events: Sequence[MarketEvent]
    upto: LogPosition
    more: bool = False
    replaces: LogPosition | None = None
