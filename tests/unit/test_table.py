"""Output of the commands on terminals of any width and in pipes, and their options."""

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console as RichConsole

from devtools.system import saga
from saga_app.commands.table import print_table
from tests.fakes.console import FakeConsole, row

IDS = ["06ab3cd4ef5gh6jk7m", "00000000-0000-0000-0000-000000000000", "a" * 128]


@pytest.fixture
def console() -> Iterator[FakeConsole]:
    with FakeConsole() as console:
        yield console


def output_on_terminal(width: int, *command: str, port: int) -> str:
    """The output of a command on a terminal of this width, without escape sequences; `port`: the console's."""
    reader, terminal = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAGA_")}
    environment |= {"COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1", "SAGA_CONSOLE_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "saga_app", *command], stdout=terminal, stderr=subprocess.DEVNULL, env=environment
    )
    os.close(terminal)
    output = b""
    while chunk := _read(reader):
        output += chunk
    os.close(reader)
    assert process.wait(30) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", output.decode().replace("\r\n", "\n"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux: the other end was closed
        return b""


@pytest.mark.field(47)
@pytest.mark.parametrize("width", [40, 80, 132])
@pytest.mark.parametrize("id", IDS)
def test_an_id_is_never_wrapped(console: FakeConsole, width: int, id: str, now: Callable[[str], None]) -> None:
    console.rows = [row(id, why="parked at authorize: the directory has not answered within ten seconds")]
    shown = output_on_terminal(width, "list", port=console.port)
    assert id in shown
    assert "completed" in shown
    if len(id) < 40 and width >= 80:
        assert max(map(len, shown.splitlines())) <= width
    now(f"{width} columns, {len(id)} characters: whole")


@pytest.mark.field(47)
@pytest.mark.parametrize("command", [["list"], ["errors"], ["show", "user-1"], ["settings"]], ids=" ".join)
@pytest.mark.parametrize("width", [80, 100])
def test_every_table_fits_the_terminal(console: FakeConsole, command: list[str], width: int) -> None:
    shown = output_on_terminal(width, *command, port=console.port)
    assert max(map(len, shown.splitlines())) <= width
    assert "None" not in shown


@pytest.mark.field(47)
def test_in_a_pipe_each_saga_is_one_line(console: FakeConsole) -> None:
    console.rows = [row(id, why="x" * 500) for id in IDS]
    done = saga("list", env={"SAGA_CONSOLE_PORT": str(console.port), "COLUMNS": "40"})
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["id", *IDS]


@pytest.mark.field(47)
def test_optional_columns_are_omitted_before_others_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    def output_at(width: int) -> str:
        out = io.StringIO()
        terminal = RichConsole(file=out, width=width, force_terminal=True, color_system=None)
        columns = ("id", "took", "why")
        print_table(columns, [["a" * 20, "1.25 s", "b" * 30]], whole=("id",), optional=("took",), console=terminal)
        return out.getvalue()

    assert output_at(60).split()[:3] == ["id", "took", "why"]
    assert "1.25 s" not in output_at(36)
    assert "not shown in 36 columns: took (--json shows all)" in capsys.readouterr().err
    assert output_at(25).splitlines()[0].split() == ["id", "a" * 20]
    assert "1.25 s" in output_at(25)


@pytest.mark.field(47)
@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["list", "--sort", "foo"], "started_at"),
        (["list", "--state", "asleep"], "rolled-back"),
        (["list", "--limit", "0"], "x>=1"),
        (["audit", "--settle", "x"], "not a valid float"),
        (["new", "--count", "0"], "1<=x"),
    ],
)
def test_an_invalid_option_value_ends_with_exit_code_2(
    arguments: list[str], allowed: str, now: Callable[[str], None]
) -> None:
    done = saga(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert allowed in done.stderr
    now(f"{' '.join(arguments)}: exit code {done.returncode}")


@pytest.mark.field(47)
def test_the_version_is_printed(now: Callable[[str], None]) -> None:
    done = saga("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("saga ")
    now(done.stdout.strip())


@pytest.mark.field(47)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_and_values_are_completed_by_the_shell(shell: str) -> None:
    assert "_SAGA_COMPLETE" in saga(env={"_SAGA_COMPLETE": f"{shell}_source"}).stdout
    for words, place, expected in (("saga li", 1, "list"), ("saga list --state ro", 3, "rolled-back")):
        current = words.split()[-1] if shell == "fish" else str(place)
        environment = {"COMP_WORDS": words, "COMP_CWORD": current, "_SAGA_COMPLETE": f"{shell}_complete"}
        assert expected in saga(env=environment).stdout
