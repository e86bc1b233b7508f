"""Shell completion, as click makes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click
from click.shell_completion import get_completion_class

from node.cli.output import example, json_option, say, say_document

__all__ = ["completion"]

SHELLS: Final = ("bash", "zsh", "fish")


@click.command(
    short_help="Print the completion script of a shell.",
    epilog=example("daisee completion bash > ~/.local/share/bash-completion/completions/daisee"),
)
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@json_option
@click.pass_context
def completion(ctx: click.Context, shell: str | None, *, as_json: bool) -> None:
    """Print the script that lets a shell complete daisee's commands and options.

    SHELL is taken from the environment when it is not given.
    """
    chosen = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(chosen) if chosen in SHELLS else None
    if kind is None:
        raise click.UsageError(f"Say for which shell: {', '.join(SHELLS)}.")
    script = kind(ctx.find_root().command, {}, "daisee", "_DAISEE_COMPLETE").source()
    if as_json:
        say_document({"shell": chosen, "script": script})
    else:
        say(script)
