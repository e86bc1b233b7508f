"""Signatures: what the contract will recover is what an independent EIP-712 library signs."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from node.chain.keys import Key, MarketSigner, name_signer_hash, order_hash, registry_domain
from node.model import Order, Side

KEY = Key(bytes(range(1, 33)))
MARKET = "0x00000000000000000000000000000000000000aB"
CHAIN = 61
ORDER = Order(7, 1_628_064, Side.BID, 500, 9_000, bytes(range(32)))

ORDER_FIELDS = [
    {"name": "household", "type": "uint32"},
    {"name": "slot", "type": "uint32"},
    {"name": "side", "type": "uint8"},
    {"name": "energyWh", "type": "uint32"},
    {"name": "limitPrice", "type": "uint32"},
    {"name": "evidence", "type": "bytes32"},
]
NAME_SIGNER_FIELDS = [
    {"name": "household", "type": "uint32"},
    {"name": "signer", "type": "address"},
    {"name": "nonce", "type": "uint256"},
    {"name": "deadline", "type": "uint256"},
]


def typed_data(name: str, primary: str, fields: object, message: object) -> SignableMessage:
    return encode_typed_data(
        full_message={
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"},
                    {"name": "version", "type": "string"},
                    {"name": "chainId", "type": "uint256"},
                    {"name": "verifyingContract", "type": "address"},
                ],
                primary: fields,
            },
            "primaryType": primary,
            "domain": {
                "name": name,
                "version": "1",
                "chainId": CHAIN,
                "verifyingContract": MARKET,
            },
            "message": message,
        }
    )


def signable(order: Order) -> SignableMessage:
    return typed_data(
        "daisee market",
        "Order",
        ORDER_FIELDS,
        {
            "household": order.household,
            "slot": order.slot,
            "side": int(order.side),
            "energyWh": order.energy_wh,
            "limitPrice": order.limit_price,
            "evidence": order.evidence,
        },
    )


def expanded(compact: bytes) -> bytes:
    """An EIP-2098 signature as r, s, v."""
    vs = int.from_bytes(compact[32:])
    return compact[:32] + (vs & (2**255 - 1)).to_bytes(32) + bytes([27 + (vs >> 255)])


@given(
    household=st.integers(1, 2**18 - 1),
    slot=st.integers(0, 2**32 - 1),
    side=st.sampled_from(Side),
    energy_wh=st.integers(1, 2**24 - 1),
    price=st.integers(1, 2**32 - 1),
    evidence=st.binary(min_size=32, max_size=32),
)
def test_an_orders_signature_is_that_of_its_typed_data(
    household: int, slot: int, side: Side, energy_wh: int, price: int, evidence: bytes
) -> None:
    order = Order(household, slot, side, energy_wh, price, evidence)
    signature = MarketSigner(KEY, CHAIN, MARKET).sign(order)
    assert len(signature) == 64
    recovered = Account.recover_message(signable(order), signature=expanded(signature))
    assert recovered == KEY.address


def test_both_parities_occur_and_recover() -> None:
    """The parity hides in the top bit of s: one order in two has it set."""
    signer = MarketSigner(KEY, CHAIN, MARKET)
    orders = [replace(ORDER, slot=slot) for slot in range(40)]
    parities = {signer.sign(order)[32] >> 7 for order in orders}
    assert parities == {0, 1}


def test_the_same_order_gives_the_same_bytes() -> None:
    signed = {MarketSigner(Key(KEY.secret), CHAIN, MARKET).sign(ORDER) for _ in range(5)}
    assert len(signed) == 1


@pytest.mark.parametrize(
    ("chain", "market"), [(62, MARKET), (CHAIN, "0x00000000000000000000000000000000000000aC")]
)
def test_a_signature_counts_on_one_chain_and_one_market(chain: int, market: str) -> None:
    elsewhere = MarketSigner(KEY, chain, market).sign(ORDER)
    assert Account.recover_message(signable(ORDER), signature=expanded(elsewhere)) != KEY.address


def test_every_field_of_an_order_is_signed() -> None:
    others = [
        replace(ORDER, household=8),
        replace(ORDER, slot=ORDER.slot + 1),
        replace(ORDER, side=Side.ASK),
        replace(ORDER, energy_wh=501),
        replace(ORDER, limit_price=9_100),
        replace(ORDER, evidence=bytes(32)),
    ]
    assert len({order_hash(order) for order in [ORDER, *others]}) == 7


def test_an_owner_names_its_signer_by_typed_data() -> None:
    nonce, deadline_s = 3, 2**64 - 1
    digest = registry_domain(CHAIN, MARKET).digest(
        name_signer_hash(7, KEY.address, nonce, deadline_s)
    )
    message = typed_data(
        "daisee registry",
        "NameSigner",
        NAME_SIGNER_FIELDS,
        {"household": 7, "signer": KEY.address, "nonce": nonce, "deadline": deadline_s},
    )
    signature = KEY.sign_recoverable(digest)
    assert len(signature) == 65
    assert Account.recover_message(message, signature=signature) == KEY.address


def test_a_key_shows_its_address_and_never_itself() -> None:
    secret = random.Random(1).randbytes(32)
    key = Key(secret)
    assert key.address == Account.from_key(secret).address
    assert key.secret == secret
    for text in (repr(key), str(key), f"{key}"):
        assert key.address in text
        assert secret.hex() not in text
