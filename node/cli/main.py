"""The ``daisee`` command: it finds the subcommand, runs it, and turns failures into exit codes.

Subcommands load when they are invoked, not before: ``--help`` reads the table below and the names
of the entry points, and imports neither web3 nor the simulator.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Final

import click
from click.shell_completion import CompletionItem

from node import __version__
from node.errors import ConfigurationError, DaiseeError

__all__ = ["COMMANDS", "ENTRY_POINT_GROUP", "CommandEntry", "cli", "main"]

ENTRY_POINT_GROUP: Final = "daisee.commands"
"""Where another distribution or package hangs in its subcommands: a click command each."""

INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A subcommand that is not loaded yet: ``module:attribute``, and its line of the help."""

    target: str
    short_help: str


COMMANDS: Final = {
    "audit": CommandEntry("node.cli.inspect:audit", "Recompute the whole market and compare."),
    "balance": CommandEntry(
        "node.cli.inspect:balance", "Show what credit households have, and where it came from."
    ),
    "chain": CommandEntry("node.cli.chain:chain", "Found a community's chain, and look after it."),
    "completion": CommandEntry(
        "node.cli.completion:completion", "Print the completion script of a shell."
    ),
    "config": CommandEntry("node.cli.config:config", "Show and check the settings of a node."),
    "consent": CommandEntry(
        "node.cli.consent:consent", "Record what people agree to, and when they withdraw it."
    ),
    "dispute": CommandEntry(
        "node.cli.dispute:dispute", "Claim, prove, rule and settle what was measured wrongly."
    ),
    "doctor": CommandEntry("node.cli.doctor:doctor", "Examine this household's node."),
    "dso": CommandEntry("node.cli.dso:dso", "Import and check the distribution operator's curves."),
    "dump": CommandEntry(
        "node.cli.dump:dump", "Write what helpers need to know, without what is private."
    ),
    "join": CommandEntry("node.cli.join:join", "Join a community with its operator's invite."),
    "key": CommandEntry("node.cli.key:key", "See and change this household's keys."),
    "member": CommandEntry(
        "node.cli.member:member", "Invite households, admit them, and see who there is."
    ),
    "meter": CommandEntry("node.cli.meter:meter", "Read what a meter says."),
    "node": CommandEntry("node.cli.node:node", "Run a household's node, and see how it is."),
    "paths": CommandEntry(
        "node.cli.paths:paths", "Show where settings, database and keys are kept."
    ),
    "person": CommandEntry(
        "node.cli.person:person", "Keep people's papers, hand them out, and erase them."
    ),
    "relay": CommandEntry("node.cli.relay:relay", "Carry the orders of a street to its chain."),
    "slot": CommandEntry("node.cli.inspect:slot", "Explain the price of a slot."),
    "supplier": CommandEntry(
        "node.cli.supplier:supplier", "Allocate, reconcile and report what a supplier bills."
    ),
    "trades": CommandEntry("node.cli.trades:trades", "List what was bought and sold."),
    "view": CommandEntry("node.cli.view:view", "Show each role what is its to see of a month."),
}
"""daisee's own subcommands; a test holds each line to what the command says of itself."""

_PLUGIN_HELP: Final = {
    "demo": "Watch eight homes trade for a day, with a commentary.",
    "simulate": "Simulate a neighbourhood on generated or measured homes.",
}
"""The lines of entry points that are known here; an entry point itself carries none."""

_EPILOG: Final = """\b
Example:
  daisee demo
  daisee slot --run out/june 2016-06-01T12:00:00Z

\b
Exit codes:
  0  all is well
  1  a bug in daisee
  2  the command line cannot be understood, or names what is not there
  3  a file or a setting cannot be used
  4  the meter is silent or cannot be used
  5  the chain is unreachable, or not the one agreed on
  6  the market or the operator refused
  7  a check found a difference or a problem
  130  interrupted

Results go to stdout, all else to stderr. With --json a command prints one document on stdout."""


class _Root(click.Group):
    """The group of all subcommands, its own and those of entry points."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every subcommand's name, in order."""
        return sorted({*super().list_commands(ctx), *COMMANDS, *_plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one subcommand."""
        try:
            return _load(cmd_name)
        except ConfigurationError:
            if ctx.resilient_parsing:  # a shell asks what could follow: nothing that is known
                return None
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand; of a mistyped one, name the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not close:
                raise
            message = f"No such command '{args[0]}'. Did you mean '{close[0]}'?"
            raise click.UsageError(message, ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of subcommands, without loading one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _short_help(name)) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What a shell completes to, without loading a subcommand."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        items = [CompletionItem(name, help=_short_help(name)) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> object:
        """Run the subcommand; an expected failure ends with its message and its exit code."""
        try:
            return super().invoke(ctx)
        except DaiseeError as error:
            click.echo(f"Error: {error}", err=True)
            raise click.exceptions.Exit(error.exit_code) from error
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _load(name: str) -> click.Command | None:
    """The command of a name; None if there is none.

    Raises ConfigurationError when the third party that it is built on is not installed.
    """
    if name in COMMANDS:
        module, attribute = COMMANDS[name].target.split(":")
        found = getattr(import_module(module), attribute)
    elif (point := _plugins().get(name)) is not None:
        try:
            found = point.load()
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing in ("", "node", point.module.partition(".")[0]):
                raise
            raise ConfigurationError(
                f"daisee {name} needs {missing}, which is not installed",
                next_step="install what the command needs, for example daisee-node[simulator]",
            ) from error
    else:
        return None
    assert isinstance(found, click.Command), name
    return found


def _short_help(name: str) -> str:
    if name in COMMANDS:
        return COMMANDS[name].short_help
    return _PLUGIN_HELP.get(name, "A command of another package.")


@click.group(
    cls=_Root,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="daisee", message="%(prog)s %(version)s")
def cli() -> None:
    """A neighbourhood trades its surplus energy on its own chain."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run daisee with these arguments, the process's own if None. Ends the process."""
    cli.main(args=arguments, prog_name="daisee")


if __name__ == "__main__":
    main()
