"""Talking to a chain: one RPC connection, and accounts that send transactions through it.

Everything asynchronous goes through web3. What web3 and its providers raise becomes
ChainUnreachable (try again) or Refused (the contract said no); nothing here retries by itself
except waiting for a receipt, within a bound.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any, Final, cast

from aiohttp import ClientError
from eth_abi.exceptions import DecodingError
from eth_account import Account
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from web3 import AsyncWeb3
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3Exception, Web3RPCError
from web3.types import RPCEndpoint, TxParams

from node.chain.contracts import Contract
from node.chain.json_rpc import (
    BadAnswer,
    as_bytes,
    field_of,
    logs_of,
    number,
    table_of,
    wei,
)
from node.chain.keys import Key
from node.errors import ChainUnreachable, Refused

RECEIPT_WITHIN_S: Final = 60
POST_WITHIN_S: Final = 30
"""For the requests that send one transaction."""

FIRST_PAUSE_S: Final = 0.005
LONGEST_PAUSE_S: Final = 0.5

MOST_OUTBID: Final = 100
"""Times its usual price that a sender bids to get past a transaction of its own."""

GAS_CALL: Final = 500_000
GAS_DEPLOY: Final = 8_000_000
GAS_PAYMENT: Final = 21_000

_ADDRESS_BYTES: Final = 20
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_RLP_STRING: Final = 0x80
_RLP_LIST: Final = 0xC0

_ACCOUNT: Final = Contract("an account", b"", (), {}, {}, {})
"""Who receives a payment: no code, so nothing that could be called or refuse."""

NO_ANSWER: Final = (
    Web3Exception,
    ClientError,
    OSError,
    TimeoutError,
    JSONDecodeError,
    UnicodeDecodeError,
    ValidationError,
    BadAnswer,
)
"""What comes instead of an answer: no connection, an error, half a document, something else than
was asked for; and what the embedded chain raises where others answer with an error, as for a nonce
that another sender has used."""

_NOT_UNDERSTOOD: Final = (
    ArithmeticError,
    AttributeError,
    DecodingError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What web3 and the ABI's decoder raise on documents that are none of JSON-RPC, or are no values of
the types expected: they look into what an endpoint sends before this program does."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction."""

    block: int
    gas_used: int
    contract_address: str | None


class Rpc:
    """A connection to one chain. ``w3`` is web3's; every other room sees this class."""

    def __init__(self, w3: AsyncWeb3[Any], chain_id: int) -> None:
        self.w3 = w3
        self.chain_id = chain_id

    @classmethod
    async def connect(cls, w3: AsyncWeb3[Any]) -> Rpc:
        """Ask the endpoint which chain it serves. Raises ChainUnreachable."""
        try:
            return cls(w3, number(await cls(w3, 0).ask("eth_chainId")))
        except NO_ANSWER as error:
            raise ChainUnreachable(
                f"the chain does not answer: {error}",
                next_step="check the URL and that the node is running",
            ) from error

    async def ask(self, method: str, *parameters: object) -> Any:  # noqa: ANN401 - JSON
        """One request, its result as it comes: numbers and bytes may be hex text.

        web3's own formatters for logs and receipts cost more than the requests themselves, and
        end with errors of any kind on results that are not what they expect. Raises one of
        NO_ANSWER; what the result holds is for the caller to look at (``node.chain.json_rpc``).
        """
        try:
            return await self.w3.manager.coro_request(RPCEndpoint(method), list(parameters))
        except NO_ANSWER:
            raise
        except _NOT_UNDERSTOOD as error:
            raise BadAnswer(f"{method}: the answer is none of JSON-RPC ({error})") from error

    async def head(self) -> int:
        """The number of the newest block."""
        try:
            return number(await self.ask("eth_blockNumber"))
        except NO_ANSWER as error:
            raise ChainUnreachable(f"no head from the chain: {error}") from error

    async def code_at(self, address: str) -> bytes:
        """The contract code at an address; empty if there is none."""
        try:
            checked = self.w3.to_checksum_address(address)
            return as_bytes(await self.ask("eth_getCode", checked, "latest"))
        except NO_ANSWER as error:
            raise ChainUnreachable(f"no code from the chain: {error}") from error

    async def balance_wei(self, address: str) -> int:
        """An account's gas money."""
        try:
            checked = self.w3.to_checksum_address(address)
            return wei(await self.ask("eth_getBalance", checked, "latest"))
        except NO_ANSWER as error:
            raise ChainUnreachable(f"no balance from the chain: {error}") from error

    async def call(self, to: str, contract: Contract, function: str, *arguments: object) -> Any:  # noqa: ANN401 - the contract's ABI decides, not Python
        """A view's value; a tuple if it returns several. Raises Refused with the custom error."""
        known = contract.functions[function]
        transaction: TxParams = {
            "to": self.w3.to_checksum_address(to),
            "data": known.call(*arguments),
        }
        try:
            values = known.result(await self.view(transaction))
        except ContractLogicError as error:
            raise refusal_of(contract, error) from error
        except (*NO_ANSWER, *_NOT_UNDERSTOOD) as error:
            raise ChainUnreachable(
                f"{contract.name}.{function}: {error}",
                next_step="the endpoint may not have the whole chain yet: see its own log",
            ) from error
        return values[0] if len(values) == 1 else values

    async def view(self, transaction: TxParams, at: int | str = "latest") -> bytes:
        """What a transaction would return as of a block, as bytes. web3 tells a revert from another
        error, and must not ask elsewhere because an answer says so. Raises one of NO_ANSWER."""
        try:
            return bytes(
                await self.w3.eth.call(transaction, cast("Any", at), ccip_read_enabled=False)
            )
        except NO_ANSWER:
            raise
        except _NOT_UNDERSTOOD as error:
            raise BadAnswer(f"eth_call: no answer to it ({error})") from error

    async def logs(
        self, address: str, from_block: int, to_block: int, topics: Sequence[Any] = ()
    ) -> Sequence[Mapping[str, Any]]:
        """A contract's logs in a range of blocks, both ends included, in chain order; their numbers
        and bytes are read. Raises ChainUnreachable."""
        query: dict[str, object] = {
            "address": self.w3.to_checksum_address(address),
            "fromBlock": hex(from_block),
            "toBlock": hex(to_block),
        }
        if topics:
            query["topics"] = list(topics)
        try:
            return logs_of(await self.ask("eth_getLogs", query), from_block, to_block)
        except NO_ANSWER as error:
            raise ChainUnreachable(
                f"no logs of blocks {from_block} to {to_block}: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class Call:
    """A transaction to come: to a contract or an account, or to nobody to create a contract."""

    to: str | None
    contract: Contract
    data: bytes
    gas: int = GAS_CALL
    value_wei: int = 0

    @classmethod
    def creating(cls, contract: Contract, *arguments: object) -> Call:
        """Create a contract."""
        return cls(None, contract, contract.creation(*arguments), GAS_DEPLOY)

    @classmethod
    def of(
        cls, to: str, contract: Contract, function: str, *arguments: object, gas: int = GAS_CALL
    ) -> Call:
        """Call a function."""
        return cls(to, contract, contract.call(function, *arguments), gas)

    @classmethod
    def paying(cls, to: str, amount_wei: int) -> Call:
        """Give an account gas money."""
        return cls(to, _ACCOUNT, b"", GAS_PAYMENT, amount_wei)


class Sender:
    """An account that sends transactions one after the other. It keeps count of its own nonce, and
    of the gas that its transactions used."""

    def __init__(self, rpc: Rpc, key: Key, *, gas_price: int) -> None:
        self.address = key.address
        self.transactions = 0
        self.gas_used = 0
        self._rpc = rpc
        self._key = key
        self._gas_price = gas_price
        self._nonce: int | None = None
        self._unmined: dict[int, int] = {}  # nonces and prices of what got no receipt

    async def create(self, contract: Contract, *arguments: object) -> str:
        """Create a contract; returns its address."""
        (receipt,) = await self.send_all([Call.creating(contract, *arguments)])
        if receipt.contract_address is None:
            raise ChainUnreachable(f"the receipt of {contract.name} does not say where it is")
        return receipt.contract_address

    async def send(
        self,
        to: str,
        contract: Contract,
        function: str,
        *arguments: object,
        gas: int = GAS_CALL,
        within_s: float = RECEIPT_WITHIN_S,
    ) -> Receipt:
        """Call a function in a transaction and wait for its receipt.

        Raises Refused with the custom error when it reverts, ChainUnreachable when no receipt
        comes within the bound, which is RECEIPT_WITHIN_S at most.
        """
        call = Call.of(to, contract, function, *arguments, gas=gas)
        (receipt,) = await self.send_all([call], within_s=within_s)
        return receipt

    async def pay(self, to: str, amount_wei: int) -> Receipt:
        """Give another account gas money. Raises ChainUnreachable, also when this one lacks it."""
        (receipt,) = await self.send_all([Call.paying(to, amount_wei)])
        return receipt

    async def will_create(self, count: int) -> list[str]:
        """Where its next transactions would create contracts. Raises ChainUnreachable."""
        try:
            first = await self._next_nonce()
        except NO_ANSWER as error:
            raise ChainUnreachable(f"no nonce from the chain: {error}") from error
        return [created_at(self.address, first + after) for after in range(count)]

    async def send_all(
        self, calls: Sequence[Call], *, within_s: float = RECEIPT_WITHIN_S
    ) -> list[Receipt]:
        """Send transactions without waiting for one before the next; the chain takes them in this
        order, many in a block. Each has the bound of ``send`` for its receipt, and raises as that
        does: the first failure is told, and what came after it may have happened all the same.
        """
        name = calls[0].contract.name if calls else ""
        try:
            posted = [await self._post(call) for call in calls]
            receipts = [await self._receipt(sent, within_s) for _, sent in posted]
        except NO_ANSWER as error:
            self._nonce = None  # asked for again: what was sent may or may not have arrived
            raise ChainUnreachable(f"a transaction to {name} failed: {error}") from error
        except ChainUnreachable:
            self._nonce = None  # as above
            raise
        self._unmined.clear()
        self.transactions += len(receipts)
        self.gas_used += sum(receipt.gas_used for receipt, _ in receipts)
        for call, (transaction, _), (receipt, went_well) in zip(
            calls, posted, receipts, strict=True
        ):
            if not went_well:
                raise await self._why_reverted(transaction, receipt.block, call.contract)
        return [receipt for receipt, _ in receipts]

    async def _post(self, call: Call) -> tuple[dict[str, Any], str]:
        """Send one; the transaction and its hash."""
        async with asyncio.timeout(POST_WITHIN_S):
            return await self._posted(call)

    async def _posted(self, call: Call) -> tuple[dict[str, Any], str]:
        nonce = await self._next_nonce()
        transaction: dict[str, Any] = {
            "value": call.value_wei,
            "gas": call.gas,
            "gasPrice": self._bid_for(nonce),
            "chainId": self._rpc.chain_id,
            "data": call.data,
            "nonce": nonce,
        }
        if call.to is not None:
            transaction["to"] = self._rpc.w3.to_checksum_address(call.to)
        signed = signed_transaction(transaction, self._key)
        await self._rpc.ask("eth_sendRawTransaction", signed.raw)
        self._nonce = nonce + 1
        return transaction, signed.hash

    async def _next_nonce(self) -> int:
        if self._nonce is None:
            address = self._rpc.w3.to_checksum_address(self.address)
            self._nonce = number(await self._rpc.ask("eth_getTransactionCount", address, "latest"))
        return self._nonce

    def _bid_for(self, nonce: int) -> int:
        """What a transaction bids; more than the one of the same nonce that was never mined, as an
        endpoint takes no other in its place, nor tells its peers of the same one twice."""
        price = self._gas_price
        if nonce in self._unmined:
            price = min(max(price, self._unmined[nonce] * 5 // 4 + 1), price * MOST_OUTBID + 1)
        self._unmined[nonce] = price
        return price

    async def _receipt(self, transaction_hash: str, within_s: float) -> tuple[Receipt, bool]:
        """Wait for it, and whether the transaction went well. Slow answers count as waiting: others
        wait for this account, and a household's next slot does."""
        within_s = min(within_s, RECEIPT_WITHIN_S)
        bound = asyncio.timeout(within_s)
        try:
            async with bound:
                return await self._receipt_when_it_comes(transaction_hash)
        except TimeoutError as error:
            if not bound.expired():
                raise  # a single request's
            raise ChainUnreachable(
                f"no receipt within {within_s:.0f} s",
                next_step="check that the chain still makes blocks",
            ) from error

    async def _receipt_when_it_comes(self, transaction_hash: str) -> tuple[Receipt, bool]:
        """Ask until it is there, a little less often each time: a block may take seconds."""
        pause_s = FIRST_PAUSE_S
        while True:  # the caller has a bound
            try:
                found = await self._rpc.ask("eth_getTransactionReceipt", transaction_hash)
            except TransactionNotFound:
                found = None
            if found is not None:
                return _receipt_of(table_of(found))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _why_reverted(
        self, transaction: dict[str, Any], block: int, contract: Contract
    ) -> Refused | ChainUnreachable:
        """Call it again to hear the reason: a receipt only tells that there was one."""
        again: Any = {
            key: transaction[key] for key in ("to", "gas", "data") if key in transaction
        } | {"from": self._rpc.w3.to_checksum_address(self.address)}
        try:
            await self._rpc.view(again, block)
        except ContractLogicError as error:
            return refusal_of(contract, error)
        except NO_ANSWER as error:
            return ChainUnreachable(f"a transaction to {contract.name} reverted: {error}")
        return Refused(f"a transaction to {contract.name} reverted", reason="reverted")


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction as it is sent, and the hash by which the chain knows it; both hex text."""

    raw: str
    hash: str


def _receipt_of(found: Mapping[str, Any]) -> tuple[Receipt, bool]:
    """Raises BadAnswer."""
    created = found.get("contractAddress")
    if created is not None and not (isinstance(created, str) and _ADDRESS.fullmatch(created)):
        raise BadAnswer(f"{created!r} is no address")
    receipt = Receipt(
        number(field_of(found, "blockNumber")), number(field_of(found, "gasUsed")), created
    )
    return receipt, number(field_of(found, "status")) == 1


def signed_transaction(transaction: Mapping[str, Any], key: Key) -> SignedTransaction:
    """A transaction signed by a key: the same transaction always gives the same bytes."""
    signed = Account.sign_transaction(dict(transaction), key.secret)
    return SignedTransaction("0x" + signed.raw_transaction.hex(), "0x" + signed.hash.hex())


def created_at(creator: str, nonce: int) -> str:
    """The address of the contract that an account creates with a nonce: of their RLP."""
    digits = nonce.to_bytes((nonce.bit_length() + 7) // 8)
    coded = digits if 0 < nonce < _RLP_STRING else bytes([_RLP_STRING + len(digits)]) + digits
    content = bytes([_RLP_STRING + _ADDRESS_BYTES]) + bytes.fromhex(creator.removeprefix("0x"))
    content += coded
    return "0x" + keccak(bytes([_RLP_LIST + len(content)]) + content)[-_ADDRESS_BYTES:].hex()


def refusal_of(contract: Contract, error: ContractLogicError | Web3RPCError) -> Refused:
    """The custom error behind a revert, as a refusal that names it."""
    data = getattr(error, "data", None)
    try:
        name, values = contract.revert_reason(as_bytes(data))
    except (BadAnswer, *_NOT_UNDERSTOOD):  # it said no, and not in words that are known
        name, values = "unknown", ()
    shown = ", ".join(str(value) for value in values)
    return Refused(f"{contract.name} refused: {name}({shown})", reason=name)
