"""Topics that are deleted, recreated or changed while a service runs."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from aiokafka.errors import KafkaConnectionError

from saga_app.service.kafka import topics
from saga_app.service.kafka.kafka_changes import TopicWatch
from saga_app.service.kafka.topics import TOPICS, TooFewPartitions, WrongPartitions, check_partitions
from saga_app.stream.topic_ids import Cluster, TopicIds

pytestmark = pytest.mark.field(34)

PARTITIONS = 3


class FakeAdmin:
    """The methods of aiokafka's admin client that the project uses. `partitions`: the number of partitions by topic."""

    def __init__(self) -> None:
        self.partitions = dict.fromkeys(TOPICS, PARTITIONS)
        self.unreachable = False
        self._client = SimpleNamespace(cluster=SimpleNamespace(brokers=list))

    async def list_topics(self) -> list[str]:
        if self.unreachable:
            raise KafkaConnectionError("connection refused")
        return list(self.partitions)

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"topic": name, "partitions": [{"leader": 1}] * self.partitions[name]} for name in names]

    async def cluster(self) -> Cluster:
        """In place of `TopicIds.cluster`."""
        if self.unreachable:
            raise ConnectionError("no broker has described its topics")
        return Cluster("cluster", {name: [1] * count for name, count in self.partitions.items()})

    async def create_topics(self, new: list[Any]) -> Any:
        self.partitions |= {topic.name: topic.num_partitions for topic in new}
        return type("Response", (), {"topic_errors": [(topic.name, 0, None) for topic in new]})()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeAdmin:
    """A cluster with all topics, used by every admin client."""
    fake = FakeAdmin()

    @asynccontextmanager
    async def admin_of(_bootstrap: str) -> AsyncIterator[Any]:
        yield fake

    monkeypatch.setattr(topics, "admin_of", admin_of)
    monkeypatch.setattr(TopicIds, "cluster", fake.cluster)
    return fake


@pytest.fixture
def watch() -> TopicWatch:
    """The watch of a service on a real broker."""
    return TopicWatch("127.0.0.1:9", PARTITIONS, 1, embedded=False)


async def test_a_deleted_topic_is_reported_and_created_again(cluster: FakeAdmin, watch: TopicWatch) -> None:
    await watch.check()
    assert watch.problem is None
    del cluster.partitions["notify"]
    await watch.check()
    assert "topics are missing: notify: they were deleted while the service was running" in (watch.problem or "")
    assert cluster.partitions["notify"] == PARTITIONS
    await watch.check()
    assert watch.problem is None


async def test_a_wrong_number_of_partitions_is_reported_until_corrected(cluster: FakeAdmin, watch: TopicWatch) -> None:
    cluster.partitions["notify"] = 1
    for _ in range(2):
        await watch.check()
        assert "topic notify has 1 partitions" in (watch.problem or "")
    cluster.partitions["notify"] = PARTITIONS
    await watch.check()
    assert watch.problem is None


async def test_restarting_in_recreated_topics_is_retried_until_it_succeeds(cluster: FakeAdmin) -> None:
    results, calls = [False, True], list[set[str]]()

    async def start_over(names: Collection[str]) -> bool:
        calls.append(set(names))
        return results.pop(0)

    watch: Any = TopicWatch("127.0.0.1:9", PARTITIONS, 1, embedded=False, start_over=start_over)
    changed: list[list[str]] = [[], ["notify"], [], []]
    watch._ids = SimpleNamespace(find_changed=AsyncMock(side_effect=changed), cluster=cluster.cluster)
    for _ in range(4):
        await watch.check()
    assert calls == [{"notify"}, {"notify"}]


async def test_an_unreachable_broker_leaves_the_problem_unchanged(cluster: FakeAdmin, watch: TopicWatch) -> None:
    cluster.partitions["notify"] = 1
    await watch.check()
    cluster.unreachable = True
    await watch.check()
    assert "topic notify has 1 partitions" in (watch.problem or "")


def test_one_short_topic_is_temporary_and_all_topics_a_wrong_setting() -> None:
    with pytest.raises(TooFewPartitions, match="topic notify has 1 partitions"):
        check_partitions(dict.fromkeys(TOPICS, 12) | {"notify": 1}, 12)
    for counts in (dict.fromkeys(TOPICS, 1), dict.fromkeys(TOPICS, 12) | {"new-user": 24}):
        with pytest.raises(WrongPartitions) as error:
            check_partitions(counts, 24)
        assert not isinstance(error.value, TooFewPartitions)


async def test_a_starting_service_waits_for_a_topic_with_too_few_partitions(cluster: FakeAdmin) -> None:
    cluster.partitions["notify"] = 1
    async for reason in topics.ensure("127.0.0.1:9", PARTITIONS, 1, embedded=True):
        assert "topic notify has 1 partitions" in reason
        cluster.partitions["notify"] = PARTITIONS
