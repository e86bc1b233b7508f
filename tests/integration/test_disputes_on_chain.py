"""Claims, evidence and rulings against the contracts on the embedded chain."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from node.billing.claims import Claim, Series, SignedClaim, Source
from node.billing.disputes import Deadlines, Evidence, EvidenceKind, State, give_evidence
from node.billing.disputes import open_dispute as open_one
from node.billing.disputes import rule as take
from node.billing.openings import Opening, OpeningVerdict, check_opening
from node.billing.rulings import Outcome, Ruling, SignedRuling
from node.chain.claims import Papers, is_recorded, record_ruling, recorded_rulings
from node.chain.keys import Key
from node.chain.rpc import Sender
from node.errors import Refused
from node.market.orders import evidence_salt
from node.model import Side
from node.store import NodeDatabase
from tests.support.chain_street import RULES, SLOT, START_S, chain_street, give_gas

SALT = b"s" * 16
GRID = Key(b"\x0d" * 32)


def test_a_household_opens_what_its_order_committed_to() -> None:
    async def day() -> None:
        async with chain_street([400, 500], [0, 0]) as street:
            with NodeDatabase.open(None) as storage:
                node = street.node(storage)
                await node.run(slots=2)
                readings = {one.taken_at_s: one for one in storage.last_readings(10)}
            accepted = await street.accepted()
            assert [order.energy_wh for order in accepted] == [400, 500]
            for order in accepted:
                start_s = order.slot * RULES.slot_s
                opening = Opening(
                    evidence_salt(b"k" * 32, order.slot),
                    readings[start_s],
                    readings[start_s + RULES.slot_s],
                )
                assert check_opening(opening, order, RULES.slot_s) is OpeningVerdict.MATCHES
                more = replace(opening.after, import_wh=opening.after.import_wh + 1)
                told = check_opening(replace(opening, after=more), order, RULES.slot_s)
                assert told is OpeningVerdict.OTHER_COMMITMENT
                other_key = replace(opening, salt=evidence_salt(b"x" * 32, order.slot))
                told = check_opening(other_key, order, RULES.slot_s)
                assert told is OpeningVerdict.OTHER_COMMITMENT

    asyncio.run(day())


def test_a_rulings_digest_goes_on_chain_and_only_the_operators_does() -> None:
    async def day() -> None:
        async with chain_street([400], [0]) as street:
            records = street.deployment.records
            papers = Papers(street.chain.rpc.chain_id, records)
            home = street.keys[0]
            series = Series(1, Side.BID, START_S, 900, (380,))
            now_s = START_S + 3_600
            claim = Claim(Source.HOUSEHOLD, series, now_s, SALT)
            signed = SignedClaim(claim, papers.sign_claim(home, claim.head()))
            dispute = open_one(signed, papers, {home.address}, (), Deadlines(), now_s)
            piece = Evidence(EvidenceKind.DOCUMENT, "household", now_s, b"d" * 32)
            dispute = give_evidence(dispute, piece)
            ruling = Ruling(claim.digest(), Outcome.UPHELD, series, "1", now_s, SALT)
            signature = papers.sign_ruling(GRID, ruling.claim, "upheld", ruling.digest())
            done = take(
                dispute, SignedRuling(ruling, signature), papers, {GRID.address.lower()}, now_s
            )
            assert done.state is State.RULED
            head = await street.chain.rpc.head()
            await record_ruling(street.operator, records, SLOT, ruling.digest())
            after = await street.chain.rpc.head()
            (recorded,) = await recorded_rulings(street.chain.rpc, records, head, after)
            assert (recorded.number, recorded.slot) == (1, SLOT)
            assert recorded.digest == ruling.digest()
            rpc = street.chain.rpc
            assert await is_recorded(rpc, records, 0, ruling.digest())
            assert not await is_recorded(rpc, records, 0, claim.digest())
            assert not await is_recorded(rpc, records, after + 1, ruling.digest())
            stranger = Key(b"\x0e" * 32)
            sent = await street.chain.rpc.w3.eth.get_transaction_count(
                street.chain.rpc.w3.to_checksum_address(street.operator.address)
            )
            await give_gas(street.chain, stranger.address, sent)
            sender = Sender(street.chain.rpc, stranger, gas_price=street.chain.gas_price)
            with pytest.raises(Refused) as caught:
                await record_ruling(sender, records, SLOT, ruling.digest())
            assert caught.value.reason == "AccessManagedUnauthorized"

    asyncio.run(day())


class TestSignatures:
    records = "0x" + "0b" * 20
    claim = Claim(Source.SENSOR, Series(7, Side.ASK, START_S, 900, (1, 2)), START_S, SALT)

    def test_who_signed_is_found(self) -> None:
        papers = Papers(31337, self.records)
        head = self.claim.head()
        assert papers.claimant(head, papers.sign_claim(GRID, head)) == GRID.address
        signature = papers.sign_ruling(GRID, b"c" * 32, "upheld", b"r" * 32)
        assert papers.ruler(b"c" * 32, "upheld", b"r" * 32, signature) == GRID.address

    @pytest.mark.parametrize(
        "other",
        [
            replace(claim, source=Source.HOUSEHOLD),
            replace(claim, series=replace(claim.series, household=8)),
            replace(claim, series=replace(claim.series, side=Side.BID)),
            replace(claim, series=replace(claim.series, values_wh=(1, 3))),
            replace(claim, salt=b"t" * 16),
            replace(claim, made_at_s=START_S + 1),
            replace(claim, text="more"),
        ],
    )
    def test_it_covers_every_word_of_a_claim(self, other: Claim) -> None:
        papers = Papers(31337, self.records)
        signature = papers.sign_claim(GRID, self.claim.head())
        assert papers.claimant(other.head(), signature) != GRID.address

    def test_it_counts_in_one_community_only(self) -> None:
        head = self.claim.head()
        signature = Papers(31337, self.records).sign_claim(GRID, head)
        for elsewhere in (Papers(31338, self.records), Papers(31337, "0x" + "0c" * 20)):
            assert elsewhere.claimant(head, signature) != GRID.address

    def test_a_claims_signature_is_no_rulings(self) -> None:
        papers = Papers(31337, self.records)
        signature = papers.sign_claim(GRID, self.claim.head())
        ruler = papers.ruler(self.claim.digest(), "upheld", self.claim.digest(), signature)
        assert ruler != GRID.address

    @pytest.mark.parametrize("garbage", [b"", b"\0" * 64, b"\xff" * 64, b"\x01" * 63])
    def test_garbage_is_nobodys(self, garbage: bytes) -> None:
        assert Papers(1, self.records).claimant(self.claim.head(), garbage) is None
