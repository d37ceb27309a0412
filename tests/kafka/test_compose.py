"""docker-compose.yaml without containers: it is a Compose file, it is safe, and its services work in any order."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.compose import FILE, PORTS, ROOT, Rehearsal, load
from devtools.real_kafka import RealKafka
from devtools.wait import until

SERVICES = list(PORTS)


def test_the_file_follows_the_compose_specification() -> None:
    """By the JSON schema of the specification itself, which the package check-jsonschema carries."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in load({})["services"].values() for port in service.get("ports", [])]
    assert len(published) == 5
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_container_comes_back_by_itself_and_tells_its_health() -> None:
    for name, service in load({})["services"].items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert "depends_on" not in service, name  # they may start in any order


def test_clients_that_come_through_the_bridge_are_trusted() -> None:
    compose = load({})
    subnet = compose["networks"]["default"]["ipam"]["config"][0]["subnet"]
    for name in SERVICES:
        assert subnet in compose["services"][name]["environment"]["SAGA_TRUSTED"].split(",")


def test_whoever_keeps_something_has_a_volume_for_it() -> None:
    compose = load({})
    mounts = [mount.split(":")[0] for service in compose["services"].values() for mount in service.get("volumes", [])]
    assert sorted(mounts) == sorted(compose["volumes"])
    assert {"provisioner-data", "console-data", "kafka-data"} == set(mounts)


def test_the_settings_of_the_file_are_settings_of_the_program() -> None:
    from saga_app.settings import Settings, variable

    known = {variable(name) for name in Settings.model_fields}
    for name in SERVICES:
        assert set(load({})["services"][name]["environment"]) <= known


def test_what_the_image_is_built_from_is_there_and_not_ignored() -> None:
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    allowed = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
        assert f"!{name}" in allowed, name


Rehearse = Callable[..., Rehearsal]


@pytest.fixture
def rehearse(own_kafka: RealKafka, tmp_path: Path) -> Iterator[Rehearse]:
    started: list[Rehearsal] = []

    def go(order: list[str]) -> Rehearsal:
        own_kafka.stop()
        started.append(Rehearsal(tmp_path / "volumes", own_kafka.port, SAGA_LAG="0-0.2"))
        (tmp_path / "volumes").mkdir()
        for service in order:
            if service == "kafka":
                own_kafka.start()
            else:
                started[-1].start(service)
        return started[-1]

    yield go
    for each in started:
        each.end()


def completed(rehearsal: Rehearsal, id: str) -> bool:
    shown = rehearsal.saga("show", id, "--json")
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
    ids=["broker first", "broker last", "in the middle, consumers first"],
)
def test_a_user_completes_whatever_started_first(rehearse: Rehearse, order: list[str]) -> None:
    rehearsal = rehearse(order)
    for service in ["kafka", *SERVICES]:
        until(lambda service=service: rehearsal.healthy(service), 60, f"{service} is healthy", every_s=0.3)  # type: ignore[misc]
    assert rehearsal.saga("new", "--id", "ada", "--department", "Sales").returncode == 0
    until(lambda: completed(rehearsal, "ada"), 30, "the user is onboarded", every_s=0.3)


@pytest.mark.timeout(120)
def test_a_service_without_its_broker_is_not_healthy(rehearse: Rehearse) -> None:
    rehearsal = rehearse(["authorizer"])
    until(lambda: "waiting" in rehearsal.running["authorizer"].said(), 20, "it says that it waits")
    assert not rehearsal.healthy("authorizer")
    assert not rehearsal.healthy("kafka")
