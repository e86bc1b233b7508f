"""py-evm without a chain around it: London's rules, a clock that tests set, state in dictionaries.

A node, its blocks and its tries cost more than the contracts that tests run on them. Here a
transaction is a message to py-evm; what it left is kept or thrown away by copying dictionaries, so
that a thousand tests can begin with the same community.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from eth.constants import CREATE_CONTRACT_ADDRESS
from eth.db.account import AccountDB
from eth.db.atomic import AtomicDB
from eth.exceptions import Revert
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.frontier.transaction_context import FrontierTransactionContext
from eth.vm.forks.london.state import LondonState
from eth.vm.message import Message
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.crypto import keccak

from node.chain.contracts import Contract

GAS_LIMIT: Final = 30_000_000
"""A block's gas, and so a transaction's."""

GAS_TRANSACTION: Final = 21_000
GAS_CREATION: Final = 32_000
GAS_ZERO_BYTE: Final = 4
GAS_BYTE: Final = 16
REFUND_QUOTIENT: Final = 5

CHAIN_ID: Final = 61
NOTHING: Final = b""


class Reverted(Exception):
    """A transaction reverted with a custom error; the rest of its effects is gone."""

    def __init__(self, name: str, values: tuple[Any, ...]) -> None:
        super().__init__(f"{name}{values}")
        self.name = name
        self.values = values


class Exhausted(Exception):
    """A transaction used up its gas, or ran into an instruction that there is not."""


@dataclass(frozen=True, slots=True)
class Log:
    """What a contract emitted."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """What a transaction returned, emitted and cost (gas as on a receipt, refund included)."""

    output: bytes
    logs: tuple[Log, ...]
    gas_used: int


@dataclass(slots=True)
class World:
    """Everything that a chain remembers."""

    storage: dict[tuple[bytes, int], int] = field(default_factory=dict)
    code: dict[bytes, bytes] = field(default_factory=dict)
    balances: dict[bytes, int] = field(default_factory=dict)
    nonces: dict[bytes, int] = field(default_factory=dict)

    def copy(self) -> World:
        """The same, from here on apart."""
        return World(
            self.storage.copy(), self.code.copy(), self.balances.copy(), self.nonces.copy()
        )


class _Accounts(AccountDB):
    """py-evm's accounts on a World: an undo log in place of journals, and no roots."""

    def __init__(self, *_: object) -> None:
        self.world = World()
        self._undo: list[tuple[dict[Any, int | bytes], Any, int | bytes | None]] = []
        self._original: dict[tuple[bytes, int], int] = {}
        self._warm: dict[Any, int | bytes] = {}

    def _set(self, where: Mapping[Any, int | bytes], key: object, value: int | bytes) -> None:
        assert isinstance(where, dict)
        self._undo.append((where, key, where.get(key)))
        where[key] = value

    def get_storage(self, address: bytes, slot: int, from_journal: bool = True) -> int:  # noqa: FBT001, FBT002 - py-evm's signature
        key = (address, slot)
        now = self.world.storage.get(key, 0)
        return now if from_journal else self._original.get(key, now)

    def set_storage(self, address: bytes, slot: int, value: int) -> None:
        key = (address, slot)
        self._original.setdefault(key, self.world.storage.get(key, 0))
        self._set(self.world.storage, key, value)

    def delete_storage(self, address: bytes) -> None:
        assert not any(key[0] == address and value for key, value in self.world.storage.items())

    def is_storage_warm(self, address: bytes, slot: int) -> bool:
        return (address, slot) in self._warm

    def mark_storage_warm(self, address: bytes, slot: int) -> None:
        if (address, slot) not in self._warm:
            self._set(self._warm, (address, slot), 1)

    def is_address_warm(self, address: bytes) -> bool:
        return address in self._warm

    def mark_address_warm(self, address: bytes) -> None:
        if address not in self._warm:
            self._set(self._warm, address, 1)

    def get_balance(self, address: bytes) -> int:
        return self.world.balances.get(address, 0)

    def set_balance(self, address: bytes, balance: int) -> None:
        self._set(self.world.balances, address, balance)

    def get_nonce(self, address: bytes) -> int:
        return self.world.nonces.get(address, 0)

    def set_nonce(self, address: bytes, nonce: int) -> None:
        self._set(self.world.nonces, address, nonce)

    def increment_nonce(self, address: bytes) -> None:
        self.set_nonce(address, self.get_nonce(address) + 1)

    def get_code(self, address: bytes) -> bytes:
        return self.world.code.get(address, NOTHING)

    def set_code(self, address: bytes, code: bytes) -> None:
        self._set(self.world.code, address, code)

    def get_code_hash(self, address: bytes) -> Hash32:
        return Hash32(keccak(self.get_code(address)))

    def account_has_code_or_nonce(self, address: bytes) -> bool:
        return bool(self.get_code(address)) or self.get_nonce(address) != 0

    def account_exists(self, address: bytes) -> bool:
        return self.account_has_code_or_nonce(address) or self.get_balance(address) != 0

    def account_is_empty(self, address: bytes) -> bool:
        return not self.account_exists(address)

    def touch_account(self, address: bytes) -> None:
        """Nothing remembers who was touched."""

    def record(self) -> Any:  # noqa: ANN401 - py-evm's own checkpoint type
        return len(self._undo)

    def discard(self, checkpoint: Any) -> None:  # noqa: ANN401 - likewise
        while len(self._undo) > checkpoint:
            where, key, old = self._undo.pop()
            if old is None:
                del where[key]
            else:
                where[key] = old

    def commit(self, checkpoint: Any) -> None:  # noqa: ANN401 - likewise
        """What was done since stays in the undo log of the whole transaction."""

    def lock_changes(self) -> None:
        self._undo.clear()
        self._original.clear()
        self._warm.clear()

    @property
    def state_root(self) -> Hash32:
        """There is none: only checkpoints count."""
        return Hash32(bytes(32))

    @state_root.setter
    def state_root(self, value: Hash32) -> None:
        assert value == bytes(32)


class _State(LondonState):
    account_db_class = _Accounts

    @property
    def accounts(self) -> _Accounts:
        assert isinstance(self._account_db, _Accounts)
        return self._account_db


class _Now(ExecutionContext):
    """The block that every transaction is in, with a time that moves."""

    def __init__(self) -> None:
        super().__init__(
            coinbase=Address(bytes(20)),
            timestamp=0,
            block_number=BlockNumber(1),
            difficulty=0,
            mix_hash=Hash32(bytes(32)),
            gas_limit=GAS_LIMIT,
            prev_hashes=(),
            chain_id=CHAIN_ID,
            base_fee_per_gas=0,
        )

    def move_to(self, now_s: int) -> None:
        self._timestamp = now_s


class Evm:
    """Sends transactions and calls to contracts. Addresses are lower-case hex."""

    def __init__(self) -> None:
        self._now = _Now()
        self._state = _State(AtomicDB(), self._now, Hash32(bytes(32)))
        self._accounts = self._state.accounts
        self._created: list[Contract] = []

    @property
    def now_s(self) -> int:
        """The time of the block that the next transaction is in."""
        return self._now.timestamp

    @now_s.setter
    def now_s(self, unix_s: int) -> None:
        self._now.move_to(unix_s)

    def save(self) -> World:
        """The world as it is, to come back to."""
        return self._accounts.world.copy()

    def restore(self, world: World) -> None:
        """Come back to a saved world; the clock stays where it is."""
        self._accounts.world = world.copy()

    def create(self, contract: Contract, *arguments: object, sender: str) -> str:
        """Create a contract; returns its address. Raises Reverted."""
        origin = _bytes(sender)
        self._accounts.increment_nonce(origin)
        seed = origin + self._accounts.get_nonce(origin).to_bytes(8)
        address = Address(keccak(seed)[12:])
        message = Message(
            gas=GAS_LIMIT,
            to=CREATE_CONTRACT_ADDRESS,
            sender=origin,
            value=0,
            data=NOTHING,
            code=contract.creation(*arguments),
            create_address=address,
        )
        self._run(message, contract, GAS_CREATION)
        self._created.append(contract)
        return "0x" + address.hex()

    def send(
        self, to: str, contract: Contract, function: str, *arguments: object, sender: str
    ) -> Done:
        """A transaction. Raises Reverted with the custom error, Exhausted when gas runs out."""
        return self.send_data(to, contract, contract.call(function, *arguments), sender=sender)

    def send_data(self, to: str, contract: Contract, data: bytes, *, sender: str) -> Done:
        """A transaction with call data made elsewhere; ``contract`` names what it reverts with."""
        address = _bytes(to)
        zeros = data.count(0)
        intrinsic_gas = GAS_ZERO_BYTE * zeros + GAS_BYTE * (len(data) - zeros)
        message = Message(
            gas=GAS_LIMIT - GAS_TRANSACTION - intrinsic_gas,
            to=address,
            sender=_bytes(sender),
            value=0,
            data=data,
            code=self._accounts.get_code(address),
        )
        return self._run(message, contract, intrinsic_gas)

    def call(
        self, to: str, contract: Contract, function: str, *arguments: object, sender: str = ""
    ) -> Any:  # noqa: ANN401 - the contract's ABI decides
        """A view's value; a tuple if it returns several. Leaves nothing behind."""
        saved = self.save()
        done = self.send(to, contract, function, *arguments, sender=sender or "0x" + "00" * 20)
        self._accounts.world = saved
        values = contract.functions[function].result(done.output)
        return values[0] if len(values) == 1 else values

    def _run(self, message: Message, contract: Contract, intrinsic_gas: int) -> Done:
        self._accounts.mark_address_warm(message.sender)
        self._accounts.mark_address_warm(message.storage_address)
        context = FrontierTransactionContext(gas_price=1, origin=message.sender)
        kind = self._state.computation_class
        apply = kind.apply_create_message if message.is_create else kind.apply_message
        computation = apply(self._state, message, context)
        self._accounts.lock_changes()
        if computation.is_error:
            if not isinstance(computation.error, Revert):
                raise Exhausted(repr(computation.error))
            raise self._why(computation.output, contract)
        used = computation.get_gas_used() + GAS_TRANSACTION + intrinsic_gas
        refund = min(computation.get_gas_refund(), used // REFUND_QUOTIENT)
        logs = tuple(
            Log("0x" + address.hex(), tuple(topic.to_bytes(32) for topic in topics), data)
            for address, topics, data in computation.get_log_entries()
        )
        return Done(computation.output, logs, used - refund)

    def _why(self, output: bytes, contract: Contract) -> Reverted:
        """A contract passes on what another that it called reverted with."""
        if not output:
            return Reverted("silence", ())
        for known in (contract, *self._created):
            name, values = known.revert_reason(output)
            if name != "unknown":
                return Reverted(name, values)
        return Reverted("unknown", (output,))


def _bytes(address: str) -> Address:
    return Address(bytes.fromhex(address.removeprefix("0x")))
