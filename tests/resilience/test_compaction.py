"""A changelog that is compacted under load still contains the latest version of every row."""

import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from devtools.http_client import ask
from devtools.real_kafka import RealKafka
from devtools.system import System
from devtools.wait import until
from saga_app.active_plan import EFFECTS_CHANGELOGS, ROWS_CHANGELOG
from tests.chaos.faults import process_of
from tests.kafka.kafka_system import count_ended, view_rows
from tests.topics import configure_topic, read, rows, send, user

#: Users sent at a time.
BATCH_SIZE = 100

#: A new segment every second, compacted at each run of the broker's log cleaner (every 15 s).
FAST_COMPACTION = {
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "0",
    "max.compaction.lag.ms": "1000",
}


def left_and_written(bootstrap: str, topic: str) -> tuple[int, int]:
    """The number of records that a topic holds, and the number ever written to it."""
    ends: dict[int, int] = {}
    left = 0
    for record in read(bootstrap, topic):
        left += 1
        ends[record.partition] = record.offset + 1
    return left, sum(ends.values())


def provisioner_rows(system: System) -> dict[str, dict[str, Any]]:
    """All rows in the Provisioner's view, without `why`, which depends on the current time."""
    rows = view_rows(system.settings["provisioner_port"])
    return {id: row | {"why": None} for id, row in rows.items()}


def is_provisioner_ready(system: System) -> bool:
    """Whether the Provisioner has recovered its table."""
    try:
        return ask(f"http://127.0.0.1:{system.settings['provisioner_port']}/health/ready")[0] == 200
    except OSError:
        return False


def more_ended(bootstrap: str, count: int) -> bool:
    """Whether more than `count` sagas have ended."""
    return count_ended(bootstrap) > count


def send_until_compacted(bootstrap: str) -> int:
    """Send users until compaction has removed 40 % of the rows changelog; return the number of users."""
    deadline = time.monotonic() + 80
    for users in count(0, BATCH_SIZE):
        left, written = left_and_written(bootstrap, ROWS_CHANGELOG)
        if left < written * 0.6:
            return users
        assert time.monotonic() < deadline, f"not compacted after {users} users: {left} of {written} records are left"
        send(bootstrap, "new-user", ((b"roll%d" % n, user(f"roll{n}")) for n in range(users, users + BATCH_SIZE)))
        until(partial(more_ended, bootstrap, users), 30, f"no more than {users} sagas ended", every_s=0.5)
    raise AssertionError


@pytest.mark.timeout(240)
def test_a_table_rebuilt_from_a_compacted_changelog_equals_the_original(
    own_kafka: RealKafka, start_system: Callable[..., System], tmp_path: Path
) -> None:
    bootstrap, broker = own_kafka.bootstrap, ("--broker", f"kafka://{own_kafka.bootstrap}")
    system = start_system(*broker, lag="0-0.2", deny_rate=0.1)
    for topic in (ROWS_CHANGELOG, *EFFECTS_CHANGELOGS.values()):
        configure_topic(bootstrap, topic, FAST_COMPACTION)
    users = send_until_compacted(bootstrap)
    until(lambda: count_ended(bootstrap) == users, 60, f"not all {users} sagas ended", every_s=1)
    original = provisioner_rows(system)
    in_changelog = {id: versions[-1].state for id, versions in rows(bootstrap).items()}
    assert {id: row["state"] for id, row in original.items()} == in_changelog
    print(
        "\nrecords left and written:",
        {topic: left_and_written(bootstrap, topic) for topic in (ROWS_CHANGELOG, *EFFECTS_CHANGELOGS.values())},
    )

    worker = process_of(system, "provisioner", 1)
    assert worker is not None
    worker.kill()
    until(lambda: not worker.is_running() and is_provisioner_ready(system), 30, "the Provisioner did not restart")
    assert provisioner_rows(system) == original

    system.stop()
    fresh = start_system(*broker, lag="0-0.2", deny_rate=0.1)
    assert provisioner_rows(fresh) == original
    send(bootstrap, "new-user", ((b"roll%d" % n, user(f"roll{n}")) for n in range(users)))  # duplicates
    send(bootstrap, "new-user", ((b"more%d" % n, user(f"more{n}")) for n in range(100)))
    until(lambda: count_ended(bootstrap) == users + 100, 30, "not all 100 new sagas ended", every_s=0.5)
    assert {id: row for id, row in provisioner_rows(fresh).items() if id in original} == original
