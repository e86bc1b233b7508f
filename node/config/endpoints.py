"""Where a chain is asked: a URL, or ``file:PATH``, a file that holds one with a member's token.

A token opens a door. So it stands in a file that only its owner may read, and never in the settings
of a node, in a community's file or in a command line, which others can read and which are printed:
a URL with a user or a password is refused there. Whatever else may be a URL of somebody's own goes
through ``without_credentials`` before it is shown.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from node.errors import ConfigurationError

__all__ = [
    "FILE",
    "OF_A_FILE",
    "Endpoint",
    "endpoint_of",
    "file_of",
    "from_folder",
    "misplaced",
    "url_with_token",
    "without_credentials",
]

FILE: Final = "file:"

MAX_FILE_BYTES: Final = 4_096

_OF_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_WHOLE: Final = re.compile(
    r"(?P<scheme>https?://)((?P<user>[^\s/?#@:]*)(:(?P<password>[^\s/?#@]*))?@)?"
    r"(?P<rest>[^\s/@?#]+([/?][^\s@#]*)?)"
)
_CREDENTIALS: Final = re.compile(r"(?<=://)\S*@")

OF_A_FILE: Final = (
    "write a URL with a token into a file, chmod 600, and say file:PATH in its place; if others"
    " could read it, ask the operator for another token"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL that can be shown, and what opens it; both empty where nothing does."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)


def endpoint_of(place: str) -> Endpoint:
    """The endpoint that a setting or an option names.

    Raises ConfigurationError for what is no URL, one with a token that stands in no file, and a
    file that is missing, holds none, or that others may read.
    """
    path = file_of(place)
    if path is None:
        if why := misplaced(place):
            step = OF_A_FILE if "@" in place else "see rpc in packaging/daisee.toml"
            raise ConfigurationError(f"the chain's URL {why}", next_step=step)
        return Endpoint(place)
    found = _WHOLE.fullmatch(url_with_token(path))
    if found is None:
        raise ConfigurationError(
            "this holds no URL",
            file=path,
            next_step="write one line: https://NUMBER:TOKEN@HOST/, other than letters and digits"
            " of the token as in %2F",
        )
    return Endpoint(
        found["scheme"] + found["rest"],
        unquote(found["user"] or ""),
        unquote(found["password"] or ""),
    )


def file_of(place: str) -> Path | None:
    """The file that a place names; None for a URL."""
    if not place.startswith(FILE):
        return None
    return Path(place.removeprefix(FILE).removeprefix("//")).expanduser()


def from_folder(place: str, folder: Path) -> str:
    """A place whose file, if it names one, is looked for from a folder on."""
    path = file_of(place)
    return place if path is None else f"{FILE}{folder / path}"


def misplaced(place: str) -> str:
    """Why a place cannot stand in the settings, in words that hold nothing of it but what anybody
    may see; empty if it can."""
    if "@" in place and not place.startswith(FILE):
        return "holds a user or a token, which others can read there"
    if file_of(place) is None and _WHOLE.fullmatch(place) is None:
        return f"is {place!r}; http:// or https:// and a host are needed, or file:PATH"
    return ""


def without_credentials(text: str) -> str:
    """A text, such as an error of a library, with no user, password or token in any of its URLs."""
    return _CREDENTIALS.sub("", text)


def url_with_token(path: Path) -> str:
    """What a file holds, a URL with its token. Raises ConfigurationError, also for a file that
    others may read."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f"the chain's URL cannot be read ({error.strerror})",
            file=path,
            next_step="the file holds https://NUMBER:TOKEN@HOST/, and is this user's",
        ) from error
    if mode & _OF_OTHERS:
        raise ConfigurationError(
            f"others may read or write this (mode {mode:04o})",
            file=path,
            next_step=f"chmod 600 {path}; if others had access to it, ask for another token",
        )
    return content.decode("utf-8", "replace").strip()
