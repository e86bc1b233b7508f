"""What each role gets to see of a month's allocation, made from the table of ``access``.

Members are named by their person; whoever hands over the figures knows whose they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from node.billing.access import MAY, Grant, Role, Subject, View, Viewer, may_see
from node.billing.anonymity import Thresholds, Total, releasable
from node.billing.consents import EVERYBODY, Purpose, holds
from node.billing.series import MISSING
from node.model import Side

__all__ = [
    "MemberMonth",
    "MixStep",
    "communal_mix",
    "member_views",
    "mix_step",
    "published",
    "told_together",
    "visible_totals",
]


@dataclass(frozen=True, slots=True)
class MemberMonth:
    """One member's month: Wh per step of what it drew and fed in, and what of it was shared."""

    subject: Subject
    drawn_wh: Sequence[int] = ()
    received_wh: Sequence[int] = ()
    fed_in_wh: Sequence[int] = ()
    given_wh: Sequence[int] = ()

    @property
    def person(self) -> str:
        """Whose it is."""
        return self.subject.person


@dataclass(frozen=True, slots=True)
class MixStep:
    """One step of the communal mix; None where a figure would tell of too few, or is not known."""

    produced_wh: int | None
    consumed_wh: int | None
    shared_wh: int | None


def member_views(
    viewer: Viewer,
    month: MemberMonth,
    now_s: int,
    papers: Mapping[View, object] = MappingProxyType({}),
) -> dict[str, object]:
    """All that somebody may see of one member's month, by view: what its curves say, and
    ``papers``: what else there is of it."""
    figures = {**(_figures(month) if month.drawn_wh or month.fed_in_wh else {}), **papers}
    return {
        view.value: shown
        for view, shown in figures.items()
        if may_see(viewer, view, month.subject, now_s)
    }


def _figures(month: MemberMonth) -> dict[View, object]:
    drawn_wh, received_wh = _sum(month.drawn_wh), _sum(month.received_wh)
    fed_in_wh, given_wh = _sum(month.fed_in_wh), _sum(month.given_wh)
    figures: dict[View, object] = {
        View.CURVE: {"drawn_wh": list(month.drawn_wh), "fed_in_wh": list(month.fed_in_wh)},
        View.ALLOCATION: {
            "received_wh": list(month.received_wh),
            "given_wh": list(month.given_wh),
        },
        View.TOTALS: {
            "drawn_wh": drawn_wh,
            "received_wh": received_wh,
            "fed_in_wh": fed_in_wh,
            "given_wh": given_wh,
        },
        View.COMPLEMENT: {"complement_wh": drawn_wh - received_wh},
    }
    if month.fed_in_wh:
        figures[View.PRODUCER_TOTALS] = {
            "produced_wh": fed_in_wh,
            "given_wh": given_wh,
            "surplus_wh": fed_in_wh - given_wh,
        }
    return figures


def visible_totals(
    viewer: Viewer,
    view: View,
    totals: Sequence[Total],
    subjects: Iterable[Subject],
    k: int,
    now_s: int,
    *,
    out: Sequence[Total] = (),
) -> list[Total]:
    """The totals of a view of many that somebody may see.

    Its own value a member knows: it hides nobody from it, and is taken off before counting to k. So
    are those who agreed to publication. A supplier may know its clients' values, or only their
    months. What either is told must hide everybody from others too, who do not know these: it may
    be passed on, and what betrays somebody with it could then be told to nobody.
    """
    assert view.is_of_many, view
    grant = MAY[view][viewer.role]
    if grant is Grant.ALL:
        return list(totals)
    if grant is not Grant.TOTALS:
        return []
    subjects = list(subjects)
    public = published(subjects, now_s)
    own = {viewer.name} if viewer.role is Role.MEMBER else set[str]()
    if viewer.role is Role.SUPPLIER:
        own = {one.person for one in subjects if one.supplier == viewer.name}
    told = releasable(totals, k, known=public, out=out)
    # Fewer totals never tell more: what both let through is safe in both cases.
    return releasable(told, k, known=public | own, out=out) if own else told


def published(subjects: Iterable[Subject], now_s: int) -> frozenset[str]:
    """The members who agreed that their figures may be told without hiding whose they are."""
    return frozenset(
        subject.person
        for subject in subjects
        if holds(subject.consents, subject.person, Purpose.PUBLICATION, EVERYBODY, now_s)
    )


def told_together(
    there: Mapping[Side, frozenset[str]], may_be: Mapping[Side, bool]
) -> dict[Side, bool]:
    """Which of production and consumption of the same steps are told, where ``may_be`` says of each
    whether it may be by itself: both, or neither.

    A member knows what it drew and what of it was allocated, and the key that ties them: by default
    the one is to the other as production is to consumption. So each of the two sums gives away the
    other, even where the other is one roof's; and what anybody is told, a member can read. There is
    nothing to give away of a side on which nobody is.
    """
    both = all(may_be[side] for side, members in there.items() if members)
    return {side: both and bool(members) for side, members in there.items()}


def communal_mix(
    viewer: Viewer,
    months: Sequence[MemberMonth],
    thresholds: Thresholds,
    now_s: int,
    *,
    joined: Mapping[int, Collection[str]] | None = None,
) -> list[MixStep]:
    """Production, consumption and sharing of the whole community, step by step.

    ``joined`` names the members of a step where they are not all. What is shared is what consumers
    received and producers gave: it is told only where there are both sides.
    """
    steps = max((len(month.drawn_wh or month.fed_in_wh) for month in months), default=0)
    seen: dict[tuple[str, ...], tuple[bool, bool]] = {}
    mix = []
    for step in range(steps):
        there = [m for m in months if joined is None or m.person in joined.get(step, ())]
        key = tuple(month.person for month in there)
        if key not in seen:
            seen[key] = _told(viewer, there, thresholds.step, now_s)
        mix.append(mix_step(step, there, seen[key]))
    return mix


def mix_step(step: int, months: Sequence[MemberMonth], told: tuple[bool, bool]) -> MixStep:
    """One step of the members' mix; ``told``: whether production and consumption may be."""
    produced_is_told, consumed_is_told = told
    produced = _at(step, (month.fed_in_wh for month in months))
    consumed = _at(step, (month.drawn_wh for month in months))
    shared = _at(step, (month.received_wh for month in months))
    return MixStep(
        produced if produced_is_told else None,
        consumed if consumed_is_told else None,
        shared if produced_is_told and consumed_is_told else None,
    )


def _told(viewer: Viewer, months: Sequence[MemberMonth], k: int, now_s: int) -> tuple[bool, bool]:
    """Whether production and consumption of these members are told."""
    subjects = [month.subject for month in months]
    there = {
        Side.ASK: frozenset(month.person for month in months if month.fed_in_wh),
        Side.BID: frozenset(month.person for month in months if month.drawn_wh),
    }
    may_be = {}
    for side, members in there.items():
        totals = [Total("community", members)]
        view = View.COMMUNAL_MIX
        may_be[side] = bool(visible_totals(viewer, view, totals, subjects, k, now_s))
    told = told_together(there, may_be)
    return told[Side.ASK], told[Side.BID]


def _at(step: int, curves: Iterable[Sequence[int]]) -> int | None:
    values = [curve[step] for curve in curves if curve]
    return None if MISSING in values else sum(values)


def _sum(curve: Sequence[int]) -> int:
    """The Wh of the steps that are known."""
    return sum(value for value in curve if value != MISSING)
