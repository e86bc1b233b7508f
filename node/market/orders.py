"""From the energy of a slot to the orders for it, and the evidence that stands behind them."""

from __future__ import annotations

import hashlib
import hmac

from node.market.strategies import MarketView, Strategy
from node.model import Household, Order, RegisterReading, Side, SlotEnergy


def orders_for(
    household: Household,
    energy: SlotEnergy,
    strategy: Strategy,
    view: MarketView,
    evidence: bytes,
) -> list[Order]:
    """At most one ask and one bid: exactly the metered energy, up to the household's limits.

    What exceeds a limit stays with the supplier. Order of the list: ask first.
    """
    orders: list[Order] = []
    for side, metered_wh in ((Side.ASK, energy.export_wh), (Side.BID, energy.import_wh)):
        energy_wh = min(metered_wh, household.limit_wh(side))
        if energy_wh > 0:
            price = strategy.limit_price(side, view)
            orders.append(Order(household.number, energy.slot, side, energy_wh, price, evidence))
    return orders


def evidence_salt(evidence_key: bytes, slot: int) -> bytes:
    """The 16-byte salt of a slot's commitment, from a key that never leaves the household.

    The household can open any commitment as long as it has the key and its readings; once the key
    is destroyed nobody can, and what stands on chain says nothing.
    """
    return hmac.digest(evidence_key, slot.to_bytes(8), "sha256")[:16]


def evidence_commitment(
    salt: bytes, before: RegisterReading, after: RegisterReading, frames_digest: bytes = b""
) -> bytes:
    """A 32-byte commitment to what backs a slot's orders; it reveals nothing without the salt.

    SHA-256 over the salt (16 bytes), the meter's name and registers at both ends, and the digest of
    the raw frames. In a dispute the household opens the commitment to the auditor.
    """
    assert len(salt) == 16, len(salt)
    text = "|".join(
        f"{reading.meter_id}|{reading.taken_at_s}|{reading.import_wh}|{reading.export_wh}"
        for reading in (before, after)
    )
    return hashlib.sha256(salt + text.encode() + b"|" + frames_digest).digest()
