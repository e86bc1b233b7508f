"""What an order, a clearing and a block cost in gas: see scripts/gas.

Every figure is a receipt's ``gasUsed``, intrinsic cost and calldata included. Steady state means
that the rings have wrapped: every word that an order touches was written before.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.chain.client import order_argument
from node.chain.contracts import contract
from node.chain.engines.anvil import find_anvil
from node.chain.keys import Key, MarketSigner
from node.model import Order, Side, SignedOrder

SNAPSHOT: Final = Path("tests/contracts/gas_snapshot.json")
TOLERANCE_PERCENT: Final = 2

SLOT_S: Final = 900
GATE_S: Final = 300
FLOOR, TICK, TICKS = 4_000, 100, 224
FEW_TICKS: Final = 40
HOUSEHOLDS: Final = 5_000
TRACED_HOUSEHOLDS: Final = 10
FIRST_SLOT: Final = 1_900_000
BLOCK_GAS: Final = 30_000_000
CODE_LIMIT_BYTES: Final = 24_576
CHUNK: Final = 500
NEW_WORD_GAS: Final = 20_000
ANY_GAS: Final = 1_500_000_000
SMALL_GAS: Final = 1_000_000  # many transactions fit a block
CONTRACTS: Final = (
    "AccessManager",
    "HouseholdRegistry",
    "SettlementCredit",
    "EnergyMarket",
    "RecordBook",
)

BUDGETS: Final = {
    "order in a batch of 100, steady, 224 ticks": 33_000,
    "order in a batch of 100, steady, 40 ticks": 33_000,
    "order in a batch of 100, first revolution, 40 ticks": 52_000,
    "order alone, first of its slot, steady": 68_000,
    "order alone, in a new word of ticks, steady": 68_000,
    "order alone, at any other tick, steady": 68_000,
    "clear 10 orders": 650_000,
    "clear 100 orders": 650_000,
    "clear 1000 orders, every tick on both sides": 650_000,
    "clear 10000 orders, every tick on both sides": 650_000,
    "new words per household-slot, steady": 0,
}
ORDERS_PER_BLOCK: Final = "orders per block of 30 M gas"
LEAST_ORDERS_PER_BLOCK: Final = 900


class Chain:
    """An anvil of our own, spoken to in batches: admitting 5,000 households takes a while."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.sender: str = self.ask("eth_accounts")[0]
        self._nonce = 0

    def ask(self, method: str, *parameters: object) -> Any:  # noqa: ANN401 - JSON of any shape
        """One call's result."""
        return self.ask_many([(method, parameters)])[0]

    def ask_many(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Any]:
        """The results of calls that are made one after the other."""
        body = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": list(parameters)}
            for number, (method, parameters) in enumerate(calls)
        ]
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/", json.dumps(body), headers)
        answers = json.loads(self._connection.getresponse().read())
        for answer in answers:
            if "error" in answer:
                raise RuntimeError(str(answer["error"])[:500])
        return [answer["result"] for answer in sorted(answers, key=lambda answer: answer["id"])]

    def send(self, to: str | None, data: bytes, gas: int = ANY_GAS) -> dict[str, Any]:
        """A transaction's receipt; it must not revert."""
        return self.send_many(to, [data], gas)[0]

    def send_many(
        self, to: str | None, datas: Sequence[bytes], gas: int = SMALL_GAS
    ) -> list[dict[str, Any]]:
        """The receipts of transactions to one contract."""
        receipts: list[dict[str, Any]] = []
        for first in range(0, len(datas), CHUNK):
            transactions = [
                self._transaction(to, data, gas) for data in datas[first : first + CHUNK]
            ]
            hashes = self.ask_many([("eth_sendTransaction", [each]) for each in transactions])
            self.ask("evm_mine")
            receipts += self.ask_many([("eth_getTransactionReceipt", [each]) for each in hashes])
        assert all(receipt["status"] == "0x1" for receipt in receipts)
        return receipts

    def _transaction(self, to: str | None, data: bytes, gas: int) -> dict[str, str]:
        # With a nonce of ours: the calls of a batch are made at the same time.
        self._nonce += 1
        fields = {"from": self.sender, "data": "0x" + data.hex(), "nonce": hex(self._nonce - 1)}
        return fields | {"gas": hex(gas), "gasPrice": "0x1"} | ({"to": to} if to else {})

    def stamp(self, unix_s: int) -> None:
        """The next block's time."""
        self.ask("evm_setNextBlockTimestamp", unix_s)


@contextmanager
def anvil(*, tracing: bool = False) -> Iterator[Chain]:
    """A fresh chain on a free port of loopback, always with the same accounts.

    Tracing keeps every step of every transaction: bearable for a few small ones only.
    """
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = (
        "--hardfork london --host 127.0.0.1 --accounts 1 --balance 1000000000 --base-fee 0"
        f" --gas-price 1 --gas-limit 2000000000 --no-mining --prune-history --silent --port {port}"
        f" --timestamp {FIRST_SLOT * SLOT_S - 86_400}"
    )
    if tracing:
        options = options.replace("--prune-history", "--steps-tracing")
    process = subprocess.Popen([str(find_anvil()), *options.split()])
    try:
        yield _first_answer(port, process)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _first_answer(port: int, process: subprocess.Popen[bytes]) -> Chain:
    for _ in range(100):
        try:
            return Chain(port)
        except ConnectionRefusedError:
            try:
                process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
            break
    raise RuntimeError("anvil does not start")


@dataclass(frozen=True, slots=True)
class Placed:
    """What a household of the measurement orders."""

    household: int
    side: Side
    tick: int


class Market:
    """A deployed market with members who all have one signer: nobody looks at whose key it is."""

    def __init__(self, chain: Chain, households: int) -> None:
        self.chain = chain
        access = self._create("AccessManager", chain.sender)
        self._registry = self._create("HouseholdRegistry", access, 7 * 86_400)
        credit = self._create("SettlementCredit", access)
        rules = (0, 0, GATE_S, FLOOR, TICK, TICKS, 0, "0x" + "00" * 20)
        self.address = self._create("EnergyMarket", access, self._registry, credit, SLOT_S, rules)
        key = Key(bytes(31) + b"\x01")
        self._pen = MarketSigner(key, int(chain.ask("eth_chainId"), 16), self.address)
        self.ring_slots = int(chain.ask("eth_call", self._query("ringSlots"), "latest"), 16)
        known = contract("SettlementCredit")
        chain.send(credit, known.call("issue", chain.sender, 10**24))
        chain.send(credit, known.call("approve", self.address, 10**24))
        self._admit(key, households)

    def _create(self, name: str, *arguments: object) -> str:
        receipt = self.chain.send(None, contract(name).creation(*arguments))
        address: str = receipt["contractAddress"]
        return address

    def _query(self, function: str) -> dict[str, str]:
        return {"to": self.address, "data": "0x" + contract("EnergyMarket").call(function).hex()}

    def _admit(self, key: Key, households: int) -> None:
        known, numbers = contract("HouseholdRegistry"), range(1, households + 1)
        admission = known.call("admit", self.chain.sender, 100_000, 100_000, 1)
        self.chain.send_many(self._registry, [admission] * households)
        self.chain.send_many(
            self._registry, [known.call("nameSigner", number, key.address) for number in numbers]
        )
        market = contract("EnergyMarket")
        self.chain.send_many(
            self.address, [market.call("deposit", number, 10**13) for number in numbers]
        )

    def submit(self, slot: int, placed: Sequence[Placed], gas: int = ANY_GAS) -> dict[str, Any]:
        """A batch in the slot's gate; all of it must be accepted."""
        arguments = [self._order(slot, each) for each in placed]
        data = contract("EnergyMarket").call("submitBatch", arguments)
        receipt = self.chain.send(self.address, data, gas)
        accepted = "0x" + contract("EnergyMarket").topics["OrderAccepted"].hex()
        assert sum(log["topics"][0] == accepted for log in receipt["logs"]) == len(placed)
        return receipt

    def submit_alone(self, slot: int, placed: Placed) -> int:
        """One order in a transaction of its own."""
        data = contract("EnergyMarket").call("submitOrder", self._order(slot, placed))
        return gas_of(self.chain.send(self.address, data))

    def _order(self, slot: int, placed: Placed) -> tuple[int, bytes, bytes, bytes]:
        # Nonzero bytes throughout, as a real digest has nearly always: they cost more.
        evidence = bytes([placed.household % 255 + 1, 1 + placed.side]) + b"\xe5" * 30
        energy_wh = 1 + placed.household * 37 % 4_999
        price = FLOOR + TICK * placed.tick
        order = Order(placed.household, slot, placed.side, energy_wh, price, evidence)
        return order_argument(SignedOrder(order, self._pen.sign(order)))

    def open_gate(self, slot: int) -> None:
        """Come into a slot's gate."""
        self.chain.stamp((slot + 1) * SLOT_S + 1)

    def clear(self, slot: int) -> int:
        """Clear a slot after its gate."""
        self.chain.stamp((slot + 1) * SLOT_S + GATE_S)
        return gas_of(self.chain.send(self.address, contract("EnergyMarket").call("clear", slot)))


def gas_of(receipt: dict[str, Any]) -> int:
    """What a transaction used."""
    return int(receipt["gasUsed"], 16)


def scattered(rng: random.Random, households: int, ticks: int = TICKS) -> list[Placed]:
    """One order per household, on a side and a tick by lot."""
    return [
        Placed(number, Side(rng.randrange(2)), rng.randrange(ticks))
        for number in range(1, households + 1)
    ]


def everywhere(households: int) -> list[Placed]:
    """Both sides of every household, so that every tick of both sides is occupied from 224 on."""
    return [
        Placed(number, side, (number * 5 + side) % TICKS)
        for number in range(1, households + 1)
        for side in Side
    ]


class Measurement:
    """Slots one after the other; ``figures`` fills up as they pass."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.figures: dict[str, int] = {}
        self._rng = random.Random(7)
        self._slot = FIRST_SLOT

    def run(self) -> dict[str, int]:
        """Measure everything; what needs untouched rings comes first."""
        self._first_revolution()
        self._clearings()
        self._steady()
        return self.figures

    def _day(self, slot: int, placed: Sequence[Placed]) -> dict[str, Any]:
        """A slot from its gate to its clearing; the receipt of its last batch."""
        receipt: dict[str, Any] = {}
        for first in range(0, len(placed), CHUNK):
            if first == 0:
                self.market.open_gate(slot)
            receipt = self.market.submit(slot, placed[first : first + CHUNK])
        self.figures["last clearing"] = self.market.clear(slot)
        return receipt

    def _first_revolution(self) -> None:
        self._day(FIRST_SLOT, scattered(self._rng, 100))
        for number, ticks in enumerate((FEW_TICKS, TICKS), start=1):
            receipt = self._day(FIRST_SLOT + number, scattered(self._rng, 100, ticks))
            name = f"order in a batch of 100, first revolution, {ticks} ticks"
            self.figures[name] = gas_of(receipt) // 100

    def _clearings(self) -> None:
        slot = FIRST_SLOT + 10
        for orders in (10, 100, 1_000, 10_000):
            name = f"clear {orders} orders"
            self._day(slot, everywhere(orders // 2))
            if orders >= 2 * TICKS:
                name += ", every tick on both sides"
            self.figures[name] = self.figures["last clearing"]
            slot += 1
        del self.figures["last clearing"]

    def _steady(self) -> None:
        """Every revolution writes slots 100 and 101 of the ring; only the second is looked at."""
        base = FIRST_SLOT + 100
        for slot in (base, base + 1):
            self._day(slot, everywhere(1_000))
        for ticks in (TICKS, FEW_TICKS):
            base += self.market.ring_slots
            self._day(base, scattered(self._rng, 1_000, ticks))
            receipt = self._day(base + 1, scattered(self._rng, 100, ticks))
            self.figures[f"order in a batch of 100, steady, {ticks} ticks"] = gas_of(receipt) // 100
        base += self.market.ring_slots
        self._day(base, scattered(self._rng, 1_000))
        self._alone(base + 1)
        base += self.market.ring_slots
        self._day(base, scattered(self._rng, 1_000))
        self._full_block(base + 1)
        del self.figures["last clearing"]

    def _alone(self, slot: int) -> None:
        self.market.open_gate(slot)
        for household, (where, tick) in enumerate(
            (("first of its slot", 10), ("in a new word of ticks", 100), ("at any other tick", 11)),
            start=1,
        ):
            used = self.market.submit_alone(slot, Placed(household, Side.BID, tick))
            self.figures[f"order alone, {where}, steady"] = used

    def _full_block(self, slot: int) -> None:
        self.market.open_gate(slot)
        orders = scattered(self._rng, LEAST_ORDERS_PER_BLOCK)
        used = gas_of(self.market.submit(slot, orders, BLOCK_GAS))
        self.figures[ORDERS_PER_BLOCK] = LEAST_ORDERS_PER_BLOCK * BLOCK_GAS // used


def new_words() -> int:
    """How many words of storage a batch brings from nothing to something, once the ring wrapped."""
    with anvil(tracing=True) as chain:
        market = Market(chain, TRACED_HOUSEHOLDS)
        book = everywhere(TRACED_HOUSEHOLDS)
        receipt: dict[str, Any] = {}
        for revolution in range(3):
            first = FIRST_SLOT + revolution * market.ring_slots
            for slot in (first, first + 1):
                market.open_gate(slot)
                receipt = market.submit(slot, book)
                market.clear(slot)
        options = {"disableStorage": True, "disableMemory": True, "disableStack": True}
        trace = chain.ask("debug_traceTransaction", receipt["transactionHash"], options)
        written = [step for step in trace["structLogs"] if step["op"] == "SSTORE"]
        assert len(written) > TRACED_HOUSEHOLDS
        return sum(step["gasCost"] >= NEW_WORD_GAS for step in written)


def contract_code(name: str) -> int:
    """Bytes of a contract's code at run time."""
    artifact = json.loads(Path(f"node/chain/artifacts/{name}.json").read_text())
    return len(artifact["deployedBytecode"]) // 2 - 1


def budget_of(name: str) -> int | None:
    """The most that a figure may be."""
    if name.endswith("bytes at run time"):
        return CODE_LIMIT_BYTES - 1
    return BUDGETS.get(name)


def complaints(figures: dict[str, int], snapshot: dict[str, int]) -> Iterator[str]:
    """What is over its budget, or has become dearer since the snapshot."""
    for name, figure in figures.items():
        budget = budget_of(name)
        if budget is not None and figure > budget:
            yield f"{name}: {figure:,} is over the budget of {budget:,}"
        before = snapshot.get(name)
        if before is None:
            yield f"{name}: not in {SNAPSHOT}; run scripts/gas --update"
        elif name == ORDERS_PER_BLOCK:
            if figure * 100 < before * (100 - TOLERANCE_PERCENT):
                yield f"{name}: {figure:,}, fewer than {before:,} by more than 2 %"
        elif figure * 100 > before * (100 + TOLERANCE_PERCENT):
            yield f"{name}: {figure:,}, more than {before:,} by over 2 %"
    if figures[ORDERS_PER_BLOCK] < LEAST_ORDERS_PER_BLOCK:
        yield f"{ORDERS_PER_BLOCK}: fewer than {LEAST_ORDERS_PER_BLOCK}"


def print_table(figures: dict[str, int], snapshot: dict[str, int]) -> None:
    """The figures beside their budgets and what they were."""
    print(f"{'':56}{'measured':>11}{'budget':>11}{'snapshot':>11}")
    for name, figure in figures.items():
        budget, before = budget_of(name), snapshot.get(name)
        limit = f"{budget:,}" if budget is not None else "-"
        if name == ORDERS_PER_BLOCK:
            limit = f">= {LEAST_ORDERS_PER_BLOCK}"
        was = f"{before:,}" if before is not None else "-"
        print(f"{name:56}{figure:>11,}{limit:>11}{was:>11}")


def main() -> int:
    """Measure, print, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--update", action="store_true")
    wanted = parser.parse_args()
    snapshot = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.exists() else {}
    with anvil() as chain:
        figures = Measurement(Market(chain, HOUSEHOLDS)).run()
    figures["new words per household-slot, steady"] = new_words()
    for name in CONTRACTS:
        figures[f"{name}, bytes at run time"] = contract_code(name)
    print_table(figures, snapshot)
    if wanted.update:
        SNAPSHOT.write_text(json.dumps(figures, indent=2) + "\n")
    found = list(complaints(figures, snapshot)) if wanted.check else []
    for complaint in found:
        print(complaint, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
