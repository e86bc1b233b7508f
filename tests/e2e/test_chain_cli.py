"""``daisee chain`` as an operator types it, from nothing to a market, and to what goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from node.chain.network.asking import ask
from node.chain.network.reach import reach_of
from node.chain.network.record import CLIQUE_FINAL_AFTER_BLOCKS, load_network
from node.clock import wall_seconds
from tests.support.needs import need_geth
from tests.support.node_process import pause

UP_WITHIN_S: Final = 60.0
INIT: Final = ("init", "--engine", "geth", "--light-keys", "--name", "Rue des Lilas")


def daisee(*words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``daisee chain`` to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "node.cli.main", "chain", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=180,
        check=False,
    )
    assert done.returncode == expect, done.stderr + done.stdout
    return done


def document(*words: str, expect: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(daisee(*words, "--json", expect=expect).stdout)
    return found


@contextmanager
def trial(folder: Path) -> Iterator[dict[str, Any]]:
    """``daisee chain up --local`` until the block ends; what it says once it is ready."""
    need_geth()
    said = folder.with_suffix(".json")
    with said.open("w") as out, folder.with_suffix(".err").open("w") as err:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "node.cli.main",
                "chain",
                "up",
                "--local",
                str(folder),
                "--json",
            ],
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
        )
    try:
        deadline_s = wall_seconds() + UP_WITHIN_S
        while not said.read_text() and process.poll() is None and wall_seconds() < deadline_s:
            pause(0.2)
        assert said.read_text(), folder.with_suffix(".err").read_text()
        yield json.loads(said.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_dry_run_writes_nothing_and_names_what_init_writes(tmp_path: Path) -> None:
    folder = tmp_path / "street"
    planned = document(*INIT, "--out", str(folder), "--dry-run")
    assert not folder.exists()
    written = document(*INIT, "--out", str(folder))
    assert {file["path"] for file in planned["files"]} == {
        file["path"] for file in written["files"]
    }
    assert {file["state"] for file in written["files"]} == {"made"}
    again = document(*INIT, "--out", str(folder))
    assert again["chain_id"] == written["chain_id"]
    assert again["validators"] == written["validators"]
    assert {file["state"] for file in again["files"]} == {"there"}
    assert (
        "holds Rue des Lilas"
        in daisee(*INIT, "--out", str(folder), "--period", "7", expect=3).stderr
    )


def test_two_validators_on_one_machine_are_said_to_fail_together(tmp_path: Path) -> None:
    hosts = [word for last in (1, 2, 3, 3) for word in ("--host", f"10.77.0.{last}")]
    said = daisee(*INIT, *hosts, "--out", str(tmp_path / "street")).stdout
    assert "2 validators stand on 10.77.0.3" in said
    assert "10.77.0.1:" not in said


def test_no_secret_is_ever_printed(tmp_path: Path) -> None:
    folder = tmp_path / "street"
    first = daisee(*INIT, "--out", str(folder))
    second = daisee(*INIT, "--out", str(folder), "--json")
    said = first.stdout + first.stderr + second.stdout + second.stderr
    secrets = [*folder.rglob("password"), *folder.rglob("nodekey")]
    assert len(secrets) == 11
    for path in secrets:
        assert path.read_text().strip() not in said


def test_what_needs_a_running_network_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "street"
    assert "daisee chain init" in daisee("status", str(folder), expect=3).stderr
    daisee(*INIT, "--out", str(folder))
    assert "no node of Rue des Lilas answers" in daisee("status", str(folder), expect=5).stderr
    assert "say --rpc" in daisee("deploy", str(folder), "--yes", expect=5).stderr
    assert (
        "no validator can be asked"
        in daisee("validator", "add", str(folder), "0x" + "ab" * 20, "--yes", expect=5).stderr
    )
    assert "say --yes" in daisee("recover", str(folder), expect=2).stderr
    commands = document("recover", str(folder), "--dry-run")["commands"]
    assert commands[0] == "sudo systemctl stop daisee-validator-01.service"
    assert "Say --local" in daisee("up", str(folder), expect=2).stderr


def test_recover_leaves_alone_whom_a_trial_that_was_killed_had_named(tmp_path: Path) -> None:
    folder = tmp_path / "street"
    daisee(*INIT, "--out", str(folder))
    (folder / "run").mkdir()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as bystander:
        try:
            said = {"supervisor": bystander.pid, "endpoints": {}, "members": {}}
            (folder / "run/endpoints.json").write_text(json.dumps(said))
            for words in (("--yes",), ("--dry-run",), ("--if-stuck", "--yes")):
                refused = daisee("recover", str(folder), *words, expect=6)
                assert "the trial of Rue des Lilas has ended" in refused.stderr
                assert "systemctl" not in refused.stdout
            assert bystander.poll() is None
        finally:
            bystander.kill()


@pytest.mark.network
def test_from_nothing_to_a_market_and_through_an_operators_day(tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    with trial(folder) as up:
        assert up["first_block_ms"] <= up["ready_ms"] <= 1_000 * UP_WITHIN_S
        community = tomllib.loads((folder / "community.toml").read_text())
        assert community["contracts"]["EnergyMarket"] == up["market"]
        assert community["rpc_urls"] == up["rpc_urls"]

        found = document("status", str(folder))
        assert (found["sealing"], found["needed"], found["alarms"]) == (4, 3, [])
        assert "two more failures stop the chain" in daisee("status", str(folder)).stdout

        # Said again, deploy only checks.
        assert document("deploy", str(folder))["deployed"] is False

        os.kill(up["validators"]["validator-02"], signal.SIGKILL)
        away = document("status", str(folder), expect=7)
        assert ("node-away", "validator-02") in {
            (alarm["name"], alarm["of"]) for alarm in away["alarms"]
        }
        before = processes(folder)
        recovered = document("recover", str(folder), "--yes")
        # One away of four: the chain was well, which it says, and it went on with new processes.
        assert (recovered["stood"], recovered["freed"]) == (False, False)
        # Its block is new, and may stand in the place of one that was not final.
        assert recovered["height"] > away["height"] - CLIQUE_FINAL_AFTER_BLOCKS
        assert set(before.values()).isdisjoint(processes(folder).values())
        deadline_s = wall_seconds() + UP_WITHIN_S
        while wall_seconds() < deadline_s:
            nodes = document_of_any_code("status", str(folder))["nodes"]
            if all(node["height"] is not None for node in nodes):
                break
            pause(1)
        else:
            pytest.fail("validator-02 did not come back")

        vote_out_the_fourth(folder)

        saved = document("backup", str(folder), str(tmp_path / "trial.tar.gz"))
        assert "operator/keystore.json" in saved["files"]
        restored = document("restore", str(tmp_path / "trial.tar.gz"), str(tmp_path / "again"))
        assert restored["chain_id"] == up["chain_id"]

    # The next day the same chain goes on, with the same market.
    with trial(folder) as again:
        assert again["market"] == up["market"]
        assert document_of_any_code("status", str(folder))["height"] > found["height"]


def vote_out_the_fourth(folder: Path) -> None:
    """It is out for good, and nobody goes on voting about it, so it could come back."""
    vote = document("validator", "remove", str(folder), "4", "--dry-run")
    assert (vote["votes"], vote["votes_needed"], vote["done"]) == (0, 3, False)
    assert document("validator", "remove", str(folder), "4", "--yes")["done"] is True
    assert standing_votes(folder) == {f"validator-{number:02d}": {} for number in range(1, 5)}
    assert document("status", str(folder))["needed"] == 2
    said = daisee("validator", "forget", str(folder), "4", "--dry-run").stderr
    assert "Takes validator-04 from the peers of 5 nodes" in said


def standing_votes(folder: Path) -> dict[str, dict[str, bool]]:
    """What each validator goes on voting for in the blocks that it seals."""
    own = reach_of(folder, load_network(folder)).own
    return {
        name: asyncio.run(ask(place, "clique_proposals"))
        for name, place in own.items()
        if name.startswith("validator")
    }


def processes(folder: Path) -> dict[str, str]:
    """The validators' processes, as a trial notes them."""
    return {path.stem: path.read_text() for path in (folder / "run").glob("validator-*.pid")}


def document_of_any_code(*words: str) -> dict[str, Any]:
    """What a status says, with alarms or without."""
    done = subprocess.run(
        [sys.executable, "-m", "node.cli.main", "chain", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode in (0, 7), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
