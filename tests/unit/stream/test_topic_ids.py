"""A recreated topic is detected by its id."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from saga_app.stream.topic_ids import Cluster, TopicIds

pytestmark = pytest.mark.field(34)


class FakeAdmin:
    """Describes the topics in `ids`; any other topic is unknown."""

    def __init__(self, **ids: str) -> None:
        self.ids = ids

    def describe_topics(self, names: Any, request_timeout: float) -> dict[str, Any]:
        return {name: SimpleNamespace(result=lambda name=name: self._describe(name)) for name in names.topic_names}

    def list_topics(self, timeout: float) -> Any:
        if not self.ids:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        partitions = {0: SimpleNamespace(leader=1), 1: SimpleNamespace(leader=-1)}
        return SimpleNamespace(cluster_id="c1", topics=dict.fromkeys(self.ids, SimpleNamespace(partitions=partitions)))

    def _describe(self, name: str) -> Any:
        if name not in self.ids:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        return SimpleNamespace(topic_id=self.ids[name])


@pytest.fixture
def admin() -> FakeAdmin:
    return FakeAdmin(notify="a", notified="b")


@pytest.fixture
def topic_ids(admin: FakeAdmin) -> TopicIds:
    topic_ids = TopicIds("127.0.0.1:9")
    topic_ids._admin = admin
    return topic_ids


async def test_a_changed_id_is_reported_once(admin: FakeAdmin, topic_ids: TopicIds) -> None:
    names = ["notify", "notified"]
    assert await topic_ids.find_changed(names) == []
    admin.ids["notify"] = "c"
    assert await topic_ids.find_changed(names) == ["notify"]
    assert await topic_ids.find_changed(names) == []


async def test_a_topic_that_was_missing_for_a_while_is_reported_when_it_returns(
    admin: FakeAdmin, topic_ids: TopicIds
) -> None:
    await topic_ids.find_changed(["notify"])
    del admin.ids["notify"]
    assert await topic_ids.find_changed(["notify"]) == []
    admin.ids["notify"] = "c"
    assert await topic_ids.find_changed(["notify"]) == ["notify"]


async def test_a_cluster_has_an_id_and_the_leaders_of_all_partitions(topic_ids: TopicIds) -> None:
    assert await topic_ids.cluster() == Cluster("c1", {"notify": [1, -1], "notified": [1, -1]})


async def test_an_unreachable_cluster_is_a_connection_error(admin: FakeAdmin, topic_ids: TopicIds) -> None:
    admin.ids.clear()
    with pytest.raises(ConnectionError, match="no broker has described its topics"):
        await topic_ids.cluster()
