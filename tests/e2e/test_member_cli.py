"""After a household has joined: suspended, given another key; and what stays secret."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account

from node.chain.community import save_community
from node.chain.http import http_rpc
from node.chain.json_rpc import block_query
from node.chain.keyfiles import open_key
from node.config import load_config
from node.service.market import HouseholdKey
from tests.support.invited import everything_in
from tests.support.joined import (
    OPERATOR,
    PASSWORD,
    Street,
)
from tests.support.joining import (
    LIMITS,
    METER,
    Home,
    invited,
    refused,
    trades_within_a_block,
    written,
)
from tests.support.node_process import pause
from tests.support.shared import CHECKOUT

pytestmark = pytest.mark.usefixtures("light_keys")


# Afterwards


def test_suspended_reinstated_revoked_and_given_another_key(home: Home) -> None:
    at = home.at
    number = str(home.approved("--credit", "5")["household"])
    at.document("join", *home.options)
    old = open_key(home.keys.signer)

    def standing(verb: str) -> tuple[bool, str]:
        document = at.document("member", verb, number, "--yes", *at.network)
        return bool(document["changed"]), str(document["member"]["standing"])

    assert standing("suspend") == (True, "suspended")
    assert standing("suspend") == (False, "suspended")
    assert standing("reinstate") == (True, "good")
    assert standing("revoke") == (True, "no_signer")

    rotation = ("key", "rotate", "--config", str(home.config))
    assert at.say(*rotation).exit_code == 2
    assert at.document(*rotation, "--dry-run")["changed"] is False
    assert open_key(home.keys.signer).address == old.address
    rotated = at.document(*rotation, "--yes")
    new = open_key(home.keys.signer)
    assert rotated["signer"] == new.address != old.address
    shown = at.document("key", "show", "--config", str(home.config))
    assert shown["signer"] == new.address.lower()
    asyncio.run(trades_within_a_block(home, int(number)))


def test_a_rotation_goes_on_where_it_was_interrupted(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the chain knows the new key, and before the node's file has it."""
    at = home.at
    home.approved()
    at.document("join", *home.options)
    rotation = ("key", "rotate", "--config", str(home.config), "--yes")
    with monkeypatch.context() as crash:
        crash.setattr("node.chain.keyfiles.put_in_place", lambda *_: sys.exit(70))
        assert at.say(*rotation).exit_code == 70
    old = open_key(home.keys.signer)
    rotated = at.document(*rotation)
    assert open_key(home.keys.signer).address == rotated["signer"] != old.address
    number = load_config(home.config, {}).household.number
    asyncio.run(trades_within_a_block(home, number))


def test_a_machine_that_was_lost_is_replaced_with_the_owners_key(home: Home) -> None:
    at = home.at
    home.approved()
    at.document("join", *home.options)
    home.keys.signer.keystore.unlink()
    at.document("key", "rotate", "--config", str(home.config), "--yes")
    number = load_config(home.config, {}).household.number
    asyncio.run(trades_within_a_block(home, number))


def test_a_running_node_takes_the_new_key_up(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    at = home.at
    home.approved()
    at.document("join", *home.options)
    config = load_config(home.config, {})
    pen = HouseholdKey(config, {})
    before = pen.open().address
    at.document("key", "rotate", "--config", str(home.config), "--yes")
    with caplog.at_level(logging.INFO):
        pen.refresh()
    new = open_key(home.keys.signer).address
    assert pen.open().address == new != before
    assert "key_changed" in caplog.text
    home.keys.signer.keystore.write_text("half a file")
    pen.refresh()  # told, and the key that is known stays in use
    assert pen.open().address == new
    assert "key_not_read" in caplog.text


def test_another_owners_key_rotates_nothing(home: Home, tmp_path: Path) -> None:
    at = home.at
    home.approved()
    at.document("join", *home.options)
    stranger = tmp_path / "stranger.json"
    stranger.write_text(json.dumps(Account.encrypt(b"\x66" * 32, "x", iterations=2)))
    password = tmp_path / "stranger-password"
    password.write_text("x\n")
    for secret in (stranger, password):
        secret.chmod(0o600)
    rotation = ("key", "rotate", "--config", str(home.config), "--yes")
    owner = ("--owner-keystore", str(stranger), "--owner-password-file", str(password))
    assert "does not own this household" in refused(at, *rotation, *owner)


def on_a_terminal(answer: bytes, *words: str) -> tuple[int, str]:
    """Run a command as a person does, and type an answer once it asks; its exit code and all that
    was on the screen."""
    screen, line = pty.openpty()
    command = [sys.executable, "-m", "node.cli.main", *words]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=line, stdout=line, stderr=line) as process:
        os.close(line)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(screen, 4_096)
        os.write(screen, answer)
        with suppress(OSError):  # how a terminal says that nobody writes to it any more
            while more := os.read(screen, 4_096):
                shown += more
        process.wait(60)
    os.close(screen)
    return process.returncode, shown.decode()


def test_a_person_is_asked_once_and_can_say_no(home: Home) -> None:
    at, number = home.at, str(home.approved()["household"])
    suspension = ("member", "suspend", number, *at.network)
    code, shown = on_a_terminal(b"n\n", *suspension)
    assert code == 130
    assert f"Suspend household {number}" in shown
    members = at.document("member", "list", *at.network)["members"]
    assert members[int(number) - 1]["standing"] == "good"
    code, shown = on_a_terminal(b"y\n", *suspension)
    assert code == 0
    assert shown.count("[y/N]") == 1
    members = at.document("member", "list", *at.network)["members"]
    assert members[int(number) - 1]["standing"] == "suspended"


# Secrets


def test_no_key_password_or_secret_leaves_its_file(
    lilas: Street, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every output, log line and file of a whole life, and the arguments and the environment of the
    processes that lived it; on the chain there is nothing but what these wrote."""
    (tmp_path / "home").mkdir()
    home = Home(lilas, tmp_path / "home")
    home.config.write_text(METER)
    invite = tmp_path / "anne.invite"
    commands = [
        ("member", "invite", "--name", "CanaryName", "--out", str(invite), *lilas.network),
        ("join", str(invite), *home.options, "--yes"),
    ]
    said = ""
    with caplog.at_level(logging.DEBUG):
        for words in commands:
            result = lilas.say(*words)
            assert result.exit_code == 0, result.stderr
            said += result.output if words[0] == "join" else result.stderr
        words_read = next(line for line in said.splitlines() if "Read these" in line).split(":")[1]
        for more in (
            ("member", "approve", str(home.request), "--fingerprint", words_read, *LIMITS, "--yes"),
            ("member", "list"),
        ):
            result = lilas.say(*more, *lilas.network)
            assert result.exit_code == 0, result.stderr
            said += result.output
        rotation = ("key", "rotate", "--config", str(home.config), "--yes")
        for afterwards in (("join", *home.options), rotation):
            result = lilas.say(*afterwards)
            assert result.exit_code == 0, result.stderr
            said += result.output
    said += caplog.text
    passwords = [
        files.password.read_text().strip() for files in (home.keys.owner, home.keys.signer)
    ]
    keys = [open_key(files) for files in (home.keys.owner, home.keys.signer)]
    canaries = [PASSWORD, *passwords, *(key.secret.hex() for key in (OPERATOR, *keys))]
    for canary in canaries:
        assert canary not in said
    secret_files = {"owner-password", "household-password", "password"}
    for folder in (home.folder, lilas.folder):
        for name, content in everything_in(folder).items():
            held = [canary for canary in canaries if canary.encode() in content]
            assert not held or Path(name).name in secret_files, name
            if "CanaryName" in content.decode("latin1"):
                assert name == "members.json"
    assert all(canary not in " ".join([*sys.argv, *os.environ.values()]) for canary in canaries)
    asyncio.run(chain_says_no(lilas, ["CanaryName", *passwords]))


async def chain_says_no(at: Street, canaries: list[str]) -> None:
    async with http_rpc(at.url) as rpc:
        for height in range(await rpc.head() + 1):
            block = await rpc.ask(*block_query(height, whole=True))
            inputs = "".join(str(sent["input"]) for sent in block["transactions"])
            for canary in canaries:
                assert canary.encode().hex() not in inputs
                assert canary not in inputs


def test_the_secrets_are_in_no_process_arguments(home: Home) -> None:
    """As a process of its own, watched from outside while it works."""
    at, path = home.at, home.folder / "anne.invite"
    path.write_text(invited(at))
    seen: list[bytes] = []
    command = [sys.executable, "-m", "node.cli.main", "join", str(path), *home.options, "--yes"]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        done = threading.Event()

        def watch() -> None:
            while not done.is_set() and process.poll() is None:
                proc = Path(f"/proc/{process.pid}")
                with suppress(OSError):  # it ended while it was looked at
                    seen.extend((proc / name).read_bytes() for name in ("cmdline", "environ"))
                pause(0.2)

        watcher = threading.Thread(target=watch)
        watcher.start()
        out, errors = process.communicate(timeout=120)
        done.set()
        watcher.join()
    assert process.returncode == 0, errors
    assert seen
    secrets = [files.password.read_bytes().strip() for files in (home.keys.owner, home.keys.signer)]
    secrets += [open_key(home.keys.signer).secret.hex().encode()]
    for secret in secrets:
        assert all(secret not in text for text in (*seen, out, errors))


# Over the network


@contextmanager
def relay_for(at: Street, folder: Path, *more: str) -> Iterator[str]:
    """``daisee relay run`` in a process of its own; its URL."""
    keystore, password = folder / "relay.json", folder / "relay-password"
    keystore.write_text(json.dumps(Account.encrypt(b"\x72" * 32, PASSWORD, iterations=2)))
    password.write_text(PASSWORD)
    for secret in (keystore, password):
        secret.chmod(0o600)
    command = [sys.executable, "-m", "node.cli.main", "relay", "run", "--listen", "127.0.0.1:0"]
    command += ["--key", str(keystore), "--password-file", str(password)]
    with subprocess.Popen(
        [*command, *more, "--rpc", at.url], cwd=CHECKOUT, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            line = ""
            while "relay_ready" not in line:
                line = process.stderr.readline()
                assert line, "the relay ended"
            yield "http://127.0.0.1:" + line.partition("port=")[2].split()[0]
        finally:
            process.terminate()
            process.communicate(timeout=30)


def told_by(at: Street, relay: str, name: str = "Anne") -> str:
    """An invite that names a relay, as the operator writes it."""
    folder = at.folder / "community.toml"
    kept = folder.read_text()
    save_community(folder, replace(at.community, relay_urls=(relay,)))
    try:
        return invited(at, name)
    finally:
        folder.write_text(kept)


def test_from_invite_to_number_over_the_network(home: Home, tmp_path: Path) -> None:
    """Nobody carries a file: four words are read out, and that is all."""
    at = home.at
    with relay_for(at, tmp_path, *at.network) as relay:
        joined = home.join(told_by(at, relay, "Berthe"))
        assert joined["handed_over_to"] == relay
        (kept,) = (at.folder / "requests").glob(f"{str(joined['owner']).lower()}.txt")
        assert kept.read_text() == home.request.read_text()
        assert kept.stat().st_mode & 0o777 == 0o600
        words = str(joined["words"])
        approval = ("--fingerprint", words, *at.network, *LIMITS, "--credit", "3", "--yes")
        wait = [sys.executable, "-m", "node.cli.main", "join", *home.options, "--wait", "60s"]
        with subprocess.Popen(
            [*wait, "--json"], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
        ) as waiting:
            approved = at.document("member", "approve", *approval)
            out, _ = waiting.communicate(timeout=90)
        assert waiting.returncode == 0
        number = int(approved["household"])
        assert json.loads(out)["household"] == number
        assert load_config(home.config, {}).household.number == number
        assert approved["member"]["name"] == "Berthe"
    asyncio.run(trades_within_a_block(home, number))


def test_a_relay_keeps_only_what_answers_an_invite_of_its_operator(
    home: Home, tmp_path: Path
) -> None:
    at = home.at
    with relay_for(at, tmp_path, *at.network) as relay:
        stray = at.say("join", written(at, relay_urls=(relay,)), *home.options, "--yes", "--json")
        assert stray.exit_code == 0  # the invite is good; the operator's list does not know it
        assert json.loads(stray.stdout)["handed_over_to"] == ""
        assert "does not want it: unknown_invite" in stray.stderr
        assert home.request.exists()
        owner = str(json.loads(stray.stdout)["owner"]).lower()
        assert not (at.folder / "requests" / f"{owner}.txt").exists()


def test_a_relay_that_takes_no_requests_leaves_the_file(home: Home, tmp_path: Path) -> None:
    at = home.at
    community = ("--community", str(at.folder / "community.toml"))
    with relay_for(at, tmp_path, *community) as relay:
        joined = at.say("join", told_by(at, relay), *home.options, "--yes")
    assert joined.exit_code == 0
    assert "takes no join requests: it answers 404" in joined.stderr
    assert "give it to the operator" in joined.stderr
    assert joined.stdout.strip() == home.request.read_text().strip()
