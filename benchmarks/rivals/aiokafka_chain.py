"""The chain on plain aiokafka, orjson and uvloop.

It fetches with `getmany`, sends the outputs of a fetch together, and waits for all acknowledgements before the offsets
may be committed. Tuning: an output goes to the partition of its input (the keys are equal, and murmur2 in Python is
slow); no linger, because all outputs are queued before the sender task runs; large producer batches; one commit a
second instead of one for each fetch.
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

#: The limit of records for one `getmany`, and how long it waits for a record (milliseconds).
MAX_RECORDS, POLL_TIMEOUT_MS = 1000, 200

#: The time between two commits (seconds).
COMMIT_INTERVAL_S = 1.0

#: Handles records of one partition and sends their outputs: producer, partition, records, handlers. Returns futures.
SendOutputs = Callable[[Any, Any, list[Any], dict[str, Handler]], Awaitable[list[Any]]]


async def main(service: str, broker: str, json: str, send_outputs: SendOutputs) -> None:
    """Run a service until SIGTERM."""
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
        await run(consumer, producer, handlers, send_outputs, stopping)


async def run(
    consumer: Any, producer: Any, handlers: dict[str, Handler], send_outputs: SendOutputs, stopping: asyncio.Event
) -> None:
    """Fetch, handle, send, wait for the acknowledgements, and commit at intervals, until `stopping` is set."""
    committed = monotonic()
    while not stopping.is_set():
        fetched = await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS, max_records=MAX_RECORDS)
        if fetched:
            await asyncio.gather(
                *[
                    future
                    for tp, records in fetched.items()
                    for future in await send_outputs(producer, tp, records, handlers)
                ]
            )
        if monotonic() - committed > COMMIT_INTERVAL_S:
            await consumer.commit()
            committed = monotonic()
    await consumer.commit()


async def send_separately(producer: Any, tp: Any, records: list[Any], handlers: dict[str, Handler]) -> list[Any]:
    """Handle records of one partition, and send each output with a future of its own. Returns the futures."""
    handle, send, partition = handlers[tp.topic], producer.send, tp.partition
    return [
        await send(topic, value, record.key, partition)
        for record in records
        for topic, value in handle(record.key, record.value)
    ]


if __name__ == "__main__":
    given = options.read("aiokafka_chain")
    uvloop.run(main(given.service, given.broker, given.json, send_separately))
