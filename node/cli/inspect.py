"""Look into a market: who has what, why a price is what it is, and whether all of it is right.

Everything shown is rebuilt from the market's events, whether they come from a finished run or
from a live chain.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from node.cli.output import (
    Column,
    counted,
    example,
    json_option,
    money_text,
    say,
    say_document,
    say_table,
)
from node.cli.slot_view import say_slot
from node.cli.sources import MarketPast, open_past, source_options
from node.errors import Disagreement
from node.market.accounts import Account, Accounts, accounts_from, with_due
from node.market.audit import AuditReport
from node.market.audit import audit as audit_events
from node.market.history import slot_line
from node.units import kwh

__all__ = ["audit", "balance", "slot"]

_ACCOUNT_COLUMNS: Final = (
    Column("household", figures=False),
    Column("balance EUR"),
    Column("deposited"),
    Column("withdrawn"),
    Column("earned"),
    Column("paid"),
    Column("set aside"),
    Column("due"),
)


@click.command(
    short_help="Show what credit households have, and where it came from.",
    epilog=example("daisee balance --run out/june home-03"),
)
@click.argument("household", required=False)
@source_options
@json_option
def balance(
    household: str | None,
    run_folder: Path | None,
    rpc: str | None,
    market: str | None,
    *,
    as_json: bool,
) -> None:
    """Show the credit of one HOUSEHOLD (a name or a number), or of all.

    The balance is what a household may spend or withdraw now. Set aside is what its open bids may
    cost at worst; due is what settling its cleared orders will bring.
    """
    with open_past(run_folder, rpc, market) as past:
        number = None if household is None else past.household(household)
        accounts = _accounts(past, number)
        if as_json:
            say_document(_balance_document(past, accounts))
            return
        rows = [_account_cells(past, account) for account in accounts.by_household.values()]
        say_table(_ACCOUNT_COLUMNS, rows)
        if number is None:
            say(f"Network fees paid in all: {money_text(accounts.network_fees_units)} EUR")


def _accounts(past: MarketPast, household: int | None) -> Accounts:
    """The accounts as of now; only slots that are not settled are rebuilt whole."""
    if household is None:
        events = past.all_events()
    else:
        events = [*past.scheduled, *past.source.events(household=household)]
    accounts = accounts_from(counted(events, "events"), past.rules)
    if household is not None and not accounts.by_household:
        accounts = replace(accounts, by_household={household: Account(household)})
    return with_due(accounts, (past.record(slot) for slot in accounts.unsettled_slots))


def _balance_document(past: MarketPast, accounts: Accounts) -> dict[str, object]:
    return {
        "households": [
            {
                "household": past.name_of(account.household),
                "number": account.household,
                "balance_units": account.balance_units,
                "deposited_units": account.deposited_units,
                "withdrawn_units": account.withdrawn_units,
                "earned_units": account.earned_units,
                "paid_units": account.paid_units,
                "escrow_units": account.escrow_units,
                "due_units": account.due_units,
            }
            for account in accounts.by_household.values()
        ],
        "network_fees_units": accounts.network_fees_units,
    }


def _account_cells(past: MarketPast, account: Account) -> tuple[str, ...]:
    figures = (
        account.balance_units,
        account.deposited_units,
        account.withdrawn_units,
        account.earned_units,
        account.paid_units,
        account.escrow_units,
        account.due_units,
    )
    return (past.name_of(account.household), *(money_text(units) for units in figures))


@click.command(
    short_help="Explain the price of a slot.",
    epilog=example("daisee slot --run out/june 2016-06-01T12:00:00Z"),
)
@click.argument("slot", metavar="SLOT")
@source_options
@json_option
def slot(
    slot: str, run_folder: Path | None, rpc: str | None, market: str | None, *, as_json: bool
) -> None:
    """Explain a slot's price: its book, the prices that balance it, the price, and each fill.

    SLOT is a slot number or an instant in it. With --json it prints the slot's line of
    slots.jsonl.
    """
    with open_past(run_folder, rpc, market) as past:
        record = past.record(past.slot(slot))
        if as_json:
            say_document(slot_line(record, past.slot_s, past.names))
        else:
            say_slot(record, past.slot_s, past.name_of)


@click.command(
    short_help="Recompute the whole market and compare.",
    epilog=example("daisee audit --run out/june"),
)
@source_options
@json_option
def audit(run_folder: Path | None, rpc: str | None, market: str | None, *, as_json: bool) -> None:
    """Recompute every slot from the market's events and compare it with what was recorded.

    Compared are each order against the rules, each price and volume, each fill and amount, and
    the sums of energy and money. Exits with 0 when all agrees and with 7 when not, naming the
    first difference.
    """
    with open_past(run_folder, rpc, market) as past:
        report = audit_events(counted(past.all_events(), "events"), past.rules, past.names)
        if as_json:
            say_document(_audit_document(report))
        else:
            _say_audit(report)
        if not report.agrees:
            raise Disagreement(
                f"{past.where} does not agree with the reference. First difference:"
                f" {report.differences[0].text}",
                next_step="keep the records as they are, and ask the operator",
            )


def _say_audit(report: AuditReport) -> None:
    say(
        f"{report.slots} slots, {report.orders} orders, {report.clearings} clearings,"
        f" {report.settlements} settlements, {kwh(report.matched_wh):.3f} kWh traded."
    )
    if report.agrees:
        say("Everything agrees with the reference, to the Wh and to the unit.")
        return
    say(f"{report.difference_count} differences; the first {len(report.differences)}:")
    for difference in report.differences:
        say(f"  {difference.text}")


def _audit_document(report: AuditReport) -> dict[str, object]:
    return {
        "agrees": report.agrees,
        "slots": report.slots,
        "orders": report.orders,
        "clearings": report.clearings,
        "settlements": report.settlements,
        "matched_wh": report.matched_wh,
        "difference_count": report.difference_count,
        "differences": [
            {
                "block": difference.position.block,
                "log_index": difference.position.index,
                "slot": difference.slot,
                "text": difference.text,
            }
            for difference in report.differences
        ],
    }
