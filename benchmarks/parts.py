"""The CPU time of each part of a saga (microseconds), and the bytes that a saga leaves in Kafka:
`python -m benchmarks.parts`.

It needs no Kafka and no other process, and takes seconds, so it can run after every change.
"""

import asyncio
import logging
import logging.config
import math
import time
from collections.abc import Callable, Iterator
from typing import cast

import structlog
import uvloop
from faust.types import TP
from rich.console import Console
from rich.table import Table

from benchmarks import in_memory_services
from benchmarks.users import sample_users
from saga_app.saga import admission, decisions, machine, saga_row
from saga_app.saga.codec import decode, encode
from saga_app.saga.deadline import due
from saga_app.saga.messages import Message, Row
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Done
from saga_app.saga.times import iso, utc
from saga_app.service import log, step_metrics
from saga_app.service.app import exempt_from_garbage_collection, run_garbage_collection_rarely
from saga_app.service.headers import headers_for
from saga_app.stream.consume.batch import Batch
from saga_app.stream.consume.fetcher import Fetched
from saga_app.stream.consume.ledger import Ledger
from saga_app.stream.partition import partition_of

#: Sagas in one round, and rounds. The fastest round counts, because other processes only add time.
SAGAS, ROUNDS = 300, 40

#: The number of unfinished batches for the cost of a commit.
OPEN_BATCHES = 10_000

#: Repetitions of a single part, and how many tasks run at the same time.
REPETITIONS, CONCURRENT_TASKS = 5000, 1000


async def step_times() -> dict[str, float]:
    """Microseconds for each step by topic, from the bytes of its record to what it sends, without the stream layer."""
    loops = in_memory_services.step_loops()
    times_us = dict.fromkeys(loops, math.inf)
    for number in range(ROUNDS):
        records = in_memory_services.first_records(sample_users(SAGAS, f"parts-{number}"))
        for topic, loop in loops.items():
            began = time.process_time()
            records = await in_memory_services.handle(loop, records)
            times_us[topic] = min(times_us[topic], (time.process_time() - began) / SAGAS * 1e6)
    return times_us


def parts() -> Iterator[tuple[str, Callable[[], object]]]:
    """The parts of a step: a name, and a function that executes the part once."""
    user, now, step = sample_users(1, "part")[0], utc(time.time()), ONBOARDING.steps[0]
    request = admission.admit(ONBOARDING, step.topic, decode(Message, user.value), now)
    answer = machine.answer_of(step, Done({"device_id": "ThinkPad-ABCDEFGH"}), 1, now, now, now)
    after = machine.next_after(request, step, answer)
    assert isinstance(after, decisions.Next)
    message, topic, logger = after.message, after.topic, structlog.get_logger()
    row = saga_row.row_waiting_for(ONBOARDING, topic, message, now)
    message_bytes, row_bytes = encode(message), encode(row)
    yield "decode and validate a message", lambda: decode(Message, message_bytes)
    yield "decode and validate a row", lambda: decode(Row, row_bytes)
    yield "encode a message", lambda: encode(message)
    yield "encode a row", lambda: encode(row)
    yield "result as an entry of the history", lambda: machine.answer_of(step, Done(), 1, now, now, now)
    yield "decide the next message", lambda: machine.next_after(request, step, answer)
    yield "build its row", lambda: saga_row.row_waiting_for(ONBOARDING, topic, message, now)
    yield "apply a row", lambda: saga_row.join(row, row)
    yield "compute the deadline", lambda: due(ONBOARDING, row, 60.0)
    yield "build headers", lambda: headers_for(message, topic, step.service, now)
    yield f"committable offsets, {OPEN_BATCHES:,} open batches", open_ledger(OPEN_BATCHES).committable
    yield "partition of a key (murmur2)", lambda: partition_of(user.id, in_memory_services.PARTITIONS)
    yield "format the time", lambda: iso(utc(time.time()))
    yield "count a result and its duration", lambda: step_metrics.STEPS.of(step.name).add("done", 0.1)
    yield "debug event that is not logged", lambda: logger.debug("step", saga="x", step="y", outcome="z", attempts=1)


def open_ledger(batches: int) -> Ledger:
    """A ledger with this many batches of one partition, of which only the first has an unfinished record."""
    ledger, tp = Ledger(limit=batches), TP("authorize", 0)
    for offset in range(batches):
        fetched = Fetched("authorize", 0, offset, 0, 1, b"key", b"value", (), ())
        batch = ledger.add(Batch(tp, [fetched], generation=1))
        if offset:
            batch.finish(0)
    return ledger


async def bytes_per_saga() -> dict[str, float]:
    """Bytes that a saga leaves in Kafka, on average and uncompressed, for each topic and each table."""
    loops = in_memory_services.step_loops()
    records = in_memory_services.first_records(sample_users(SAGAS, "bytes"))
    sizes: dict[str, float] = {}
    for topic, loop in loops.items():
        sizes[topic] = sum(map(record_bytes, records)) / SAGAS
        records = await in_memory_services.handle(loop, records)
    tables = dict.fromkeys(cast(in_memory_services.Table, loop.kept.table) for loop in loops.values())
    for name, table in zip(("rows", "effects of the authorizer", "effects of the notifier"), tables, strict=True):
        sizes[name] = table.written_bytes / SAGAS
    return sizes


def record_bytes(record: in_memory_services.Record) -> int:
    """Bytes of key, value and headers of a record, without the overhead of Kafka's format."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


async def task_time() -> float:
    """Microseconds for a task with two timeouts."""

    async def work() -> None:
        async with asyncio.timeout(60):
            async with asyncio.timeout(60):
                await asyncio.sleep(0)

    began = time.process_time()
    for _ in range(REPETITIONS // CONCURRENT_TASKS):
        await asyncio.gather(*[asyncio.create_task(work()) for _ in range(CONCURRENT_TASKS)])
    return (time.process_time() - began) / REPETITIONS * 1e6


def call_time(call: Callable[[], object]) -> float:
    """Microseconds for one call."""
    began = time.process_time()
    for _ in range(REPETITIONS):
        call()
    return (time.process_time() - began) / REPETITIONS * 1e6


def main() -> None:
    """Measure and print both tables."""
    logging.config.dictConfig(log.config("parts", "json"))
    logging.getLogger().setLevel(logging.INFO)
    run_garbage_collection_rarely()  # as the services do
    exempt_from_garbage_collection()
    table = Table("part", "µs", title="CPU time on one core, without Kafka")
    table.columns[1].justify = "right"
    steps = uvloop.run(step_times())
    for topic, time_us in steps.items():
        table.add_row(f"step on {topic}", f"{time_us:.0f}")
    table.add_row("all steps of a saga", f"{sum(steps.values()):.0f}", end_section=True)
    for name, call in parts():
        table.add_row(name, f"{call_time(call):.1f}")
    table.add_row("a task with two timeouts", f"{uvloop.run(task_time()):.1f}")
    Console().print(table)
    sizes = asyncio.run(bytes_per_saga())
    size_table = Table("records of a saga", "bytes", title="bytes in Kafka per saga, uncompressed, without lag")
    size_table.columns[1].justify = "right"
    for name, size in sizes.items():
        size_table.add_row(name, f"{size:,.0f}")
    size_table.add_row("all", f"{sum(sizes.values()):,.0f}")
    Console().print(size_table)


if __name__ == "__main__":
    main()
