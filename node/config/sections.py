"""What can be set, section by section, with defaults and bounds. Times in s, energy in Wh.

``meter`` and ``strategy`` are handed as tables to the rooms that know what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError
from node.model import MAX_ENERGY_WH, MAX_HOUSEHOLDS

__all__ = [
    "ChainSection",
    "HouseholdSection",
    "KeySection",
    "LogSection",
    "MetricsSection",
    "NodeConfig",
    "Origin",
    "PublishSection",
    "StorageSection",
]

_SETTING: Final = re.compile(r"[a-z_]+\.[a-z_]+")


@dataclass(frozen=True, slots=True)
class HouseholdSection:
    """Who trades here. Number 0 is nobody yet: enough for paper mode.

    The limits are the most Wh of one order; the registry on chain has the last word on them.
    """

    name: str = "home"
    number: int = field(default=0, metadata={"least": 0, "most": MAX_HOUSEHOLDS})
    import_limit_wh: int = field(
        default=MAX_ENERGY_WH, metadata={"least": 0, "most": MAX_ENERGY_WH}
    )
    export_limit_wh: int = field(
        default=MAX_ENERGY_WH, metadata={"least": 0, "most": MAX_ENERGY_WH}
    )
    slot_s: int = field(default=900, metadata={"least": 1, "most": 86_400})
    time_zone: str = "Europe/Paris"


@dataclass(frozen=True, slots=True)
class ChainSection:
    """The chain and the market's contract on it. Without ``trade`` nothing is signed or sent.

    ``rpc`` is where the chain is asked: a URL, or ``file:PATH`` with one that has a token in it.
    ``relay`` is who carries this household's orders first; without one they go by themselves.
    ``finality_depth`` is the number of blocks on top of one that make it final: the community's
    engine and its validators decide it. Until then money is shown as not final. ``genesis_hash`` is
    the first block's: without it, another chain with the same id is not told from the right one.
    """

    rpc: str = field(metadata={"endpoint": True})
    chain_id: int = field(metadata={"least": 1, "most": 2**63 - 1})
    market: str = field(metadata={"address": True})
    trade: bool = False
    created_in_block: int = field(default=0, metadata={"least": 0, "most": 2**63 - 1})
    gas_price_wei: int = field(default=0, metadata={"least": 0, "most": 10**15})
    relay: str | None = field(default=None, metadata={"url": True})
    genesis_hash: str | None = field(default=None, metadata={"hash": True})
    finality_depth: int = field(default=12, metadata={"least": 0, "most": 10_000})


@dataclass(frozen=True, slots=True)
class KeySection:
    """The signing key, a keystore of version 3, and where its password is: a file of mode 0600, or
    a credential of this name that systemd hands over."""

    keystore: Path | None = None
    password_file: Path | None = None
    credential: str = "daisee-key-password"


@dataclass(frozen=True, slots=True)
class StorageSection:
    """The database, and what is kept for how long.

    ``backup_hour`` is in UTC; the minute is the node's own, so that a street does not write at
    once. ``backup_folder`` is ``backups`` beside the database unless it is said.
    """

    database: Path
    backup_folder: Path
    backup_hour: int = field(default=2, metadata={"least": 0, "most": 23})
    keep_backups: int = field(default=7, metadata={"least": 1, "most": 366})
    keep_samples_days: int = field(default=31, metadata={"least": 1, "most": 3_660})


@dataclass(frozen=True, slots=True)
class PublishSection:
    """The household's own MQTT broker, where Home Assistant and emonCMS find the node. ``broker``
    is ``host`` or ``host:port``; ``emon_node`` empty publishes nothing for emonCMS."""

    broker: str
    user: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    name: str = "daisee"
    emon_node: str = "daisee"
    every_s: int = field(default=10, metadata={"least": 1, "most": 3_600})


@dataclass(frozen=True, slots=True)
class MetricsSection:
    """The page with the node's status and figures, on loopback only. Port 0 takes a free one."""

    serve: bool = True
    host: str = field(default="127.0.0.1", metadata={"one_of": ("127.0.0.1", "::1", "localhost")})
    port: int = field(default=8765, metadata={"least": 0, "most": 65_535})


@dataclass(frozen=True, slots=True)
class LogSection:
    """How much is written to stderr, and how."""

    level: str = field(default="info", metadata={"one_of": ("debug", "info", "warning", "error")})
    format: str = field(default="text", metadata={"one_of": ("text", "json")})


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: ``flag``, ``environment`` (with the variable), ``file`` (with its
    line) or ``default``."""

    kind: str
    name: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.name}:{self.line}" if self.line is not None else self.name
        return f"{self.kind} {where}".rstrip()


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """All settings of a node. ``origins`` has one entry for each value, by its dotted key."""

    file: Path
    household: HouseholdSection
    meter: Mapping[str, object]
    chain: ChainSection | None
    key: KeySection
    strategy: Mapping[str, object]
    storage: StorageSection
    publish: PublishSection | None
    metrics: MetricsSection
    log: LogSection
    origins: Mapping[str, Origin] = field(repr=False)

    @property
    def trades(self) -> bool:
        """Whether orders are signed and sent; otherwise they are only written down."""
        return self.chain is not None and self.chain.trade

    def with_line(self, error: ConfigurationError) -> ConfigurationError:
        """A room's error about its table, with the line of the first setting that it names."""
        if error.line is not None:
            return error
        named = (found[0] for found in _SETTING.finditer(error.message) if found[0] in self.origins)
        key = next(named, "")
        origin = self.origins.get(key)
        if origin is None:
            return error
        message = error.message.removeprefix(f"{self.file}: ")
        if origin.kind == "file":
            return ConfigurationError(
                message, file=self.file, line=origin.line, next_step=error.next_step
            )
        return ConfigurationError(f"{origin}: {message}", next_step=error.next_step)

    def complaint(self, key: str, message: str, *, next_step: str = "") -> ConfigurationError:
        """The error about a value, with the place that it comes from: of a key that stands nowhere,
        its section's."""
        origin = self.origins.get(key) or self.origins.get(key.partition(".")[0])
        return complaint(self.file, key, origin, message, next_step)


def complaint(
    file: Path, key: str, origin: Origin | None, message: str, next_step: str = ""
) -> ConfigurationError:
    """The error about a value that came from somewhere."""
    if origin is not None and origin.kind in ("environment", "flag"):
        return ConfigurationError(f"{origin}: {key} {message}", next_step=next_step)
    line = None if origin is None else origin.line
    return ConfigurationError(f"{key} {message}", file=file, line=line, next_step=next_step)
