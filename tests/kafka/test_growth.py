"""Topics get more partitions on a real Kafka: one topic under running services, then all topics offline."""

import json
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from devtools.real_kafka import RealKafka
from devtools.system import System, saga
from devtools.wait import until
from tests.kafka.kafka_system import count_states
from tests.topics import send, user

Now = Callable[[str], None]
Start = Callable[..., System]

pytestmark = pytest.mark.kafka


def count_completed(kafka: RealKafka) -> int:
    """The number of completed sagas."""
    return count_states(kafka.bootstrap, "")["completed"]


def send_users(kafka: RealKafka, prefix: str) -> None:
    """Send 20 users with a client that uses all existing partitions of the topic."""
    records = [(f"{prefix}-{n}".encode(), user(f"{prefix}-{n}")) for n in range(20)]
    send(kafka.bootstrap, "new-user", records, partitioner="murmur2_random")


def grow(kafka: RealKafka, partitions: int) -> CompletedProcess[str]:
    """Run `saga topics grow`."""
    return saga("topics", "grow", "--partitions", str(partitions), "--broker", f"kafka://{kafka.bootstrap}", "--json")


def grow_once_stopped(kafka: RealKafka, partitions: int) -> CompletedProcess[str]:
    """Run `saga topics grow` until it finds no workers: a stopped static member stays in its group for a while."""
    attempts: list[CompletedProcess[str]] = []

    def found_no_workers() -> bool:
        attempts.append(grow(kafka, partitions))
        return "workers" not in attempts[-1].stderr

    until(found_no_workers, 90, "the consumer groups are not empty")
    return attempts[-1]


@pytest.mark.field(30)
@pytest.mark.timeout(400)
def test_one_topic_grows_online_and_all_topics_grow_offline(
    own_kafka: RealKafka, start_system: Start, now: Now
) -> None:
    arguments = ("--broker", f"kafka://{own_kafka.bootstrap}")
    system = start_system(*arguments, "--workers", "2", lag="0", partitions=4)
    send_users(own_kafka, "before")
    until(lambda: count_completed(own_kafka) == 20, 60, "users were not onboarded before the growth")
    admin = AdminClient({"bootstrap.servers": own_kafka.bootstrap})
    admin.create_partitions([NewPartitions("new-user", 8)])["new-user"].result(30)
    send_users(own_kafka, "while")
    until(lambda: count_completed(own_kafka) == 40, 60, "users on the new partitions were not onboarded")
    refused = grow(own_kafka, 8)
    assert refused.returncode == 1
    assert "stop all services first" in refused.stderr
    system.stop(within_s=60)

    system = start_system(*arguments, lag="0", partitions=4)
    assert "topic new-user has 8 partitions, others have 4" in "\n".join(system.lines)
    assert_start_fails_with_8_partitions(start_system, own_kafka)
    send_users(own_kafka, "after")
    until(lambda: count_completed(own_kafka) == 60, 60, "users were not onboarded after a restart")
    system.stop(within_s=60)

    send_users(own_kafka, "unread")
    assert "20 of new-user" in grow_once_stopped(own_kafka, 8).stderr
    system = start_system(*arguments, lag="0", partitions=4)
    until(lambda: count_completed(own_kafka) == 80, 60, "the unread users were not onboarded")
    system.stop(within_s=60)
    done = grow_once_stopped(own_kafka, 8)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["rows_moved"] > 0
    assert "every topic has 8 partitions already" in grow(own_kafka, 8).stderr

    system = start_system(*arguments, lag="0", partitions=8)
    error = resubmit(system, "before-1")
    assert "409" in error or "exists" in error
    send_users(own_kafka, "grown")
    until(lambda: count_completed(own_kafka) == 100, 60, "users were not onboarded on all partitions")
    audit = saga("audit", "--json", *arguments)
    assert json.loads(audit.stdout)["findings"] == []
    now("one topic grows online, all topics by saga topics grow; the audit finds nothing")


def assert_start_fails_with_8_partitions(start_system: Start, kafka: RealKafka) -> None:
    wrong = start_system("--broker", f"kafka://{kafka.bootstrap}", wait=False, partitions=8)
    assert wrong.process.wait(90) == 2
    assert "SAGA_PARTITIONS is 8: set SAGA_PARTITIONS=4 for all services; for 8 grow all topics" in wrong.lines[-1]


def resubmit(system: System, id: str) -> str:
    """Submit a user that exists already; return the error output."""
    done = system.saga("new", "--id", id)
    assert done.returncode == 1
    return done.stderr
