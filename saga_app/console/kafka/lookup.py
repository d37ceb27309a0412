"""Some records of Kafka, read by their places: without a group, with a few consumers that are kept."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from saga_app.console.kafka.close_client import ended
from saga_app.console.kafka.open_consumer import opened
from saga_app.console.record_id import Place
from saga_app.console.kafka.positions import Run
from saga_app.web.problem import Problem
from saga_app.stream.embedded import FETCH_WAIT_MS

#: Consumers that are kept; how many may ask at once; how long one question may take (seconds).
KEPT, AT_ONCE, DEADLINE_S = 2, 16, 8.0

#: Records that are wanted are read together with what lies between them, if that is no more than this.
NEAR = 200


class Lookup:
    """Answers one question after the other; its consumers are opened by the first."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.idle: list[AIOKafkaConsumer] = []
        self.slots = asyncio.Semaphore(KEPT)
        self.asking = 0

    @asynccontextmanager
    async def consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """One to read with, for a few seconds.  Raises `Problem` 429 or 503."""
        if self.asking >= AT_ONCE:
            raise Problem(429, "too many records are being looked up; try again shortly", headers={"Retry-After": "1"})
        self.asking += 1
        try:
            async with asyncio.timeout(DEADLINE_S), self.slots, self._borrowed() as consumer:
                yield consumer
        except TimeoutError:
            raise Problem(503, f"Kafka did not give the records within {DEADLINE_S:g} s") from None
        except (KafkaError, OSError) as error:
            raise Problem(503, f"the broker is away: {type(error).__name__}") from error
        finally:
            self.asking -= 1

    async def records(self, places: Iterable[Place]) -> Mapping[Place, Any]:
        """Those of these records that are still there.  Raises `Problem` 429 or 503."""
        wanted, found = set(places), {}
        async with self.consumer() as consumer:
            for together in rounds(await _there(consumer, _runs(wanted))):
                async for raw in read(consumer, together):
                    place = Place(raw.topic, raw.partition, raw.offset)
                    if place in wanted:
                        found[place] = raw
        return found

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = self.idle.pop() if self.idle else await self._open()
        try:
            yield consumer
        except BaseException:
            await ended(consumer.stop())
            raise
        consumer.pause(*consumer.assignment())  # not unassigned: that leaves aiokafka unable to stop
        self.idle.append(consumer)

    async def _open(self) -> AIOKafkaConsumer:
        return await opened(
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
        """End the consumers."""
        while self.idle:
            await ended(self.idle.pop().stop())


def _runs(places: Iterable[Place]) -> list[Run]:
    """From the first of them to the last, of each partition; several runs where there is much between."""
    offsets: defaultdict[TopicPartition, list[int]] = defaultdict(list)
    for topic, partition, offset in sorted(places):
        offsets[TopicPartition(topic, partition)].append(offset)
    runs: list[Run] = []
    for where, wanted in offsets.items():
        first = last = wanted[0]
        for offset in wanted:
            if offset - last > NEAR:
                runs.append(Run(where, first, last + 1))
                first = offset
            last = offset
        runs.append(Run(where, first, last + 1))
    return runs


async def _there(consumer: AIOKafkaConsumer, runs: list[Run]) -> list[Run]:
    """What of these runs the topics hold: to wait for the rest would be in vain."""
    places = list({run.place for run in runs})
    first, end = await asyncio.gather(consumer.beginning_offsets(places), consumer.end_offsets(places))
    held = [Run(run.place, max(run.first, first[run.place]), min(run.end, end[run.place])) for run in runs]
    return [run for run in held if run.first < run.end]


def rounds(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs that can be read at the same time: one of each partition."""
    found: list[list[Run]] = []
    for run in runs:
        free = next((some for some in found if all(run.place != other.place for other in some)), None)
        if free is None:
            found.append(free := [])
        free.append(run)
    return found


async def read(consumer: AIOKafkaConsumer, runs: list[Run]) -> AsyncIterator[Any]:
    """All records of these runs."""
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
