"""The examination: all groups of checks at once, each with a time of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

import aiohttp

from node.clock import Clock
from node.config import NodeConfig, load_config, refuse_open_secrets
from node.doctor.broker import broker_checks
from node.doctor.case import Case, Checks, in_thread, is_locked
from node.doctor.disk import database_checks, disk_checks
from node.doctor.findings import CHECKS, Finding, Report, error, ok, warning
from node.doctor.machine import clock_checks, program_checks
from node.doctor.meter import meter_checks
from node.errors import ConfigurationError, DaiseeError
from node.publish.state import STATUS_SCHEMA
from node.service.rooms import check_rooms

__all__ = ["GROUP_WITHIN_S", "examine", "page_of"]

GROUP_WITHIN_S: Final = 5.6
"""How long a group of checks may take. All run at once, so that the whole is under ten seconds."""

_PAGE_WITHIN_S: Final = 0.7
_MOST_PAGE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Group:
    """Checks that are made one after the other, and their ids in that order."""

    checks: Checks
    ids: Sequence[str]


async def _chain_checks(case: Case) -> AsyncIterator[Finding]:
    """What speaks Ethereum takes a while to load: only where there is a chain, and in a thread."""
    module = await in_thread(partial(import_module, "node.doctor.chain"))
    async for finding in cast("Checks", module.chain_checks)(case):
        yield finding


_GROUPS: Final = (
    _Group(clock_checks, ("T001",)),
    _Group(disk_checks, ("D001", "D002", "D004")),
    _Group(database_checks, ("D003", "M004", "O001", "O002")),
    _Group(meter_checks, ("M001", "M002", "M003", "M005", "T003")),
    _Group(broker_checks, ("B001",)),
    _Group(_chain_checks, ("N001", "N002", "N003", "T002", "N004", "K001", "K002", "K003")),
)


async def examine(
    file: Path,
    environment: Mapping[str, str],
    clock: Clock,
    *,
    flags: Mapping[str, str] | None = None,
    within_s: float = GROUP_WITHIN_S,
) -> Report:
    """Examine the node of some settings; whatever is wrong is a finding."""
    findings = list(program_checks())
    try:
        config = load_config(file, environment, flags=flags)
        check_rooms(config)
    except ConfigurationError as wrong:
        findings.append(_of_failure("C001", wrong))
        return _report(findings)
    findings += [ok("C001", str(config.file)), _secrets(config)]
    page = await page_of(config)
    is_running = is_locked(
        config.storage.database.with_name(config.storage.database.name + ".lock")
    )
    case = Case(config, environment, clock, page, is_running)
    findings.append(_running(case))
    async with asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(_answers(group, case, within_s), name=f"checks {group.ids[0]}")
            for group in _GROUPS
        ]
    findings += [finding for task in asked for finding in task.result()]
    return _report(findings)


async def _answers(group: _Group, case: Case, within_s: float) -> list[Finding]:
    """A group's findings; what stops it is the finding of the check that it was at."""
    findings: list[Finding] = []
    take = findings.append

    def stopped(failure: Exception) -> Finding:
        done = {finding.check for finding in findings}
        at = next((check for check in group.ids if check not in done), group.ids[-1])
        return _of_failure(at, failure, within_s)

    try:
        async with asyncio.timeout(within_s):
            async for finding in group.checks(case):
                take(finding)  # one by one: what was found before a failure counts
    except (DaiseeError, OSError) as failure:  # a TimeoutError is an OSError
        findings.append(stopped(failure))
    return findings


def _of_failure(check: str, failure: Exception, within_s: float = 0) -> Finding:
    if isinstance(failure, DaiseeError):
        return error(check, failure.message, failure.next_step or "see docs/doctor.md")
    if isinstance(failure, TimeoutError):
        return error(
            check,
            f"no answer within {within_s:.0f} s",
            "look at the load and the disk of this machine, then try again",
        )
    return error(check, str(failure), "see docs/doctor.md")


def _report(findings: Sequence[Finding]) -> Report:
    order = list(CHECKS)
    return Report(tuple(sorted(findings, key=lambda finding: order.index(finding.check))))


def _secrets(config: NodeConfig) -> Finding:
    try:
        refuse_open_secrets(config)
    except ConfigurationError as wrong:
        return _of_failure("C002", wrong)
    return ok("C002", "every key and password file is its owner's alone")


def _running(case: Case) -> Finding:
    if case.page is not None:
        return ok("R001", f"its page answers on port {case.config.metrics.port}")
    if case.is_running:
        return ok("R001", "it holds the lock of its database; its page does not answer")
    return warning(
        "R001", "no node answers", "systemctl start daisee-node, or: daisee node run --config FILE"
    )


async def page_of(config: NodeConfig) -> Mapping[str, Any] | None:
    """What the running node says of itself; None where nothing that is ours answers."""
    metrics = config.metrics
    if not metrics.serve or metrics.port == 0:
        return None
    host = f"[{metrics.host}]" if ":" in metrics.host else metrics.host
    url = f"http://{host}:{metrics.port}/status.json"
    limit = aiohttp.ClientTimeout(total=_PAGE_WITHIN_S)
    try:
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as answer:
            document = json.loads(await answer.content.read(_MOST_PAGE_BYTES))
    except (aiohttp.ClientError, OSError, ValueError, RecursionError):
        return None
    is_ours = isinstance(document, dict) and document.get("schema") == STATUS_SCHEMA
    return document if is_ours else None
