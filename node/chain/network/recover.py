"""Bringing a chain back that makes no blocks.

QBFT's validators double the time of a round whenever one fails: after an hour without a quorum they
may wait another hour, though all are back. Stopping them all and starting them together begins with
round 0. Clique has no rounds, but its sealers can come to wait for each other; then they step back
to where they parted (see ``unsticking``), and only if that helps nothing are all restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.chain.json_rpc import block_query, number
from node.chain.network.asking import ask
from node.chain.network.commands import failure_of
from node.chain.network.reach import Reach, endpoints_file, reach_of
from node.chain.network.record import Network, Peer
from node.chain.network.units import unit_name
from node.chain.network.unsticking import free_sealers, heads_of
from node.clock import wall_seconds
from node.errors import ChainUnreachable, Refused

__all__ = [
    "Restart",
    "free_if_stuck",
    "pid_file",
    "restart_plan",
    "restart_together",
    "until_newer_block",
]

COMMAND_WITHIN_S: Final = 180.0
PAUSE_S: Final = 0.5
LEAST_LOOK_S: Final = 8.0
LOOK_PERIODS: Final = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """A network whose nodes one process of this machine runs."""

    folder: Path
    network: Network
    supervisor: int

    def still_runs(self) -> bool:
        """Whether that process is what it was: its number may be another's by now."""
        return reach_of(self.folder, self.network).supervisor == self.supervisor


@dataclass(frozen=True, slots=True)
class Restart:
    """What a coordinated restart runs: all of ``stops`` at once, and when they are done ``starts``.

    With a trial on this machine there is one signal to its supervisor instead; that it was heard
    is seen by the files in which it notes the validators' processes.
    """

    stops: tuple[tuple[str, ...], ...]
    starts: tuple[tuple[str, ...], ...]
    trial: Trial | None = None

    def lines(self) -> list[str]:
        """As a person would type it."""
        if self.trial is not None:
            return [f"kill -HUP {self.trial.supervisor}"]
        return [shlex.join(command) for command in (*self.stops, *self.starts)]


def pid_file(folder: Path, peer: Peer) -> Path:
    """Where a trial on this machine notes a node's process."""
    return folder / "run" / f"{peer.name}.pid"


def restart_plan(folder: Path, network: Network, reach: Reach) -> Restart:
    """How to restart all validators: here by systemd, on other machines through ssh.

    Raises Refused for a trial that has ended: units of the same names are another network's.
    """
    if reach.trial_ended:
        raise _ended(folder, network)
    if reach.supervisor is not None:
        return Restart((), (), Trial(folder, network, reach.supervisor))
    return Restart(
        tuple(_command(peer, "stop") for peer in network.validators),
        tuple(_command(peer, "start") for peer in network.validators),
    )


async def restart_together(plan: Restart) -> None:
    """Do it, and return when every validator was started anew.

    Raises Refused when a command fails; the starts are run all the same. Of a trial raises Refused
    when it has ended, ChainUnreachable when it does not do it in time.
    """
    if plan.trial is not None:
        await _by_supervisor(plan.trial)
        return
    failed = await _run_all(plan.stops)
    failed += await _run_all(plan.starts)
    if failed:
        raise Refused(
            f"a command failed: {failed[0]}",
            reason="command_failed",
            next_step="run what --dry-run prints on the machines themselves",
        )


async def free_if_stuck(network: Network, reach: Reach) -> bool:
    """Whether sealers waited for each other and were freed. Takes a look of some seconds.

    Does nothing unless as many validators as a block needs can be asked from here.
    """
    names = {peer.name for peer in network.validators}
    endpoints = {name: place for name, place in reach.own.items() if name in names}
    if network.engine != "geth":
        return False
    before = await heads_of(endpoints)
    if len(before.of) < network.needed:
        return False
    await asyncio.sleep(max(LEAST_LOOK_S, LOOK_PERIODS * network.period_s))
    after = await heads_of(endpoints)
    if after.numbers() != before.numbers():
        return False
    return await free_sealers(network, endpoints)


async def until_newer_block(reach: Reach, since_s: int, *, within_s: float) -> int:
    """Wait until any node has a block of a later second, by the block's own time: one that was made
    before tells nothing. Returns its number; raises ChainUnreachable."""
    deadline_s = wall_seconds() + within_s
    while wall_seconds() < deadline_s:
        for endpoint in reach.all().values():
            with contextlib.suppress(ChainUnreachable, Refused):
                block = await ask(endpoint, *block_query())
                if number(block["timestamp"]) > since_s:
                    return number(block["number"])
        await asyncio.sleep(PAUSE_S)
    raise ChainUnreachable(
        f"no new block within {within_s:.0f} s",
        next_step="'daisee chain status' tells which validators are missing",
    )


def _ended(folder: Path, network: Network) -> Refused:
    return Refused(
        f"the trial of {network.name} has ended",
        reason="trial_ended",
        next_step=f"'daisee chain up --local {folder}' goes on with it; where systemd runs these"
        f" validators now, remove {endpoints_file(folder)} first",
    )


async def _by_supervisor(trial: Trial) -> None:
    """Ask it, and wait until none of the processes is the one that it was."""
    pid_files = [pid_file(trial.folder, peer) for peer in trial.network.validators]
    before = [_noted(path) for path in pid_files]
    if not trial.still_runs():  # a person was asked since it was found
        raise _ended(trial.folder, trial.network)
    os.kill(trial.supervisor, signal.SIGHUP)
    deadline_s = wall_seconds() + COMMAND_WITHIN_S
    while wall_seconds() < deadline_s:
        now = [_noted(path) for path in pid_files]
        if all(pid and pid != was for pid, was in zip(now, before, strict=True)):
            return
        await asyncio.sleep(PAUSE_S)
    raise ChainUnreachable(
        f"process {trial.supervisor} did not restart the validators within"
        f" {COMMAND_WITHIN_S:.0f} s",
        next_step="look at what 'daisee chain up' says, or end it and start it again",
    )


def _noted(path: Path) -> str:
    """The process that a file names; empty while there is none."""
    with contextlib.suppress(OSError):
        return path.read_text().strip()
    return ""


def _command(peer: Peer, verb: str) -> tuple[str, ...]:
    command = ("sudo", "systemctl", verb, unit_name(peer))
    return command if _is_here(peer.host) else ("ssh", "-o", "BatchMode=yes", peer.host, *command)


def _is_here(host: str) -> bool:
    """Whether an address is one of this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


async def _run_all(commands: Sequence[Sequence[str]]) -> list[str]:
    """Run commands side by side; those that failed, with what they said."""
    reasons = await asyncio.gather(
        *(failure_of(command, within_s=COMMAND_WITHIN_S) for command in commands)
    )
    said = zip(commands, reasons, strict=True)
    return [f"{shlex.join(command)}: {why}" for command, why in said if why]
