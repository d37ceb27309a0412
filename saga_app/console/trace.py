"""One saga's timeline out of Kafka itself: its partition of every topic, over the time in which it ran.

A console asks this for sagas that nobody watched. The index says only when a saga ran; what is shown is what is read
from the topics, with topic, partition and offset as the proof.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from saga_app.console import positions
from saga_app.console.closing import ended
from saga_app.console.positions import Run
from saga_app.saga.messages import BadMessage, Row, parse
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.timeline import Entry, Record, story
from saga_app.saga.times import iso
from saga_app.service.problem import Problem
from saga_app.stream import partition_of
from saga_app.stream.calm import calm
from saga_app.stream.embedded import FETCH_WAIT_MS

#: Consumers that are kept; how many may ask at once; how long one question may take (seconds).
KEPT, AT_ONCE, DEADLINE_S = 2, 16, 8.0


class Trace:
    """Answers one question after the other with a few consumers of its own, opened by the first question."""

    def __init__(self, bootstrap: str, partitions: int, embedded: bool) -> None:
        self.bootstrap, self.partitions, self.embedded = bootstrap, partitions, embedded
        self.idle: list[AIOKafkaConsumer] = []
        self.slots = asyncio.Semaphore(KEPT)
        self.asking = 0

    async def of(self, row: Row) -> tuple[list[Entry], dict[tuple[str, int, int], Any]]:
        """The timeline, in causal order, and the records that it comes from.  Raises `Problem` 429 or 503."""
        if self.asking >= AT_ONCE:
            raise Problem(429, "too many traces are being read; try again shortly", headers={"Retry-After": "1"})
        self.asking += 1
        try:
            async with asyncio.timeout(DEADLINE_S), self.slots, self._consumer() as consumer:
                raws = [raw async for raw in self._records(consumer, row)]
        except TimeoutError:
            raise Problem(503, f"Kafka did not give all records of this saga within {DEADLINE_S:g} s") from None
        except (KafkaError, OSError) as error:
            raise Problem(503, f"the broker is away: {type(error).__name__}") from error
        finally:
            self.asking -= 1
        return story(ONBOARDING, _records(raws)), {(raw.topic, raw.partition, raw.offset): raw for raw in raws}

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = self.idle.pop() if self.idle else await self._open()
        try:
            yield consumer
        except BaseException:
            await ended(consumer.stop())
            raise
        consumer.pause(*consumer.assignment())  # not unassigned: that leaves aiokafka unable to stop
        self.idle.append(consumer)

    async def _open(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=1024 * 1024,
        )
        calm(consumer._client)
        try:
            await consumer.start()
        except BaseException:
            await ended(consumer.stop())
            raise
        return consumer

    async def _records(self, consumer: AIOKafkaConsumer, row: Row) -> AsyncIterator[Any]:
        """The saga's records, as they come."""
        key = row.id.encode()
        partition = partition_of(key, self.partitions)
        asked = (
            positions.everything(consumer, partition) if self.embedded else positions.around(consumer, partition, row)
        )
        for together in _rounds(await asked):
            async for raw in _read(consumer, together):
                if raw.key == key:
                    yield raw

    async def close(self) -> None:
        """End the consumers."""
        while self.idle:
            await ended(self.idle.pop().stop())


def _rounds(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs that can be read at the same time: one of each partition."""
    rounds: list[list[Run]] = []
    for run in runs:
        free = next((some for some in rounds if all(run.place != other.place for other in some)), None)
        if free is None:
            rounds.append(free := [])
        free.append(run)
    return rounds


async def _read(consumer: AIOKafkaConsumer, runs: list[Run]) -> AsyncIterator[Any]:
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


def _records(raws: Iterable[Any]) -> list[Record]:
    found = []
    for raw in raws:
        try:
            body = parse(raw.topic, raw.value, raw.headers)
        except BadMessage:
            continue
        found.append(Record(raw.topic, raw.partition, raw.offset, iso(raw.timestamp / 1000), body))
    return found


def shown(raw: Any) -> dict[str, Any]:
    """A record as it stands in the log, for the person who wants to see it."""
    return {
        "key": _text(raw.key),
        "value": _text(raw.value),
        "headers": {name: _text(value) for name, value in raw.headers},
        "timestamp": iso(raw.timestamp / 1000),
    }


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")
