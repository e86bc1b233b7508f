"""Votes are repeated by who gave them until they are taken back; who may still seal stays known."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from node.chain.network import votes
from node.chain.network.genesis import qbft_extra_data
from node.chain.network.record import Network, Peer
from node.chain.network.votes import (
    cast_votes,
    refuse_too_many,
    refuse_while_it_seals,
    take_back_if_done,
)
from node.errors import ChainUnreachable, Refused

PEERS = tuple(
    Peer("validator", number, f"0x{number:040x}", f"{number:0128x}", "127.0.0.1", number, number)
    for number in range(1, 9)
)
NAMES = [peer.name for peer in PEERS[:4]]
ADDRESSES = [peer.address for peer in PEERS[:4]]
FOURTH = PEERS[3].address
DEPTH = 8


def network(engine: str = "geth") -> Network:
    return Network("Rue des Lilas", engine, 4_711, 1, "0x" + "00" * 20, PEERS)


@dataclass
class Voting:
    """Nodes that repeat their votes: half of the validators alike, and it is so in the next block.
    A question about the head makes one."""

    engine: str = "geth"
    history: list[list[str]] = field(default_factory=lambda: [list(ADDRESSES)])
    votes: dict[str, dict[str, bool]] = field(default_factory=dict)
    away: frozenset[str] = frozenset()
    goes_on: bool = True

    @property
    def endpoints(self) -> dict[str, Path | str]:
        return {name: Path(name) for name in NAMES}

    async def ask(self, endpoint: Path, method: str, *parameters: object) -> object:
        name = str(endpoint)
        if name in self.away:
            raise ChainUnreachable(name)
        own = self.votes.setdefault(name, {})
        match method, *parameters:
            case ("eth_blockNumber",):
                if self.goes_on:
                    self._block()
                return hex(len(self.history) - 1)
            case ("clique_getSigners", at):
                return self._at(at)
            case ("eth_getBlockByNumber", at, False):
                return {"number": at, "extraData": qbft_extra_data(self._at(at))}
            case (("clique_propose" | "qbft_proposeValidatorVote"), str(address), bool(add)):
                own[address] = add
                return None
            case (("clique_discard" | "qbft_discardValidatorVote"), address):
                own.pop(str(address), None)
                return None
        raise AssertionError(method)

    def _at(self, block: object) -> list[str]:
        return self.history[-1 if block == "latest" else int(str(block), 16)]

    def _block(self) -> None:
        now = list(self.history[-1])
        for address in {address for own in self.votes.values() for address in own}:
            for add in (True, False):
                alike = [
                    name
                    for name, own in self.votes.items()
                    if own.get(address) is add and PEERS[NAMES.index(name)].address in now
                ]
                if (address in now) != add and len(alike) > len(now) // 2:
                    now = [*now, address] if add else [one for one in now if one != address]
        self.history.append(now)

    def blocks(self, count: int) -> None:
        for _ in range(count):
            self._block()


@pytest.fixture(params=["geth", "besu"])
def voting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Voting:
    found = Voting(request.param)
    monkeypatch.setattr(votes, "ask", found.ask)
    monkeypatch.setattr(votes, "PAUSE_S", 0)
    return found


def cast(voting: Voting, voters: list[str], *, add: bool) -> bool:
    known = network(voting.engine)
    return asyncio.run(cast_votes(known, voting.endpoints, voters, FOURTH, add=add))


def test_who_was_voted_out_and_in_again_does_not_vote_itself_out(voting: Voting) -> None:
    assert cast(voting, NAMES, add=False)
    assert FOURTH not in voting.history[-1]
    assert cast(voting, NAMES[:3], add=True)
    assert FOURTH in voting.history[-1]
    assert voting.votes == {name: {} for name in NAMES}
    voting.blocks(20)
    assert FOURTH in voting.history[-1]


def test_a_vote_stands_until_it_is_final(voting: Voting) -> None:
    assert cast(voting, NAMES, add=False)
    final = len(voting.history) - 1 - network(voting.engine).finality_depth
    assert FOURTH not in voting.history[final]


def test_votes_that_do_not_suffice_stand_and_are_taken_back_when_they_did(voting: Voting) -> None:
    known = network(voting.engine)
    assert not cast(voting, NAMES[:2], add=False)
    asyncio.run(take_back_if_done(known, voting.endpoints, FOURTH, add=False))
    assert voting.votes["validator-01"] == {FOURTH: False}
    voting.votes["validator-03"] = {FOURTH: False}  # another operator's
    voting.blocks(DEPTH + 1)
    asyncio.run(take_back_if_done(known, voting.endpoints, FOURTH, add=False))
    assert voting.votes == {name: {} for name in NAMES}


def test_a_vote_against_itself_is_taken_back_before_others_vote_for_it(voting: Voting) -> None:
    voting.history = [[*ADDRESSES[:3]]]
    voting.votes["validator-04"] = {FOURTH: False}
    assert not cast(voting, NAMES[:1], add=True)
    assert voting.votes["validator-04"] == {}


def test_who_may_seal_is_not_forgotten(voting: Voting) -> None:
    known = network(voting.engine)

    def refused() -> str:
        try:
            asyncio.run(refuse_while_it_seals(known, voting.endpoints, FOURTH))
        except Refused as error:
            return error.reason
        return ""

    voting.goes_on = False
    assert refused() == "still_validates"
    voting.history.append(ADDRESSES[:3])
    voting.blocks(DEPTH - 1)
    assert refused() == ("still_validates" if voting.engine == "geth" else "")  # it may come back
    voting.blocks(1)
    assert refused() == ""
    voting.history.append(ADDRESSES)
    assert refused() == "still_validates"
    voting.away = frozenset(NAMES)
    with pytest.raises(ChainUnreachable, match="who validates"):
        refused()


def test_with_clique_no_eighth_is_voted_in() -> None:
    seven = [peer.address for peer in PEERS[:7]]
    refuse_too_many(network(), seven[:6])
    refuse_too_many(network("besu"), seven)
    with pytest.raises(Refused, match="Clique may have 7"):
        refuse_too_many(network(), seven)
