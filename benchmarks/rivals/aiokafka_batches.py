"""The chain on aiokafka as in `aiokafka_chain`, but with batches made by hand.

A run of records of one partition leads to one batch a topic (`create_batch`, `send_batch`), with one future for all of
it: few know this part of aiokafka, and it saves more than half of the cost.
"""

from typing import Any

import uvloop

from benchmarks.rivals import options
from benchmarks.rivals.aiokafka_chain import main
from benchmarks.rivals.chain import Handler


async def batched(producer: Any, tp: Any, run: list[Any], handlers: dict[str, Handler]) -> list[Any]:
    """Everything that a run of records of one partition leads to, on its way: a batch for each topic."""
    handle, partition = handlers[tp.topic], tp.partition
    batches: dict[str, Any] = {}
    sent = []
    for record in run:
        for topic, value in handle(record.key, record.value):
            batch = batches.get(topic) or batches.setdefault(topic, producer.create_batch())
            if batch.append(key=record.key, value=value, timestamp=None) is None:  # it is full
                sent.append(await producer.send_batch(batch, topic, partition=partition))
                batch = batches[topic] = producer.create_batch()
                batch.append(key=record.key, value=value, timestamp=None)
    return sent + [await producer.send_batch(batch, topic, partition=partition) for topic, batch in batches.items()]


if __name__ == "__main__":
    given = options.read("aiokafka_batches")
    uvloop.run(main(given.service, given.broker, given.json, batched))
