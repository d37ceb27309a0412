"""Stand-ins for librdkafka's producer and for the parts of Faust that the stream layer sees."""

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
    """Keeps what it is given until the test acknowledges it; reports come with poll(), as from librdkafka."""

    def __init__(self, config: dict[str, Any] | None = None, logger: Any = None) -> None:
        self.config = config or {}
        self.room = 1_000_000
        self.taken: list[tuple[Any, ...]] = []
        self.polls = 0
        self.asked: list[str] = []
        self.automatic = False
        self._due: list[tuple[Any, Any, Any]] = []
        self._offsets: dict[tuple[str, int], int] = {}

    def produce(
        self, topic: str, value: Any, key: Any, partition: int, callback: Any, _none: Any, time: int, headers: Any
    ) -> None:
        if topic == "refused":
            raise ValueError("refused")
        if len(self.taken) >= self.room:
            raise BufferError
        self.taken.append((topic, key, value, headers, partition, callback))
        if self.automatic:
            self.acknowledge()

    def acknowledge(self, count: int | None = None, error: Any = None) -> None:
        """Report the oldest ones with the next poll."""
        for topic, _key, _value, _headers, partition, callback in self.taken[:count]:
            offset = self._offsets.get((topic, partition), 0)
            if error is None:
                self._offsets[topic, partition] = offset + 1
            self._due.append((callback, error, SimpleNamespace(offset=lambda at=offset: at)))
        del self.taken[:count]

    def skip(self, topic: str, partition: int) -> None:
        """Somebody else has written there."""
        self._offsets[topic, partition] = self._offsets.get((topic, partition), 0) + 1

    def poll(self, _timeout: float) -> int:
        self.polls += 1
        due, self._due = self._due, []
        for callback, error, message in due:
            callback(error, message)
        return len(due)

    def list_topics(self, topic: str, _timeout: float) -> None:
        self.asked.append(topic)

    def purge(self) -> None:
        self.acknowledge(error=KafkaError(KafkaError._PURGE_QUEUE))

    def close(self) -> None:
        """Nothing to close."""

    def __len__(self) -> int:
        return len(self.taken) + len(self._due)


def record(offset: int, key: bytes = b"k", value: bytes = b"v") -> Any:
    """A fetched record, as far as the layer looks at it."""
    return ConsumerRecord("in", 0, offset, 1_000_000, 0, key, value, None, len(key), len(value), ())


def batch(offsets: Iterable[int], partition: int = 0, generation: int = 1) -> Batch:
    """A batch of records at these offsets."""
    return Batch(TP("in", partition), [record(offset) for offset in offsets], generation)


def finish_all(made: Batch) -> None:
    """Every record of it is done."""
    for index in range(len(made.records)):
        made.finish(index)


def make_table(directory: Path, store: str = "memory://", **options: Any) -> Table:
    """A table of an app that was never started; `options` are RocksDB's."""
    app = faust.App("unit", broker="kafka://127.0.0.1:1", store=store, datadir=str(directory))
    Transport.install(app)
    app.consumer_generation_id = 1
    return Table(app, name="rows", partitions=4, options=options or None)


async def until(condition: Callable[[], Any], within_s: float = 5.0) -> Any:
    """Wait for a true value of the condition, which is returned."""
    async with asyncio.timeout(within_s):
        while not (found := condition()):
            await asyncio.sleep(0.002)
        return found
