"""Reads single records by position, with a small pool of consumers without a group."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from saga_app.console.kafka.close_client import close_clients
from saga_app.console.kafka.open_consumer import start_consumer
from saga_app.saga.record_id import RecordId
from saga_app.console.kafka.positions import Run
from saga_app.web.problem import Problem
from saga_app.stream.embedded import FETCH_WAIT_MS

#: Size of the consumer pool, maximum number of concurrent lookups, and timeout of a lookup (seconds).
MAX_CONSUMERS, MAX_CONCURRENT, DEADLINE_S = 2, 16, 8.0

#: Maximum gap in offsets between records that are read in one run.
MAX_GAP = 200


class Lookup:
    """Looks up records. Its consumers are opened when first needed."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.idle: list[AIOKafkaConsumer] = []
        self.slots = asyncio.Semaphore(MAX_CONSUMERS)
        self.asking = 0

    @asynccontextmanager
    async def consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer from the pool, for at most `DEADLINE_S`. Raises `Problem` 429 or 503."""
        if self.asking >= MAX_CONCURRENT:
            raise Problem(429, "too many concurrent lookups; try again shortly", headers={"Retry-After": "1"})
        self.asking += 1
        try:
            async with asyncio.timeout(DEADLINE_S), self.slots, self._borrowed() as consumer:
                yield consumer
        except TimeoutError:
            raise Problem(503, f"Kafka did not return the records within {DEADLINE_S:g} s") from None
        except (KafkaError, OSError) as error:
            raise Problem(503, f"the broker is unavailable: {type(error).__name__}") from error
        finally:
            self.asking -= 1

    async def records(self, places: Iterable[RecordId]) -> Mapping[RecordId, Any]:
        """The records at these positions; deleted ones are omitted. Raises `Problem` 429 or 503."""
        wanted, found = set(places), {}
        async with self.consumer() as consumer:
            for together in group_by_partition(await _clipped(consumer, _runs(wanted))):
                async for raw in read(consumer, together):
                    place = RecordId(raw.topic, raw.partition, raw.offset)
                    if place in wanted:
                        found[place] = raw
        return found

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = self.idle.pop() if self.idle else await self._open()
        try:
            yield consumer
        except BaseException:
            await close_clients(consumer.stop())
            raise
        consumer.pause(*consumer.assignment())  # not unassigned, because aiokafka then fails to stop
        self.idle.append(consumer)

    async def _open(self) -> AIOKafkaConsumer:
        return await start_consumer(
            AIOKafkaConsumer(
                bootstrap_servers=self.bootstrap,
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                fetch_max_wait_ms=FETCH_WAIT_MS,
                max_partition_fetch_bytes=1024 * 1024,
            )
        )

    async def close(self) -> None:
        """Close the consumers."""
        while self.idle:
            await close_clients(self.idle.pop().stop())


def _runs(places: Iterable[RecordId]) -> list[Run]:
    """Combine positions into runs of offsets, split at gaps larger than `MAX_GAP`."""
    offsets: defaultdict[TopicPartition, list[int]] = defaultdict(list)
    for topic, partition, offset in sorted(places):
        offsets[TopicPartition(topic, partition)].append(offset)
    runs: list[Run] = []
    for where, wanted in offsets.items():
        first = last = wanted[0]
        for offset in wanted:
            if offset - last > MAX_GAP:
                runs.append(Run(where, first, last + 1))
                first = offset
            last = offset
        runs.append(Run(where, first, last + 1))
    return runs


async def _clipped(consumer: AIOKafkaConsumer, runs: list[Run]) -> list[Run]:
    """The runs limited to existing offsets, because a read of others would wait until its timeout."""
    places = list({run.place for run in runs})
    first, end = await asyncio.gather(consumer.beginning_offsets(places), consumer.end_offsets(places))
    held = [Run(run.place, max(run.first, first[run.place]), min(run.end, end[run.place])) for run in runs]
    return [run for run in held if run.first < run.end]


def group_by_partition(runs: Iterable[Run]) -> list[list[Run]]:
    """Group runs that can be read at the same time: at most one of each partition."""
    found: list[list[Run]] = []
    for run in runs:
        free = next((some for some in found if all(run.place != other.place for other in some)), None)
        if free is None:
            found.append(free := [])
        free.append(run)
    return found


async def read(consumer: AIOKafkaConsumer, runs: list[Run]) -> AsyncIterator[Any]:
    """Yield all records of these runs. `runs`: at most one of each partition."""
    ends = {run.place: run.end for run in runs}
    consumer.assign(list(ends))
    for run in runs:
        consumer.seek(run.place, run.first)
    while ends:
        for place, records in (await consumer.getmany(timeout_ms=200)).items():
            for raw in records:
                if raw.offset < ends.get(place, 0):
                    yield raw
        for place in [place for place, end in ends.items() if await consumer.position(place) >= end]:
            del ends[place]
            consumer.pause(place)
