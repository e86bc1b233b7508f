"""A community in which everybody has something to do, and everybody who could try it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from node.chain.bootstrap import NO_DEADLINE_S, Role, rules_argument
from node.chain.client import order_argument
from node.chain.contracts import contract
from node.chain.keys import Domain, name_signer_hash, registry_domain
from node.model import MarketRules, Order, Side
from node.slots import slot_at
from tests.support.credit_permit import permit_arguments
from tests.support.evm import CHAIN_ID
from tests.support.market_chain import (
    ADMINISTRATOR,
    FEE_RECIPIENT,
    GENESIS_S,
    HOLDERS,
    OUTSIDER,
    RECOVERY_DELAY_S,
    Community,
    Moment,
    key_of,
)

# Who there is
OWNER, SIGNER, NEIGHBOUR = "owner", "signer", "neighbour"
OFFERED, RESCUER = "offered", "new owner of a recovery"
ADMIN, SLOW_OPERATOR = "administrator", "operator with a delay"
FEES, STRANGER = "fee recipient", "outsider"
ROLES: Final = {role.name.lower(): address for role, address in HOLDERS.items()}
OPERATOR, TREASURER, GUARDIAN, GOVERNANCE, GRID, SUPPLIER = ROLES

ACTORS: Final[Mapping[str, str]] = {
    **ROLES,
    ADMIN: ADMINISTRATOR,
    SLOW_OPERATOR: "0x" + "51" * 20,
    OWNER: key_of("owner 1").address.lower(),
    SIGNER: key_of("signer 1").address.lower(),
    NEIGHBOUR: key_of("owner 2").address.lower(),
    OFFERED: "0x" + "0f" * 20,
    RESCUER: "0x" + "4e" * 20,
    FEES: FEE_RECIPIENT,
    STRANGER: OUTSIDER,
}
EVERYBODY: Final = frozenset(ACTORS)
NOBODY: Final[frozenset[str]] = frozenset()

RULES: Final = MarketRules(network_fee=200, fee_recipient=FEE_RECIPIENT)
SLOT: Final = slot_at(GENESIS_S, RULES.slot_s) + 10
HOUSEHOLD: Final = 1


@dataclass(frozen=True, slots=True)
class Stage:
    """A community in which every call of the table has something to do."""

    community: Community
    moment: Moment


@cache
def stage() -> Stage:
    """Slot SLOT is settled and paid fees, the next waits for its clearing, the third is open."""
    community = Community(RULES)
    community.admit(5_000, 5_000, units=10**9)
    community.admit(5_000, 5_000, units=10**9)
    for slot in (SLOT, SLOT + 1):
        community.evm.now_s = RULES.gate_opens_s(slot)
        ask, bid = Order(1, slot, Side.ASK, 9, 4_000), Order(2, slot, Side.BID, 9, 4_000)
        community.submit_batch([community.signed(ask), community.signed(bid)])
    community.settle(SLOT, [1, 2])
    community.evm.now_s = RULES.gate_opens_s(SLOT + 2)

    treasurer, operator, market = (
        HOLDERS[Role.TREASURER],
        HOLDERS[Role.OPERATOR],
        community.addresses["EnergyMarket"],
    )
    for actor in ACTORS.values():
        community.send("SettlementCredit", "issue", actor, 100, sender=treasurer)
        community.send("SettlementCredit", "approve", market, 100, sender=actor)
    owner = ACTORS[OWNER]
    for allowed in (ACTORS[NEIGHBOUR], treasurer):
        community.send("SettlementCredit", "approve", allowed, 10, sender=owner)
    slow = (int(Role.OPERATOR), ACTORS[SLOW_OPERATOR], 3_600)
    community.send("AccessManager", "grantRole", *slow, sender=ADMINISTRATOR)
    community.send("HouseholdRegistry", "offerOwnership", 1, ACTORS[OFFERED], sender=owner)
    community.send("HouseholdRegistry", "startRecovery", 1, ACTORS[RESCUER], sender=operator)
    return Stage(community, community.save())


def suspension() -> bytes:
    """Call data of an operator's function, for the access manager to carry."""
    return contract("HouseholdRegistry").call("suspend", HOUSEHOLD)


Arguments = Callable[[Community, str], tuple[object, ...]]


def _signed(community: Community, side: Side) -> tuple[object, ...]:
    order = Order(HOUSEHOLD, SLOT + 2, side, 5, 4_000)
    return order_argument(community.signed(order))


def name_signer_for(community: Community, _actor: str) -> tuple[object, ...]:
    """The owner's signature by which anybody can name OUTSIDER the signer."""
    registry, signer = community.addresses["HouseholdRegistry"], ACTORS[STRANGER]
    nonce = community.call("HouseholdRegistry", "signerNonce", HOUSEHOLD)
    digest = registry_domain(CHAIN_ID, registry).digest(
        name_signer_hash(HOUSEHOLD, signer, nonce, NO_DEADLINE_S)
    )
    signature = community.members[HOUSEHOLD].owner.sign_recoverable(digest)
    return (HOUSEHOLD, signer, NO_DEADLINE_S, signature)


def _permit(community: Community, _actor: str) -> tuple[object, ...]:
    holder = key_of("owner 2")
    credit = Domain("daisee settlement credit", CHAIN_ID, community.addresses["SettlementCredit"])
    return permit_arguments(credit, holder, ACTORS[STRANGER], 7, 0, NO_DEADLINE_S)


def _rules(community: Community, _actor: str) -> tuple[object, ...]:
    return (rules_argument(slot_at(community.evm.now_s, RULES.slot_s) + 10, RULES),)


def _selectors() -> list[bytes]:
    return [contract("EnergyMarket").functions["deposit"].selector]


def _grant(community: Community) -> bytes:
    del community
    return contract("AccessManager").call("grantRole", int(Role.SUPPLIER), OUTSIDER, 0)


ARGUMENTS: Final[Mapping[str, Mapping[str, Arguments]]] = {
    "AccessManager": {
        "cancel": lambda c, _: (
            ACTORS[SLOW_OPERATOR],
            c.addresses["HouseholdRegistry"],
            suspension(),
        ),
        "consumeScheduledOp": lambda _, __: (ACTORS[SLOW_OPERATOR], suspension()),
        "execute": lambda c, _: (c.addresses["HouseholdRegistry"], suspension()),
        "grantRole": lambda _, __: (int(Role.SUPPLIER), OUTSIDER, 0),
        "labelRole": lambda _, __: (int(Role.SUPPLIER), "supplier"),
        "multicall": lambda c, _: ([_grant(c)],),
        "renounceRole": lambda _, actor: (int(Role.OPERATOR), actor),
        "revokeRole": lambda _, __: (int(Role.SUPPLIER), HOLDERS[Role.SUPPLIER]),
        "schedule": lambda c, _: (c.addresses["HouseholdRegistry"], suspension(), 0),
        "setGrantDelay": lambda _, __: (int(Role.SUPPLIER), 60),
        "setRoleAdmin": lambda _, __: (int(Role.SUPPLIER), int(Role.OPERATOR)),
        "setRoleGuardian": lambda _, __: (int(Role.SUPPLIER), int(Role.OPERATOR)),
        "setTargetAdminDelay": lambda c, _: (c.addresses["EnergyMarket"], 60),
        "setTargetClosed": lambda c, _: (c.addresses["EnergyMarket"], True),
        "setTargetFunctionRole": lambda c, _: (
            c.addresses["EnergyMarket"],
            _selectors(),
            int(Role.OPERATOR),
        ),
        "updateAuthority": lambda c, _: (
            c.addresses["EnergyMarket"],
            c.addresses["AccessManager"],
        ),
    },
    "HouseholdRegistry": {
        "acceptOwnership": lambda _, __: (HOUSEHOLD,),
        "admit": lambda _, __: (OUTSIDER, 100, 100, 1),
        "changeLimits": lambda _, __: (HOUSEHOLD, 1, 1),
        "changeSupplier": lambda _, __: (HOUSEHOLD, 2),
        "completeRecovery": lambda _, __: (HOUSEHOLD,),
        "nameSigner": lambda _, __: (HOUSEHOLD, OUTSIDER),
        "nameSignerFor": name_signer_for,
        "offerOwnership": lambda _, __: (HOUSEHOLD, OUTSIDER),
        "reinstate": lambda _, __: (HOUSEHOLD,),
        "revokeSigner": lambda _, __: (HOUSEHOLD,),
        "setAuthority": lambda c, _: (c.addresses["AccessManager"],),
        "startRecovery": lambda _, __: (HOUSEHOLD, OUTSIDER),
        "stopRecovery": lambda _, __: (HOUSEHOLD,),
        "suspend": lambda _, __: (HOUSEHOLD,),
    },
    "SettlementCredit": {
        "approve": lambda _, __: (OUTSIDER, 1),
        "issue": lambda _, __: (OUTSIDER, 1),
        "permit": _permit,
        "redeem": lambda _, __: (ACTORS[OWNER], 10),
        "setAuthority": lambda c, _: (c.addresses["AccessManager"],),
        "transfer": lambda _, __: (OUTSIDER, 1),
        "transferFrom": lambda _, __: (ACTORS[OWNER], OUTSIDER, 10),
    },
    "EnergyMarket": {
        "clear": lambda _, __: (SLOT + 1,),
        "deposit": lambda _, __: (HOUSEHOLD, 100),
        "depositWithPermit": lambda _, __: (HOUSEHOLD, 100, 0, 27, bytes(32), bytes(32)),
        "pause": lambda _, __: (),
        "scheduleRules": _rules,
        "setAuthority": lambda c, _: (c.addresses["AccessManager"],),
        "settle": lambda _, __: (SLOT + 1, [1, 2]),
        "submitOrder": lambda c, _: (_signed(c, Side.ASK),),
        "submitBatch": lambda c, _: ([_signed(c, Side.ASK), _signed(c, Side.BID)],),
        "unpause": lambda _, __: (),
        "withdraw": lambda _, actor: (HOUSEHOLD, 1, actor),
        "withdrawFees": lambda _, actor: (1, actor),
    },
    "RecordBook": {
        "recordReport": lambda _, __: (1, SLOT, SLOT, b"d" * 32),
        "recordRuling": lambda _, __: (SLOT, b"d" * 32),
        "setAuthority": lambda c, _: (c.addresses["AccessManager"],),
    },
}


def prepare(community: Community, name: str, function: str) -> None:
    """What must be so before the call has something to do."""
    match name, function:
        case "AccessManager", "cancel":
            registry = community.addresses["HouseholdRegistry"]
            arguments = (registry, suspension(), 0)
            community.send("AccessManager", "schedule", *arguments, sender=ACTORS[SLOW_OPERATOR])
        case "HouseholdRegistry", "completeRecovery":
            community.evm.now_s += RECOVERY_DELAY_S
        case "EnergyMarket", "unpause":
            community.send("EnergyMarket", "pause", sender=HOLDERS[Role.GUARDIAN])
        case _:
            pass
