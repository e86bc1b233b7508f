"""How an invite is handed out: as text, as a file, as a QR code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import segno

from node.cli.output import say, say_document
from node.config.adding import require_writable, writing
from node.errors import ConfigurationError
from node.slots import iso_utc

if TYPE_CHECKING:
    from node.chain.invites import Invite

__all__ = ["check_places", "drawn", "say_invite"]

QR_KINDS: Final = (".png", ".svg")
PIXELS_PER_MODULE: Final = 6
TERMINAL: Final = "-"


def check_places(out: Path | None, qr: str | None) -> None:
    """Whether an invite can be written there, before there is one: an invite that was booked and
    then lost would wait for nobody.

    Raises click.BadParameter and ConfigurationError.
    """
    places = [] if out is None else [out]
    if qr is not None and qr != TERMINAL:
        if Path(qr).suffix.lower() not in QR_KINDS:
            raise click.BadParameter(f"{qr} is neither PNG nor SVG.", param_hint="--qr")
        places.append(Path(qr))
    for place in places:
        require_writable(place)


def drawn(text: str) -> segno.QRCode:
    """The QR code of an invite. Raises ConfigurationError when it does not fit into one."""
    try:
        return segno.make(text, error="l", micro=False, boost_error=False)
    except segno.DataOverflowError as error:
        raise ConfigurationError(
            f"an invite of {len(text)} letters is too long for a QR code",
            next_step="leave --qr out, or name fewer URLs in the community's file",
        ) from error


def say_invite(
    invite: Invite,
    text: str,
    name: str,
    *,
    out: Path | None,
    code: segno.QRCode | None,
    qr: str | None,
    as_json: bool,
) -> None:
    """Print an invite: its text on stdout, what to know about it on stderr; ``code`` to ``qr``."""
    from node.chain.invites import community_words  # noqa: PLC0415 - these load web3
    from node.chain.network.keeping import write_secret  # noqa: PLC0415

    words = community_words(invite.community)
    if out is not None:
        with writing(out):
            write_secret(out, text + "\n")
    if code is not None and qr is not None:
        _save(code, qr)
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


def _save(code: segno.QRCode, where: str) -> None:
    """Draw it; on a terminal, to stderr, so that stdout still holds the text alone."""
    if where == TERMINAL:
        code.terminal(out=sys.stderr, compact=True)
        return
    path = Path(where)
    with writing(path):
        path.touch(mode=0o600)
        path.chmod(0o600)
        code.save(str(path), scale=PIXELS_PER_MODULE)
