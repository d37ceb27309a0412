"""The commands in README, tutorial and how-to guides exist, with the options that the documents show."""

import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

from saga_app import cli
from saga_app.settings import Settings, variable
from tests.documented import PAGES, ROOT, commands

LINES = [pytest.param(line, id=f"{page.name}: {line[:60]}") for page in PAGES for line in commands(page)]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
KNOWN_VARIABLES = {variable(name) for name in Settings.model_fields} | {"SAGA_LOG", "KAFKA_PORT", "KAFKA_DATA"}


def words_of(line: str) -> list[str]:
    """The words of a command without the environment variables before it, which must be known."""
    words = shlex.split(line)
    while words and re.match(r"[A-Z_]+=", words[0]):
        assert words[0].partition("=")[0] in KNOWN_VARIABLES
        words.pop(0)
    return words


def parse(arguments: list[str]) -> None:
    """Parse the arguments of `saga` without running the command. Fails for an unknown command or option."""
    command: click.Command = cli.main
    context = command.make_context("saga", arguments)
    while isinstance(command, click.Group):
        name, subcommand, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert subcommand is not None, name
        command = subcommand
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("line", LINES)
def test_a_documented_command_exists(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("users.csv").touch()
    program, *arguments = words_of(line)
    program = program.removeprefix(".venv/bin/")
    if program == "saga":
        parse(arguments)
    elif program == "make":
        assert set(arguments) <= TARGETS
    elif program == "faust":
        module = arguments[arguments.index("-A") + 1]
        assert importlib.util.find_spec(module)
        assert arguments[-1] == "worker"
    else:
        assert program in ("curl", "sleep", "source", "export")


def test_the_documentation_has_more_than_forty_commands() -> None:
    assert len(LINES) > 40
