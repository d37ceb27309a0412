"""Observes the broker's topics: their end offsets, and which sagas have completed.

While a trial runs, the reader polls only end offsets, with one request each. Completions are read afterwards, with the
timestamps at which the broker appended them: one clock for all implementations, and no consumer that uses CPU time.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from benchmarks.progress import ShowCount
from saga_app.active_plan import ROWS_CHANGELOG

#: The topic of the last step of a saga that completes.
NOTIFIED = "notified"

#: Identifies the row of a completed saga without decoding it.
COMPLETED = b'"state":"completed"'

#: Time between two polls, and how long the changelog must not grow before it is read (seconds).
POLL_INTERVAL_S, QUIET_S = 0.1, 0.3

#: An offset for each partition of a topic.
Offsets = Mapping[int, int]


class CompletionTimeout(RuntimeError):
    """Not all sagas completed in time."""


class TopicReader:
    """Reads the topics of one broker."""

    def __init__(self, bootstrap: str, partitions: int = 12) -> None:
        self.bootstrap, self.partitions = bootstrap, partitions
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Where the partitions of a topic end now."""
        spec: Any = OffsetSpec
        requests = {TopicPartition(topic, number): spec.latest() for number in range(self.partitions)}
        answers = self._admin.list_offsets(requests, request_timeout=10)
        return {place.partition: answer.result().offset for place, answer in answers.items()}

    def count_since(self, topic: str, offsets: Offsets) -> int:
        """The number of records from these offsets to the end."""
        return sum(self.end_offsets(topic).values()) - sum(offsets.values())

    def wait_for_completions(
        self, notified: Offsets, changelog: Offsets, count: int, within_s: float, show_count: ShowCount
    ) -> dict[bytes, int]:
        """Wait until `count` sagas have completed since these offsets.

        Returns their ids with the time of completion by the broker's clock (ms). Raises `CompletionTimeout`.
        """
        deadline = time.monotonic() + within_s
        length, grew_at = -1, 0.0
        while time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_S)
            show_count(done := self.count_since(NOTIFIED, notified))
            if done < count:
                continue
            now, new_length = time.monotonic(), self.count_since(ROWS_CHANGELOG, changelog)
            if new_length != length:
                length, grew_at = new_length, now
            elif now - grew_at > QUIET_S and len(completions := self.completions_since(changelog)) >= count:
                return completions
        completions = self.completions_since(changelog)
        if len(completions) >= count:
            return completions
        raise CompletionTimeout(f"{len(completions)} of {count} sagas completed within {within_s:g} s")

    def completions_since(self, offsets: Offsets) -> dict[bytes, int]:
        """The ids of sagas whose rows show them completed, with the timestamp of the first such row (ms)."""
        completions: dict[bytes, int] = {}
        for record in self.records_since(ROWS_CHANGELOG, offsets):
            if COMPLETED in (record.value() or b""):
                completions.setdefault(record.key(), record.timestamp()[1])
        return completions

    def first_timestamps(self, topic: str, offsets: Offsets) -> dict[bytes, int]:
        """The keys of a topic, with the timestamp at which the broker appended the first record of each (ms)."""
        timestamps: dict[bytes, int] = {}
        for record in self.records_since(topic, offsets):
            timestamps.setdefault(record.key(), record.timestamp()[1])
        return timestamps

    def records_since(self, topic: str, offsets: Offsets) -> Iterator[Any]:
        """All records from these offsets to the current end, as messages of confluent-kafka."""
        ends = self.end_offsets(topic)
        unread = {partition: end for partition, end in ends.items() if end > offsets.get(partition, 0)}
        settings = {
            "bootstrap.servers": self.bootstrap,
            "group.id": "driver",
            "enable.auto.commit": False,
            "log_level": 0,
        }
        consumer: Any = Consumer(settings)
        try:
            consumer.assign([TopicPartition(topic, partition, offsets.get(partition, 0)) for partition in unread])
            while unread:
                for record in consumer.consume(10_000, 0.2):
                    if record.error():
                        raise KafkaException(record.error())
                    yield record
                    if record.offset() + 1 >= unread.get(record.partition(), 0):
                        unread.pop(record.partition(), None)
        finally:
            consumer.close()
