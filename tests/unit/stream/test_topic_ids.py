"""A topic that was deleted and created again is noticed by its id."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from saga_app.stream.topic_ids import TopicIds

pytestmark = pytest.mark.field(34)


class FakeAdmin:
    """Describes the topics that it holds."""

    def __init__(self, **ids: str) -> None:
        self.ids = ids

    def describe_topics(self, names: Any, request_timeout: float) -> dict[str, Any]:
        return {name: SimpleNamespace(result=lambda name=name: self._of(name)) for name in names.topic_names}

    def _of(self, name: str) -> Any:
        if name not in self.ids:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        return SimpleNamespace(topic_id=self.ids[name])


@pytest.fixture
def admin() -> FakeAdmin:
    return FakeAdmin(notify="a", notified="b")


@pytest.fixture
def ids(admin: FakeAdmin) -> TopicIds:
    made: Any = TopicIds("127.0.0.1:9")
    made._admin = admin
    return made  # type: ignore[no-any-return]


async def test_a_topic_with_another_id_is_named_once(admin: FakeAdmin, ids: TopicIds) -> None:
    names = ["notify", "notified"]
    assert await ids.changed(names) == []
    admin.ids["notify"] = "c"
    assert await ids.changed(names) == ["notify"]
    assert await ids.changed(names) == []


async def test_a_topic_that_was_missing_meanwhile_is_named_when_it_is_there_again(
    admin: FakeAdmin, ids: TopicIds
) -> None:
    await ids.changed(["notify"])
    del admin.ids["notify"]
    assert await ids.changed(["notify"]) == []
    admin.ids["notify"] = "c"
    assert await ids.changed(["notify"]) == ["notify"]
