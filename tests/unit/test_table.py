"""Tables on terminals of any width, and in pipes."""

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
    with FakeConsole() as running:
        yield running


def on_terminal(width: int, *command: str, port: int) -> str:
    """What a command prints on a terminal of this width."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAGA_")}
    environment |= {"COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1", "SAGA_CONSOLE_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "saga_app", *command], stdout=theirs, stderr=subprocess.DEVNULL, env=environment
    )
    os.close(theirs)
    printed = b""
    while chunk := _read(ours):
        printed += chunk
    os.close(ours)
    assert process.wait(30) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.decode().replace("\r\n", "\n"))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other end was closed
        return b""


@pytest.mark.field(47)
@pytest.mark.parametrize("width", [40, 80, 132])
@pytest.mark.parametrize("id", IDS)
def test_an_id_is_never_broken(console: FakeConsole, width: int, id: str, now: Callable[[str], None]) -> None:
    console.rows = [row(id, why="parked at authorize: the directory has not answered within ten seconds")]
    shown = on_terminal(width, "list", port=console.port)
    assert id in shown
    assert "completed" in shown
    if len(id) < 40 and width >= 80:
        assert max(map(len, shown.splitlines())) <= width
    now(f"{width} columns, {len(id)} characters: whole")


@pytest.mark.field(47)
@pytest.mark.parametrize("command", [["list"], ["errors"], ["show", "user-1"], ["settings"]], ids=" ".join)
@pytest.mark.parametrize("width", [80, 100])
def test_every_table_fits_its_terminal(console: FakeConsole, command: list[str], width: int) -> None:
    shown = on_terminal(width, *command, port=console.port)
    assert max(map(len, shown.splitlines())) <= width
    assert "None" not in shown


@pytest.mark.field(47)
def test_in_a_pipe_every_saga_is_one_line(console: FakeConsole) -> None:
    console.rows = [row(id, why="x" * 500) for id in IDS]
    done = saga("list", env={"SAGA_CONSOLE_PORT": str(console.port), "COLUMNS": "40"})
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["id", *IDS]


@pytest.mark.field(47)
def test_columns_are_left_out_before_anything_necessary_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    def printed(width: int) -> str:
        out = io.StringIO()
        terminal = RichConsole(file=out, width=width, force_terminal=True, color_system=None)
        columns = ("id", "took", "why")
        print_table(columns, [["a" * 20, "1.25 s", "b" * 30]], whole=("id",), optional=("took",), console=terminal)
        return out.getvalue()

    assert printed(60).split()[:3] == ["id", "took", "why"]
    assert "1.25 s" not in printed(36)
    assert "not shown in 36 columns: took (--json shows all)" in capsys.readouterr().err
    assert printed(25).splitlines()[0].split() == ["id", "a" * 20]
    assert "1.25 s" in printed(25)


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
def test_a_wrong_value_is_exit_code_2_with_what_is_allowed(
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
def test_a_shell_can_complete(shell: str) -> None:
    assert "_SAGA_COMPLETE" in saga(env={"_SAGA_COMPLETE": f"{shell}_source"}).stdout
    for words, place, expected in (("saga li", 1, "list"), ("saga list --state ro", 3, "rolled-back")):
        at = words.split()[-1] if shell == "fish" else str(place)
        asked = {"COMP_WORDS": words, "COMP_CWORD": at, "_SAGA_COMPLETE": f"{shell}_complete"}
        assert expected in saga(env=asked).stdout
