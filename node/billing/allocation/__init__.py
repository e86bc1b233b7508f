"""Who gets whose energy: keys as rounds, and the engine that runs them."""

from __future__ import annotations

from node.billing.allocation.engine import Allocation, Reallocation, allocate, reallocate
from node.billing.allocation.plain import Matrix, apportion
from node.billing.allocation.rounds import (
    SCALE,
    Coefficient,
    Key,
    PairStage,
    PoolStage,
    Round,
    StatedStage,
)

__all__ = [
    "SCALE",
    "Allocation",
    "Coefficient",
    "Key",
    "Matrix",
    "PairStage",
    "PoolStage",
    "Reallocation",
    "Round",
    "StatedStage",
    "allocate",
    "apportion",
    "reallocate",
]
