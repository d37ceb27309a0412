"""Records that other clients write, on a real Kafka, and a broker whose clock is wrong."""

import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from saga_app.saga.times import epoch
from devtools import real_kafka
from tests.foreign_clients import CODECS, all_read, completed, is_quiet, send, send_compressed, send_with_odd_header
from devtools.real_kafka import RealKafka
from devtools.system import System


@pytest.fixture(scope="module")
def kafka(kafka_of_module: str) -> str:
    """Not the shared broker: other clients cannot read header names that are not UTF-8."""
    return kafka_of_module


@pytest.fixture(scope="module")
def system(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One worker of each service."""
    started = System(tmp_path_factory.mktemp("records"), "--broker", f"kafka://{kafka}", lag="0")
    try:
        started.ready()
        yield started
    finally:
        started.end()


@pytest.mark.field(1)
@pytest.mark.parametrize("name", CODECS)
def test_every_reader_reads_every_codec(kafka: str, system: System, name: str, now: Callable[[str], None]) -> None:
    all_read(system, send_compressed(kafka, name, 50))
    audit = system.saga("audit", "--broker", f"kafka://{kafka}", "--json")
    assert f'"saga": "{name}' not in audit.stdout
    now(f"{name} is read")


@pytest.mark.parametrize("name", ["none", "zstd"])
def test_a_header_name_that_is_not_utf_8_stops_nobody(kafka: str, system: System, name: str) -> None:
    send_with_odd_header(kafka, f"odd-{name}", name)
    all_read(system, [f"odd-{name}"])
    assert is_quiet(system)


def set_timestamp_type(bootstrap: str, value: str) -> None:
    """Of the topic of requests, as somebody may have made it before."""
    entry = ConfigEntry("message.timestamp.type", value, incremental_operation=AlterConfigOpType.SET)
    far = ConfigEntry("message.timestamp.after.max.ms", str(2**63 - 1), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, "new-user", incremental_configs=[entry, far])
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)


@pytest.mark.field(2, 3)
def test_clients_may_set_the_timestamps(kafka: str, system: System, now: Callable[[str], None]) -> None:
    set_timestamp_type(kafka, "CreateTime")
    try:
        for id, timestamp in {"y57742": 253_402_300_800_000, "days": int((time() + 172_800) * 1000), "zero": 1}.items():
            send(kafka, id, timestamp=timestamp)
            shown = completed(system, id)
            assert 0 <= shown["duration"] < 60
            assert not shown["overdue"]
        assert is_quiet(system)
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
        all_completed = [completed(system, id) for id in ids]
        for shown in all_completed:
            assert 0 <= shown["duration"] < 60
            assert not shown["overdue"]
            assert abs(time() - epoch(shown["started_at"])) < 120
        with urllib.request.urlopen(f"http://127.0.0.1:{system.settings['provisioner_port']}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        [ahead] = re.findall(r"^saga_broker_clock_ahead_seconds{.*} (\S+)$", metrics, re.M)
        assert float(ahead) == pytest.approx(-300 if clock == "-5m" else 300, abs=5)
        now(f"broker {clock}: measured {float(ahead):+.0f} s, nothing overdue")
    finally:
        broker.stop()
        broker.clean()
