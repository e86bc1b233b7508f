"""Expected failures, as a tree. The type says what the caller does next.

::

    DaiseeError                    never raised itself
    ├── Transient                  try again, within a bound
    │   ├── ChainUnreachable       exit 5   no answer, or an answer that cannot be used, from RPC
    │   ├── MeterSilent            exit 4   no frame within the meter's period
    │   │   └── MeterNotYet        exit 4   it need not have spoken yet: ask again, nothing is wrong
    │   └── StorageBusy            exit 3   disk full, or another program holds the file
    └── Permanent                  stop and tell a person
        ├── ConfigurationError     exit 3   a file or setting a person wrote; says file and line
        ├── MeterError             exit 4   the meter speaks, but cannot be used as it is
        ├── ChainMismatch          exit 5   another chain, or other code, than the one agreed on
        ├── Refused                exit 6   the market or the operator said no; carries the reason
        └── Disagreement           exit 7   a check found that two records of one fact differ

A programming error is an ``assert`` or a built-in exception: it crashes (exit 1) and is a bug.
Bad data from outside (a damaged frame, a bad order in a batch) is not an exception at all but a
collected value that carries its provenance.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "ChainMismatch",
    "ChainUnreachable",
    "ConfigurationError",
    "DaiseeError",
    "Disagreement",
    "MeterError",
    "MeterNotYet",
    "MeterSilent",
    "Permanent",
    "Refused",
    "StorageBusy",
    "Transient",
]


class DaiseeError(Exception):
    """Base of every expected failure.

    ``message`` says what happened and where; ``next_step`` what a person can do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.next_step}" if self.next_step else self.message


class Transient(DaiseeError):
    """Trying again may help; every caller bounds its tries."""


class Permanent(DaiseeError):
    """Trying again does not help."""


class ChainUnreachable(Transient):
    """The RPC endpoint gave no usable answer."""

    exit_code = 5


class MeterSilent(Transient):
    """No frame arrived within the meter's period."""

    exit_code = 4


class MeterNotYet(MeterSilent):
    """The frame that settles an instant has not come, and by the meter's period need not have."""


class StorageBusy(Transient):
    """The disk is full or failing, or another program holds the file; nothing was half written."""

    exit_code = 3


class ConfigurationError(Permanent):
    """Something a person wrote cannot be used. ``file`` and ``line`` say where it stands."""

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        file: Path | str | None = None,
        line: int | None = None,
        next_step: str = "",
    ) -> None:
        where = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(where + message, next_step=next_step)
        self.file = None if file is None else Path(file)
        self.line = line


class MeterError(Permanent):
    """The meter's answer cannot be used as it is."""

    exit_code = 4


class ChainMismatch(Permanent):
    """The endpoint serves another chain, or other contract code, than the one agreed on."""

    exit_code = 5


class Refused(Permanent):
    """The market or the operator said no. ``reason`` is the machine-readable word for it."""

    exit_code = 6

    def __init__(self, message: str, *, reason: str, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.reason = reason


class Disagreement(Permanent):
    """Two records of the same fact differ; the message names the first difference."""

    exit_code = 7
