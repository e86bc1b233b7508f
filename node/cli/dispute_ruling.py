"""The distribution operator's ruling: made, recorded on chain, and taken."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node.billing.claims import SALT_BYTES, Series
from node.billing.dispute_documents import dispute_document, dispute_from
from node.billing.disputes import Dispute
from node.billing.disputes import rule as take_ruling
from node.billing.rulings import Outcome, Ruling, SignedRuling, ruling_document, ruling_from
from node.cli.dispute_claim import (
    community_option,
    key_of,
    key_options,
    papers_of,
    series_of,
)
from node.cli.member_options import rpc_option
from node.cli.office import office_options, open_office, read_document, say_paper
from node.cli.output import example, json_option, say, say_document
from node.cli.supplier_options import FILE
from node.clock import SystemClock
from node.errors import ConfigurationError, Refused
from node.slots import slot_at

if TYPE_CHECKING:
    from node.chain.keys import Key

__all__ = ["decide", "rule"]

OPERATOR: Final = "distribution_operator"


@click.command(
    short_help="Sign a ruling, and put its digest on chain.",
    epilog=example(
        "daisee dispute decide dispute.json --outcome upheld --rules 2025-1"
        " --community community.toml --keystore grid.json --password-file password > ruling.json"
    ),
)
@click.argument("dispute_file", metavar="FILE", type=FILE)
@click.option("--outcome", type=click.Choice([outcome.value for outcome in Outcome]), required=True)
@click.option("--values", type=FILE, help="Of an adjusted claim: what was measured, as start,wh.")
@click.option("--rules", required=True, help="The version of the rules of that time.")
@click.option("--text", default="", help="The reasons.")
@click.option("--record/--no-record", "is_recorded", default=True, help="Put the digest on chain.")
@rpc_option
@community_option
@key_options
@json_option
def decide(
    dispute_file: Path,
    outcome: str,
    values: Path | None,
    rules: str,
    text: str,
    community: Path,
    keystore: Path,
    password_file: Path,
    rpc_url: str | None,
    *,
    is_recorded: bool,
    as_json: bool,
) -> None:
    """Decide, as the distribution operator, on the dispute in FILE: what the organiser's `daisee
    dispute show --json` printed. Print the signed ruling, for the organiser to take.

    Upheld takes the claim's values, adjusted those of --values, rejected none. The ruling's salted
    digest goes into the community's book of records.
    """
    try:
        found = dispute_from(read_document(dispute_file))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"this is no dispute ({error})", file=dispute_file) from error
    made = Ruling(
        found.signed.claim.digest(),
        Outcome(outcome),
        _reference(found, Outcome(outcome), values),
        rules,
        SystemClock().now_s(),
        secrets.token_bytes(SALT_BYTES),
        text,
    )
    key, digest = key_of(keystore, password_file), made.digest()
    signature = papers_of(community).sign_ruling(key, made.claim, made.outcome.value, digest)
    if is_recorded:
        asyncio.run(_record(community, rpc_url, key, found.signed.claim.series.from_s, digest))
    say_paper(ruling_document(SignedRuling(made, signature)), as_json=as_json)


def _reference(found: Dispute, outcome: Outcome, values: Path | None) -> Series | None:
    series = found.signed.claim.series
    if (outcome is Outcome.ADJUSTED) != (values is not None):
        raise click.UsageError("--values goes with --outcome adjusted.")
    if values is not None:
        return series_of(values, series.household, series.side)
    return series if outcome is Outcome.UPHELD else None


async def _record(
    community: Path, rpc_url: str | None, key: Key, from_s: int, digest: bytes
) -> None:
    from node.chain.claims import record_ruling  # noqa: PLC0415 - loads web3
    from node.chain.community import load_community  # noqa: PLC0415
    from node.chain.joining import community_rpc  # noqa: PLC0415
    from node.chain.rpc import Sender  # noqa: PLC0415

    agreed = load_community(community)
    async with community_rpc(agreed, rpc_url) as rpc:
        sender = Sender(rpc, key, gas_price=agreed.gas_price_wei)
        slot = slot_at(from_s, agreed.slot_s)
        await record_ruling(sender, agreed.contracts["RecordBook"], slot, digest)


@click.command(
    short_help="Take the distribution operator's ruling on a dispute.",
    epilog=example(
        "daisee dispute rule --database office.db 3fa91c ruling.json --community community.toml"
    ),
)
@click.argument("wanted", metavar="DISPUTE")
@click.argument("ruling_file", metavar="RULING", type=FILE)
@click.option(
    "--recorded/--unrecorded",
    "is_checked",
    default=True,
    help="Refuse a ruling whose digest is not on chain; or take it all the same.",
)
@rpc_option
@community_option
@office_options
@json_option
def rule(
    database: Path,
    key_file: Path | None,
    wanted: str,
    ruling_file: Path,
    community: Path,
    rpc_url: str | None,
    *,
    is_checked: bool,
    as_json: bool,
) -> None:
    """Take the signed RULING of the distribution operator on a DISPUTE.

    Refused are another signature than one that is trusted, what was not in dispute, a ruling after
    the deadline, and one whose digest is not in the community's book of records.
    """
    signed = ruling_from(read_document(ruling_file))
    digest = signed.ruling.digest()
    with open_office(database, key_file) as office:
        person, found = office.disputes.find(wanted, office.now_s)
        rulers = office.storage.authorities(OPERATOR, office.now_s)
        ruled = take_ruling(found, signed, papers_of(community), rulers, office.now_s)
        if is_checked and not asyncio.run(_is_recorded(community, rpc_url, digest)):
            raise Refused(
                "the ruling's digest is not on chain",
                reason="not_recorded",
                next_step="have the distribution operator record it: daisee dispute decide",
            )
        with office.storage.transaction():
            office.disputes.keep(person, ruled, office.now_s)
    if as_json:
        say_document({**dispute_document(ruled), "digest": digest.hex(), "recorded": is_checked})
    else:
        say(f"Dispute {ruled.number[:12]} is ruled: {signed.ruling.outcome}.")
        say(f"digest {digest.hex()}, {'on chain' if is_checked else 'not looked for on chain'}")


async def _is_recorded(community: Path, rpc_url: str | None, digest: bytes) -> bool:
    from node.chain.claims import is_recorded  # noqa: PLC0415 - loads web3
    from node.chain.community import load_community  # noqa: PLC0415
    from node.chain.joining import community_rpc  # noqa: PLC0415

    agreed = load_community(community)
    async with community_rpc(agreed, rpc_url) as rpc:
        return await is_recorded(
            rpc, agreed.contracts["RecordBook"], agreed.created_in_block, digest
        )
