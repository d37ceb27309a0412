"""The changelog is rolled and compacted while it is written; what is left of it is the table."""

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from devtools.http_client import ask
from devtools.real_kafka import RealKafka
from devtools.system import System
from devtools.wait import until
from saga_app.active_plan import EFFECTS_CHANGELOGS, ROWS_CHANGELOG
from tests.chaos.faults import process_of
from tests.topics import read, rows, send, user

#: Users who come at once.
WAVE = 100

#: A segment a second, and compacted as soon as the broker's cleaner comes by (every 15 s).
IMPATIENT = {
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "0",
    "max.compaction.lag.ms": "1000",
}


def hurry(bootstrap: str, topic: str) -> None:
    """Change the topic's configs."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in IMPATIENT.items()
    ]
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    wanted = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    for future in admin.incremental_alter_configs([wanted]).values():
        future.result(15)


def left_and_written(bootstrap: str, topic: str) -> tuple[int, int]:
    """How many records a topic holds, and how many were ever written to it."""
    ends: dict[int, int] = {}
    left = 0
    for record in read(bootstrap, topic):
        left += 1
        ends[record.partition] = record.offset + 1
    return left, sum(ends.values())


def shown(system: System) -> dict[str, dict[str, Any]]:
    """Every row, by the Provisioner's own view."""
    found: dict[str, dict[str, Any]] = {}
    after = ""
    while after is not None:
        _, page = ask(f"http://127.0.0.1:{system.settings['provisioner_port']}/sagas/?limit=1000&after={after}")
        found |= {item["id"]: item | {"why": None} for item in page["items"]}
        after = page["next"]
    return found


def ready(system: System) -> bool:
    """Whether the Provisioner has recovered."""
    try:
        return ask(f"http://127.0.0.1:{system.settings['provisioner_port']}/health/ready")[0] == 200
    except OSError:
        return False


def ended(bootstrap: str) -> int:
    """How many sagas."""
    return sum(versions[-1].ended for versions in rows(bootstrap).values())


def send_until_compacted(bootstrap: str) -> int:
    """Waves of users until a good part of what was written for them is gone; how many they are."""
    deadline = time.monotonic() + 80
    for wave in count(0, WAVE):
        left, written = left_and_written(bootstrap, ROWS_CHANGELOG)
        if left < written * 0.6:
            return wave
        assert time.monotonic() < deadline, f"not compacted after {wave} users: {left} of {written} are left"
        send(bootstrap, "new-user", ((b"roll%d" % n, user(f"roll{n}")) for n in range(wave, wave + WAVE)))
        until(lambda wave=wave: ended(bootstrap) > wave, 30, "it goes on", every_s=0.5)  # type: ignore[misc]
    raise AssertionError


@pytest.mark.timeout(240)
def test_a_provisioner_that_recovers_from_a_compacted_changelog_has_the_rows_of_one_that_kept_its_disk(
    own_kafka: RealKafka, start_system: Callable[..., System], tmp_path: Path
) -> None:
    bootstrap, broker = own_kafka.bootstrap, ("--broker", f"kafka://{own_kafka.bootstrap}")
    system = start_system(*broker, lag="0-0.2", deny_rate=0.1)
    for topic in (ROWS_CHANGELOG, *EFFECTS_CHANGELOGS.values()):
        hurry(bootstrap, topic)
    users = send_until_compacted(bootstrap)
    until(lambda: ended(bootstrap) == users, 60, f"{users} users ended", every_s=1)
    kept = shown(system)
    last = {id: versions[-1].state for id, versions in rows(bootstrap).items()}
    assert {id: row["state"] for id, row in kept.items()} == last
    print(
        "\nleft and written:",
        {topic: left_and_written(bootstrap, topic) for topic in (ROWS_CHANGELOG, *EFFECTS_CHANGELOGS.values())},
    )

    worker = process_of(system, "provisioner", 1)
    assert worker is not None
    worker.kill()
    until(lambda: not worker.is_running() and ready(system), 30, "back with its own disk")
    assert shown(system) == kept

    system.stop()
    fresh = start_system(*broker, lag="0-0.2", deny_rate=0.1)
    assert shown(fresh) == kept
    send(bootstrap, "new-user", ((b"roll%d" % n, user(f"roll{n}")) for n in range(users)))  # all of them known
    send(bootstrap, "new-user", ((b"more%d" % n, user(f"more{n}")) for n in range(100)))
    until(lambda: ended(bootstrap) == users + 100, 30, "it goes on", every_s=0.5)
    assert {id: row for id, row in shown(fresh).items() if id in kept} == kept
