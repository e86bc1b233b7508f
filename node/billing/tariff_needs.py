"""Every tariff row that a period's bills lack, at once: one by one would be a long afternoon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from typing import Final

from node.billing.operation import LocalAccise, Operation
from node.billing.tariffs import TariffTables
from node.errors import Refused

__all__ = ["TARIFF_REASONS", "all_that_lacks"]

TARIFF_REASONS: Final = frozenset({"tariff_unknown", "tariff_unconfirmed"})


def all_that_lacks(
    error: Refused, operation: Operation, tables: TariffTables, spans: Sequence[tuple[date, date]]
) -> Refused:
    """The same refusal, of every row that bills of these days may need and that is unknown or not
    known well enough."""
    found: dict[str, Refused] = {error.message: error}
    for ask in _needs(operation, tables):
        for first, _ in spans:
            try:
                ask(first)
            except Refused as other:
                found.setdefault(other.message, other)
    steps = dict.fromkeys(other.next_step for other in found.values() if other.next_step)
    return Refused("; ".join(found), reason=error.reason, next_step="; ".join(steps))


def _needs(operation: Operation, tables: TariffTables) -> Iterator[Callable[[date], object]]:
    """What is asked of the tables on a day."""
    consumers = operation.consumers.values()
    options = sorted({one.turpe for one in consumers if one.turpe})
    is_due = operation.local_accise is not LocalAccise.EXEMPT
    categories = sorted({one.accise for one in consumers if is_due or one.turpe})
    for option in options:
        yield partial(tables.turpe.at, option)
    for category in categories:
        yield partial(tables.accise.at, category)
    if options:
        yield partial(tables.cta.at, "distribution")
        yield partial(tables.vat.at, "standing_charge")
    yield partial(tables.vat.at, "normal")
