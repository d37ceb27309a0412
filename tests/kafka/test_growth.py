"""Topics are given more partitions on a real Kafka: while the services run, after a restart, and all together."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from devtools.real_kafka import RealKafka
from devtools.system import System, saga
from tests.topics import rows, send, user
from devtools.wait import until

Now = Callable[[str], None]
Start = Callable[..., System]

pytestmark = pytest.mark.kafka


def completed(kafka: RealKafka) -> int:
    """How many sagas have ended well, by the changelog."""
    return Counter(versions[-1].state for versions in rows(kafka.bootstrap).values())["completed"]


def foreign(kafka: RealKafka, prefix: str) -> None:
    """Twenty users from a client that uses all partitions that there are."""
    records = [(f"{prefix}-{n}".encode(), user(f"{prefix}-{n}")) for n in range(20)]
    send(kafka.bootstrap, "new-user", records, partitioner="murmur2_random")


def grow(kafka: RealKafka, partitions: int) -> Any:
    return saga("topics", "grow", "--partitions", str(partitions), "--broker", f"kafka://{kafka.bootstrap}", "--json")


def grow_once_stopped(kafka: RealKafka, partitions: int) -> Any:
    """A stopped worker that has a name stays in its group for a while."""
    tried: list[Any] = []

    def over() -> bool:
        tried.append(grow(kafka, partitions))
        return "workers" not in tried[-1].stderr

    until(over, 90, "the groups are empty")
    return tried[-1]


@pytest.mark.field(30)
@pytest.mark.timeout(400)
def test_topics_grow_one_by_one_and_all_together(own_kafka: RealKafka, start_system: Start, now: Now) -> None:
    arguments = ("--broker", f"kafka://{own_kafka.bootstrap}")
    system = start_system(*arguments, "--workers", "2", lag="0", partitions=4)
    foreign(own_kafka, "before")
    until(lambda: completed(own_kafka) == 20, 60, "users of an even system are onboarded")
    admin = AdminClient({"bootstrap.servers": own_kafka.bootstrap})
    admin.create_partitions([NewPartitions("new-user", 8)])["new-user"].result(30)
    foreign(own_kafka, "while")
    until(lambda: completed(own_kafka) == 40, 60, "users on the new partitions are onboarded")
    refused = grow(own_kafka, 8)
    assert refused.returncode == 1
    assert "stop all services first" in refused.stderr
    system.stop(within_s=60)

    system = start_system(*arguments, lag="0", partitions=4)
    assert "topic new-user has 8 partitions, others have 4" in "\n".join(system.lines)
    assert_a_wrong_number_ends_a_start(start_system, own_kafka)
    foreign(own_kafka, "after")
    until(lambda: completed(own_kafka) == 60, 60, "and after a restart")
    system.stop(within_s=60)

    foreign(own_kafka, "unread")
    assert "20 of new-user" in grow_once_stopped(own_kafka, 8).stderr
    system = start_system(*arguments, lag="0", partitions=4)
    until(lambda: completed(own_kafka) == 80, 60, "those are onboarded, too")
    system.stop(within_s=60)
    done = grow_once_stopped(own_kafka, 8)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["rows_moved"] > 0
    assert "every topic has 8 partitions already" in grow(own_kafka, 8).stderr

    system = start_system(*arguments, lag="0", partitions=8)
    assert "409" in _again(system, "before-1") or "exists" in _again(system, "before-1")
    foreign(own_kafka, "grown")
    until(lambda: completed(own_kafka) == 100, 60, "users are onboarded on all partitions")
    audit = saga("audit", "--json", *arguments)
    assert json.loads(audit.stdout)["findings"] == []
    now("12 to 24 while running, after a restart, and all topics by saga topics grow; audit clean")


def assert_a_wrong_number_ends_a_start(start_system: Start, kafka: RealKafka) -> None:
    wrong = start_system("--broker", f"kafka://{kafka.bootstrap}", wait=False, partitions=8)
    assert wrong.process.wait(90) == 2
    assert "SAGA_PARTITIONS is 8: set SAGA_PARTITIONS=4 for all services; for 8 grow all topics" in wrong.lines[-1]


def _again(system: System, id: str) -> str:
    done = system.saga("new", "--id", id)
    assert done.returncode == 1
    return done.stderr
