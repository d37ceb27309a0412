"""A simulated worker: the production handlers on the production stream layer (`Pool`, `Ledger`, `Batch`, `Outputs`).

The broker, the producer, the consumer and the store of the table are fakes.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from faust.types import TP
from mode.utils.queues import FlowControlEvent

from saga_app.stream import Pool, RetryLater
from saga_app.stream.consume.batch import Batch
from saga_app.stream.consume.ledger import Ledger
from saga_app.stream.consume.run import Rest, Run, RunHandler
from saga_app.stream.produce.outputs import Outputs
from tests.fakes.record import FakeRecord
from tests.simulation.fake_clients import CURRENT_WORK, FakeProducer, FakeStream, FakeTable, Killed, Work

if TYPE_CHECKING:
    from tests.simulation.group import Group

#: How long tasks may continue when their partitions are revoked, before they are cancelled (seconds).
DRAIN_S = 5.0
#: The share of fetches that are slow.
SLOW_FETCHES = 0.06
MAX_IN_FLIGHT = 4000

Handler = Callable[..., Any]
#: Creates the handlers of a worker by topic, from the table of the worker.
Service = Callable[[FakeTable], dict[str, Handler]]


class TrackedOutputs(Outputs):
    """Outputs whose `origin` tells which of these `works` sends."""

    works: Mapping[int, Work] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "origin" and value in self.works:
            CURRENT_WORK.set(self.works[value])


class Worker:
    """A process of a service. The production code uses it in place of the Faust app and its transport."""

    full = False

    def __init__(self, group: "Group", name: str) -> None:
        self.group, self.bus, self.name = group, group.bus, name
        self.app = self.transport = self
        self.dead = self.should_stop = False
        self.consumer_generation_id = 0  #: the number of its assignments and revocations
        self.flow_control = FlowControlEvent(initially_suspended=False)
        self.partitions: list[int] = []
        self.ledger = Ledger(MAX_IN_FLIGHT)
        self.producer = FakeProducer(self)
        self.table = FakeTable(self, group.changelog)
        self.streams: dict[str, FakeStream] = {}
        self._is_draining = False
        self._positions: dict[TP, int] = {}
        self._fetching: set[TP] = set()  #: partitions with a scheduled fetch
        self._works: dict[TP, dict[int, Work]] = {}  #: by partition and offset
        self._batches: list[Batch] = []
        self._is_commit_scheduled = False
        self._agents = [self._start_agent(topic, handler) for topic, handler in group.service(self.table).items()]

    def _start_agent(self, topic: str, handler: Handler) -> asyncio.Task[None]:
        stream = self.streams[topic] = FakeStream(self)
        together = getattr(getattr(handler, "__self__", None), "handle_run", None)
        pool = Pool(
            self,  # type: ignore[arg-type]  # in place of an app
            self._track_work(handler),
            timeout_s=None,
            together=together and self._track_run(together),
        )
        return self.bus.loop.create_task(pool.run(stream))  # type: ignore[arg-type]  # in place of a Faust stream

    def _track_work(self, handler: Handler) -> Handler:
        """Wrap a handler to record which records it has finished."""

        async def handle_async(outputs: Outputs, batch: Batch, record: FakeRecord, *state: Any) -> RetryLater | None:
            work = self._work_of(batch, record)
            CURRENT_WORK.set(work)  # in the context of this task
            later: RetryLater | None = await handler(outputs, batch, record, *state)
            work.has_returned = later is None
            return later

        def handle(outputs: Outputs, batch: Batch, record: FakeRecord) -> None:
            work = self._work_of(batch, record)
            before = CURRENT_WORK.set(work)
            handler(outputs, batch, record)
            CURRENT_WORK.reset(before)
            work.has_returned = True

        return handle_async if asyncio.iscoroutinefunction(handler) else handle

    def _track_run(self, together: RunHandler) -> RunHandler:
        """Wrap a handler of runs to record which records it has finished."""

        async def handle_run(run: Run) -> None:
            works = {number: self._work_of(item.batch, item.record) for number, item in enumerate(run.items)}
            cast(TrackedOutputs, run.outputs).works = works
            self.bus.events["runs"] += 1
            await together(run)
            for number in run.handled:
                works[number].has_returned = True
            if run.waiting is not None:
                number, rest = run.waiting
                run.waiting = number, self._track_rest(rest, works[number])

        return handle_run

    @staticmethod
    def _track_rest(rest: Rest, work: Work) -> Rest:
        async def finish(outputs: Outputs) -> RetryLater | None:
            CURRENT_WORK.set(work)
            later = await rest(outputs)
            work.has_returned = later is None
            return later

        return finish

    def _work_of(self, batch: Batch, record: FakeRecord) -> Work:
        return self._works[batch.tp].setdefault(record.offset, Work(self))

    # -- the interface of the app and its transport

    def new_outputs(self) -> Outputs:
        return TrackedOutputs(self.producer)  # type: ignore[arg-type]  # in place of BatchingProducer

    async def crash(self, error: BaseException) -> None:
        """Report an error that escaped from a handler: its record would crash the worker again and again."""
        self.bus.violations.append(f"{self.name}: unexpected crash: {error!r}")
        self.kill()

    @property
    def log(self) -> "Worker":
        return self

    def error(self, *_arguments: object, **_fields: object) -> None:
        """Discard a log message."""

    # -- crashes

    def maybe_crash(self, point: str) -> bool:
        """Kill the worker if a crash is due at this point, a description; returns whether it is dead."""
        return self.dead or self.bus.crash_hook(self, point)

    def crash_point(self, point: str) -> None:
        """Like `maybe_crash()`, for code in a task of the worker: raises `Killed` if the worker is dead."""
        if self.maybe_crash(point):
            raise Killed

    def kill(self) -> None:
        """Stop at once, like `kill -9`: everything in memory is lost."""
        self.dead = self.should_stop = True
        self.bus.events["workers killed"] += 1
        for task in [*self._agents, *self._running_tasks()]:
            task.cancel()
        self.group.remove(self)

    def _running_tasks(self) -> Iterator[asyncio.Future[Any]]:
        """The unfinished tasks of all batches, in the order of their start."""
        return (task for batch in self._batches for task in batch.tasks if not task.done())

    # -- partitions

    def assign(self, partitions: list[int]) -> None:
        """Recover the rows of these partitions, and fetch from the committed offsets."""
        self.consumer_generation_id += 1
        self.partitions, self._is_draining = partitions, False
        self.table.recover(partitions)
        for tp in (TP(topic, partition) for topic in self.streams for partition in partitions):
            self._positions[tp] = self.group.committed.get(tp, 0)
            self._works[tp] = {}
            self.schedule_fetch(tp)

    async def drain(self) -> None:
        """Wait up to `DRAIN_S` for running tasks, cancel the others, and commit."""
        self._is_draining = True
        self.ledger.close()
        if tasks := list(self._running_tasks()):
            await asyncio.wait(tasks, timeout=DRAIN_S)
            if late := list(self._running_tasks()):
                self.bus.events["cancelled by a rebalance"] += len(late)
                for task in late:
                    task.cancel()
                await asyncio.wait(late)
        if not self.dead:
            self._commit()

    def release_partitions(self) -> None:
        """Give up all partitions; uncommitted records are fetched again by their next owner."""
        self.consumer_generation_id += 1
        self.group.on_worker_stopped(self)
        self.ledger.forget()
        self._batches, self.partitions = [], []
        self._positions, self._works = {}, {}

    def schedule_fetch(self, tp: TP) -> None:
        """Fetch after a random delay, unless there is nothing to fetch or a fetch is scheduled already."""
        end = len(self.bus.logs.get(tp, ()))
        if tp in self._fetching or tp not in self._positions or self._positions[tp] >= end:
            return
        self._fetching.add(tp)
        dice, delays = self.bus.dice, self.bus.max_delays
        max_delay_s = delays.slow_fetch_s if dice.random() < SLOW_FETCHES else delays.fetch_s
        self.bus.call_within(max_delay_s, self._fetch, tp)

    def _fetch(self, tp: TP) -> None:
        self._fetching.discard(tp)
        if self.dead or self._is_draining or tp not in self._positions:
            return
        if self.maybe_crash(f"before {tp.topic} is fetched"):
            return
        records = self.bus.logs[tp][self._positions[tp] :]
        self._positions[tp] += len(records)
        batch = self.ledger.add(Batch(tp, records, self.consumer_generation_id))
        self._batches.append(batch)
        self.streams[tp.topic].put(batch)
        self._schedule_commit()

    def _schedule_commit(self) -> None:
        if not self._is_commit_scheduled:
            self._is_commit_scheduled = True
            self.bus.call_within(self.bus.max_delays.commit_s, self._commit_and_reschedule)

    def _commit_and_reschedule(self) -> None:
        self._is_commit_scheduled = False
        if self.dead or self._is_draining:
            return
        self._commit()
        self._batches = [batch for batch in self._batches if batch.left]
        if self.ledger.inflight and not self.dead:
            self._schedule_commit()

    def _commit(self) -> None:
        """Commit the offsets of the ledger; the group checks that everything before them is finished."""
        offsets = self.ledger.committable()
        if not offsets or self.maybe_crash("before a commit"):
            return
        for tp, offset in offsets.items():
            self.group.commit(tp, offset, self._works[tp])
        if not self.maybe_crash("before a commit is acknowledged"):
            self.ledger.mark_committed(offsets)
