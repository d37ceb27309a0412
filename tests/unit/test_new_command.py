"""`saga new`: every user is onboarded once, even if requests are repeated or responses are lost."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from devtools.system import saga
from saga_app.web.problem import Problem
from saga_app.web.start_saga import Starter
from tests.fakes.console import FakeConsole
from tests.fakes.starter import SharedTopics

SagaNew = Callable[..., subprocess.CompletedProcess[str]]
CsvFile = Callable[[str | bytes], str]


class StartingConsole(FakeConsole):
    """Accepts new users like the real console.

    `lost_responses`: for how many requests the connection is closed before the response. `gateway_status`: if not 0,
    the status with which a gateway in front of the console answers. `outage_requests`: for how many requests the broker
    acknowledges nothing. `keys`: the Idempotency-Key of each request so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.topics = SharedTopics()
        self.starter = Starter(
            self.topics.producer, "console", known=self.topics.known, key_taken=self.topics.key_taken
        )
        self.lost_responses = self.gateway_status = self.outage_requests = 0
        self.keys: list[str] = []

    async def _users(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers["Idempotency-Key"])
        self.topics.producer.unacknowledged = [] if self.outage_requests else None
        self.outage_requests = max(0, self.outage_requests - 1)
        try:
            response = await self.starter.handle(request)
        except Problem as problem:
            response = problem.response(request)
        if self.lost_responses:
            self.lost_responses -= 1
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=self.gateway_status) if self.gateway_status else response

    @property
    def names(self) -> list[str]:
        """The names of the onboarded users."""
        return [user["name"] for user in self.topics.producer.users]


@pytest.fixture
def console() -> Iterator[StartingConsole]:
    console = StartingConsole()
    with console:
        yield console


@pytest.fixture
def saga_new(console: StartingConsole) -> SagaNew:
    """Runs `saga new` with these arguments against the console."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return saga("new", *arguments, env={"SAGA_CONSOLE_PORT": str(console.port)})

    return run


@pytest.fixture
def csv_file(tmp_path: Path) -> CsvFile:
    """Writes this content to a file and returns its path."""

    def write(content: str | bytes) -> str:
        path = tmp_path / "people.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def csv_with_users(count: int) -> str:
    """A CSV file with this many users."""
    return "name,email,department\n" + "".join(f"P{n},p{n}@example.com,Sales\n" for n in range(count))


@pytest.mark.field(17)
@pytest.mark.parametrize("count", [2, 10_003])
def test_a_file_sent_twice_onboards_each_user_once(
    saga_new: SagaNew, console: StartingConsole, csv_file: CsvFile, count: int, now: Callable[[str], None]
) -> None:
    file = csv_file(csv_with_users(count))
    assert saga_new("--csv", file).stdout == f"{count} users accepted; see: saga list\n"
    again = saga_new("--csv", file)
    assert (again.returncode, again.stdout) == (0, f"0 users accepted, {count:,} already exist; see: saga list\n")
    assert console.names == [f"P{n}" for n in range(count)]
    assert saga_new("--csv", file, "--idempotency-key", "once more").returncode == 0
    assert len(console.names) == 2 * count
    now(again.stdout.strip())


@pytest.mark.field(17)
def test_a_long_file_is_validated_before_its_first_batch_is_sent(
    saga_new: SagaNew, console: StartingConsole, csv_file: CsvFile, now: Callable[[str], None]
) -> None:
    done = saga_new("--csv", csv_file(csv_with_users(10_003) + "\nno address,x,Sales\n"))
    assert (done.returncode, console.names) == (1, [])
    assert "line 10006, email" in done.stderr
    now(done.stderr.splitlines()[-1].strip())


@pytest.mark.field(17)
def test_a_refused_batch_names_the_lines_of_the_file(
    saga_new: SagaNew, console: StartingConsole, csv_file: CsvFile
) -> None:
    assert saga_new("--id", "taken", "--name", "Ada").returncode == 0
    rows = "".join(f"P{n},p{n}@example.com,Sales,\n" for n in range(10_001))
    file = csv_file(f"name,email,department,id\n{rows}Bob,bob@example.com,Sales,taken\n")
    done = saga_new("--csv", file, "--idempotency-key", "k")
    assert done.returncode == 1
    assert "  line 10003, id: the id taken exists already" in done.stderr
    assert "10,000 earlier users were accepted" in done.stderr
    assert "--idempotency-key k" in done.stderr


@pytest.mark.field(17)
def test_a_second_run_completes_after_an_outage_of_the_broker(
    saga_new: SagaNew, console: StartingConsole, csv_file: CsvFile, now: Callable[[str], None]
) -> None:
    console.outage_requests = 100
    file = csv_file(csv_with_users(3))
    failed = saga_new("--csv", file)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert f"--idempotency-key {console.keys[0]}" in failed.stderr.splitlines()[-1]
    assert len(set(console.keys)) == 1
    console.outage_requests = 0
    assert saga_new("--csv", file).returncode == 0
    assert sorted(console.names) == ["P0", "P1", "P2"]
    now(failed.stderr.splitlines()[-1])


@pytest.mark.field(16, 17)
def test_an_idempotency_key_of_another_file_is_refused(saga_new: SagaNew, csv_file: CsvFile) -> None:
    assert saga_new("--csv", csv_file(csv_with_users(2)), "--idempotency-key", "k").returncode == 0
    done = saga_new("--csv", csv_file(csv_with_users(3)), "--idempotency-key", "k")
    assert (done.returncode, done.stdout) == (1, "")
    assert "a key belongs to one body" in done.stderr


@pytest.mark.field(18)
@pytest.mark.parametrize("arguments", [["--name", "Ada"], [], ["--count", "3"]], ids=["one", "made up", "several"])
def test_a_lost_response_is_retried_with_the_same_idempotency_key(
    saga_new: SagaNew, console: StartingConsole, arguments: list[str], now: Callable[[str], None]
) -> None:
    console.lost_responses = 2
    done = saga_new(*arguments)
    assert done.returncode == 0, done.stderr
    assert "accepted" in done.stdout
    assert (len(console.keys), len(set(console.keys))) == (3, 1)
    assert len(console.names) == (3 if "--count" in arguments else 1)
    assert "the outcome is unknown; repeating the request with the same key" in done.stderr
    now(done.stderr.splitlines()[0].split(": ")[-1])


@pytest.mark.field(18)
@pytest.mark.parametrize("gateway_status", [0, 502, 504])
def test_an_unknown_outcome_is_reported_with_the_key_for_a_repetition(
    saga_new: SagaNew, console: StartingConsole, gateway_status: int, now: Callable[[str], None]
) -> None:
    console.lost_responses, console.gateway_status = (0 if gateway_status else 100), gateway_status
    done = saga_new("--name", "Ada")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Nothing was sent" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert f"--idempotency-key {console.keys[0]}: it onboards no user twice" in last
    console.lost_responses = console.gateway_status = 0
    repeated = saga_new("--name", "Ada", "--idempotency-key", console.keys[0])
    assert (repeated.returncode, "already exists" in repeated.stdout, console.names) == (0, True, ["Ada"])
    now(last)


@pytest.mark.field(13, 14)
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_the_encoding_of_a_file_is_detected(
    saga_new: SagaNew, console: StartingConsole, csv_file: CsvFile, encoding: str, now: Callable[[str], None]
) -> None:
    done = saga_new("--csv", csv_file("sep=;\nname;email;department\nJürgen;j@example.com;Sales\n".encode(encoding)))
    assert (done.returncode, console.names) == (0, ["Jürgen"])
    assert "(read as " in done.stdout
    now(done.stdout.strip())


@pytest.mark.field(13, 15)
def test_an_ambiguous_encoding_must_be_declared(saga_new: SagaNew, console: StartingConsole, csv_file: CsvFile) -> None:
    file = csv_file("name;email;department\n\nDvořák;d@example.com;Sales\n".encode("cp1250"))
    refused = saga_new("--csv", file)
    assert (refused.returncode, console.names, "line 3" in refused.stderr) == (1, [], True)
    assert saga_new("--csv", file, "--encoding", "windows-1250").returncode == 0
    assert console.names == ["Dvořák"]


@pytest.mark.field(15)
def test_an_invalid_entry_is_printed_with_its_line(
    saga_new: SagaNew, csv_file: CsvFile, now: Callable[[str], None]
) -> None:
    text = 'name,email,department\n\n\nAda,a@example.com,Sales\n\n"Grace\nHopper",g@example.com,Sales\n\nB,bad,Sales\n'
    done = saga_new("--csv", csv_file(text))
    assert done.returncode == 1
    lines = [line.strip() for line in done.stderr.splitlines()[1:]]
    assert [line.split(":")[0] for line in lines] == ["line 6, name", "line 9, email"]
    now(lines[1])


@pytest.mark.field(47)
@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_refused_in_one_line(
    saga_new: SagaNew, csv_file: CsvFile, content: str, now: Callable[[str], None]
) -> None:
    done = saga_new("--csv", csv_file(content))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "the CSV is empty" in done.stderr
    assert "None" not in done.stderr
    now(done.stderr.strip())


@pytest.mark.field(28)
def test_an_existing_id_is_reported_with_the_next_action(saga_new: SagaNew, now: Callable[[str], None]) -> None:
    assert saga_new("--id", "ada").returncode == 0
    done = saga_new("--id", "ada")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "saga rollback ada" in done.stderr
    now(done.stderr.strip())


@pytest.mark.parametrize("arguments", [["--idempotency-key", "ä"], ["--idempotency-key", ""], ["--encoding", "utf-8"]])
def test_invalid_options_end_with_exit_code_2(arguments: list[str]) -> None:
    assert saga("new", *arguments).returncode == 2


def test_json_output_counts_existing_users(saga_new: SagaNew, csv_file: CsvFile) -> None:
    file = csv_file(csv_with_users(2))
    first, second = (json.loads(saga_new("--csv", file, "--json").stdout) for _ in range(2))
    assert first.pop("existing") == 0
    assert second.pop("existing") == 2
    assert first == second
