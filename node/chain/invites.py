"""Invites: how a household learns which chain, which contracts and which operator are the right
ones, and by which the operator knows whom it asked in.

An invite is signed by the operator, lives for some days and admits one household. It carries a
secret from which its holder makes a key: the join request is signed with it, so that whoever reads
the request on its way cannot make another. Of the secret the operator keeps only that key's
address.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Final

from eth_utils.crypto import keccak

from node.chain.community import Community, community_of, document_of
from node.chain.envelope import open_envelope, recovered, seal_envelope
from node.chain.fingerprint import words_of
from node.chain.keys import Domain, Key
from node.chain.network.keeping import Draw
from node.errors import ConfigurationError, Refused
from node.slots import iso_utc
from node.units import duration_text

__all__ = [
    "CLOCK_SLACK_S",
    "LONGEST_S",
    "VALID_S",
    "Invite",
    "community_words",
    "make_invite",
    "read_invite",
]

KIND: Final = "invite"

VALID_S: Final = 3 * 86_400
LONGEST_S: Final = 30 * 86_400

CLOCK_SLACK_S: Final = 30
"""How far two clocks may be apart before it matters."""

SECRET_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Invite:
    """What an operator hands to one household. Times are unix seconds."""

    community: Community
    issued_at_s: int
    expires_at_s: int
    secret: bytes = field(repr=False)

    @property
    def key(self) -> Key:
        """The key that only a holder of the invite can make."""
        return Key(keccak(b"daisee invite key" + self.secret))

    @property
    def number(self) -> str:
        """By which the operator knows it: the address of its key."""
        return self.key.address


def make_invite(
    community: Community, operator: Key, draw: Draw, now_s: int, valid_s: int = VALID_S
) -> tuple[Invite, str]:
    """A new invite, and its text.

    Raises Refused when the key is not the one that the community knows as its operator's.
    """
    assert 0 < valid_s <= LONGEST_S, valid_s
    if operator.address.lower() != community.operator.lower():
        raise Refused(
            f"{operator.address} is not the operator of {community.name}, {community.operator} is",
            reason="not_operator",
            next_step="use the operator's key: members would refuse the invite of another",
        )
    secret = draw(SECRET_BYTES)
    assert len(secret) == SECRET_BYTES, len(secret)
    invite = Invite(community, now_s, now_s + valid_s, secret)
    content = _content(invite)
    signature = operator.sign_compact(_digest(community, content))
    return invite, seal_envelope(KIND, content, [signature])


def read_invite(text: str, now_s: int) -> Invite:
    """The invite of a text.

    Raises Refused when it is damaged (``damaged``), somebody else than its operator wrote or
    changed it (``wrong_signature``), its time is over (``expired``), or it comes from the future
    (``clock_off``).
    """
    envelope = open_envelope(KIND, text, 1)
    document = dict(envelope.document)
    try:
        issued_at_s, expires_at_s = document.pop("issued_at_s"), document.pop("expires_at_s")
        secret = bytes.fromhex(document.pop("secret"))
        community = community_of(document)
    except (KeyError, TypeError, ValueError, ConfigurationError) as error:
        raise _unusable(f"it lacks something, or has too much: {error}") from error
    if not isinstance(issued_at_s, int) or not isinstance(expires_at_s, int):
        raise _unusable("its times are none")
    if len(secret) != SECRET_BYTES:
        raise _unusable("its secret is none")
    signer = recovered(_digest(community, envelope.content), envelope.signatures[0])
    if signer.lower() != community.operator.lower():
        raise Refused(
            f"this invite was not signed by the operator of {community.name}",
            reason="wrong_signature",
            next_step="do not use it; ask the operator for another, and say where this came from",
        )
    if issued_at_s > now_s + CLOCK_SLACK_S:
        raise Refused(
            f"the invite was written {duration_text(issued_at_s - now_s)} after what this machine"
            " takes for now",
            reason="clock_off",
            next_step="set this machine's clock: 'timedatectl' shows it",
        )
    if now_s >= expires_at_s:
        raise Refused(
            f"the invite was good until {iso_utc(expires_at_s)}",
            reason="expired",
            next_step="ask the operator for a new one; if it should be good, check the clock",
        )
    return Invite(community, issued_at_s, expires_at_s, secret)


def community_words(community: Community) -> str:
    """Four words for a community: its chain, its contracts and its operator, wherever it is asked.

    The operator can read them out, so that nobody joins another community of the same name.
    """
    agreed = replace(community, rpc_urls=(), relay_urls=())
    return words_of(json.dumps(document_of(agreed), sort_keys=True).lower().encode())


def _content(invite: Invite) -> bytes:
    document = document_of(invite.community) | {
        "issued_at_s": invite.issued_at_s,
        "expires_at_s": invite.expires_at_s,
        "secret": invite.secret.hex(),
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _digest(community: Community, content: bytes) -> bytes:
    """An invite counts for one registry of one chain, and its signature is no order's."""
    registry = community.contracts["HouseholdRegistry"]
    return Domain("daisee invite", community.chain_id, registry).digest(keccak(content))


def _unusable(why: str) -> Refused:
    return Refused(
        f"this invite cannot be used: {why}",
        reason="damaged",
        next_step="ask the operator for a new one, and update daisee if that fails too",
    )
