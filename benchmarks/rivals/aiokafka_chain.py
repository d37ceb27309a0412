"""The chain on plain aiokafka, orjson and uvloop.

Batches from `getmany`; a batch's outputs are sent together and all acknowledged before its offsets may be committed.
What is tuned: the partition of an output is that of its input (the keys are the same, and murmur2 in Python is slow);
no linger, because a batch is handed over before the sender gets to run; batches of the producer as large as the broker
takes; commits once a second, and not a round trip a batch.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.rivals import options
from benchmarks.rivals.chain import CODECS, Chain, Handler

#: Records of one `getmany` at most; seconds between commits; how long a poll waits when nothing comes (milliseconds).
MOST, COMMIT_S, POLL_MS = 1000, 1.0, 200

#: Sends all that a run of records of one partition leads to; a future for each thing sent.
Outputs = Callable[[Any, Any, list[Any], dict[str, Handler]], Awaitable[list[Any]]]


async def main(service: str, broker: str, json: str, outputs: Outputs) -> None:
    """Until SIGTERM."""
    handlers = Chain(CODECS[json]).handlers(service)
    consumer = AIOKafkaConsumer(
        *handlers,
        bootstrap_servers=broker,
        group_id=service,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=1024 * 1024,
        fetch_max_wait_ms=500,
    )
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", linger_ms=0, max_batch_size=512 * 1024)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with consumer, producer:
        await run(consumer, producer, handlers, outputs, stopping)


async def run(
    consumer: Any, producer: Any, handlers: dict[str, Handler], outputs: Outputs, stopping: asyncio.Event
) -> None:
    """Fetch, handle, send, wait for the acknowledgements; commit now and then."""
    committed = monotonic()
    while not stopping.is_set():
        fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=MOST)
        if fetched:
            await asyncio.gather(
                *[sent for tp, run in fetched.items() for sent in await outputs(producer, tp, run, handlers)]
            )
        if monotonic() - committed > COMMIT_S:
            await consumer.commit()
            committed = monotonic()
    await consumer.commit()


async def one_by_one(producer: Any, tp: Any, run: list[Any], handlers: dict[str, Handler]) -> list[Any]:
    """Everything that a run of records of one partition leads to, on its way."""
    handle, send, partition = handlers[tp.topic], producer.send, tp.partition
    return [
        await send(topic, value, record.key, partition)
        for record in run
        for topic, value in handle(record.key, record.value)
    ]


if __name__ == "__main__":
    given = options.read("aiokafka_chain")
    uvloop.run(main(given.service, given.broker, given.json, one_by_one))
