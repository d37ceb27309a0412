"""The `faust` command with each service: its agents, its tables, and errors at start-up. No broker is needed."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from saga_app.saga.onboarding import ONBOARDING

SERVICES = ("provisioner", "authorizer", "notifier")


def faust(service: str, command: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `faust -A agents.<service> <command>` in this directory with these settings."""
    return subprocess.run(
        [sys.executable, "-m", "faust", "-A", f"agents.{service}", command],
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", **settings},
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("service", SERVICES)
def test_faust_agents_lists_each_step_with_topic_and_description(service: str, tmp_path: Path) -> None:
    listed = faust(service, "agents", tmp_path).stdout
    for step in ONBOARDING.of(service):
        [line] = [line for line in listed.splitlines() if f"@{step.name} " in line]
        assert f" {step.topic} " in line
        assert (step.act.__doc__ or "").split(".", maxsplit=1)[0] in line


def test_faust_tables_describes_the_table_of_sagas(tmp_path: Path) -> None:
    assert "The state of every saga, by saga id." in faust("provisioner", "tables", tmp_path).stdout


def test_services_without_the_table_of_sagas_do_not_list_it(tmp_path: Path) -> None:
    assert "sagas" not in faust("authorizer", "tables", tmp_path).stdout


def test_an_invalid_setting_stops_a_service_with_one_line(tmp_path: Path) -> None:
    done = faust("notifier", "agents", tmp_path, SAGA_LAG="fast")
    assert done.returncode == 2
    assert done.stderr.strip() == "SAGA_LAG=fast is invalid; allowed: seconds or a range, such as 0 or 0.5-2.0"


def test_an_invalid_policy_file_stops_a_service_with_the_field(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("departments:\n  Sales: {device: TB}\n")
    done = faust("authorizer", "agents", tmp_path, SAGA_POLICY=str(tmp_path / "policy.yaml"))
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "is invalid; allowed: a YAML file" in line
    assert "departments.Sales.authorizations: Field required" in line


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"a: [", "parsing"), (b"\xff", "byte")])
def test_an_unreadable_policy_file_stops_a_service_with_one_line(
    content: bytes | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "policy.yaml"
    if content is not None:
        path.write_bytes(content)
    done = faust("authorizer", "agents", tmp_path, SAGA_POLICY=str(path))
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(f"SAGA_POLICY={path} is invalid; allowed: a YAML file")
    assert reason in line


@pytest.mark.field(21)
@pytest.mark.parametrize("service", [*SERVICES, "console"])
def test_a_worker_with_an_unwritable_directory_ends_with_one_line(service: str, tmp_path: Path) -> None:
    done = faust(service, "worker", tmp_path, SAGA_DATADIR="/proc/x", SAGA_INDEX=f"sqlite:///{tmp_path}/index")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"SAGA_DATADIR=/proc/x ({service}-worker in it) cannot be used (")


@pytest.mark.field(21)
def test_a_worker_whose_port_is_taken_ends_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = faust("notifier", "worker", tmp_path, SAGA_NOTIFIER_PORT=str(port))
    assert (done.returncode, done.stdout) == (2, "")
    expected = f"port {port} on 127.0.0.1 is in use by another program: set SAGA_NOTIFIER_PORT to another one\n"
    assert done.stderr == expected
