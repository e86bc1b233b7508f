"""A community that nobody runs, an operator, and invites to it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from node.chain.community import CONTRACTS, Community
from node.chain.invites import Invite, make_invite
from node.chain.keys import Key
from node.chain.network import keeping

OPERATOR: Final = Key(b"\x11" * 32)
NOW_S: Final = 1_800_000_000


def community(
    operator: Key = OPERATOR,
    **changes: Any,  # noqa: ANN401 - a test's own words
) -> Community:
    """One whose contracts stand at addresses that are easy to tell apart."""
    made = Community(
        name="Rue des Lilas",
        operator=operator.address,
        chain_id=20_261,
        genesis_hash="0x" + "a1" * 32,
        engine="geth",
        finality_depth=6,
        rpc_urls=("http://10.1.0.1:8545", "http://10.1.0.2:8545"),
        relay_urls=("http://10.1.0.1:8780",),
        slot_s=900,
        contracts={name: f"0x{place:040x}" for place, name in enumerate(CONTRACTS, 0xC0)},
        code_hashes={
            name: f"0x{random.Random(place).getrandbits(256):064x}"
            for place, name in enumerate(CONTRACTS)
        },
        created_in_block=3,
    )
    return replace(made, **changes)


def draw(seed: int = 0) -> keeping.Draw:
    """Bytes that are the same each time."""
    return random.Random(seed).randbytes


def invited(seed: int = 0, *, valid_s: int = 86_400) -> tuple[Invite, str]:
    """An invite of now."""
    return make_invite(community(), OPERATOR, draw(seed), NOW_S, valid_s)


def quick_keystores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keystores that open in milliseconds: their passwords guard keys of a test."""
    monkeypatch.setattr(keeping, "SCRYPT_STANDARD", 2)
    monkeypatch.setattr("node.chain.keyfiles.SCRYPT_ROUNDS", 2)


def everything_in(folder: Path) -> dict[str, bytes]:
    """The files below a folder, with what they hold."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
