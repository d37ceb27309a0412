"""Sends poison with a client that is not ours, and remembers where it ended up."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from confluent_kafka import KafkaException, Producer

from tests.fuzz.poison import CODECS, Poison

Place = tuple[str, int, int]

#: Another partitioner than ours, as other languages' clients have.
SETTINGS = {
    "acks": "all",
    "message.max.bytes": 2_000_000,
    "linger.ms": 20,
    "partitioner": "consistent_random",
    "log_level": 0,
}


class Sender:
    """`send`, then `flush`; `stands` says which record is at which place, `refused` what the broker did not take."""

    def __init__(self, bootstrap: str) -> None:
        self.stands: dict[Place, Poison] = {}
        self.refused: list[Poison] = []
        self._producers = {
            codec: Producer({**SETTINGS, "bootstrap.servers": bootstrap, "compression.type": codec}) for codec in CODECS
        }

    def send(self, records: Iterable[Poison]) -> None:
        """Hand them to the clients."""
        for record in records:
            self._produce(self._producers[record.codec], record)

    def _produce(self, producer: Producer, record: Poison) -> None:
        where = {} if record.partition is None else {"partition": record.partition}
        try:
            producer.produce(
                record.topic,
                record.value,
                record.key,
                headers=list(record.headers),
                timestamp=record.timestamp_ms,
                on_delivery=partial(self._delivered, record),
                **where,
            )
        except (KafkaException, ValueError, OverflowError):  # the client itself refuses it
            self.refused.append(record)
        producer.poll(0)

    def _delivered(self, record: Poison, error: Any, message: Any) -> None:
        if error is None:
            self.stands[message.topic(), message.partition(), message.offset()] = record
        else:
            self.refused.append(record)

    def flush(self) -> None:
        """Returns when the broker has acknowledged or refused all of it."""
        for producer in self._producers.values():
            assert producer.flush(60) == 0, "the broker did not answer within 60 s"
