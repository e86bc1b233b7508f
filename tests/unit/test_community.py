"""The file that says which chain and contracts a community agreed on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.chain.bootstrap import deploy
from node.chain.community import (
    CONTRACTS,
    Community,
    code_hash_at,
    community_of,
    document_of,
    genesis_hash_of,
    load_community,
    save_community,
    verify_community,
)
from node.chain.engines.embedded import GAS_PRICE, EmbeddedChain
from node.chain.keys import Key
from node.chain.release import is_release_code, verify_release
from node.chain.rpc import Sender
from node.errors import ChainMismatch, ConfigurationError
from node.model import MarketRules

COMMUNITY = Community(
    name="Rue des Lilas",
    operator="0x" + "0f" * 20,
    chain_id=4_711,
    genesis_hash="0x" + "ab" * 32,
    engine="geth",
    finality_depth=8,
    rpc_urls=("http://10.77.0.1:8545", "https://rpc.example/"),
    relay_urls=(),
    slot_s=900,
    contracts={name: f"0x{number:040x}" for number, name in enumerate(CONTRACTS, 1)},
    code_hashes={name: f"0x{number:064x}" for number, name in enumerate(CONTRACTS, 1)},
    created_in_block=3,
)

NAMES = st.text(min_size=1, max_size=80).filter(str.isprintable)


@given(NAMES, st.integers(1, 2**63 - 1), st.integers(0, 10**15))
def test_what_is_saved_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, name: str, chain_id: int, gas_price_wei: int
) -> None:
    path = tmp_path_factory.mktemp("community") / "community.toml"
    community = replace(COMMUNITY, name=name, chain_id=chain_id, gas_price_wei=gas_price_wei)
    save_community(path, community)
    assert load_community(path) == community


def test_plain_values_carry_it_too() -> None:
    assert community_of(document_of(COMMUNITY)) == COMMUNITY


def test_an_older_file_without_a_gas_price_is_understood() -> None:
    document = document_of(COMMUNITY)
    del document["gas_price_wei"]
    assert community_of(document).gas_price_wei == 10**9


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"engine": "parity"}, "engine is 'parity'"),
        ({"chain_id": "4711"}, "chain_id is '4711'"),
        ({"chain_id": True}, "chain_id is True"),
        ({"slot_s": 0}, "slot_s is 0"),
        ({"genesis_hash": "0xabc"}, "genesis_hash is '0xabc'"),
        ({"operator": "0x" + "0g" * 20}, "operator is"),
        ({"rpc_urls": []}, "rpc_urls must list"),
        ({"rpc_urls": ["ftp://example"]}, "rpc_urls has 'ftp://example'"),
        ({"rpc_urls": ["https://7:TOKEN@rpc.example/"]}, "rpc_urls has 'https://rpc.example/'"),
        ({"contracts": {"EnergyMarket": "0x" + "00" * 20}}, "contracts must name"),
        ({"name": "two\nlines"}, "name must be"),
        ({"market": "0x00"}, "market is nothing that a community file says"),
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        community_of(document_of(COMMUNITY) | change)


def test_something_missing_is_named() -> None:
    document = document_of(COMMUNITY)
    del document["slot_s"]
    with pytest.raises(ConfigurationError, match="slot_s is missing"):
        community_of(document)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"name = ", b"[" * 100_000, b"# " * 40_000])
def test_a_file_that_is_none_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "community.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"community\.toml"):
        load_community(path)
    with pytest.raises(ConfigurationError, match="the operator has it"):
        load_community(tmp_path / "elsewhere.toml")


def with_other(field: str, change: Callable[[Any], Any]) -> Callable[[Community], Community]:
    def changed(community: Community) -> Community:
        values: dict[str, Any] = {field: change(getattr(community, field))}
        return replace(community, **values)

    return changed


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        (with_other("chain_id", lambda chain_id: chain_id + 1), "agreed on chain"),
        (with_other("genesis_hash", lambda _: "0x" + "00" * 32), "chain began with"),
        (
            with_other("code_hashes", lambda known: known | {"EnergyMarket": "0x" + "00" * 32}),
            "code of EnergyMarket",
        ),
        (
            with_other("contracts", lambda known: known | {"RecordBook": "0x" + "01" * 20}),
            "code of RecordBook",
        ),
    ],
)
def test_an_endpoint_of_another_chain_or_with_other_code_is_refused(
    other: Callable[[Community], Community], complaint: str
) -> None:
    async def scenario() -> None:
        funder = Key(b"\x05" * 32)
        chain = await EmbeddedChain.start(genesis_s=1_700_000_000, funder=funder)
        try:
            community = await founded(chain, funder)
            await verify_community(chain.rpc, community)
            await verify_release(chain.rpc, community.contracts)
            with pytest.raises(ChainMismatch, match=complaint):
                await verify_community(chain.rpc, other(community))
        finally:
            await chain.close()

    asyncio.run(scenario())


def test_only_the_immutables_of_a_contract_may_differ_from_this_release() -> None:
    async def scenario() -> None:
        funder = Key(b"\x05" * 32)
        chain = await EmbeddedChain.start(genesis_s=1_700_000_000, funder=funder)
        try:
            community = await founded(chain, funder)
            code = await chain.rpc.code_at(community.market)
            assert is_release_code("EnergyMarket", code)
            assert not is_release_code("RecordBook", code)
            assert not is_release_code("EnergyMarket", code[:-1])
            damaged = bytes([code[0] ^ 1]) + code[1:]
            assert not is_release_code("EnergyMarket", damaged)
            swapped = dict(community.contracts) | {"RecordBook": community.market}
            with pytest.raises(ChainMismatch, match="not the one of this release"):
                await verify_release(chain.rpc, swapped)
        finally:
            await chain.close()

    asyncio.run(scenario())


async def founded(chain: EmbeddedChain, funder: Key) -> Community:
    sender = Sender(chain.rpc, funder, gas_price=GAS_PRICE)
    deployment = await deploy(chain.rpc, sender, MarketRules())
    contracts = {name: deployment.address_of(name) for name in CONTRACTS}
    return replace(
        COMMUNITY,
        chain_id=chain.rpc.chain_id,
        genesis_hash=await genesis_hash_of(chain.rpc),
        contracts=contracts,
        code_hashes={
            name: await code_hash_at(chain.rpc, address) for name, address in contracts.items()
        },
    )
