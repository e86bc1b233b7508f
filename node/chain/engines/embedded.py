"""The embedded chain: eth-tester on py-evm, in this process, London rules.

A single node that mines a block for each transaction: no consensus, no peers, nothing on disk. It
is for demonstrations, simulations and tests; what it shares with a real network is the EVM, the
contracts and the client.
"""

from __future__ import annotations

import ast
from typing import Any, Final, cast

from eth.constants import GENESIS_DIFFICULTY, GENESIS_MIX_HASH, GENESIS_NONCE
from eth.vm.forks.london import LondonVM
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.backends.pyevm.main import get_default_account_keys
from eth_tester.exceptions import TransactionFailed
from web3 import AsyncWeb3
from web3.providers.async_base import AsyncBaseProvider
from web3.providers.eth_tester import AsyncEthereumTesterProvider
from web3.providers.eth_tester.defaults import API_ENDPOINTS
from web3.types import RPCEndpoint, RPCResponse

from node.chain.keys import Key
from node.chain.rpc import Rpc

BLOCK_GAS_LIMIT: Final = 30_000_000

GAS_PRICE: Final = 10**9
"""Above the base fee, which starts at 1 gwei and falls, because blocks are mostly empty."""

FUNDER_BALANCE: Final = 10**30


class EmbeddedChain:
    """A chain in this process. Implements ``node.chain.engines.engine.Engine``."""

    name = "embedded"

    def __init__(self, rpc: Rpc, provider: _Provider, funder: Key) -> None:
        self.rpc = rpc
        self.funder = funder
        self.gas_price = GAS_PRICE
        self._provider = provider

    @classmethod
    async def start(cls, *, genesis_s: int, funder: Key) -> EmbeddedChain:
        """A new chain whose first block has the given time and gives the funder its gas money."""
        parameters = PyEVMBackend.generate_genesis_params(
            overrides={
                "difficulty": GENESIS_DIFFICULTY,
                "nonce": GENESIS_NONCE,
                "mix_hash": GENESIS_MIX_HASH,
                "gas_limit": BLOCK_GAS_LIMIT,
                "timestamp": genesis_s,
            }
        )
        account = {"balance": FUNDER_BALANCE, "nonce": 0, "code": b"", "storage": {}}
        # eth-tester lets its own first account make the calls that name no sender.
        caller = get_default_account_keys(quantity=1)[0].public_key.to_canonical_address()
        backend = PyEVMBackend(
            genesis_parameters=parameters,
            genesis_state={bytes.fromhex(funder.address[2:]): account, caller: account},
            vm_configuration=((0, LondonVM),),
        )
        provider = _Provider(backend, genesis_s)
        return cls(await Rpc.connect(AsyncWeb3(provider, middleware=[])), provider, funder)

    async def stamp(self, unix_s: int) -> None:
        """Give the next blocks this time, or one second more than their parent if that is later."""
        self._provider.block_time_s = unix_s

    async def close(self) -> None:
        """Nothing to stop: the chain goes with the process."""


class _Provider(AsyncEthereumTesterProvider):
    """web3's provider, with our chain in place of the one that it would make for itself, and with
    our clock in place of the machine's."""

    def __init__(self, backend: PyEVMBackend, block_time_s: int) -> None:
        AsyncBaseProvider.__init__(self)
        self.ethereum_tester = EthereumTester(backend)
        self.api_endpoints = API_ENDPOINTS
        self.block_time_s = block_time_s
        self._chain = backend.chain

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:  # noqa: ANN401 - web3's signature
        """Stamp the block that a transaction is about to fill; answer a revert as real nodes do."""
        if method == "eth_sendRawTransaction":
            parent_s = self._chain.get_canonical_head().timestamp
            time_s = max(self.block_time_s, parent_s + 1)
            self._chain.header = self._chain.header.copy(timestamp=time_s)
        try:
            return await super().make_request(method, params)
        except TransactionFailed as failed:
            return _reverted(failed)


def _reverted(failed: TransactionFailed) -> RPCResponse:
    """A revert with its data, which eth-tester only tells as the text of a bytes literal."""
    message = str(failed)
    error: dict[str, Any] = {"code": 3, "message": message}
    try:
        data = ast.literal_eval(message.removeprefix("execution reverted: "))
    except (SyntaxError, ValueError):
        pass  # a reason in words: the message has it
    else:
        if isinstance(data, bytes):
            error["data"] = "0x" + data.hex()
    return cast("RPCResponse", {"jsonrpc": "2.0", "id": 0, "error": error})
