"""`saga audit` asks the console for its broker, such as the embedded one of `make run`."""

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
def test_without_the_option_the_broker_of_the_console_is_audited(
    console: FakeConsole, embedded: str, now: Callable[[str], None]
) -> None:
    console.stats = {"broker": {"bootstrap": embedded}}
    done = saga("audit", env={"SAGA_CONSOLE_PORT": str(console.port)})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("no inconsistencies: ")
    now(done.stdout.strip())


@pytest.mark.field(46)
@pytest.mark.parametrize("option", [["--broker"], []], ids=["option", "variable"])
def test_with_a_given_broker_the_console_is_not_asked(console: FakeConsole, embedded: str, option: list[str]) -> None:
    url = f"kafka://{embedded}"
    arguments = [*option, url] if option else []
    variable = {} if option else {"SAGA_BROKER": url}
    done = saga("audit", *arguments, env={"SAGA_CONSOLE_PORT": str(console.port)} | variable)
    assert (done.returncode, console.requested_paths) == (0, [])


@pytest.mark.field(46)
def test_without_a_console_the_default_broker_is_audited(now: Callable[[str], None]) -> None:
    unused = free_port()
    done = saga("audit", env={"SAGA_CONSOLE_PORT": str(unused), "PATH": ""})
    notice, *rest = done.stderr.splitlines()
    assert done.returncode in (0, 1)
    reading = "reading kafka://127.0.0.1:9092 instead (change it with --broker or SAGA_BROKER)"
    assert notice == f"no console at http://127.0.0.1:{unused}; {reading}"
    assert len(rest) <= 1
    now(notice)


@pytest.mark.field(46)
def test_if_the_console_refuses_the_default_broker_is_audited(console: FakeConsole) -> None:
    console.problem = 401, {"title": "Unauthorized", "detail": "no token"}
    done = saga("audit", env={"SAGA_CONSOLE_PORT": str(console.port)})
    assert done.stderr.startswith("no token; reading kafka://127.0.0.1:9092")
