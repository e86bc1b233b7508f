"""Orders that are none, from a member and from an outsider: none accepted, and neighbours trade on.

``scripts/campaign flood`` sends ten thousand at four validators; here are fewer, at one.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import pytest

from node.chain.keys import Key
from node.chain.network.geth import find_geth
from node.errors import ConfigurationError
from tests.support.relay_flood import FloodOutcome, flood
from tests.support.relay_street import RelayStreet, relaying, street_on_anvil, street_on_geth

pytestmark = pytest.mark.network

COUNT: Final = 1_020
HOMES: Final = 40
WITHIN_BLOCKS: Final = 2
PERIOD_S: Final = 2
"""geth renews the content of the block that it makes once a second at most: that of a block of one
second is fixed when the one before arrives, and an order that comes just then waits for a third."""


def street_of(folder: Path) -> AbstractAsyncContextManager[RelayStreet]:
    """On geth where there is one, else on anvil."""
    try:
        find_geth()
    except ConfigurationError:
        return street_on_anvil(HOMES)
    return street_on_geth(folder, HOMES, validators=1, period_s=PERIOD_S)


def test_a_flood_of_bad_orders_reaches_nothing(tmp_path: Path) -> None:
    async def flooded() -> FloodOutcome:
        async with (
            street_of(tmp_path) as street,
            relaying(street, Key(b"r" * 32), behind_front=True) as (service, url),
        ):
            outcome = await flood(street, url, COUNT, random.Random(1))
            assert service.carrier.trouble == ""
            return outcome

    outcome = asyncio.run(flooded())
    assert outcome.sent.total() == COUNT
    assert outcome.accepted_bad == 0
    assert outcome.honest_accepted == outcome.honest > 0
    assert max(outcome.blocks) <= WITHIN_BLOCKS
    assert set(outcome.answered) > {"", "wrong_signature", "energy_out_of_limit", "status 429"}
