"""What sums betray, to whom, together with what: by the key, by differences, by what was asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.billing.access import ORGANISER, Role, Subject, View, Viewer
from node.billing.allocation import SCALE, Key, Round, allocate
from node.billing.anonymity import smallest_told
from node.billing.consents import EVERYBODY, Consent, Purpose
from node.billing.keys import (
    KINDS,
    default_dynamic,
    directed_gift,
    equal_shares,
    full_dynamic,
    hybrid,
    market,
    priority,
    producer_order,
    rounds,
    simple_dynamic,
    static,
    static_redistributed,
    virtual,
)
from node.billing.role_views import CommunityMonth, Presence, RoleView, role_view
from node.billing.series import MISSING
from node.billing.told import TellingBook, tellings_from
from node.billing.views import MemberMonth
from node.model import Side

NOW_S: Final = 1_800_000_000
STEPS: Final = 48
SUN: Final = range(16, 36)
HOMES: Final = tuple(f"home{number}" for number in range(7))
ROOF: Final = "roof"
MILLION: Final = 1_000_000
SHARES: Final = dict.fromkeys(HOMES, SCALE // len(HOMES))

BY_SUN: Final = {wh: [wh * (step in SUN) for step in range(STEPS)] for wh in (10, 70)}

KEYS: Final[Mapping[str, Key]] = {
    "default_dynamic": default_dynamic(),
    "directed_gift": directed_gift({ROOF: HOMES[:3]}),
    "equal": equal_shares(HOMES),
    "full_dynamic": full_dynamic({ROOF: SHARES}),
    "hybrid": hybrid(SHARES),
    "priority": priority([HOMES[:3], HOMES[3:]]),
    "producer_order": producer_order({ROOF: [HOMES[:3], HOMES[3:]]}),
    "rounds": rounds([Round(shares=SHARES, of_whole=True), Round()]),
    "static": static(SHARES),
    "static_redistributed": static_redistributed(SHARES),
    "virtual": virtual(),
    "simple_dynamic": simple_dynamic({home: [SHARES[home]] * STEPS for home in HOMES}),
    "market": market({ROOF: BY_SUN[70]}, dict.fromkeys(HOMES, BY_SUN[10])),
}

Curves = Mapping[str, Sequence[int]]


def published(person: str) -> Consent:
    return Consent(1, person, Purpose.PUBLICATION, EVERYBODY, "2026-01", 0, None)


def drawn(seed: int) -> Curves:
    rng = random.Random(seed)
    return {home: [rng.randrange(100, 900) for _ in range(STEPS)] for home in HOMES}


def made(seed: int) -> Sequence[int]:
    rng = random.Random(seed)
    return [rng.randrange(500, 2_000) if step in SUN else 0 for step in range(STEPS)]


def street(
    key: Key,
    consumption: Curves,
    production: Curves,
    *,
    groups: Mapping[str, frozenset[str]] | None = None,
    agreed: Iterable[str] = (),
) -> CommunityMonth:
    """A month of members that draw or feed in, each with a part of what was shared."""
    allocation = allocate(key, production, consumption)
    shared = [sum(values) for values in zip(*allocation.given.values(), strict=True)]
    months, papers = [], {}
    for person in (*consumption, *production):
        received = allocation.allocated.get(person, ())
        subject = Subject(
            person, "7" if person in HOMES[:2] else "8", [published(one) for one in agreed]
        )
        months.append(
            MemberMonth(
                subject,
                consumption.get(person, ()),
                received,
                production.get(person, ()),
                allocation.given.get(person, ()),
            )
        )
        parts = [
            one * MILLION // of if of else 0 for one, of in zip(received, shared, strict=False)
        ]
        papers[person] = {View.COEFFICIENTS: {"received_ppm": parts}} if received else {}
    sides = ((Side.BID, consumption), (Side.ASK, production))
    return CommunityMonth(
        from_s=0,
        to_s=STEPS * 1800,
        first_s=0,
        step_s=1800,
        steps=STEPS,
        months=tuple(months),
        papers=papers,
        presences=tuple(
            Presence(person, side, range(STEPS)) for side, curves in sides for person in curves
        ),
        groups=groups,
    )


def see(
    viewer: Viewer, month: CommunityMonth, book: TellingBook | None = None, k: int = 5
) -> RoleView:
    return role_view(viewer, month, book or TellingBook(), k, NOW_S)


def worked_out(seen: RoleView, month: MemberMonth) -> list[int | None]:
    """What a member works out of production: by its part of what was shared, and by its own ratio
    and what all drew."""
    parts = seen.members[month.person].get("coefficients", {})
    assert isinstance(parts, Mapping)
    ppm = parts.get("received_ppm", [MISSING] * STEPS)
    found: list[int | None] = []
    for step, told in enumerate(seen.mix):
        own, received = month.drawn_wh[step], month.received_wh[step]
        if ppm[step] > 0:
            found.append(received * MILLION // ppm[step])
        elif told.consumed_wh is not None:
            found.append(received * told.consumed_wh // own)
        else:
            found.append(None)
    return found


class TestTheKey:
    def test_every_key_is_here(self) -> None:
        assert set(KEYS) == {*KINDS, "simple_dynamic", "market"}

    @pytest.mark.parametrize("name", KEYS)
    def test_no_member_works_out_a_lone_roof_from_what_it_is_told(self, name: str) -> None:
        month = street(KEYS[name], drawn(1), {ROOF: made(2)})
        viewers = [
            *(Viewer(Role.MEMBER, home) for home in HOMES),
            Viewer(Role.PUBLIC),
            Viewer(Role.FINANCIER, "bank"),
            Viewer(Role.SUPPLIER, "7"),
        ]
        for viewer in viewers:
            seen = see(viewer, month)
            assert {step.consumed_wh for step in seen.mix} == {None}, "a member can read it"
            assert {step.produced_wh for step in seen.mix} == {None}
        for one in month.months[: len(HOMES)]:
            seen = see(Viewer(Role.MEMBER, one.person), month)
            assert worked_out(seen, one) == [None] * STEPS

    def test_the_attack_works_where_consumption_is_told(self) -> None:
        """What is held back is what would give the roof away, not more: a roof whose owner agreed
        is told, and so is all else."""
        roof = made(2)
        month = street(default_dynamic(), drawn(1), {ROOF: roof}, agreed=[ROOF])
        seen = see(Viewer(Role.MEMBER, HOMES[0]), month)
        assert [step.produced_wh for step in seen.mix] == list(roof)
        found = worked_out(seen, month.months[0])
        for guess, step in zip(found, seen.mix, strict=True):
            assert step.produced_wh is not None
            assert step.consumed_wh is not None
            assert guess is not None
            if step.produced_wh < step.consumed_wh:
                assert abs(guess - step.produced_wh) <= step.produced_wh // 50

    def test_what_is_told_is_the_same_whatever_the_roof_made(self) -> None:
        """Twice the sun over twice the neighbours' needs looks the same from one home."""
        consumption, roof = drawn(1), made(2)
        one_day = street(default_dynamic(), consumption, {ROOF: roof})
        another = street(
            default_dynamic(),
            {
                home: [7 * value if home != HOMES[0] else value for value in values]
                for home, values in consumption.items()
            },
            {ROOF: [3 * value for value in roof]},
        )
        for month in (one_day, another):
            seen = see(Viewer(Role.MEMBER, HOMES[0]), month)
            assert set(seen.mix) == {replace(seen.mix[0], produced_wh=None, consumed_wh=None)}

    def test_it_holds_the_other_way_round(self) -> None:
        """A lone consumer among seven roofs: production would give its needs away."""
        month = street(default_dynamic(), {HOMES[0]: made(1)}, drawn(2))
        month = replace(month, months=tuple({one.person: one for one in month.months}.values()))
        seen = see(Viewer(Role.PUBLIC), month)
        assert {(step.produced_wh, step.consumed_wh) for step in seen.mix} == {(None, None)}

    def test_where_nobody_produces_there_is_nothing_to_give_away(self) -> None:
        months = tuple(
            MemberMonth(Subject(home, "7"), values, [0] * STEPS)
            for home, values in drawn(1).items()
        )
        month = CommunityMonth(
            0,
            STEPS * 1800,
            0,
            1800,
            STEPS,
            months,
            {},
            tuple(Presence(home, Side.BID, range(STEPS)) for home in HOMES),
        )
        mix = see(Viewer(Role.PUBLIC), month).mix
        assert [step.consumed_wh for step in mix] == [
            sum(month.drawn_wh[step] for month in months) for step in range(STEPS)
        ]


@dataclass(frozen=True)
class Question:
    viewer: Viewer
    groups: Mapping[str, frozenset[str]]


def village(rng: random.Random, *, joiner: bool) -> CommunityMonth:
    """Members with a roof each, of two suppliers; some agreed to publication, one may come late."""
    people = [f"m{number:02}" for number in range(rng.randint(5, 11))]
    agreed = rng.sample(people, rng.choice([0, 0, 1, 2]))
    presences = [
        Presence(person, side, range(24 if joiner and person == people[0] else 0, STEPS))
        for person in people
        for side in (Side.ASK, Side.BID)
    ]
    ones = [1] * STEPS
    return CommunityMonth(
        0,
        STEPS * 1800,
        0,
        1800,
        STEPS,
        tuple(
            MemberMonth(
                Subject(person, rng.choice("78"), [published(person)] if person in agreed else ()),
                *(ones, ones, ones, ones),
            )
            for person in people
        ),
        {},
        tuple(presences),
    )


def everybody(month: CommunityMonth) -> list[Viewer]:
    return [
        Viewer(Role.PUBLIC),
        Viewer(Role.FINANCIER, "bank"),
        *(Viewer(Role.SUPPLIER, name) for name in "78"),
        *(Viewer(Role.MEMBER, one.person) for one in month.months),
    ]


def questions(rng: random.Random, month: CommunityMonth) -> list[Question]:
    people = [one.person for one in month.months]
    return [
        Question(
            rng.choice(everybody(month)),
            {
                str(n): frozenset(rng.sample(people, rng.randint(1, len(people))))
                for n in range(rng.randint(0, 3))
            },
        )
        for _ in range(rng.randint(1, 5))
    ]


def whole(seen: RoleView) -> tuple[object, ...]:
    """What is told of all members."""
    return seen.mix, [one for one in seen.figures if one.name == "community"]


def after(month: CommunityMonth, asked: Iterable[Question], k: int) -> list[str]:
    """What was kept once these were answered, each from what was kept before."""
    lines: list[str] = []
    for question in asked:
        book = TellingBook(tellings_from(lines))
        see(question.viewer, replace(month, groups=question.groups), book, k)
        lines += [one.line() for one in book.new]
    return lines


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.booleans())
def test_nobody_s_question_takes_from_what_others_are_told(seed: int, joiner: bool) -> None:  # noqa: FBT001
    rng = random.Random(seed)
    month = village(rng, joiner=joiner)
    lines = after(month, questions(rng, month), 3)
    for viewer in everybody(month):
        before = see(viewer, month, k=3)
        assert whole(see(viewer, month, TellingBook(tellings_from(lines)), 3)) == whole(before)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.booleans())
def test_all_that_was_told_together_betrays_nobody(seed: int, joiner: bool) -> None:  # noqa: FBT001
    """To anybody who does not know what the roles know; and groups betray nothing to these that the
    sums over all do not."""
    rng = random.Random(seed)
    month = village(rng, joiner=joiner)
    asked = questions(rng, month)
    asked += [Question(viewer, {}) for viewer in everybody(month)]
    rng.shuffle(asked)
    told = tellings_from(after(month, asked, 3))
    public = {one.person for one in month.months if any(one.subject.consents)}
    alone = after(month, [Question(viewer, {}) for viewer in everybody(month)], 3)
    wholes = {one.members for one in tellings_from(alone)}
    readers = [
        {one.person for one in month.months if viewer.name in {one.person, one.subject.supplier}}
        for viewer in everybody(month)
    ]
    for side in (Side.ASK, Side.BID):
        for steps in (range(24), range(24, STEPS)):
            out = {
                one.members
                for one in told
                if one.side is side
                and one.from_s < steps.stop * 1800
                and one.to_s > steps[0] * 1800
            }
            assert smallest_told([one - public for one in out if one - public], 2) is None
            for known in readers:
                hidden = known | public
                first = [one - hidden for one in out & wholes if one - hidden]
                rest = [one - hidden for one in out if one - hidden]
                assert smallest_told(rest, 2, out=first) is None


class TestGroups:
    PEOPLE: Final = tuple(f"m{number:02}" for number in range(14))

    @pytest.fixture
    def ask(self) -> Callable[..., list[str]]:
        """Which groups are told, of fourteen members of two suppliers."""
        ones = [1] * STEPS
        month = CommunityMonth(
            0,
            STEPS * 1800,
            0,
            1800,
            STEPS,
            tuple(
                MemberMonth(Subject(one, "78"[n % 2], ()), ones, ones, ones, ones)
                for n, one in enumerate(self.PEOPLE)
            ),
            {},
            tuple(
                Presence(one, side, range(STEPS))
                for one in self.PEOPLE
                for side in (Side.ASK, Side.BID)
            ),
        )

        def asking(viewer: Viewer, groups: Mapping[str, frozenset[str]]) -> list[str]:
            seen = role_view(
                viewer,
                replace(month, groups=groups),
                book,
                3,
                NOW_S,
                views=[View.COMMUNITY_FIGURES],
            )
            return [one.name for one in seen.figures if one.consumed_wh is not None]

        book = TellingBook()
        return asking

    def test_a_group_hides_k_from_each_who_may_read_it(self, ask: Callable[..., list[str]]) -> None:
        people = self.PEOPLE
        bank = Viewer(Role.FINANCIER, "bank")
        groups = {
            "three": frozenset(people[:3]),
            "all but three": frozenset(people[3:]),
            "two of them not the 7th's": frozenset((*people[::2], *people[1:5:2])),
            "half": frozenset(people[:7]),
            "shifted by one": frozenset(people[1:8]),
        }
        assert ask(bank, groups) == ["community", "half"]
        assert ask(Viewer(Role.MEMBER, people[9]), groups) == ["community", "half"]

    def test_the_organiser_is_told_all(self, ask: Callable[..., list[str]]) -> None:
        groups = {"one": frozenset(self.PEOPLE[:1])}
        assert ask(Viewer(Role.ORGANISER, ORGANISER), groups) == ["community", "one"]
        assert ask(Viewer(Role.FINANCIER, "bank"), groups) == ["community"]
