"""Options and questions that the commands of ``daisee chain`` share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from node.errors import ConfigurationError, Refused
from node.model import MarketRules, PriceGrid

__all__ = [
    "FOLDER",
    "ask_once",
    "folder_argument",
    "given_rules",
    "market_options",
    "refuse_other_rules",
    "rules_from",
    "told_of_files",
    "yes_option",
]

FOLDER: Final = click.Path(path_type=Path, file_okay=False)

MARKET_OPTIONS: Final = {
    "slot_s": "--slot",
    "gate_s": "--gate",
    "floor": "--floor",
    "tick": "--tick",
    "ticks": "--ticks",
    "network_fee": "--network-fee",
    "fee_recipient": "--fee-recipient",
}
"""What ``rules_from`` takes, and how a person says it."""

_F = TypeVar("_F", bound=Callable[..., object])


def folder_argument(command: _F) -> _F:
    """The folder that ``daisee chain init`` made."""
    return click.argument("folder", type=FOLDER)(command)


def yes_option(command: _F) -> _F:
    """For scripts: the effect is known."""
    return click.option("--yes", is_flag=True, help="Do not ask.")(command)


def ask_once(effects: Iterable[str], *, yes: bool) -> None:
    """Say what will change, and ask. Without a terminal, nothing is done unless --yes was said.

    Raises click.UsageError, or click.Abort when the answer is no.
    """
    for line in effects:
        click.echo(line, err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            "This asks before it changes anything; without a terminal, say --yes."
        )
    click.confirm("Do it?", abort=True, err=True)


@contextmanager
def told_of_files(place: Path) -> Iterator[None]:
    """Below ``place`` files are read and written. Raises ConfigurationError where that cannot be:
    the folder is none, is somebody else's, or its disk is full."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"it cannot be read or written ({error.strerror or error})",
            file=error.filename or place,
            next_step="name a place that this user may write to, on a disk that has room",
        ) from error


def market_options(command: _F) -> _F:
    """The rules that a market starts with, in the units of the contracts."""
    options = (
        click.option(
            "--slot",
            "slot_s",
            default=900,
            show_default=True,
            metavar="S",
            help="Length of a slot.",
        ),
        click.option(
            "--gate",
            "gate_s",
            default=None,
            type=int,
            metavar="S",
            help="How long a slot's orders are taken.  [default: a third of the slot]",
        ),
        click.option(
            "--floor",
            default=4_000,
            show_default=True,
            metavar="UNITS",
            help="Lowest price, per Wh; 1000 are 1 cent per kWh.",
        ),
        click.option(
            "--tick", default=100, show_default=True, metavar="UNITS", help="Step between prices."
        ),
        click.option("--ticks", default=224, show_default=True, help="How many prices there are."),
        click.option(
            "--network-fee",
            default=0,
            show_default=True,
            metavar="UNITS",
            help="Fee per Wh traded.",
        ),
        click.option("--fee-recipient", default="", metavar="ADDRESS", help="Who gets the fee."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def rules_from(
    *,
    slot_s: int,
    gate_s: int | None,
    floor: int,
    tick: int,
    ticks: int,
    network_fee: int,
    fee_recipient: str,
) -> MarketRules:
    """The rules that the options say. Raises click.BadParameter."""
    if fee_recipient:
        from node.chain.network.founding import account_of  # noqa: PLC0415 - loads web3

        try:
            account_of(fee_recipient)
        except ConfigurationError as error:
            raise click.BadParameter(f"{error.message}.", param_hint="--fee-recipient") from error
    if network_fee and not fee_recipient:
        raise click.BadParameter("a fee needs somebody who gets it.", param_hint="--fee-recipient")
    try:
        grid = PriceGrid(floor, tick, ticks)
        gate = max(slot_s // 3, 1) if gate_s is None else gate_s
        return MarketRules(slot_s, 0, gate, grid, network_fee, fee_recipient)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error


def given_rules(market: Mapping[str, Any], rules: MarketRules) -> dict[str, object]:
    """The market's options that were said, by the name of each, with what they mean."""
    context = click.get_current_context()
    by_default = click.core.ParameterSource.DEFAULT
    meant = _by_option(rules)
    return {
        name: meant[name] for name in market if context.get_parameter_source(name) is not by_default
    }


def refuse_other_rules(said: Mapping[str, object], rules: MarketRules) -> None:
    """Raise Refused where options say other rules than those of a market that exists."""
    for name, there in _by_option(rules).items():
        if name not in said or said[name] == there:
            continue
        option = MARKET_OPTIONS[name]
        if name == "slot_s":
            raise Refused(
                f"the market's slots have {there} s, and {option} {said[name]} is another length:"
                " that can never change",
                reason="other_rules",
                next_step="another length is another market: found it in a folder of its own",
            )
        raise Refused(
            f"the market has {option} {there}, and not {said[name]}: it is deployed already",
            reason="other_rules",
            next_step="who has the role of governance announces other rules in the access manager,"
            " and schedules them in the market ('scheduleRules') two days later",
        )


def _by_option(rules: MarketRules) -> dict[str, object]:
    return {
        "slot_s": rules.slot_s,
        "gate_s": rules.gate_s,
        "floor": rules.grid.floor_price,
        "tick": rules.grid.tick_size,
        "ticks": rules.grid.ticks,
        "network_fee": rules.network_fee,
        "fee_recipient": rules.fee_recipient.lower(),
    }
