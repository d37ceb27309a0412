"""The supervisor behind `saga up`, with stub services as real processes."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import pytest

from devtools.system import Process
from devtools.wait import free_ports, listening, until

ROOT = Path(__file__).parents[2]

Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts the supervisor with ready stubs: `start("broker", "8081", "8082:ignore-term")`."""
    started: list[Process] = []

    def start_supervisor(*arguments: str, within_s: float = 30) -> Process:
        stub_up = Path(__file__).with_name("stub_up.py")
        started.append(Process(sys.executable, str(stub_up), *arguments, env={"PYTHONPATH": str(ROOT)}))
        started[-1].wait_for_line("ready: all", within_s)
        return started[-1]

    yield start_supervisor
    for process in started:
        process.end()


def get(port: int, path: str) -> str:
    """The body of a GET response of a stub; empty if it does not answer."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except (URLError, ConnectionError):
        return ""


def assert_nothing_left(children: list[psutil.Process], ports: list[int]) -> None:
    until(lambda: not psutil.wait_procs(children, timeout=0.1)[1], 5, "a service did not end")
    assert not any(listening(port) for port in ports)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_and_leaves_no_process(start: Start, number: int) -> None:
    ports = free_ports(2)
    up = start("broker", *map(str, ports))
    children = up.children()
    assert len(children) == 3
    assert up.stop(number) < 10
    assert up.process.returncode == 0
    assert_nothing_left(children, ports)


def test_every_output_line_of_a_service_is_prefixed_with_its_name(start: Start) -> None:
    port = free_ports(1)[0]
    up = start(str(port))
    assert f"stub0 │ stub on {port}" in up.lines


def test_a_crashed_service_is_reported_and_restarted(start: Start) -> None:
    ports = free_ports(2)
    up = start(*map(str, ports))
    before, other = get(ports[0], "/pid"), get(ports[1], "/pid")
    get(ports[0], "/die")
    up.wait_for_line("these are my last words", 5)
    up.wait_for_line("stub0 ended with exit code 7, restarting in 0.5 s", 5)
    until(lambda: get(ports[0], "/pid") not in ("", before), 15, "the service did not restart")
    assert get(ports[1], "/pid") == other
    get(ports[0], "/die")
    up.wait_for_line("restarting in 1 s", 5)


def test_a_killed_service_is_restarted(start: Start) -> None:
    port = free_ports(1)[0]
    up = start(str(port))
    before = get(port, "/pid")
    psutil.Process(int(before)).kill()
    up.wait_for_line("stub0 was killed by SIGKILL", 5)
    until(lambda: get(port, "/pid") not in ("", before), 15, "the service did not restart")


def test_a_service_that_ignores_sigterm_is_killed_within_10_s(start: Start) -> None:
    ports = free_ports(2)
    up = start(f"{ports[0]}:ignore-term", str(ports[1]))
    children = up.children()
    assert up.stop() < 10
    assert_nothing_left(children, ports)


def test_a_second_signal_kills_the_services_at_once(start: Start) -> None:
    port = free_ports(1)[0]
    up = start(f"{port}:ignore-term")
    up.process.send_signal(signal.SIGINT)
    up.wait_for_line("stopping", 5)
    assert up.stop(signal.SIGINT) < 3
    assert not listening(port)


def test_services_and_broker_end_with_a_killed_supervisor(start: Start) -> None:
    ports = free_ports(2)
    up = start("broker", *map(str, ports))
    children = up.children()
    up.process.kill()
    up.process.wait()
    assert_nothing_left(children, ports)


def test_the_death_of_the_embedded_broker_restarts_all_services(start: Start) -> None:
    port = free_ports(1)[0]
    up = start("broker", str(port))
    before = get(port, "/pid")
    next(each for each in up.children() if str(each.pid) != before).kill()
    up.wait_for_line("the embedded broker died and its data are lost", 5)
    up.wait_for_line("all services are ready again", 20)
    assert get(port, "/pid") not in ("", before)
    assert len(up.children()) == 2


def test_the_supervisor_ends_when_its_output_pipe_is_closed() -> None:
    port = free_ports(1)[0]
    stub_up = Path(__file__).with_name("stub_up.py")
    up = subprocess.Popen([sys.executable, str(stub_up), str(port)], stdout=subprocess.PIPE, cwd=ROOT)
    assert up.stdout is not None
    try:
        assert any(b"ready: all" in line for line in up.stdout)
        up.stdout.close()
        children = psutil.Process(up.pid).children()
        get(port, "/die")
        up.wait(12)
        assert_nothing_left(children, [port])
    finally:
        up.kill()
