"""The chain on librdkafka (confluent-kafka), with the standard library's json or with orjson.

A batch is the first record and those already fetched with it (under load: within 5 ms). `flush` waits until all outputs
are acknowledged; then the offsets are stored, and librdkafka commits them in the background once a second. Tuning:
`consume` gets no time to wait for a full batch; the linger gathers messages, and `flush` ends it early; only failed
deliveries are reported; an output goes to the partition of its input.
"""

import signal
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from benchmarks.rivals import options
from benchmarks.rivals.chain import CODECS, Chain, Handler

#: The limit of records in one batch, and how long a poll waits for its first record (seconds).
MAX_RECORDS, POLL_TIMEOUT_S = 2000, 0.2

#: After a batch larger than this, the next one waits for more records (seconds), which avoids many small batches.
LARGE_BATCH, GATHER_S = 50, 0.005


def main(service: str, broker: str, json: str) -> None:
    """Run a service until SIGTERM."""
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
            "on_delivery": raise_delivery_error,
            "socket.nagle.disable": True,
        }
    )
    consumer.subscribe(list(handlers))
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    size = 0
    while not stopping:
        size = run_batch(consumer, producer, handlers, GATHER_S if size > LARGE_BATCH else 0.0)
    consumer.close()


def run_batch(consumer: Any, producer: Any, handlers: dict[str, Handler], gather_s: float) -> int:
    """Consume and handle one batch, and wait until its outputs are acknowledged. Returns the number of records."""
    first = consumer.poll(POLL_TIMEOUT_S)
    if first is None:
        return 0
    batch = [first, *consumer.consume(MAX_RECORDS, gather_s)]
    offsets: dict[tuple[str, int], int] = {}
    produce = producer.produce
    for record in batch:
        if record.error():
            raise KafkaException(record.error())
        topic, partition, key = record.topic(), record.partition(), record.key()
        for output_topic, value in handlers[topic](key, record.value()):
            produce(output_topic, value, key, partition)
        offsets[topic, partition] = record.offset() + 1
    if producer.flush(30):
        raise RuntimeError("outputs were not acknowledged within 30 s")
    try:
        consumer.store_offsets(offsets=[TopicPartition(*partition, offset) for partition, offset in offsets.items()])
    except KafkaException:  # the partition was revoked: its next owner handles the records again
        pass
    return len(batch)


def raise_delivery_error(error: Any, _message: Any) -> None:
    """End the process if an output was not acknowledged. A restarted process continues after the last commit."""
    raise KafkaException(error)


if __name__ == "__main__":
    given = options.read("librdkafka_chain")
    main(given.service, given.broker, given.json)
