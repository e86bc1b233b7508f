"""From cumulative registers to the energy of a slot: differences, never power."""

from __future__ import annotations

from node.errors import MeterError
from node.model import Quality, RegisterReading, SlotEnergy
from node.slots import slot_end_s, slot_start_s


def energy_between(
    slot: int, slot_s: int, before: RegisterReading, after: RegisterReading
) -> SlotEnergy:
    """What crossed the meter between two readings of the same meter, booked on one slot.

    The energies of consecutive slots add up to last minus first register by construction. If
    ``before`` is from more than a tenth of a slot before the slot began, or ``after`` from more
    than that after it ended, energy of other slots is in it: the slot is marked as estimated, and
    is not to be ordered. So it is where a reading is itself estimated, where time went backwards
    between the two, and where the meter was replaced with its owner's word, so that the totals of
    the new one continue the old one's. Raises MeterError when the readings are of two meters
    without that, or a register fell: rebasing on it would lose or invent energy.
    """
    is_replaced = before.meter_id != after.meter_id
    if is_replaced and after.continues != before.meter_id:
        raise MeterError(
            f"slot {slot} begins on meter {before.meter_id} and ends on meter {after.meter_id}",
            next_step="confirm the meter swap; the old meter's series closes with its last reading",
        )
    import_wh = after.import_wh - before.import_wh
    export_wh = after.export_wh - before.export_wh
    if import_wh < 0 or export_wh < 0:
        raise MeterError(
            f"meter {after.meter_id}: a register fell in slot {slot} "
            f"(import {before.import_wh} to {after.import_wh} Wh, "
            f"export {before.export_wh} to {after.export_wh} Wh)",
            next_step="check the meter; if it was reset or replaced, confirm that",
        )
    tolerance_s = slot_s // 10
    reaches_back = before.taken_at_s < slot_start_s(slot, slot_s) - tolerance_s
    reaches_on = after.taken_at_s > slot_end_s(slot, slot_s) + tolerance_s
    is_estimated = (
        reaches_back
        or reaches_on
        or is_replaced
        or after.taken_at_s < before.taken_at_s
        or before.quality is Quality.ESTIMATED
        or after.quality is Quality.ESTIMATED
    )
    quality = Quality.ESTIMATED if is_estimated else Quality.METERED
    return SlotEnergy(slot, import_wh, export_wh, quality)
