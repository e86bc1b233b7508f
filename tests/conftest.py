"""What holds for every test: no silent skips where everything is installed, repeatable examples.

``HYPOTHESIS_PROFILE`` is ``default``, ``ci`` (more examples) or ``campaign`` (many, and other ones
each time). ``DAISEE_REQUIRE_ALL=1`` says that this machine has everything: a skip is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

_PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")

# How long an example takes depends on the machine, never on the property: hence no deadlines.
_BASE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", parent=_BASE, derandomize=True, max_examples=50)
settings.register_profile("ci", parent=_BASE, derandomize=True, max_examples=200)
settings.register_profile("campaign", parent=_BASE, max_examples=10_000, print_blob=True)
settings.load_profile(_PROFILE)

if _PROFILE != "campaign":
    # Now and then hypothesis draws a literal of the project's own modules: of those loaded so far,
    # so that an edit anywhere, or another order of tests, changes what every test draws. A verdict
    # must not hang on that; campaigns may.
    _NO_LITERALS = providers._local_constants  # noqa: SLF001 - there is no setting for it
    providers._get_local_constants = lambda: _NO_LITERALS  # noqa: SLF001

_REQUIRE_ALL = os.environ.get("DAISEE_REQUIRE_ALL") == "1"


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not _REQUIRE_ALL or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid} skipped, but this machine has everything: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips fails where nothing may skip."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """So does a whole file that skips."""
    report = yield
    _fail_if_skipped(report)
    return report
