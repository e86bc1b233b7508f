"""The worked allocations that lie beside the checkout, through both engines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from node.billing.allocation import allocate
from node.billing.keys import key_from
from tests.support.shared import shared_path


def vectors() -> list[dict[str, Any]]:
    """All of them, each whole."""
    path = shared_path("acc/acc_allocation_vectors.json")
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["vectors"]
    assert found
    return found


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "vector"])
def test_every_vector_comes_out(*, plain: bool) -> None:
    for vector in vectors():
        consumption = {point: [wh] for point, wh in vector["consumption_wh"].items()}
        allocation = allocate(
            key_from({**vector, "kind": vector["key"]}),
            {"P": [vector["production_wh"]]},
            consumption,
            plain=plain,
        )
        name = vector["name"]
        allocated = {point: curve[0] for point, curve in allocation.allocated.items()}
        complement = {point: allocation.complement(point)[0] for point in consumption}
        assert allocated == vector["allocated_wh"], name
        assert complement == vector["complement_wh"], name
        assert allocation.surplus("P")[0] == vector["surplus_wh"], name
