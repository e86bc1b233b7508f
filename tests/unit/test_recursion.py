"""No library may let Python recurse until the stack ends: a document could kill a node."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.shared import CHECKOUT

PROGRAM = (
    "import sys; before = sys.getrecursionlimit();"
    "import {module};"
    "assert sys.getrecursionlimit() == before, sys.getrecursionlimit();"
    "import json\n"
    "try: json.loads('[' * 1_000_000)\n"
    "except RecursionError: print('refused')"
)


@pytest.mark.parametrize(
    "module",
    ["node.chain.rpc", "node.chain.keystore", "node.service.relaying", "node.service.run"],
)
def test_a_nested_document_is_an_error_and_not_the_end(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "refused\n"
