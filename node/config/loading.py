"""Reading the settings: flag > environment > file > default, and nothing that is not known.

A variable ``DAISEE_CHAIN__RPC`` stands for ``chain.rpc``. Text of the environment and of flags is
read as its setting needs it; in a section that is handed on as a table, as TOML where it is TOML.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args, get_type_hints

from node.config.endpoints import OF_A_FILE, from_folder, misplaced, without_credentials
from node.config.lines import line_of_error, lines_of_keys
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
    complaint,
)
from node.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["ENVIRONMENT_PREFIX", "load_config"]

ENVIRONMENT_PREFIX: Final = "DAISEE_"

MAX_CONFIG_BYTES: Final = 2**20

_SECTIONS: Final[Mapping[str, type[Any]]] = {
    "household": HouseholdSection,
    "chain": ChainSection,
    "key": KeySection,
    "storage": StorageSection,
    "publish": PublishSection,
    "metrics": MetricsSection,
    "log": LogSection,
}
_TABLES: Final = ("meter", "strategy")
_NAMES: Final = (*_SECTIONS, *_TABLES)

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_URL: Final = re.compile(r"https?://[^\s/@?#]+(/[^\s?#]*)?")

_Section = TypeVar("_Section", bound="DataclassInstance")


def load_config(
    path: Path, environment: Mapping[str, str], *, flags: Mapping[str, str] | None = None
) -> NodeConfig:
    """The settings of a file, with what the environment and flags (``{"chain.rpc": ...}``) change.

    Raises ConfigurationError with the place of what cannot be used.
    """
    reading = _Reading(path)
    reading.take_file()
    for variable, text in sorted(environment.items()):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name != variable and "__" in name:
            key = name.lower().replace("__", ".", 1)
            reading.take_text(key, text, Origin("environment", variable))
    for key, text in (flags or {}).items():
        reading.take_text(key, text, Origin("flag", key))
    return reading.config(environment)


class _Reading:
    """What was found so far: values as they came, each with its origin."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, dict[str, object]] = {}
        self.origins: dict[str, Origin] = {}
        self.texts: set[str] = set()  # keys whose value is text still, of whatever type it will be

    def take_file(self) -> None:
        """The file's own values; whatever it does not mean to say is refused here."""
        text = _text_of(self.path)
        try:
            document = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            line = line_of_error(error) if isinstance(error, tomllib.TOMLDecodeError) else None
            raise ConfigurationError(
                f"this is not TOML: {error}",
                file=self.path,
                line=line,
                next_step="compare the line with the example in packaging/daisee.toml",
            ) from error
        lines = lines_of_keys(text)
        for section, table in document.items():
            self._refuse_unknown_section(
                section, Origin("file", str(self.path), lines.get(section))
            )
            if not isinstance(table, dict):
                raise ConfigurationError(
                    f"{section} is a section: write [{section}] on a line of its own",
                    file=self.path,
                    line=lines.get(section),
                )
            line = lines.get(section)
            self.values[section] = {}
            self.origins[section] = Origin("file", str(self.path), line)
            for key, value in table.items():
                dotted = f"{section}.{key}"
                self.origins[dotted] = Origin("file", str(self.path), lines.get(dotted, line))
                self.values[section][key] = value

    def take_text(self, key: str, text: str, origin: Origin) -> None:
        """A value from the environment or a flag, over what was there."""
        section, dot, name = key.partition(".")
        self._refuse_unknown_section(section, origin)
        if not dot or not name:
            raise ConfigurationError(f"{origin}: a setting is written SECTION.KEY")
        self.origins.setdefault(section, origin)
        self.origins[key] = origin
        self.values.setdefault(section, {})
        if section in _TABLES:
            self.values[section][name] = _as_toml(text)
        else:
            self.values[section][name] = text
            self.texts.add(key)

    def config(self, environment: Mapping[str, str]) -> NodeConfig:
        """Everything, checked."""
        if not self.values.get("meter"):
            raise ConfigurationError(
                "there is no [meter], and a node without one has nothing to do",
                file=self.path,
                next_step="'daisee meter detect' finds the meter and says what to write",
            )
        database = _default_database(self.path, environment)
        storage = self._section(StorageSection, "storage", {"database": database})
        return NodeConfig(
            file=self.path,
            household=self._section(HouseholdSection, "household"),
            meter=dict(self.values["meter"]),
            chain=self._section(ChainSection, "chain") if "chain" in self.values else None,
            key=self._section(KeySection, "key"),
            strategy=dict(self.values.get("strategy", {})),
            storage=storage,
            publish=(
                self._section(PublishSection, "publish") if "publish" in self.values else None
            ),
            metrics=self._section(MetricsSection, "metrics"),
            log=self._section(LogSection, "log"),
            origins=dict(sorted(self.origins.items())),
        )

    def _section(
        self, kind: type[_Section], name: str, computed: Mapping[str, object] | None = None
    ) -> _Section:
        """A section's record: known keys only, of the right type, within their bounds."""
        values = self.values.get(name, {})
        known = {field.name: field for field in fields(kind)}
        for key in values:
            if key not in known:
                raise self._complaint(f"{name}.{key}", f"is not a setting{_nearest(key, known)}")
        hints = get_type_hints(kind)
        made: dict[str, Any] = {}
        for key, field in known.items():
            dotted = f"{name}.{key}"
            if key in values:
                made[key] = self._typed(dotted, values[key], hints[key], field)
                continue
            self.origins[dotted] = Origin("default")
            if computed and key in computed:
                made[key] = computed[key]
            elif key == "backup_folder":
                made[key] = made["database"].parent / "backups"
            elif field.default is MISSING:
                del self.origins[dotted]
                raise self._complaint(dotted, "is missing")
        return kind(**made)

    def _typed(self, key: str, value: object, hint: Any, field: Field[Any]) -> object:  # noqa: ANN401 - a type
        wanted = next(t for t in get_args(hint) if t is not NoneType) if _is_union(hint) else hint
        if key in self.texts:
            value = self._from_text(key, str(value), wanted)
        if wanted is Path and isinstance(value, str):
            return self.path.absolute().parent / Path(value).expanduser()
        is_right = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
        if not is_right:
            raise self._complaint(key, f"is {value!r}; {_KINDS[wanted]} is needed")
        self._check_bounds(key, value, field.metadata)
        if "endpoint" in field.metadata:
            return from_folder(str(value), self.path.absolute().parent)
        return value

    def _from_text(self, key: str, text: str, wanted: type) -> object:
        if wanted not in _FROM_TEXT:
            return text
        try:
            return _FROM_TEXT[wanted](text)
        except (KeyError, ValueError):
            raise self._complaint(key, f"is {text!r}; {_KINDS[wanted]} is needed") from None

    def _check_bounds(self, key: str, value: Any, bounds: Mapping[str, Any]) -> None:  # noqa: ANN401 - TOML
        if "least" in bounds and not bounds["least"] <= value <= bounds["most"]:
            raise self._complaint(
                key, f"is {value}; it must be in {bounds['least']}..{bounds['most']}"
            )
        if "one_of" in bounds and value not in bounds["one_of"]:
            raise self._complaint(key, f"is {value!r}; one of {', '.join(bounds['one_of'])}")
        if "address" in bounds and not _ADDRESS.fullmatch(value):
            raise self._complaint(key, f"is {value!r}; 0x and 40 hexadecimal digits are needed")
        if "hash" in bounds and not _HASH.fullmatch(value):
            raise self._complaint(key, f"is {value!r}; 0x and 64 hexadecimal digits are needed")

        if "endpoint" in bounds and (why := misplaced(value)):
            raise self._complaint(key, why, OF_A_FILE if "@" in value else "")
        if "url" in bounds and not _URL.fullmatch(value):
            raise self._complaint(key, f"is {value!r}; http:// or https:// and a host are needed")

    def _refuse_unknown_section(self, section: str, origin: Origin) -> None:
        if section not in _NAMES:
            message = f"is not a section{_nearest(section, _NAMES)}"
            raise complaint(self.path, section, origin, message)

    def _complaint(self, key: str, message: str, next_step: str = "") -> ConfigurationError:
        """The error about a value; a URL in it may be a slip that has a password in it."""
        origin = self.origins.get(key) or self.origins.get(key.partition(".")[0])
        return complaint(self.path, key, origin, without_credentials(message), next_step)


_KINDS: Final = {
    int: "an integer",
    str: "text in quotes",
    bool: "true or false",
    Path: "a path in quotes",
}
_FROM_TEXT: Final[Mapping[type, Callable[[str], object]]] = {
    int: int,
    bool: {"true": True, "false": False}.__getitem__,
}


def _text_of(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the settings cannot be read ({error.strerror})",
            file=path,
            next_step="'daisee paths' says where settings are looked for; --config names a file",
        ) from error
    if len(content) > MAX_CONFIG_BYTES:
        raise ConfigurationError("this is too long to be settings", file=path)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError("this is not UTF-8 text", file=path, line=line) from error


def _as_toml(text: str) -> object:
    """A value of a table whose types are known elsewhere: TOML if it is any, else plain text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _is_union(hint: object) -> bool:
    return isinstance(hint, UnionType)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(names)}"


def _default_database(path: Path, environment: Mapping[str, str]) -> Path:
    """Of the service's settings in /etc the service's place, else the user's by XDG."""
    if path.absolute().is_relative_to("/etc"):
        return Path("/var/lib/daisee/node.db")
    state = Path(environment.get("XDG_STATE_HOME", ""))
    folder = state if state.is_absolute() else Path.home() / ".local/state"
    return folder / "daisee/node.db"
