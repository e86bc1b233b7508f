"""Who may call what: every function of every contract that is no view, for everybody there is.

``MAY`` is the table. It is compared with the ABIs, so that a new function fails until somebody has
said who may call it; then each cell is executed, from a state in which the call would succeed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Final

import pytest

from tests.support.access_stage import (
    ACTORS,
    ADMIN,
    ARGUMENTS,
    EVERYBODY,
    FEES,
    GOVERNANCE,
    GRID,
    GUARDIAN,
    NEIGHBOUR,
    NOBODY,
    OFFERED,
    OPERATOR,
    OWNER,
    SLOW_OPERATOR,
    SUPPLIER,
    TREASURER,
    prepare,
    stage,
)
from tests.support.evm import Reverted

CONTRACTS: Final = (
    "AccessManager",
    "HouseholdRegistry",
    "SettlementCredit",
    "EnergyMarket",
    "RecordBook",
)


def only(*actors: str) -> frozenset[str]:
    return frozenset(actors)


MAY: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "AccessManager": {
        "cancel": only(ADMIN, SLOW_OPERATOR),  # who scheduled it, and its role's guardian
        "consumeScheduledOp": NOBODY,  # for the contracts themselves
        "execute": only(OPERATOR),  # what is executed here is the operator's
        "grantRole": only(ADMIN),
        "labelRole": only(ADMIN),
        "multicall": only(ADMIN),  # what is called here is the administrator's
        "renounceRole": EVERYBODY,  # its own
        "revokeRole": only(ADMIN),
        "schedule": only(SLOW_OPERATOR),
        "setGrantDelay": only(ADMIN),
        "setRoleAdmin": only(ADMIN),
        "setRoleGuardian": only(ADMIN),
        "setTargetAdminDelay": only(ADMIN),
        "setTargetClosed": only(ADMIN),
        "setTargetFunctionRole": only(ADMIN),
        "updateAuthority": only(ADMIN),
    },
    "HouseholdRegistry": {
        "acceptOwnership": only(OFFERED),
        "admit": only(OPERATOR),
        "changeLimits": only(OPERATOR),
        "changeSupplier": only(OPERATOR),
        "completeRecovery": EVERYBODY,  # once its delay has passed
        "nameSigner": only(OWNER),
        "nameSignerFor": EVERYBODY,  # carries the owner's signature
        "offerOwnership": only(OWNER),
        "reinstate": only(OPERATOR),
        "revokeSigner": only(OPERATOR),
        "setAuthority": NOBODY,  # the access manager, by updateAuthority
        "startRecovery": only(OPERATOR),
        "stopRecovery": only(OWNER, OPERATOR),
        "suspend": only(OPERATOR),
    },
    "SettlementCredit": {
        "approve": EVERYBODY,
        "issue": only(TREASURER),
        "permit": EVERYBODY,  # carries the holder's signature
        "redeem": only(TREASURER),
        "setAuthority": NOBODY,
        "transfer": EVERYBODY,  # its own
        "transferFrom": only(NEIGHBOUR, TREASURER),  # whom the holder allowed it here
    },
    "EnergyMarket": {
        "clear": EVERYBODY,
        "deposit": EVERYBODY,
        "depositWithPermit": EVERYBODY,
        "pause": only(GUARDIAN),
        "scheduleRules": only(GOVERNANCE),
        "setAuthority": NOBODY,
        "settle": EVERYBODY,
        "submitOrder": EVERYBODY,  # carries the signer's signature
        "submitBatch": EVERYBODY,
        "unpause": only(GUARDIAN),
        "withdraw": only(OWNER),
        "withdrawFees": only(FEES),
    },
    "RecordBook": {
        "recordReport": only(SUPPLIER),
        "recordRuling": only(GRID),
        "setAuthority": NOBODY,
    },
}

DENIALS: Final = {
    "AccessManagedUnauthorized",
    "AccessManagerNotScheduled",  # an operator with a delay, who did not schedule it
    "AccessManagerUnauthorizedAccount",
    "AccessManagerUnauthorizedCall",
    "AccessManagerUnauthorizedCancel",
    "AccessManagerUnauthorizedConsume",
    "ERC20InsufficientAllowance",
    "EnergyMarketInsufficientBalance",  # fees of its own it has none
    "EnergyMarketNotOwner",
    "HouseholdRegistryNotOffered",
    "HouseholdRegistryNotOwner",
    "silence",  # consumeScheduledOp asks its caller, and only a contract could answer
}
"""What a call without the right ends with: any other revert means that the cell tested nothing."""


def functions_that_write(name: str) -> set[str]:
    """The functions of a contract's ABI that are no views, by name."""
    text = resources.files("node.chain").joinpath("artifacts", f"{name}.json").read_text()
    entries = [entry for entry in json.loads(text)["abi"] if entry["type"] == "function"]
    names = [entry["name"] for entry in entries]
    assert len(names) == len(set(names)), "an overloaded function needs a name of its own here"
    views = {"view", "pure"}
    return {entry["name"] for entry in entries if entry["stateMutability"] not in views}


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_function_is_classified(name: str) -> None:
    assert set(MAY[name]) == functions_that_write(name)
    assert set(ARGUMENTS[name]) == set(MAY[name])


def test_the_table_knows_every_contract() -> None:
    folder = resources.files("node.chain").joinpath("artifacts")
    assert {file.name.removesuffix(".json") for file in folder.iterdir()} == set(CONTRACTS)
    assert set(MAY) == set(CONTRACTS)


@pytest.mark.parametrize(
    ("name", "function"), [(name, function) for name in CONTRACTS for function in MAY[name]]
)
def test_who_may_call(name: str, function: str) -> None:
    """One row of the table: everybody tries, and exactly those who may succeed."""
    community, moment = stage().community, stage().moment
    succeeded, denials = set[str](), set[str]()
    for actor, address in ACTORS.items():
        community.restore(moment)
        prepare(community, name, function)
        arguments = ARGUMENTS[name][function](community, address)
        try:
            community.send(name, function, *arguments, sender=address)
        except Reverted as error:
            denials.add(error.name)
        else:
            succeeded.add(actor)
    assert succeeded == MAY[name][function]
    assert denials <= DENIALS
