"""The reasons that services report at start-up when a real broker or its topics cannot be used."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from devtools.real_kafka import RealKafka
from devtools.system import System
from devtools.wait import until
from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.service.kafka import topics

Now = Callable[[str], None]
Start = Callable[..., System]

pytestmark = pytest.mark.kafka


@contextmanager
def running_broker(data: Path, **properties: str) -> Iterator[RealKafka]:
    """Run a real broker with these properties (`_` in place of `.`)."""
    kafka = RealKafka(data, **properties)
    kafka.start()
    try:
        yield kafka
    finally:
        kafka.stop()
        kafka.clean()


def first_reason(bootstrap: str, replication: int = 1, partitions: int = 12) -> str:
    """The first reason for which `topics.ensure` waits; empty if it does not wait."""

    async def first(reasons: AsyncIterator[str]) -> str:
        async for reason in reasons:
            return reason
        return ""

    return asyncio.run(first(topics.ensure(bootstrap, partitions, replication)))


@pytest.mark.field(31)
def test_more_replicas_than_brokers_is_reported_with_the_brokers_reason(
    own_kafka: RealKafka, start_system: Start, now: Now
) -> None:
    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", wait=False, replication=3)
    line = system.wait_for_line("InvalidReplicationFactor", 60)
    assert "the broker does not create" in line
    assert "SAGA_REPLICATION" in line
    assert not any("topics created" in each for each in system.lines)
    now(line[line.index("the broker") :][:150])


@pytest.mark.field(31)
def test_topics_with_too_few_in_sync_replicas_are_not_ready(tmp_path: Path, now: Now) -> None:
    with running_broker(tmp_path, min_insync_replicas="2") as kafka:
        reason = until(lambda: _after_creation(first_reason(kafka.bootstrap)), 30, "the topics have no leaders")
        assert reason is not None
        assert "can be acknowledged: min.insync.replicas is 2, but 1 of 1 replicas are in sync" in reason
        now(reason[:110])


def _after_creation(reason: str) -> str | None:
    """The reason, or None while the topics are still being created."""
    return None if "leader" in reason or "missing" in reason else reason


@pytest.mark.field(31)
def test_a_changelog_that_is_not_compacted_is_reported(own_kafka: RealKafka, start_system: Start) -> None:
    admin = AdminClient({"bootstrap.servers": own_kafka.bootstrap})
    for future in admin.create_topics([NewTopic(ROWS_CHANGELOG, 12, 1)]).values():
        future.result(30)
    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", lag="0")
    assert f"topic {ROWS_CHANGELOG} has cleanup.policy=delete" in "\n".join(system.lines)


@pytest.mark.field(33)
def test_an_advertised_listener_that_does_not_resolve_is_reported(
    tmp_path: Path, start_system: Start, now: Now
) -> None:
    with running_broker(tmp_path, advertised_listeners="PLAINTEXT://kafka-7.invalid:9092") as kafka:
        system = start_system("--broker", f"kafka://{kafka.bootstrap}", wait=False)
        line = system.wait_for_line("advertises kafka-7.invalid:9092", 60)
        assert "name resolution failed" in line
        now(line[line.index("the broker") :][:120])
