"""A process that dies as of ``kill -9``, at each change that it makes of the files in turn."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, NoReturn

_CHANGES: Final = ("replace", "unlink", "rmdir")
_CUT_OFF: Final = 137


def cut_off(at: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a process of its own that dies before its ``at``-th change of a file; whether
    it came to that. What it raises is a failure."""
    child = os.fork()
    if not child:
        code = 1
        try:
            _die_at(at)
            work()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, _CUT_OFF}, code
    return code == _CUT_OFF


def _die_at(at: int) -> None:
    left = at

    def counted(change: Callable[..., object]) -> Callable[..., object]:
        def changed(*given: Any, **named: Any) -> object:  # noqa: ANN401 - as the call was written
            nonlocal left
            left -= 1
            if not left:
                _die()
            return change(*given, **named)

        return changed

    for name in _CHANGES:
        setattr(os, name, counted(getattr(os, name)))


def _die() -> NoReturn:
    os._exit(_CUT_OFF)
