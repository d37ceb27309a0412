"""The reader of the auditor reads up to the ends of the snapshot, and detects deleted records."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from saga_app.active_plan import ROWS_CHANGELOG, TOPICS
from saga_app.audit.collector import EvidenceCollector
from saga_app.audit.reader import CannotRead, Reading, Snapshot
from tests.fakes.record import FakeRecord
from tests.unit.audit_topics import Topics, completed


class FakeMessage:
    """A message of librdkafka; without a record, the event that the end of a partition is reached."""

    def __init__(self, topic: str, offset: int, record: FakeRecord | None = None) -> None:
        self._topic, self._offset, self.record = topic, offset, record

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return None if self.record else KafkaError(KafkaError._PARTITION_EOF)

    def timestamp(self) -> tuple[int, int]:
        return (1, self.record.timestamp if self.record else 0)

    def value(self) -> bytes | None:
        return self.record.value if self.record else None

    def headers(self) -> Sequence[tuple[str, bytes | None]] | None:
        return self.record.headers if self.record else None


class FakeConsumer:
    """A consumer that returns these messages, and then none."""

    def __init__(self, messages: Iterable[FakeMessage]) -> None:
        self.messages = list(messages)
        self.paused: list[str] = []

    def assign(self, places: Iterable[TopicPartition]) -> None:
        pass

    def pause(self, places: Iterable[TopicPartition]) -> None:
        self.paused += [place.topic for place in places]

    def consume(self, max_messages: int, _timeout_s: float) -> list[FakeMessage]:
        batch, self.messages = self.messages[:max_messages], self.messages[max_messages:]
        return batch


def snapshot_of(topics: Topics, first: dict[str, int] | None = None) -> Snapshot:
    """A snapshot of all topics. `first`: the first offset of topics that have lost their oldest records."""
    ends = {(topic, 0): topics.ends[topic, 0] for topic in TOPICS}
    starts = {(topic, 0): (first or {}).get(topic, 0) for topic in TOPICS}
    return Snapshot(1, topics.committed(), starts, ends)


def read_all(topics: Topics, snapshot: Snapshot, events: Iterable[FakeMessage] = ()) -> Reading:
    """Read the records, and then these events. Returns the finished reading."""
    messages = [FakeMessage(record.topic, record.offset, record) for record in topics.records]
    consumer: Any = FakeConsumer([*messages, *events])
    reading = Reading(consumer, snapshot, EvidenceCollector(), silence_s=0.2)
    reading.run(lambda _done: None)
    return reading


def test_all_records_are_read() -> None:
    topics = completed()
    reading = read_all(topics, snapshot_of(topics))
    assert (reading.collector.records, reading.lost) == (len(topics.records), {})


def test_records_written_after_the_snapshot_are_not_read() -> None:
    topics = completed()
    snapshot = snapshot_of(topics)
    count = len(topics.records)
    topics.run_saga("bob")
    reading = read_all(topics, snapshot)
    assert reading.collector.records == count
    assert reading.collector.sagas.keys() == {"ada"}


def test_deleted_records_are_detected_with_the_time_of_the_first_one_left() -> None:
    topics = completed()
    topics.run_saga("bob")
    topics.remove("notify", 0)
    reading = read_all(topics, snapshot_of(topics, {"notify": 1}))
    assert reading.lost == {("notify", 0): topics.records[topics.index_of("notify")].timestamp}


def test_a_topic_that_has_lost_all_records_is_detected() -> None:
    topics = completed()
    topics.remove("notify")
    assert read_all(topics, snapshot_of(topics, {"notify": 1})).lost == {("notify", 0): math.inf}


@pytest.mark.field(35)
def test_gaps_of_compaction_and_transactions_are_no_loss(now: Callable[[str], None]) -> None:
    topics = completed()
    topics.run_saga("bob")
    topics.run_saga("eve")
    topics.remove(ROWS_CHANGELOG, 3)
    topics.remove("authorize", 1)
    topics.remove("notify", 0)
    reading = read_all(topics, snapshot_of(topics))
    assert reading.lost == {}
    now(f"gaps of transactions: {len(reading.lost)} losses in the audit")


def test_the_end_event_completes_a_partition_without_a_last_record() -> None:
    topics = completed()
    topics.remove("notified")
    reading = read_all(topics, snapshot_of(topics), [FakeMessage("notified", 1)])
    assert (reading.lost, reading.left) == ({}, {})


def test_a_broker_that_stops_responding_is_an_error_with_the_partition() -> None:
    topics = completed()
    snapshot = snapshot_of(topics)
    topics.remove("notified")
    with pytest.raises(CannotRead, match=r"has stopped responding: notified\[0\]"):
        read_all(topics, snapshot)
