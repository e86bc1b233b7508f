"""From an invite to the first trade, by the commands that people type, on a chain in real time."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.chain.keys import Key
from node.chain.member_book import MemberBook, load_book, save_book
from node.clock import SystemClock
from node.config import load_config
from tests.support.invited import draw, everything_in
from tests.support.joined import (
    Street,
    write_operator,
)
from tests.support.joining import (
    LIMITS,
    METER,
    Home,
    approve,
    invited,
    refused,
    trades_within_a_block,
    written,
)

pytestmark = pytest.mark.usefixtures("light_keys")


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
    assert settings.chain.genesis_hash == at.community.genesis_hash
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


# Places that cannot be written


@pytest.mark.parametrize("place", ["/proc/request.txt", "a-file/request.txt"])
def test_a_request_that_cannot_be_written_is_told_before_a_key_is_made(
    home: Home, place: str
) -> None:
    (home.folder / "a-file").write_text("")
    out = place if place.startswith("/") else str(home.folder / place)
    message = refused(
        home.at, "join", invited(home.at), *home.options, "--out", out, "--yes", code=3
    )
    assert "cannot be written" in message
    assert not home.keys.made
    assert home.config.read_text() == METER


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--qr", "anne.jpeg"), 2),
        (("--qr", "a-file/anne.png"), 3),
        (("--out", "a-file/anne.invite"), 3),
        (("--out", "/proc/anne.invite"), 3),
    ],
)
def test_an_invite_that_cannot_be_written_is_none(
    home: Home, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: int
) -> None:
    monkeypatch.chdir(home.folder)
    Path("a-file").write_text("")
    before = load_book(home.at.folder / "members.json")
    more = () if "--out" in options else ("--out", "anne.invite")
    said = home.at.say("member", "invite", "--name", "Anne", *options, *more, *home.at.network)
    assert said.exit_code == code, said.output
    assert said.stdout == ""
    assert load_book(home.at.folder / "members.json") == before
    assert sorted(everything_in(home.folder)) == ["a-file", "config.toml"]


def test_an_invite_that_no_qr_code_can_hold_is_none(lilas: Street, tmp_path: Path) -> None:
    letters = [base64.urlsafe_b64encode(draw(number)(135)).decode() for number in range(16)]
    urls = tuple(f"https://x.example/{text}" for text in letters)
    write_operator(tmp_path, replace(lilas.community, rpc_urls=urls))
    said = refused(
        *(lilas, "member", "invite", "--name", "Anne", "--network", str(tmp_path)),
        *("--qr", str(tmp_path / "anne.png")),
        code=3,
    )
    assert "too long for a QR code" in said
    assert not load_book(tmp_path / "members.json").invited
    assert not (tmp_path / "anne.png").exists()


def test_a_list_of_members_that_cannot_be_held_is_told(lilas: Street, tmp_path: Path) -> None:
    write_operator(tmp_path, lilas.community)
    (tmp_path / "members.json.lock").mkdir()
    said = refused(lilas, "member", "invite", "--name", "Anne", "--network", str(tmp_path), code=3)
    assert "cannot be written" in said


# Refusals


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
