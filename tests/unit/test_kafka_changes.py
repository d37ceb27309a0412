"""Topics that are deleted, or come back otherwise, while a service runs."""

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

pytestmark = pytest.mark.field(34)

PARTITIONS = 3


class Cluster:
    """As much of an admin client as is asked for topics."""

    def __init__(self) -> None:
        self.held = dict.fromkeys(TOPICS, PARTITIONS)
        self.away = False
        self._client = SimpleNamespace(cluster=SimpleNamespace(brokers=list))

    async def list_topics(self) -> list[str]:
        if self.away:
            raise KafkaConnectionError("nobody there")
        return list(self.held)

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"topic": name, "partitions": [{"leader": 1}] * self.held[name]} for name in names]

    async def create_topics(self, new: list[Any]) -> Any:
        self.held |= {topic.name: topic.num_partitions for topic in new}
        return type("Response", (), {"topic_errors": [(topic.name, 0, None) for topic in new]})()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()

    @asynccontextmanager
    async def admin_of(_bootstrap: str) -> AsyncIterator[Any]:
        yield made

    monkeypatch.setattr(topics, "admin_of", admin_of)
    return made


@pytest.fixture
def watch() -> TopicWatch:
    return TopicWatch("127.0.0.1:9", PARTITIONS, 1, embedded=False)


async def test_a_deleted_topic_is_named_and_created_again(cluster: Cluster, watch: TopicWatch) -> None:
    await watch.check()
    assert watch.problem is None
    del cluster.held["notify"]
    await watch.check()
    assert "topics are missing: notify: they were deleted while the service was running" in (watch.problem or "")
    assert cluster.held["notify"] == PARTITIONS
    await watch.check()
    assert watch.problem is None


async def test_another_number_of_partitions_is_waited_for(cluster: Cluster, watch: TopicWatch) -> None:
    cluster.held["notify"] = 1
    for _ in range(2):
        await watch.check()
        assert "topic notify has 1 partitions" in (watch.problem or "")
    cluster.held["notify"] = PARTITIONS
    await watch.check()
    assert watch.problem is None


async def test_topics_with_new_ids_are_read_again_as_soon_as_that_can_be_done(cluster: Cluster) -> None:
    done, asked = [False, True], []

    async def start_over(names: Collection[str]) -> bool:
        asked.append(set(names))
        return done.pop(0)

    watch: Any = TopicWatch("127.0.0.1:9", PARTITIONS, 1, embedded=False, start_over=start_over)
    changed: list[list[str]] = [[], ["notify"], [], []]
    watch._ids = SimpleNamespace(changed=AsyncMock(side_effect=changed))
    for _ in range(4):
        await watch.check()
    assert asked == [{"notify"}, {"notify"}]


async def test_a_broker_that_is_away_says_nothing_about_topics(cluster: Cluster, watch: TopicWatch) -> None:
    cluster.held["notify"] = 1
    await watch.check()
    cluster.away = True
    await watch.check()
    assert "topic notify has 1 partitions" in (watch.problem or "")


def test_one_topic_that_is_short_may_be_corrected_and_all_topics_mean_a_wrong_setting() -> None:
    with pytest.raises(TooFewPartitions, match="topic notify has 1 partitions"):
        check_partitions(dict.fromkeys(TOPICS, 12) | {"notify": 1}, 12)
    for counts in (dict.fromkeys(TOPICS, 1), dict.fromkeys(TOPICS, 12) | {"new-user": 24}):
        with pytest.raises(WrongPartitions) as wrong:
            check_partitions(counts, 24)
        assert not isinstance(wrong.value, TooFewPartitions)


async def test_a_service_that_starts_meanwhile_waits_with_this_reason(cluster: Cluster) -> None:
    cluster.held["notify"] = 1
    async for reason in topics.ensure("127.0.0.1:9", PARTITIONS, 1, embedded=True):
        assert "topic notify has 1 partitions" in reason
        cluster.held["notify"] = PARTITIONS
