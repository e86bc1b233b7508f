"""A community on a chain in real time, and a household's machine that may join it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.invited import quick_keystores
from tests.support.joined import Street, street
from tests.support.joining import Home, home_in


@pytest.fixture(scope="module")
def lilas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    """One for all tests of a file."""
    with street(tmp_path_factory.mktemp("operator")) as running:
        yield running


@pytest.fixture
def light_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keystores that open fast."""
    quick_keystores(monkeypatch)


@pytest.fixture
def home(lilas: Street, tmp_path: Path) -> Home:
    """A machine with a meter, before it has joined."""
    return home_in(lilas, tmp_path)
