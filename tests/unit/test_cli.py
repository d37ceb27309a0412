"""The command line as separate processes, against a console with canned answers."""

import getpass
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date

import pytest

from devtools.system import Process, saga
from devtools.wait import free_port
from saga_app.commands.printing import time_of_day
from tests.fakes.console import ENTRY, FakeConsole, letter

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def console() -> Iterator[FakeConsole]:
    """A running console with canned answers."""
    with FakeConsole() as running:
        yield running


@pytest.fixture
def run(console: FakeConsole) -> Run:
    """Returns a function that runs `saga` with these arguments against the console."""

    def run_saga(*arguments: str, input: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return saga(*arguments, env={"SAGA_CONSOLE_PORT": str(console.port)} | env, input=input)

    return run_saga


def test_new_sends_the_given_user(run: Run, console: FakeConsole) -> None:
    done = run("new", "--name", "Grace Hopper", "--email", "g@example.com", "--department", "Sales", "--id", "grace")
    assert (done.returncode, done.stdout) == (0, "grace accepted; see: saga show grace\n")
    user = {"name": "Grace Hopper", "email": "g@example.com", "department": "Sales", "id": "grace"}
    assert [json.loads(body) for _, body in console.sent] == [user]


def test_beginning_again_completes_the_user_from_the_earlier_saga(run: Run, console: FakeConsole) -> None:
    done = run("new", "--id", "user-1", "--again", "--email", "new@example.com")
    assert done.returncode == 0, done.stderr
    user = {"name": "Ada Lovelace", "email": "new@example.com", "department": "Engineering"}
    assert [json.loads(body) for _, body in console.sent] == [user | {"id": "user-1", "again": True}]
    assert run("new", "--again").returncode == 2


def test_missing_fields_of_a_new_user_are_generated(run: Run, console: FakeConsole) -> None:
    done = run("new", "--name", "José Núñez", "--json")
    assert json.loads(done.stdout) == {"id": "made-up", "url": "/api/sagas/made-up"}
    user = json.loads(console.sent[0][1])
    assert user["email"] == "jose.nunez@example.com"
    assert user["department"] in ("Engineering", "Sales", "Finance", "People", "Support")


def test_many_new_users_are_sent_in_several_requests(run: Run, console: FakeConsole) -> None:
    done = run("new", "--count", "10003", "--json")
    assert json.loads(done.stdout)["accepted"] == 10003
    assert [len(json.loads(body)) for _, body in console.sent] == [10000, 3]


def test_a_csv_file_is_sent_unchanged(run: Run, console: FakeConsole) -> None:
    text = "name,email,department\nAda,ada@example.com,Sales\nBob,bob@example.com,People\n"
    done = run("new", "--csv", "-", input=text)
    assert (done.returncode, done.stdout) == (0, "2 users accepted; see: saga list\n")
    assert console.sent == [("text/csv", text.encode())]


def test_each_invalid_field_is_printed_in_a_line(run: Run, console: FakeConsole) -> None:
    faults = [{"index": 3, "field": "email", "message": "not an address"}, {"field": "name", "message": "is missing"}]
    console.problem = 422, {"title": "Unprocessable", "detail": "2 entries are wrong", "errors": faults}
    done = run("new", "--csv", "-", input="name\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "2 entries are wrong\n  entry 3, email: not an address\n  name: is missing\n"


def test_a_long_list_is_fetched_in_pages(run: Run, console: FakeConsole) -> None:
    done = run("list", "--limit", "230", "--state", "completed", "--search", "Ada", "--json")
    assert len(json.loads(done.stdout)["items"]) == 230
    assert len(console.requested_paths) == 3
    assert "state=completed" in console.requested_paths[0]
    assert "q=Ada" in console.requested_paths[0]


def test_a_limited_list_states_the_total(run: Run) -> None:
    done = run("list", "--limit", "2")
    assert done.stdout.count("Ada Lovelace") == 2
    assert done.stderr == "2 of 250: use --limit to show more\n"


def test_a_saga_shows_its_facts_and_history(run: Run) -> None:
    done = run("show", "user-7")
    for part in ("Ada Lovelace <ada@example.com>, Engineering", "LT-ABC", "git, ci", "1.25 s", "provisioner"):
        assert part in done.stdout


def test_an_unknown_saga_is_one_line_and_exit_code_1(run: Run) -> None:
    done = run("show", "nobody")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "no saga nobody\n")


def test_a_trace_shows_topic_partition_and_offset(run: Run) -> None:
    done = run("trace", "user-1")
    assert done.stdout.split() == [
        *("2030-01-02T03:04:05.678Z", "user-1", "authorize", "requested", "device_id=LT-ABC", "authorize/3@17"),
    ]


@pytest.mark.field(20)
def test_a_trace_shows_utc_and_the_date_of_other_days(run: Run, now: Callable[[str], None]) -> None:
    line = run("trace", "user-1").stdout
    assert line.startswith("2030-01-02T03:04:05.678Z ")
    assert time_of_day("2030-01-02T03:04:05.678Z", date(2030, 1, 2)) == "03:04:05.678Z"
    assert time_of_day("2030-01-02T03:04:05.678Z", date(2030, 1, 3)) == "2030-01-02T03:04:05.678Z"
    now(f"saga trace: {line.split()[0]}")


def test_a_trace_can_be_limited_to_recent_entries(run: Run, console: FakeConsole) -> None:
    assert json.loads(run("trace", "user-1", "--since", "10m", "--json").stdout)[
        "entries"
    ]  # the entry is in the future
    console.rows = [console.rows[0] | {"updated_at": "2001-01-01T00:00:00.000Z"}]
    assert run("trace", "--since", "10m").stdout == ""


def test_following_a_saga_ends_when_the_saga_ends(run: Run) -> None:
    done = run("trace", "user-1", "--follow", "--json")
    assert done.returncode == 0
    assert [json.loads(line)["offset"] for line in done.stdout.splitlines()] == [17]


def test_following_all_sagas_continues_after_a_lost_connection(console: FakeConsole) -> None:
    follower = Process(sys.executable, "-m", "saga_app", "trace", env={"SAGA_CONSOLE_PORT": str(console.port)})
    try:
        follower.wait_for_line("authorize/3@17", 10)
        console.events.append(
            ("step", {"entry": console.events[0][1]["entry"] | {"offset": 18}, "saga": console.rows[1]})
        )
        follower.wait_for_line("authorize/3@18", 10)
        assert "last_event_id=3" in console.requested_paths[-1]
        assert sum("@17" in line for line in follower.lines) == 1
    finally:
        follower.end()


def test_dead_letters_are_listed(run: Run) -> None:
    shown = run("errors").stdout.split()
    assert shown[-8:] == ["notify[3]@0", "user-9", "notifier", "notify", "Permanent", "no", "3", ENTRY["at"]]


def test_dead_letters_are_grouped_with_an_example(run: Run) -> None:
    done = run("errors", "--group")
    shown = done.stdout.split()
    assert done.stderr == ""
    assert shown[-8:] == ["notifier", "notify", "Permanent", "1", ENTRY["at"], ENTRY["at"], "no", "notify[3]@0"]


def test_a_dead_letter_is_shown_with_its_bytes_in_base64(run: Run) -> None:
    done = run("errors", "notify[3]@7")
    assert done.stdout.splitlines()[-1] == "base64: /wA="
    assert "\x1b" not in done.stdout, "a header can control the terminal"
    assert json.loads(run("errors", "notify[3]@7", "--json").stdout)["name"] == "notify[3]@7"
    assert run("errors", "notify-3-7").returncode == 2


def test_given_ids_are_redriven_without_confirmation(run: Run, console: FakeConsole) -> None:
    done = run("redrive", "user-9", "user-8", "--by", "ana")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 redriven\n", "1 left out: already resolved\n")
    assert console.actions == [("redrive", {"ids": ["user-9", "user-8"], "by": "ana"})]


def test_the_operator_is_the_login_name_by_default(run: Run, console: FakeConsole) -> None:
    run("rollback", "user-9")
    assert console.actions == [("rollback", {"ids": ["user-9"], "by": getpass.getuser()})]


def test_a_dry_run_prints_the_count_and_changes_nothing(run: Run, console: FakeConsole) -> None:
    done = run("redrive", "--all", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert json.loads(run("rollback", "user-9", "--dry-run", "--json").stdout) == {"count": 1, "dry_run": True}
    assert console.actions == []


def test_matching_dead_letters_are_redriven_in_batches_oldest_first(run: Run, console: FakeConsole) -> None:
    console.letters = [letter(number) for number in range(1203)]
    done = run("redrive", "--service", "notifier", "--error", "Permanent", "--yes", "--json")
    assert json.loads(done.stdout) == {"count": 1200, "dry_run": False, "left_out": {"already resolved": 3}}
    assert [len(body["ids"]) for _, body in console.actions] == [500, 500, 203]
    assert console.actions[0][1]["ids"][0] == "notify[3]@1202"
    list_requests = [path for path in console.requested_paths if path.startswith("/api/errors?")]
    assert all("service=notifier" in path and "error=Permanent" in path for path in list_requests)


def test_the_rate_limit_applies_across_batches(run: Run, console: FakeConsole) -> None:
    console.letters = [letter(number) for number in range(600)]
    began_s = time.monotonic()
    assert run("redrive", "--all", "--yes", "--rate", "500").returncode == 0
    assert time.monotonic() - began_s >= 1
    assert [(len(body["ids"]), body["rate"]) for _, body in console.actions] == [(500, 500.0), (100, 500.0)]


def test_rolling_back_all_asks_for_confirmation_on_a_terminal(console: FakeConsole) -> None:
    for answer, exit_code, action_count in ((b"n\n", 1, 0), (b"y\n", 0, 1)):
        controller, terminal = os.openpty()
        os.write(controller, answer)
        command = [sys.executable, "-m", "saga_app", "--console", f"http://127.0.0.1:{console.port}"]
        done = subprocess.run(
            [*command, "rollback", "--all"], stdin=terminal, capture_output=True, timeout=30, check=False
        )
        os.close(controller)
        os.close(terminal)
        assert b"Roll back the sagas of one dead letter?" in done.stderr
        assert (done.returncode, len(console.actions)) == (exit_code, action_count)


def test_without_a_terminal_actions_on_many_need_the_option_yes(run: Run, console: FakeConsole) -> None:
    done = run("rollback", "--step", "notify")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert console.actions == []


def test_an_interrupted_redrive_states_how_many_were_sent(run: Run, console: FakeConsole) -> None:
    console.letters = [letter(number) for number in range(700)]
    console.max_actions = 500
    done = run("redrive", "--all", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "nothing was sent: the broker is unavailable",
        "499 were sent before; repeat the command for the rest",
    ]


def test_the_token_is_sent_with_every_request(run: Run, console: FakeConsole) -> None:
    run("new", SAGA_TOKEN="sesame-open")
    assert console.tokens == ["Bearer sesame-open"]


@pytest.mark.parametrize("command", [["list"], ["new"], ["show", "x"], ["trace"], ["errors"], ["redrive", "x"]])
def test_a_missing_console_is_reported_in_one_line_with_the_remedy(command: list[str]) -> None:
    done = saga(*command, env={"SAGA_CONSOLE_PORT": str(free_port())})
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "no console at http://127.0.0.1:" in done.stderr
    assert "saga up" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["fly"],
        ["list", "--state", "asleep"],
        ["list", "--limit", "0"],
        ["show"],
        ["trace", "--since", "yesterday"],
        ["new", "--count", "3", "--name", "Ada"],
        ["new", "--csv", "no-such-file"],
        ["redrive"],
        ["redrive", "x", "--all"],
        ["redrive", "--all", "--service", "notifier", "--yes"],
        ["rollback", "x", "--step", "notify"],
        ["rollback", "x", "--rate", "0"],
        ["up", "--workers", "0"],
        ["up", "--broker", "localhost:9092"],
    ],
)
def test_invalid_arguments_are_exit_code_2(command: list[str]) -> None:
    done = saga(*command)
    assert done.returncode == 2
    assert done.stderr


@pytest.mark.parametrize("command", ["up", "new", "list", "show", "trace", "errors", "redrive", "rollback", "settings"])
def test_every_subcommand_has_a_help_text(command: str) -> None:
    done = saga(command, "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 4


def test_settings_are_listed_with_value_default_and_meaning() -> None:
    listed = json.loads(saga("settings", "--json", env={"SAGA_LAG": "0", "SAGA_TOKEN": "sesame-open"}).stdout)
    by_name = {each["variable"]: each for each in listed}
    assert (by_name["SAGA_LAG"]["value"], by_name["SAGA_LAG"]["default"]) == ("0", "0.5-2.0")
    assert by_name["SAGA_TOKEN"]["value"] == "***"
    assert all(each["meaning"] for each in listed)


def test_help_is_printed_without_importing_clients_and_servers() -> None:
    slow = {"faust", "aiokafka", "aiohttp", "confluent_kafka", "sqlalchemy"}
    code = (
        "import sys; from saga_app import cli; cli.main(['--help'], standalone_mode=False); "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert "Usage: " in done.stdout
    assert slow.isdisjoint(done.stderr.split())
