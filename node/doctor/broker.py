"""The household's own broker."""

from __future__ import annotations

from collections.abc import AsyncIterator

from node.doctor.case import Case
from node.doctor.findings import Finding, error, ok
from node.publish.broker import log_in
from node.service.rooms import broker_of

__all__ = ["broker_checks"]


async def broker_checks(case: Case) -> AsyncIterator[Finding]:
    """B001."""
    broker = broker_of(case.config)
    if broker is None:
        yield ok("B001", "nothing is published: there is no [publish]")
        return
    refusal = await log_in(broker)
    where = f"{broker.host} port {broker.port}"
    if refusal:
        yield error(
            "B001",
            f"{where}: {refusal}",
            "check that the broker runs, and user and password_file in [publish]",
        )
    else:
        yield ok("B001", where)
