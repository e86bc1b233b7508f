"""From an empty chain to a market that trades: deploy the contracts, wire the roles, admit members.

Roles are those of "Roles" in ``docs/market.md``. A function that is in no role here belongs to
the access manager's administrators, and the tests walk the whole table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from node.chain.client import MARKET, MarketAddress, MarketClient
from node.chain.contracts import contract
from node.chain.keys import Key, name_signer_hash, registry_domain
from node.chain.rpc import Call, Rpc, Sender
from node.model import MarketRules

ACCESS: Final = contract("AccessManager")
REGISTRY: Final = contract("HouseholdRegistry")
CREDIT: Final = contract("SettlementCredit")
RECORDS: Final = contract("RecordBook")

RECOVERY_DELAY_S: Final = 7 * 86400
"""How long an owner can object when the operator says that its key is lost."""

NO_DEADLINE_S: Final = 2**64 - 1

GAS_PER_WIRING: Final = 400_000
"""A limit: the functions of one role, or one grant."""


ADMINISTRATOR_ROLE: Final = 0
"""Of the access manager itself: gives and takes all roles. Who deploys has it."""


class Role(IntEnum):
    """Who may do what, with the numbers that the access manager knows them by."""

    OPERATOR = 1
    TREASURER = 2
    GUARDIAN = 3
    GOVERNANCE = 4
    DISTRIBUTION_OPERATOR = 5
    SUPPLIER = 6


ROLE_FUNCTIONS: Final[Mapping[str, Mapping[Role, Sequence[str]]]] = {
    "HouseholdRegistry": {
        Role.OPERATOR: (
            "admit",
            "suspend",
            "reinstate",
            "revokeSigner",
            "changeLimits",
            "changeSupplier",
            "startRecovery",
        )
    },
    "SettlementCredit": {Role.TREASURER: ("issue", "redeem")},
    "EnergyMarket": {
        Role.GUARDIAN: ("pause", "unpause"),
        Role.GOVERNANCE: ("scheduleRules",),
    },
    "RecordBook": {
        Role.DISTRIBUTION_OPERATOR: ("recordRuling",),
        Role.SUPPLIER: ("recordReport",),
    },
}


@dataclass(frozen=True, slots=True)
class Deployment:
    """The addresses of one community's contracts."""

    access: str
    registry: str
    credit: str
    market: str
    records: str
    slot_s: int
    created_in_block: int

    def address_of(self, name: str) -> str:
        """A contract's address by its name."""
        return {
            "AccessManager": self.access,
            "HouseholdRegistry": self.registry,
            "SettlementCredit": self.credit,
            "EnergyMarket": self.market,
            "RecordBook": self.records,
        }[name]


async def deploy(
    rpc: Rpc,
    administrator: Sender,
    rules: MarketRules,
    *,
    recovery_delay_s: int = RECOVERY_DELAY_S,
) -> Deployment:
    """Create the five contracts and put every restricted function into its role: in transactions
    that do not wait for each other, because on a chain of five seconds a block each costs some.

    The administrator holds no role of the market by itself; ``grant`` gives them out.
    """
    created_in_block = await rpc.head()
    access, registry, credit, market, records = await administrator.will_create(5)
    creations = [
        Call.creating(ACCESS, administrator.address),
        Call.creating(REGISTRY, access, recovery_delay_s),
        Call.creating(CREDIT, access),
        Call.creating(MARKET, access, registry, credit, rules.slot_s, rules_argument(0, rules)),
        Call.creating(RECORDS, access),
    ]
    deployment = Deployment(
        access, registry, credit, market, records, rules.slot_s, created_in_block
    )
    wiring = [
        ACCESS.call(
            "setTargetFunctionRole",
            deployment.address_of(name),
            [contract(name).functions[function].selector for function in names],
            int(role),
        )
        for name, roles in ROLE_FUNCTIONS.items()
        for role, names in roles.items()
    ]
    gas = GAS_PER_WIRING * len(wiring)
    await administrator.send_all(
        [*creations, Call.of(access, ACCESS, "multicall", wiring, gas=gas)]
    )
    return deployment


async def grant_all(
    administrator: Sender, deployment: Deployment, grants: Sequence[tuple[int, str, int]]
) -> None:
    """Give several roles in one transaction: each with its account and its public delay in s."""
    await give_roles(administrator, deployment.access, grants)


async def give_roles(
    administrator: Sender, access: str, grants: Sequence[tuple[int, str, int]]
) -> None:
    """The same, by the access manager's address."""
    calls = [ACCESS.call("grantRole", int(role), account, delay) for role, account, delay in grants]
    gas = GAS_PER_WIRING * len(calls)
    await administrator.send(access, ACCESS, "multicall", calls, gas=gas)


async def grant(
    administrator: Sender, deployment: Deployment, role: Role, account: str, *, delay_s: int = 0
) -> None:
    """Give an account a role; ``delay_s`` is the public delay of everything it does with it."""
    await administrator.send(deployment.access, ACCESS, "grantRole", int(role), account, delay_s)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A household to come: its owner's key, its signer's address, its limits in each slot."""

    owner: Key
    signer: str
    import_limit_wh: int
    export_limit_wh: int
    supplier: int = 1


async def admit(
    rpc: Rpc,
    operator: Sender,
    deployment: Deployment,
    owner: Key,
    signer: str,
    *,
    import_limit_wh: int,
    export_limit_wh: int,
    supplier: int = 1,
) -> int:
    """Admit a household; returns its number."""
    newcomer = Newcomer(owner, signer, import_limit_wh, export_limit_wh, supplier)
    (number,) = await admit_all(rpc, operator, deployment, [newcomer])
    return number


async def admit_all(
    rpc: Rpc, operator: Sender, deployment: Deployment, newcomers: Sequence[Newcomer]
) -> list[int]:
    """Admit households, while nobody else admits any; returns their numbers.

    Each owner names its signer with a signature that the operator carries, so that a new household
    needs no gas of its own.
    """
    registry = deployment.registry
    first = int(await rpc.call(registry, REGISTRY, "households")) + 1
    numbers = list(range(first, first + len(newcomers)))
    domain = registry_domain(rpc.chain_id, registry)
    calls = []
    for number, new in zip(numbers, newcomers, strict=True):
        limits_wh = (new.import_limit_wh, new.export_limit_wh)
        digest = domain.digest(name_signer_hash(number, new.signer, 0, NO_DEADLINE_S))
        named = (number, new.signer, NO_DEADLINE_S, new.owner.sign_recoverable(digest))
        calls += [
            Call.of(registry, REGISTRY, "admit", new.owner.address, *limits_wh, new.supplier),
            Call.of(registry, REGISTRY, "nameSignerFor", *named),
        ]
    await operator.send_all(calls)
    return numbers


async def issue_and_deposit(
    treasurer: Sender, deployment: Deployment, amounts_units: Mapping[int, int]
) -> None:
    """Issue credit and put it into households' accounts of the market."""
    total = sum(amounts_units.values())
    credit, market = deployment.credit, deployment.market
    await treasurer.send_all(
        [
            Call.of(credit, CREDIT, "issue", treasurer.address, total),
            Call.of(credit, CREDIT, "approve", market, total),
            *(
                Call.of(market, MARKET, "deposit", household, amount)
                for household, amount in amounts_units.items()
            ),
        ]
    )


def market_client(rpc: Rpc, deployment: Deployment) -> MarketClient:
    """A client of the deployed market."""
    where = MarketAddress(deployment.market, deployment.slot_s, deployment.created_in_block)
    return MarketClient(rpc, where)


def rules_argument(from_slot: int, rules: MarketRules) -> tuple[object, ...]:
    """Market rules as the contract's ABI takes them."""
    return (
        from_slot,
        rules.gate_offset_s,
        rules.gate_s,
        rules.grid.floor_price,
        rules.grid.tick_size,
        rules.grid.ticks,
        rules.network_fee,
        rules.fee_recipient or "0x" + "00" * 20,
    )
