"""Which of the operating system's failures pass by themselves: those of a disk, not of a person."""

from __future__ import annotations

import errno
from typing import Final

__all__ = ["may_pass"]

_MAY_PASS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBUSY})


def may_pass(error: OSError) -> bool:
    """Whether trying again may help: there is room again, or the disk answers again."""
    return error.errno in _MAY_PASS
