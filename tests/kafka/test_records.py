"""Records of other clients on a real Kafka, and a broker whose clock is wrong."""

import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from datetime import datetime
from time import time

import pytest

from devtools import real_kafka
from devtools.real_kafka import RealKafka
from devtools.system import System
from tests.foreign_clients import (
    CODECS,
    assert_readable,
    has_no_restarts,
    send,
    send_compressed,
    send_with_odd_header,
    wait_until_completed,
)
from tests.kafka.kafka_system import running_system
from tests.topics import configure_topic


@pytest.fixture(scope="module")
def kafka(kafka_of_module: str) -> str:
    """A broker for this module: clients of other tests cannot read header names that are not UTF-8."""
    return kafka_of_module


@pytest.fixture(scope="module")
def system(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One worker of each service."""
    yield from running_system(tmp_path_factory.mktemp("records"), kafka, lag="0")


@pytest.mark.field(1)
@pytest.mark.parametrize("name", CODECS)
def test_every_reader_supports_every_codec(kafka: str, system: System, name: str, now: Callable[[str], None]) -> None:
    assert_readable(system, send_compressed(kafka, name, 50))
    audit = system.saga("audit", "--broker", f"kafka://{kafka}", "--json")
    assert f'"saga": "{name}' not in audit.stdout
    now(f"{name} is read")


@pytest.mark.parametrize("name", ["none", "zstd"])
def test_a_header_name_that_is_not_utf_8_stops_no_process(kafka: str, system: System, name: str) -> None:
    send_with_odd_header(kafka, f"odd-{name}", name)
    assert_readable(system, [f"odd-{name}"])
    assert has_no_restarts(system)


def set_timestamp_type(bootstrap: str, value: str) -> None:
    """Configure the topic of new users: "CreateTime" accepts any timestamp of a client."""
    configs = {"message.timestamp.type": value, "message.timestamp.after.max.ms": str(2**63 - 1)}
    configure_topic(bootstrap, "new-user", configs)


@pytest.mark.field(2, 3)
def test_timestamps_set_by_clients_make_no_saga_overdue(kafka: str, system: System, now: Callable[[str], None]) -> None:
    set_timestamp_type(kafka, "CreateTime")
    try:
        timestamps = {"y57742": 253_402_300_800_000, "days": int((time() + 172_800) * 1000), "zero": 1}
        for id, timestamp in timestamps.items():
            send(kafka, id, timestamp=timestamp)
            row = wait_until_completed(system, id)
            assert 0 <= row["duration"] < 60
            assert not row["overdue"]
        assert has_no_restarts(system)
    finally:
        set_timestamp_type(kafka, "LogAppendTime")
    now("completed, not overdue")


@pytest.mark.field(36)
@pytest.mark.parametrize("clock", ["-5m", "+5m"])
def test_a_wrong_clock_of_the_broker_makes_no_saga_overdue(
    tmp_path: Path,
    start_system: Callable[..., System],
    monkeypatch: pytest.MonkeyPatch,
    clock: str,
    now: Callable[[str], None],
) -> None:
    if reason := real_kafka.missing():
        pytest.skip(reason)
    java = tmp_path / "java"
    java.write_text(f'#!/bin/sh\nexec faketime -f "{clock}" java "$@"\n')
    java.chmod(0o755)
    monkeypatch.setenv("JAVA", str(java))
    broker = RealKafka(tmp_path / "kafka")
    broker.start()
    try:
        system = start_system("--broker", f"kafka://{broker.bootstrap}", lag="0.1-0.3")
        ids = [f"clock-{number}" for number in range(20)]
        for id in ids:
            send(broker.bootstrap, id)
        rows = [wait_until_completed(system, id) for id in ids]
        for row in rows:
            assert 0 <= row["duration"] < 60
            assert not row["overdue"]
            assert abs(time() - datetime.fromisoformat(row["started_at"]).timestamp()) < 120
        url = f"http://127.0.0.1:{system.settings['provisioner_port']}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            metrics = answer.read().decode()
        [ahead] = re.findall(r"^saga_broker_clock_ahead_seconds{.*} (\S+)$", metrics, re.M)
        assert float(ahead) == pytest.approx(-300 if clock == "-5m" else 300, abs=5)
        now(f"broker {clock}: measured {float(ahead):+.0f} s, nothing overdue")
    finally:
        broker.stop()
        broker.clean()
