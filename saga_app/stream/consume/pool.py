"""Runs handlers on the records of batches.

Records that begin in the same iteration of the event loop are handled in one task as long as no handler waits: as one
run by a `RunHandler`, or batch by batch, one record after the other. When one waits, each record after it gets a task
of its own, so that a slow record does not block others, and a record that does not wait costs no task, no timer and no
`Outputs` of its own. A delayed record holds no task: its handler returns `RetryLater` and is called again when the
delay has passed. A hundred thousand of them take little more memory than their records.

A record is done when its handler has returned and everything it sent is acknowledged. When a handler raises, its record
is not acknowledged: the worker crashes and the record is delivered again. A handler has to catch what fails permanently
(an invalid payload, a policy decision) and send it to a dead letter topic. Messages that the broker refuses permanently
are passed to `on_refusal` together with the record that sent them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from typing import Any, TypeVar, cast

import structlog
from faust.types import TP, AppT, EventT, StreamT

from saga_app.stream.consume.batch import Batch
from saga_app.stream.consume.delay_queue import DelayQueue, RetryLater
from saga_app.stream.consume.drain_queue import drain_events
from saga_app.stream.consume.eager import Eager
from saga_app.stream.consume.run import Item, Rest, Run, RunHandler
from saga_app.stream.produce.batching_producer import BURST_INTERVAL_S
from saga_app.stream.produce.outputs import Outputs
from saga_app.stream.produce.refusal import Refused
from saga_app.stream.transport import Transport

log = structlog.get_logger()

T = TypeVar("T")

#: How many times per `ack_s` the age of unacknowledged outputs is checked.
ACK_CHECKS = 20

#: Sends with `outputs.send(topic, key, value)` and `table.write(outputs, partition, key, value)`, which never wait.
#: A function or a coroutine function, called with outputs, batch and record; records that did not have to wait share
#: one `Outputs`. After `RetryLater` it is called again with its `state` (never None) as the fourth argument and with
#: new `Outputs`, once what it sent before is acknowledged; it is not called again if the partition has been revoked.
Handler = Callable[..., Coroutine[Any, Any, RetryLater | None] | RetryLater | None]

#: Called with new outputs, the record, the refusals of what it sent, and the number of previous calls for this record.
#: It sends what replaces the record (a dead letter) and returns True: the record is done. Or it returns False: only
#: what need not be sent was refused. It is called again if what it sends is refused too.
OnRefusal = Callable[[Outputs, Any, Sequence[Refused], int], Coroutine[Any, Any, bool]]


#: The items of a run that has not begun, and its task.
NextRun = tuple[deque[Item], asyncio.Task[None]]


class Pool:
    """`await Pool(app, handler).run(stream)` is the whole body of an agent.

    timeout_s: how long one call of a handler may take; the delay of a `RetryLater` does not count (None: no limit)
    ack_s: how long acknowledgements may take after it, a broker outage included (longer than the transport's send_s)
    on_refusal: what to do about a record whose output the broker refused; None: crash the worker
    together: handles a run, which may span batches and partitions; it leaves to `handler` the records that may have to
        wait

    The worker crashes when either time is exceeded.
    """

    def __init__(
        self,
        app: AppT,
        handler: Handler,
        timeout_s: float | None = 300.0,
        ack_s: float = 60.0,
        on_refusal: OnRefusal | None = None,
        together: RunHandler | None = None,
    ) -> None:
        self.app = app
        self.handler = handler
        self.together = together
        self.on_refusal = on_refusal
        self.timeout_s = timeout_s
        self.ack_s = ack_s
        self._unsettled: dict[Outputs, float] = {}  #: since when each waits for acknowledgements, oldest first
        self._ack_timer: asyncio.TimerHandle | None = None
        self._delayed = DelayQueue(self._resume)
        self._next: NextRun | None = None  #: the run that begins in the next iteration of the loop
        self._begun: set[TP] = set()  #: partitions of which a batch was started in this iteration of the loop

    @property
    def _transport(self) -> Transport:
        return cast(Transport, self.app.transport)

    async def run(self, stream: StreamT[Any]) -> None:
        """Take batches until the agent is stopped; slow handlers do not block it, the ledger limits their number."""
        try:
            async for event in drain_events(self.app, stream):
                await self._take(stream, event)
        except Exception as error:  # Faust would restart the agent without this batch
            await self.app.crash(error)
            raise

    async def _take(self, stream: StreamT[Any], event: EventT[Any]) -> None:
        batch = cast(Batch, event.message)
        if batch.refcount > 1:
            raise RuntimeError(f"{batch.topic} has {batch.refcount} agents; one would acknowledge for the other")
        while self._transport.full:
            await asyncio.sleep(BURST_INTERVAL_S)
        await self._wait_for_turn(batch.tp)
        self._begin([Item(batch, index, None, (stream, event)) for index in range(len(batch.records))])

    async def _wait_for_turn(self, tp: TP) -> None:
        """Start the batches of a partition in order: each is finished, or has its own tasks, before the next starts.

        Batches of different partitions start in one iteration of the loop: one iteration for each would be slow for
        many small batches.
        """
        if tp in self._begun:
            await asyncio.sleep(0)
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._begun.clear)
        self._begun.add(tp)

    def _begin(self, items: Sequence[Item]) -> None:
        """Start work on items of one batch. A `RunHandler` gets all that begin in one loop iteration as one run."""
        if self._may_begin(items[0].batch):
            if self._next is None or self.together is None:
                self._next = self._new_run()
            self._add(self._next, items)

    def _may_begin(self, batch: Batch) -> bool:
        """Whether its partition is not being revoked, and was not revoked since it was fetched."""
        return batch.live and batch.open and not self.app.should_stop

    def _new_run(self) -> NextRun:
        waiting = deque[Item]()
        task = asyncio.create_task(self._work(waiting))
        # By then the task has handled all items, has left some, or waits in a handler.
        asyncio.get_running_loop().call_soon(self._begin_rest, waiting)
        return waiting, task

    def _add(self, run: NextRun, items: Sequence[Item]) -> None:
        waiting, task = run
        waiting.extend(items)
        items[0].batch.begin(task)

    def _begin_rest(self, waiting: deque[Item]) -> None:
        """Start a run for each item that is left."""
        while waiting:
            item = waiting.popleft()
            if self._may_begin(item.batch):
                self._add(self._new_run(), (item,))

    def _resume(self, delayed: list[Item]) -> None:
        """Handle delayed records that are due; those of one batch together, as when they were fetched."""
        by_batch: dict[Batch, list[Item]] = {}
        for item in delayed:
            by_batch.setdefault(item.batch, []).append(item)
        for items in by_batch.values():
            self._begin(items)

    async def _work(self, waiting: deque[Item]) -> None:
        """Handle items, then wait for acknowledgements and finish them."""
        if self._next is not None and self._next[0] is waiting:
            self._next = None
        run = Run(self._transport.new_outputs(), (), waiting)
        try:
            if self.together is not None and len(waiting) > 1:
                run = await self._handle_together(run)
            else:
                await self._handle_in_turn(run)
        except Exception as error:
            await self._fail(run, run.items[run.outputs.origin], error)
        else:
            await self._settle(run)

    async def _handle_together(self, run: Run) -> Run:
        """Handle all items at once. Those that the handler leaves get tasks of their own, in `_begin_rest`."""
        assert self.together is not None
        run.items += run.left
        run.left.clear()
        await self._within_timeout(self.together(run))
        return run if run.waiting is None else await self._finish_waiting(run, *run.waiting)

    async def _handle_in_turn(self, run: Run) -> None:
        """Handle items until none is left. While one waits, `_begin_rest` starts tasks for the others."""
        while run.left:
            number = run.outputs.origin = run.add(run.left.popleft())
            if later := await self._handle(run.outputs, run.items[number]):
                run.retry(number, later)

    async def _finish_waiting(self, run: Run, number: int, rest: Rest) -> Run:
        """Finish the record of a run that has to wait, as a run of its own; the others need not wait for it."""
        settling = asyncio.create_task(self._settle(run))
        run.outputs.origin = number  # the record to report if it fails
        for batch in run.sources:
            batch.begin(settling)
        alone = Run(self._transport.new_outputs(), (run.items[number],), run.left)
        try:
            if later := await self._within_timeout(rest(alone.outputs)):
                alone.retry(0, later)
        except Refused:  # `outputs.refusals` has it
            pass
        return alone

    async def _settle(self, run: Run) -> None:
        """Wait for the acknowledgements of a run, and finish its records."""
        try:
            await self._wait_for_acks(run.outputs)
            refusals = run.outputs.refusals
            parked = {number for number in refusals if await self._handle_refusals(run, number)}
            finished: dict[Batch, list[int]] = {}
            for number in {*run.handled, *parked}:
                item = run.items[number]
                finished.setdefault(item.batch, []).append(item.position)
            # Only after the acknowledgements of what they sent: the next call has other outputs.
            for number, at in run.unfinished.items():
                if at is not None and number not in parked:
                    self._delayed.put(at, run.items[number])
            sources = run.sources
            for batch, positions in finished.items():
                batch.finish(*positions)
                if not batch.left:
                    await self._acknowledge(batch, *sources[batch])
        except Exception as error:
            await self._fail(run, run.items[0] if len(run.items) == 1 else None, error)

    async def _handle_refusals(self, run: Run, number: int) -> bool:
        """Handle refused outputs of a record; returns whether it was parked, and so is done.

        Raises `Refused` if there is no `on_refusal`.
        """
        parked, refusals = False, run.outputs.refusals[number]
        for tries in count():
            if self.on_refusal is None:
                raise refusals[0]
            instead = self._transport.new_outputs()
            parked = await self.on_refusal(instead, run.items[number].record, refusals, tries) or parked
            await self._wait_for_acks(instead)
            if not instead.refusals:
                break
            refusals = instead.refusals[instead.origin]
        return parked

    async def _handle(self, outputs: Outputs, item: Item) -> RetryLater | None:
        batch, _, state, _ = item
        arguments = (outputs, batch, item.record) if state is None else (outputs, batch, item.record, state)
        work = self.handler(*arguments)
        if work is None or isinstance(work, RetryLater):
            return work
        try:
            return await self._within_timeout(work)
        except Refused:  # `outputs.refusals` has it
            return None

    async def _within_timeout(self, work: Coroutine[Any, Any, T]) -> T:
        begun = Eager(work)
        if not begun.waits or self.timeout_s is None:
            return await begun
        async with asyncio.timeout(self.timeout_s):
            return await begun

    async def _wait_for_acks(self, outputs: Outputs) -> None:
        """Wait for the acknowledgements, for about `ack_s` at most; one timer serves all outputs."""
        if not outputs.open:
            return await outputs.wait_for_reports()
        loop = asyncio.get_running_loop()
        self._unsettled[outputs] = loop.time()
        if self._ack_timer is None:
            self._ack_timer = loop.call_later(self.ack_s / ACK_CHECKS, self._fail_overdue)
        try:
            await outputs.wait_for_reports()
        finally:
            del self._unsettled[outputs]

    def _fail_overdue(self) -> None:
        """Fail outputs that have waited too long."""
        loop = asyncio.get_running_loop()
        for outputs, since in self._unsettled.items():
            if loop.time() - since < self.ack_s:
                break
            outputs.fail(TimeoutError(f"not acknowledged within {self.ack_s:g} s"))
        self._ack_timer = loop.call_later(self.ack_s / ACK_CHECKS, self._fail_overdue) if self._unsettled else None

    async def _acknowledge(self, batch: Batch, stream: StreamT[Any], event: EventT[Any]) -> None:
        batch.records = []
        await cast(Any, stream).ack(event)

    async def _fail(self, run: Run, item: Item | None, error: Exception) -> None:
        """Crash the worker and leave the records unacknowledged; only the first failure is logged.

        Not if all of their partitions were revoked: the new owners get the records.
        """
        app: Any = self.app
        live = [batch for batch in run.sources if batch.live]
        if app.should_stop or not live:
            return
        log.error("record failed, crashing the worker", record=_place(item, live), error=repr(error), exc_info=error)
        await app.crash(error)


def _place(item: Item | None, batches: Sequence[Batch]) -> str:
    """The place of a record, or of those that were waiting for acknowledgements."""
    if item is not None and item.batch.records and item.record is not None:
        return f"{item.batch.topic}[{item.batch.partition}]@{item.record.offset}"
    up_to = ", ".join(f"{batch.topic}[{batch.partition}]@{batch.offset}" for batch in batches)
    return f"up to {up_to}, while waiting for acknowledgements"
