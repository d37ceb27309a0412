"""A Kafka of pure Python for the simulation: logs, groups, workers that are killed; on a clock that jumps.

A worker is the production code of the stream layer (`Pool`, `Ledger`, `Batch`, `Receipt`, `Locked`) around handlers.
Fake are the broker, the producers, the table's store, and the consumer: what a worker has fetched, sent and committed.
At every effect, before it and after it, the worker may be killed; then it loses all that is not in a log.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from heapq import heappop
from random import Random
from typing import Any, NamedTuple, Self

from faust.types import TP
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from saga_app.saga.messages import SIGNALS
from saga_app.stream import Later, Pool, partition_of
from saga_app.stream.batch import Batch
from saga_app.stream.ledger import Ledger
from saga_app.stream.locked import Locked, Locks
from saga_app.stream.receipt import BY_KEY, Receipt

#: Seconds since 1970 at which every simulation begins.
EPOCH = 1_700_000_000.0
#: How long work in flight may go on before its partitions are given back (seconds).
DRAIN_S = 5.0


class _NoSockets:
    """There is nothing to wait for but time."""

    def select(self, _timeout: float | None) -> list[Any]:
        return []

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose time jumps to the next timer, and that stops when there is none."""

    def __init__(self) -> None:
        self.now = 0.0
        self.limit = 0.0
        super().__init__()
        self._selector = _NoSockets()

    def clock(self) -> float:
        """Seconds since 1970. The loop's own time stays small: it is compared to the nanosecond."""
        return EPOCH + self.now

    def time(self) -> float:
        return self.now

    def until_idle(self, limit_s: float) -> bool:
        """Run until nothing is under way; False if that takes longer."""
        self.limit = self.now + limit_s
        self.run_forever()
        return not self._scheduled

    def end(self) -> None:
        """Nothing that was begun goes on."""
        self._scheduled.clear()
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.until_idle(0.0)
        self.close()

    def _run_once(self) -> None:
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heappop(scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        if not self._ready:
            if scheduled and scheduled[0]._when <= self.limit:
                self.now = max(self.now, scheduled[0]._when)
            else:
                self.stop()
        super()._run_once()

    def _process_events(self, _events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


@dataclass(slots=True)
class FakeRecord:
    """As fetched."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    timestamp_type: int = 1


class Delays(NamedTuple):
    """The longest of each kind (seconds)."""

    send: float = 0.05
    slow: float = 2.0  #: now and then a broker takes as long
    fetch: float = 0.3
    late: float = 15.0  #: now and then a partition waits as long
    commit: float = 1.5
    session: float = 3.0
    restart: float = 4.0


class Bus:
    """Topics with partitions; appending is the only way in."""

    def __init__(self, partitions: int, dice: Random, loop: VirtualLoop, duplicates: float = 0.0) -> None:
        self.partitions, self.dice, self.loop, self.duplicates = partitions, dice, loop, duplicates
        self.delays = Delays()
        self.logs: dict[TP, list[FakeRecord]] = {}
        self.records: list[FakeRecord] = []  #: all, in the order in which they were written
        self.watchers: defaultdict[str, list[Callable[[FakeRecord], None]]] = defaultdict(list)
        self.happened: Counter[str] = Counter()
        self.wrong: list[str] = []  #: what must not happen, and did
        self.fatality: Callable[[Worker, str], bool] = lambda _worker, _where: False

    def append(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Any = None, partition: int = BY_KEY
    ) -> None:
        """Into the log; now and then twice."""
        if partition == BY_KEY:
            partition = self.dice.randrange(self.partitions) if key is None else partition_of(key, self.partitions)
        tp = TP(topic, partition)
        log = self.logs.setdefault(tp, [])
        likely = 0.0 if topic.endswith("-changelog") else self.duplicates * (2 if topic == SIGNALS else 1)
        twice = likely and self.dice.random() < likely
        for _ in range(2 if twice else 1):
            at = int(self.loop.clock() * 1000)
            record = FakeRecord(topic, partition, len(log), at, key, value, list(headers or ()))
            log.append(record)
            self.records.append(record)
            for watcher in self.watchers[topic]:
                watcher(record)
        self.happened["records sent twice"] += bool(twice)

    def soon(self, most: float, then: Callable[..., None], *arguments: Any) -> None:
        """After a moment of at most so many seconds."""
        self.loop.call_later(self.dice.random() * most, then, *arguments)


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


class FakeOutbox:
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
        self.locks: Locks = {}

    def read(self, partition: int, key: bytes) -> bytes | None:
        return self.rows.get((partition, key))

    def write(self, receipt: Receipt, partition: int, key: bytes, value: bytes | None) -> None:
        assert value is not None
        if partition not in self.worker.mine:
            self.worker.bus.wrong.append(f"{self.changelog}[{partition}]: a row was written by a stranger")
        self.rows[partition, key] = value
        receipt.expect()
        self.worker.outbox.put(self.changelog, key, value, headers=None, partition=partition, report=receipt.report)

    async def owned(self) -> None:
        """It is."""

    def locked(self, partition: int, key: bytes) -> Locked:
        return Locked(self.locks, (partition, key))

    def recover(self, partitions: list[int]) -> None:
        """From the changelog; rows of others are forgotten."""
        self.rows, self.locks = {}, {}
        for partition in partitions:
            for record in self.worker.bus.logs.get(TP(self.changelog, partition), ()):
                assert record.key is not None
                assert record.value is not None
                self.rows[partition, record.key] = record.value


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


Handler = Callable[..., Any]
#: A service's handlers by topic, around a table that is the worker's own.
Service = Callable[[FakeTable], dict[str, Handler]]


class Worker:
    """A process of a service. To the production code it is Faust's app, and its transport, too."""

    full = False

    def __init__(self, group: "Group", name: str) -> None:
        self.group, self.bus, self.name = group, group.bus, name
        self.app = self.transport = self
        self.dead = self.revoked = self.should_stop = False
        self.consumer_generation_id = 0  #: counts its assignments
        self.flow_control = FlowControlEvent(initially_suspended=False)
        self.mine: list[int] = []
        self.ledger = Ledger(4000)
        self.outbox = FakeOutbox(self)
        self.table = FakeTable(self, group.changelog)
        self.position: dict[TP, int] = {}
        self.waking: set[TP] = set()
        self.works: dict[TP, dict[int, Work]] = {}
        self.batches: list[Batch] = []
        self.committing = False
        self.streams: dict[str, FakeStream] = {}
        self.agents = [self._agent(topic, handler) for topic, handler in group.service(self.table).items()]

    def _agent(self, topic: str, handler: Handler) -> asyncio.Task[None]:
        stream = self.streams[topic] = FakeStream(self)
        pool = Pool(self, self._watched(handler), timeout_s=None)  # type: ignore[arg-type]
        return self.bus.loop.create_task(pool.run(stream))  # type: ignore[arg-type]

    def _watched(self, handler: Handler) -> Handler:
        """The handler, and what has become of each of its records."""

        async def work_on(receipt: Receipt, batch: Batch, record: FakeRecord, *state: Any) -> Later | None:
            work = self._begin(batch, record)
            WORK.set(work)  # of this task
            later: Later | None = await handler(receipt, batch, record, *state)
            work.returned = later is None
            return later

        def work_inline(receipt: Receipt, batch: Batch, record: FakeRecord) -> None:
            work = self._begin(batch, record)
            before = WORK.set(work)
            handler(receipt, batch, record)
            WORK.reset(before)
            work.returned = True

        return work_on if asyncio.iscoroutinefunction(handler) else work_inline

    def _begin(self, batch: Batch, record: FakeRecord) -> Work:
        return self.works[batch.tp].setdefault(record.offset, Work(self))

    # -- as the app and its transport

    def receipt(self) -> Receipt:
        return Receipt(self.outbox)  # type: ignore[arg-type]

    async def crash(self, error: BaseException) -> None:
        """No handler may fail: what it raises comes again for ever."""
        self.bus.wrong.append(f"the {self.name} crashed by itself: {error!r}")
        self.kill("by itself")

    @property
    def log(self) -> Any:
        return self

    def error(self, *_words: Any, **_more: Any) -> None:
        pass

    # -- being killed

    def dies(self, where: str) -> bool:
        """A point at which it may be killed; True if it is dead."""
        return self.dead or self.bus.fatality(self, where)

    def survives(self, where: str) -> None:
        """The same within a task, which ends here."""
        if self.dies(where):
            raise Killed

    def kill(self, where: str) -> None:
        """kill -9. Everything in memory is gone."""
        self.dead = self.should_stop = True
        self.bus.happened["killed"] += 1
        self.stop()
        self.group.lost(self, where)

    def stop(self) -> None:
        for task in [*self.agents, *self.tasks()]:
            task.cancel()

    def tasks(self) -> Iterator[asyncio.Future[Any]]:
        """What it works on, in the order in which it was begun."""
        return (task for batch in self.batches for task in batch.tasks if not task.done())

    # -- its partitions

    def assign(self, partitions: list[int]) -> None:
        """Rows first, then what is behind the committed offsets."""
        self.consumer_generation_id += 1
        self.mine, self.revoked = partitions, False
        self.table.recover(partitions)
        for tp in (TP(topic, partition) for topic in self.streams for partition in partitions):
            self.position[tp] = self.group.committed.get(tp, 0)
            self.works[tp] = {}
            self.wake(tp)

    async def drain(self) -> None:
        """Let work in flight end; cancel what lasts too long. Then commit what is done."""
        self.revoked = True
        self.ledger.close()
        if tasks := list(self.tasks()):
            await asyncio.wait(tasks, timeout=DRAIN_S)
            if late := list(self.tasks()):
                self.bus.happened["cancelled by a rebalance"] += len(late)
                for task in late:
                    task.cancel()
                await asyncio.wait(late)
        if not self.dead:
            self.commit()

    def release(self) -> None:
        """What was not committed belongs to nobody."""
        self.consumer_generation_id += 1
        self.group.bereaved(self, "a rebalance")
        self.ledger.forget()
        self.batches, self.mine = [], []
        self.position, self.works = {}, {}

    def wake(self, tp: TP) -> None:
        """There may be something to fetch."""
        if tp in self.waking or tp not in self.position or self.position[tp] >= len(self.bus.logs.get(tp, ())):
            return
        self.waking.add(tp)
        dice, delays = self.bus.dice, self.bus.delays
        self.bus.soon(delays.late if dice.random() < 0.06 else delays.fetch, self._fetch, tp)

    def _fetch(self, tp: TP) -> None:
        self.waking.discard(tp)
        if self.dead or self.revoked or tp not in self.position or self.dies(f"before {tp.topic} is fetched"):
            return
        records = self.bus.logs[tp][self.position[tp] :]
        self.position[tp] += len(records)
        batch = self.ledger.add(Batch(tp, records, self.consumer_generation_id))
        self.batches.append(batch)
        self.streams[tp.topic].give(batch)
        self._commit_soon()

    def _commit_soon(self) -> None:
        if not self.committing:
            self.committing = True
            self.bus.soon(self.bus.delays.commit, self._commit_now)

    def _commit_now(self) -> None:
        self.committing = False
        if self.dead or self.revoked:
            return
        self.commit()
        self.batches = [batch for batch in self.batches if batch.left]
        if self.ledger.inflight and not self.dead:
            self._commit_soon()

    def commit(self) -> None:
        """What the ledger says, and whether that is so."""
        moved = self.ledger.committable()
        if not moved or self.dies("before a commit"):
            return
        for tp, offset in moved.items():
            self.group.commit(tp, offset, self.works[tp])
        if not self.dies("before a commit is acknowledged"):
            self.ledger.committed(moved)


class Group:
    """The workers of a service: who has which partitions, and what is committed."""

    def __init__(self, bus: Bus, name: str, changelog: str, size: int, service: Service, drops: bool = False) -> None:
        self.bus, self.name, self.changelog, self.service, self.drops = bus, name, changelog, service, drops
        self.committed: dict[TP, int] = {}
        self.members: list[Worker] = []
        self.count = 0
        self.epoch = 0
        self.bereaved: Callable[[Worker, str], None] = lambda _worker, _where: None
        for _ in range(size):
            self._hire()
        for topic in self.members[0].streams:
            bus.watchers[topic].append(self._appended)
        self._share()

    def _hire(self) -> None:
        self.count += 1
        self.members.append(Worker(self, f"{self.name}-{self.count}"))

    def _appended(self, record: FakeRecord) -> None:
        for worker in self.members:
            if record.partition in worker.mine:
                worker.wake(TP(record.topic, record.partition))

    def lost(self, worker: Worker, where: str) -> None:
        """A worker is dead: the others take over what it had, and most often it comes back."""
        self.members.remove(worker)
        self.bereaved(worker, where)
        if self.members:
            self.bus.soon(self.bus.delays.session, self._change)
            if self.drops and self.bus.dice.random() < 0.5:
                self.bus.happened["dropped for good"] += 1
                return
        self.bus.soon(self.bus.delays.restart, self._join)

    def _join(self) -> None:
        self._hire()
        self._change()

    def _change(self) -> None:
        self.epoch += 1
        self.bus.happened["rebalanced"] += 1
        self.rebalancing = self.bus.loop.create_task(self._rebalance(self.epoch))

    async def _rebalance(self, epoch: int) -> None:
        if members := list(self.members):
            await asyncio.gather(*(worker.drain() for worker in members), return_exceptions=True)
        if epoch == self.epoch:  # else there is a newer one
            for worker in self.members:
                worker.release()
            self._share()

    def _share(self) -> None:
        for number, worker in enumerate(self.members):
            worker.assign(list(range(number, self.bus.partitions, len(self.members))))

    def commit(self, tp: TP, offset: int, works: dict[int, Work]) -> None:
        """Promise 2: all before it is done, and all that it led to is in the logs."""
        for passed in range(self.committed.get(tp, 0), offset):
            work = works.get(passed)
            if work is None or not work.finished:
                self.bus.wrong.append(f"{self.name}: {tp.topic}[{tp.partition}] committed past {passed}, not finished")
        self.committed[tp] = offset

    def behind(self) -> Iterator[str]:
        """Partitions that were not read to their end."""
        for topic in self.members[0].streams if self.members else ():
            for partition in range(self.bus.partitions):
                tp = TP(topic, partition)
                end = len(self.bus.logs.get(tp, ()))
                if self.committed.get(tp, 0) < end:
                    yield f"{self.name}: {topic}[{partition}] is committed to {self.committed.get(tp, 0)} of {end}"
