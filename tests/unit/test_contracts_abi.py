"""Calls, results and reverts against values that are known from elsewhere."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from node.chain.bootstrap import ROLE_FUNCTIONS
from node.chain.contracts import contract
from node.model import Refusal

NAMES = (
    "AccessManager",
    "EnergyMarket",
    "HouseholdRegistry",
    "RecordBook",
    "SettlementCredit",
)
ALICE = "0x00000000000000000000000000000000000a11ce"


def test_a_call_of_a_standard_function_is_the_standards() -> None:
    credit = contract("SettlementCredit")
    data = credit.call("transfer", ALICE, 5)
    assert data.hex() == "a9059cbb" + ALICE[2:].rjust(64, "0") + f"{5:064x}"
    assert credit.topics["Transfer"].hex() == (
        "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    )


def test_structs_are_spelled_out_in_selectors() -> None:
    market = contract("EnergyMarket")
    scheduled = "scheduleRules((uint32,int32,uint32,uint32,uint32,uint16,uint32,address))"
    assert market.functions["scheduleRules"].selector == keccak(text=scheduled)[:4]
    batch = market.functions["submitBatch"]
    assert batch.inputs[0].startswith("(")
    assert batch.inputs[0].endswith(")[]")


def test_results_come_back_as_they_were_encoded() -> None:
    result = contract("EnergyMarket").functions["resultOf"]
    assert result.result(encode(result.outputs, (True, 25_000, 500))) == (True, 25_000, 500)


def test_a_revert_is_named_with_its_values() -> None:
    market = contract("EnergyMarket")
    data = keccak(text="EnergyMarketAlreadyCleared(uint32)")[:4] + encode(["uint32"], [77])
    assert market.revert_reason(data) == ("EnergyMarketAlreadyCleared", (77,))


@pytest.mark.parametrize("data", [b"", b"\x01\x02", b"\xde\xad\xbe\xef" + bytes(32)])
def test_a_revert_that_nobody_knows_is_called_so(data: bytes) -> None:
    assert contract("EnergyMarket").revert_reason(data) == ("unknown", ())


@pytest.mark.parametrize("name", NAMES)
def test_each_artifact_can_be_created_on_every_engine(name: str) -> None:
    found = contract(name)
    assert found.functions
    # EIP-170 counts the runtime code, EIP-3860 (not in London yet) this: within it, so within both.
    assert 0 < len(found.bytecode) < 2 * 24_576


@pytest.mark.parametrize("name", ROLE_FUNCTIONS)
def test_the_functions_given_to_roles_exist(name: str) -> None:
    for functions in ROLE_FUNCTIONS[name].values():
        assert set(functions) <= contract(name).functions.keys()


def test_errors_of_one_contract_do_not_share_a_selector() -> None:
    for name in NAMES:
        errors = contract(name).errors
        assert len({known for known, _ in errors.values()}) == len(errors)


def test_refusals_have_the_contracts_numbers() -> None:
    """The event's reason is an enumeration: its members have no names on chain, but an order."""
    assert [refusal.value for refusal in Refusal] == list(range(12))
