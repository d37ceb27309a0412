"""Runs the records of a batch: each in a task of its own, or all inline when the handler does not wait.

A record is done when its handler has returned and everything it sent is acknowledged.
A handler that fails does not get its record acknowledged: the worker crashes and the record
is delivered again.  What may fail for good (a bad payload, a policy that says no) is the
handler's to catch and to send to a dead letter topic.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from faust.types import AppT, EventT, StreamT

from saga_app.stream.batch import Batch
from saga_app.stream.outbox import TICK_S
from saga_app.stream.receipt import Receipt
from saga_app.stream.transport import Transport

#: How often it is looked, within the time that acknowledgements may take, whether they have taken longer.
WATCHES = 20

#: Sends with `receipt.send(topic, key, value)` and `table.write(receipt, partition, key, value)`, which never
#: wait.  A plain function shares one receipt with its batch, a coroutine function has one for each record.
Handler = Callable[[Receipt, Batch, Any], Awaitable[None] | None]


class Pool:
    """`await Pool(app, handler).run(stream)` is the whole body of an agent.

    timeout_s: how long a handler may take (None: for ever), lags and retries included;
    ack_s: how long the acknowledgements may take after it, an outage of the broker included (longer than the
    transport's send_s).  Beyond either the worker crashes.
    """

    def __init__(self, app: AppT, handler: Handler, timeout_s: float | None = 300.0, ack_s: float = 60.0) -> None:
        self.app = app
        self.handler = handler
        self.timeout_s = timeout_s
        self.ack_s = ack_s
        self.inline = not _is_async(handler)
        self._unsettled: dict[Receipt, float] = {}  #: since when each waits, the oldest first
        self._watch: asyncio.TimerHandle | None = None

    @property
    def _transport(self) -> Transport:
        return cast(Transport, self.app.transport)

    async def run(self, stream: StreamT[Any]) -> None:
        """Take batches until the agent is stopped; never blocks on slow handlers, the ledger bounds them."""
        try:
            async for event in cast(Any, stream).noack().events():
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
        if not batch.live:
            return  # revoked while it waited
        if self.inline:
            self._inline(stream, event)
            await asyncio.sleep(0)
        else:
            for index in range(len(batch.records)):
                self._start(batch, self._one(stream, event, index))

    def _start(self, batch: Batch, work: Coroutine[Any, Any, None]) -> None:
        batch.tasks.append(asyncio.create_task(work))

    async def _one(self, stream: StreamT[Any], event: EventT[Any], index: int) -> None:
        batch = cast(Batch, event.message)
        record = batch.records[index]
        receipt = self._transport.receipt()
        try:
            work = cast(Awaitable[None], self.handler(receipt, batch, record))
            if self.timeout_s is None:
                await work
            else:
                async with asyncio.timeout(self.timeout_s):
                    await work
            await self._settled(receipt)
        except Exception as error:
            await self._fail(batch, record, error)
        else:
            batch.finish(index)
            if not batch.left:
                await self._close(stream, event)

    def _inline(self, stream: StreamT[Any], event: EventT[Any]) -> None:
        """The whole batch at once, so that order per key holds; its acknowledgements come while the next one runs."""
        batch = cast(Batch, event.message)
        receipt = self._transport.receipt()
        record = None
        try:
            for record in batch.records:
                self.handler(receipt, batch, record)
        except Exception as error:
            self._start(batch, self._fail(batch, record, error))
        else:
            self._start(batch, self._acknowledged(stream, event, receipt))

    async def _acknowledged(self, stream: StreamT[Any], event: EventT[Any], receipt: Receipt) -> None:
        batch = cast(Batch, event.message)
        try:
            await self._settled(receipt)
        except Exception as error:
            await self._fail(batch, None, error)
        else:
            batch.finish_all()
            await self._close(stream, event)

    async def _settled(self, receipt: Receipt) -> None:
        """Wait for the acknowledgements, for at most about `ack_s`; one timer watches over all of them."""
        loop = asyncio.get_running_loop()
        self._unsettled[receipt] = loop.time()
        if self._watch is None:
            self._watch = loop.call_later(self.ack_s / WATCHES, self._look)
        try:
            await receipt.settled()
        finally:
            del self._unsettled[receipt]

    def _look(self) -> None:
        """Fail what has waited too long."""
        loop = asyncio.get_running_loop()
        for receipt, since in self._unsettled.items():
            if loop.time() - since < self.ack_s:
                break
            receipt.report(TimeoutError(f"not acknowledged within {self.ack_s:g} s"), None)
        self._watch = loop.call_later(self.ack_s / WATCHES, self._look) if self._unsettled else None

    async def _close(self, stream: StreamT[Any], event: EventT[Any]) -> None:
        batch = cast(Batch, event.message)
        batch.tasks = []
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


def _is_async(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)
