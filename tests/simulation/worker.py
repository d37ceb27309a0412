"""A process of a service: the production code of the stream layer (`Pool`, `Ledger`, `Batch`, `Outputs`, `Locked`)
around handlers. Fake are the broker, the producer, the table's store, and the consumer: what a worker has fetched, sent
and committed.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from faust.types import TP
from mode.utils.queues import FlowControlEvent

from saga_app.stream import Pool, RetryLater
from saga_app.stream.consume.batch import Batch
from saga_app.stream.consume.ledger import Ledger
from saga_app.stream.produce.outputs import Outputs
from tests.fakes.record import FakeRecord
from tests.simulation.fake_clients import WORK, FakeProducer, FakeStream, FakeTable, Killed, Work

if TYPE_CHECKING:
    from tests.simulation.group import Group

#: How long work in flight may go on before its partitions are given back (seconds).
DRAIN_S = 5.0


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
        self.producer = FakeProducer(self)
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

        async def work_on(outputs: Outputs, batch: Batch, record: FakeRecord, *state: Any) -> RetryLater | None:
            work = self._begin(batch, record)
            WORK.set(work)  # of this task
            later: RetryLater | None = await handler(outputs, batch, record, *state)
            work.returned = later is None
            return later

        def work_inline(outputs: Outputs, batch: Batch, record: FakeRecord) -> None:
            work = self._begin(batch, record)
            before = WORK.set(work)
            handler(outputs, batch, record)
            WORK.reset(before)
            work.returned = True

        return work_on if asyncio.iscoroutinefunction(handler) else work_inline

    def _begin(self, batch: Batch, record: FakeRecord) -> Work:
        return self.works[batch.tp].setdefault(record.offset, Work(self))

    # -- as the app and its transport

    def new_outputs(self) -> Outputs:
        return Outputs(self.producer)  # type: ignore[arg-type]

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
            self.ledger.mark_committed(moved)
