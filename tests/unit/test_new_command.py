"""`saga new`: every user is onboarded once, whatever is sent twice and whatever answer gets lost."""

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

Run = Callable[..., subprocess.CompletedProcess[str]]


class Console(FakeConsole):
    """Takes users as the real one does; the next `lost` answers do not arrive, `gateway` answers in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.topics = SharedTopics()
        self.starter = Starter(
            self.topics.producer, "console", known=self.topics.known, key_taken=self.topics.key_taken
        )
        self.lost, self.gateway, self.down_for = 0, 0, 0
        self.keys: list[str] = []

    async def _users(self, request: web.Request) -> web.StreamResponse:  # type: ignore[override]
        self.keys.append(request.headers["Idempotency-Key"])
        self.topics.producer.down = [] if self.down_for else None
        self.down_for = max(0, self.down_for - 1)
        try:
            answer: web.StreamResponse = await self.starter.handle(request)
        except Problem as problem:
            answer = problem.response(request)
        if self.lost:
            self.lost -= 1
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=self.gateway) if self.gateway else answer

    @property
    def names(self) -> list[str]:
        """Who was onboarded."""
        return [user["name"] for user in self.topics.producer.users]


@pytest.fixture
def console() -> Iterator[Console]:
    with Console() as running:
        yield running


@pytest.fixture
def run(console: Console) -> Run:
    def go(*arguments: str) -> subprocess.CompletedProcess[str]:
        return saga("new", *arguments, env={"SAGA_CONSOLE_PORT": str(console.port)})

    return go


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def make(content: str | bytes, name: str = "people.csv") -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return make


def people(count: int) -> str:
    return "name,email,department\n" + "".join(f"P{n},p{n}@example.com,Sales\n" for n in range(count))


@pytest.mark.field(17)
@pytest.mark.parametrize("count", [2, 10_003])
def test_a_file_that_is_sent_twice_onboards_nobody_twice(
    run: Run, console: Console, write: Callable[..., str], count: int, now: Callable[[str], None]
) -> None:
    file = write(people(count))
    assert run("--csv", file).stdout == f"{count} users accepted; see: saga list\n"
    again = run("--csv", file)
    assert (again.returncode, again.stdout) == (0, f"0 users accepted, {count:,} already exist; see: saga list\n")
    assert console.names == [f"P{n}" for n in range(count)]
    assert run("--csv", file, "--idempotency-key", "once more").returncode == 0
    assert len(console.names) == 2 * count
    now(again.stdout.strip())


@pytest.mark.field(17)
def test_a_long_file_is_checked_before_its_first_portion_is_sent(
    run: Run, console: Console, write: Callable[..., str], now: Callable[[str], None]
) -> None:
    done = run("--csv", write(people(10_003) + "\nno address,x,Sales\n"))
    assert (done.returncode, console.names) == (1, [])
    assert "line 10006, email" in done.stderr
    now(done.stderr.splitlines()[-1].strip())


@pytest.mark.field(17)
def test_a_portion_that_is_refused_names_the_lines_of_the_file(
    run: Run, console: Console, write: Callable[..., str]
) -> None:
    assert run("--id", "taken", "--name", "Ada").returncode == 0
    rows = "".join(f"P{n},p{n}@example.com,Sales,\n" for n in range(10_001))
    file = write(f"name,email,department,id\n{rows}Bob,bob@example.com,Sales,taken\n")
    done = run("--csv", file, "--idempotency-key", "k")
    assert done.returncode == 1
    assert "  line 10003, id: the id taken exists already" in done.stderr
    assert "10,000 earlier users were accepted" in done.stderr
    assert "--idempotency-key k" in done.stderr


@pytest.mark.field(17)
def test_when_the_broker_goes_midway_a_second_run_completes(
    run: Run, console: Console, write: Callable[..., str], now: Callable[[str], None]
) -> None:
    console.down_for = 100
    file = write(people(3))
    broken = run("--csv", file)
    assert (broken.returncode, broken.stdout) == (1, "")
    assert f"--idempotency-key {console.keys[0]}" in broken.stderr.splitlines()[-1]
    assert len(set(console.keys)) == 1
    console.down_for = 0
    assert run("--csv", file).returncode == 0
    assert sorted(console.names) == ["P0", "P1", "P2"]
    now(broken.stderr.splitlines()[-1])


@pytest.mark.field(16, 17)
def test_a_key_of_another_file_is_refused_in_one_line(run: Run, write: Callable[..., str]) -> None:
    assert run("--csv", write(people(2)), "--idempotency-key", "k").returncode == 0
    done = run("--csv", write(people(3)), "--idempotency-key", "k")
    assert (done.returncode, done.stdout) == (1, "")
    assert "a key belongs to one body" in done.stderr


@pytest.mark.field(18)
@pytest.mark.parametrize("arguments", [["--name", "Ada"], [], ["--count", "3"]], ids=["one", "made up", "several"])
def test_an_answer_that_got_lost_is_asked_for_again_with_the_same_key(
    run: Run, console: Console, arguments: list[str], now: Callable[[str], None]
) -> None:
    console.lost = 2
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "accepted" in done.stdout
    assert (len(console.keys), len(set(console.keys))) == (3, 1)
    assert len(console.names) == (3 if "--count" in arguments else 1)
    assert "the outcome is unknown; repeating the request with the same key" in done.stderr
    now(done.stderr.splitlines()[0].split(": ")[-1])


@pytest.mark.field(18)
@pytest.mark.parametrize("gateway", [0, 502, 504])
def test_an_outcome_that_stays_unknown_is_said_to_be_and_how_to_find_out(
    run: Run, console: Console, gateway: int, now: Callable[[str], None]
) -> None:
    console.lost, console.gateway = (0 if gateway else 100), gateway
    done = run("--name", "Ada")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Nothing was sent" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert f"--idempotency-key {console.keys[0]}: it onboards no user twice" in last
    console.lost = console.gateway = 0
    found = run("--name", "Ada", "--idempotency-key", console.keys[0])
    assert (found.returncode, "already exists" in found.stdout, console.names) == (0, True, ["Ada"])
    now(last)


@pytest.mark.field(13, 14)
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_file_is_read_in_its_encoding(
    run: Run, console: Console, write: Callable[..., str], encoding: str, now: Callable[[str], None]
) -> None:
    done = run("--csv", write("sep=;\nname;email;department\nJürgen;j@example.com;Sales\n".encode(encoding)))
    assert (done.returncode, console.names) == (0, ["Jürgen"])
    assert "(read as " in done.stdout
    now(done.stdout.strip())


@pytest.mark.field(13, 15)
def test_a_file_whose_encoding_is_not_certain_may_be_declared(
    run: Run, console: Console, write: Callable[..., str]
) -> None:
    file = write("name;email;department\n\nDvořák;d@example.com;Sales\n".encode("cp1250"))
    refused = run("--csv", file)
    assert (refused.returncode, console.names, "line 3" in refused.stderr) == (1, [], True)
    assert run("--csv", file, "--encoding", "windows-1250").returncode == 0
    assert console.names == ["Dvořák"]


@pytest.mark.field(15)
def test_a_mistake_is_printed_with_its_line(run: Run, write: Callable[..., str], now: Callable[[str], None]) -> None:
    text = 'name,email,department\n\n\nAda,a@example.com,Sales\n\n"Grace\nHopper",g@example.com,Sales\n\nB,bad,Sales\n'
    done = run("--csv", write(text))
    assert done.returncode == 1
    named = [line.strip() for line in done.stderr.splitlines()[1:]]
    assert [line.split(":")[0] for line in named] == ["line 6, name", "line 9, email"]
    now(named[1])


@pytest.mark.field(47)
@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_one_sentence(
    run: Run, write: Callable[..., str], content: str, now: Callable[[str], None]
) -> None:
    done = run("--csv", write(content))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "the CSV is empty" in done.stderr
    assert "None" not in done.stderr
    now(done.stderr.strip())


@pytest.mark.field(28)
def test_an_id_that_exists_is_said_to_and_what_to_do(run: Run, now: Callable[[str], None]) -> None:
    assert run("--id", "ada").returncode == 0
    done = run("--id", "ada")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "saga rollback ada" in done.stderr
    now(done.stderr.strip())


@pytest.mark.parametrize("arguments", [["--idempotency-key", "ä"], ["--idempotency-key", ""], ["--encoding", "utf-8"]])
def test_wrong_use_is_exit_code_2(arguments: list[str]) -> None:
    assert saga("new", *arguments).returncode == 2


def test_json_says_how_many_exist_already(run: Run, write: Callable[..., str]) -> None:
    file = write(people(2))
    first, second = (json.loads(run("--csv", file, "--json").stdout) for _ in range(2))
    assert first.pop("existing") == 0
    assert second.pop("existing") == 2
    assert first == second
