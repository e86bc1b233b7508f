"""A machine that left is nobody's peer, and the chain goes on from the same first block."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from node.chain.network.keeping import write_open
from node.chain.network.layout import Plan, init_network
from node.chain.network.leaving import forget_node, without
from node.chain.network.newcomers import PEER_FILE, introduce_validator, make_validator
from node.chain.network.record import load_network
from node.errors import ConfigurationError, Refused

HOSTS = ("10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.4")
PLAN = Plan("Rue des Lilas", "geth", 4_711, hosts=HOSTS, light_keys=True)
ENGINES = pytest.mark.parametrize("engine", ["geth", "besu"])


def drawn(first: int = 0) -> Callable[[int], bytes]:
    """Secrets that differ, and are the same in each run."""
    numbers = iter(range(first, first + 10_000))
    return lambda count: hashlib.sha256(next(numbers).to_bytes(8)).digest()[:count]


def settings(folder: Path) -> dict[str, str]:
    """What nodes are started with, by its place."""
    names = ("config.toml", "static-nodes.json", "permissions.toml", "compose.yaml")
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.name in names
    }


@ENGINES
def test_nobody_knows_it_as_a_peer_and_the_first_block_stays(tmp_path: Path, engine: str) -> None:
    plan = replace(PLAN, engine=engine)
    network, _ = init_network(tmp_path, plan, drawn())
    first_block = (tmp_path / "genesis.json").read_bytes()
    gone = network.peer(4)
    written = forget_node(tmp_path, gone)
    assert (tmp_path / "genesis.json").read_bytes() == first_block
    assert {file.state for file in written if file.path.name == "genesis.json"} == {"there"}
    left = load_network(tmp_path)
    assert (left.peers, left.removed) == (without(network, gone).peers, (gone,))
    assert (left.founders, len(left.validators)) == (network.founders, 3)
    for place, text in settings(tmp_path).items():
        if not place.startswith("validators/04"):
            assert gone.enode_id not in text, place
            assert gone.host not in text, place
            assert gone.name not in text, place
    # Founding it again keeps to that: same first block, no keys, nothing to write.
    again, written = init_network(
        tmp_path, plan, lambda _: pytest.fail("a secret was drawn"), rewrite=True
    )
    assert again == left
    assert {file.state for file in written} == {"there"}


def test_a_node_for_members_that_stood_beside_it_can_be_forgotten_too(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, PLAN, drawn())
    forget_node(tmp_path, network.peer(2))
    forget_node(tmp_path, network.peer("rpc-02"))
    config = (tmp_path / "validators/01/config.toml").read_text()
    assert HOSTS[1] not in config
    assert [peer.name for peer in load_network(tmp_path).removed] == ["validator-02", "rpc-02"]
    with pytest.raises(Refused, match="rpc-01 is the last"):
        forget_node(tmp_path, network.peer("rpc-01"))
    assert len(init_network(tmp_path, PLAN, drawn())[0].peers) == 4


def test_its_number_and_its_keys_are_given_to_nobody_else(tmp_path: Path) -> None:
    init_network(tmp_path, PLAN, drawn())
    newcomer, _ = make_validator(tmp_path, 5, "10.77.0.5", drawn(50_000), light=True)
    described = tmp_path / newcomer.folder / PEER_FILE
    forget_node(tmp_path, newcomer)
    for number in (4, 5):
        with pytest.raises(ConfigurationError, match=r"founded|was removed") as caught:
            make_validator(tmp_path, number, "10.77.0.5", drawn(70_000), light=True)
        assert "as 6" in caught.value.next_step
    with pytest.raises(ConfigurationError, match="was removed"):
        introduce_validator(tmp_path, described)
    # Its address is free again: the machine was bought by somebody else.
    other, _ = make_validator(tmp_path, 6, "10.77.0.5", drawn(90_000), light=True)
    assert other.p2p_port == newcomer.p2p_port
    assert load_network(tmp_path).removed == (newcomer,)


def test_a_founder_comes_back_by_its_line_in_the_file(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, PLAN, drawn())
    before = settings(tmp_path)
    forget_node(tmp_path, network.peer(4))
    file = tmp_path / "network.toml"
    write_open(file, file.read_text().replace("removed = true\n", ""))
    init_network(tmp_path, PLAN, drawn(), rewrite=True)
    back = load_network(tmp_path)
    assert set(back.peers) == set(network.peers)
    assert set(settings(tmp_path)) == set(before)
    genesis = json.loads((tmp_path / "genesis.json").read_text())
    assert genesis["extraData"].count(network.peer(4).address.removeprefix("0x")) == 1
