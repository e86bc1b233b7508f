"""Who sees what: every role and view classified and executed; totals that betray nobody."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.billing.access import MAY, ORGANISER, Role, Subject, View, Viewer, may_see, require
from node.billing.anonymity import LEAST_K, Thresholds, Total, releasable, smallest_told
from node.billing.consents import EVERYBODY, Consent, Purpose, holds, leaves_at
from node.billing.retention import (
    CONSENT,
    DEFAULT_RULES,
    Action,
    Due,
    Rule,
    due_consents,
    due_records,
    holding,
    read_rules,
)
from node.billing.series import MISSING
from node.billing.vault import SealedRecord
from node.billing.views import MemberMonth, MixStep, communal_mix, member_views, visible_totals
from node.errors import ConfigurationError, Refused
from node.slots import parse_iso_utc

PARIS: Final = ZoneInfo("Europe/Paris")
NOW_S: Final = parse_iso_utc("2026-10-15T12:00:00Z")
SEEDS = st.integers(0, 2**32)


def consent(
    person: str,
    purpose: Purpose,
    recipient: str,
    given_s: int = NOW_S - 100,
    withdrawn_s: int | None = None,
) -> Consent:
    return Consent(1, person, purpose, recipient, "2026-01", given_s, withdrawn_s)


SHARING: Final = consent("anna", Purpose.SHARING, ORGANISER)
CURVE: Final = consent("anna", Purpose.SUPPLIER_CURVE, "7")
BARE: Final = Subject("anna", "7")
AGREED: Final = Subject("anna", "7", (SHARING, CURVE))

WATCHERS: Final[Mapping[str, Viewer]] = {
    "self": Viewer(Role.MEMBER, "anna"),
    "neighbour": Viewer(Role.MEMBER, "ben"),
    "supplier": Viewer(Role.SUPPLIER, "7"),
    "rival": Viewer(Role.SUPPLIER, "8"),
    "grid": Viewer(Role.DISTRIBUTION_OPERATOR, "enedis"),
    "organiser": Viewer(Role.ORGANISER, "pmo"),
    "financier": Viewer(Role.FINANCIER, "bank"),
    "public": Viewer(Role.PUBLIC),
}
NOBODY: Final = frozenset[str]()


def only(*watchers: str) -> frozenset[str]:
    return frozenset(watchers)


EXPECTED: Final[Mapping[View, tuple[frozenset[str], frozenset[str]]]] = {
    View.IDENTITY: (only("self", "supplier", "grid", "organiser"), NOBODY),
    View.CURVE: (only("self", "grid"), only("supplier", "organiser")),
    View.TOTALS: (only("self", "supplier", "grid", "organiser"), NOBODY),
    View.COMPLEMENT: (only("self", "supplier", "grid", "organiser"), NOBODY),
    View.ALLOCATION: (only("self", "grid"), only("supplier", "organiser")),
    View.COEFFICIENTS: (only("self", "grid", "organiser"), NOBODY),
    View.PRODUCER_TOTALS: (only("self", "supplier", "grid", "organiser", "financier"), NOBODY),
    View.MARKET: (only("self", "supplier", "grid", "organiser"), NOBODY),
    View.BILL: (only("self", "organiser"), NOBODY),
    View.DISPUTE: (only("self", "supplier", "grid", "organiser"), NOBODY),
    View.CONSENTS: (only("self", "organiser"), NOBODY),
    View.COMMUNITY_FIGURES: (only("grid", "organiser"), NOBODY),
    View.COMMUNAL_MIX: (only("grid", "organiser"), NOBODY),
}
"""Who sees one member's part of each view without its consent, and who does only with it."""

MAY_TELL: Final[Mapping[View, frozenset[Role]]] = {
    View.COMMUNITY_FIGURES: frozenset(Role) - {Role.PUBLIC},
    View.COMMUNAL_MIX: frozenset(Role),
}
"""Which roles get totals of a view of many."""


class TestTheTable:
    def test_every_cell_is_classified(self) -> None:
        assert set(EXPECTED) == set(View) == set(MAY)
        assert all(set(row) == set(Role) for row in MAY.values())
        assert {viewer.role for viewer in WATCHERS.values()} == set(Role)
        assert set(MAY_TELL) == {view for view in View if view.is_of_many}

    @pytest.mark.parametrize("view", View)
    @pytest.mark.parametrize("watcher", WATCHERS)
    def test_each_cell_is_as_it_says(self, view: View, watcher: str) -> None:
        without, with_consent = EXPECTED[view]
        viewer = WATCHERS[watcher]
        assert may_see(viewer, view, BARE, NOW_S) is (watcher in without)
        assert may_see(viewer, view, AGREED, NOW_S) is (watcher in without | with_consent)

    @pytest.mark.parametrize("view", MAY_TELL)
    @pytest.mark.parametrize("role", Role)
    def test_totals_go_to_whom_they_may(self, view: View, role: Role) -> None:
        totals = [Total("village", frozenset(f"m{n}" for n in range(9)))]
        told = visible_totals(Viewer(role, "x"), view, totals, (), 5, NOW_S)
        assert bool(told) is (role in MAY_TELL[view])

    def test_an_empty_name_is_nobodys(self) -> None:
        nobody = Subject("", "")
        for role in (Role.MEMBER, Role.SUPPLIER):
            assert not any(may_see(Viewer(role), view, nobody, NOW_S) for view in View)

    def test_a_refusal_names_nobody(self) -> None:
        with pytest.raises(Refused) as caught:
            require(WATCHERS["neighbour"], View.CURVE, AGREED, NOW_S)
        assert caught.value.reason == "no_access"
        assert "anna" not in str(caught.value)
        require(WATCHERS["self"], View.CURVE, BARE, NOW_S)


class TestConsents:
    def test_it_holds_from_giving_to_withdrawal(self) -> None:
        given = consent("anna", Purpose.RESEARCH, "lab", 10, 20)
        held = [holds([given], "anna", Purpose.RESEARCH, "lab", at_s) for at_s in (9, 10, 19, 20)]
        assert held == [False, True, True, False]

    def test_no_purpose_and_no_recipient_stands_for_another(self) -> None:
        given = [CURVE]
        assert holds(given, "anna", Purpose.SUPPLIER_CURVE, "7", NOW_S)
        for person, purpose, recipient in (
            ("ben", Purpose.SUPPLIER_CURVE, "7"),
            ("anna", Purpose.SHARING, "7"),
            ("anna", Purpose.SUPPLIER_CURVE, "8"),
        ):
            assert not holds(given, person, purpose, recipient, NOW_S)

    def test_a_withdrawal_shuts_the_view_at_once(self) -> None:
        gone = Subject("anna", "7", (consent("anna", Purpose.SUPPLIER_CURVE, "7", 0, NOW_S),))
        assert may_see(WATCHERS["supplier"], View.CURVE, gone, NOW_S - 1)
        assert not may_see(WATCHERS["supplier"], View.CURVE, gone, NOW_S)
        assert may_see(WATCHERS["supplier"], View.COMPLEMENT, gone, NOW_S)

    def test_who_withdraws_sharing_leaves_with_the_local_month(self) -> None:
        late_s = parse_iso_utc("2026-10-31T23:30:00Z")  # November in Paris
        ends = leaves_at(consent("anna", Purpose.SHARING, ORGANISER, 0, late_s), PARIS)
        assert ends == parse_iso_utc("2026-11-30T23:00:00Z")
        assert leaves_at(SHARING, PARIS) is None
        assert leaves_at(consent("anna", Purpose.RESEARCH, "lab", 0, late_s), PARIS) is None


def group(*members: int) -> frozenset[str]:
    return frozenset(f"m{number:02}" for number in members)


ALL: Final = group(*range(12))


class TestAnonymity:
    def test_a_total_needs_k_members(self) -> None:
        for size, told in ((4, []), (5, ["few"])):
            totals = [Total("few", group(*range(size)))]
            assert [total.name for total in releasable(totals, 5)] == told

    def test_two_totals_that_differ_by_one_member_are_not_both_told(self) -> None:
        totals = [Total("village", ALL), Total("all but one", ALL - group(3))]
        assert [total.name for total in releasable(totals, 5)] == ["village"]

    def test_what_is_out_already_counts(self) -> None:
        out = [Total("all but one", ALL - group(3))]
        assert releasable([Total("village", ALL)], 5, out=out) == []

    def test_what_is_left_of_a_whole_is_a_total_too(self) -> None:
        """Complementary suppression: the small street is told by the whole less the others."""
        totals = [
            Total("village", ALL),
            Total("north", group(0, 1, 2, 3, 4)),
            Total("south", group(5, 6, 7, 8, 9)),
            Total("mill lane", group(10, 11)),
        ]
        assert [total.name for total in releasable(totals, 5)] == ["village", "north"]

    def test_a_chain_of_totals_betrays_as_well(self) -> None:
        """No two of them differ by fewer than five; three together tell of one."""
        first, second = group(*range(6)), group(*range(6, 12))
        whole = group(*range(13))
        totals = [Total("a", first), Total("b", second), Total("c", whole)]
        assert [total.name for total in releasable(totals, 5)] == ["a", "b"]

    def test_a_member_knows_itself(self) -> None:
        totals = [Total("five", group(0, 1, 2, 3, 4))]
        assert releasable(totals, 5)
        assert not releasable(totals, 5, known=group(0))
        assert releasable(totals, 5, known=group(9))

    def test_what_was_betrayed_before_silences_nobody(self) -> None:
        """Two sums that should not both be out hold back only what tells more than they do."""
        out = [Total("village", ALL), Total("all but one", ALL - group(3))]
        assert releasable([Total("again", ALL)], 5, out=out)
        assert releasable([Total("north", group(0, 1, 2, 4, 5, 6))], 5, out=out)
        assert not releasable([Total("all but two", ALL - group(3, 4))], 5, out=out)
        assert not releasable([Total("another one", ALL - group(4))], 5, out=out)

    def test_who_is_known_anyhow_needs_no_hiding(self) -> None:
        totals = [
            Total("town hall", group(0)),
            Total("village", ALL),
            Total("rest", ALL - group(0)),
        ]
        told = releasable(totals, 5, known=group(0))
        assert [total.name for total in told] == ["town hall", "village", "rest"]

    def test_too_many_totals_are_held_back(self) -> None:
        totals = [Total(str(n), group(*range(5 * n, 5 * n + 5))) for n in range(40)]
        assert len(releasable(totals, 5)) == 24
        again = [*totals[:24], totals[0]]
        assert releasable(again, 5) == again, "what is out already is told again"

    def test_nothing_goes_below_the_floor(self) -> None:
        with pytest.raises(ValueError, match="hides nobody"):
            releasable([], LEAST_K - 1)
        with pytest.raises(ValueError, match="hides nobody"):
            Thresholds(step=2)

    @given(SEEDS)
    def test_nobody_can_work_out_the_sum_of_fewer_than_k(self, seed: int) -> None:
        """By brute force over small integer combinations of what was told."""
        rng = random.Random(seed)
        members = sorted(group(*range(rng.randint(3, 9))))
        totals = [
            Total(str(n), frozenset(rng.sample(members, rng.randint(1, len(members)))))
            for n in range(rng.randint(1, 4))
        ]
        told = releasable(totals, 3)
        for weights in _weights(len(told)):
            sums = [
                sum(w for w, total in zip(weights, told, strict=True) if member in total.members)
                for member in members
            ]
            assert sum(map(bool, sums)) not in {1, 2}

    @given(SEEDS)
    def test_a_set_that_is_found_is_really_told(self, seed: int) -> None:
        """Against the definition, on sets of members rather than on those in the same totals."""
        rng = random.Random(seed)
        members = sorted(group(*range(6)))
        groups = [
            frozenset(rng.sample(members, rng.randint(1, 6))) for _ in range(rng.randint(1, 3))
        ]
        found = smallest_told(groups, 2)
        told = [
            set(chosen)
            for count in (1, 2)
            for chosen in combinations(members, count)
            if any(
                {
                    member
                    for member in members
                    if sum(w for w, one in zip(weights, groups, strict=True) if member in one)
                }
                == set(chosen)
                for weights in _weights(len(groups))
            )
        ]
        assert (found is None) == (not told)


def _weights(count: int) -> list[tuple[int, ...]]:
    weights: list[tuple[int, ...]] = [()]
    for _ in range(count):
        weights = [(*head, last) for head in weights for last in range(-2, 3)]
    return weights


def month(number: int, *, made: bool = False, agreed: bool = False) -> MemberMonth:
    name = f"m{number:02}"
    consents = (consent(name, Purpose.PUBLICATION, EVERYBODY),) if agreed else ()
    fed_in = (100, MISSING, 300) if made else ()
    given_wh = (60, MISSING, 300) if made else ()
    return MemberMonth(
        Subject(name, "7", consents), (10 + number, 20, 30), (6, 0, 30), fed_in, given_wh
    )


class TestViews:
    def test_a_member_sees_its_own_month_and_the_supplier_its_rest(self) -> None:
        mine = MemberMonth(BARE, (10, 20, 30), (6, 0, 30), (100, MISSING, 300), (60, MISSING, 300))
        own = member_views(WATCHERS["self"], mine, NOW_S)
        assert set(own) == {"curve", "allocation", "totals", "complement", "producer_totals"}
        assert own["complement"] == {"complement_wh": 24}
        assert own["producer_totals"] == {
            "produced_wh": 400,
            "given_wh": 360,
            "surplus_wh": 40,
        }
        assert set(member_views(WATCHERS["supplier"], mine, NOW_S)) == {
            "totals",
            "complement",
            "producer_totals",
        }
        assert member_views(WATCHERS["neighbour"], mine, NOW_S) == {}
        assert member_views(WATCHERS["public"], mine, NOW_S) == {}
        assert set(member_views(WATCHERS["financier"], mine, NOW_S)) == {"producer_totals"}

    def test_the_public_mix_hides_a_single_roof_until_it_agrees(self) -> None:
        homes = [month(number) for number in range(1, 6)]
        public = WATCHERS["public"]
        shy = communal_mix(public, [month(0, made=True), *homes], Thresholds(), NOW_S)
        assert shy[0] == MixStep(None, None, None), "consumption would give away the roof"
        open_roof = [month(0, made=True, agreed=True), *homes]
        assert communal_mix(public, open_roof, Thresholds(), NOW_S) == [
            MixStep(100, 75, 36),
            MixStep(None, 120, 0),
            MixStep(300, 180, 180),
        ]

    def test_a_community_of_three_has_no_public_mix(self) -> None:
        months = [month(number, made=True) for number in range(3)]
        mix = communal_mix(WATCHERS["public"], months, Thresholds(), NOW_S)
        assert set(mix) == {MixStep(None, None, None)}
        whole = communal_mix(WATCHERS["organiser"], months, Thresholds(), NOW_S)
        assert whole[0] == MixStep(300, 33, 18)

    def test_one_of_five_sees_no_sum_that_is_four_others(self) -> None:
        months = [month(number) for number in range(5)]
        own = Viewer(Role.MEMBER, "m00")
        assert communal_mix(own, months, Thresholds(), NOW_S)[0].consumed_wh is None
        outside = Viewer(Role.MEMBER, "m77")
        assert communal_mix(outside, months, Thresholds(), NOW_S)[0].consumed_wh == 60

    def test_a_supplier_is_told_no_sum_of_few_be_they_its_clients_or_not(self) -> None:
        totals = [
            Total("two clients", group(0, 1)),
            Total("five clients", group(0, 1, 2, 3, 4)),
            Total("clients and a stranger", group(0, 1, 2, 3, 4, 5)),
            Total("clients and five", ALL - group(11)),
        ]
        subjects = [Subject(name, "7") for name in group(0, 1, 2, 3, 4)]
        viewer, view = WATCHERS["supplier"], View.COMMUNITY_FIGURES
        told = visible_totals(viewer, view, totals, subjects, 5, NOW_S)
        assert [total.name for total in told] == ["five clients", "clients and five"]

    def test_members_of_a_step_are_counted_in_that_step(self) -> None:
        months = [month(number) for number in range(5)]
        joined = {0: {"m00", "m01"}, 1: {m.person for m in months}, 2: set[str]()}
        mix = communal_mix(WATCHERS["public"], months, Thresholds(), NOW_S, joined=joined)
        assert [step.consumed_wh for step in mix] == [None, 100, None]


def record(number: int, kind: str, about: str) -> SealedRecord:
    return SealedRecord(number, "p", kind, parse_iso_utc(about), 0, {})


class TestRetention:
    def test_the_newest_rule_that_has_begun_holds(self) -> None:
        rules = [
            Rule(date(2026, 1, 1), "bill", 120),
            Rule(date(2026, 10, 15), "bill", 60),
            Rule(date(2026, 10, 16), "bill", 6),
        ]
        assert holding(rules, NOW_S, PARIS)["bill"].months == 60

    def test_what_is_due_is_a_list_and_nothing_more(self) -> None:
        records = [
            record(1, "evidence", "2024-08-15T12:00:00Z"),
            record(2, "evidence", "2024-08-15T12:00:01Z"),
            record(3, "dispute", "2020-01-01T00:00:00Z"),
            record(4, "person", "2000-01-01T00:00:00Z"),
        ]
        assert due_records(records, DEFAULT_RULES, NOW_S, PARIS) == [
            Due(1, "evidence", records[0].about_s, Action.DELETE),
            Due(3, "dispute", records[2].about_s, Action.DELETE),
        ]

    def test_a_consent_that_holds_is_never_due(self) -> None:
        old_s = parse_iso_utc("2015-01-01T00:00:00Z")
        lasting = consent("anna", Purpose.SHARING, ORGANISER, old_s)
        ended = consent("anna", Purpose.RESEARCH, "lab", old_s, old_s + 1)
        due = due_consents([lasting, ended], DEFAULT_RULES, NOW_S, PARIS)
        assert [one.about_s for one in due] == [old_s + 1]
        assert due_consents([ended], (), NOW_S, PARIS) == []

    def test_rules_are_read_from_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "rules.toml"
        path.write_text(
            '[[rule]]\nfrom = 2026-01-01\nkind = "curve"\nmonths = 14\nthen = "by_day"\n'
            '[[rule]]\nfrom = "2026-01-01"\nkind = "consent"\nmonths = 60\n'
        )
        assert read_rules(path) == (
            Rule(date(2026, 1, 1), "curve", 14, Action.BY_DAY),
            Rule(date(2026, 1, 1), CONSENT, 60),
        )

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "rule = 3",
            '[[rule]]\nfrom = 2026-01-01\nkind = "person"\nmonths = 1',
            '[[rule]]\nfrom = 2026-01-01\nkind = "bill"\nmonths = 0',
            '[[rule]]\nfrom = 2026-01-01\nkind = "bill"\nmonths = 1\nthen = "by_day"',
            '[[rule]]\nfrom = 2026-01-01\nkind = "curve"\nmonths = 1\nthen = "by_month"',
            '[[rule]]\nfrom = 2026-01-01\nkind = "bill"\nmonths = 1\nthen = "burn"',
            "[[",
        ],
    )
    def test_what_is_no_rule_is_refused(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "rules.toml"
        path.write_text(text)
        with pytest.raises(ConfigurationError, match="no retention rules"):
            read_rules(path)
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_rules(tmp_path / "none.toml")
