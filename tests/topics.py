"""Reading and writing topics in tests, with a client that is not ours."""

import json
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from devtools.wait import until
from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga.messages import Row, decode


@dataclass(frozen=True)
class Read:
    """A record as librdkafka gives it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


def read(bootstrap: str, topic: str) -> Iterator[Read]:
    """Everything that stands on a topic now."""
    for message in everything(bootstrap, topic):
        yield Read(message.partition(), message.offset(), message.key(), message.value(), dict(message.headers() or []))


def everything(bootstrap: str, topic: str) -> Iterator[Any]:
    """The same, as librdkafka's own messages."""
    consumer, ends = _opened(bootstrap, topic)
    try:
        left = {p: high for p, (low, high) in ends.items() if high > low}
        consumer.assign([TopicPartition(topic, p, ends[p][0]) for p in left])
        while left:
            message = consumer.poll(10)
            assert message is not None, f"{topic}: nothing came, wanted up to {left}"
            assert message.error() is None, message.error()
            yield message
            if message.offset() + 1 >= left.get(message.partition(), 0):
                left.pop(message.partition(), None)
    finally:
        consumer.close()


def ends(bootstrap: str, topic: str) -> dict[int, int]:
    """Where the partitions of a topic end."""
    consumer, found = _opened(bootstrap, topic)
    consumer.close()
    return {partition: high for partition, (_, high) in found.items()}


def _opened(bootstrap: str, topic: str) -> tuple[Consumer, dict[int, tuple[int, int]]]:
    """A client, with the first and next offset of each partition.

    A broker that has just come back needs a moment to lead its partitions, and a client that was told meanwhile that
    there are no brokers is of no use any more (decision 11).
    """
    return until(lambda: _open(bootstrap, topic), 60, f"a client learns where {topic} ends")


def _open(bootstrap: str, topic: str) -> tuple[Consumer, dict[int, tuple[int, int]]] | None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "nobody", "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, 5).topics[topic].partitions
        return consumer, {p: consumer.get_watermark_offsets(TopicPartition(topic, p), 5) for p in partitions}
    except KafkaException:
        consumer.close()
        return None


def rows(bootstrap: str) -> dict[str, list[Row]]:
    """All versions of every saga's row, by id, as the changelog has them."""
    found: dict[str, list[Row]] = {}
    for record in read(bootstrap, ROWS_CHANGELOG):
        row = decode(Row, record.value)
        found.setdefault(row.id, []).append(row)
    return found


def send(bootstrap: str, topic: str, records: Iterable[tuple[bytes | None, bytes | None]], **settings: Any) -> None:
    """Keys and values, acknowledged when this returns."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "message.max.bytes": 2_000_000, **settings}
    )
    for key, value in records:
        producer.produce(topic, value, key)
    assert producer.flush(30) == 0


def user(id: str, department: str = "Sales") -> bytes:
    """What any client may send to new-user."""
    about = {"name": f"User {id}", "email": f"{id}@example.com", "department": department}
    return json.dumps({"v": 1, "id": id, "user": about}).encode()


def kcat(bootstrap: str, topic: str, lines: str) -> None:
    """Produce with Debian's kcat: id:value a line; librdkafka's own partitioner, which is not murmur2."""
    subprocess.run(
        ["kcat", "-b", bootstrap, "-t", topic, "-P", "-K", "|"], input=lines, text=True, check=True, timeout=30
    )
