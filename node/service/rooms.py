"""What the settings mean to the rooms that use them; complaints keep their file and line."""

from __future__ import annotations

from typing import cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from node.config import NodeConfig
from node.errors import ConfigurationError
from node.market.strategies import DEFAULT_STRATEGY, Strategy, strategy_named
from node.meter.settings import MeterSettings, host_and_port
from node.publish.broker import BrokerSettings

__all__ = ["broker_of", "check_rooms", "meter_of", "strategy_of"]

MQTT_PORT = 1883
MQTT_TLS_PORT = 8883


def check_rooms(config: NodeConfig) -> None:
    """Raise ConfigurationError for whatever only a room could find wrong."""
    meter_of(config)
    strategy_of(config)
    broker_of(config)
    try:
        ZoneInfo(config.household.time_zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise config.complaint(
            "household.time_zone",
            f"is {config.household.time_zone!r}, which this machine does not know",
            next_step="write it as in Europe/Paris; if that is unknown too: apt install tzdata",
        ) from error
    if not config.trades:
        return
    if config.household.number == 0:
        raise config.complaint(
            "household.number",
            "is needed to trade",
            next_step="the operator tells it when the household is admitted; see 'daisee paths'",
        )
    if config.key.keystore is None:
        raise config.complaint("key.keystore", "is needed to trade: no order leaves unsigned")


def meter_of(config: NodeConfig) -> MeterSettings:
    """The meter's settings."""
    try:
        return MeterSettings.from_table(config.meter, config.file)
    except ConfigurationError as error:
        raise config.with_line(error) from error


def strategy_of(config: NodeConfig) -> Strategy:
    """The strategy, with its parameters."""
    table = dict(config.strategy)
    name = table.pop("name", DEFAULT_STRATEGY)
    if not isinstance(name, str):
        raise config.complaint("strategy.name", f"is {name!r}; text in quotes is needed")
    try:
        # A value that is no number is refused by the strategy itself, by name.
        return strategy_named(name, **cast("dict[str, float]", table))
    except ValueError as error:
        named = next((key for key in table if key in str(error)), "name")
        raise config.complaint(f"strategy.{named}", f"cannot be used: {error}") from error


def broker_of(config: NodeConfig) -> BrokerSettings | None:
    """The broker that is published to; None for none."""
    publish = config.publish
    if publish is None:
        return None
    tls = publish.tls or publish.ca_file is not None
    try:
        host, port = host_and_port(publish.broker, MQTT_TLS_PORT if tls else MQTT_PORT)
    except ValueError as error:
        raise config.complaint("publish.broker", f"cannot be used: {error}") from error
    return BrokerSettings(host, port, publish.user, publish.password_file, tls, publish.ca_file)
