"""Join requests: what a household gives its operator, so that one approval is all that it takes.

The household does not know its number yet, and the owner must name its signer for one number. So
the request holds the owner's signatures for each of the next numbers that the registry gives out:
those of other households' numbers are worth nothing, because their owners are others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eth_utils.address import is_address, to_checksum_address
from eth_utils.crypto import keccak

from node.chain.envelope import SIGNATURE_BYTES, open_envelope, recovered, seal_envelope
from node.chain.fingerprint import same_words, words_of
from node.chain.invites import Invite
from node.chain.keys import Domain, Key, name_signer_hash, registry_domain
from node.chain.network.keeping import write_secret
from node.errors import ConfigurationError, Refused
from node.model import MAX_HOUSEHOLDS

__all__ = [
    "MAX_OF_INVITE",
    "MAX_REQUEST_BYTES",
    "MAX_WAITING",
    "NUMBERS_AHEAD",
    "VALID_S",
    "JoinRequest",
    "drop_past",
    "find_request",
    "keep_request",
    "make_request",
    "read_request",
    "request_text",
]

KIND: Final = "join"

NUMBERS_AHEAD: Final = 64
"""Households that may be admitted between a request and its approval."""

VALID_S: Final = 14 * 86_400
"""How long the owner's signatures count."""

MAX_WAITING: Final = 256

MAX_OF_INVITE: Final = 4
"""Requests of different owners that wait for one invite: a household that begins anew some times.
Who has an invite can make owners without end."""

MAX_REQUEST_BYTES: Final = 32_768

_PARITY: Final = 1 << 255


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A household's keys, by their addresses, and what its owner signed.

    ``invite`` is the address of the invite's key; ``naming`` has a compact signature for each
    household number from ``first_number`` on.
    """

    chain_id: int
    registry: str
    invite: str
    owner: str
    signer: str
    first_number: int
    deadline_s: int
    naming: tuple[bytes, ...]

    @property
    def words(self) -> str:
        """Four words for the keys: shown to the household, and to the operator who approves."""
        text = f"join {self.chain_id} {self.registry} {self.owner} {self.signer}"
        return words_of(text.lower().encode())

    @property
    def numbers(self) -> range:
        """The household numbers for which the owner signed."""
        return range(self.first_number, self.first_number + len(self.naming))

    def naming_for(self, household: int) -> bytes:
        """The owner's signature for a number, as the registry takes it: r, s, v."""
        compact = self.naming[household - self.first_number]
        word = int.from_bytes(compact[SIGNATURE_BYTES // 2 :])
        return compact[:32] + (word % _PARITY).to_bytes(32) + bytes([27 + (word >> 255)])


Check = Callable[[JoinRequest], object]
"""Looks at a request, and raises Refused for one that is not wanted."""


def make_request(
    invite: Invite, owner: Key, signer: str, households: int, now_s: int
) -> tuple[JoinRequest, str]:
    """A request, and its text; ``households`` is how many the registry has given numbers to."""
    community = invite.community
    registry = community.contracts["HouseholdRegistry"]
    deadline_s = now_s + VALID_S
    first = households + 1
    domain = registry_domain(community.chain_id, registry)
    naming = tuple(
        owner.sign_compact(domain.digest(name_signer_hash(number, signer, 0, deadline_s)))
        for number in range(first, min(first + NUMBERS_AHEAD, MAX_HOUSEHOLDS + 1))
    )
    request = JoinRequest(
        community.chain_id,
        to_checksum_address(registry),
        invite.number,
        owner.address,
        signer,
        first,
        deadline_s,
        naming,
    )
    content = _content(request)
    digest = _digest(request, content)
    signatures = [owner.sign_compact(digest), invite.key.sign_compact(digest)]
    return request, seal_envelope(KIND, content, signatures)


def read_request(text: str, check: Check | None = None) -> JoinRequest:
    """The request of a text, its signatures checked but not yet whose invite it was.

    ``check`` may refuse it once its owner and its invite's key have signed, before the signatures
    for all the numbers are looked at, which costs more. Raises Refused when it is damaged
    (``damaged``), or signed by others than it says (``wrong_signature``).
    """
    envelope = open_envelope(KIND, text, 2)
    return _checked(envelope.content, envelope.document, envelope.signatures, check)


def keep_request(
    folder: Path, text: str, check: Check | None = None, *, of_invite: int = MAX_WAITING
) -> JoinRequest:
    """Keep a request that came in, for the operator to approve by its words.

    Raises Refused when it is none, as ``check`` does, or when too many wait already (``full``). The
    same owner's next request takes the place of its last; the same one again changes nothing, and
    neither does an older one (``older``). Of more than ``of_invite`` that answer one invite, the
    one that came first goes.
    """
    request = read_request(text, check)
    path = folder / f"{request.owner.lower()}.txt"
    if path.exists():
        kept = request_text(path)
        if kept.strip() == text.strip():
            return request
        if _deadline_in(kept) > request.deadline_s:
            raise Refused(
                "a newer request of the same household waits already",
                reason="older",
                next_step="run 'daisee join' again, if the newer one is not this household's",
            )
    else:
        _make_room(folder, request.invite, of_invite)
    write_secret(path, text.strip() + "\n")
    return request


def _make_room(folder: Path, invite: str, of_invite: int) -> None:
    """For one more that answers an invite. Raises Refused (``full``)."""
    waiting = _waiting(folder)
    same = [path for path in waiting if _invite_in(request_text(path)) == invite]
    same.sort(key=lambda path: path.stat().st_mtime_ns)
    past = same[: max(len(same) + 1 - of_invite, 0)]
    if len(waiting) - len(past) >= MAX_WAITING:
        raise Refused(
            f"{MAX_WAITING} requests wait already",
            reason="full",
            next_step="the operator clears the folder of requests, of those approved first",
        )
    for path in past:
        path.unlink(missing_ok=True)


def drop_past(folder: Path, now_s: int) -> int:
    """Make room: remove the requests whose owner's signatures do not count any more, and files that
    hold none. How many went."""
    past = [path for path in _waiting(folder) if _deadline_in(request_text(path)) <= now_s]
    for path in past:
        path.unlink(missing_ok=True)
    return len(past)


def find_request(folder: Path, words: str) -> JoinRequest:
    """The request of these words among those that wait.

    Raises Refused (``unknown_words``) when none has them.
    """
    for path in _waiting(folder):
        try:
            request = read_request(request_text(path))
        except (Refused, ConfigurationError):
            continue
        if same_words(request.words, words):
            return request
    raise Refused(
        f"no request that waits in {folder} has these words",
        reason="unknown_words",
        next_step="have them read out again, or give the request's file",
    )


def request_text(path: Path) -> str:
    """The text of a request's file. Raises ConfigurationError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_REQUEST_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise ConfigurationError(
            f"the request cannot be read ({error.strerror})", file=path
        ) from error


def _deadline_in(text: str) -> int:
    """Until when a request that was kept counts, its signatures not looked at again; 0 if it is
    none."""
    try:
        return int(open_envelope(KIND, text, 2).document["deadline_s"])
    except (Refused, KeyError, TypeError, ValueError):
        return 0


def _invite_in(text: str) -> str:
    """Which invite a request that was kept answers; empty if it is none."""
    try:
        return str(open_envelope(KIND, text, 2).document["invite"])
    except (Refused, KeyError):
        return ""


def _waiting(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("0x*.txt"))


def _content(request: JoinRequest) -> bytes:
    document = {
        "chain_id": request.chain_id,
        "registry": request.registry,
        "invite": request.invite,
        "owner": request.owner,
        "signer": request.signer,
        "first_number": request.first_number,
        "deadline_s": request.deadline_s,
        "naming": [signature.hex() for signature in request.naming],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _digest(request: JoinRequest, content: bytes) -> bytes:
    return Domain("daisee join", request.chain_id, request.registry).digest(keccak(content))


def _checked(
    content: bytes,
    document: Any,  # noqa: ANN401 - JSON
    signatures: Sequence[bytes],
    check: Check | None,
) -> JoinRequest:
    try:
        request = JoinRequest(
            chain_id=_whole(document["chain_id"], 2**63),
            registry=_address(document["registry"]),
            invite=_address(document["invite"]),
            owner=_address(document["owner"]),
            signer=_address(document["signer"]),
            first_number=_whole(document["first_number"], MAX_HOUSEHOLDS + 1),
            deadline_s=_whole(document["deadline_s"], 2**63),
            naming=tuple(bytes.fromhex(text) for text in document["naming"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable("damaged", f"it lacks something: {error}") from error
    whole = all(len(signature) == SIGNATURE_BYTES for signature in request.naming)
    if not 0 < len(request.naming) <= NUMBERS_AHEAD or not whole:
        raise _unusable("damaged", "the owner's signatures are not whole")
    digest = _digest(request, content)
    if [recovered(digest, signature) for signature in signatures] != [
        request.owner,
        request.invite,
    ]:
        raise _unusable("wrong_signature", "others signed it than it says")
    if check is not None:
        check(request)
    domain = registry_domain(request.chain_id, request.registry)
    for number, signature in zip(request.numbers, request.naming, strict=True):
        naming = domain.digest(name_signer_hash(number, request.signer, 0, request.deadline_s))
        if recovered(naming, signature) != request.owner:
            raise _unusable("wrong_signature", "its owner named another signer")
    return request


def _whole(value: object, end: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < end:
        raise ValueError(f"{value!r} is no number that can be")
    return value


def _address(value: object) -> str:
    if not isinstance(value, str) or not is_address(value):
        raise ValueError(f"{value!r} is no address")
    return to_checksum_address(value)


def _unusable(reason: str, why: str) -> Refused:
    return Refused(
        f"this join request cannot be used: {why}",
        reason=reason,
        next_step="ask the household to run 'daisee join' again, and for the new request",
    )
