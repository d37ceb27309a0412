"""What a worker has in its hands, and what it reaches the broker through: producer, table, streams.

At every effect, before it and after it, the worker may be killed; then it loses all that is not in a log.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from faust.types import TP
from mode.utils.queues import ThrowableQueue

from saga_app.stream import partition_of
from saga_app.stream.consume.batch import Batch
from saga_app.stream.produce.outputs import BY_KEY, Outputs
from saga_app.stream.table.key_lock import KeyLock, KeyLocks

if TYPE_CHECKING:
    from tests.simulation.worker import Worker


class Killed(asyncio.CancelledError):
    """The worker was killed here."""


class Work:
    """One record in a worker's hands: known by itself, so that nothing need be believed about receipts and ledgers."""

    __slots__ = ("open", "returned", "worker")

    def __init__(self, worker: "Worker") -> None:
        self.worker, self.open, self.returned = worker, 0, False

    @property
    def finished(self) -> bool:
        """Its handler has returned, and all that it led to is in a log."""
        return self.returned and not self.open


#: What the running task works on.
WORK: ContextVar[Work] = ContextVar("work")


class FakeProducer:
    """A producer: messages of one partition stay in order; those of different ones overtake each other."""

    def __init__(self, worker: "Worker") -> None:
        self.worker, self.bus = worker, worker.bus
        self.last: dict[tuple[str, int], float] = {}

    def put(self, topic: str, key: Any, value: Any, *, headers: Any, partition: int, report: Any) -> None:
        """It is in the log after a moment, unless the worker dies before, or is not allowed to any more."""
        worker, bus, work = self.worker, self.bus, WORK.get()
        work.open += 1
        worker.survives(f"before {topic} is sent")
        if partition == BY_KEY and key is not None:
            partition = partition_of(key, bus.partitions)
        delay = bus.dice.random() * (bus.delays.slow if bus.dice.random() < 0.15 else bus.delays.send)
        at = max(self.last.get((topic, partition), 0.0) + 1e-6, bus.loop.now + delay)
        self.last[topic, partition] = at
        term = worker.consumer_generation_id if topic.endswith("-changelog") else None
        bus.loop.call_at(at, self._land, topic, key, value, headers, partition, report, work, term)

    def _land(
        self, topic: str, key: Any, value: Any, headers: Any, partition: int, report: Any, work: Work, term: int | None
    ) -> None:
        worker = self.worker
        if worker.dead or (term is not None and term != worker.consumer_generation_id):
            return  # the rows of an assignment that is over are purged
        if worker.dies(f"before {topic} is in the log"):
            return
        self.bus.append(topic, key, value, headers, partition)
        work.open -= 1
        if not worker.dies(f"before {topic} is acknowledged"):
            report(None, None)


class FakeTable:
    """Rows by partition and key; of a worker that dies only the changelog is left."""

    def __init__(self, worker: "Worker", changelog: str) -> None:
        self.worker, self.changelog = worker, changelog
        self.rows: dict[tuple[int, bytes], bytes] = {}
        self.recovered: list[Callable[[], None]] = []  #: called after each recovery
        self.locks: KeyLocks = {}

    def read(self, partition: int, key: bytes) -> bytes | None:
        return self.rows.get((partition, key))

    def write(self, outputs: Outputs, partition: int, key: bytes, value: bytes | None) -> None:
        assert value is not None
        if partition not in self.worker.mine:
            self.worker.bus.wrong.append(f"{self.changelog}[{partition}]: a row was written by a stranger")
        self.rows[partition, key] = value
        report = outputs.expect()
        self.worker.producer.put(self.changelog, key, value, headers=None, partition=partition, report=report)

    async def owned(self) -> None:
        """It is."""

    def locked(self, partition: int, key: bytes) -> KeyLock:
        return KeyLock(self.locks, (partition, key))

    def recover(self, partitions: list[int]) -> None:
        """From the changelog; rows of others are forgotten."""
        self.rows, self.locks = {}, {}
        for partition in partitions:
            for record in self.worker.bus.logs.get(TP(self.changelog, partition), ()):
                assert record.key is not None
                assert record.value is not None
                self.rows[partition, record.key] = record.value
        for callback in self.recovered:
            callback()


class Event(NamedTuple):
    """As Faust's stream hands out a batch."""

    message: Batch


class FakeStream:
    """A topic's batches, as an agent gets them: one with a turn of the loop, and what else waits in its queue."""

    def __init__(self, worker: "Worker") -> None:
        self.worker, self.channel = worker, self
        self.queue = ThrowableQueue[Event](flow_control=worker.flow_control)

    def noack(self) -> Self:
        return self

    async def events(self) -> AsyncIterator[Event]:
        while True:
            await asyncio.sleep(0)
            event = await self.queue.get()
            if event.message.generation_id == self.worker.consumer_generation_id:
                yield event

    def give(self, batch: Batch) -> None:
        self.queue.put_nowait(Event(batch))

    async def ack(self, _event: Event) -> None:
        pass
