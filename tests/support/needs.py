"""What a test needs of the machine: without it, it is skipped, with the reason and the cure."""

from __future__ import annotations

import pytest

from node.chain.network.geth import find_geth
from node.errors import ConfigurationError


def need_geth() -> None:
    """Skip where there is no geth; never in continuous integration, where a skip is a failure."""
    try:
        find_geth()
    except ConfigurationError as error:
        pytest.skip(f"{error.message}: scripts/install-geth")
