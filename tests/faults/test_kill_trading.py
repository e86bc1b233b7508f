"""kill -9 of a daemon that trades on a real chain: one order for each side of a slot, never two.

``DAISEE_TRADING_KILLS`` is how often, ``DAISEE_CAMPAIGN_SEED`` other moments.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from node.model import MarketRules, OrderAccepted, Side
from node.ports import IntentState
from node.store import NodeDatabase
from tests.support.live_chain import PASSWORD, LiveChain, live_chain
from tests.support.node_process import NodeFolder, NodeProcess, fed_line, pause, wait_for

pytestmark = pytest.mark.fault

KILLS: Final = int(os.environ.get("DAISEE_TRADING_KILLS", "12"))
SEED: Final = int(os.environ.get("DAISEE_CAMPAIGN_SEED", "0"))

RULES: Final = MarketRules(slot_s=4, gate_s=4)
LIMIT_WH: Final = 7
"""Below what a slot imports: unless the node knows the registry's limit, nothing is taken."""

LONGEST_LIFE_S: Final = 7.0


@pytest.fixture(scope="module")
def chain() -> Iterator[LiveChain]:
    with live_chain(RULES, limit_wh=LIMIT_WH) as chain:
        yield chain


def accepted(chain: LiveChain) -> list[OrderAccepted]:
    return [event for event in chain.events() if isinstance(event, OrderAccepted)]


def home_of(chain: LiveChain, folder: Path, *, chain_id: int | None = None) -> NodeFolder:
    more = chain.settings(folder, chain_id=chain_id)
    return NodeFolder(folder, RULES.slot_s, more=more, number=chain.household)


def test_of_another_chain_nothing_is_believed_and_nothing_sent(
    tmp_path: Path, chain: LiveChain
) -> None:
    home = home_of(chain, tmp_path, chain_id=chain.chain_id + 1)
    with fed_line(home.port, frames_per_s=8.0):
        node = NodeProcess(home.write())
        try:
            node.hear("READY=1")
            wait_for(lambda: f"serves chain {chain.chain_id}" in node.text())
            pause(2 * RULES.slot_s)
            assert node.stop()[0] == 0, node.text()
        finally:
            node.close()
    assert accepted(chain) == []
    with NodeDatabase.open_read_only(home.database) as storage:
        assert storage.own_trades() == []
        assert storage.totals().slots > 0


def test_never_two_orders_for_one_side_of_a_slot(tmp_path: Path, chain: LiveChain) -> None:
    home = home_of(chain, tmp_path)
    config, rng = home.write(), random.Random(SEED)
    with fed_line(home.port, frames_per_s=8.0):
        for _ in range(KILLS):
            node = NodeProcess(config)
            try:
                node.hear("READY=1")
                pause(rng.uniform(0.0, LONGEST_LIFE_S))
                node.kill()
            finally:
                node.close()
        node = NodeProcess(config)
        try:
            before = len(accepted(chain))
            wait_for(lambda: len(accepted(chain)) > before + 2, 60)
            code, _ = node.stop()
        finally:
            node.close()
    assert code == 0, node.text()
    taken = accepted(chain)
    keys = Counter((event.slot, event.side) for event in taken)
    assert max(keys.values()) == 1, f"seed={SEED}"
    assert PASSWORD not in node.text()
    assert "order_unknown_here" not in node.text()
    with NodeDatabase.open_read_only(home.database) as storage:
        assert storage.integrity() == []
        for event in taken:
            kept = storage.intent(event.slot, event.side)
            assert kept is not None, f"seed={SEED}: an order that was never written down"
            order, energy = kept.order, storage.slot_energy(event.slot)
            assert (event.energy_wh, event.limit_price) == (order.energy_wh, order.limit_price)
            assert energy is not None
            metered_wh = energy.export_wh if event.side is Side.ASK else energy.import_wh
            assert event.energy_wh == min(metered_wh, LIMIT_WH)
        open_slots = {signed.order.slot for signed, _ in storage.open_intents()}
        states = {
            trade.state for trade in storage.own_trades() if trade.order.slot not in open_slots
        }
    assert states <= {IntentState.ACCEPTED, IntentState.EXPIRED, IntentState.REFUSED}
    assert IntentState.ACCEPTED in states
