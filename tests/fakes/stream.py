"""Fakes of librdkafka's producer, and small builders of the objects that the stream layer works with."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
from aiokafka import ConsumerRecord
from confluent_kafka import KafkaError
from faust.types import TP

from saga_app.stream import Table, Transport
from saga_app.stream.consume.batch import Batch


class FakeProducer:
    """Queues messages until the test acknowledges them; poll() then calls their delivery callbacks, as librdkafka does.

    `max_queued`: the limit above which `produce` raises `BufferError`. `auto_acknowledge`: acknowledge immediately.
    `queued`: topic, key, value, headers, partition and callback of each message without an acknowledgement.
    `listed_topics`: the arguments of the calls of `list_topics`. The topic "refused" refuses every message.
    """

    def __init__(self, config: dict[str, Any] | None = None, logger: Any = None) -> None:
        self.config = config or {}
        self.max_queued = 1_000_000
        self.queued: list[tuple[Any, ...]] = []
        self.polls = 0
        self.listed_topics: list[str] = []
        self.auto_acknowledge = False
        self._due: list[tuple[Any, Any, Any]] = []
        self._offsets: dict[tuple[str, int], int] = {}

    def produce(
        self, topic: str, value: Any, key: Any, partition: int, callback: Any, _none: Any, time: int, headers: Any
    ) -> None:
        if topic == "refused":
            raise ValueError("refused")
        if len(self.queued) >= self.max_queued:
            raise BufferError
        self.queued.append((topic, key, value, headers, partition, callback))
        if self.auto_acknowledge:
            self.acknowledge()

    def acknowledge(self, count: int | None = None, error: Any = None) -> None:
        """Acknowledge the oldest `count` messages, or all, with the next poll(); with `error`, they have failed."""
        for topic, _key, _value, _headers, partition, callback in self.queued[:count]:
            offset = self._offsets.get((topic, partition), 0)
            if error is None:
                self._offsets[topic, partition] = offset + 1
            self._due.append((callback, error, SimpleNamespace(offset=lambda at=offset: at)))
        del self.queued[:count]

    def skip_offset(self, topic: str, partition: int) -> None:
        """Act as if another producer had written one record to the partition."""
        self._offsets[topic, partition] = self._offsets.get((topic, partition), 0) + 1

    def poll(self, _timeout: float) -> int:
        self.polls += 1
        due, self._due = self._due, []
        for callback, error, message in due:
            callback(error, message)
        return len(due)

    def list_topics(self, topic: str, _timeout: float) -> None:
        self.listed_topics.append(topic)

    def purge(self) -> None:
        self.acknowledge(error=KafkaError(KafkaError._PURGE_QUEUE))

    def close(self) -> None:
        """Nothing to close."""

    def __len__(self) -> int:
        return len(self.queued) + len(self._due)


def record(offset: int, key: bytes = b"k", value: bytes = b"v") -> Any:
    """A fetched record at this offset of in[0]."""
    return ConsumerRecord("in", 0, offset, 1_000_000, 0, key, value, None, len(key), len(value), ())


def batch(offsets: Iterable[int], partition: int = 0, generation: int = 1) -> Batch:
    """A batch of records at these offsets of a partition of the topic "in"."""
    return Batch(TP("in", partition), [record(offset) for offset in offsets], generation)


def finish_all(batch: Batch) -> None:
    """Finish every record of a batch."""
    for index in range(len(batch.records)):
        batch.finish(index)


def make_table(directory: Path, store: str = "memory://", **options: Any) -> Table:
    """A table of an app that is not started. `options`: settings of RocksDB."""
    app = faust.App("unit", broker="kafka://127.0.0.1:1", store=store, datadir=str(directory))
    Transport.install(app)
    app.consumer_generation_id = 1
    return Table(app, name="rows", partitions=4, options=options or None)


async def until(condition: Callable[[], Any], within_s: float = 5.0) -> Any:
    """Wait until the condition returns a true value, and return it. Raises `TimeoutError`."""
    async with asyncio.timeout(within_s):
        while not (found := condition()):
            await asyncio.sleep(0.002)
        return found
