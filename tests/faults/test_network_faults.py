"""A street loses validators, a disk, everything at once: what it traded stays, and it trades again.

Real processes throughout, on loopback, with a block every second. ``scripts/campaign network`` does
the same more often and for longer (the variables below), and its figures are in the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from typing import Final

import pytest

from node.clock import wall_seconds
from node.ports import IntentState
from node.slots import slot_at, slot_end_s
from tests.support.lost_network import (
    RULES,
    SENT_WITHIN_S,
    LostNetwork,
    lost_network,
)

pytestmark = pytest.mark.network

log = logging.getLogger("daisee.campaign")

KILLS: Final = int(os.environ.get("DAISEE_VALIDATOR_KILLS", "1"))
OUTAGE_S: Final = int(os.environ.get("DAISEE_OUTAGE_S", "20"))
BLACKOUTS: Final = int(os.environ.get("DAISEE_BLACKOUTS", "1"))
WIPES: Final = int(os.environ.get("DAISEE_WIPES", "1"))

RECOVERED_WITHIN_S: Final = 60
TRADING_WITHIN_S: Final = 180
SEALS_WITHIN_S: Final = 60

VALIDATORS: Final = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LostNetwork]:
    with lost_network(tmp_path_factory.mktemp("street")) as lost:
        yield lost


def test_one_validator_of_four_killed_loses_no_order(lost: LostNetwork) -> None:
    async def scenario() -> None:
        first = last = lost.slot_now()
        async with lost.street.pulse() as pulse:
            for kill in range(KILLS):
                victim, last = VALIDATORS[kill % len(VALIDATORS)], lost.slot_now()
                await lost.network.kill(victim)
                await lost.lived_through(last)
                await lost.network.restart(victim)
        slots = range(first, last + 1)
        due, accepted = lost.due(slots), await lost.accepted(slots)
        log.warning(
            "kills=%d slots=%d orders=%d lost=%d longest_gap_s=%.1f freed=%d",
            *(KILLS, len(slots), len(due), len(due - accepted.keys())),
            *(pulse.longest_gap_s, lost.network.freed),
        )
        assert due
        assert accepted.keys() == due

    lost.run(scenario())


def test_two_of_four_killed_stop_the_chain_and_nothing_is_sent_late(lost: LostNetwork) -> None:
    async def scenario() -> None:
        begun = slot_at(lost.street.now_s() + 3, RULES.slot_s)
        async with lost.watched() as sent:
            await lost.street.until(slot_end_s(begun, RULES.slot_s) - 2)  # its gate is to come
            final = await lost.street.rpc.head() - lost.depth
            block_hash = await lost.hash_at(final)
            for victim in (1, 3):
                await lost.network.kill(victim)
            await asyncio.sleep(1)  # what the two sealed last arrives
            killed_at = await lost.street.rpc.head()
            await asyncio.sleep(OUTAGE_S)
            stopped_at = await lost.street.rpc.head()
            assert stopped_at <= killed_at + len(VALIDATORS) // 2, "a minority seals no more"
            for victim in (1, 3):
                await lost.network.restart(victim)
            back_s = wall_seconds()
            await lost.recover()
            await lost.network.until_block(stopped_at + 1, within_s=RECOVERED_WITHIN_S)
            took_s = wall_seconds() - back_s
            last = lost.slot_now()  # its gate opens when blocks come again
            await lost.lived_through(last)
        await lost.until_all_have(final, block_hash)
        slots = range(begun, last + 1)
        due, accepted, states = lost.due(slots), await lost.accepted(slots), lost.states(slots)
        ended = {slot for slot in slots if RULES.gate_closes_s(slot) <= lost.street.now_s()}
        late = [
            slot
            for slot, at_s in sent.newest_s.items()
            if at_s > RULES.gate_closes_s(slot) + SENT_WITHIN_S
        ]
        dropped = {key for key, state in states.items() if state is IntentState.EXPIRED}
        given_up = sum(home.process.says("given_up") for home in lost.street.homes)
        log.warning(
            "outage_s=%d first_block_s=%.1f due=%d accepted=%d expired=%d never_made=%d"
            " sent_late=%d replaced_at_depth_%d=0 relay=%s",
            *(OUTAGE_S, took_s, len(due), len(accepted), len(dropped)),
            *(len(due - states.keys()), len(late), lost.depth, await lost.relay_status()),
        )
        assert late == []
        assert took_s <= RECOVERED_WITHIN_S
        assert accepted.keys() <= due
        assert {key for key, state in states.items() if state is IntentState.ACCEPTED} == set(
            accepted
        )
        never_made = due - states.keys()
        missed = {key for key in due if key[0] == begun}
        assert missed <= dropped | never_made, "its gate closed while the chain stood"
        assert given_up >= len(dropped)
        assert not {
            key
            for key, state in states.items()
            if key[0] in ended and state in (IntentState.PENDING, IntentState.SENT)
        }
        assert {key for key in due if key[0] == last} <= accepted.keys()

    lost.run(scenario())


def test_a_validator_whose_disk_is_lost_comes_back_and_seals(lost: LostNetwork) -> None:
    async def scenario() -> None:
        for wipe in range(WIPES):
            victim = VALIDATORS[(1 + wipe) % len(VALIDATORS)]
            await lost.network.wipe(victim)
            slot = lost.slot_now()
            await lost.lived_through(slot)
            head = await lost.street.rpc.head()
            await lost.network.restart(victim)
            begun_s = wall_seconds()
            await lost.seals(victim, SEALS_WITHIN_S)
            took_s = wall_seconds() - begun_s
            await lost.until_all_have(head - lost.depth, await lost.hash_at(head - lost.depth))
            log.warning("wiped=%d blocks=%d seals_after_s=%.1f", victim, head, took_s)
            assert (
                lost.due(range(slot, slot + 1))
                == (await lost.accepted(range(slot, slot + 1))).keys()
            )

    lost.run(scenario())


def test_after_all_are_killed_at_once_the_street_trades_again(lost: LostNetwork) -> None:
    async def scenario() -> None:
        took: list[float] = []
        for _ in range(BLACKOUTS):
            final = await lost.street.rpc.head() - lost.depth
            block_hash = await lost.hash_at(final)
            names = [peer.name for peer in lost.network.network.peers]
            await asyncio.gather(*(lost.network.kill(name) for name in names))
            await asyncio.sleep(2)
            begun_s, slot = wall_seconds(), lost.slot_now()
            await asyncio.gather(*(lost.network.restart(name) for name in names))
            traded: set[int] = set()
            while not traded and wall_seconds() < begun_s + TRADING_WITHIN_S:
                await asyncio.sleep(0.5)
                newer = range(slot, slot + 99)
                traded = {key[0] for key in await lost.accepted(newer)}
            took.append(wall_seconds() - begun_s)
            assert traded, f"no order within {TRADING_WITHIN_S} s"
            await lost.until_all_have(final, block_hash)
        whole = lost.slot_now()
        await lost.lived_through(whole)
        log.warning(
            "blackouts=%d trading_again_s=%s freed=%d",
            *(BLACKOUTS, [round(seconds, 1) for seconds in took], lost.network.freed),
        )
        assert (
            lost.due(range(whole, whole + 1))
            == (await lost.accepted(range(whole, whole + 1))).keys()
        )

    lost.run(scenario())
