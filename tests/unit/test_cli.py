"""The command line, as processes against a console that answers from memory."""

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
    with FakeConsole() as running:
        yield running


@pytest.fixture
def run(console: FakeConsole) -> Run:
    def go(*arguments: str, input: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return saga(*arguments, env={"SAGA_CONSOLE_PORT": str(console.port)} | env, input=input)

    return go


def test_a_user_can_be_onboarded_with_her_own_data(run: Run, console: FakeConsole) -> None:
    done = run("new", "--name", "Grace Hopper", "--email", "g@example.com", "--department", "Sales", "--id", "grace")
    assert (done.returncode, done.stdout) == (0, "grace accepted; see: saga show grace\n")
    user = {"name": "Grace Hopper", "email": "g@example.com", "department": "Sales", "id": "grace"}
    assert [json.loads(body) for _, body in console.sent] == [user]


def test_a_user_begins_again_with_what_the_earlier_saga_knows(run: Run, console: FakeConsole) -> None:
    done = run("new", "--id", "user-1", "--again", "--email", "new@example.com")
    assert done.returncode == 0, done.stderr
    user = {"name": "Ada Lovelace", "email": "new@example.com", "department": "Engineering"}
    assert [json.loads(body) for _, body in console.sent] == [user | {"id": "user-1", "again": True}]
    assert run("new", "--again").returncode == 2


def test_what_is_not_said_about_a_user_is_made_up(run: Run, console: FakeConsole) -> None:
    done = run("new", "--name", "José Núñez", "--json")
    assert json.loads(done.stdout) == {"id": "made-up", "url": "/api/sagas/made-up"}
    user = json.loads(console.sent[0][1])
    assert user["email"] == "jose.nunez@example.com"
    assert user["department"] in ("Engineering", "Sales", "Finance", "People", "Support")


def test_more_users_than_the_console_takes_at_once_are_sent_in_parts(run: Run, console: FakeConsole) -> None:
    done = run("new", "--count", "10003", "--json")
    assert json.loads(done.stdout)["accepted"] == 10003
    assert [len(json.loads(body)) for _, body in console.sent] == [10000, 3]


def test_a_csv_file_is_sent_as_it_is(run: Run, console: FakeConsole) -> None:
    text = "name,email,department\nAda,ada@example.com,Sales\nBob,bob@example.com,People\n"
    done = run("new", "--csv", "-", input=text)
    assert (done.returncode, done.stdout) == (0, "2 users accepted; see: saga list\n")
    assert console.sent == [("text/csv", text.encode())]


def test_each_wrong_field_of_an_entry_is_a_line(run: Run, console: FakeConsole) -> None:
    wrong = [{"index": 3, "field": "email", "message": "not an address"}, {"field": "name", "message": "is missing"}]
    console.refuse = 422, {"title": "Unprocessable", "detail": "2 entries are wrong", "errors": wrong}
    done = run("new", "--csv", "-", input="name\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "2 entries are wrong\n  entry 3, email: not an address\n  name: is missing\n"


def test_a_list_takes_as_many_pages_as_it_needs(run: Run, console: FakeConsole) -> None:
    done = run("list", "--limit", "230", "--state", "completed", "--search", "Ada", "--json")
    assert len(json.loads(done.stdout)["items"]) == 230
    assert len(console.asked) == 3
    assert "state=completed" in console.asked[0]
    assert "q=Ada" in console.asked[0]


def test_a_list_for_people_says_that_there_is_more(run: Run) -> None:
    done = run("list", "--limit", "2")
    assert done.stdout.count("Ada Lovelace") == 2
    assert done.stderr == "2 of 250: use --limit to show more\n"


def test_a_saga_shows_its_facts_and_history(run: Run) -> None:
    done = run("show", "user-7")
    for part in ("Ada Lovelace <ada@example.com>, Engineering", "LT-ABC", "git, ci", "1.25 s", "provisioner"):
        assert part in done.stdout


def test_a_saga_that_does_not_exist_is_one_line_and_exit_code_1(run: Run) -> None:
    done = run("show", "nobody")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "no saga nobody\n")


def test_a_trace_shows_topic_partition_and_offset(run: Run) -> None:
    done = run("trace", "user-1")
    assert done.stdout.split() == [
        *("2030-01-02T03:04:05.678Z", "user-1", "authorize", "requested", "device_id=LT-ABC", "authorize/3@17"),
    ]


@pytest.mark.field(20)
def test_a_trace_shows_utc_and_the_date_unless_it_is_today(run: Run, now: Callable[[str], None]) -> None:
    line = run("trace", "user-1").stdout
    assert line.startswith("2030-01-02T03:04:05.678Z ")
    assert time_of_day("2030-01-02T03:04:05.678Z", date(2030, 1, 2)) == "03:04:05.678Z"
    assert time_of_day("2030-01-02T03:04:05.678Z", date(2030, 1, 3)) == "2030-01-02T03:04:05.678Z"
    now(f"saga trace: {line.split()[0]}")


def test_a_trace_can_leave_out_what_is_long_ago(run: Run, console: FakeConsole) -> None:
    assert json.loads(run("trace", "user-1", "--since", "10m", "--json").stdout)[
        "entries"
    ]  # the entry is in the future
    console.rows = [console.rows[0] | {"updated_at": "2001-01-01T00:00:00.000Z"}]
    assert run("trace", "--since", "10m").stdout == ""


def test_following_a_saga_ends_with_it(run: Run) -> None:
    done = run("trace", "user-1", "--follow", "--json")
    assert done.returncode == 0
    assert [json.loads(line)["offset"] for line in done.stdout.splitlines()] == [17]


def test_following_everything_goes_on_after_a_lost_connection(console: FakeConsole) -> None:
    follower = Process(sys.executable, "-m", "saga_app", "trace", env={"SAGA_CONSOLE_PORT": str(console.port)})
    try:
        follower.wait_for_line("authorize/3@17", 10)
        console.events.append(
            ("step", {"entry": console.events[0][1]["entry"] | {"offset": 18}, "saga": console.rows[1]})
        )
        follower.wait_for_line("authorize/3@18", 10)
        assert "last_event_id=3" in console.asked[-1]
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


def test_one_dead_letter_is_shown_with_its_bytes_and_cannot_control_the_terminal(run: Run) -> None:
    done = run("errors", "notify[3]@7")
    assert done.stdout.splitlines()[-1] == "base64: /wA="
    assert "\x1b" not in done.stdout
    assert json.loads(run("errors", "notify[3]@7", "--json").stdout)["name"] == "notify[3]@7"
    assert run("errors", "notify-3-7").returncode == 2


def test_an_id_is_redriven_at_once_and_it_is_said_by_whom(run: Run, console: FakeConsole) -> None:
    done = run("redrive", "user-9", "user-8", "--by", "ana")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1 redriven\n", "1 left out: already resolved\n")
    assert console.orders == [("redrive", {"ids": ["user-9", "user-8"], "by": "ana"})]


def test_who_does_not_say_a_name_is_known_by_the_login(run: Run, console: FakeConsole) -> None:
    run("rollback", "user-9")
    assert console.orders == [("rollback", {"ids": ["user-9"], "by": getpass.getuser()})]


def test_a_dry_run_prints_the_count_and_changes_nothing(run: Run, console: FakeConsole) -> None:
    done = run("redrive", "--all", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert json.loads(run("rollback", "user-9", "--dry-run", "--json").stdout) == {"count": 1, "dry_run": True}
    assert console.orders == []


def test_all_that_match_are_counted_and_then_sent_in_portions_oldest_first(run: Run, console: FakeConsole) -> None:
    console.letters = [letter(number) for number in range(1203)]
    done = run("redrive", "--service", "notifier", "--error", "Permanent", "--yes", "--json")
    assert json.loads(done.stdout) == {"count": 1200, "dry_run": False, "left_out": {"already resolved": 3}}
    assert [len(body["ids"]) for _, body in console.orders] == [500, 500, 203]
    assert console.orders[0][1]["ids"][0] == "notify[3]@1202"
    listed = [path for path in console.asked if path.startswith("/api/errors?")]
    assert all("service=notifier" in path and "error=Permanent" in path for path in listed)


def test_a_rate_is_kept_over_all_portions(run: Run, console: FakeConsole) -> None:
    console.letters = [letter(number) for number in range(600)]
    began = time.monotonic()
    assert run("redrive", "--all", "--yes", "--rate", "500").returncode == 0
    assert time.monotonic() - began >= 1
    assert [(len(body["ids"]), body["rate"]) for _, body in console.orders] == [(500, 500.0), (100, 500.0)]


def test_on_a_terminal_many_are_asked_for_and_a_no_leaves_everything_as_it_is(console: FakeConsole) -> None:
    for answer, code, orders in ((b"n\n", 1, 0), (b"y\n", 0, 1)):
        ours, theirs = os.openpty()
        os.write(ours, answer)
        command = [sys.executable, "-m", "saga_app", "--console", f"http://127.0.0.1:{console.port}"]
        done = subprocess.run(
            [*command, "rollback", "--all"], stdin=theirs, capture_output=True, timeout=30, check=False
        )
        os.close(ours)
        os.close(theirs)
        assert b"Roll back the sagas of one dead letter?" in done.stderr
        assert (done.returncode, len(console.orders)) == (code, orders)


def test_where_nobody_can_be_asked_many_need_a_yes(run: Run, console: FakeConsole) -> None:
    done = run("rollback", "--step", "notify")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert console.orders == []


def test_who_breaks_off_midway_is_told_how_far_it_came(run: Run, console: FakeConsole) -> None:
    console.letters = [letter(number) for number in range(700)]
    console.takes = 500
    done = run("redrive", "--all", "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "nothing was sent: the broker is away",
        "499 were sent before; repeat the command for the rest",
    ]


def test_the_token_goes_with_every_call(run: Run, console: FakeConsole) -> None:
    run("new", SAGA_TOKEN="sesame-open")
    assert console.tokens == ["Bearer sesame-open"]


@pytest.mark.parametrize("command", [["list"], ["new"], ["show", "x"], ["trace"], ["errors"], ["redrive", "x"]])
def test_without_a_console_one_line_says_what_to_do(command: list[str]) -> None:
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
def test_wrong_use_is_exit_code_2(command: list[str]) -> None:
    done = saga(*command)
    assert done.returncode == 2
    assert done.stderr


@pytest.mark.parametrize("command", ["up", "new", "list", "show", "trace", "errors", "redrive", "rollback", "settings"])
def test_every_subcommand_explains_itself(command: str) -> None:
    done = saga(command, "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 4


def test_settings_are_listed_with_value_default_and_meaning() -> None:
    listed = json.loads(saga("settings", "--json", env={"SAGA_LAG": "0", "SAGA_TOKEN": "sesame-open"}).stdout)
    by_name = {each["variable"]: each for each in listed}
    assert (by_name["SAGA_LAG"]["value"], by_name["SAGA_LAG"]["default"]) == ("0", "0.5-2.0")
    assert by_name["SAGA_TOKEN"]["value"] == "***"
    assert all(each["meaning"] for each in listed)


def test_help_comes_at_once() -> None:
    began = time.monotonic()
    assert saga("--help").returncode == 0
    assert time.monotonic() - began < 2  # 0.1 s on a quiet machine
