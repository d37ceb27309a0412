"""The chain on aiokafka as in `aiokafka_chain`, but with batches built by hand.

The outputs of consecutive records of one partition are sent as one batch per topic (`create_batch`, `send_batch`) with
one future for the batch. This little-known part of aiokafka saves more than half of the cost.
"""

from typing import Any

import uvloop

from benchmarks.rivals import options
from benchmarks.rivals.aiokafka_chain import main
from benchmarks.rivals.chain import Handler


async def send_batches(producer: Any, tp: Any, records: list[Any], handlers: dict[str, Handler]) -> list[Any]:
    """Handle records of one partition and send their outputs, in batches for each topic. Returns their futures."""
    handle, partition = handlers[tp.topic], tp.partition
    batches: dict[str, Any] = {}
    futures = []
    for record in records:
        for topic, value in handle(record.key, record.value):
            batch = batches.get(topic) or batches.setdefault(topic, producer.create_batch())
            if batch.append(key=record.key, value=value, timestamp=None) is None:  # it is full
                futures.append(await producer.send_batch(batch, topic, partition=partition))
                batch = batches[topic] = producer.create_batch()
                batch.append(key=record.key, value=value, timestamp=None)
    return futures + [await producer.send_batch(batch, topic, partition=partition) for topic, batch in batches.items()]


if __name__ == "__main__":
    given = options.read("aiokafka_batches")
    uvloop.run(main(given.service, given.broker, given.json, send_batches))
