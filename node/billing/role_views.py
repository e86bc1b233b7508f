"""A month as one role gets to see it: members one by one, the community's figures, its mix."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from node.billing.access import MAY, Grant, Role, View, Viewer, may_see, require
from node.billing.anonymity import Total
from node.billing.series import MISSING
from node.billing.told import Asked, Telling, TellingBook
from node.billing.views import (
    MemberMonth,
    MixStep,
    member_views,
    mix_step,
    published,
    told_together,
)
from node.errors import Refused
from node.model import Side

__all__ = ["CommunityMonth", "GroupFigures", "Presence", "RoleView", "role_view"]

WHOLE: Final = "community"
"""The name of the group of all."""

SIDES: Final = (Side.ASK, Side.BID)

_STRANGER: Final = Viewer(Role.FINANCIER)
"""Somebody who is told sums and knows nothing of the members."""


@dataclass(frozen=True, slots=True)
class Presence:
    """In which steps a member took part on a side."""

    person: str
    side: Side
    steps: range


@dataclass(frozen=True, slots=True)
class CommunityMonth:
    """All of a month: each member's curves and papers, who took part when, and the groups of
    members (by name, the important ones first) that sums are asked for."""

    from_s: int
    to_s: int
    first_s: int
    step_s: int
    steps: int
    months: tuple[MemberMonth, ...]
    papers: Mapping[str, Mapping[View, object]]
    presences: tuple[Presence, ...] = ()
    groups: Mapping[str, frozenset[str]] | None = None


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """A group's month. None is what may not be told; what is shared is told of all members only,
    for there what consumers received is what producers gave."""

    name: str
    produced_wh: int | None
    consumed_wh: int | None
    shared_wh: int | None


@dataclass(frozen=True, slots=True)
class RoleView:
    """What a role sees: views by person, figures of groups, the mix by step."""

    members: Mapping[str, Mapping[str, object]]
    figures: tuple[GroupFigures, ...] = ()
    mix: tuple[MixStep, ...] = ()


def role_view(
    viewer: Viewer,
    community: CommunityMonth,
    book: TellingBook,
    k: int,
    now_s: int,
    *,
    person: str | None = None,
    views: Sequence[View] = (),
) -> RoleView:
    """What somebody gets to see. ``person``: of that one only; ``views``: those only.

    Raises Refused (``no_access``) where it may see nothing of what was asked for by name.
    """
    wanted = list(views) or [view for view in View if not (person and view.is_of_many)]
    subjects = {month.person: month.subject for month in community.months}
    for view in views:
        _refuse(viewer, view, community, person, now_s)
    if person is not None and not views:
        seen = [view for view in wanted if may_see(viewer, view, subjects[person], now_s)]
        if not seen:
            require(viewer, View.TOTALS, subjects[person], now_s)
    asking = _Asking(community, book, k, now_s)
    members = {
        month.person: shown
        for month in community.months
        if person in {None, month.person} and (shown := _member(viewer, month, wanted, asking))
    }
    if person is not None or not community.steps:
        return RoleView(members)
    return RoleView(
        members,
        tuple(_figures(viewer, asking)) if View.COMMUNITY_FIGURES in wanted else (),
        tuple(_mix(viewer, asking)) if View.COMMUNAL_MIX in wanted else (),
    )


def _member(
    viewer: Viewer, month: MemberMonth, wanted: Collection[View], asking: _Asking
) -> dict[str, object]:
    """What somebody sees of one member."""
    community = asking.community
    papers = dict(community.papers.get(month.person, {}))
    if View.COEFFICIENTS not in wanted:
        papers.pop(View.COEFFICIENTS, None)
    elif viewer.role is Role.MEMBER and viewer.name == month.person:
        papers |= _coefficients(viewer, papers, asking)
    names = {view.value for view in wanted}
    shown = member_views(viewer, month, asking.now_s, papers)
    return {name: figure for name, figure in shown.items() if name in names}


def _coefficients(
    viewer: Viewer, papers: Mapping[View, object], asking: _Asking
) -> dict[View, object]:
    """A member's parts of what was shared. What it received over its part is all that was shared,
    so a part is told only where that sum is."""
    found = papers.get(View.COEFFICIENTS)
    if not isinstance(found, Mapping):
        return {}
    told = [all(span.told.values()) for span in asking.mix(viewer) for _ in span.steps]
    return {
        View.COEFFICIENTS: {
            name: [part if is_told else MISSING for part, is_told in zip(parts, told, strict=True)]
            for name, parts in found.items()
        }
    }


def _refuse(
    viewer: Viewer, view: View, community: CommunityMonth, person: str | None, now_s: int
) -> None:
    """Raise Refused for a view that was asked for and shows nothing."""
    if view.is_of_many:
        may = MAY[view][viewer.role] is not Grant.NOTHING and person is None
    else:
        may = any(
            may_see(viewer, view, month.subject, now_s)
            for month in community.months
            if person in {None, month.person}
        )
    if not may:
        raise Refused(
            f"a {viewer.role} may not see this {view}",
            reason="no_access",
            next_step="docs/privacy.md has the table of roles and views",
        )


@dataclass(frozen=True, slots=True)
class _Span:
    """Steps in which the same members took part, and which sides of them are told."""

    steps: range
    span_s: tuple[int, int]
    months: tuple[MemberMonth, ...]
    told: Mapping[Side, bool]


class _Asking:
    """A month of which sums are asked for, and what of it was told."""

    def __init__(self, community: CommunityMonth, book: TellingBook, k: int, now_s: int) -> None:
        self.community = community
        self.book = book
        self.k = k
        self.now_s = now_s

    def of(self, viewer: Viewer, view: View, side: Side, span: tuple[int, int]) -> Asked:
        """A question."""
        subjects = [month.subject for month in self.community.months]
        return Asked(viewer, view, side, span, subjects, self.k, self.now_s)

    def of_month(self, viewer: Viewer, side: Side) -> Asked:
        """A question for sums of the whole month."""
        span = (self.community.from_s, self.community.to_s)
        return self.of(viewer, View.COMMUNITY_FIGURES, side, span)

    def mix(self, viewer: Viewer, *, kept: bool = True) -> Iterator[_Span]:
        """The mix as somebody sees it; it is written down where it is ``kept``."""
        community = self.community
        for steps, months in _spans(community):
            from_s, to_s = (
                community.first_s + at * community.step_s for at in (steps.start, steps.stop)
            )
            asked = {
                side: self.of(viewer, View.COMMUNAL_MIX, side, (from_s, to_s)) for side in SIDES
            }
            there = {side: _there(months, side) for side in SIDES}
            told = told_together(
                there, {side: self.book.may_tell(asked[side], there[side]) for side in SIDES}
            )
            for side in SIDES:
                if kept and told[side]:
                    self.book.keep(asked[side], there[side])
            yield _Span(steps, (from_s, to_s), months, told)

    def wholes(self, side: Side) -> list[Telling]:
        """The sums over all, of steps and of the month, that whoever knows nothing is told."""
        return self._mix_of_all(side) + (
            [self.of_month(_STRANGER, side).telling(_there(self.community.months, side))]
            if self.is_month_told(_STRANGER, side)
            else []
        )

    def is_month_told(self, viewer: Viewer, side: Side) -> bool:
        """Whether somebody is told the month's sum over all. Where members joined or left, the mix
        has sums over others: then the mix is told and the month is not, whoever asks first."""
        members, asked = _there(self.community.months, side), self.of_month(viewer, side)
        if not members or not self.book.may_tell(asked, members):
            return False
        public = published(asked.subjects, self.now_s)
        return (
            MAY[asked.view][viewer.role] is Grant.ALL
            or self.book.was_told(asked, members)
            or all(one.members - public == members - public for one in self._mix_of_all(side))
        )

    def _mix_of_all(self, side: Side) -> list[Telling]:
        return [
            self.of(_STRANGER, View.COMMUNAL_MIX, side, span.span_s).telling(
                _there(span.months, side)
            )
            for span in self.mix(_STRANGER, kept=False)
            if span.told[side]
        ]


def _figures(viewer: Viewer, asking: _Asking) -> Iterator[GroupFigures]:
    community, book = asking.community, asking.book
    if MAY[View.COMMUNITY_FIGURES][viewer.role] is Grant.NOTHING:
        return
    groups = community.groups or {}
    told: dict[Side, dict[str, int]] = {}
    for side in SIDES:
        curves = {month.person: _curve(month, side) for month in community.months}
        there = _there(community.months, side)
        asked = asking.of_month(viewer, side)
        allowed = [Total(WHOLE, there)] if asking.is_month_told(viewer, side) else []
        totals = [Total(name, group & there) for name, group in groups.items() if group & there]
        allowed += book.groups(asked, totals, asking.wholes(side) if totals else ())
        for one in allowed:
            book.keep(asked, one.members)
        told[side] = {
            total.name: sum(_known_wh(curves[person]) for person in total.members)
            for total in allowed
        }
    for name in (WHOLE, *groups):
        both = name == WHOLE and all(name in by_name for by_name in told.values())
        shared_wh = sum(_known_wh(month.received_wh) for month in community.months)
        yield GroupFigures(
            name,
            told[Side.ASK].get(name),
            told[Side.BID].get(name),
            shared_wh if both else None,
        )


def _mix(viewer: Viewer, asking: _Asking) -> Iterator[MixStep]:
    for span in asking.mix(viewer):
        told = span.told[Side.ASK], span.told[Side.BID]
        yield from (mix_step(step, span.months, told) for step in span.steps)


def _spans(community: CommunityMonth) -> Iterator[tuple[range, tuple[MemberMonth, ...]]]:
    """The steps of a month in runs of the same members, with the curves of those who took part."""
    edges = {0, community.steps}
    for presence in community.presences:
        edges |= {presence.steps.start, presence.steps.stop}
    for start, stop in pairwise(sorted(edges)):
        there = {
            (one.person, one.side)
            for one in community.presences
            if one.steps.start <= start and stop <= one.steps.stop
        }
        yield (
            range(start, stop),
            tuple(
                replace(
                    month,
                    drawn_wh=month.drawn_wh if (month.person, Side.BID) in there else (),
                    received_wh=month.received_wh if (month.person, Side.BID) in there else (),
                    fed_in_wh=month.fed_in_wh if (month.person, Side.ASK) in there else (),
                )
                for month in community.months
            ),
        )


def _there(months: Iterable[MemberMonth], side: Side) -> frozenset[str]:
    """Who has a curve of a side."""
    return frozenset(month.person for month in months if len(_curve(month, side)))


def _curve(month: MemberMonth, side: Side) -> Sequence[int]:
    return month.fed_in_wh if side is Side.ASK else month.drawn_wh


def _known_wh(curve: Sequence[int]) -> int:
    return sum(value for value in curve if value != MISSING)
