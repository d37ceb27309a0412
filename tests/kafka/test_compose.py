"""docker-compose.yaml is a valid and safe Compose file, and its services start in any order (without containers)."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from devtools.real_kafka import RealKafka
from devtools.wait import until
from tests.kafka.compose import FILE, PORTS, ROOT, ComposeProcesses, load

SERVICES = list(PORTS)


def test_the_file_follows_the_compose_specification() -> None:
    """Validated by the JSON schema of the specification, which the package check-jsonschema contains."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in load({})["services"].values() for port in service.get("ports", [])]
    assert len(published) == 5
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_container_restarts_and_has_a_health_check() -> None:
    for name, service in load({})["services"].items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert "depends_on" not in service, name  # services start in any order


def test_clients_that_connect_through_the_bridge_are_trusted() -> None:
    compose = load({})
    subnet = compose["networks"]["default"]["ipam"]["config"][0]["subnet"]
    for name in SERVICES:
        assert subnet in compose["services"][name]["environment"]["SAGA_TRUSTED"].split(",")


def test_every_service_with_persistent_data_has_a_volume() -> None:
    compose = load({})
    mounts = [mount.split(":")[0] for service in compose["services"].values() for mount in service.get("volumes", [])]
    assert sorted(mounts) == sorted(compose["volumes"])
    assert {"provisioner-data", "console-data", "kafka-data"} == set(mounts)


def test_the_file_sets_only_known_settings() -> None:
    from saga_app.settings import Settings, variable

    known = {variable(name) for name in Settings.model_fields}
    for name in SERVICES:
        assert set(load({})["services"][name]["environment"]) <= known


def test_files_copied_into_the_image_exist_and_are_not_ignored() -> None:
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    allowed = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
        assert f"!{name}" in allowed, name


StartCompose = Callable[[list[str]], ComposeProcesses]


@pytest.fixture
def start_compose(own_kafka: RealKafka, tmp_path: Path) -> Iterator[StartCompose]:
    """Return a function that starts the broker and services in the given order; they are stopped after the test."""
    started: list[ComposeProcesses] = []

    def start(order: list[str]) -> ComposeProcesses:
        own_kafka.stop()
        started.append(ComposeProcesses(tmp_path / "volumes", own_kafka.port, SAGA_LAG="0-0.2"))
        (tmp_path / "volumes").mkdir()
        for service in order:
            if service == "kafka":
                own_kafka.start()
            else:
                started[-1].start(service)
        return started[-1]

    yield start
    for processes in started:
        processes.end()


def is_completed(processes: ComposeProcesses, id: str) -> bool:
    shown = processes.saga("show", id, "--json")
    row: dict[str, Any] = json.loads(shown.stdout) if shown.returncode == 0 else {}
    return row.get("state") == "completed"


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "order",
    [
        ["kafka", *SERVICES],
        [*SERVICES, "kafka"],
        ["console", "notifier", "kafka", "authorizer", "provisioner"],
    ],
    ids=["broker first", "broker last", "broker in the middle"],
)
def test_a_user_completes_whatever_starts_first(start_compose: StartCompose, order: list[str]) -> None:
    processes = start_compose(order)
    for service in ["kafka", *SERVICES]:
        until(partial(processes.healthy, service), 60, f"{service} is not healthy", every_s=0.3)
    assert processes.saga("new", "--id", "ada", "--department", "Sales").returncode == 0
    until(lambda: is_completed(processes, "ada"), 30, "the user was not onboarded", every_s=0.3)


@pytest.mark.timeout(120)
def test_a_service_without_its_broker_is_not_healthy(start_compose: StartCompose) -> None:
    processes = start_compose(["authorizer"])
    until(
        lambda: "waiting" in processes.running["authorizer"].output_tail(),
        20,
        "the Authorizer did not log that it waits",
    )
    assert not processes.healthy("authorizer")
    assert not processes.healthy("kafka")
