"""What the commands of ``daisee member`` share: the operator's folder, and how it is opened."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from node.cli.chain_options import FOLDER
from node.errors import ConfigurationError

if TYPE_CHECKING:
    from node.chain.community import Community
    from node.chain.keys import Key
    from node.chain.membership import Member
    from node.chain.rpc import Rpc, Sender

__all__ = [
    "Desk",
    "member_document",
    "operator_options",
    "rpc_option",
    "text_given",
]

NETWORK_VARIABLE: Final = "DAISEE_NETWORK"
BOOK_FILE: Final = "members.json"
REQUESTS_FOLDER: Final = "requests"

MAX_GIVEN: Final = 65_536

_F = TypeVar("_F", bound=Callable[..., object])


def operator_options(command: _F) -> _F:
    """Where the operator's files are: what ``daisee chain init`` and ``deploy`` made."""
    return click.option(
        "--network",
        "folder",
        type=FOLDER,
        default=".",
        envvar=NETWORK_VARIABLE,
        show_envvar=True,
        metavar="DIR",
        help="The network's folder, with the operator's key; else this folder.",
    )(command)


def rpc_option(command: _F) -> _F:
    """Another endpoint than those of the community."""
    return click.option(
        "--rpc",
        "rpc_url",
        metavar="URL",
        help="Ask this node; file:PATH where it wants a token.  [default: the community's]",
    )(command)


@dataclass(frozen=True, slots=True)
class Desk:
    """An operator's folder, opened: everything but the key, which is opened when it signs."""

    folder: Path
    community: Community

    @classmethod
    def open(cls, folder: Path) -> Desk:
        """Raises ConfigurationError when no community was deployed from there."""
        from node.chain.community import load_community  # noqa: PLC0415 - loads web3
        from node.chain.network.layout import COMMUNITY_FILE  # noqa: PLC0415

        path = folder / COMMUNITY_FILE
        if not path.exists():
            raise ConfigurationError(
                "there is no community here",
                file=path,
                next_step="name the network's folder with --network; 'daisee chain deploy' makes"
                " the file",
            )
        return cls(folder, load_community(path))

    @property
    def book(self) -> Path:
        """Whom the operator invited and admitted, with names."""
        return self.folder / BOOK_FILE

    @property
    def requests(self) -> Path:
        """Where join requests wait that came in over the network."""
        return self.folder / REQUESTS_FOLDER

    def key(self) -> Key:
        """The operator's key. Takes a second. Raises ConfigurationError."""
        from node.chain.keyfiles import open_key  # noqa: PLC0415 - loads web3
        from node.chain.network.layout import operator_files  # noqa: PLC0415

        return open_key(operator_files(self.folder))

    @asynccontextmanager
    async def at_work(self, rpc_url: str | None) -> AsyncIterator[tuple[Rpc, Sender]]:
        """A checked connection, and the operator's account on it."""
        from node.chain.joining import community_rpc  # noqa: PLC0415 - loads web3
        from node.chain.rpc import Sender  # noqa: PLC0415

        async with community_rpc(self.community, rpc_url) as rpc:
            key = await asyncio.to_thread(self.key)
            yield rpc, Sender(rpc, key, gas_price=self.community.gas_price_wei)


def text_given(given: str, prefix: str) -> str:
    """What a person gave as a text: itself, the file that holds it, or ``-`` for standard input.

    Raises ConfigurationError when the file cannot be read.
    """
    if given == "-":
        return sys.stdin.read(MAX_GIVEN)
    if given.strip().upper().startswith(prefix):
        return given
    path = Path(given)
    try:
        with path.open("rb") as file:
            return file.read(MAX_GIVEN).decode("ascii", "replace")
    except OSError as error:
        raise ConfigurationError(
            f"this is neither a text that begins with {prefix} nor a file that can be read"
            f" ({error.strerror})",
            file=given[:80],
        ) from error


def member_document(member: Member, name: str) -> dict[str, Any]:
    """A member as a document has it: what the chain says, and the operator's own name for it."""
    return {
        "number": member.number,
        "name": name,
        "owner": member.owner,
        "signer": member.signer,
        "standing": member.standing.word,
        "import_limit_wh": member.import_limit_wh,
        "export_limit_wh": member.export_limit_wh,
        "supplier": member.supplier,
        "balance_units": member.balance_units,
        "gas_wei": member.gas_wei,
    }
