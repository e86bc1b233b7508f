"""A validator that joins later: its keys are its machine's alone, and the first block stays."""

from __future__ import annotations

import hashlib
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from node.chain.keystore import read_keystore
from node.chain.network.layout import Plan, Written, init_network
from node.chain.network.newcomers import PEER_FILE, introduce_validator, make_validator
from node.chain.network.record import Peer, load_network
from node.errors import ConfigurationError

HOSTS = ("10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.4")
HOST = "10.77.0.5"
PLAN = Plan("Rue des Lilas", "geth", 4_711, hosts=HOSTS, light_keys=True)
ENGINES = pytest.mark.parametrize("engine", ["geth", "besu"])


def drawn(first: int = 0) -> Callable[[int], bytes]:
    """Secrets that differ, and are the same in each run."""
    numbers = iter(range(first, first + 10_000))
    return lambda count: hashlib.sha256(next(numbers).to_bytes(8)).digest()[:count]


def founded(folder: Path, engine: str = "geth") -> Path:
    init_network(folder, replace(PLAN, engine=engine), drawn())
    return folder


def machine(street: Path, folder: Path) -> Path:
    """A new machine's folder, with what the operator gave it."""
    folder.mkdir()
    for name in ("network.toml", "genesis.json"):
        shutil.copy(street / name, folder / name)
    return folder


def made(folder: Path, number: int = 5, host: str = HOST) -> tuple[Peer, list[Written]]:
    return make_validator(folder, number, host, drawn(50_000), light=True)


def introduced(tmp_path: Path, engine: str = "geth") -> tuple[Path, Path, Peer]:
    street = founded(tmp_path / "street", engine)
    there = machine(street, tmp_path / "there")
    peer, _ = made(there)
    introduce_validator(street, there / peer.folder / PEER_FILE)
    return street, there, peer


@ENGINES
def test_its_keys_are_made_for_its_user_alone_and_open(tmp_path: Path, engine: str) -> None:
    street = founded(tmp_path / "street", engine)
    there = machine(street, tmp_path / "there")
    peer, written = made(there)
    secret = [there / file.path for file in written if file.secret]
    assert len(secret) == (3 if engine == "geth" else 1)
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    if engine == "geth":
        own = there / peer.folder
        key = read_keystore(own / "keystore" / "key.json", (own / "password").read_text().strip())
        assert key.address.lower() == peer.address
    open_text = "".join(
        (there / file.path).read_text() for file in written if not file.secret
    ) + str(peer)
    for path in secret:
        assert path.read_text().strip() not in open_text


@ENGINES
def test_everybody_learns_of_it_and_the_first_block_stays(tmp_path: Path, engine: str) -> None:
    street = founded(tmp_path / "street", engine)
    first_block = (street / "genesis.json").read_text()
    there = machine(street, tmp_path / "there")
    peer, _ = made(there)
    known, written = introduce_validator(street, there / peer.folder / PEER_FILE)
    assert known == peer
    network = load_network(street)
    assert network == load_network(there)
    assert network.peer(5) == peer
    assert len(network.founders) == 4
    assert (street / "genesis.json").read_text() == first_block
    states = {file.path: file.state for file in written}
    assert states[Path("genesis.json")] == "there"
    settings = "config.toml" if engine == "geth" else "static-nodes.json"
    for other in network.peers:
        said = (street / other.folder / settings).read_text()
        assert (peer.enode in said) == (other != peer)
    assert not list((street / peer.folder).rglob("nodekey"))
    same = (there / peer.folder / settings).read_text()
    assert same == (street / peer.folder / settings).read_text()
    assert (there / "systemd" / "daisee-validator-05.service").is_file()
    assert not (there / "validators" / "01").exists()


def test_again_changes_nothing(tmp_path: Path) -> None:
    street, there, peer = introduced(tmp_path)
    again, written = made(there)
    assert again == peer
    assert {file.state for file in written} == {"there"}
    _, written = introduce_validator(street, there / peer.folder / PEER_FILE)
    assert {file.state for file in written} == {"there"}
    # Founding it again completes the founders, and makes no keys of the other machine.
    network, _ = init_network(street, PLAN, drawn(90_000))
    assert network.peer(5) == peer
    assert not list((street / peer.folder).rglob("nodekey"))


def test_a_machine_that_moved_is_told_by_its_new_description(tmp_path: Path) -> None:
    street, there, peer = introduced(tmp_path)
    moved, _ = made(there, host="10.77.0.9")
    assert (moved.address, moved.host) == (peer.address, "10.77.0.9")
    introduce_validator(street, there / peer.folder / PEER_FILE)
    assert load_network(street).peer(5).host == "10.77.0.9"


@pytest.mark.parametrize(
    ("number", "host", "complaint"),
    [(4, HOST, "founded"), (0, HOST, "1 to 99"), (5, "street.example", "no address")],
)
def test_what_cannot_be_is_refused_before_a_key_is_made(
    tmp_path: Path, number: int, host: str, complaint: str
) -> None:
    there = machine(founded(tmp_path / "street"), tmp_path / "there")
    with pytest.raises(ConfigurationError, match=complaint):
        made(there, number, host)
    assert not (there / "validators").exists()


def test_another_machine_by_a_known_number_is_refused(tmp_path: Path) -> None:
    street, there, peer = introduced(tmp_path)
    described = there / peer.folder / PEER_FILE
    described.write_text(described.read_text().replace(peer.address, "0x" + "ab" * 20))
    with pytest.raises(ConfigurationError, match="another machine"):
        introduce_validator(street, described)
    shutil.rmtree(there / peer.folder)
    with pytest.raises(ConfigurationError, match="another validator-05"):
        make_validator(there, 5, HOST, drawn(70_000), light=True)
    assert not (there / peer.folder).exists()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (f'host = "{HOST}"', 'host = "house.example"', "no validator"),
        (f'host = "{HOST}"', f'host = "{HOSTS[1]}"', "share port 30303"),
        ("p2p_port = 30303", "p2p_port = 0", "no validator"),
    ],
)
def test_a_machine_that_nobody_could_dial_is_not_told_to_everybody(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    street = founded(tmp_path / "street")
    there = machine(street, tmp_path / "there")
    peer, _ = made(there)
    described = there / peer.folder / PEER_FILE
    assert old in described.read_text()
    described.write_text(described.read_text().replace(old, new))
    before = {path: path.read_bytes() for path in street.rglob("*.toml")}
    with pytest.raises(ConfigurationError, match=complaint):
        introduce_validator(street, described)
    assert {path: path.read_bytes() for path in street.rglob("*.toml")} == before


def test_a_machine_that_moves_to_one_with_nodes_gets_ports_of_its_own(tmp_path: Path) -> None:
    _, there, peer = introduced(tmp_path)
    moved, _ = made(there, host=HOSTS[0])
    assert (moved.address, moved.host) == (peer.address, HOSTS[0])
    ports = [other.p2p_port for other in load_network(there).peers if other.host == HOSTS[0]]
    assert len(ports) == len(set(ports)) == 3


def test_a_power_cut_before_others_know_it_is_made_good(tmp_path: Path) -> None:
    there = machine(founded(tmp_path / "street"), tmp_path / "there")
    known = (there / "network.toml").read_text()
    peer, _ = made(there)
    (there / "network.toml").write_text(known)  # as before its own keys were in it
    (there / peer.folder / PEER_FILE).unlink()
    again, _ = make_validator(there, 5, HOST, lambda _: pytest.fail("drawn again"), light=True)
    assert again == peer


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('kind = "validator"', 'kind = "rpc"'),
        ('kind = "validator"', ""),
        ("number = 5", "number = 100"),
        ("joined = true", "joined = 1"),
        ("joined = true", "= ="),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(tmp_path: Path, old: str, new: str) -> None:
    street = founded(tmp_path / "street")
    there = machine(street, tmp_path / "there")
    peer, _ = made(there)
    described = there / peer.folder / PEER_FILE
    assert old in described.read_text()
    described.write_text(described.read_text().replace(old, new))
    before = (street / "network.toml").read_text()
    with pytest.raises(ConfigurationError):
        introduce_validator(street, described)
    assert (street / "network.toml").read_text() == before


def test_two_on_one_machine_have_ports_of_their_own(tmp_path: Path) -> None:
    there = machine(founded(tmp_path / "street"), tmp_path / "there")
    peer, _ = made(there, host=HOSTS[0])
    network = load_network(there)
    ports = [other.p2p_port for other in network.peers if other.host == HOSTS[0]]
    assert len(ports) == len(set(ports)) == 3
    assert peer.p2p_port == max(ports)
