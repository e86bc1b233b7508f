"""One household's slot as records: its orders, the clearing and the settlements."""

from __future__ import annotations

from typing import Final

from node.model import LogPosition, Order, OrderSettled, Side, SignedOrder, SlotCleared

SLOT: Final = 1_622_304


def bid(slot: int = SLOT, energy_wh: int = 500) -> SignedOrder:
    return SignedOrder(Order(7, slot, Side.BID, energy_wh, 9_000, bytes(range(32))), b"s" * 64)


def ask(slot: int = SLOT) -> SignedOrder:
    return SignedOrder(Order(7, slot, Side.ASK, 800, 5_000), b"t" * 64)


def cleared(slot: int = SLOT, price: int | None = 7_000) -> SlotCleared:
    return SlotCleared(LogPosition(slot, 3), slot, price, 400, 900, 1_000)


def settled(slot: int = SLOT, side: Side = Side.BID) -> OrderSettled:
    amount_units = -2_800_000 if side is Side.BID else 1_400_000
    filled_wh = 400 if side is Side.BID else 200
    return OrderSettled(LogPosition(slot, 4), slot, 7, side, filled_wh, 7_000, amount_units)
