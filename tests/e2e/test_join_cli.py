"""From an invite to the first trade, by the commands that people type, on a chain in real time."""

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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from node.chain.community import save_community
from node.chain.http import http_rpc
from node.chain.invites import make_invite
from node.chain.keyfiles import HouseholdKeys, open_key
from node.chain.keys import Key
from node.chain.member_book import MemberBook, load_book, save_book
from node.clock import SystemClock
from node.config import load_config
from tests.support.invited import draw, everything_in, quick_keystores
from tests.support.joined import (
    OPERATOR,
    PASSWORD,
    Street,
    street,
    trades_from_its_approval_on,
    write_operator,
)
from tests.support.node_process import pause
from tests.support.shared import CHECKOUT

METER = '[meter]\nkind = "linky"\nport = "/dev/ttyUSB0"  # my own line\n'
LIMITS = ("--import-limit-wh", "2250", "--export-limit-wh", "750")


@pytest.fixture(scope="module")
def lilas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    with street(tmp_path_factory.mktemp("operator")) as running:
        yield running


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick_keystores(monkeypatch)


@dataclass(frozen=True)
class Home:
    """One household's machine."""

    at: Street
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def options(self) -> tuple[str, ...]:
        return ("--config", str(self.config), "--keystore", str(self.folder / "keys"))

    @property
    def keys(self) -> HouseholdKeys:
        return HouseholdKeys.below(self.folder / "keys")

    @property
    def request(self) -> Path:
        return self.folder / "join-request.txt"

    def join(self, invite: str, *more: str) -> dict[str, Any]:
        return self.at.document("join", invite, *self.options, "--yes", *more)

    def approved(self, *more: str) -> dict[str, Any]:
        words = str(self.join(invited(self.at, self.folder.name))["words"])
        return approve(self, words, *more)


@pytest.fixture
def home(lilas: Street, tmp_path: Path) -> Home:
    (tmp_path / "config.toml").write_text(METER)
    return Home(lilas, tmp_path)


def invited(at: Street, name: str = "Anne") -> str:
    return str(at.document("member", "invite", "--name", name, *at.network)["invite"])


def approve(home: Home, words: str, *more: str) -> dict[str, Any]:
    return home.at.document(
        *("member", "approve", str(home.request), "--fingerprint", words),
        *(*home.at.network, *LIMITS, "--yes", *more),
    )


def refused(at: Street, *words: str, code: int = 6) -> str:
    result = at.say(*words)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "next:" in result.stderr
    return result.stderr


def test_from_invite_to_the_first_trade(home: Home) -> None:
    at = home.at
    invite = at.document("member", "invite", "--name", "Anne Dupont", *at.network)
    assert invite["schema"] == "daisee.member.invite/1"

    joined = home.join(str(invite["invite"]))
    assert joined["community"] == "Rue des Lilas"
    assert joined["community_words"] == invite["community_words"]
    settings = load_config(home.config, {})
    assert settings.chain is not None
    assert not settings.trades
    assert settings.chain.rpc == at.url
    assert settings.chain.market == at.community.market
    assert settings.household.number == 0
    assert settings.household.slot_s == at.community.slot_s
    assert METER.strip() in home.config.read_text()

    early = at.say("join", *home.options)
    assert early.exit_code == 6
    assert "has not approved yet" in early.stderr
    assert str(joined["words"]) in early.stderr

    approved = approve(home, str(joined["words"]), "--credit", "20")
    number = int(approved["household"])
    member = approved["member"]
    assert (member["name"], member["standing"]) == ("Anne Dupont", "good")
    assert (member["owner"], member["signer"]) == (joined["owner"], joined["signer"])
    assert member["balance_units"] == 20 * 10**8

    found = at.document("join", *home.options)
    assert (found["household"], found["standing"]) == (number, "good")
    assert load_config(home.config, {}).household.number == number

    asyncio.run(trades_within_a_block(home, number))
    (listed,) = [
        entry
        for entry in at.document("member", "list", *at.network)["members"]
        if entry["number"] == number
    ]
    assert listed["name"] == "Anne Dupont"


async def trades_within_a_block(home: Home, number: int) -> None:
    """With the key that ``join`` made and the gas that ``approve`` gave."""
    signer = open_key(home.keys.signer)
    async with http_rpc(home.at.url) as rpc:
        await trades_from_its_approval_on(rpc, home.at.community, signer, number)


def test_the_four_words_are_shown_on_both_sides_and_asked_for(home: Home) -> None:
    at = home.at
    shown = at.say("join", invited(at), *home.options, "--yes")
    assert shown.exit_code == 0, shown.stderr
    (line,) = [line for line in shown.stderr.splitlines() if "Read these four words" in line]
    words = line.split(":")[1].strip()
    assert shown.stdout.strip() == home.request.read_text().strip()
    asked = at.say("member", "approve", str(home.request), *at.network, *LIMITS, "--dry-run")
    assert asked.exit_code == 0
    assert words in asked.stderr


def test_without_a_terminal_nothing_changes_unless_yes_is_said(home: Home) -> None:
    at = home.at
    invite = invited(at)
    assert at.say("join", invite, *home.options).exit_code == 2
    assert sorted(everything_in(home.folder)) == ["config.toml"]
    home.join(invite)
    before = at.document("member", "list", *at.network)["members"]
    approval = ("member", "approve", str(home.request), *at.network, *LIMITS)
    assert at.say(*approval).exit_code == 2
    assert at.say(*approval, "--yes").exit_code == 2  # nobody compared the words
    assert at.document("member", "list", *at.network)["members"] == before


def test_a_dry_run_changes_nothing(home: Home) -> None:
    at = home.at
    invite = invited(at)
    document = home.join(invite, "--dry-run")
    assert document["dry_run"] is True
    assert sorted(everything_in(home.folder)) == ["config.toml"]
    assert home.config.read_text() == METER
    words = str(home.join(invite)["words"])
    book = load_book(at.folder / "members.json")
    assert approve(home, words, "--dry-run")["changed"] is False
    assert load_book(at.folder / "members.json") == book
    number = int(approve(home, words)["household"])
    for verb in ("suspend", "revoke"):
        result = at.document("member", verb, str(number), *at.network, "--dry-run")
        assert result["changed"] is False
        assert result["member"]["standing"] == "good"


def test_the_relay_is_written_down_once(home: Home) -> None:
    """A household that took it out again meant it."""
    relay = "http://127.0.0.1:8780"
    invite = written(home.at, relay_urls=(relay,))
    home.join(invite)
    chain = load_config(home.config, {}).chain
    assert chain is not None
    assert chain.relay == relay
    lines = home.config.read_text().splitlines(keepends=True)
    without = "".join(line for line in lines if not line.startswith("relay"))
    home.config.write_text(without)
    home.join(invite)
    assert home.config.read_text() == without


def test_without_options_a_user_joins_in_the_users_own_places(
    lilas: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CONFIG", "STATE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    (tmp_path / "CONFIG" / "daisee").mkdir(parents=True)
    (tmp_path / "CONFIG" / "daisee" / "config.toml").write_text(METER)
    lilas.document("join", invited(lilas), "--yes")
    assert sorted(everything_in(tmp_path)) == [
        "CONFIG/daisee/community.toml",
        "CONFIG/daisee/config.toml",
        "CONFIG/daisee/join-request.txt",
        "DATA/daisee/keystore/household-password",
        "DATA/daisee/keystore/household.json",
        "DATA/daisee/keystore/owner/owner-password",
        "DATA/daisee/keystore/owner/owner.json",
    ]
    checked = lilas.document("config", "check")
    assert (checked["ok"], checked["trades"]) == (True, False)


def test_joining_again_keeps_keys_and_settings(home: Home) -> None:
    invite = invited(home.at)
    first = home.join(invite)
    config, keys = home.config.read_text(), everything_in(home.folder / "keys")
    again = home.join(invite)
    assert (again["words"], again["owner"]) == (first["words"], first["owner"])
    assert home.config.read_text() == config
    assert everything_in(home.folder / "keys") == keys


def test_an_invite_comes_as_file_as_text_and_by_a_pipe(home: Home) -> None:
    at = home.at
    path, code = home.folder / "anne.invite", home.folder / "anne.svg"
    made = at.say(
        "member", "invite", "--name", "Anne", "--out", str(path), "--qr", str(code), *at.network
    )
    assert made.exit_code == 0, made.stderr
    assert path.read_text() == made.stdout
    assert path.stat().st_mode & 0o777 == code.stat().st_mode & 0o777 == 0o600
    assert b"<svg" in code.read_bytes()
    assert home.join(str(path), "--dry-run") == home.join(made.stdout, "--dry-run")
    piped = at.say("join", "-", *home.options, "--dry-run", "--json", text=made.stdout)
    assert json.loads(piped.stdout)["community"] == "Rue des Lilas"


def test_an_invite_as_a_picture_and_on_the_terminal(home: Home) -> None:
    at, code = home.at, home.folder / "anne.png"
    at.document("member", "invite", "--name", "A", "--qr", str(code), *at.network)
    assert code.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    drawn = at.say("member", "invite", "--name", "A", "--qr", "-", *at.network)
    assert drawn.stdout.count("\n") == 1
    assert "█" in drawn.stderr
    wrong = at.say("member", "invite", "--name", "A", "--qr", "anne.jpeg", *at.network)
    assert wrong.exit_code == 2


# Refusals


def written(
    at: Street,
    *,
    operator: Key = OPERATOR,
    valid_s: int = 600,
    ago_s: int = 0,
    **changes: Any,  # noqa: ANN401 - a test's own words
) -> str:
    """An invite that the command would not write."""
    community = replace(at.community, operator=operator.address, **changes)
    now_s = SystemClock().now_s() - ago_s
    return make_invite(community, operator, draw(ago_s), now_s, valid_s)[1]


def refused_join(home: Home, invite: str, *, code: int = 6) -> str:
    message = refused(home.at, "join", invite, *home.options, "--yes", code=code)
    assert not home.keys.made, "a key was made for a community that was refused"
    assert home.config.read_text() == METER
    return message


def test_an_expired_invite(home: Home) -> None:
    assert "was good until" in refused_join(home, written(home.at, ago_s=700))


def test_a_damaged_invite(home: Home) -> None:
    invite = invited(home.at)
    assert "a part is missing" in refused_join(home, invite[:300] + invite[310:])


def test_an_invite_of_somebody_who_only_says_to_be_the_operator(home: Home) -> None:
    stranger = Key(b"\x66" * 32)
    assert "is no operator" in refused_join(home, written(home.at, operator=stranger))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"genesis_hash": "0x" + "66" * 32}, "chain began with"),
        ({"chain_id": 666}, "serves chain"),
    ],
)
def test_another_chain(home: Home, change: dict[str, Any], message: str) -> None:
    assert message in refused_join(home, written(home.at, **change), code=5)


def test_unknown_contract_code(home: Home) -> None:
    hashes = dict(home.at.community.code_hashes) | {"EnergyMarket": "0x" + "66" * 32}
    message = refused_join(home, written(home.at, code_hashes=hashes), code=5)
    assert "the code of EnergyMarket" in message


def test_a_chain_that_does_not_answer(home: Home) -> None:
    invite = written(home.at, rpc_urls=("http://127.0.0.1:9",))
    assert "no endpoint of Rue des Lilas answers" in refused_join(home, invite, code=5)


@pytest.mark.parametrize("off_s", [-7_200, 7_200])
def test_a_clock_that_is_off(home: Home, monkeypatch: pytest.MonkeyPatch, off_s: int) -> None:
    invite = written(home.at, ago_s=8_000, valid_s=86_400)
    now_s = SystemClock.now_s
    monkeypatch.setattr(SystemClock, "now_s", lambda clock: now_s(clock) + off_s)
    assert "this machine's clock is" in refused_join(home, invite)


def test_an_invite_is_good_for_one_household_only(home: Home, tmp_path: Path) -> None:
    at, invite = home.at, invited(home.at)
    approve(home, str(home.join(invite)["words"]))
    (tmp_path / "second").mkdir()
    second = Home(at, tmp_path / "second")
    words = str(second.join(invite)["words"])
    message = refused(
        *(at, "member", "approve", str(second.request), "--fingerprint", words),
        *(*at.network, *LIMITS, "--yes"),
    )
    assert "has been used" in message


def test_a_request_after_the_invites_time(home: Home) -> None:
    at, book = home.at, home.at.folder / "members.json"
    words = str(home.join(invited(at, "Late"))["words"])
    entries = load_book(book).invited
    late = replace(entries[-1], expires_at_s=SystemClock().now_s())
    save_book(book, MemberBook((*entries[:-1], late)))
    approval = ("member", "approve", str(home.request), "--fingerprint", words)
    assert "was good until" in refused(at, *approval, *at.network, *LIMITS, "--yes")


def test_other_words_than_the_household_reads_out(home: Home) -> None:
    home.join(invited(home.at))
    approval = ("member", "approve", str(home.request), "--fingerprint", "dada dada dada dada")
    assert "the request's words are" in refused(
        home.at, *approval, *home.at.network, *LIMITS, "--yes"
    )


def test_a_request_that_waits_is_found_by_its_words(home: Home) -> None:
    at = home.at
    words = str(home.join(invited(at))["words"])
    approval = ("member", "approve", "--fingerprint", words, *at.network, *LIMITS, "--yes")
    assert "no request that waits" in refused(at, *approval)
    (at.folder / "requests").mkdir()
    (at.folder / "requests" / f"0x{1:040x}.txt").write_text(home.request.read_text())
    assert at.document(*approval)["changed"] is True
    assert at.document(*approval)["changed"] is False  # said again: nothing to do


def test_a_key_that_is_not_the_operators(lilas: Street, tmp_path: Path) -> None:
    stranger = Key(b"\x66" * 32)
    write_operator(tmp_path, replace(lilas.community, operator=stranger.address), stranger)
    other = replace(lilas, folder=tmp_path)
    for words in (("suspend", "1"), ("revoke", "1"), ("reinstate", "1")):
        message = refused(lilas, "member", *words, "--yes", *other.network)
        assert "is no operator of Rue des Lilas" in message
    write_operator(tmp_path, lilas.community, stranger)
    message = refused(lilas, "member", "invite", "--name", "A", *other.network)
    assert "is not the operator" in message


def test_another_markets_node_does_not_join_twice(home: Home) -> None:
    home.config.write_text(
        f'{METER}[chain]\nrpc = "http://x"\nchain_id = 5\nmarket = "0x{1:040x}"\n'
    )
    result = home.at.say("join", invited(home.at), *home.options, "--yes")
    assert result.exit_code == 3
    assert "of another market already" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("invite", "--name", "A", "--valid", "31d"),
        ("invite", "--name", "A", "--valid", "soon"),
        ("invite", "--name", " "),
        ("approve", *LIMITS),
        ("approve", "x", *LIMITS, "--credit", "ten"),
        ("approve", "x", *LIMITS, "--credit", "0.000000001"),
        ("approve", "x", *LIMITS, "--credit", "-1"),
        ("approve", "x"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(lilas: Street, words: tuple[str, ...]) -> None:
    assert lilas.say("member", *words, *lilas.network).exit_code == 2


def test_a_folder_without_a_community(lilas: Street, tmp_path: Path) -> None:
    result = lilas.say("member", "list", "--network", str(tmp_path))
    assert result.exit_code == 3
    assert "there is no community here" in result.stderr
    looked = lilas.say("join", "--config", str(tmp_path / "config.toml"))
    assert looked.exit_code == 3


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
    from node.service.market import HouseholdKey  # noqa: PLC0415 - what the daemon signs with

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
            block = await rpc.ask("eth_getBlockByNumber", hex(height), True)  # noqa: FBT003 - JSON-RPC
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
