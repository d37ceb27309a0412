"""The output of commands when the terminal is not UTF-8 or the reader has closed the pipe."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from devtools.system import saga
from tests.fakes.console import FakeConsole, row

Now = Callable[[str], None]

#: Not in Latin-1, not in any Latin encoding, and not in the Basic Multilingual Plane.
NAMES = ["Łukasz", "花子", "🙂"]


@pytest.fixture
def console() -> Iterator[FakeConsole]:
    with FakeConsole() as console:
        console.rows += [row(name, why=f"{name} is done") for name in (*NAMES, "".join(NAMES))]
        yield console


def environment(console: FakeConsole, encoding: str) -> dict[str, str]:
    return {"SAGA_CONSOLE_PORT": str(console.port), "PYTHONIOENCODING": encoding, "COLUMNS": "200"}


@pytest.mark.field(22)
@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1"])
@pytest.mark.parametrize("command", [("show",), ("list", "--limit", "500", "--search"), ("trace",)])
def test_characters_outside_the_encoding_are_replaced(
    command: tuple[str, ...], encoding: str, console: FakeConsole, now: Now
) -> None:
    name = "".join(NAMES)
    done = saga(*command, name, env=environment(console, encoding))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    now(f"{encoding}: saga {command[0]} exits with {done.returncode}")


@pytest.mark.field(22)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_json_output_is_lossless_in_any_encoding(encoding: str, console: FakeConsole) -> None:
    name = "".join(NAMES)
    done = saga("show", name, "--json", env=environment(console, encoding))
    assert json.loads(done.stdout)["id"] == name


@pytest.mark.field(22)
@pytest.mark.parametrize("arguments", [("--help",), ("settings",), ("new", "--csv", "Ł"), ("--console", "Ł", "list")])
def test_help_settings_and_errors_are_printable_in_ascii(arguments: tuple[str, ...], console: FakeConsole) -> None:
    done = saga(*arguments, env=environment(console, "ascii"))
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr


@pytest.mark.field(22)
@pytest.mark.parametrize("arguments", [("list",), ("list", "--json")])
def test_a_closed_pipe_causes_no_traceback(arguments: tuple[str, ...], console: FakeConsole) -> None:
    command = [sys.executable, "-m", "saga_app", *arguments]
    with subprocess.Popen(
        command,
        env={"PATH": "/usr/bin:/bin"} | environment(console, "utf-8"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors
