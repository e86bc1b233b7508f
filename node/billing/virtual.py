"""Italy's virtual sharing: what counts as shared, and who gets the incentive that is paid for it.

Nobody is allocated energy: each member's supplier delivers all it drew. Per hour (and per primary
substation, so one call for each) the energy shared is the smaller of what all injected and all
drew. The operator of the incentive pays the community for it, and the statute splits the money.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from node.billing.allocation import apportion
from node.billing.series import MISSING

__all__ = ["incentive_shares", "shared_wh"]


def shared_wh(
    injected: Iterable[Sequence[int]], drawn: Iterable[Sequence[int]], steps_per_hour: int
) -> list[int]:
    """Wh shared in each hour; MISSING where a curve has a gap in it.

    The curves start at a full hour and have whole hours; the smaller sum is taken of the hour, not
    of its steps. Raises ValueError for part of an hour.
    """
    made, used = list(injected), list(drawn)
    lengths = {len(curve) for curve in (*made, *used)}
    if len(lengths) > 1:
        raise ValueError(f"curves of different lengths: {sorted(lengths)}")
    steps = lengths.pop() if lengths else 0
    if steps % steps_per_hour:
        raise ValueError(f"{steps} steps of which {steps_per_hour} are an hour: no whole hours")
    shared = []
    for start in range(0, steps, steps_per_hour):
        parts = [[curve[start : start + steps_per_hour] for curve in side] for side in (made, used)]
        if any(MISSING in part for side in parts for part in side):
            shared.append(MISSING)
        else:
            shared.append(min(sum(sum(part) for part in side) for side in parts))
    return shared


def incentive_shares(
    amount_units: int, statute: Mapping[str, int], energy_wh: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Split an incentive in whole units of money, exactly.

    ``statute`` holds each member's weight; with ``energy_wh`` (what each injected or drew of the
    shared energy) a member's weight is the product of both. Largest remainder, ties by name; where
    nobody weighs anything nobody is paid, so the caller must see that the sum is 0.
    """
    members = sorted(statute)
    weights = [
        statute[member] * (1 if energy_wh is None else energy_wh.get(member, 0))
        for member in members
    ]
    return dict(zip(members, apportion(amount_units, weights), strict=True))
