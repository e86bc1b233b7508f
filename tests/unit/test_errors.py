"""The tree of expected failures: what the caller does next is the type."""

from __future__ import annotations

from pathlib import Path

import pytest

from node import errors
from node.errors import ConfigurationError, DaiseeError, Permanent, Refused, Transient

KINDS = [getattr(errors, name) for name in errors.__all__]
LEAVES = [kind for kind in KINDS if kind not in (DaiseeError, Transient, Permanent)]


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_every_failure_is_either_worth_a_retry_or_not(kind: type[DaiseeError]) -> None:
    assert issubclass(kind, Transient) is not issubclass(kind, Permanent)
    assert kind.exit_code in range(3, 8)


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_the_drawing_in_the_docstring_is_the_tree(kind: type[DaiseeError]) -> None:
    (line,) = (row for row in (errors.__doc__ or "").splitlines() if f" {kind.__name__} " in row)
    assert f"exit {kind.exit_code}" in line


def test_a_failure_says_what_to_do_next() -> None:
    assert str(Transient("no answer", next_step="check the URL")) == (
        "no answer\n  next: check the URL"
    )
    assert str(Permanent("no answer")) == "no answer"


def test_a_configuration_error_says_where_it_stands() -> None:
    error = ConfigurationError("is too long", file="a.toml", line=7)
    assert (str(error), error.file, error.line) == ("a.toml:7: is too long", Path("a.toml"), 7)
    assert str(ConfigurationError("is missing", file=Path("a.toml"))) == "a.toml: is missing"
    assert str(ConfigurationError("two of them")) == "two of them"


def test_a_refusal_carries_its_reason_for_programs() -> None:
    refusal = Refused("order refused", reason="paused", next_step="wait")
    assert (refusal.reason, refusal.next_step, refusal.exit_code) == ("paused", "wait", 6)
