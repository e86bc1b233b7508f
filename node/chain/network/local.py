"""A whole network on this machine's loopback interface: for a trial, and to lose parts of it.

Every node is a process of its own, as on machines of their own. What a process writes stays in the
network's folder, below ``run``: stopping and starting again goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from node.chain.json_rpc import number
from node.chain.network import besu, geth
from node.chain.network.asking import ask
from node.chain.network.commands import failure_of
from node.chain.network.layout import peer_files
from node.chain.network.reach import endpoints_file, write_endpoints
from node.chain.network.record import Network, Peer, load_network
from node.chain.network.recover import pid_file
from node.chain.network.unsticking import Heads, free_sealers, heads_of
from node.clock import wall_seconds
from node.errors import ChainUnreachable, ConfigurationError, Refused

__all__ = ["LocalNetwork"]

UP_WITHIN_S: Final = 60.0
STOP_WITHIN_S: Final = 30.0
PAUSE_S: Final = 0.1
LOOK_EVERY_S: Final = 1.0

STUCK_AFTER_S: Final = 8.0
STUCK_AFTER_PERIODS: Final = 8
"""No block for so long, with enough validators at work: they wait for each other."""

MAX_SOCKET_PATH: Final = 100
"""Longer paths do not fit into the address of a socket."""


class LocalNetwork:
    """The processes of one network. Use as an async context manager, or start and stop.

    ``kill`` is a power cut of one machine, ``wipe`` the loss of its disk. Validators are named by
    their numbers, any node by its name.
    """

    def __init__(self, folder: Path, *, frees_sealers: bool = True) -> None:
        self.folder = folder.absolute()
        self.network: Network = load_network(self.folder)
        self._processes: dict[str, Process] = {}
        self._sockets: Path | None = None
        self._said: TextIO | None = None
        self._frees_sealers = frees_sealers and self.network.engine == "geth"
        self._watch: asyncio.Task[None] | None = None
        self.freed = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start every node on free ports, and wait until each of them answers.

        Raises ConfigurationError without the engine or when the network runs already,
        ChainUnreachable when a node does not come up.
        """
        self._refuse_running()
        self.network = self.network.on_loopback(_free_ports(2 * len(self.network.peers)))
        run = self.folder / "run"
        run.mkdir(mode=0o700, exist_ok=True)
        endpoints_file(self.folder).unlink(missing_ok=True)  # of a trial that was killed
        self._sockets = _place_of_sockets(run)
        try:
            for peer in self.network.peers:
                await self._launch(peer)
            for peer in self.network.peers:
                await self._until_up(peer)
        except BaseException:
            await self.stop()
            raise
        members = {peer.name: self.rpc_url(peer.number) for peer in self.network.rpc_nodes}
        self._said = write_endpoints(self.folder, self.endpoints(), members, supervisor=os.getpid())
        if self._frees_sealers:
            self._watch = asyncio.create_task(self._free_when_stuck(), name="free-sealers")

    async def stop(self) -> None:
        """Stop every node, politely at first."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        names = list(self._processes)
        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(self.halt(name))
        if self._said is not None:
            endpoints_file(self.folder).unlink(missing_ok=True)
            self._said.close()
            self._said = None
        if self._sockets is not None:
            _end_of_sockets(self.folder / "run", self._sockets)
        self._sockets = None

    async def kill(self, name: int | str) -> None:
        """End a node at once, as a power cut does."""
        peer = self.network.peer(name)
        process = self._processes.pop(peer.name, None)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            self._pid_file(peer).unlink(missing_ok=True)

    async def halt(self, name: int | str) -> None:
        """Stop a node politely: it writes what it knows."""
        peer = self.network.peer(name)
        process = self._processes.get(peer.name)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
        await self.kill(name)

    async def restart(self, name: int | str) -> None:
        """Start a node again where it was, after ``kill`` or running; wait until it answers."""
        await self.halt(name)
        peer = self.network.peer(name)
        await self._launch(peer)
        await self._until_up(peer)

    async def wipe(self, name: int | str) -> None:
        """Lose a node's chain, not its keys. It stays down until it is restarted."""
        await self.kill(name)
        peer = self.network.peer(name)
        shutil.rmtree(self._data(peer), ignore_errors=True)

    async def recover(self) -> None:
        """Stop all validators, then start them all: rounds and waiting sealers begin anew."""
        async with asyncio.TaskGroup() as tasks:
            for peer in self.network.validators:
                tasks.create_task(self.halt(peer.name))
        for peer in self.network.validators:
            await self._launch(peer)
        for peer in self.network.validators:
            await self._until_up(peer)

    def runs(self, name: int | str) -> bool:
        """Whether a node's process is alive."""
        process = self._processes.get(self.network.peer(name).name)
        return process is not None and process.returncode is None

    def pid(self, name: int | str) -> int:
        """The process of a running node."""
        return self._processes[self.network.peer(name).name].pid

    def rpc_url(self, n: int = 1) -> str:
        """Where members ask: the n-th node for them."""
        return f"http://127.0.0.1:{self.network.peer(f'rpc-{n:02d}').rpc_port}"

    def endpoint(self, name: int | str) -> Path | str:
        """Where the operator asks a node, what no member may."""
        peer = self.network.peer(name)
        if self.network.engine == "geth":
            assert self._sockets is not None
            return self._sockets / f"{peer.name}.ipc"
        return f"http://127.0.0.1:{peer.rpc_port}"

    def endpoints(self) -> dict[str, Path | str]:
        """Of every node by its name."""
        return {peer.name: self.endpoint(peer.name) for peer in self.network.peers}

    async def head(self, name: int | str) -> int:
        """The number of a node's newest block. Raises ChainUnreachable."""
        return number(await ask(self.endpoint(name), "eth_blockNumber"))

    async def until_block(self, height: int, *, within_s: float, name: int | str = "rpc-01") -> int:
        """Wait until a node has a block; returns its head. Raises ChainUnreachable."""
        deadline_s = wall_seconds() + within_s
        head = -1
        while wall_seconds() < deadline_s:
            with contextlib.suppress(ChainUnreachable, Refused):
                head = await self.head(name)
            if head >= height:
                return head
            await asyncio.sleep(PAUSE_S)
        raise ChainUnreachable(f"{name} is at block {head}, not {height}, after {within_s:.0f} s")

    def log_path(self, name: int | str) -> Path:
        """What a node wrote to its log."""
        return self.folder / "run" / f"{self.network.peer(name).name}.log"

    # Processes

    async def _launch(self, peer: Peer) -> None:
        run = self.folder / "run"
        settings = run / peer.name
        settings.mkdir(mode=0o700, exist_ok=True)
        for name, text in peer_files(self.network, peer).items():
            (settings / name).write_text(text)
        command = self._command(peer, settings)
        data = self._data(peer)
        if self.network.engine == "geth":
            init = geth.init_command(geth.find_geth(), data, self.folder / "genesis.json")
            if why := await failure_of(init, within_s=UP_WITHIN_S):
                raise ConfigurationError(
                    f"the first block cannot be written: {why.splitlines()[-1]}", file=data
                )
        with self.log_path(peer.name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(self.network.engine),
                start_new_session=True,  # Ctrl-C is for us: the nodes are stopped in order
            )
        self._processes[peer.name] = process
        self._pid_file(peer).write_text(f"{process.pid}\n")

    def _command(self, peer: Peer, settings: Path) -> list[str]:
        files, data = self.folder / peer.folder, self._data(peer)
        if self.network.engine == "geth":
            return geth.run_command(
                geth.find_geth(),
                self.network,
                peer,
                files=files,
                data=data,
                socket=self.endpoint(peer.name),
                config=settings / "config.toml",
            )
        command = besu.run_command(besu.find_besu(), self.network, peer, files=files, data=data)
        beside, here = f"={files}/", f"={settings}/"
        moved = ("static-nodes.json", "permissions.toml")
        return [part.replace(beside, here) if part.endswith(moved) else part for part in command]

    async def _until_up(self, peer: Peer) -> None:
        deadline_s = wall_seconds() + UP_WITHIN_S
        process = self._processes[peer.name]
        while wall_seconds() < deadline_s and process.returncode is None:
            with contextlib.suppress(ChainUnreachable, Refused):
                await ask(self.endpoint(peer.name), "eth_chainId")
                return
            await asyncio.sleep(PAUSE_S)
        why = "ended" if process.returncode is not None else "does not answer"
        raise ChainUnreachable(
            f"{peer.name} {why}",
            next_step=f"its log is {self.log_path(peer.name)}",
        )

    def _data(self, peer: Peer) -> Path:
        return self.folder / peer.folder / "data"

    def _pid_file(self, peer: Peer) -> Path:
        return pid_file(self.folder, peer)

    def _refuse_running(self) -> None:
        for peer in self.network.peers:
            with contextlib.suppress(OSError, ValueError):
                pid = int(self._pid_file(peer).read_text())
                asked = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if str(self._data(peer)).encode() in asked:
                    raise ConfigurationError(
                        f"{peer.name} of this network runs already, as process {pid}",
                        next_step=f"stop it first: kill {pid}",
                    )

    async def _free_when_stuck(self) -> None:
        """Clique's sealers can come to wait for each other for ever; look, and free them."""
        limit_s = max(STUCK_AFTER_S, STUCK_AFTER_PERIODS * self.network.period_s)
        heads, since_s = Heads({}), wall_seconds()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            sockets = {
                peer.name: self.endpoint(peer.name)
                for peer in self.network.validators
                if self.runs(peer.name)
            }
            seen = await heads_of(sockets)
            if seen.numbers() != heads.numbers() or len(seen.of) < self.network.needed:
                heads, since_s = seen, wall_seconds()
            elif wall_seconds() - since_s > limit_s:
                if await free_sealers(self.network, sockets):
                    self.freed += 1
                since_s = wall_seconds()


def _place_of_sockets(run: Path) -> Path:
    """In the network's folder if that path is short enough, else in one of their own."""
    if len(str(run)) + len("/validator-00.ipc") <= MAX_SOCKET_PATH:
        return run
    return Path(tempfile.mkdtemp(prefix="daisee-"))


def _end_of_sockets(run: Path, place: Path) -> None:
    """Take away what nobody listens to any more."""
    for left in run.glob("*.ipc"):
        left.unlink(missing_ok=True)
    if place != run:
        shutil.rmtree(place, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody uses now, all held until all are found."""
    with contextlib.ExitStack() as held:
        ports = []
        for _ in range(count):
            probe = held.enter_context(contextlib.closing(socket.socket()))
            probe.bind(("127.0.0.1", 0))
            ports.append(int(probe.getsockname()[1]))
        return ports


def _environment(engine: str) -> Mapping[str, str]:
    heap = {"BESU_OPTS": "-Xmx512m"} if engine == "besu" else {}
    return os.environ | heap
