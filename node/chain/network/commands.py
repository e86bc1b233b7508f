"""Other people's programs, run to their end: an engine's own tools, a machine's unit manager."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence

__all__ = ["failure_of"]


async def failure_of(command: Sequence[str], *, within_s: float) -> str:
    """Run a command to its end; why it failed in its own words, and nothing if it did not.

    It does not outlive its caller: whoever is cancelled here, or has waited ``within_s``, has
    killed it, and it writes nothing any more.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
        )
    except OSError as error:
        return error.strerror or str(error)
    try:
        _, said = await asyncio.wait_for(process.communicate(), within_s)
    except TimeoutError:
        return f"not done after {within_s:.0f} s"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode == 0:
        return ""
    return said.decode(errors="replace").strip() or f"it ended with {process.returncode}"
