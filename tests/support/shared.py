"""The material that lies beside the checkout, in ``../shared``: vectors and measured homes.

It is no part of the project, so a test that reads it skips where it is missing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

CHECKOUT: Final = Path(__file__).resolve().parents[2]

SHARED: Final = Path(os.environ.get("DAISEE_SHARED", CHECKOUT.parent / "shared"))


def shared_path(relative: str) -> Path:
    """Where a shared file or folder is; skips the test where there is none."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"shared material is missing: {relative} (DAISEE_SHARED names its folder)")
    return path
