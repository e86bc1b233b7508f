"""A household's machine of a test, and how it is invited, asked in and refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from node.chain.http import http_rpc
from node.chain.invites import make_invite
from node.chain.keyfiles import HouseholdKeys, open_key
from node.chain.keys import Key
from node.clock import SystemClock
from tests.support.invited import draw
from tests.support.joined import OPERATOR, Street, trades_from_its_approval_on

METER: Final = '[meter]\nkind = "linky"\nport = "/dev/ttyUSB0"  # my own line\n'
LIMITS: Final = ("--import-limit-wh", "2250", "--export-limit-wh", "750")


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


def home_in(at: Street, folder: Path) -> Home:
    """A machine with a meter, before it has joined."""
    (folder / "config.toml").write_text(METER)
    return Home(at, folder)


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


async def trades_within_a_block(home: Home, number: int) -> None:
    """With the key that ``join`` made and the gas that ``approve`` gave."""
    signer = open_key(home.keys.signer)
    async with http_rpc(home.at.url) as rpc:
        await trades_from_its_approval_on(rpc, home.at.community, signer, number)
