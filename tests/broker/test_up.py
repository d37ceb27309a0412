"""`saga up` as a stranger meets it: ready soon, hard to break, gone when told."""

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from devtools.system import System, saga
from devtools.wait import listening, until

Start = Callable[..., System]


def state(system: System, id: str) -> str | None:
    shown = system.saga("show", id, "--json")
    return str(json.loads(shown.stdout)["state"]) if shown.returncode == 0 else None


def onboard(system: System, id: str, within_s: float = 30) -> None:
    """A user is onboarded, from the command line to the end."""
    done = system.saga("new", "--id", id, "--department", "Sales")
    assert done.returncode == 0, done.stderr
    until(lambda: state(system, id) == "completed", within_s, f"{id} is onboarded", every_s=0.2)


def test_it_is_ready_within_15_s_and_users_can_be_onboarded_with_it_and_after(start_system: Start) -> None:
    began = time.monotonic()
    system = start_system("--users", "5", lag="0-0.1")
    assert time.monotonic() - began < 15
    assert "in memory" in system.said()
    system.wait_for_line("5 users onboarded", 10)
    until(lambda: completed_count(system) == 5, 30, "all five are onboarded", every_s=0.2)
    onboard(system, "ada")
    trace = json.loads(system.saga("trace", "ada", "--json").stdout)
    kinds = [(entry["step"], entry["kind"]) for entry in trace["entries"]]
    assert kinds[0][1] == "requested"
    assert kinds[-1][1] == "completed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_within_10_s_and_leaves_nothing_behind(system: System, number: int) -> None:
    onboard(system, "ada")
    children = system.children()
    assert len(children) >= 5
    assert system.stop(number) < 10
    assert system.process.returncode == 0
    until(lambda: not any(child.is_running() for child in children), 2, "no process is left")
    ports = [port for name, port in system.settings.items() if name.endswith("_port")]
    assert not any(listening(port) for port in ports)
    assert not list(Path(system.settings["datadir"]).rglob("*.*"))


def test_a_service_killed_by_force_comes_back_and_works_go_on(system: System) -> None:
    onboard(system, "before")
    system.child("agents:provisioner").kill()
    system.wait_for_line("provisioner was killed by SIGKILL", 5)
    onboard(system, "after", within_s=45)
    assert state(system, "before") == "completed"


def test_when_the_embedded_broker_dies_all_begins_afresh(system: System) -> None:
    onboard(system, "forgotten")
    next(child for child in system.children() if any("mock_cluster" in word for word in child.cmdline())).kill()
    system.wait_for_line("the embedded broker died and its data are lost", 5)
    system.wait_for_line("all services are ready again", 45)
    onboard(system, "new")
    assert state(system, "forgotten") is None


def test_what_cannot_be_handled_is_listed_with_its_reason(start_system: Start) -> None:
    system = start_system(lag="0", error_rate="1")
    assert system.saga("new", "--id", "unlucky").returncode == 0
    until(lambda: state(system, "unlucky") == "parked", 30, "the saga is parked", every_s=0.2)
    listed = json.loads(system.saga("errors", "--json").stdout)
    assert [(letter["id"], letter["service"]) for letter in listed["items"]] == [("unlucky", "provisioner")]
    assert "SAGA_ERROR_RATE" in listed["items"][0]["reason"]
    assert "provisioner" in system.saga("errors", "--group").stdout


def completed_count(system: System) -> int:
    listed = system.saga("list", "--state", "completed", "--json")
    return int(json.loads(listed.stdout)["total"]) if listed.returncode == 0 else 0


@pytest.mark.parametrize(
    "name", ["console_port", "provisioner_port", "authorizer_port", "notifier_port", "embedded_port"]
)
def test_a_taken_port_is_one_line_that_names_it_and_nothing_is_started(start_system: Start, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        system = start_system(wait=False, **{name: port})
        assert system.process.wait(10) == 1
        until(lambda: system.lines, 2, "it has said why")
        line = f"port {port} on 127.0.0.1 is in use by another program: set SAGA_{name.upper()} to another one"
        assert system.lines == [line]


def test_one_port_for_two_services_is_one_line() -> None:
    done = saga("up", env={"SAGA_CONSOLE_PORT": "6066"})
    assert done.returncode == 1
    assert done.stderr == "SAGA_PROVISIONER_PORT and SAGA_CONSOLE_PORT are both 6066: give one of them another port\n"


def test_a_wrong_setting_is_one_line_and_nothing_is_started() -> None:
    done = saga("up", env={"SAGA_LAG": "slow"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "SAGA_LAG=slow is invalid; allowed: seconds or a range, such as 0 or 0.5-2.0\n"


def test_a_wrong_policy_is_one_line_and_nothing_is_started(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("departments: {Sales: {device: TB}}")
    done = saga("up", env={"SAGA_POLICY": str(policy)})
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"SAGA_POLICY={policy}" in done.stderr


@pytest.mark.field(21)
@pytest.mark.parametrize("arguments", [(), ("--broker", "kafka://127.0.0.1:1")])
@pytest.mark.parametrize("path", ["/proc/x", "/etc/passwd"])
def test_a_data_directory_that_cannot_be_used_is_one_line(
    path: str, arguments: tuple[str, ...], start_system: Start, now: Callable[[str], None]
) -> None:
    system = start_system(*arguments, wait=False, datadir=path)
    assert system.process.wait(30) == 1
    until(lambda: system.lines, 2, "it has said why")
    assert len(system.lines) == 1
    assert system.lines[0].startswith(f"SAGA_DATADIR={path} cannot be used (")
    now(system.lines[0])


@pytest.mark.field(21)
def test_a_service_whose_environment_is_wrong_ends_everything(start_system: Start, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("Dear diary")
    index = f"sqlite:///{tmp_path}/diary.txt"
    system = start_system("--broker", "kafka://127.0.0.1:1", wait=False, index=index)
    assert system.process.wait(60) == 2
    until(lambda: system.lines[-1].startswith(f"SAGA_INDEX={index} cannot be used"), 2, "it ends with the reason")
    assert not any("restarting in" in line for line in system.lines)
    assert not any("Traceback" in line for line in system.lines)


@pytest.mark.field(25)
@pytest.mark.parametrize("bind", ["::1", "127.0.0.2"])
def test_services_are_asked_at_the_address_that_they_listen_on(
    bind: str, start_system: Start, now: Callable[[str], None]
) -> None:
    system = start_system("--workers", "2", lag="0", bind=bind)
    onboard(system, "ada")
    services = until(lambda: all_up(system), 15, "the console finds every service", every_s=0.2)
    port = int(system.settings["provisioner_port"])
    for worker in (port, port + 100):  # one of them has to ask the other
        with urlopen(f"{system.url.rpartition(':')[0]}:{worker}/sagas/ada", timeout=10) as answer:
            assert json.load(answer)["state"] == "completed"
    now(f"{bind}: {services} services up, a row from both workers")


def all_up(system: System) -> int | None:
    """How many services the console says are up, once all are."""
    with urlopen(f"{system.url}/api/stats", timeout=10) as answer:
        services = json.load(answer)["services"]
    return len(services) if all(each["up"] for each in services.values()) else None


def metrics(url: str) -> str:
    with urlopen(f"{url}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.field(24)
def test_metrics_are_valid_and_hide_what_a_frozen_broker_does_not_tell(
    system: System, now: Callable[[str], None]
) -> None:
    onboard(system, "ada")
    until(lambda: "saga_service_lag{" in metrics(system.url), 15, "the lag is known", every_s=0.2)
    if shutil.which("promtool") is None:
        pytest.skip("promtool is needed: Debian's prometheus")
    for name in ("console_port", "provisioner_port", "authorizer_port", "notifier_port"):
        text = metrics(f"http://127.0.0.1:{system.settings[name]}")
        done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), name
    broker = next(child for child in system.children() if any("mock_cluster" in word for word in child.cmdline()))
    broker.suspend()
    try:
        unknown = ("saga_service_lag{", "saga_service_workers{", "saga_console_delay_seconds{")
        until(lambda: not any(name in metrics(system.url) for name in unknown), 45, "nothing unknown is shown")
        with urlopen(f"{system.url}/api/stats", timeout=10) as answer:
            services = json.load(answer)["services"]
        assert all((each["lag"], each["workers"]) == (None, None) for each in services.values())
        now("frozen: lag, workers and delay absent; promtool silent for all services")
    finally:
        broker.resume()


@pytest.mark.field(22)
def test_a_terminal_that_is_not_utf_8_is_no_hindrance(
    start_system: Start, monkeypatch: pytest.MonkeyPatch, now: Callable[[str], None]
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    system = start_system("--users", "1", lag="0", log_level="debug")
    until(lambda: any("idempotency_key" in line for line in system.lines), 30, "the mail is in the log")
    assert not any("UnicodeEncodeError" in line for line in system.lines)
    assert all(line.isascii() for line in system.lines)
    now("saga up with PYTHONIOENCODING=ascii: ready, ASCII only")
