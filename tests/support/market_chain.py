"""One community's contracts on py-evm, for tests: the roles of a neighbourhood, members with keys.

``DAISEE_TEST_ARTIFACTS`` names a folder whose compiled contracts stand in for those of the node, by
file name: how the mutation gate puts a wrong contract in front of the same tests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from node.chain.bootstrap import ROLE_FUNCTIONS, Role, rules_argument
from node.chain.client import order_argument
from node.chain.contracts import Contract, contract, contract_of
from node.chain.events import LogDecoder
from node.chain.keys import Key, MarketSigner
from node.model import BEFORE_ALL, MarketEvent, MarketRules, Order, SignedOrder
from tests.support.evm import CHAIN_ID, Done, Evm, Reverted, World

ADMINISTRATOR: Final = "0x" + "a0" * 20
FEE_RECIPIENT: Final = "0x" + "fe" * 20
OUTSIDER: Final = "0x" + "0e" * 20

HOLDERS: Final = {role: f"0x{0xB0 + role:02x}" + "b0" * 19 for role in Role}
"""Who holds each role, without delay. The administrator holds none of them."""

RECOVERY_DELAY_S: Final = 7 * 86400

GENESIS_S: Final = 1_464_739_200  # 2016-06-01T00:00:00Z

CREDIT_UNITS: Final = 10**16
"""What a member's account starts with when nothing else is said: 10^8 EUR."""

NO_SIGNATURE: Final = bytes(64)


@cache
def compiled(name: str) -> Contract:
    """A contract of the node, or what stands in for it."""
    folder = os.environ.get("DAISEE_TEST_ARTIFACTS")
    file = Path(folder, f"{name}.json") if folder else None
    if file is None or not file.exists():
        return contract(name)
    return contract_of(name, json.loads(file.read_text()))


@dataclass(slots=True)
class Member:
    """A household: its number, its owner's and its signer's keys, and what signs its orders."""

    number: int
    owner: Key
    signer: Key
    pen: MarketSigner


@dataclass(frozen=True, slots=True)
class Moment:
    """A community as it once was."""

    world: World
    now_s: int
    members: tuple[Member, ...]


class Community:
    """The contracts of one neighbourhood and everybody who may do something with them."""

    def __init__(self, rules: MarketRules, credit_contract: Contract | None = None) -> None:
        self.evm = Evm()
        self.evm.now_s = GENESIS_S
        self.members: dict[int, Member] = {}
        self.rules = rules
        self.addresses: dict[str, str] = {}
        self._decoder = LogDecoder(rules.slot_s)
        self._contracts = {
            name: compiled(name)
            for name in ("AccessManager", "HouseholdRegistry", "EnergyMarket", "RecordBook")
        }
        self._contracts["SettlementCredit"] = credit_contract or compiled("SettlementCredit")
        self._deploy()

    def _deploy(self) -> None:
        access = self._create("AccessManager", ADMINISTRATOR)
        registry = self._create("HouseholdRegistry", access, RECOVERY_DELAY_S)
        credit = self._create("SettlementCredit", access)
        first = rules_argument(0, self.rules)
        self._create("EnergyMarket", access, registry, credit, self.rules.slot_s, first)
        self._create("RecordBook", access)
        for name, roles in ROLE_FUNCTIONS.items():
            for role, functions in roles.items():
                known = self._contracts[name].functions
                selectors = [known[function].selector for function in functions]
                self.send(
                    "AccessManager",
                    "setTargetFunctionRole",
                    self.addresses[name],
                    selectors,
                    int(role),
                    sender=ADMINISTRATOR,
                )
        for role, holder in HOLDERS.items():
            self.send("AccessManager", "grantRole", int(role), holder, 0, sender=ADMINISTRATOR)

    def _create(self, name: str, *arguments: object) -> str:
        address = self.evm.create(self._contracts[name], *arguments, sender=ADMINISTRATOR)
        self.addresses[name] = address
        return address

    # Talking to the contracts

    def known(self, name: str) -> Contract:
        """A contract as it was deployed here."""
        return self._contracts[name]

    def send(self, name: str, function: str, *arguments: object, sender: str) -> Done:
        """A transaction to a contract by its name. Raises Reverted."""
        return self.evm.send(
            self.addresses[name], self._contracts[name], function, *arguments, sender=sender
        )

    def call(self, name: str, function: str, *arguments: object, sender: str = "") -> Any:  # noqa: ANN401 - the ABI decides
        """A view of a contract by its name."""
        return self.evm.call(
            self.addresses[name], self._contracts[name], function, *arguments, sender=sender
        )

    def view(self, function: str, *arguments: object) -> Any:  # noqa: ANN401 - the ABI decides
        """A view of the market."""
        return self.call("EnergyMarket", function, *arguments)

    def events(self, done: Done) -> list[MarketEvent]:
        """The market's events of a transaction; their positions say nothing."""
        market = self.addresses["EnergyMarket"]
        logs = (log for log in done.logs if log.address == market)
        return self._decoder.decode(
            {"topics": log.topics, "data": log.data, "blockNumber": 0, "logIndex": 0}
            for log in logs
        )

    def save(self) -> Moment:
        """The community as it is now."""
        members = tuple(replace(member) for member in self.members.values())
        return Moment(self.evm.save(), self.evm.now_s, members)

    def restore(self, moment: Moment) -> None:
        """Come back to a saved moment."""
        self.evm.restore(moment.world)
        self.evm.now_s = moment.now_s
        self.members = {member.number: replace(member) for member in moment.members}

    # Members

    def admit(self, import_limit_wh: int, export_limit_wh: int, *, units: int = 0) -> Member:
        """Admit a household whose owner names a signer; with credit in its account."""
        number = int(self.call("HouseholdRegistry", "households")) + 1
        owner = key_of(f"owner {number}")
        operator = HOLDERS[Role.OPERATOR]
        limits = (import_limit_wh, export_limit_wh)
        self.send("HouseholdRegistry", "admit", owner.address, *limits, 1, sender=operator)
        signer = key_of(f"signer {number}")
        member = self.members[number] = Member(number, owner, signer, self._pen(signer))
        self.name_signer(number, signer)
        if units:
            self.deposit(number, units)
        return member

    def name_signer(self, number: int, signer: Key) -> None:
        """The owner names its household's signer; from now on its orders are signed with it."""
        member = self.members[number]
        owner = member.owner.address
        self.send("HouseholdRegistry", "nameSigner", number, signer.address, sender=owner)
        member.signer, member.pen = signer, self._pen(signer)

    def deposit(self, number: int, units: int) -> Done:
        """The treasurer issues credit and puts it into a household's account."""
        treasurer = HOLDERS[Role.TREASURER]
        self.send("SettlementCredit", "issue", treasurer, units, sender=treasurer)
        market = self.addresses["EnergyMarket"]
        self.send("SettlementCredit", "approve", market, units, sender=treasurer)
        return self.send("EnergyMarket", "deposit", number, units, sender=treasurer)

    def withdraw(self, number: int, units: int) -> Done:
        """The owner takes credit out of its household's account."""
        owner = self.members[number].owner.address
        return self.send("EnergyMarket", "withdraw", number, units, owner, sender=owner)

    # Slots

    def signed(self, order: Order) -> SignedOrder:
        """An order with the signature of its household's signer; of nobody for a stranger's."""
        member = self.members.get(order.household)
        return SignedOrder(order, member.pen.sign(order) if member else NO_SIGNATURE)

    def submit(self, order: SignedOrder) -> Done:
        """One order, carried by somebody. Raises Reverted with the refusal."""
        return self.send("EnergyMarket", "submitOrder", order_argument(order), sender=OUTSIDER)

    def submit_batch(self, orders: Iterable[SignedOrder]) -> Done:
        """Many orders in one transaction."""
        arguments = [order_argument(order) for order in orders]
        return self.send("EnergyMarket", "submitBatch", arguments, sender=OUTSIDER)

    def clear(self, slot: int) -> Done:
        """Clear a slot. Raises Reverted."""
        return self.send("EnergyMarket", "clear", slot, sender=OUTSIDER)

    def settle(self, slot: int, households: Sequence[int]) -> Done:
        """Settle households' orders of a slot."""
        return self.send("EnergyMarket", "settle", slot, list(households), sender=OUTSIDER)

    def schedule(self, from_slot: int, rules: MarketRules) -> Done:
        """Set the rules from a slot on. Raises Reverted."""
        governance = HOLDERS[Role.GOVERNANCE]
        argument = rules_argument(from_slot, rules)
        return self.send("EnergyMarket", "scheduleRules", argument, sender=governance)

    def balance_units(self, number: int) -> int:
        """A household's free credit."""
        return int(self.view("balanceOf", number))

    def credit_units(self, holder: str) -> int:
        """The settlement credit that an address holds outside of the market."""
        return int(self.call("SettlementCredit", "balanceOf", holder))

    def _pen(self, signer: Key) -> MarketSigner:
        return MarketSigner(signer, CHAIN_ID, self.addresses["EnergyMarket"])


@cache
def key_of(name: str) -> Key:
    """A key that a name stands for, the same in every run."""
    return Key(name.encode().rjust(32, b"\x01"))


def without_positions(events: Iterable[MarketEvent]) -> list[MarketEvent]:
    """Events to compare by kind and value: one market's log positions mean nothing to another."""
    return [replace(event, position=BEFORE_ALL) for event in events]


def refused(error: Reverted) -> int:
    """The number of the reason for which an order alone was refused."""
    assert error.name == "EnergyMarketOrderRefused", error
    return int(error.values[0])
