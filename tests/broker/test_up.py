"""`saga up` end to end: start, onboarding, crashes, invalid settings, shutdown."""

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
    """The state of a saga, or None if it does not exist."""
    shown = system.saga("show", id, "--json")
    return str(json.loads(shown.stdout)["state"]) if shown.returncode == 0 else None


def onboard(system: System, id: str, within_s: float = 30) -> None:
    """Onboard a user from the command line and wait until the saga has completed."""
    done = system.saga("new", "--id", id, "--department", "Sales")
    assert done.returncode == 0, done.stderr
    until(lambda: state(system, id) == "completed", within_s, f"{id} was not onboarded", every_s=0.2)


def test_it_is_ready_within_15_s_and_onboards_users(start_system: Start) -> None:
    began = time.monotonic()
    system = start_system("--users", "5", lag="0-0.1")
    assert time.monotonic() - began < 15
    assert "in memory" in system.output_tail()
    system.wait_for_line("5 users onboarded", 10)
    until(lambda: completed_count(system) == 5, 30, "not all 5 users were onboarded", every_s=0.2)
    onboard(system, "ada")
    trace = json.loads(system.saga("trace", "ada", "--json").stdout)
    kinds = [(entry["step"], entry["kind"]) for entry in trace["entries"]]
    assert kinds[0][1] == "requested"
    assert kinds[-1][1] == "completed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_within_10_s_and_leaves_no_process_or_file(system: System, number: int) -> None:
    onboard(system, "ada")
    children = system.children()
    assert len(children) >= 5
    assert system.stop(number) < 10
    assert system.process.returncode == 0
    until(lambda: not any(child.is_running() for child in children), 2, "a process did not end")
    ports = [port for name, port in system.settings.items() if name.endswith("_port")]
    assert not any(listening(port) for port in ports)
    assert not list(Path(system.settings["datadir"]).rglob("*.*"))


def test_a_killed_service_restarts_and_users_are_onboarded(system: System) -> None:
    onboard(system, "before")
    system.child("agents:provisioner").kill()
    system.wait_for_line("provisioner was killed by SIGKILL", 5)
    onboard(system, "after", within_s=45)
    assert state(system, "before") == "completed"


def test_when_the_embedded_broker_dies_all_services_restart_empty(system: System) -> None:
    onboard(system, "forgotten")
    next(child for child in system.children() if any("mock_cluster" in word for word in child.cmdline())).kill()
    system.wait_for_line("the embedded broker died and its data are lost", 5)
    system.wait_for_line("all services are ready again", 45)
    onboard(system, "new")
    assert state(system, "forgotten") is None


def test_a_parked_saga_is_listed_under_errors_with_its_reason(start_system: Start) -> None:
    system = start_system(lag="0", error_rate="1")
    assert system.saga("new", "--id", "unlucky").returncode == 0
    until(lambda: state(system, "unlucky") == "parked", 30, "the saga was not parked", every_s=0.2)
    listed = json.loads(system.saga("errors", "--json").stdout)
    assert [(letter["id"], letter["service"]) for letter in listed["items"]] == [("unlucky", "provisioner")]
    assert "SAGA_ERROR_RATE" in listed["items"][0]["reason"]
    assert "provisioner" in system.saga("errors", "--group").stdout


def completed_count(system: System) -> int:
    """The number of completed sagas; 0 while the console does not answer."""
    listed = system.saga("list", "--state", "completed", "--json")
    return int(json.loads(listed.stdout)["total"]) if listed.returncode == 0 else 0


@pytest.mark.parametrize(
    "name", ["console_port", "provisioner_port", "authorizer_port", "notifier_port", "embedded_port"]
)
def test_a_taken_port_is_reported_in_one_line_and_nothing_starts(start_system: Start, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        system = start_system(wait=False, **{name: port})
        assert system.process.wait(10) == 1
        until(lambda: system.lines, 2, "no reason was printed")
        line = f"port {port} on 127.0.0.1 is in use by another program: set SAGA_{name.upper()} to another one"
        assert system.lines == [line]


def test_one_port_for_two_services_is_reported_in_one_line() -> None:
    done = saga("up", env={"SAGA_CONSOLE_PORT": "6066"})
    assert done.returncode == 1
    assert done.stderr == "SAGA_PROVISIONER_PORT and SAGA_CONSOLE_PORT are both 6066: give one of them another port\n"


def test_an_invalid_setting_is_reported_in_one_line() -> None:
    done = saga("up", env={"SAGA_LAG": "slow"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "SAGA_LAG=slow is invalid; allowed: seconds or a range, such as 0 or 0.5-2.0\n"


def test_an_invalid_policy_is_reported_in_one_line(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("departments: {Sales: {device: TB}}")
    done = saga("up", env={"SAGA_POLICY": str(policy)})
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"SAGA_POLICY={policy}" in done.stderr


@pytest.mark.field(21)
@pytest.mark.parametrize("arguments", [(), ("--broker", "kafka://127.0.0.1:1")])
@pytest.mark.parametrize("path", ["/proc/x", "/etc/passwd"])
def test_an_unusable_data_directory_is_reported_in_one_line(
    path: str, arguments: tuple[str, ...], start_system: Start, now: Callable[[str], None]
) -> None:
    system = start_system(*arguments, wait=False, datadir=path)
    assert system.process.wait(30) == 1
    until(lambda: system.lines, 2, "no reason was printed")
    assert len(system.lines) == 1
    assert system.lines[0].startswith(f"SAGA_DATADIR={path} cannot be used (")
    now(system.lines[0])


@pytest.mark.field(21)
def test_saga_up_ends_if_a_service_has_an_invalid_environment(start_system: Start, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("Dear diary")
    index = f"sqlite:///{tmp_path}/diary.txt"
    system = start_system("--broker", "kafka://127.0.0.1:1", wait=False, index=index)
    assert system.process.wait(60) == 2
    until(
        lambda: system.lines[-1].startswith(f"SAGA_INDEX={index} cannot be used"), 2, "the last line is not the reason"
    )
    assert not any("restarting in" in line for line in system.lines)
    assert not any("Traceback" in line for line in system.lines)


@pytest.mark.field(25)
@pytest.mark.parametrize("bind", ["::1", "127.0.0.2"])
def test_services_are_reachable_at_the_address_they_are_bound_to(
    bind: str, start_system: Start, now: Callable[[str], None]
) -> None:
    system = start_system("--workers", "2", lag="0", bind=bind)
    onboard(system, "ada")
    services = until(lambda: service_count(system), 15, "the console does not report every service as up", every_s=0.2)
    port = int(system.settings["provisioner_port"])
    for worker in (port, port + 100):  # the one that does not own the row asks the other
        with urlopen(f"{system.url.rpartition(':')[0]}:{worker}/sagas/ada", timeout=10) as answer:
            assert json.load(answer)["state"] == "completed"
    now(f"{bind}: {services} services up, a row from both workers")


def service_count(system: System) -> int | None:
    """The number of services, or None if the console does not report all of them as up."""
    with urlopen(f"{system.url}/api/stats", timeout=10) as answer:
        services = json.load(answer)["services"]
    return len(services) if all(each["up"] for each in services.values()) else None


def metrics(url: str) -> str:
    """The metrics of a service in Prometheus's text format."""
    with urlopen(f"{url}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.field(24)
def test_metrics_are_valid_and_omit_unknown_values_of_a_frozen_broker(
    system: System, now: Callable[[str], None]
) -> None:
    onboard(system, "ada")
    until(lambda: "saga_service_lag{" in metrics(system.url), 15, "the metrics do not contain the lag", every_s=0.2)
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
        until(
            lambda: not any(name in metrics(system.url) for name in unknown), 45, "the metrics contain unknown values"
        )
        with urlopen(f"{system.url}/api/stats", timeout=10) as answer:
            services = json.load(answer)["services"]
        assert all((each["lag"], each["workers"]) == (None, None) for each in services.values())
        now("frozen: lag, workers and delay absent; promtool silent for all services")
    finally:
        broker.resume()


@pytest.mark.field(22)
def test_a_terminal_that_is_not_utf_8_gets_ascii_output(
    start_system: Start, monkeypatch: pytest.MonkeyPatch, now: Callable[[str], None]
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    system = start_system("--users", "1", lag="0", log_level="debug")
    until(lambda: any("idempotency_key" in line for line in system.lines), 30, "the log does not contain the mail")
    assert not any("UnicodeEncodeError" in line for line in system.lines)
    assert all(line.isascii() for line in system.lines)
    now("saga up with PYTHONIOENCODING=ascii: ready, ASCII only")
