"""The supervisor behind `saga up`, with stub services: real processes, real signals."""

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
    started: list[Process] = []

    def go(*arguments: str, within_s: float = 30) -> Process:
        stub_up = Path(__file__).with_name("stub_up.py")
        started.append(Process(sys.executable, str(stub_up), *arguments, env={"PYTHONPATH": str(ROOT)}))
        started[-1].wait_for_line("ready: all", within_s)
        return started[-1]

    yield go
    for each in started:
        each.end()


def ask(port: int, path: str) -> str:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except (URLError, ConnectionError):
        return ""


def assert_nothing_left(children: list[psutil.Process], ports: list[int]) -> None:
    until(lambda: not psutil.wait_procs(children, timeout=0.1)[1], 5, "the services are gone")
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


def test_every_line_of_a_service_comes_with_its_name(start: Start) -> None:
    port = free_ports(1)[0]
    up = start(str(port))
    assert f"stub0 │ stub on {port}" in up.lines


def test_a_crashed_service_is_started_again_and_said_so(start: Start) -> None:
    ports = free_ports(2)
    up = start(*map(str, ports))
    before, other = ask(ports[0], "/pid"), ask(ports[1], "/pid")
    ask(ports[0], "/die")
    up.wait_for_line("these are my last words", 5)
    up.wait_for_line("stub0 ended with exit code 7, restarting in 0.5 s", 5)
    until(lambda: ask(ports[0], "/pid") not in ("", before), 15, "the service is back")
    assert ask(ports[1], "/pid") == other
    ask(ports[0], "/die")
    up.wait_for_line("restarting in 1 s", 5)


def test_a_service_killed_by_hand_is_started_again(start: Start) -> None:
    port = free_ports(1)[0]
    up = start(str(port))
    before = ask(port, "/pid")
    psutil.Process(int(before)).kill()
    up.wait_for_line("stub0 was killed by SIGKILL", 5)
    until(lambda: ask(port, "/pid") not in ("", before), 15, "the service is back")


def test_a_service_that_does_not_end_is_killed_in_time(start: Start) -> None:
    ports = free_ports(2)
    up = start(f"{ports[0]}:ignore-term", str(ports[1]))
    children = up.children()
    assert up.stop() < 10
    assert_nothing_left(children, ports)


def test_a_second_signal_kills_at_once(start: Start) -> None:
    port = free_ports(1)[0]
    up = start(f"{port}:ignore-term")
    up.process.send_signal(signal.SIGINT)
    up.wait_for_line("stopping", 5)
    assert up.stop(signal.SIGINT) < 3
    assert not listening(port)


def test_services_and_broker_die_with_a_supervisor_killed_by_force(start: Start) -> None:
    ports = free_ports(2)
    up = start("broker", *map(str, ports))
    children = up.children()
    up.process.kill()
    up.process.wait()
    assert_nothing_left(children, ports)


def test_the_death_of_the_embedded_broker_starts_everything_afresh(start: Start) -> None:
    port = free_ports(1)[0]
    up = start("broker", str(port))
    before = ask(port, "/pid")
    next(each for each in up.children() if str(each.pid) != before).kill()
    up.wait_for_line("the embedded broker died and its data are lost", 5)
    up.wait_for_line("all services are ready again", 20)
    assert ask(port, "/pid") not in ("", before)
    assert len(up.children()) == 2


def test_it_ends_when_nobody_listens_to_its_output_any_more() -> None:
    port = free_ports(1)[0]
    stub_up = Path(__file__).with_name("stub_up.py")
    up = subprocess.Popen([sys.executable, str(stub_up), str(port)], stdout=subprocess.PIPE, cwd=ROOT)
    assert up.stdout is not None
    try:
        assert any(b"ready: all" in line for line in up.stdout)
        up.stdout.close()
        children = psutil.Process(up.pid).children()
        ask(port, "/die")
        up.wait(12)
        assert_nothing_left(children, [port])
    finally:
        up.kill()
