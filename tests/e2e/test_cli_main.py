"""The command itself: help, suggestions, exit codes, places, completion, commands of others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from node import __version__, errors
from node.cli import main
from node.cli.main import COMMANDS, cli
from node.cli.paths import places
from tests.support.shared import CHECKOUT


def expected_errors() -> list[type[errors.DaiseeError]]:
    found = [getattr(errors, name) for name in errors.__all__]
    return [kind for kind in found if kind.exit_code != errors.DaiseeError.exit_code]


def with_plugin(monkeypatch: pytest.MonkeyPatch, name: str, target: str) -> None:
    point = EntryPoint(name, target, main.ENTRY_POINT_GROUP)
    monkeypatch.setattr(main, "entry_points", lambda **_: [point])


@click.command()
@click.argument("kind")
def failing(kind: str) -> None:
    """Fail as asked."""
    if kind == "KeyboardInterrupt":
        raise KeyboardInterrupt
    error = getattr(errors, kind)
    reason = {"reason": "paused"} if kind == "Refused" else {}
    raise error("it went wrong", next_step="try something else", **reason)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_lists_the_commands_and_the_exit_codes(option: str) -> None:
    text = CliRunner().invoke(cli, [option]).stdout
    for name, entry in COMMANDS.items():
        assert f"{name} " in text
        assert entry.short_help in text
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 130):
        assert f"\n    {code}  " in text


def test_help_loads_neither_the_chain_nor_the_simulator() -> None:
    program = (
        "import sys; from node.cli.main import cli; cli.main(['--help'], standalone_mode=False);"
        "heavy = {'web3', 'rich', 'sqlite3', 'simulations', 'numpy'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def leaves(words: list[str], command: click.Command) -> Iterator[list[str]]:
    """The words of each command that does something: of a group, those of its own."""
    if not isinstance(command, click.Group):
        yield words
        return
    for name, inner in command.commands.items():
        yield from leaves([*words, name], inner)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_of_itself_what_the_list_says_has_an_example_and_json(name: str) -> None:
    module, attribute = COMMANDS[name].target.split(":")
    command = getattr(import_module(module), attribute)
    assert command.name == name
    assert command.short_help == COMMANDS[name].short_help
    for words in leaves([name], command):
        text = CliRunner().invoke(cli, [*words, "-h"]).stdout
        assert text.count("Example:") == 1
        assert f"  daisee {' '.join(words)}" in text
        assert "--json" in text


def test_the_version() -> None:
    assert CliRunner().invoke(cli, ["--version"]).stdout == f"daisee {__version__}\n"


def test_a_mistyped_command_gets_a_suggestion() -> None:
    result = CliRunner().invoke(cli, ["balanse"])
    assert result.exit_code == 2
    assert "No such command 'balanse'. Did you mean 'balance'?" in result.stderr


@pytest.mark.parametrize("word", ["zzz", "--zzz"])
def test_a_word_like_nothing_else_is_a_usage_error(word: str) -> None:
    result = CliRunner().invoke(cli, [word])
    assert result.exit_code == 2
    assert "No such" in result.stderr


@pytest.mark.parametrize("kind", expected_errors())
def test_an_expected_failure_ends_with_its_code_and_what_to_do_next(
    monkeypatch: pytest.MonkeyPatch, kind: type[errors.DaiseeError]
) -> None:
    monkeypatch.setattr(main, "_load", lambda _: failing)
    result = CliRunner().invoke(cli, ["failing", kind.__name__])
    assert result.exit_code == kind.exit_code
    assert result.stdout == ""
    assert result.stderr == "Error: it went wrong\n  next: try something else\n"


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "_load", lambda _: failing)
    result = CliRunner().invoke(cli, ["failing", "KeyboardInterrupt"])
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"


def test_a_command_of_another_package_is_listed_and_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with_plugin(monkeypatch, "where", "node.cli.paths:paths")
    assert "where " in CliRunner().invoke(cli, ["-h"]).stdout
    assert "keystore" in CliRunner().invoke(cli, ["where"]).stdout


def test_a_command_whose_package_is_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path(tmp_path, "plugin_room.py").write_text("import no_such_third_party\n")
    monkeypatch.syspath_prepend(tmp_path)
    with_plugin(monkeypatch, "simulate", "plugin_room:simulate")
    result = CliRunner().invoke(cli, ["simulate"])
    assert result.exit_code == 3
    assert "daisee simulate needs no_such_third_party" in result.stderr
    assert "Simulate a neighbourhood" in CliRunner().invoke(cli, ["-h"]).stdout


def test_paths_follow_the_environment_where_it_is_absolute() -> None:
    home = Path("/home/ada")
    default = places({"XDG_DATA_HOME": "relative", "XDG_STATE_HOME": ""}, home)
    assert [row["user"] for row in default.values()] == [
        home / ".config/daisee/config.toml",
        home / ".local/state/daisee/node.db",
        home / ".local/share/daisee/keystore",
    ]
    moved = places({"XDG_CONFIG_HOME": "/srv/c"}, home)
    assert moved["config"]["user"] == Path("/srv/c/daisee/config.toml")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_DAISEE_COMPLETE" in result.stdout


def test_completion_takes_the_shell_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert "fish" in CliRunner().invoke(cli, ["completion"]).stdout
    monkeypatch.setenv("SHELL", "/bin/csh")
    assert CliRunner().invoke(cli, ["completion"]).exit_code == 2


def completed_words(words: str) -> list[str]:
    environment = {
        "_DAISEE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    result = CliRunner().invoke(cli, [], prog_name="daisee", env=environment)
    return [line.partition(",")[2] for line in result.stdout.splitlines()]


def test_a_shell_completes_commands_and_options() -> None:
    assert completed_words("daisee ba") == ["balance"]
    assert "--household" in completed_words("daisee trades --h")
    assert "--version" in completed_words("daisee --")
