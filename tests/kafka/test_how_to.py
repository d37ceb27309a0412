"""Executes the commands of README and how-to guides that need a real Kafka."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devtools.http_client import UNREACHABLE, ask
from devtools.system import Process
from devtools.wait import free_ports, until
from tests.document_runner import environment, run, start
from tests.documented import PAGES, commands

pytestmark = pytest.mark.kafka

LINES = list(dict.fromkeys(line for page in PAGES for line in commands(page)))
KAFKA_LINES = [line for line in LINES if line.endswith("make kafka-start")]
UP_LINES = [line for line in LINES if "saga up --broker" in line]
WORKER_LINES = [line for line in LINES if "faust " in line]


@contextmanager
def broker(line: str, folder: Path) -> Iterator[int]:
    """A broker started by a documented command; yields its port."""
    port, controller = free_ports(2)
    env = {"KAFKA_PORT": str(port), "KAFKA_CONTROLLER_PORT": str(controller), "KAFKA_DATA": str(folder / "kafka")}
    line = line.replace("KAFKA_PORT=9192", f"KAFKA_PORT={port}").replace("kafka/data-9192", env["KAFKA_DATA"])
    run(line, env, timeout_s=180)
    try:
        yield port
    finally:
        run("make kafka-stop", env)


def is_completed(console_port: str, id: str) -> bool:
    """Whether the saga of this user is completed."""
    return bool(ask(f"http://127.0.0.1:{console_port}/api/sagas/{id}")[1].get("state") == "completed")


def wait_until_ready(port: str) -> None:
    """Wait until the service on this port is ready."""

    def is_ready() -> bool:
        try:
            return ask(f"http://127.0.0.1:{port}/health/ready")[0] == 200
        except UNREACHABLE:
            return False

    until(is_ready, 90, f"the service on port {port} is not ready")


def onboard_ada(env: dict[str, str]) -> None:
    """Onboard a user with the command line, and wait until the saga is completed."""
    run("saga new --id ada --name Ada --email ada@example.com --department Sales", env)
    until(lambda: is_completed(env["SAGA_CONSOLE_PORT"], "ada"), 30, "the saga was not completed")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("line", KAFKA_LINES)
def test_the_documented_command_starts_a_broker(line: str, tmp_path: Path) -> None:
    with broker(line, tmp_path) as port:
        assert port


@pytest.mark.timeout(240)
def test_the_documented_commands_start_all_services_on_kafka(tmp_path: Path) -> None:
    assert UP_LINES
    with broker(KAFKA_LINES[0], tmp_path) as port:
        for number, line in enumerate(UP_LINES):
            env = environment(tmp_path / str(number))
            running = start(line.replace(":9092", f":{port}"), env)
            try:
                running.wait_for_line("ready: http://127.0.0.1", 90)
            finally:
                running.end()


@pytest.mark.timeout(300)
def test_the_documented_commands_start_each_service_on_kafka(tmp_path: Path) -> None:
    lines = [line for line in WORKER_LINES if "-L uvloop" in line]
    assert len(lines) == 5
    assert {line.replace(" -L uvloop", "") for line in lines} > {line for line in WORKER_LINES if "-L" not in line}
    with broker(KAFKA_LINES[0], tmp_path) as port:
        env = environment(tmp_path, SAGA_BROKER=f"kafka://127.0.0.1:{port}")
        (second_port,) = map(str, free_ports(1))
        workers: list[Process] = []
        try:
            for line in lines:
                workers.append(start(line.replace("SAGA_NOTIFIER_PORT=6168", f"SAGA_NOTIFIER_PORT={second_port}"), env))
            names = ("CONSOLE", "PROVISIONER", "AUTHORIZER", "NOTIFIER")
            for each in [*(env[f"SAGA_{name}_PORT"] for name in names), second_port]:
                wait_until_ready(each)
            onboard_ada(env)
        finally:
            for worker in workers:
                worker.end()
