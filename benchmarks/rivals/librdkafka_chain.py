"""The chain on librdkafka (confluent-kafka), with the standard library's json or with orjson.

A batch is the first record, waited for, and whatever has been fetched with it (under load: within 5 ms); `flush` waits
until all that it led to is acknowledged; only then are its offsets stored, which librdkafka commits in the background
once a second. What is tuned: `consume` waits for a full batch as long as it may, so it may not; the linger serves to
gather, and `flush` cuts it short; delivery is reported only when it fails; an output's partition is that of its input.
"""

import signal
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from benchmarks.rivals import options
from benchmarks.rivals.chain import CODECS, Chain, Handler

#: Records of one batch at most; how long a poll waits when nothing comes (seconds).
MOST, POLL_S = 2000, 0.2

#: A batch of so many means load: then the next may wait a little (seconds), or there would be many small ones.
LOADED, GATHER_S = 50, 0.005


def main(service: str, broker: str, json: str) -> None:
    """Until SIGTERM."""
    handlers = Chain(CODECS[json]).handlers(service)
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": service,
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
            "auto.commit.interval.ms": 1000,
            "fetch.wait.max.ms": 500,
            "fetch.queue.backoff.ms": 5,
            "socket.nagle.disable": True,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": broker,
            "acks": "all",
            "linger.ms": 5,
            "batch.size": 512 * 1024,
            "delivery.report.only.error": True,
            "on_delivery": failed,
            "socket.nagle.disable": True,
        }
    )
    consumer.subscribe(list(handlers))
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    size = 0
    while not stopping:
        size = step(consumer, producer, handlers, GATHER_S if size > LOADED else 0.0)
    consumer.close()


def step(consumer: Any, producer: Any, handlers: dict[str, Handler], gather_s: float) -> int:
    """One batch; how many records."""
    first = consumer.poll(POLL_S)
    if first is None:
        return 0
    batch = [first, *consumer.consume(MOST, gather_s)]
    offsets: dict[tuple[str, int], int] = {}
    produce = producer.produce
    for record in batch:
        if record.error():
            raise KafkaException(record.error())
        topic, partition, key = record.topic(), record.partition(), record.key()
        for where, value in handlers[topic](key, record.value()):
            produce(where, value, key, partition)
        offsets[topic, partition] = record.offset() + 1
    if producer.flush(30):
        raise RuntimeError("outputs were not acknowledged within 30 s")
    try:
        consumer.store_offsets(offsets=[TopicPartition(*place, offset) for place, offset in offsets.items()])
    except KafkaException:  # a partition was taken away meanwhile: somebody else does it again
        pass
    return len(batch)


def failed(error: Any, _message: Any) -> None:
    """An output was not acknowledged: end, and begin again behind the last commit."""
    raise KafkaException(error)


if __name__ == "__main__":
    given = options.read("librdkafka_chain")
    main(given.service, given.broker, given.json)
