"""A Kafka of pure Python for the simulation: logs, partitions, offsets, consumers that crash; on a clock that jumps.

It keeps what matters of the stream layer's contract: a task a record, an output is in the log some time after it was
sent, a record is done when its handler has returned and all its outputs are in the log, an offset is committed only
when all before it are done, and a crash loses everything that is not in a log.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from saga_app.saga.messages import CHANGELOG
from saga_app.stream import partition_of


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer: an hour of sagas takes a second."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__()

    def clock(self) -> float:
        """Seconds since 1970. The loop's own time stays small: it is compared to the nanosecond."""
        return 1_700_000_000.0 + self.now

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0]._when)
        super()._run_once()


def simulate(main: Callable[[VirtualLoop], Any]) -> Any:
    """Run a coroutine function on a virtual loop."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()


@dataclass
class FakeRecord:
    """As fetched."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)


class Bus:
    """Topics with partitions; appending is the only way in."""

    def __init__(self, partitions: int, dice: random.Random, clock: Callable[[], float]) -> None:
        self.partitions, self.dice, self.clock = partitions, dice, clock
        self.logs: defaultdict[tuple[str, int], list[FakeRecord]] = defaultdict(list)
        self.duplicate_rate = 0.0
        self.appended = asyncio.Event()

    def append(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Any = None, partition: int | None = None
    ) -> None:
        """Into the log; now and then twice."""
        if partition is None:
            partition = self.dice.randrange(self.partitions) if key is None else partition_of(key, self.partitions)
        log = self.logs[topic, partition]
        for _ in range(1 + (self.dice.random() < self.duplicate_rate and not topic.endswith("-changelog"))):
            log.append(
                FakeRecord(topic, partition, len(log), int(self.clock() * 1000), key, value, list(headers or ()))
            )
        self.appended.set()

    def records(self) -> list[FakeRecord]:
        """Everything that was ever written."""
        return [record for log in self.logs.values() for record in log]


class FakeReceipt:
    """Sends with a delay each; what is not sent at a crash is lost."""

    def __init__(self, worker: "Worker") -> None:
        self.worker = worker
        self.open: set[asyncio.Task[None]] = set()

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Any = None) -> None:
        self.later(lambda: self.worker.bus.append(topic, key, value, headers))

    def later(self, effect: Callable[[], None], delay: float | None = None) -> None:
        """Do it after a moment, unless the worker crashes before."""
        delay = self.worker.bus.dice.uniform(0, 0.05) if delay is None else delay

        async def do() -> None:
            await asyncio.sleep(delay)
            effect()

        self.open.add(asyncio.ensure_future(do()))

    async def settled(self) -> None:
        if self.open:
            await asyncio.gather(*self.open)


class FakeTable:
    """Rows by partition; a crash leaves only what its changelog holds."""

    def __init__(self, bus: Bus, changelog: str = CHANGELOG) -> None:
        self.bus, self.changelog = bus, changelog
        self.rows: dict[tuple[int, bytes], bytes] = {}
        self.locks: dict[tuple[int, bytes], asyncio.Lock] = {}
        self.last_write = 0.0

    def read(self, partition: int, key: bytes) -> bytes | None:
        return self.rows.get((partition, key))

    def write(self, receipt: FakeReceipt, partition: int, key: bytes, value: bytes) -> None:
        self.rows[partition, key] = value
        now = self.bus.clock()  # writes reach the changelog in the order of the calls
        self.last_write = max(self.last_write + 1e-4, now + self.bus.dice.uniform(0, 0.05))
        receipt.later(lambda: self.bus.append(self.changelog, key, value, partition=partition), self.last_write - now)

    @asynccontextmanager
    async def locked(self, partition: int, key: bytes) -> AsyncIterator[None]:
        async with self.locks.setdefault((partition, key), asyncio.Lock()):
            yield

    def recover(self) -> None:
        """From the changelog."""
        self.rows, self.locks = {}, {}
        for (topic, partition), log in self.bus.logs.items():
            if topic == self.changelog:
                self.rows |= {(partition, record.key): record.value for record in log}


class Worker:
    """A service: its handlers by topic, its positions, its tasks."""

    def __init__(self, bus: Bus, handlers: dict[str, Any], table: FakeTable | None = None) -> None:
        self.bus, self.handlers, self.table = bus, handlers, table
        self.committed: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.position: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.done: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
        self.tasks: set[asyncio.Task[None]] = set()
        self.receipts: list[FakeReceipt] = []

    def poll(self) -> bool:
        """Start a task for every record that is new; whether there was any."""
        started = False
        for tp in list(self.bus.logs):
            if tp[0] in self.handlers:
                for record in self.bus.logs[tp][self.position[tp] :]:
                    self.position[tp] = record.offset + 1
                    self.tasks.add(asyncio.ensure_future(self._one(tp, record)))
                    started = True
        return started

    async def _one(self, tp: tuple[str, int], record: FakeRecord) -> None:
        await asyncio.sleep(self.bus.dice.uniform(0, 0.2))
        receipt = FakeReceipt(self)
        self.receipts.append(receipt)
        answer = self.handlers[tp[0]](receipt, None, record)
        if answer is not None:
            await answer
        await receipt.settled()
        self.done[tp].add(record.offset)
        while self.committed[tp] in self.done[tp]:
            self.committed[tp] += 1

    def busy(self) -> bool:
        """Whether anything is under way; an error in a handler is raised here."""
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.discard(task)
            task.result()
        return bool(self.tasks)

    def crash(self) -> None:
        """kill -9, and a restart: everything in memory is gone."""
        for receipt in self.receipts:
            for sending in receipt.open:
                sending.cancel()
        for task in self.tasks:
            task.cancel()
        self.tasks, self.receipts = set(), []
        self.position = self.committed.copy()
        self.done = defaultdict(set)
        if self.table is not None:
            self.table.recover()
