"""`saga audit` reads the broker of the console beside it, such as the embedded one of `make run`."""

from collections.abc import Callable, Iterator

import pytest

from devtools.system import saga
from devtools.wait import free_port
from tests.fakes.console import FakeConsole


@pytest.fixture
def console() -> Iterator[FakeConsole]:
    with FakeConsole() as running:
        yield running


@pytest.mark.field(46)
def test_without_a_broker_the_console_names_it(console: FakeConsole, embedded: str, now: Callable[[str], None]) -> None:
    console.stats = {"broker": {"bootstrap": embedded}}
    done = saga("audit", env={"SAGA_CONSOLE_PORT": str(console.port)})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("no inconsistencies: ")
    now(done.stdout.strip())


@pytest.mark.field(46)
@pytest.mark.parametrize("named", [["--broker"], []], ids=["option", "variable"])
def test_a_broker_that_is_named_is_not_asked_for(console: FakeConsole, embedded: str, named: list[str]) -> None:
    url = f"kafka://{embedded}"
    options = [*named, url] if named else []
    variable = {} if named else {"SAGA_BROKER": url}
    done = saga("audit", *options, env={"SAGA_CONSOLE_PORT": str(console.port)} | variable)
    assert (done.returncode, console.asked) == (0, [])


@pytest.mark.field(46)
def test_where_no_console_answers_one_line_says_what_is_read(now: Callable[[str], None]) -> None:
    unused = free_port()
    done = saga("audit", env={"SAGA_CONSOLE_PORT": str(unused), "PATH": ""})
    told, *rest = done.stderr.splitlines()
    assert done.returncode in (0, 1)
    reading = "reading kafka://127.0.0.1:9092 instead (change it with --broker or SAGA_BROKER)"
    assert told == f"no console at http://127.0.0.1:{unused}; {reading}"
    assert len(rest) <= 1
    now(told)


@pytest.mark.field(46)
def test_a_console_that_refuses_is_named_and_the_default_is_read(console: FakeConsole) -> None:
    console.refuse = 401, {"title": "Unauthorized", "detail": "no token"}
    done = saga("audit", env={"SAGA_CONSOLE_PORT": str(console.port)})
    assert done.stderr.startswith("no token; reading kafka://127.0.0.1:9092")
