"""Joining a network of real clients: the next block after the approval takes the first order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from secrets import token_bytes

import pytest

from node.chain.community import save_community
from node.chain.http import http_rpc
from node.chain.keyfiles import HouseholdKeys, open_key
from node.chain.network.founding import found_community
from node.chain.network.layout import COMMUNITY_FILE, Plan, init_network, operator_files
from node.chain.network.local import LocalNetwork
from tests.support.invited import quick_keystores
from tests.support.joined import RULES, Street, trades_from_its_approval_on
from tests.support.needs import need_geth

pytestmark = pytest.mark.network


def test_a_household_trades_in_the_block_after_its_approval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_geth()
    quick_keystores(monkeypatch)
    asyncio.run(joined_and_traded(tmp_path / "street", tmp_path / "home"))


async def joined_and_traded(folder: Path, home: Path) -> None:
    plan = Plan("Rue des Lilas", "geth", 4_712, 1, 1, period_s=1, light_keys=True)
    network, _ = init_network(folder, plan, token_bytes)
    async with LocalNetwork(folder) as running:
        await running.until_block(1, within_s=60.0)
        url = running.rpc_url(1)
        async with http_rpc(url) as rpc:
            operator = open_key(operator_files(folder))
            community = await found_community(rpc, network, operator, RULES, rpc_urls=[url])
        save_community(folder / COMMUNITY_FILE, community)
        at = Street(url, folder, community)
        where = ("--config", str(home / "config.toml"), "--keystore", str(home / "keys"))
        invite = await asyncio.to_thread(
            at.document, "member", "invite", "--name", "Anne", *at.network
        )
        joined = await asyncio.to_thread(
            at.document, "join", str(invite["invite"]), *where, "--yes"
        )
        approved = await asyncio.to_thread(
            at.document,
            *("member", "approve", str(home / "join-request.txt"), *at.network, "--yes"),
            *("--fingerprint", str(joined["words"]), "--credit", "20"),
            *("--import-limit-wh", "2250", "--export-limit-wh", "750"),
        )
        signer = open_key(HouseholdKeys.below(home / "keys").signer)
        async with http_rpc(url) as rpc:
            number = int(approved["household"])
            await trades_from_its_approval_on(rpc, community, signer, number)
