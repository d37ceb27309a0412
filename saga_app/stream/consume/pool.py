"""Runs the records of a batch: one after the other in one task, as long as no handler has to wait.

When one waits, each of the records behind it gets a task of its own, so that a slow one holds up no other: what need
not wait costs no task, no timer and no receipt of its own. Neither does what only waits for a time: its handler answers
`RetryLater`, and is called again then. So a hundred thousand of them are hardly more than their records.
A record is done when its handler has returned and everything it sent is acknowledged.
A handler that fails does not get its record acknowledged: the worker crashes and the record
is delivered again.  What may fail for good (a bad payload, a policy that says no) is the
handler's to catch and to send to a dead letter topic.  What the broker refuses for good is
handed to `on_refusal`, together with the one record that sent it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import count
from typing import Any, cast

from faust.types import TP, AppT, EventT, StreamT

from saga_app.stream.consume.batch import Batch
from saga_app.stream.consume.delay_queue import DelayQueue, RetryLater
from saga_app.stream.consume.drain_queue import events
from saga_app.stream.consume.eager import Eager
from saga_app.stream.produce.batching_producer import TICK_S
from saga_app.stream.produce.outputs import Outputs
from saga_app.stream.produce.refusal import Refused
from saga_app.stream.transport import Transport

#: How often it is looked, within the time that acknowledgements may take, whether they have taken longer.
WATCHES = 20

#: Sends with `outputs.send(topic, key, value)` and `table.write(outputs, partition, key, value)`, which never wait.
#: A plain function or a coroutine function; records that did not have to wait share one `Outputs`. A handler that
#: returns `RetryLater` is called again with its `state` (never None) as the fourth argument and with new `Outputs`,
#: once what it sent before is acknowledged; it is not called again if the partition has been revoked.
Handler = Callable[..., Coroutine[Any, Any, RetryLater | None] | RetryLater | None]

#: Called with a new receipt, the record, the refusals of what it sent, and how often this was called for the record
#: before. It sends what takes the place of the record (a dead letter) and returns True: then the record is done; or it
#: returns False: nothing is missing that matters. If what it sends is refused as well, it is called again.
OnRefusal = Callable[[Outputs, Any, Sequence[Refused], int], Coroutine[Any, Any, bool]]

#: A record by its number in its batch, and the state that its handler wants to have back (None the first time).
Item = tuple[int, Any]


class Pool:
    """`await Pool(app, handler).run(stream)` is the whole body of an agent.

    timeout_s: how long a handler may take (None: for ever), lags and retries included;
    ack_s: how long the acknowledgements may take after it, an outage of the broker included (longer than the
    transport's send_s).  Beyond either the worker crashes;
    on_refusal: what to do about a record whose output the broker refuses; without it the worker crashes.
    """

    def __init__(
        self,
        app: AppT,
        handler: Handler,
        timeout_s: float | None = 300.0,
        ack_s: float = 60.0,
        on_refusal: OnRefusal | None = None,
    ) -> None:
        self.app = app
        self.handler = handler
        self.on_refusal = on_refusal
        self.timeout_s = timeout_s
        self.ack_s = ack_s
        self._unsettled: dict[Outputs, float] = {}  #: since when each waits, the oldest first
        self._watch: asyncio.TimerHandle | None = None
        self._wheel = DelayQueue(self._again)
        self._begun: set[TP] = set()  #: partitions of which a batch was begun in this turn of the loop

    @property
    def _transport(self) -> Transport:
        return cast(Transport, self.app.transport)

    async def run(self, stream: StreamT[Any]) -> None:
        """Take batches until the agent is stopped; never blocks on slow handlers, the ledger bounds them."""
        try:
            async for event in events(self.app, stream):
                await self._take(stream, event)
        except Exception as error:  # a restarted agent would leave this batch behind for ever
            await self.app.crash(error)
            raise

    async def _take(self, stream: StreamT[Any], event: EventT[Any]) -> None:
        batch = cast(Batch, event.message)
        if batch.refcount > 1:
            raise RuntimeError(f"{batch.topic} has {batch.refcount} agents; one would acknowledge for the other")
        while self._transport.full:
            await asyncio.sleep(TICK_S)
        await self._turn(batch.tp)
        self._begin(stream, event, [(index, None) for index in range(len(batch.records))])

    async def _turn(self, tp: TP) -> None:
        """Batches of a partition begin in turn: each is through, or has tasks of its own, before the next.

        Those of different partitions need no turn of the loop for each: many small ones would queue up for it.
        """
        if tp in self._begun:
            await asyncio.sleep(0)
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._begun.clear)
        self._begun.add(tp)

    def _begin(self, stream: StreamT[Any], event: EventT[Any], items: Sequence[Item]) -> None:
        waiting = iter(items)
        self._start(stream, event, waiting)
        # By then it is through, or a handler has to wait.
        asyncio.get_running_loop().call_soon(self._begin_rest, stream, event, waiting)

    def _begin_rest(self, stream: StreamT[Any], event: EventT[Any], waiting: Iterator[Item]) -> None:
        for item in waiting:
            self._start(stream, event, iter((item,)))

    def _start(self, stream: StreamT[Any], event: EventT[Any], waiting: Iterator[Item]) -> None:
        """A task, unless the partition is being given back, or was while they waited."""
        batch = cast(Batch, event.message)
        if batch.live and batch.open and not self.app.should_stop:
            batch.begin(asyncio.create_task(self._work(stream, event, waiting)))

    def _again(self, waited: list[tuple[StreamT[Any], EventT[Any], Item]]) -> None:
        """Their time has come. Those of one batch are worked on together, as when they came."""
        together: dict[int, tuple[StreamT[Any], EventT[Any], list[Item]]] = {}
        for stream, event, item in waited:
            together.setdefault(id(event), (stream, event, []))[2].append(item)
        for stream, event, items in together.values():
            self._begin(stream, event, items)

    async def _work(self, stream: StreamT[Any], event: EventT[Any], waiting: Iterator[Item]) -> None:
        """Records in order, for as long as there are any that nobody else has begun; then what they have sent."""
        batch = cast(Batch, event.message)
        outputs = self._transport.new_outputs()
        handled: list[int] = []
        put_off: list[tuple[float, Item]] = []
        record = None
        try:
            for index, state in waiting:
                record, outputs.origin = batch.records[index], index
                later = await self._handle(outputs, batch, record, state)
                if later is None:
                    handled.append(index)
                else:
                    put_off.append((asyncio.get_running_loop().time() + later.seconds, (index, later.state)))
            record = record if len(handled) + len(put_off) == 1 else None
            await self._acknowledged(outputs)
            parked = {index for index in outputs.refusals if await self._refused(batch, index, outputs)}
            for index in {*handled, *parked}:
                batch.finish(index)
            # Not before what they have sent is acknowledged: the next time they have another receipt.
            for at, item in put_off:
                if item[0] not in parked:
                    self._wheel.put(at, (stream, event, item))
            if not batch.left:
                await self._close(stream, event)
        except Exception as error:
            await self._fail(batch, record, error)

    async def _refused(self, batch: Batch, index: int, outputs: Outputs) -> bool:
        """The broker has refused what a record sent: whether the record is done now, or only lacks what need not be."""
        parked, refusals = False, outputs.refusals[index]
        for tries in count():
            if self.on_refusal is None:
                raise refusals[0]
            instead = self._transport.new_outputs()
            parked = await self.on_refusal(instead, batch.records[index], refusals, tries) or parked
            await self._acknowledged(instead)
            if not instead.refusals:
                break
            refusals = instead.refusals[instead.origin]
        return parked

    async def _handle(self, outputs: Outputs, batch: Batch, record: Any, state: Any) -> RetryLater | None:
        work = self.handler(outputs, batch, record) if state is None else self.handler(outputs, batch, record, state)
        if work is None or isinstance(work, RetryLater):
            return work
        try:
            begun = Eager(work)
            if not begun.waits or self.timeout_s is None:
                return await begun
            async with asyncio.timeout(self.timeout_s):
                return await begun
        except Refused:  # the receipt has it
            return None

    async def _acknowledged(self, outputs: Outputs) -> None:
        """Wait for the acknowledgements, for at most about `ack_s`; one timer watches over all of them."""
        if not outputs.open:
            return await outputs.reported()
        loop = asyncio.get_running_loop()
        self._unsettled[outputs] = loop.time()
        if self._watch is None:
            self._watch = loop.call_later(self.ack_s / WATCHES, self._look)
        try:
            await outputs.reported()
        finally:
            del self._unsettled[outputs]

    def _look(self) -> None:
        """Fail what has waited too long."""
        loop = asyncio.get_running_loop()
        for outputs, since in self._unsettled.items():
            if loop.time() - since < self.ack_s:
                break
            outputs.fail(TimeoutError(f"not acknowledged within {self.ack_s:g} s"))
        self._watch = loop.call_later(self.ack_s / WATCHES, self._look) if self._unsettled else None

    async def _close(self, stream: StreamT[Any], event: EventT[Any]) -> None:
        batch = cast(Batch, event.message)
        batch.records = []
        await cast(Any, stream).ack(event)

    async def _fail(self, batch: Batch, record: Any, error: Exception) -> None:
        """The record stays unacknowledged; the first failure has said it all."""
        app: Any = self.app
        if app.should_stop or not batch.live:  # else the partition's new owner gets the record
            return
        at = record.offset if record is not None else f"up to {batch.offset}, an acknowledgement"
        where = f"{batch.topic}[{batch.partition}]@{at}"
        app.log.error("%s failed, crashing the worker so that it is delivered again: %r", where, error, exc_info=error)
        await app.crash(error)
