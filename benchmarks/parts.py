"""What each part of a saga costs our services, in microseconds of one processor, and what it leaves in Kafka, in bytes:
`python -m benchmarks.parts`.

No Kafka and no other process: it can be asked again after every change of the code, and takes some seconds.
"""

import asyncio
import logging
import logging.config
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import cast

import structlog
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import bare
from benchmarks.users import made_up
from saga_app.saga import machine
from saga_app.saga.deadline import due
from saga_app.saga.messages import Message, Row, decode, encode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.plan import Done
from saga_app.saga.times import iso
from saga_app.service import log, metrics
from saga_app.service.app import reduce_garbage_collection
from saga_app.service.headers import headers_for
from saga_app.stream.partition import partition_of

#: Sagas in one round; rounds, of which the first warms up; repetitions of a single part, tasks of them at once.
SAGAS, ROUNDS, REPEATED, AT_ONCE = 3000, 4, 5000, 1000


async def steps() -> dict[str, float]:
    """Each step from its record's bytes to what it sends, without the stream layer: microseconds a saga."""
    found: dict[str, list[float]] = {step.topic: [] for step in ONBOARDING.steps}
    for number in range(ROUNDS):
        loops, records = bare.services(), bare.first(made_up(SAGAS, f"parts-{number}"))
        for topic, spent in found.items():
            began = time.process_time()
            records = await bare.handle(loops[topic], records)
            spent.append((time.process_time() - began) / SAGAS * 1e6)
    return {topic: median(spent[1:]) for topic, spent in found.items()}


def parts() -> Iterator[tuple[str, Callable[[], object]]]:
    """What they are made of, one call each."""
    user, now, step = made_up(1, "part")[0], iso(time.time()), ONBOARDING.steps[0]
    request = machine.admit(ONBOARDING, step.topic, decode(Message, user.value), now)
    answer = machine.answer_of(step, Done({"device_id": "ThinkPad-ABCDEFGH"}), 1, now, now, now)
    after = machine.next_after(request, step, answer)
    assert isinstance(after, machine.Next)
    message, topic, logger = after.message, after.topic, structlog.get_logger()
    row = machine.row_waiting_for(ONBOARDING, topic, message, now)
    message_bytes, row_bytes = encode(message), encode(row)
    yield "decode and validate a message", lambda: decode(Message, message_bytes)
    yield "decode and validate a row", lambda: decode(Row, row_bytes)
    yield "encode a message", lambda: encode(message)
    yield "encode a row", lambda: encode(row)
    yield "the answer as a line of history", lambda: machine.answer_of(step, Done(), 1, now, now, now)
    yield "what follows", lambda: machine.next_after(request, step, answer)
    yield "the row of it", lambda: machine.row_waiting_for(ONBOARDING, topic, message, now)
    yield "apply a row", lambda: machine.join(row, row)
    yield "when it is due", lambda: due(ONBOARDING, row, 60.0)
    yield "headers", lambda: headers_for(message, topic, step.service, now)
    yield "partition of a key", lambda: partition_of(user.id, bare.PARTITIONS)
    yield "the time as text", lambda: iso(time.time())
    yield "count a step", lambda: metrics.STEPS.labels(step.name, "done").inc()
    yield "observe its seconds", lambda: metrics.STEP_SECONDS.labels(step.name).observe(0.1)
    yield "a debug line that is not logged", lambda: logger.debug("step", saga="x", step="y", outcome="z", attempts=1)


async def bytes_left() -> dict[str, float]:
    """Keys, values and headers of the records of a saga, uncompressed, on average: by topic, and its rows and notes."""
    loops, records = bare.services(), bare.first(made_up(SAGAS, "bytes"))
    found: dict[str, float] = {}
    for topic, loop in loops.items():
        found[topic] = sum(map(size, records)) / SAGAS
        records = await bare.handle(loop, records)
    memories = [loop.rows or loop.effects for loop in loops.values()]
    tables = dict.fromkeys(cast(bare.Table, memory.table) for memory in memories if memory)
    for name, table in zip(("rows", "notes of the authorizer", "notes of the notifier"), tables, strict=True):
        found[name] = table.written / SAGAS
    return found


def size(record: bare.Record) -> int:
    """Bytes of a record, without what Kafka adds."""
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


async def a_task() -> float:
    """A task with two timeouts: microseconds."""

    async def work() -> None:
        async with asyncio.timeout(60):
            async with asyncio.timeout(60):
                await asyncio.sleep(0)

    began = time.process_time()
    for _ in range(REPEATED // AT_ONCE):
        await asyncio.gather(*[asyncio.create_task(work()) for _ in range(AT_ONCE)])
    return (time.process_time() - began) / REPEATED * 1e6


def timed(call: Callable[[], object]) -> float:
    """Microseconds of one call."""
    began = time.process_time()
    for _ in range(REPEATED):
        call()
    return (time.process_time() - began) / REPEATED * 1e6


def main() -> None:
    """Print it."""
    logging.config.dictConfig(log.config("parts", "json"))
    logging.getLogger().setLevel(logging.INFO)
    reduce_garbage_collection()  # as the services do
    table = Table("part", "µs", title="one processor, no Kafka")
    table.columns[1].justify = "right"
    whole = uvloop.run(steps())
    for topic, spent in whole.items():
        table.add_row(f"the step of {topic}", f"{spent:.0f}")
    table.add_row("all steps of a saga", f"{sum(whole.values()):.0f}", end_section=True)
    for name, call in parts():
        table.add_row(name, f"{timed(call):.1f}")
    table.add_row("a task with two timeouts", f"{uvloop.run(a_task()):.1f}")
    Console().print(table)
    left = Table("a saga's", "bytes", title="what it leaves in Kafka, uncompressed, no lag")
    left.columns[1].justify = "right"
    amounts = asyncio.run(bytes_left())
    for name, amount in amounts.items():
        left.add_row(name, f"{amount:,.0f}")
    left.add_row("all", f"{sum(amounts.values()):,.0f}")
    Console().print(left)


if __name__ == "__main__":
    main()
