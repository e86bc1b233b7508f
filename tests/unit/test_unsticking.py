"""Sealers that wait for each other begin anew together, and no block that is final is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from node.chain.network import unsticking
from node.chain.network.record import Network, Peer
from node.chain.network.unsticking import free_sealers
from node.errors import ChainUnreachable, Refused

PEERS = tuple(
    Peer("validator", number, f"0x{number:040x}", f"{number:0128x}", "127.0.0.1", number, 0)
    for number in range(1, 5)
)
NETWORK = Network("Rue des Lilas", "geth", 4_711, 1, "0x" + "00" * 20, PEERS)
SHARED = tuple(f"s{height}" for height in range(13))
"""Blocks 0 to 12, which all have."""


@dataclass
class Sealers:
    """Nodes with a chain each, and what they were told in its order."""

    chains: Mapping[str, tuple[str, ...]]
    away: frozenset[str] = frozenset()
    told: list[tuple[str, str, object]] = field(default_factory=list)

    @property
    def endpoints(self) -> dict[str, Path | str]:
        return {name: Path(name) for name in self.chains}

    async def ask(self, endpoint: Path, method: str, *parameters: object) -> object:
        name = str(endpoint)
        if name in self.away:
            raise ChainUnreachable(name)
        chain = self.chains[name]
        if method == "eth_getBlockByNumber":
            at = parameters[0]
            height = len(chain) - 1 if at == "latest" else int(str(at), 16)
            if height >= len(chain):
                return None
            return {"number": hex(height), "hash": chain[height]}
        self.told.append((method, name, parameters[0] if parameters else None))
        if method == "miner_stop" and name == "deaf":
            raise Refused("no such method", reason="rpc_error")
        return None

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.told]

    def stepped(self) -> dict[str, object]:
        return {name: back_to for method, name, back_to in self.told if method == "debug_setHead"}


def freed(monkeypatch: pytest.MonkeyPatch, sealers: Sealers) -> bool:
    monkeypatch.setattr(unsticking, "ask", sealers.ask)
    return asyncio.run(free_sealers(NETWORK, sealers.endpoints))


def test_all_pause_then_step_back_to_the_same_block_then_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = (*SHARED, "a13"), (*SHARED, "b13", "b14")
    sealers = Sealers({"v1": one, "v2": one, "v3": two, "v4": two})
    assert freed(monkeypatch, sealers)
    assert sealers.stepped() == dict.fromkeys(sealers.chains, hex(12))
    methods = sealers.methods()
    assert methods == sorted(methods, key=["miner_stop", "debug_setHead", "miner_start"].index)
    assert methods.count("miner_stop") == methods.count("miner_start") == 4


def test_the_longest_branch_that_is_not_final_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    sealers = Sealers({"v1": (*SHARED[:6], *"abcdefg"), "v2": SHARED})
    assert freed(monkeypatch, sealers)
    assert sealers.stepped() == dict.fromkeys(sealers.chains, hex(5))


def test_who_is_behind_is_left_alone_and_does_not_keep_the_others_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = (*SHARED, "a13"), (*SHARED, "b13", "b14")
    sealers = Sealers({"v1": one, "v2": SHARED[:3], "v3": two, "v4": two[:-1]})
    assert freed(monkeypatch, sealers)
    assert sealers.stepped() == dict.fromkeys(["v1", "v3", "v4"], hex(12))


@pytest.mark.parametrize(
    "chains",
    [
        {"v1": SHARED, "v2": SHARED, "v3": SHARED},
        {"v1": SHARED, "v2": (*SHARED, "a13"), "v3": SHARED[:5]},
        {"v1": (*SHARED[:5], *"abcdefgh"), "v2": SHARED},  # eight apart: one of them is final
        {"v1": tuple("abc"), "v2": tuple("xyz")},
        {},
    ],
    ids=["one block", "behind", "beyond what may change", "nothing in common", "nobody"],
)
def test_nobody_steps_back_without_a_quarrel_or_from_what_is_final(
    monkeypatch: pytest.MonkeyPatch, chains: dict[str, tuple[str, ...]]
) -> None:
    sealers = Sealers(chains)
    assert not freed(monkeypatch, sealers)
    # Who was told to pause by somebody that died over it is told to go on.
    assert sealers.methods() == ["miner_start"] * len(chains)


def test_who_is_away_or_refuses_does_not_leave_the_others_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = (*SHARED, "a13"), (*SHARED, "b13", "b14")
    chains = {"v1": one, "deaf": one, "v3": two, "v4": two}
    sealers = Sealers(chains, away=frozenset({"v4"}))
    assert freed(monkeypatch, sealers)
    started = [name for method, name, _ in sealers.told if method == "miner_start"]
    assert sorted(started) == ["deaf", "v1", "v3"]
