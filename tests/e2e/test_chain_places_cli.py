"""Places that nothing can be written to are told to the operator: they are no fault of daisee."""

from __future__ import annotations

import shutil
from pathlib import Path
from secrets import token_bytes

import pytest
from click.testing import CliRunner

from node.chain.network import reach
from node.chain.network.backup import back_up_network
from node.chain.network.layout import Plan, init_network
from node.chain.network.newcomers import PEER_FILE, make_validator
from node.cli.main import cli

PLAN = Plan("Rue des Lilas", "geth", 4_711, validators=1, rpc_nodes=1, light_keys=True)
INIT = ("init", "--engine", "geth", "--validators", "1", "--light-keys", "--out")


def told(*words: str) -> str:
    """What the command says when it ends as a setting that cannot be used does."""
    result = CliRunner().invoke(cli, ["chain", *words])
    assert result.exit_code == 3, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    return " ".join(result.output.split())


@pytest.fixture
def street(tmp_path: Path) -> Path:
    init_network(tmp_path / "street", PLAN, token_bytes)
    return tmp_path / "street"


@pytest.fixture
def occupied(tmp_path: Path) -> Path:
    """A place below a file."""
    (tmp_path / "file").write_text("mine\n")
    return tmp_path / "file" / "below"


def test_a_network_is_not_founded_where_nothing_can_be_written(occupied: Path) -> None:
    for place in (occupied, Path("/proc/street")):
        assert "cannot be read or written" in told(*INIT, str(place))
    assert "cannot be read or written" in told("up", "--local", str(occupied))
    assert occupied.parent.read_text() == "mine\n"


def test_a_backup_is_not_written_where_nothing_can_be(street: Path, occupied: Path) -> None:
    missing = street.parent / "nowhere" / "street.tar.gz"
    for place in (missing, occupied, Path("/proc/street.tar.gz")):
        assert "cannot be" in told("backup", str(street), str(place))
    assert not missing.parent.exists()


def test_a_backup_is_not_restored_where_nothing_can_be_written(
    street: Path, occupied: Path
) -> None:
    archive = street.parent / "street.tar.gz"
    back_up_network(street, archive)
    for place in (occupied, Path("/proc/street")):
        assert "cannot be" in told("restore", str(archive), str(place))


def test_machines_are_not_told_where_nothing_can_be_written(street: Path) -> None:
    there = street.parent / "there"
    there.mkdir()
    for name in ("network.toml", "genesis.json"):
        shutil.copy(street / name, there)
    newcomer, _ = make_validator(there, 2, "10.77.0.2", token_bytes, light=True)
    shutil.rmtree(street / "systemd")
    (street / "systemd").write_text("in the way\n")
    description = there / newcomer.folder / PEER_FILE
    assert "cannot be" in told("validator", "introduce", str(street), str(description))
    assert "cannot be" in told(
        "validator", "make", str(street), "3", "--host", "10.77.0.3", "--light-keys"
    )


def test_a_folder_of_another_user_is_told(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> reach.Reach:
        raise PermissionError(13, "Permission denied", str(street / "validators/01/data"))

    monkeypatch.setattr(reach, "_on_machines", closed)
    said = told("status", str(street))
    assert "validators/01/data" in said
    assert "sudo -u daisee-chain" in said
