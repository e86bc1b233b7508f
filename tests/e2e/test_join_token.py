"""An endpoint that lets members in with a token: it comes from a file, and is shown nowhere."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from node.chain.http import http_rpc
from node.clock import SystemClock
from node.config import load_config
from node.doctor.examination import examine
from node.errors import ChainUnreachable
from node.service.market import LateMarket
from tests.support.invited import everything_in
from tests.support.joined import Street
from tests.support.joining import METER, Home, approve, invited, refused, written
from tests.support.token_front import TOKEN, Front, token_front

pytestmark = pytest.mark.usefixtures("light_keys")

SECRETS: Final = ("SEKRET", base64.b64encode(f"7:{TOKEN}".encode()).decode())


@pytest.fixture
def front(lilas: Street) -> Iterator[Front]:
    with token_front(lilas.url) as opened:
        yield opened


def shows_nothing(*texts: str) -> bool:
    return not any(secret in text for secret in SECRETS for text in texts)


def test_a_household_joins_through_a_front_that_wants_its_token(home: Home, front: Front) -> None:
    at, given = home.at, home.folder / "given"
    place = front.written(given)
    invite, booked = written(at, rpc_urls=(front.url,)), invited(at)
    said = at.say("join", booked, *home.options, "--yes", "--rpc", place, "--json")
    assert said.exit_code == 0, said.stderr
    assert shows_nothing(said.output, home.config.read_text())
    kept = home.folder / "keys" / "rpc-url"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.read_text().strip() == front.with_token()
    given.unlink()  # from here on the node's own copy is enough
    files = everything_in(home.folder).items()
    assert [name for name, content in files if b"SEKRET" in content] == ["keys/rpc-url"]
    settings = load_config(home.config, {})
    assert settings.chain is not None
    assert settings.chain.rpc == f"file:{kept}"

    community = home.folder / "community.toml"
    community.write_text(community.read_text().replace(at.url, front.url))
    approve(home, str(json.loads(said.stdout)["words"]))
    found = at.document("join", *home.options, "--wait", "10s")
    assert found["standing"] == "good"
    assert at.document("join", booked, *home.options, "--yes", "--dry-run")["dry_run"]
    elsewhere = ("--config", str(home.folder / "none" / "config.toml"), *home.options[2:])
    assert "wants a member's token" in refused(at, "join", invite, *elsewhere, "--yes", code=5)
    assert set(front.let_in[:-1]) == {True}


def test_the_node_and_the_doctor_ask_with_the_token_and_show_none(home: Home, front: Front) -> None:
    at, options = home.at, ("--config", str(home.config))
    home.join(invited(at), "--rpc", front.written(home.folder / "given"))
    report = asyncio.run(examine(home.config, {}, SystemClock()))
    rows = {row["id"]: row for row in report.rows()}
    assert (rows["N002"]["severity"], rows["C002"]["severity"]) == ("ok", "ok")
    chain = load_config(home.config, {}).chain
    assert chain is not None

    async def asked() -> None:
        async with LateMarket(chain, chain_slot_s, 0, SystemClock(), None) as market:
            await market.rules_at(1)

    chain_slot_s = at.community.slot_s
    asyncio.run(asked())
    assert set(front.let_in) == {True}
    shown = at.say("config", "show", *options, "--origin")
    dumped = at.say("dump", *options)
    assert (shown.exit_code, dumped.exit_code) == (0, 0), shown.output + dumped.output
    assert shows_nothing(shown.output, dumped.output, str(report.rows()))


def test_a_file_with_a_token_that_others_may_read_is_refused(home: Home, front: Front) -> None:
    home.join(invited(home.at), "--rpc", front.written(home.folder / "given"))
    (home.folder / "keys" / "rpc-url").chmod(0o644)
    checked = home.at.say("config", "check", "--config", str(home.config))
    assert checked.exit_code == 3
    assert "which others may read or write" in checked.stderr
    asked = home.at.say("join", *home.options)
    assert asked.exit_code == 3
    assert "others may read or write" in asked.stderr
    assert shows_nothing(checked.output, asked.output)


def test_a_token_in_the_command_line_is_refused_and_not_shown(home: Home, front: Front) -> None:
    words = ("join", invited(home.at), *home.options, "--yes", "--rpc", front.with_token())
    message = refused(home.at, *words, code=3)
    assert "file:PATH" in message
    assert shows_nothing(message)
    assert not home.keys.made
    assert home.config.read_text() == METER
    assert front.let_in == []
    listed = home.at.say("member", "list", *home.at.network, "--rpc", front.with_token())
    assert listed.exit_code == 3
    assert shows_nothing(listed.output)


def test_a_wrong_token_is_told_without_showing_it(
    home: Home, front: Front, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = front.written(tmp_path / "given", "SEKRET of eight")
    message = refused(
        home.at, "join", invited(home.at), *home.options, "--yes", "--rpc", given, code=5
    )
    assert "wants a member's token" in message
    assert "SEKRET" not in message + caplog.text

    async def asked() -> str:
        with pytest.raises(ChainUnreachable) as failed:
            async with http_rpc(given):
                pass
        error: BaseException | None = failed.value
        texts = []
        while error is not None:
            texts.append(str(error))
            error = error.__cause__
        return " ".join(texts)

    assert "SEKRET" not in asyncio.run(asked())


def test_new_settings_are_their_owners_alone(
    lilas: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    config = tmp_path / "config.toml"
    options = ("--config", str(config), "--keystore", str(tmp_path / "keys"))
    lilas.document("join", invited(lilas), *options, "--yes")
    assert config.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_new_settings_of_root_can_be_read_by_the_services_user(
    lilas: Street, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    os.chown(keys, 12_345, 12_346)
    with token_front(lilas.url) as front:
        given = front.written(tmp_path / "given")
        options = ("--config", str(tmp_path / "config.toml"), "--keystore", str(keys))
        lilas.document("join", invited(lilas), *options, "--yes", "--rpc", given)
    found = (tmp_path / "config.toml").stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o640, 0, 12_346)
    secret = (keys / "rpc-url").stat()
    assert (secret.st_mode & 0o777, secret.st_uid, secret.st_gid) == (0o600, 12_345, 12_346)
