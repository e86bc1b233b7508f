"""``daisee consent``: what people agreed to, one purpose and one recipient at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from node.billing.access import ORGANISER
from node.billing.consents import EVERYBODY, Consent, Purpose, leaves_at
from node.billing.months import local_text, zone_of
from node.billing.people import consent_document
from node.cli.office import office_options, open_office
from node.cli.output import Column, example, json_option, say, say_document, say_table
from node.slots import iso_utc

__all__ = ["consent"]

_PURPOSE: Final = click.Choice([purpose.value for purpose in Purpose])
_OWN_RECIPIENT: Final = {
    Purpose.SHARING: ORGANISER,
    Purpose.PEER_COMPARISON: ORGANISER,
    Purpose.PUBLICATION: EVERYBODY,
}
_COLUMNS: Final = tuple(
    Column(heading, figures=False)
    for heading in ("person", "purpose", "recipient", "wording", "given", "withdrawn")
)


@click.group(
    short_help="Record what people agree to, and when they withdraw it.",
    epilog=example("daisee consent list --database office.db"),
)
def consent() -> None:
    """Record what people agree to, and when they withdraw it.

    Each consent is for one purpose and one recipient: nothing is bundled.
    """


@consent.command(
    epilog=example(
        "daisee consent grant --database office.db 3 --purpose sharing --wording 2026-01"
    )
)
@click.argument("wanted", metavar="PERSON")
@click.option("--purpose", "purpose_text", type=_PURPOSE, required=True, help="What for.")
@click.option("--recipient", help="Who may: the id of a supplier, the name of a laboratory.")
@click.option("--wording", required=True, help="Which text was agreed to.")
@office_options
@json_option
def grant(
    database: Path,
    key_file: Path | None,
    wanted: str,
    purpose_text: str,
    recipient: str | None,
    wording: str,
    *,
    as_json: bool,
) -> None:
    """Record that a PERSON agreed, now. The same again while it holds changes nothing."""
    purpose = Purpose(purpose_text)
    to = recipient or _OWN_RECIPIENT.get(purpose)
    if to is None:
        raise click.UsageError(f"Say to whom: --recipient, for {purpose_text}.")
    with open_office(database, key_file) as office:
        person, _ = office.people.find(wanted)
        given = office.people.grant(person, purpose, to, wording, office.now_s)
    _say([given], as_json=as_json)


@consent.command(
    epilog=example("daisee consent withdraw --database office.db 3 --purpose supplier_curve")
)
@click.argument("wanted", metavar="PERSON")
@click.option("--purpose", "purpose_text", type=_PURPOSE, required=True, help="What for.")
@click.option("--recipient", help="From whom.  [default: from everybody]")
@click.option("--timezone", default="Europe/Paris", show_default=True, metavar="ZONE")
@office_options
@json_option
def withdraw(
    database: Path,
    key_file: Path | None,
    wanted: str,
    purpose_text: str,
    recipient: str | None,
    timezone: str,
    *,
    as_json: bool,
) -> None:
    """Record that a PERSON withdrew what it had agreed to, as of now.

    Without its curve nobody can be allocated anything: who withdraws sharing leaves with the month.
    """
    with open_office(database, key_file) as office:
        person, _ = office.people.find(wanted)
        purpose = Purpose(purpose_text)
        withdrawn = office.people.withdraw(person, purpose, recipient, office.now_s)
    _say(withdrawn, as_json=as_json)
    zone = zone_of(timezone)
    for one in withdrawn:
        if not as_json and (end_s := leaves_at(one, zone)) is not None:
            say(f"{person} leaves at {local_text(end_s, zone)}; collect no curve from now on.")


@consent.command("list", epilog=example("daisee consent list --database office.db 3"))
@click.argument("wanted", metavar="[PERSON]", required=False)
@office_options
@json_option
def list_(database: Path, key_file: Path | None, wanted: str | None, *, as_json: bool) -> None:
    """List what a PERSON, or everybody, agreed to and withdrew."""
    with open_office(database, key_file) as office:
        person = None if wanted is None else office.people.find(wanted)[0]
        _say(office.people.consents(person), as_json=as_json)


def _say(consents: Sequence[Consent], *, as_json: bool) -> None:
    if as_json:
        say_document({"consents": [consent_document(one) for one in consents]})
        return
    say_table(
        _COLUMNS,
        [
            (
                one.person,
                one.purpose.value,
                one.recipient,
                one.wording,
                iso_utc(one.given_s),
                "-" if one.withdrawn_s is None else iso_utc(one.withdrawn_s),
            )
            for one in consents
        ],
    )
