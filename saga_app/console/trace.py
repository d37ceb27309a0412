"""One saga's timeline out of Kafka itself: its partition of every topic, over the time in which it ran.

A console asks this for sagas that nobody watched. The index says only when a saga ran; what is shown is what is read
from the topics, with topic, partition and offset as the proof.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer

from saga_app.console import positions
from saga_app.console.lookup import Lookup, read, rounds
from saga_app.console.positions import Run
from saga_app.saga.messages import BadMessage, Row, parse
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.timeline import Entry, Record, story
from saga_app.saga.times import iso
from saga_app.stream import partition_of


class Trace:
    """Answers by a lookup in Kafka."""

    def __init__(self, lookup: Lookup, partitions: int, embedded: bool) -> None:
        self.lookup, self.partitions, self.embedded = lookup, partitions, embedded

    async def of(self, row: Row) -> tuple[list[Entry], dict[tuple[str, int, int], Any]]:
        """The timeline, in causal order, and the records that it comes from.  Raises `Problem` 429 or 503."""
        async with self.lookup.consumer() as consumer:
            raws = await self._records(consumer, row)
        return story(ONBOARDING, _records(raws)), {(raw.topic, raw.partition, raw.offset): raw for raw in raws}

    async def _records(self, consumer: AIOKafkaConsumer, row: Row) -> list[Any]:
        """The saga's records. Its signals and dead letters come first: they say when else something happened to it."""
        key = row.id.encode()
        partition = partition_of(key, self.partitions)
        if self.embedded:
            return [raw async for raw in _of(consumer, await positions.everything(consumer, partition), key)]
        seldom = [raw async for raw in _of(consumer, await positions.sparse(consumer, partition, row), key)]
        moments = [raw.timestamp / 1000 for raw in seldom]
        often = [raw async for raw in _of(consumer, await positions.dense(consumer, partition, row, moments), key)]
        return seldom + often


async def _of(consumer: AIOKafkaConsumer, runs: Iterable[Run], key: bytes) -> AsyncIterator[Any]:
    """The records with this key, as they come."""
    for together in rounds(runs):
        async for raw in read(consumer, together):
            if raw.key == key:
                yield raw


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
        "key": text(raw.key),
        "value": text(raw.value),
        "headers": {name: text(value) for name, value in raw.headers},
        "timestamp": iso(raw.timestamp / 1000),
    }


def text(value: bytes | None) -> str | None:
    """Bytes as people read them."""
    return None if value is None else value.decode("utf-8", "replace")
