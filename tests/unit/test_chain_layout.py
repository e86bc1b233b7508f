"""What an operator's commands write: keys for one, files for all, and nothing twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.chain.keystore import read_keystore
from node.chain.network import besu, geth
from node.chain.network.backup import back_up_network, restore_network
from node.chain.network.keeping import make_node_key
from node.chain.network.layout import (
    Plan,
    derived_files,
    init_network,
    operator_files,
    planned_files,
    planned_paths,
)
from node.chain.network.reach import Reach, reach_of, write_endpoints
from node.chain.network.record import Network, load_network, network_text
from node.chain.network.recover import restart_plan, restart_together
from node.chain.network.status import ALARMS, margin_words
from node.chain.network.units import unit_name, unit_text
from node.chain.network.votes import refuse_unsafe_removal, votes_needed
from node.errors import ConfigurationError, Refused
from tests.support.shared import CHECKOUT

HOSTS = ("10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.4")
PLAN = Plan("Rue des Lilas", "geth", 4_711, hosts=HOSTS, light_keys=True)


def drawn() -> Callable[[int], bytes]:
    """Secrets that differ, and are the same in each run."""
    numbers = iter(range(10_000))
    return lambda count: hashlib.sha256(next(numbers).to_bytes(8)).digest()[:count]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("engine", ["geth", "besu"])
def test_the_dry_run_names_exactly_the_files_that_are_written(tmp_path: Path, engine: str) -> None:
    plan = replace(PLAN, engine=engine)
    init_network(tmp_path, plan, drawn())
    assert {str(path) for path in planned_paths(plan)} == set(contents(tmp_path))


def test_secrets_are_their_owners_alone_and_in_no_other_file(tmp_path: Path) -> None:
    init_network(tmp_path, PLAN, drawn())
    secrets = {str(path) for path, secret in planned_paths(PLAN).items() if secret}
    words = set()
    for name, content in contents(tmp_path).items():
        mode = stat.S_IMODE((tmp_path / name).stat().st_mode)
        assert mode == (0o600 if name in secrets else 0o644), name
        if name in secrets and not name.endswith(".json"):
            words.add(content.decode().strip())
    assert len(words) == 1 + 4 + 4 + 2  # passwords of operator and validators, keys of six nodes
    for name in set(contents(tmp_path)) - secrets:
        text = (tmp_path / name).read_text()
        assert not [word for word in words if word in text], name
    for folder in ("operator", "validators/01", "validators/01/keystore"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


def test_each_key_is_a_keystore_of_the_address_that_the_chain_knows(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, PLAN, drawn())
    files = operator_files(tmp_path)
    key = read_keystore(files.keystore, files.password.read_text().strip())
    assert key.address.lower() == network.operator
    for peer in network.validators:
        folder = tmp_path / peer.folder
        password = (folder / "password").read_text().strip()
        assert read_keystore(folder / "keystore/key.json", password).address.lower() == peer.address
    assert json.loads(files.keystore.read_text())["version"] == 3


def test_keys_that_are_not_for_a_trial_cost_a_guesser_a_quarter_of_a_gigabyte(
    tmp_path: Path,
) -> None:
    plan = replace(PLAN, engine="besu", validators=1, hosts=(), light_keys=False)
    init_network(tmp_path, plan, drawn())
    keystore = json.loads(operator_files(tmp_path).keystore.read_text())
    assert keystore["crypto"]["kdfparams"]["n"] == 2**18


def test_a_validator_of_besu_seals_with_the_key_of_its_node(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, replace(PLAN, engine="besu"), drawn())
    assert len({peer.address for peer in network.validators}) == 4
    assert not (tmp_path / "validators/01/keystore").exists()


def test_again_changes_nothing(tmp_path: Path) -> None:
    init_network(tmp_path, PLAN, drawn())
    before = contents(tmp_path)
    _, written = init_network(tmp_path, PLAN, lambda _: pytest.fail("a secret was drawn again"))
    assert contents(tmp_path) == before
    assert {file.state for file in written} == {"there"}


def test_what_a_person_changed_is_kept_and_told(tmp_path: Path) -> None:
    init_network(tmp_path, PLAN, drawn())
    unit = tmp_path / "systemd/daisee-validator-01.service"
    unit.write_text("# mine\n")
    _, written = init_network(tmp_path, PLAN, drawn())
    assert unit.read_text() == "# mine\n"
    assert [str(file.path) for file in written if file.state == "kept"] == [
        "systemd/daisee-validator-01.service"
    ]


def test_a_machine_that_moved_is_told_to_all_others_when_asked_to(tmp_path: Path) -> None:
    init_network(tmp_path, PLAN, drawn())
    before = contents(tmp_path)
    file = tmp_path / "network.toml"
    file.write_text(file.read_text().replace("10.77.0.4", "10.77.0.44"))
    init_network(tmp_path, PLAN, drawn(), rewrite=True)
    after = contents(tmp_path)
    assert b"10.77.0.44:30303" in after["validators/01/config.toml"]
    changed = {name for name in before if after[name] != before[name]}
    configs = {f"validators/{number:02d}/config.toml" for number in (1, 2, 3, 4)}
    assert changed == configs | {"network.toml", "rpc/01/config.toml", "rpc/02/config.toml"}


@pytest.mark.parametrize("cut_after", range(0, 11, 2))
def test_a_power_cut_while_keys_are_made_is_made_good(tmp_path: Path, cut_after: int) -> None:
    source = drawn()
    left = cut_after

    def failing(count: int) -> bytes:
        nonlocal left
        if left == 0:
            raise OSError("the power fails")
        left -= 1
        return source(count)

    with pytest.raises(OSError, match="power"):
        init_network(tmp_path, PLAN, failing)
    before = contents(tmp_path)
    network, _ = init_network(tmp_path, PLAN, source)
    after = contents(tmp_path)
    assert before == {name: after[name] for name in before}
    assert load_network(tmp_path) == network


@pytest.mark.parametrize("cut_after", range(0, 26, 3))
def test_a_power_cut_between_any_two_files_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_after: int
) -> None:
    left, replaced = cut_after, Path.replace

    def failing(part: Path, target: Path) -> Path:
        nonlocal left
        if left == 0:
            raise OSError("the power fails")
        left -= 1
        return replaced(part, target)

    source = drawn()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", failing)
        with pytest.raises(OSError, match="power"):
            init_network(tmp_path, PLAN, source)
    before = {name: text for name, text in contents(tmp_path).items() if ".part" not in name}
    # Who founded it is known when network.toml is there, and all of its keys are there by then.
    if "network.toml" in before:
        known = load_network(tmp_path)
        again = init_network(tmp_path, PLAN, lambda _: pytest.fail("a secret was drawn again"))
        assert again[0] == known
    else:
        init_network(tmp_path, PLAN, source)
    after = contents(tmp_path)
    assert before == {name: after[name] for name in before}
    _, written = init_network(tmp_path, PLAN, lambda _: pytest.fail("a secret was drawn again"))
    assert {file.state for file in written} == {"there"}


def test_keys_that_went_to_their_machines_are_not_made_again(tmp_path: Path) -> None:
    init_network(tmp_path, PLAN, drawn())
    gone = ["operator", "validators/03", "rpc/01/nodekey"]
    for place in gone[:2]:
        shutil.rmtree(tmp_path / place)
    (tmp_path / gone[2]).unlink()
    # Their machine's new address is told to everybody, as the handbook says.
    file = tmp_path / "network.toml"
    file.write_text(file.read_text().replace("10.77.0.3", "10.77.0.33"))
    before = {name for name in contents(tmp_path) if not name.startswith("validators/03")}
    _, written = init_network(
        tmp_path, PLAN, lambda _: pytest.fail("a secret was drawn"), rewrite=True
    )
    elsewhere = {str(file.path) for file in written if file.state == "elsewhere"}
    assert elsewhere == {
        *("operator/keystore.json", "operator/password", "rpc/01/nodekey"),
        *(f"validators/03/{name}" for name in ("nodekey", "keystore/key.json", "password")),
    }
    assert set(contents(tmp_path)) == before | {"validators/03/config.toml"}
    assert [state.state for state in planned_files(tmp_path, PLAN) if state.secret].count(
        "elsewhere"
    ) == len(elsewhere)


@pytest.mark.parametrize(
    ("engine", "place", "complaint"),
    [
        ("geth", "operator", "another operator"),
        ("geth", "validators/03/keystore", "another validator-03"),
        ("geth", "validators/03/nodekey", "another validator-03"),
        ("besu", "validators/03/nodekey", "another validator-03"),
        ("geth", "rpc/01/nodekey", "another rpc-01"),
    ],
)
def test_other_keys_than_those_of_the_founding_are_told(
    tmp_path: Path, engine: str, place: str, complaint: str
) -> None:
    plan, source = replace(PLAN, engine=engine), drawn()
    init_network(tmp_path / "street", plan, source)
    init_network(tmp_path / "other", plan, source)
    there, other = tmp_path / "street" / place, tmp_path / "other" / place
    if there.is_dir():
        shutil.rmtree(there)
        shutil.copytree(other, there)
    else:
        shutil.copy(other, there)
    before = contents(tmp_path / "street")
    with pytest.raises(ConfigurationError, match=complaint):
        init_network(tmp_path / "street", plan, drawn(), rewrite=True)
    assert contents(tmp_path / "street") == before


@pytest.mark.parametrize("engine", ["geth", "besu"])
def test_the_first_block_is_never_written_anew(tmp_path: Path, engine: str) -> None:
    plan = replace(PLAN, engine=engine)
    init_network(tmp_path, plan, drawn())
    genesis, file = tmp_path / "genesis.json", tmp_path / "network.toml"
    genesis.write_text(json.dumps(json.loads(genesis.read_text())))  # another hand wrote the same
    first_block = genesis.read_bytes()
    _, written = init_network(tmp_path, plan, drawn(), rewrite=True)
    assert [file.state for file in written if file.path.name == "genesis.json"] == ["kept"]
    # Nor for a founder that somebody took out by hand.
    network = load_network(tmp_path)
    left = tuple(peer for peer in network.peers if peer.name != "validator-04")
    file.write_text(network_text(replace(network, peers=left)))
    before = contents(tmp_path)
    with pytest.raises(ConfigurationError, match="made for other founders") as caught:
        init_network(tmp_path, replace(plan, validators=3, hosts=HOSTS[:3]), drawn(), rewrite=True)
    assert "daisee chain validator forget" in caught.value.next_step
    assert contents(tmp_path) == before
    assert genesis.read_bytes() == first_block
    file.write_text(network_text(network))
    for nonsense in ("[]", "{", '{"extraData": 1}', '{"extraData": "0x"}'):
        genesis.write_text(nonsense)
        with pytest.raises(ConfigurationError, match="no first block"):
            init_network(tmp_path, plan, drawn(), rewrite=True)


def test_a_first_block_whose_network_is_not_known_is_not_founded_again(tmp_path: Path) -> None:
    init_network(tmp_path, PLAN, drawn())
    (tmp_path / "network.toml").unlink()
    before = contents(tmp_path)
    with pytest.raises(ConfigurationError, match="founded already"):
        init_network(tmp_path, PLAN, lambda _: pytest.fail("a secret was drawn"))
    assert contents(tmp_path) == before


def test_a_folder_of_another_network_is_left_alone(tmp_path: Path) -> None:
    init_network(tmp_path, PLAN, drawn())
    before = contents(tmp_path)
    for other in (
        replace(PLAN, chain_id=4_712),
        replace(PLAN, validators=7, hosts=()),
        replace(PLAN, engine="besu"),
    ):
        with pytest.raises(ConfigurationError, match="holds Rue des Lilas"):
            init_network(tmp_path, other, drawn())
    assert contents(tmp_path) == before


def test_a_keystore_without_its_password_is_told_not_replaced(tmp_path: Path) -> None:
    init_network(tmp_path, PLAN, drawn())
    (tmp_path / "validators/02/password").unlink()
    with pytest.raises(ConfigurationError, match="its password is not"):
        init_network(tmp_path, PLAN, drawn())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"hosts": HOSTS[:3]}, "3 hosts for 4 validators"),
        ({"hosts": (*HOSTS[:3], "house.example")}, "is no address"),
        ({"validators": 0, "hosts": ()}, "0 validators"),
        ({"validators": 22, "hosts": ()}, "22 validators"),
        ({"rpc_nodes": 0}, "0 nodes for members"),
        ({"engine": "parity"}, "geth or besu"),
        ({"name": 'Rue "x"'}, "cannot be used"),
        ({"name": "Rue \\"}, "cannot be used"),
        ({"name": "Rue\nUser=root"}, "cannot be used"),
        ({"name": "Rue\u2028"}, "cannot be used"),
        ({"name": "x" * 90}, "1 to 80"),
        ({"chain_id": -1}, "chain_id"),
        ({"period_s": 0}, "period_s"),
        ({"hosts": ("224.0.0.1", *HOSTS[1:])}, "is no address"),
        ({"hosts": ("fe80::1%eth0", *HOSTS[1:])}, "is no address"),
        ({"validators": 8, "hosts": ()}, "Clique may have 7"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        replace(PLAN, **change)


def test_the_network_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, PLAN, drawn())
    assert load_network(tmp_path) == network


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('engine = "geth"', 'engine = "parity"'),
        ("chain_id = 4711", "chain_id = 0"),
        ("[[peers]]", "[[nodes]]"),
        ('kind = "validator"', 'kind = "miner"'),
        ('host = "10.77.0.1"', 'host = "10.77.0.1; rm"'),
        ("p2p_port = 30303", "p2p_port = 70000"),
        ("p2p_port = 30303", "p2p_port = 0"),
        ("rpc_port = 8545", "rpc_port = 0"),
        ('host = "10.77.0.1"', 'host = "house.example"'),
        ('host = "10.77.0.1"', 'host = "10.77.0.2"'),
        ("number = 2", "number = 1"),
        ('kind = "rpc"', 'kind = "rpc"\nremoved = 1'),
    ],
)
def test_a_network_file_that_makes_no_sense_is_refused(tmp_path: Path, old: str, new: str) -> None:
    network, _ = init_network(tmp_path, PLAN, drawn())
    text = network_text(network)
    assert old in text
    (tmp_path / "network.toml").write_text(text.replace(old, new))
    with pytest.raises(ConfigurationError, match=r"network\.toml: this is no network"):
        load_network(tmp_path)


# What runs


def commands(network: Network) -> dict[str, list[str]]:
    """Each node's command line, as its unit has it."""
    return {
        peer.name: shlex.split(
            re.findall(r"^ExecStart=(.*)$", unit_text(network, peer), re.MULTILINE)[0]
        )
        for peer in network.peers
    }


def test_no_key_is_open_behind_a_server(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, PLAN, drawn())
    for name, command in commands(network).items():
        assert ("--unlock" in command) != ("--http" in command), name
        assert ("--unlock" in command) == name.startswith("validator")
        assert "--allow-insecure-unlock" not in command
        assert "--ws" not in command
        assert "--rpc.enabledeprecatedpersonal" not in command
        if "--http" in command:
            assert command[command.index("--http.api") + 1] == "eth,net,web3"
            assert command[command.index("--http.addr") + 1] == "127.0.0.1"
            assert "--keystore" not in command
        assert command[command.index("--authrpc.addr") + 1] == "127.0.0.1"


def test_every_state_is_written_and_only_agreed_peers_are_known(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, PLAN, drawn())
    for command in commands(network).values():
        assert command[command.index("--gcmode") + 1] == "archive"
        assert "--nodiscover" in command
    for peer in network.peers:
        settings = tomllib.loads((tmp_path / peer.folder / "config.toml").read_text())
        known = settings["Node"]["P2P"]
        others = [other.enode for other in network.peers if other != peer]
        assert known["StaticNodes"] == known["TrustedNodes"] == others
        assert known["NetRestrict"] == [f"{host}/32" for host in HOSTS]


def test_besu_is_run_as_documented(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, replace(PLAN, engine="besu"), drawn())
    lines = commands(network)
    validator, members = lines["validator-02"], lines["rpc-01"]
    assert validator[0] == "/opt/besu/bin/besu"
    for option in (
        "--node-private-key-file=/var/lib/daisee-chain/validators/02/nodekey",
        "--static-nodes-file=/var/lib/daisee-chain/validators/02/static-nodes.json",
        "--permissions-nodes-config-file=/var/lib/daisee-chain/validators/02/permissions.toml",
        "--permissions-nodes-config-file-enabled",
        "--discovery-enabled=false",
        "--min-gas-price=0",
        "--rpc-http-host=127.0.0.1",
        "--rpc-http-api=ETH,NET,WEB3,QBFT",
    ):
        assert option in validator
    assert "--rpc-http-api=ETH,NET,WEB3" in members
    folder = tmp_path / "validators/02"
    enodes = [peer.enode for peer in network.peers]
    own = network.peer(2).enode
    assert json.loads((folder / "static-nodes.json").read_text()) == [
        enode for enode in enodes if enode != own
    ]
    permissions = tomllib.loads((folder / "permissions.toml").read_text())
    assert permissions == {"nodes-allowlist": enodes}


def test_on_machines_of_their_own_all_use_the_same_ports_and_on_one_machine_none(
    tmp_path: Path,
) -> None:
    spread, _ = init_network(tmp_path / "spread", PLAN, drawn())
    assert {peer.p2p_port for peer in spread.validators} == {30_303}
    assert [peer.host for peer in spread.rpc_nodes] == list(HOSTS[:2])
    places = [(peer.host, peer.p2p_port) for peer in spread.peers]
    assert len(set(places)) == len(places)
    alone, _ = init_network(tmp_path / "alone", replace(PLAN, hosts=()), drawn())
    ports = [peer.p2p_port for peer in alone.peers]
    ports += [peer.rpc_port for peer in alone.peers if peer.rpc_port]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("engine", ["geth", "besu"])
@pytest.mark.parametrize(
    "change",
    [
        {"hosts": ("10.77.0.1",) * 4},
        {"hosts": HOSTS, "rpc_nodes": 6},
        {"hosts": HOSTS[:1], "validators": 1},
        {"hosts": ("::1",), "validators": 1},
        {"hosts": ()},
    ],
)
def test_no_two_servers_of_one_machine_share_a_port_however_many_it_has(
    tmp_path: Path, engine: str, change: dict[str, Any]
) -> None:
    plan = replace(PLAN, engine=engine, **change)
    network, _ = init_network(tmp_path, plan, drawn())
    places = [
        (peer.host, port)
        for peer in network.peers
        for port in (peer.p2p_port, peer.rpc_port)
        if port
    ]
    assert len(set(places)) == len(places)
    # What was written is a network for the next command too.
    assert init_network(tmp_path, plan, drawn())[0] == network


def test_a_units_description_says_the_name_as_it_is(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, replace(PLAN, name="Rue 100%n"), drawn())
    assert "of Rue 100%%n\n" in unit_text(network, network.peers[0])


def test_the_compose_file_starts_each_node_with_the_same_options(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, PLAN, drawn())
    text = (tmp_path / "compose.yaml").read_text()
    for peer in network.peers:
        assert f"  {peer.name}:\n" in text
        assert f"./{peer.folder}:/chain/{peer.folder}\n" in text
    assert text.count("--gcmode archive") == len(network.peers)
    assert text.count("--unlock") == len(network.validators)


def test_programs_are_found_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin/besu"
    program.parent.mkdir()
    program.touch()
    monkeypatch.setenv("BESU_HOME", str(tmp_path))
    assert besu.find_besu() == program
    monkeypatch.setenv("DAISEE_GETH", str(program))
    assert geth.find_geth() == program
    monkeypatch.setenv("DAISEE_GETH", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="DAISEE_GETH names"):
        geth.find_geth()
    monkeypatch.setenv("BESU_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="BESU_HOME is"):
        besu.find_besu()


# Words and rules


@pytest.mark.parametrize(
    ("total", "margin", "words"),
    [
        (4, 1, "two more failures stop the chain"),
        (4, 0, "one more failure stops the chain"),
        (7, 2, "three more failures stop the chain"),
        (21, 7, "8 more failures stop the chain"),
    ],
)
def test_the_margin_in_words(total: int, margin: int, words: str) -> None:
    assert margin_words(total, 3, margin, stopped=False) == words


def test_a_stopped_chain_has_no_margin_but_a_next_step() -> None:
    words = margin_words(4, 3, 1, stopped=True)
    assert "3 of 4 validators must work together" in words
    assert "daisee chain recover" in words


def test_every_alarm_has_its_page_in_the_runbook() -> None:
    text = (CHECKOUT / "docs/operators.md").read_text()
    pages = re.findall(r"^### `([a-z-]+)`", text, re.MULTILINE)
    assert sorted(pages) == sorted(ALARMS)


def test_nobody_is_voted_out_when_the_chain_would_stop(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, PLAN, drawn())
    now = [peer.address for peer in network.validators]
    refuse_unsafe_removal(network, now[3], now, now)
    refuse_unsafe_removal(network, now[3], now, now[:3])  # the silent one is the one to go
    with pytest.raises(Refused, match="2 must work, and 1 do"):
        refuse_unsafe_removal(network, now[0], now, now[:2])
    with pytest.raises(Refused, match="does not validate"):
        refuse_unsafe_removal(network, network.operator, now, now)
    with pytest.raises(Refused):
        refuse_unsafe_removal(network, now[0], now[:1], now[:1])
    assert [votes_needed(count) for count in (1, 3, 4, 7)] == [1, 2, 3, 4]


def test_a_restart_stops_all_before_it_starts_any_also_on_other_machines(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, replace(PLAN, hosts=("127.0.0.1", *HOSTS[1:])), drawn())
    lines = restart_plan(tmp_path, network, Reach({}, {})).lines()
    assert lines[0] == "sudo systemctl stop daisee-validator-01.service"
    assert lines[1] == (
        "ssh -o BatchMode=yes 10.77.0.2 sudo systemctl stop daisee-validator-02.service"
    )
    assert [" stop " in line for line in lines] == [True] * 4 + [False] * 4
    assert restart_plan(tmp_path, network, Reach({}, {}, 77)).lines() == ["kill -HUP 77"]


def test_a_trial_tells_other_programs_where_it_is_asked_while_it_lives(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, PLAN, drawn())
    assert reach_of(tmp_path, network) == Reach({}, {}, None)
    (tmp_path / "run").mkdir()
    own: dict[str, Path | str] = {"validator-01": tmp_path / "run/validator-01.ipc"}
    members = {"rpc-01": "http://127.0.0.1:1"}
    with write_endpoints(tmp_path, own, members, supervisor=1):
        assert reach_of(tmp_path, network) == Reach(own, members, 1)
        # Whoever looked has left it locked.
        assert reach_of(tmp_path, network) == Reach(own, members, 1)
    assert reach_of(tmp_path, network) == Reach({}, {}, None, trial_ended=True)


HOLDS = """\
import sys, time
from pathlib import Path
from node.chain.network.reach import write_endpoints
held = write_endpoints(Path(sys.argv[1]), {}, {}, supervisor=int(sys.argv[2]))
print("held", flush=True)
time.sleep(600)
"""


def test_a_trial_that_was_killed_gives_no_process_that_is_told_to_restart(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, PLAN, drawn())
    (tmp_path / "run").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path), "77"], stdout=subprocess.PIPE
    ) as trial:
        try:
            assert trial.stdout is not None
            assert trial.stdout.readline() == b"held\n"
            assert reach_of(tmp_path, network).supervisor == 77
        finally:
            trial.kill()
    reach = reach_of(tmp_path, network)
    assert (reach.supervisor, reach.trial_ended) == (None, True)
    # Nor units of the same names, which are another network's.
    with pytest.raises(Refused, match="trial of Rue des Lilas has ended"):
        restart_plan(tmp_path, network, reach)


def test_a_trial_that_ends_while_a_person_is_asked_is_not_signalled(tmp_path: Path) -> None:
    network, _ = init_network(tmp_path, PLAN, drawn())
    (tmp_path / "run").mkdir()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as bystander:
        try:
            with write_endpoints(tmp_path, {}, {}, supervisor=bystander.pid):
                plan = restart_plan(tmp_path, network, reach_of(tmp_path, network))
            assert plan.lines() == [f"kill -HUP {bystander.pid}"]
            with pytest.raises(Refused, match="has ended"):
                asyncio.run(restart_together(plan))
            assert bystander.poll() is None
        finally:
            bystander.kill()


# Backups


def test_a_backup_gives_back_every_file_and_its_rights(tmp_path: Path) -> None:
    folder, file = tmp_path / "street", tmp_path / "backup.tar.gz"
    network, _ = init_network(folder, PLAN, drawn())
    (folder / "run").mkdir()
    (folder / "run/left.out").write_text("a trial's own")
    (folder / "validators/01/data").mkdir()
    (folder / "validators/01/data/chain").write_text("fetched from peers")
    back_up_network(folder, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    restored, blocks = restore_network(file, tmp_path / "again")
    assert (restored, blocks) == (network, None)
    kept = {name: text for name, text in contents(folder).items() if "data" not in name}
    del kept["run/left.out"]
    assert contents(tmp_path / "again") == kept
    for name in kept:
        assert (tmp_path / "again" / name).stat().st_mode == (folder / name).stat().st_mode, name


def test_a_backup_overwrites_nothing_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    init_network(tmp_path / "street", PLAN, drawn())
    file = tmp_path / "backup.tar.gz"
    back_up_network(tmp_path / "street", file)
    with pytest.raises(ConfigurationError, match="overwrites none"):
        back_up_network(tmp_path / "street", file)
    with pytest.raises(Refused, match="not empty"):
        restore_network(file, tmp_path / "street")
    with pytest.raises(ConfigurationError):
        back_up_network(tmp_path / "nowhere", tmp_path / "other.tar.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar.gz", "street"]


@pytest.mark.parametrize("part", [10, 3, 2])
def test_a_cut_backup_is_refused(tmp_path: Path, part: int) -> None:
    init_network(tmp_path / "street", PLAN, drawn())
    file = tmp_path / "backup.tar.gz"
    back_up_network(tmp_path / "street", file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // part])
    with pytest.raises(ConfigurationError, match=r"cannot be read|no backup"):
        restore_network(file, tmp_path / "again")


def test_an_archive_that_is_no_backup_writes_nothing_outside(tmp_path: Path) -> None:
    evil = tmp_path / "evil.tar.gz"
    (tmp_path / "note").write_text("x")
    with tarfile.open(evil, "w:gz") as archive:
        archive.add(tmp_path / "note", arcname="manifest.json")
        archive.add(tmp_path / "note", arcname="network.toml")
        archive.add(tmp_path / "note", arcname="../../escaped")
    with pytest.raises(ConfigurationError):
        restore_network(evil, tmp_path / "deep/again")
    assert not (tmp_path / "escaped").exists()


def test_a_node_key_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "nodekey"
    path.write_text("not hexadecimal")
    with pytest.raises(ConfigurationError, match="no node key"):
        make_node_key(path, drawn())


def test_units_of_all_nodes_are_written_for_the_engine_that_runs(tmp_path: Path) -> None:
    for engine, timers in (("geth", 2), ("besu", 0)):
        network, _ = init_network(tmp_path / engine, replace(PLAN, engine=engine), drawn())
        names = {path.name for path in derived_files(network) if path.parts[0] == "systemd"}
        assert {unit_name(peer) for peer in network.peers} <= names
        assert len(names) == len(network.peers) + timers
