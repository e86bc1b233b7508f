"""Contracts that only tests deploy: ``contracts/test/doubles/``, compiled when wanted."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from typing import Any, Final

import pytest

from node.chain.contracts import Contract, contract_of
from tests.support.shared import CHECKOUT

COMPILE_S: Final = 120
SETTINGS: Final = {"evmVersion": "london", "optimizer": {"enabled": True, "runs": 200}}


@cache
def double(name: str) -> Contract:
    """A test double by its name; skips where there is no compiler (scripts/setup contracts)."""
    program = shutil.which("node")
    if program is None or not (CHECKOUT / "node_modules" / "solc").exists():
        pytest.skip("there is no Solidity compiler here: scripts/setup contracts")
    request = {
        "sources": {},
        "wanted": {f"contracts/test/doubles/{name}.sol": name},
        "settings": SETTINGS,
    }
    done = subprocess.run(
        [program, "scripts/compile_sources.mjs"],
        cwd=CHECKOUT,
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=COMPILE_S,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    assert "errors" not in answer, answer["errors"]
    return contract_of(name, answer["contracts"][name])
