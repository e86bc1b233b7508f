"""The broker that a household has already: where it is, and how the node logs in."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiomqtt

from node.errors import ConfigurationError

__all__ = ["BrokerSettings", "log_in", "reach"]

REACH_S: Final = 3.0
"""How long a broker may take to accept a connection. Stopping the node never waits for longer."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """A broker. The password lies in a file of its own, never in a setting or an argument."""

    host: str
    port: int = 1883
    user: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = field(default=None)

    def password(self) -> str | None:
        """The password as of now, so that a changed one needs no restart.

        Raises ConfigurationError when the file cannot be read, is empty, or is open to others.
        """
        if self.password_file is None:
            return None
        try:
            mode = self.password_file.stat().st_mode
            text = self.password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"the broker's password cannot be read: {error}", file=self.password_file
            ) from error
        if mode & 0o077:
            raise ConfigurationError(
                "the broker's password is open to others than its owner",
                file=self.password_file,
                next_step=f"chmod 600 {self.password_file}",
            )
        if not text:
            raise ConfigurationError("the broker's password is empty", file=self.password_file)
        return text

    def tls_context(self) -> ssl.SSLContext | None:
        """What TLS trusts: the system's authorities, or the one file that was named.

        Raises ConfigurationError when that file cannot be used.
        """
        if not self.tls:
            return None
        try:
            return ssl.create_default_context(
                cafile=None if self.ca_file is None else str(self.ca_file)
            )
        except OSError as error:  # an ssl.SSLError is one too
            raise ConfigurationError(
                f"no certificate authority can be read: {error}", file=self.ca_file
            ) from error


async def reach(broker: BrokerSettings, *, timeout_s: float = REACH_S) -> None:
    """Connect to the broker, TLS included, and hang up: raises OSError or TimeoutError.

    The MQTT library connects in a thread that cannot be stopped; a broker that never answers would
    hold up the end of the process. This can be cancelled, and says what is wrong in plain words.
    """
    async with asyncio.timeout(timeout_s):
        _, writer = await asyncio.open_connection(
            broker.host, broker.port, ssl=broker.tls_context()
        )
    writer.transport.abort()


async def log_in(broker: BrokerSettings, *, timeout_s: float = REACH_S) -> str:
    """Try the login and leave again: what the broker says against it, nothing where it agrees.

    Raises ConfigurationError when the password or the certificates cannot be read.
    """
    password, context = broker.password(), broker.tls_context()
    try:
        await reach(broker, timeout_s=timeout_s)
        async with aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.user,
            password=password,
            tls_context=context,
            timeout=timeout_s,
        ):
            return ""
    except TimeoutError:
        return f"no answer within {timeout_s:.0f} s"
    except (aiomqtt.MqttError, OSError) as refusal:
        return str(refusal)
