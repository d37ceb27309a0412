"""Read, write and configure topics independently of the project's own Kafka clients."""

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from devtools.wait import until
from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.codec import decode
from saga_app.saga.messages import Row


@dataclass(frozen=True)
class Record:
    """A record as librdkafka returns it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


def read(bootstrap: str, topic: str) -> Iterator[Record]:
    """All records of a topic, up to the end offsets at the time of the call."""
    for message in read_messages(bootstrap, topic):
        headers = dict(message.headers() or [])
        yield Record(message.partition(), message.offset(), message.key(), message.value(), headers)


def read_messages(bootstrap: str, topic: str) -> Iterator[Any]:
    """Like `read()`, but yields librdkafka's `Message` objects, which have timestamps and repeated headers."""
    consumer, watermarks = _consumer_and_watermarks(bootstrap, topic)
    try:
        unread = {p: high for p, (low, high) in watermarks.items() if high > low}
        consumer.assign([TopicPartition(topic, p, watermarks[p][0]) for p in unread])
        while unread:
            message: Any = consumer.poll(10)
            assert message is not None, f"{topic}: no record within 10 s; unread up to {unread}"
            assert message.error() is None, message.error()
            yield message
            if message.offset() + 1 >= unread.get(message.partition(), 0):
                unread.pop(message.partition(), None)
    finally:
        consumer.close()


def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """The high watermark of each partition of a topic."""
    consumer, watermarks = _consumer_and_watermarks(bootstrap, topic)
    consumer.close()
    return {partition: high for partition, (_, high) in watermarks.items()}


def _consumer_and_watermarks(bootstrap: str, topic: str) -> tuple[Consumer, dict[int, tuple[int, int]]]:
    """A consumer, with the low and high watermarks of each partition.

    Each attempt uses a new consumer: a broker that has just started needs a moment to lead its partitions, and a
    client whose metadata contain no broker at that time does not recover (decision 11).
    """
    opened = until(lambda: _try_to_open(bootstrap, topic), 60, f"could not read the watermarks of {topic}")
    assert opened is not None
    return opened


def _try_to_open(bootstrap: str, topic: str) -> tuple[Consumer, dict[int, tuple[int, int]]] | None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, 5).topics[topic].partitions
        return consumer, {p: consumer.get_watermark_offsets(TopicPartition(topic, p), 5) for p in partitions}
    except KafkaException:
        consumer.close()
        return None


def rows(bootstrap: str) -> dict[str, list[Row]]:
    """All versions of each saga row in the changelog, oldest first, by saga id."""
    found: dict[str, list[Row]] = {}
    for record in read(bootstrap, ROWS_CHANGELOG):
        row = decode(Row, record.value)
        found.setdefault(row.id, []).append(row)
    return found


def send(bootstrap: str, topic: str, records: Iterable[tuple[bytes | None, bytes | None]], **settings: Any) -> None:
    """Produce (key, value) pairs and wait until all are acknowledged. `settings` are those of librdkafka."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "message.max.bytes": 2_000_000, **settings}
    )
    for key, value in records:
        producer.produce(topic, value, key)
    assert producer.flush(30) == 0, "not acknowledged within 30 s"


def user(id: str, department: str = "Sales") -> bytes:
    """The value of a minimal `new-user` record, as any client may send it."""
    about = {"name": f"User {id}", "email": f"{id}@example.com", "department": department}
    return json.dumps({"v": 1, "id": id, "user": about}).encode()


def kcat(bootstrap: str, topic: str, lines: str) -> None:
    """Produce `key|value` lines with kcat. Its default partitioner is not murmur2."""
    subprocess.run(
        ["kcat", "-b", bootstrap, "-t", topic, "-P", "-K", "|"], input=lines, text=True, check=True, timeout=30
    )


def configure_topic(bootstrap: str, topic: str, configs: Mapping[str, str | None]) -> None:
    """Set topic configs; None resets one to the default of the broker."""
    entries = [
        ConfigEntry(
            name, value, incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
        )
        for name, value in configs.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)
