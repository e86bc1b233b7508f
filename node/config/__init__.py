"""A node's settings: one TOML file that people own, with file and line in every complaint."""

from node.config.loading import ENVIRONMENT_PREFIX, load_config
from node.config.secrets import password_of, refuse_open_secrets
from node.config.sections import (
    ChainSection,
    HouseholdSection,
    KeySection,
    LogSection,
    MetricsSection,
    NodeConfig,
    Origin,
    PublishSection,
    StorageSection,
)

__all__ = [
    "ENVIRONMENT_PREFIX",
    "ChainSection",
    "HouseholdSection",
    "KeySection",
    "LogSection",
    "MetricsSection",
    "NodeConfig",
    "Origin",
    "PublishSection",
    "StorageSection",
    "load_config",
    "password_of",
    "refuse_open_secrets",
]
