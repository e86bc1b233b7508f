"""Claims and rulings made up for tests; their signatures are names in plain bytes."""

from __future__ import annotations

from typing import Final

from node.billing.claims import Claim, ClaimHead, Series, SignedClaim, Source
from node.billing.disputes import Deadlines, Dispute, open_dispute
from node.billing.rulings import Outcome, Ruling, SignedRuling
from node.model import Side
from node.slots import parse_iso_utc

NOW_S: Final = parse_iso_utc("2025-11-03T09:00:00Z")
FROM_S: Final = parse_iso_utc("2025-10-20T10:00:00Z")
HOME: Final = "0xHome"
GRID: Final = "0xGrid"
SALT: Final = bytes(range(16))
DAY_S: Final = 86_400


class PlainCheck:
    """Takes a signature for the name of its signer, if it was made for that very content."""

    def claimant(self, head: ClaimHead, signature: bytes) -> str | None:
        return _name(head[-1], signature)

    def ruler(self, claim: bytes, outcome: str, content: bytes, signature: bytes) -> str | None:
        assert claim
        assert outcome
        return _name(content, signature)


def signed_by(name: str, content: bytes) -> bytes:
    return name.encode() + b":" + content


def _name(content: bytes, signature: bytes) -> str | None:
    name, _, rest = signature.partition(b":")
    return name.decode() if rest == content else None


def series(
    *values_wh: int, household: int = 3, from_s: int = FROM_S, side: Side = Side.BID
) -> Series:
    return Series(household, side, from_s, 1800, values_wh)


def claim(
    wanted: Series | None = None, *, by: str = HOME, salt: bytes = SALT, made_at_s: int = NOW_S
) -> SignedClaim:
    made = Claim(Source.HOUSEHOLD, wanted or series(100, 120), made_at_s, salt)
    return SignedClaim(made, signed_by(by, made.digest()))


def opened(signed: SignedClaim | None = None, now_s: int = NOW_S) -> Dispute:
    return open_dispute(signed or claim(), PlainCheck(), {HOME}, (), Deadlines(), now_s)


def ruling(
    dispute: Dispute,
    reference: Series | None,
    *,
    by: str = GRID,
    outcome: Outcome = Outcome.UPHELD,
) -> SignedRuling:
    made = Ruling(
        dispute.signed.claim.digest(),
        Outcome.REJECTED if reference is None else outcome,
        reference,
        "2025-1",
        NOW_S,
        SALT,
    )
    return SignedRuling(made, signed_by(by, made.digest()))
