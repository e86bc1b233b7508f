"""A month as one role gets to see it: members one by one, the community's figures, its mix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from node.billing.access import MAY, Grant, View, Viewer, may_see, require
from node.billing.anonymity import Total
from node.billing.series import MISSING
from node.billing.told import TellingBook
from node.billing.views import MemberMonth, MixStep, member_views, mix_step
from node.errors import Refused
from node.model import Side

__all__ = ["CommunityMonth", "GroupFigures", "Presence", "RoleView", "role_view"]


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
    names = {view.value for view in wanted}
    members = {}
    for month in community.months:
        if person in {None, month.person}:
            papers = community.papers.get(month.person, {})
            shown = member_views(viewer, month, now_s, papers)
            shown = {name: figure for name, figure in shown.items() if name in names}
            if shown:
                members[month.person] = shown
    if person is not None:
        return RoleView(members)
    figures = View.COMMUNITY_FIGURES in wanted and community.steps
    mix = View.COMMUNAL_MIX in wanted and community.steps
    return RoleView(
        members,
        tuple(_figures(viewer, community, book, k, now_s)) if figures else (),
        tuple(_mix(viewer, community, book, k, now_s)) if mix else (),
    )


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


def _figures(
    viewer: Viewer, community: CommunityMonth, book: TellingBook, k: int, now_s: int
) -> Iterator[GroupFigures]:
    view, span = View.COMMUNITY_FIGURES, (community.from_s, community.to_s)
    if MAY[view][viewer.role] is Grant.NOTHING:
        return
    everybody = frozenset(month.person for month in community.months)
    groups = {"community": everybody, **(community.groups or {})}
    subjects = [month.subject for month in community.months]
    told: dict[Side, dict[str, int]] = {}
    for side in (Side.ASK, Side.BID):
        curves = {month.person: _curve(month, side) for month in community.months}
        there = frozenset(person for person, curve in curves.items() if len(curve))
        totals = [Total(name, group & there) for name, group in groups.items() if group & there]
        allowed = book.tell(viewer, view, side, span, totals, subjects, k, now_s)
        told[side] = {
            total.name: sum(_known_wh(curves[person]) for person in total.members)
            for total in allowed
        }
    for name in groups:
        both = name == "community" and all(name in by_name for by_name in told.values())
        shared_wh = sum(_known_wh(month.received_wh) for month in community.months)
        yield GroupFigures(
            name,
            told[Side.ASK].get(name),
            told[Side.BID].get(name),
            shared_wh if both else None,
        )


def _mix(
    viewer: Viewer, community: CommunityMonth, book: TellingBook, k: int, now_s: int
) -> Iterator[MixStep]:
    """Step by step; the members of a run of steps are those who take part in all of it."""
    subjects = [month.subject for month in community.months]
    edges = {0, community.steps}
    for presence in community.presences:
        edges |= {presence.steps.start, presence.steps.stop}
    for start, stop in pairwise(sorted(edges)):
        there = {
            (one.person, one.side)
            for one in community.presences
            if one.steps.start <= start and stop <= one.steps.stop
        }
        months = [
            replace(
                month,
                drawn_wh=month.drawn_wh if (month.person, Side.BID) in there else (),
                received_wh=month.received_wh if (month.person, Side.BID) in there else (),
                fed_in_wh=month.fed_in_wh if (month.person, Side.ASK) in there else (),
            )
            for month in community.months
        ]
        span = (
            community.first_s + start * community.step_s,
            community.first_s + stop * community.step_s,
        )
        told = []
        for side in (Side.ASK, Side.BID):
            members = frozenset(month.person for month in months if len(_curve(month, side)))
            totals = [Total("community", members)] if members else []
            allowed = book.tell(viewer, View.COMMUNAL_MIX, side, span, totals, subjects, k, now_s)
            told.append(bool(allowed))
        yield from (mix_step(step, months, (told[0], told[1])) for step in range(start, stop))


def _curve(month: MemberMonth, side: Side) -> Sequence[int]:
    return month.fed_in_wh if side is Side.ASK else month.drawn_wh


def _known_wh(curve: Sequence[int]) -> int:
    return sum(value for value in curve if value != MISSING)
