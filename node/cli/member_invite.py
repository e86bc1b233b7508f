"""How an invite is handed out: as text, as a file, as a QR code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import segno

from node.cli.output import say, say_document
from node.errors import ConfigurationError
from node.slots import iso_utc

if TYPE_CHECKING:
    from node.chain.invites import Invite

__all__ = ["say_invite"]

QR_KINDS: Final = (".png", ".svg")
PIXELS_PER_MODULE: Final = 6
TERMINAL: Final = "-"


def say_invite(
    invite: Invite, text: str, name: str, *, out: Path | None, qr: str | None, as_json: bool
) -> None:
    """Print an invite: its text on stdout, what to know about it on stderr."""
    from node.chain.invites import community_words  # noqa: PLC0415 - loads web3

    words = community_words(invite.community)
    if out is not None:
        _write(out, text)
    if qr is not None:
        _qr(text, qr)
    if as_json:
        say_document(
            {
                "schema": "daisee.member.invite/1",
                "name": name,
                "invite": text,
                "expires_at_s": invite.expires_at_s,
                "community_words": words,
            }
        )
        return
    say(text)
    click.echo(f"For {name}, once, until {iso_utc(invite.expires_at_s)}.", err=True)
    click.echo(f"The community's four words, to read out with it:  {words}", err=True)


def _write(path: Path, text: str) -> None:
    from node.chain.network.keeping import write_secret  # noqa: PLC0415 - loads web3

    try:
        write_secret(path, text + "\n")
    except OSError as error:
        raise ConfigurationError(
            f"the invite cannot be written ({error.strerror})", file=path
        ) from error


def _qr(text: str, where: str) -> None:
    """Draw it; on a terminal, to stderr, so that stdout still holds the text alone."""
    code = segno.make(text, error="l", micro=False, boost_error=False)
    if where == TERMINAL:
        code.terminal(out=sys.stderr, compact=True)
        return
    path = Path(where)
    if path.suffix.lower() not in QR_KINDS:
        raise click.BadParameter(f"{where} is neither PNG nor SVG.", param_hint="--qr")
    try:
        code.save(str(path), scale=PIXELS_PER_MODULE)
        path.chmod(0o600)
    except OSError as error:
        raise ConfigurationError(
            f"the QR code cannot be written ({error.strerror})", file=path
        ) from error
