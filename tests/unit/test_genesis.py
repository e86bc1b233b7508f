"""A network's first block, and who sealed a later one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.chain.network.genesis import (
    clique_extra_data,
    clique_validators,
    genesis_document,
    qbft_extra_data,
    qbft_validators,
    sealer_of,
)
from node.chain.network.record import Network, Peer, quorum

ADDRESSES = st.lists(
    st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()),
    min_size=1,
    max_size=21,
    unique=True,
)

SEALED: dict[str, Any] = {
    "baseFeePerGas": "0x0",
    "difficulty": "0x2",
    "extraData": "0xd983010d0f846765746889676f312e32322e3132856c696e7578000000000000"
    "110e1ae780fced2403240297a954d2e75ec401b350b52ecfba29008a81fe7095"
    "41213af450d3ab3a8c43b4ff79dd538b36393f8a0827fc8b938165f2cb9117fc01",
    "gasLimit": "0x3938700",
    "gasUsed": "0x0",
    "logsBloom": "0x" + "00" * 256,
    "miner": "0x" + "00" * 20,
    "mixHash": "0x" + "00" * 32,
    "nonce": "0x0000000000000000",
    "number": "0x2",
    "parentHash": "0x3a4f7bfa1cc3852f075fc2acb5b658f77209177fb7d9842a66b73afe054bb9ef",
    "receiptsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
    "sha3Uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "stateRoot": "0x5d27408c128aa155978e653f8673fb622876b8cbd9f12bf6a2b8546b68f37dc0",
    "timestamp": "0x6b026e38",
    "transactionsRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
}
"""A block as geth 1.13.15 answered it, and below who was its only sealer."""
SEALER = "0x098cfbc6c351009ef55896e51e98fbbe3af19a0c"


def network(engine: str, addresses: list[str]) -> Network:
    peers = tuple(
        Peer("validator", number, address, "ab" * 64, "127.0.0.1", 30_303, 0)
        for number, address in enumerate(addresses, 1)
    )
    return Network("Rue des Lilas", engine, 4_711, 5, "0x" + "0f" * 20, peers)


def test_clique_names_its_sealers_in_ascending_order_between_vanity_and_seal() -> None:
    extra = clique_extra_data(["0x" + "22" * 20, "0x" + "11" * 20])
    assert extra == "0x" + "00" * 32 + "11" * 20 + "22" * 20 + "00" * 65


@given(ADDRESSES)
def test_what_clique_names_can_be_read_back(addresses: list[str]) -> None:
    assert clique_validators(clique_extra_data(addresses)) == sorted(addresses)


def test_qbft_names_its_validators_as_in_the_documented_example() -> None:
    # The QBFT page of Besu's documentation, "extraData" of the genesis file for four nodes.
    assert qbft_extra_data(
        [
            "0x64a702e6263b7297a96638cac6ae65e6541f4169",
            "0x3923390ad55e90c237593b3b0e401f3b08a03185",
            "0xaefdb9a738c9f433e5b6b212a6d62f6370c2f692",
            "0xc7eeb9a4e00ce683cf93039b212648e01c6c6b78",
        ]
    ) == (
        "0xf87aa00000000000000000000000000000000000000000000000000000000000000000f8549464a702e626"
        "3b7297a96638cac6ae65e6541f4169943923390ad55e90c237593b3b0e401f3b08a0318594aefdb9a738c9f4"
        "33e5b6b212a6d62f6370c2f69294c7eeb9a4e00ce683cf93039b212648e01c6c6b78c080c0"
    )


@given(ADDRESSES)
def test_what_qbft_names_can_be_read_back_in_its_order(addresses: list[str]) -> None:
    assert qbft_validators(qbft_extra_data(addresses)) == addresses


@pytest.mark.parametrize("engine", ["geth", "besu"])
def test_the_first_block_stops_at_london_and_gives_the_operator_gas(engine: str) -> None:
    addresses = ["0x" + f"{number:02x}" * 20 for number in (1, 2, 3, 4)]
    document = genesis_document(network(engine, addresses))
    config = document["config"]
    assert config["chainId"] == 4_711
    assert config["londonBlock"] == 0
    later = ("shanghai", "cancun", "prague", "terminal", "arrowGlacier")
    assert not [name for name in config if name.startswith(later)]
    assert list(document["alloc"]) == ["0f" * 20]
    assert int(document["gasLimit"], 16) == 60_000_000


def test_each_engine_finds_its_own_consensus_in_the_first_block() -> None:
    addresses = ["0x" + "01" * 20]
    clique = genesis_document(network("geth", addresses))
    assert clique["config"]["clique"] == {"period": 5, "epoch": 30_000}
    assert clique["difficulty"] == "0x1"
    assert clique["baseFeePerGas"] == "0x0"
    qbft = genesis_document(network("besu", addresses))
    assert qbft["config"]["qbft"] == {
        "blockperiodseconds": 5,
        "epochlength": 30_000,
        "requesttimeoutseconds": 10,
    }
    assert qbft["config"]["zeroBaseFee"] is True
    assert bytes.fromhex(qbft["mixHash"][2:]) == b"ctical byzantine fault tolerance"


def test_the_sealer_of_a_real_block_is_found() -> None:
    assert sealer_of(SEALED, "geth") == SEALER


@pytest.mark.parametrize("field", ["stateRoot", "timestamp", "gasUsed", "number"])
def test_another_block_would_be_sealed_by_nobody_we_know(field: str) -> None:
    changed = SEALED | {field: SEALED[field][:-1] + ("1" if SEALED[field][-1] != "1" else "2")}
    assert sealer_of(changed, "geth") != SEALER


def test_nobody_sealed_the_first_block_or_one_without_a_seal() -> None:
    assert sealer_of(SEALED | {"number": "0x0"}, "geth") is None
    assert sealer_of(SEALED | {"extraData": "0x" + "ff" * 97}, "geth") is None


def test_qbft_says_in_the_header_who_proposed() -> None:
    assert sealer_of({"number": "0x1", "miner": "0x" + "AB" * 20}, "besu") == "0x" + "ab" * 20


@pytest.mark.parametrize(
    ("validators", "qbft", "clique"),
    [(1, 1, 1), (3, 2, 2), (4, 3, 3), (5, 4, 3), (6, 4, 4), (7, 5, 4), (10, 7, 6)],
)
def test_how_many_must_work(validators: int, qbft: int, clique: int) -> None:
    assert quorum("besu", validators) == qbft
    assert quorum("geth", validators) == clique


@pytest.mark.parametrize("validators", range(1, 8))
def test_finality_is_that_of_the_most_sealers_and_at_once_with_qbft(validators: int) -> None:
    # Members' settings hold it: it must not change when a community of 4 grows to 7.
    addresses = [f"0x{number:040x}" for number in range(validators)]
    assert network("geth", addresses).finality_depth == 8 >= 2 * quorum("geth", validators)
    assert network("besu", addresses).finality_depth == 0
