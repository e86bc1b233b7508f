"""Disputes: who may claim, the deadlines, what an opening proves, and what a ruling changes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.billing.bill_energy import BilledEnergy, billed_energy, frame_of, reopened
from node.billing.bill_files import bills_document
from node.billing.bill_making import bill_energy
from node.billing.bills import COMMUNITY, LineKind, PeriodBills
from node.billing.claims import Series, claim_document, claim_from, series_from
from node.billing.curve_files import CurveTable
from node.billing.curve_store import Said
from node.billing.dispute_documents import dispute_document, dispute_from
from node.billing.disputes import (
    MAX_EVIDENCE,
    Deadlines,
    Dispute,
    Evidence,
    EvidenceKind,
    State,
    advance,
    give_evidence,
    months_before,
    open_dispute,
    rule,
    settle,
)
from node.billing.keys import default_dynamic
from node.billing.notes import Note, carried_over, notes_between
from node.billing.openings import (
    Opening,
    OpeningVerdict,
    check_opening,
    opening_document,
    opening_from,
)
from node.billing.reconcile import Entry, reconcile, revised
from node.billing.rulings import (
    MarketRuling,
    Outcome,
    corrected_curve,
    market_entries,
    ruled_curves,
    ruling_document,
    ruling_from,
)
from node.billing.series import MISSING, Curve
from node.errors import ConfigurationError, Refused
from node.market.orders import evidence_commitment
from node.model import LogPosition, OrderAccepted, RegisterReading, Side
from node.slots import parse_iso_utc
from tests.support.billing_cases import BARN, FLAT, MILL, ROOF, TARIFFS, curves, month, operation
from tests.support.dispute_cases import (
    DAY_S,
    FROM_S,
    GRID,
    HOME,
    NOW_S,
    PlainCheck,
    claim,
    opened,
    ruling,
    series,
)
from tests.support.official_curves import SLOT_S, measured_otherwise, random_fills

SEEDS = st.integers(0, 2**32)


def refused(reason: str, call: Callable[[], object]) -> None:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.reason == reason


def piece(given_s: int = NOW_S, digest: bytes = b"d" * 32) -> Evidence:
    return Evidence(EvidenceKind.DOCUMENT, "household", given_s, digest)


def ruled(values_wh: int = 130) -> Dispute:
    dispute = give_evidence(opened(), piece())
    return rule(dispute, ruling(dispute, series(values_wh)), PlainCheck(), {GRID}, NOW_S + 1)


class TestOpening:
    def test_a_claim_opens_a_dispute_with_its_deadlines(self) -> None:
        dispute = opened()
        assert dispute.state is State.OPEN
        assert dispute.answer_by_s == NOW_S + 10 * DAY_S
        assert dispute.rule_by_s == NOW_S + 21 * DAY_S
        assert not dispute.is_informational

    def test_only_who_may_claim_can(self) -> None:
        refused("not_authorised", lambda: opened(claim(by="0xStranger")))
        forged = claim()
        forged = replace(forged, claim=replace(forged.claim, text="and twice as much"))
        refused("wrong_signature", lambda: opened(forged))

    def test_a_replayed_claim_is_refused(self) -> None:
        known = {opened().number}
        again = lambda: open_dispute(  # noqa: E731
            claim(), PlainCheck(), {HOME}, known, Deadlines(), NOW_S
        )
        refused("replayed", again)
        assert claim(salt=b"x" * 16).claim.digest().hex() not in known

    def test_nothing_is_claimed_of_the_future(self) -> None:
        refused("in_the_future", lambda: opened(claim(made_at_s=NOW_S + 1)))
        refused("in_the_future", lambda: opened(claim(series(1, from_s=NOW_S - NOW_S % 1800))))

    def test_what_is_older_than_fourteen_months_is_informational(self) -> None:
        limit_s = parse_iso_utc("2024-09-03T09:00:00Z")
        assert months_before(NOW_S, 14) == limit_s
        assert not opened(claim(series(1, from_s=limit_s))).is_informational
        assert opened(claim(series(1, from_s=limit_s - 1800))).is_informational

    @pytest.mark.parametrize(
        ("instant", "months", "earlier"),
        [
            ("2025-03-31T12:00:00Z", 1, "2025-02-28T12:00:00Z"),
            ("2024-03-31T12:00:00Z", 1, "2024-02-29T12:00:00Z"),
            ("2025-01-15T00:00:00Z", 14, "2023-11-15T00:00:00Z"),
        ],
    )
    def test_months_are_those_of_the_calendar(
        self, instant: str, months: int, earlier: str
    ) -> None:
        assert months_before(parse_iso_utc(instant), months) == parse_iso_utc(earlier)


class TestDeadlines:
    def test_silence_moves_a_dispute_on_at_its_days(self) -> None:
        dispute = opened()
        assert advance(dispute, dispute.answer_by_s - 1).state is State.OPEN
        assert advance(dispute, dispute.answer_by_s).state is State.EVIDENCE
        assert advance(dispute, dispute.rule_by_s - 1).state is State.EVIDENCE
        expired = advance(dispute, dispute.rule_by_s)
        assert (expired.state, expired.is_contested) == (State.EXPIRED, True)
        assert advance(expired, dispute.rule_by_s + 10**9) == expired

    def test_the_days_are_parameters(self) -> None:
        deadlines = Deadlines(supplier_days=2, operator_days=3)
        dispute = open_dispute(claim(), PlainCheck(), {HOME}, (), deadlines, NOW_S)
        assert advance(dispute, NOW_S + 3 * DAY_S).state is State.EXPIRED
        with pytest.raises(ValueError, match="supplier"):
            Deadlines(supplier_days=21, operator_days=21)

    def test_time_never_moves_a_closed_dispute(self) -> None:
        dispute = ruled()
        assert advance(dispute, NOW_S + 10**9) == dispute

    def test_evidence_is_taken_until_the_operator_is_late(self) -> None:
        dispute = give_evidence(opened(), piece())
        assert dispute.state is State.EVIDENCE
        assert give_evidence(dispute, piece()) == dispute
        late = piece(dispute.rule_by_s, b"e" * 32)
        refused("closed", lambda: give_evidence(dispute, late))

    def test_evidence_has_a_bound(self) -> None:
        dispute = opened()
        for number in range(MAX_EVIDENCE):
            dispute = give_evidence(dispute, piece(digest=number.to_bytes(32)))
        refused("too_much", lambda: give_evidence(dispute, piece(digest=b"f" * 32)))


class TestRuling:
    def test_the_operator_rules_once_after_the_evidence(self) -> None:
        dispute = opened()
        early = ruling(dispute, series(130))
        refused("closed", lambda: rule(dispute, early, PlainCheck(), {GRID}, NOW_S))
        done = ruled()
        assert (done.state, done.closed_s) == (State.RULED, NOW_S + 1)
        refused("closed", lambda: rule(done, early, PlainCheck(), {GRID}, NOW_S + 2))

    def test_a_forged_ruling_counts_for_nothing(self) -> None:
        dispute = give_evidence(opened(), piece())
        theirs = ruling(dispute, series(130), by=HOME)
        refused("not_authorised", lambda: rule(dispute, theirs, PlainCheck(), {GRID}, NOW_S))
        altered = ruling(dispute, series(130))
        altered = replace(altered, ruling=replace(altered.ruling, reference=series(131)))
        refused("wrong_signature", lambda: rule(dispute, altered, PlainCheck(), {GRID}, NOW_S))

    @pytest.mark.parametrize(
        "reference",
        [
            series(1, household=4),
            series(1, side=Side.ASK),
            series(1, from_s=FROM_S - 1800),
            series(1, 2, 3),
        ],
    )
    def test_it_states_only_what_was_in_dispute(self, reference: Series) -> None:
        dispute = give_evidence(opened(), piece())
        other = ruling(dispute, reference)
        refused("other_claim", lambda: rule(dispute, other, PlainCheck(), {GRID}, NOW_S))

    def test_another_claims_ruling_is_refused(self) -> None:
        dispute = give_evidence(opened(), piece())
        elsewhere = ruling(opened(claim(salt=b"y" * 16)), series(130))
        refused("other_claim", lambda: rule(dispute, elsewhere, PlainCheck(), {GRID}, NOW_S))

    def test_a_late_ruling_is_refused(self) -> None:
        dispute = give_evidence(opened(), piece())
        late = ruling(dispute, series(130))
        refused("closed", lambda: rule(dispute, late, PlainCheck(), {GRID}, dispute.rule_by_s))

    def test_settled_is_the_end(self) -> None:
        done = settle(ruled(), b"n" * 32, NOW_S + 5)
        assert (done.state, done.settlement) == (State.SETTLED, b"n" * 32)
        refused("closed", lambda: settle(done, b"", NOW_S + 6))

    def test_what_expired_settles_without_notes(self) -> None:
        dispute = opened()
        refused("nothing_to_settle", lambda: settle(dispute, b"n", dispute.rule_by_s))
        done = settle(dispute, b"", dispute.rule_by_s)
        assert (done.state, done.is_contested) == (State.SETTLED, True)

    def test_a_rejected_claim_changes_no_bill(self) -> None:
        dispute = give_evidence(opened(), piece())
        done = rule(dispute, ruling(dispute, None), PlainCheck(), {GRID}, NOW_S)
        refused("nothing_to_settle", lambda: settle(done, b"n", NOW_S))
        assert settle(done, b"", NOW_S).state is State.SETTLED

    def test_a_document_holds_all_of_a_dispute(self) -> None:
        for dispute in (opened(), ruled(), settle(ruled(), b"n" * 32, NOW_S)):
            assert dispute_from(dispute_document(dispute)) == dispute


@given(SEEDS)
def test_any_course_keeps_to_the_drawn_states(seed: int) -> None:
    rng = random.Random(seed)
    allowed = {
        (State.OPEN, State.EVIDENCE),
        (State.OPEN, State.EXPIRED),  # nobody looked while it was at the evidence
        (State.EVIDENCE, State.RULED),
        (State.EVIDENCE, State.EXPIRED),
        (State.RULED, State.SETTLED),
        (State.EXPIRED, State.SETTLED),
    }
    steps: list[Callable[[Dispute, int], Dispute]] = [
        advance,
        lambda dispute, now_s: give_evidence(dispute, piece(now_s, rng.randbytes(32))),
        lambda dispute, now_s: rule(
            dispute, ruling(dispute, series(7)), PlainCheck(), {GRID}, now_s
        ),
        lambda dispute, now_s: settle(dispute, b"", now_s),
    ]
    now_s = NOW_S
    course = [opened()]
    for _ in range(12):
        now_s += rng.choice((0, DAY_S, 6 * DAY_S))
        course.append(advance(course[-1], now_s))
        with suppress(Refused):
            course.append(rng.choice(steps)(course[-1], now_s))
    moves = {(old.state, new.state) for old, new in pairwise(course) if old.state != new.state}
    assert moves <= allowed


class TestDocuments:
    def test_claims_and_rulings_survive_their_documents(self) -> None:
        signed = claim(series(100, MISSING, 3))
        assert claim_from(claim_document(signed)) == signed
        decided = ruling(opened(), series(100, MISSING, 3), outcome=Outcome.ADJUSTED)
        assert ruling_from(ruling_document(decided)) == decided
        rejected = ruling(opened(), None)
        assert ruling_from(ruling_document(rejected)) == rejected

    @pytest.mark.parametrize(
        "change",
        [
            {"series": None},
            {"salt": "00"},
            {"salt": 7},
            {"source": "neighbour"},
            {"made_at": "yesterday"},
            {"signature": "zz"},
        ],
    )
    def test_what_is_no_claim_is_refused(self, change: dict[str, object]) -> None:
        with pytest.raises(ConfigurationError, match="no signed claim"):
            claim_from(claim_document(claim()) | change)

    @pytest.mark.parametrize(
        "values", [[], [None], [-1], ["7"], [1.5], [10**10], [1] * 9_001, "12"]
    )
    def test_what_is_no_series_is_refused(self, values: object) -> None:
        whole = {"household": 3, "side": "bid", "from": "2025-10-20T10:00:00Z", "step_s": 1800}
        with pytest.raises((ValueError, TypeError)):
            series_from(whole | {"values_wh": values})


SLOT = FROM_S // 900
KEY = b"s" * 16


def reading(at_slot: int, import_wh: int, export_wh: int = 50, meter: str = "m") -> RegisterReading:
    return RegisterReading(meter, at_slot * 900, import_wh, export_wh)


BEFORE, AFTER = reading(SLOT, 1_000), reading(SLOT + 1, 1_250, 51)


def accepted(
    energy_wh: int = 250,
    side: Side = Side.BID,
    before: RegisterReading = BEFORE,
    after: RegisterReading = AFTER,
) -> OrderAccepted:
    evidence = evidence_commitment(KEY, before, after)
    return OrderAccepted(LogPosition(1, 0), SLOT, 3, side, energy_wh, 9_000, 0, evidence)


class TestEvidence:
    def test_what_was_committed_to_can_be_opened(self) -> None:
        opening = Opening(KEY, BEFORE, AFTER)
        assert check_opening(opening, accepted(), 900) is OpeningVerdict.MATCHES
        assert check_opening(opening, accepted(1, Side.ASK), 900) is OpeningVerdict.MATCHES
        assert check_opening(opening, accepted(200), 900) is OpeningVerdict.BELOW
        assert opening_from(opening_document(opening)) == opening

    def test_an_order_above_its_readings_is_seen(self) -> None:
        verdict = check_opening(Opening(KEY, BEFORE, AFTER), accepted(251), 900)
        assert (verdict, verdict.is_sound) == (OpeningVerdict.ABOVE, False)

    @pytest.mark.parametrize(
        "opening",
        [
            Opening(b"t" * 16, BEFORE, AFTER),
            Opening(KEY, BEFORE, replace(AFTER, import_wh=1_251)),
            Opening(KEY, replace(BEFORE, meter_id="n"), AFTER),
            Opening(KEY, BEFORE, AFTER, b"frames"),
        ],
    )
    def test_nothing_else_can(self, opening: Opening) -> None:
        assert check_opening(opening, accepted(), 900) is OpeningVerdict.OTHER_COMMITMENT

    def test_readings_of_another_slot_or_meter_prove_nothing(self) -> None:
        late = reading(SLOT + 2, 1_250)
        verdict = check_opening(Opening(KEY, BEFORE, late), accepted(after=late), 900)
        assert verdict is OpeningVerdict.OTHER_SLOT
        other = reading(SLOT + 1, 1_250, meter="n")
        verdict = check_opening(Opening(KEY, BEFORE, other), accepted(after=other), 900)
        assert verdict is OpeningVerdict.OTHER_METER
        goes_on = replace(other, continues="m")
        verdict = check_opening(Opening(KEY, BEFORE, goes_on), accepted(after=goes_on), 900)
        assert verdict is OpeningVerdict.MATCHES

    def test_an_order_without_a_commitment_has_nothing_to_open(self) -> None:
        bare = replace(accepted(), evidence=bytes(32))
        verdict = check_opening(Opening(KEY, BEFORE, AFTER), bare, 900)
        assert verdict is OpeningVerdict.NO_COMMITMENT


OCTOBER = month("2025-10")


def billed(seed: int = 7) -> tuple[CurveTable, CurveTable, BilledEnergy]:
    rng = random.Random(seed)
    produced = curves(OCTOBER, {ROOF: lambda n: 900 if 16 <= n % 48 < 36 else 0, BARN: lambda n: n})
    consumed = curves(
        OCTOBER, {FLAT: lambda _: rng.randrange(900), MILL: lambda _: rng.randrange(600)}
    )
    return produced, consumed, from_curves(produced, consumed)


def from_curves(produced: CurveTable, consumed: CurveTable) -> BilledEnergy:
    tables = TARIFFS.accepting(operation().accepted)
    return billed_energy(operation(), tables, default_dynamic(), produced, consumed, OCTOBER)


def with_values(table: CurveTable, point: str, values_wh: dict[int, int]) -> CurveTable:
    curve = table.points[point][:]
    for step, value in values_wh.items():
        curve[step] = value
    return replace(table, points=dict(table.points) | {point: curve})


def check_notes(notes: tuple[Note, ...]) -> None:
    """Between any two they cancel out, in money and in energy."""
    assert sum(note.amount_cents for note in notes) == 0
    by_pair: Counter[frozenset[str]] = Counter()
    for note in notes:
        assert note.amount_cents == sum(change.amount_cents for change in note.changes)
        by_pair[frozenset((note.party, note.other))] += note.amount_cents
    assert not any(by_pair.values())


def corrected(
    energy: BilledEnergy, produced: CurveTable, consumed: CurveTable
) -> tuple[tuple[int, ...], PeriodBills, tuple[Note, ...]]:
    """The steps that corrected curves open, the bills then, and the notes that lead there."""
    tables = TARIFFS.accepting(operation().accepted)
    again = reopened(energy, frame_of(operation(), tables, produced, consumed, OCTOBER))
    before = bill_energy(operation(), tables, energy, provisional=True)
    after = bill_energy(operation(), tables, again.energy)
    return again.steps, after, notes_between(bills_document(before), bills_document(after))


class TestCorrections:
    def test_a_correction_gives_the_bills_that_would_have_been(self) -> None:
        """The touched steps alone are run again; the whole month made anew is the same."""
        produced, consumed, energy = billed()
        late = with_values(consumed, FLAT, {700: 0, 702: 4_000})
        steps, made, notes = corrected(energy, produced, late)
        wanted = bill_energy(
            operation(),
            TARIFFS.accepting(operation().accepted),
            from_curves(produced, late),
        )
        assert steps == (700, 702)
        assert made == wanted
        assert notes
        check_notes(notes)

    def test_every_member_of_the_step_is_credited_or_debited(self) -> None:
        produced, consumed, energy = billed()
        _, _, notes = corrected(energy, produced, with_values(consumed, FLAT, {700: 4_000}))
        own = [note for note in notes if not note.is_advice]
        assert {note.party for note in own} >= {FLAT, MILL, ROOF, BARN}
        flat_wh, mill_wh = (
            sum(
                change.energy_wh
                for note in own
                if note.party == point and note.other != COMMUNITY
                for change in note.changes
                if change.kind is LineKind.LOCAL_ENERGY
            )
            for point in (FLAT, MILL)
        )
        assert flat_wh > 0 > mill_wh

    def test_a_correction_that_lowers_production_is_taken_back_from_consumers(self) -> None:
        produced, consumed, energy = billed()
        _, _, notes = corrected(energy, with_values(produced, ROOF, {700: 0}), consumed)
        (roof,) = [n for n in notes if n.party == ROOF and n.other == MILL]
        assert roof.word == "debit"
        check_notes(notes)

    def test_a_step_that_was_open_is_billed_when_its_value_is_known(self) -> None:
        produced, consumed, _ = billed()
        gap = with_values(consumed, FLAT, {700: MISSING})
        whole = with_values(consumed, FLAT, {700: 400})
        _, made, notes = corrected(from_curves(produced, gap), produced, whole)
        tables = TARIFFS.accepting(operation().accepted)
        assert made == bill_energy(operation(), tables, from_curves(produced, whole))
        assert made.stamp.open_steps == 0
        check_notes(notes)

    def test_what_is_small_is_carried_over_by_both(self) -> None:
        sums = {(FLAT, ROOF): 7, (ROOF, FLAT): -7, (MILL, ROOF): 2, (ROOF, MILL): -2}
        due, carried = carried_over(sums, 5)
        assert set(due) == {(FLAT, ROOF), (ROOF, FLAT)}
        assert due | carried == sums
        assert carried_over(carried, 1) == (carried, {})


@given(SEEDS)
def test_the_markets_corrections_sum_to_zero(seed: int) -> None:
    rng = random.Random(seed)
    fills = random_fills(rng, 8)
    official = measured_otherwise(rng, fills, 8, rng.choice((900, 1_800)))
    if not official:
        return
    (household, side), curve = rng.choice(sorted(official.items(), key=lambda item: item[0]))
    place = rng.randrange(len(curve))
    value_wh = rng.choice((0, 10, 10**6))
    reference = Series(household, side, curve.step_start_s(place), curve.step_s, (value_wh,))
    entries = market_entries(fills, official, MarketRuling(reference, NOW_S), SLOT_S)
    assert sum(entry.energy_wh for entry in entries) == 0
    assert sum(entry.amount_units for entry in entries) == 0
    now = {**official, (household, side): corrected_curve(curve, reference)}
    anew = reconcile(fills, now, SLOT_S).entries
    assert entries == revised(reconcile(fills, official, SLOT_S).entries, anew)
    step_slots = {
        slot
        for slot in {fill.slot for fill in fills}
        if slot * SLOT_S // curve.step_s == reference.from_s // curve.step_s
    }
    assert {entry.slot for entry in entries} <= step_slots
    corrected = corrected_curve(curve, reference)
    assert corrected.watt_minutes[place] == value_wh * 60


@given(SEEDS)
def test_entries_of_rulings_and_curves_sum_to_the_newest_state(seed: int) -> None:
    """In any order: all entries together are what the last curves and rulings give from scratch."""
    rng = random.Random(seed)
    fills = random_fills(rng, 8)
    step_s = rng.choice((900, 1_800))
    official = measured_otherwise(rng, fills, 8, step_s, absent=0)
    corrected_at = dict.fromkeys(official, 0)
    ledger: list[Entry] = list(reconcile(fills, official, SLOT_S).entries)
    rulings: list[MarketRuling] = []

    def said(curve: Curve, _start_s: int) -> Said:
        at_s = next(corrected_at[place] for place, one in official.items() if one == curve)
        return Said("curve", at_s, is_corrected=True)

    for now_s in range(1, rng.randint(2, 8)):
        place = rng.choice(sorted(official))
        if rng.random() < 0.5:
            anew = measured_otherwise(rng, fills, 8, step_s, absent=0)[place]
            official = {**official, place: anew}
            corrected_at[place] = now_s
            now = reconcile(fills, ruled_curves(official, rulings, said), SLOT_S).entries
            made = revised(ledger, now)
        else:
            curve = official[place]
            start_s = curve.step_start_s(rng.randrange(len(curve)))
            values = (rng.choice((0, 10, 10**6)),)
            ruling = MarketRuling(Series(*place, start_s, step_s, values), now_s)
            made = market_entries(
                fills, official, ruling, SLOT_S, earlier=ledger, rulings=rulings, said=said
            )
            rulings.append(ruling)
        assert sum(entry.energy_wh for entry in made) == 0
        assert sum(entry.amount_units for entry in made) == 0
        ledger += made
    wanted = reconcile(fills, ruled_curves(official, rulings, said), SLOT_S).entries
    assert revised((), ledger) == revised((), wanted)
