"""Fakes of a worker's connections to the broker: producer, table and streams.

A worker can be killed before and after every effect; it then loses everything that is not in a log.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, Self

from faust.types import TP
from mode.utils.queues import ThrowableQueue

from saga_app.stream import partition_of
from saga_app.stream.consume.batch import Batch
from saga_app.stream.produce.outputs import BY_KEY, Headers, Outputs
from saga_app.stream.table.key_lock import KeyLock, KeyLocks

if TYPE_CHECKING:
    from tests.simulation.worker import Worker

#: Called with an error and a message when a message is acknowledged or has failed.
DeliveryReport = Callable[[object, object], None]

#: The share of sends that are slow.
SLOW_SENDS = 0.15


class Killed(asyncio.CancelledError):
    """The worker of the current task was killed."""


class Work:
    """The processing of one record by a worker.

    It tracks completion independently of `Outputs` and `Ledger`, whose results are checked against it.
    """

    __slots__ = ("has_returned", "unacknowledged", "worker")

    def __init__(self, worker: "Worker") -> None:
        self.worker, self.unacknowledged, self.has_returned = worker, 0, False

    @property
    def is_finished(self) -> bool:
        """Whether the handler has returned and all of its outputs are in a log."""
        return self.has_returned and not self.unacknowledged


#: The work of the current task.
CURRENT_WORK: ContextVar[Work] = ContextVar("work")


class FakeProducer:
    """A producer that keeps the order of messages within a partition, but not across partitions."""

    def __init__(self, worker: "Worker") -> None:
        self.worker, self.bus = worker, worker.bus
        self._last_append_at: dict[tuple[str, int], float] = {}

    def put(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Headers | None,
        partition: int,
        report: DeliveryReport,
    ) -> None:
        """Append a message after a random delay, unless the worker is killed or loses its partitions before."""
        worker, bus, work = self.worker, self.bus, CURRENT_WORK.get()
        work.unacknowledged += 1
        worker.crash_point(f"before {topic} is sent")
        if partition == BY_KEY and key is not None:
            partition = partition_of(key, bus.partitions)
        delays = bus.max_delays
        delay_s = bus.dice.random() * (delays.slow_send_s if bus.dice.random() < SLOW_SENDS else delays.send_s)
        at = max(self._last_append_at.get((topic, partition), 0.0) + 1e-6, bus.loop.now + delay_s)
        self._last_append_at[topic, partition] = at
        generation = worker.consumer_generation_id if topic.endswith("-changelog") else None
        bus.loop.call_at(at, self._append, topic, key, value, headers, partition, report, work, generation)

    def _append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None,
        partition: int,
        report: DeliveryReport,
        work: Work,
        generation: int | None,
    ) -> None:
        worker = self.worker
        if worker.dead or (generation is not None and generation != worker.consumer_generation_id):
            return  # rows of an earlier assignment are purged
        if worker.maybe_crash(f"before {topic} is in the log"):
            return
        self.bus.append(topic, key, value, headers, partition)
        work.unacknowledged -= 1
        if not worker.maybe_crash(f"before {topic} is acknowledged"):
            report(None, None)


class FakeTable:
    """Rows by partition and key in memory, and a changelog on the bus from which they are recovered."""

    def __init__(self, worker: "Worker", changelog: str) -> None:
        self.worker, self.changelog = worker, changelog
        self.rows: dict[tuple[int, bytes], bytes] = {}
        self.on_recovered: list[Callable[[], None]] = []  #: called after each recovery
        self.locks: KeyLocks = {}

    def read(self, partition: int, key: bytes) -> bytes | None:
        return self.rows.get((partition, key))

    def write(self, outputs: Outputs, partition: int, key: bytes, value: bytes | None) -> None:
        assert value is not None
        if partition not in self.worker.partitions:
            self.worker.bus.violations.append(f"{self.changelog}[{partition}]: a worker that does not own it wrote")
        self.rows[partition, key] = value
        report = outputs.expect()
        self.worker.producer.put(self.changelog, key, value, headers=None, partition=partition, report=report)

    async def wait_until_owned(self) -> None:
        """Return at once: a simulated worker writes only while it owns its partitions, which `write` checks."""

    def lock(self, partition: int, key: bytes) -> KeyLock:
        return KeyLock(self.locks, (partition, key))

    def recover(self, partitions: list[int]) -> None:
        """Replace all rows by those of these partitions in the changelog."""
        self.rows, self.locks = {}, {}
        for partition in partitions:
            for record in self.worker.bus.logs.get(TP(self.changelog, partition), ()):
                assert record.key is not None
                assert record.value is not None
                self.rows[partition, record.key] = record.value
        for callback in self.on_recovered:
            callback()


class Event(NamedTuple):
    """A batch, as Faust's stream yields it."""

    message: Batch


class FakeStream:
    """The batches of a topic, with the parts of Faust's stream and channel that an agent uses."""

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

    def put(self, batch: Batch) -> None:
        """Deliver a fetched batch to the agent."""
        self.queue.put_nowait(Event(batch))

    async def ack(self, _event: Event) -> None:
        pass
