"""What the auditor reads: everything up to the ends as they were, and it notices what is gone."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from confluent_kafka import KafkaError

from saga_app.active_plan import ROWS_CHANGELOG, TOPICS
from saga_app.audit.gather import Gathering
from saga_app.audit.reader import CannotRead, Reading, Snapshot
from tests.fakes.record import FakeRecord
from tests.unit.audit_topics import Topics, completed


class FakeMessage:
    """As librdkafka gives it; without a record it is the news that a partition has come to its end."""

    def __init__(self, topic: str, offset: int, record: FakeRecord | None = None) -> None:
        self._topic, self._offset, self.record = topic, offset, record

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def error(self) -> Any:
        return None if self.record else KafkaError(KafkaError._PARTITION_EOF)

    def timestamp(self) -> tuple[int, int]:
        return (1, self.record.timestamp if self.record else 0)

    def value(self) -> bytes | None:
        return self.record.value if self.record else None

    def headers(self) -> Any:
        return self.record.headers if self.record else None


class FakeConsumer:
    """A broker that has these records, and nothing after them."""

    def __init__(self, messages: Iterable[FakeMessage]) -> None:
        self.messages = list(messages)
        self.paused: list[str] = []

    def assign(self, places: Any) -> None:
        pass

    def pause(self, places: Any) -> None:
        self.paused += [place.topic for place in places]

    def consume(self, most: int, _timeout: float) -> list[FakeMessage]:
        first, self.messages = self.messages[:most], self.messages[most:]
        return first


def there(topics: Topics, **first: int) -> Snapshot:
    """All that there is; `first`: where a topic begins that has lost its beginning."""
    places = {(topic, 0): topics.next[topic, 0] for topic in TOPICS}
    starts = {(topic, 0): first.get(topic.replace("-", "_"), 0) for topic in TOPICS}
    return Snapshot(1, topics.committed(), starts, places)


def messages(topics: Topics) -> list[FakeMessage]:
    """Its records, as they are fetched."""
    return [FakeMessage(record.topic, record.offset, record) for record in topics.records]


def reading(topics: Topics, snapshot: Snapshot, extra: Iterable[FakeMessage] = ()) -> Reading:
    """It has read everything."""
    consumer: Any = FakeConsumer([*messages(topics), *extra])
    session = Reading(consumer, snapshot, Gathering(), silence_s=0.2)
    session.run(lambda _done: None)
    return session


def test_everything_is_read_and_nothing_is_gone() -> None:
    topics = completed()
    session = reading(topics, there(topics))
    assert (session.gathering.records, session.lost) == (len(topics.records), {})


def test_what_is_written_after_the_beginning_of_the_audit_is_not_read() -> None:
    topics = completed()
    snapshot = there(topics)
    before = len(topics.records)
    topics.saga("bob")
    session = reading(topics, snapshot)
    assert session.gathering.records == before
    assert session.gathering.sagas.keys() == {"ada"}


def test_a_deleted_beginning_is_noticed_and_from_when_on_all_is_there() -> None:
    topics = completed()
    topics.saga("bob")
    topics.drop("notify", 0)
    session = reading(topics, there(topics, notify=1))
    assert session.lost == {("notify", 0): topics.records[topics.place("notify")].timestamp}


def test_a_topic_from_which_everything_is_gone_is_noticed() -> None:
    topics = completed()
    topics.drop("notify")
    assert reading(topics, there(topics, notify=1)).lost == {("notify", 0): math.inf}


@pytest.mark.field(35)
def test_compacted_rows_and_aborted_or_control_records_are_no_loss(now: Callable[[str], None]) -> None:
    topics = completed()
    topics.saga("bob")
    topics.saga("eve")
    topics.drop(ROWS_CHANGELOG, 3)
    topics.drop("authorize", 1)
    topics.drop("notify", 0)
    session = reading(topics, there(topics))
    assert session.lost == {}
    now(f"gaps of transactions: {len(session.lost)} losses in the audit")


def test_an_end_without_a_record_is_an_end() -> None:
    topics = completed()
    topics.drop("notified")
    session = reading(topics, there(topics), [FakeMessage("notified", 1)])
    assert (session.lost, session.left) == ({}, {})


def test_a_broker_that_goes_away_is_one_line() -> None:
    topics = completed()
    snapshot = there(topics)
    topics.drop("notified")
    with pytest.raises(CannotRead, match=r"has stopped responding: notified\[0\]"):
        reading(topics, snapshot)
