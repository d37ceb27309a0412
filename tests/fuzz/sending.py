"""Send poison records with librdkafka and record their positions."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from confluent_kafka import KafkaException, Producer

from tests.fuzz.poison import CODECS, Poison

#: The position of a record: topic, partition, offset.
Place = tuple[str, int, int]

#: librdkafka's value for "choose the partition by the key".
PARTITION_OF_KEY = -1

#: The partitioner differs from that of the services (murmur2), as with clients in other languages.
SETTINGS = {
    "acks": "all",
    "message.max.bytes": 2_000_000,
    "linger.ms": 20,
    "partitioner": "consistent_random",
    "log_level": 0,
}


class Sender:
    """Call `send`, then `flush`. `stored` maps positions to records; `refused` are those that were not accepted."""

    def __init__(self, bootstrap: str) -> None:
        self.stored: dict[Place, Poison] = {}
        self.refused: list[Poison] = []
        self._producers = {
            codec: Producer({**SETTINGS, "bootstrap.servers": bootstrap, "compression.type": codec}) for codec in CODECS
        }

    def send(self, records: Iterable[Poison]) -> None:
        """Enqueue the records."""
        for record in records:
            self._produce(self._producers[record.codec], record)

    def _produce(self, producer: Producer, record: Poison) -> None:
        try:
            producer.produce(
                record.topic,
                record.value,
                record.key,
                PARTITION_OF_KEY if record.partition is None else record.partition,
                headers=list(record.headers),
                timestamp=record.timestamp_ms,
                on_delivery=partial(self._on_delivery, record),
            )
        except (KafkaException, ValueError, OverflowError):  # refused by the client
            self.refused.append(record)
        producer.poll(0)

    def _on_delivery(self, record: Poison, error: Any, message: Any) -> None:
        if error is None:
            self.stored[message.topic(), message.partition(), message.offset()] = record
        else:
            self.refused.append(record)

    def flush(self) -> None:
        """Wait until the broker has acknowledged or refused every record."""
        for producer in self._producers.values():
            assert producer.flush(60) == 0, "the broker did not answer within 60 s"
