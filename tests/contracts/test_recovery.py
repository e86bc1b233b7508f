"""A lost owner key is replaced in public, after a delay in which the owner can object."""

from __future__ import annotations

import pytest

from node.chain.bootstrap import Role
from node.model import Order, Side
from tests.support.access_stage import (
    ACTORS,
    ADMIN,
    HOUSEHOLD,
    OFFERED,
    OPERATOR,
    OWNER,
    RESCUER,
    SLOT,
    STRANGER,
    name_signer_for,
    stage,
)
from tests.support.evm import Reverted
from tests.support.market_chain import HOLDERS, OUTSIDER, RECOVERY_DELAY_S, Community, key_of


def recovering() -> Community:
    """Household 1 orders and has credit; the operator has just said that its owner key is lost."""
    community = stage().community
    community.restore(stage().moment)
    return community


def test_a_recovery_waits_for_its_delay() -> None:
    community = recovering()
    _, effective_at_s = community.call("HouseholdRegistry", "recoveryOf", HOUSEHOLD)
    assert effective_at_s == community.evm.now_s + RECOVERY_DELAY_S
    community.evm.now_s = effective_at_s - 1
    for actor in ACTORS.values():
        with pytest.raises(Reverted, match="HouseholdRegistryRecoveryPending"):
            community.send("HouseholdRegistry", "completeRecovery", HOUSEHOLD, sender=actor)
    community.evm.now_s = effective_at_s
    community.send("HouseholdRegistry", "completeRecovery", HOUSEHOLD, sender=OUTSIDER)
    assert community.call("HouseholdRegistry", "ownerOf", HOUSEHOLD) == ACTORS[RESCUER]


def test_the_old_owner_objects_and_stays() -> None:
    community = recovering()
    community.send("HouseholdRegistry", "stopRecovery", HOUSEHOLD, sender=ACTORS[OWNER])
    community.evm.now_s += 2 * RECOVERY_DELAY_S
    for actor in ACTORS.values():
        with pytest.raises(Reverted, match="HouseholdRegistryNoRecovery"):
            community.send("HouseholdRegistry", "completeRecovery", HOUSEHOLD, sender=actor)
    assert community.call("HouseholdRegistry", "ownerOf", HOUSEHOLD) == ACTORS[OWNER]


def test_a_recovery_begun_again_waits_again() -> None:
    community = recovering()
    community.evm.now_s += RECOVERY_DELAY_S - 1
    begin = (HOUSEHOLD, ACTORS[STRANGER])
    community.send("HouseholdRegistry", "startRecovery", *begin, sender=HOLDERS[Role.OPERATOR])
    community.evm.now_s += 1
    with pytest.raises(Reverted, match="HouseholdRegistryRecoveryPending"):
        community.send("HouseholdRegistry", "completeRecovery", HOUSEHOLD, sender=OUTSIDER)


def test_what_the_old_owner_began_ends_with_its_ownership() -> None:
    """Neither its offer nor a signature that it gave earlier works against the new owner."""
    community = recovering()
    given = name_signer_for(community, "")
    community.evm.now_s += RECOVERY_DELAY_S
    community.send("HouseholdRegistry", "completeRecovery", HOUSEHOLD, sender=OUTSIDER)
    with pytest.raises(Reverted, match="HouseholdRegistryNotOffered"):
        community.send("HouseholdRegistry", "acceptOwnership", HOUSEHOLD, sender=ACTORS[OFFERED])
    with pytest.raises(Reverted, match="HouseholdRegistryWrongSignature"):
        community.send("HouseholdRegistry", "nameSignerFor", *given, sender=OUTSIDER)
    with pytest.raises(Reverted, match="EnergyMarketNotOwner"):
        community.withdraw(HOUSEHOLD, 1)
    balance = community.balance_units(HOUSEHOLD)
    rescuer = ACTORS[RESCUER]
    community.send("EnergyMarket", "withdraw", HOUSEHOLD, balance, rescuer, sender=rescuer)


def test_a_pending_recovery_moves_no_money() -> None:
    community = recovering()
    for actor in (RESCUER, OPERATOR, ADMIN):
        call = ("withdraw", HOUSEHOLD, 1, ACTORS[actor])
        with pytest.raises(Reverted, match="EnergyMarketNotOwner"):
            community.send("EnergyMarket", *call, sender=ACTORS[actor])
    community.withdraw(HOUSEHOLD, community.balance_units(HOUSEHOLD))


def test_a_signature_for_a_signer_counts_once_and_in_time() -> None:
    community = recovering()
    given = name_signer_for(community, "")
    community.send("HouseholdRegistry", "nameSignerFor", *given, sender=OUTSIDER)
    with pytest.raises(Reverted, match="HouseholdRegistryWrongSignature"):
        community.send("HouseholdRegistry", "nameSignerFor", *given, sender=OUTSIDER)
    late = (HOUSEHOLD, OUTSIDER, community.evm.now_s - 1, given[-1])
    with pytest.raises(Reverted, match="HouseholdRegistryExpired"):
        community.send("HouseholdRegistry", "nameSignerFor", *late, sender=OUTSIDER)


def test_the_operator_cannot_put_a_signer_in_place_of_a_revoked_one() -> None:
    """A replaced signer could buy at the cap. A signature given before does not bring it back."""
    community = recovering()
    given = name_signer_for(community, "")
    operator = HOLDERS[Role.OPERATOR]
    community.send("HouseholdRegistry", "revokeSigner", HOUSEHOLD, sender=operator)
    with pytest.raises(Reverted, match="HouseholdRegistryNotOwner"):
        community.send("HouseholdRegistry", "nameSigner", HOUSEHOLD, operator, sender=operator)
    with pytest.raises(Reverted, match="HouseholdRegistryWrongSignature"):
        community.send("HouseholdRegistry", "nameSignerFor", *given, sender=operator)
    with pytest.raises(Reverted, match="EnergyMarketOrderRefused"):
        community.submit(community.signed(Order(HOUSEHOLD, SLOT + 2, Side.BID, 1, 4_000)))
    community.name_signer(HOUSEHOLD, key_of("the next signer"))
    community.submit(community.signed(Order(HOUSEHOLD, SLOT + 2, Side.BID, 1, 4_000)))
