"""A dispute as a JSON document: how it is kept, sealed under the key of the person it concerns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node.billing.claims import claim_document, claim_from
from node.billing.disputes import Dispute, Evidence, EvidenceKind, State
from node.billing.rulings import ruling_document, ruling_from
from node.slots import iso_utc, parse_iso_utc

__all__ = ["dispute_document", "dispute_from"]


def dispute_document(dispute: Dispute) -> dict[str, object]:
    """All of a dispute."""
    return {
        "number": dispute.number,
        "claim": claim_document(dispute.signed),
        "state": dispute.state.value,
        "opened": iso_utc(dispute.opened_s),
        "answer_by": iso_utc(dispute.answer_by_s),
        "rule_by": iso_utc(dispute.rule_by_s),
        "informational": dispute.is_informational,
        "contested": dispute.is_contested,
        "evidence": [
            {
                "kind": piece.kind.value,
                "by": piece.given_by,
                "given": iso_utc(piece.given_s),
                "digest": piece.digest.hex(),
                "verdict": piece.verdict,
            }
            for piece in dispute.evidence
        ],
        "ruling": None if dispute.ruling is None else ruling_document(dispute.ruling),
        "closed": None if dispute.closed_s is None else iso_utc(dispute.closed_s),
        "settlement": dispute.settlement.hex(),
    }


def dispute_from(document: Mapping[str, Any]) -> Dispute:
    """The dispute of a document that ``dispute_document`` made."""
    ruling, closed = document["ruling"], document["closed"]
    return Dispute(
        signed=claim_from(document["claim"]),
        state=State(document["state"]),
        opened_s=parse_iso_utc(document["opened"]),
        answer_by_s=parse_iso_utc(document["answer_by"]),
        rule_by_s=parse_iso_utc(document["rule_by"]),
        is_informational=document["informational"],
        is_contested=document["contested"],
        evidence=tuple(
            Evidence(
                kind=EvidenceKind(piece["kind"]),
                given_by=piece["by"],
                given_s=parse_iso_utc(piece["given"]),
                digest=bytes.fromhex(piece["digest"]),
                verdict=piece["verdict"],
            )
            for piece in document["evidence"]
        ),
        ruling=None if ruling is None else ruling_from(ruling),
        closed_s=None if closed is None else parse_iso_utc(closed),
        settlement=bytes.fromhex(document["settlement"]),
    )
