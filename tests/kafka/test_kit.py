"""kafka/kafka.sh, the script behind `make kafka-start`: its error messages, and starting and stopping brokers."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from devtools.real_kafka import KIT, RealKafka
from devtools.wait import free_ports, listening

TOOLS = ("bash", "env", "dirname", "cat", "sed", "head", "tail", "grep", "ps", "mkdir", "cmp", "flock")


def kit(command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the script, on unused ports."""
    port, controller = free_ports(2)
    ports = {"KAFKA_PORT": str(port), "KAFKA_CONTROLLER_PORT": str(controller)}
    return subprocess.run(
        [KIT, command], env=os.environ | ports | env, check=False, capture_output=True, text=True, timeout=120
    )


def test_without_java_one_line_names_what_to_install(tmp_path: Path) -> None:
    for tool in TOOLS:
        found = next(Path(each) / tool for each in ("/usr/bin", "/bin") if (Path(each) / tool).exists())
        (tmp_path / tool).symlink_to(found)
    done = kit("start", PATH=str(tmp_path), JAVA_HOME="", KAFKA_DATA=str(tmp_path / "data"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "install Java 17" in done.stderr


def test_an_invalid_port_is_reported_in_one_line(tmp_path: Path) -> None:
    done = kit("start", KAFKA_PORT="http", KAFKA_DATA=str(tmp_path))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "KAFKA_PORT=http is not a port" in done.stderr


def test_stopping_a_broker_that_does_not_run_succeeds(tmp_path: Path) -> None:
    (tmp_path / "kafka.pid").write_text(str(os.getpid()))  # a stale pid file: another process has this pid now
    done = kit("stop", KAFKA_DATA=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "kafka: not running\n")


@pytest.mark.kafka
def test_a_taken_port_is_reported_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = kit("start", KAFKA_PORT=str(port), KAFKA_DATA=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == f"kafka: port {port} is taken by another program: set KAFKA_PORT to a free one\n"


@pytest.mark.kafka
def test_two_brokers_run_side_by_side_and_clean_deletes_the_data(kafka: str, own_kafka: RealKafka) -> None:
    assert listening(int(kafka.rpartition(":")[2]))
    assert listening(own_kafka.port)
    own_kafka.stop()
    own_kafka.clean()
    assert not own_kafka.data.exists()
    assert not listening(own_kafka.port)
    assert listening(int(kafka.rpartition(":")[2]))
    own_kafka.start()


@pytest.mark.kafka
def test_a_killed_broker_starts_again(own_kafka: RealKafka) -> None:
    own_kafka.kill()
    own_kafka.start()
    assert listening(own_kafka.port)


@pytest.mark.kafka
def test_a_broker_listens_on_loopback_only(own_kafka: RealKafka) -> None:
    import psutil

    pid = int((own_kafka.data / "kafka.pid").read_text())
    bound = {each.laddr.ip for each in psutil.Process(pid).net_connections() if each.status == psutil.CONN_LISTEN}
    assert bound <= {"127.0.0.1", "::ffff:127.0.0.1"}
