"""The broker's log as the driver sees it: where topics end, and which sagas have ended.

While something is measured it only asks where topics end, one request a look. The endings are read afterwards, with the
time at which the broker has appended each: the same clock for all, and no consumer that competes for the processor.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from saga_app.active_plan import ROWS_CHANGELOG

#: The last request of a saga that completes.
NOTIFIED = "notified"

#: How the row of a completed saga is known, without decoding it.
COMPLETED = b'"state":"completed"'

#: Seconds between two looks, and how long the changelog must stand still before it is read.
LOOK_S, STILL_S = 0.1, 0.3

#: A topic's partitions, and where each ends or begins.
Mark = Mapping[int, int]


class NotInTime(RuntimeError):
    """Sagas have not ended within their time."""


class Log:
    """One broker's topics."""

    def __init__(self, bootstrap: str, partitions: int = 12) -> None:
        self.bootstrap, self.partitions = bootstrap, partitions
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def mark(self, topic: str) -> dict[int, int]:
        """Where the partitions of a topic end now."""
        end: Any = OffsetSpec
        asked = {TopicPartition(topic, number): end.latest() for number in range(self.partitions)}
        answers = self._admin.list_offsets(asked, request_timeout=10)
        return {place.partition: answer.result().offset for place, answer in answers.items()}

    def since(self, topic: str, mark: Mark) -> int:
        """Records appended since."""
        return sum(self.mark(topic).values()) - sum(mark.values())

    def settle(
        self, notified: Mark, changelog: Mark, count: int, within_s: float, said: Callable[[int], None]
    ) -> dict[bytes, int]:
        """Wait until `count` sagas have completed since the marks. Their ids, and when (broker's time, milliseconds).

        Raises `NotInTime`.
        """
        deadline = time.monotonic() + within_s
        length, still_since = -1, 0.0
        while time.monotonic() < deadline:
            time.sleep(LOOK_S)
            said(done := self.since(NOTIFIED, notified))
            if done < count:
                continue
            now, grown = time.monotonic(), self.since(ROWS_CHANGELOG, changelog)
            if grown != length:
                length, still_since = grown, now
            elif now - still_since > STILL_S and len(found := self.endings(changelog)) >= count:
                return found
        found = self.endings(changelog)
        if len(found) >= count:
            return found
        raise NotInTime(f"{len(found)} of {count} sagas completed within {within_s:g} s")

    def endings(self, mark: Mark) -> dict[bytes, int]:
        """The sagas completed since, and when first."""
        found: dict[bytes, int] = {}
        for record in self.records(ROWS_CHANGELOG, mark):
            if COMPLETED in (record.value() or b""):
                found.setdefault(record.key(), record.timestamp()[1])
        return found

    def times(self, topic: str, mark: Mark) -> dict[bytes, int]:
        """Keys on a topic since, and when the broker appended the first record of each (milliseconds)."""
        found: dict[bytes, int] = {}
        for record in self.records(topic, mark):
            found.setdefault(record.key(), record.timestamp()[1])
        return found

    def records(self, topic: str, mark: Mark) -> Iterator[Any]:
        """Everything between the mark and now, as librdkafka's messages."""
        left = {partition: end for partition, end in self.mark(topic).items() if end > mark.get(partition, 0)}
        settings = {
            "bootstrap.servers": self.bootstrap,
            "group.id": "driver",
            "enable.auto.commit": False,
            "log_level": 0,
        }
        consumer: Any = Consumer(settings)
        try:
            consumer.assign([TopicPartition(topic, partition, mark.get(partition, 0)) for partition in left])
            while left:
                for record in consumer.consume(10_000, 0.2):
                    if record.error():
                        raise KafkaException(record.error())
                    yield record
                    if record.offset() + 1 >= left.get(record.partition(), 0):
                        left.pop(record.partition(), None)
        finally:
            consumer.close()
