"""Publishes delayed requests (delayed_requests.py) when their next attempt is due.

The timer does not write rows: it publishes the request, and the step loop removes the stored entry when the request is
finished. If the worker crashes in between, the next owner of the partition publishes the request again, and the
duplicate is absorbed.
"""

import asyncio
import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, NamedTuple, cast

import structlog
from faust.types import AppT
from mode import Service

from saga_app.saga.codec import BadMessage, decode
from saga_app.saga.messages import Effects, Waiting
from saga_app.saga.plan import Plan
from saga_app.service import metrics
from saga_app.service.memory.delayed_requests import record_of
from saga_app.service.record import Outputs
from saga_app.stream import Table, Transport

log = structlog.get_logger()

#: The period of the timer, and the pause after a publication that failed or was refused (seconds).
TICK_S, RESEND_AFTER_S = 0.5, 30.0

#: The size of a batch of requests, and the number of rows read between two awaits when the schedule is rebuilt.
MAX_BATCH, ROWS_PER_TURN = 500, 500

#: Every row with a delayed request contains these bytes; other rows are not decoded.
DELAYED_ROW_BYTES = b'"waiting":{"'

#: Partition and saga id.
Place = tuple[int, str]


class Due(NamedTuple):
    """A delayed request whose next attempt is due."""

    place: Place
    step: str
    waiting: Waiting


class Schedule:
    """An index of delayed requests by due time. `clock`: returns seconds since 1970 (UTC).

    Whether a request still waits is decided by its row, not by this index.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.due_at: dict[Place, float] = {}  #: infinite if nothing is due until the row changes
        self._published: dict[Place, float] = {}  #: time of the last publication; requests due before are not due again
        self._heap: list[tuple[float, Place]] = []

    def row_written(self, partition: int, row: Effects) -> None:
        """Update the index after a row was written."""
        place = (partition, row.id)
        if row.waiting:
            published = self._published.get(place, -math.inf)
            times = (waiting.next_at.timestamp() for waiting in row.waiting.values())
            self.watch(place, min((at for at in times if at > published), default=math.inf))
        else:
            self.due_at.pop(place, None)
            self._published.pop(place, None)

    def watch(self, place: Place, at: float) -> None:
        """Check the row of this saga at this time (seconds since 1970), and not earlier."""
        self.due_at[place] = at
        if at < math.inf:
            heappush(self._heap, (at, place))

    def take_due(self, row_of: Callable[[int, str], Effects]) -> list[Due]:
        """The requests that are due, about `MAX_BATCH` at most; they are not returned again.

        `row_of`: returns the current row by partition and saga id.
        """
        now, found = self.clock(), list[Due]()
        while len(found) < MAX_BATCH and (at := self.next_at) is not None and at <= now:
            _, place = heappop(self._heap)
            row = row_of(*place)
            found += [Due(place, step, each) for step, each in row.waiting.items() if each.next_at.timestamp() <= now]
            self._published[place] = now
            self.row_written(place[0], row)
        return found

    @property
    def next_at(self) -> float | None:
        """When the next request is due, in seconds since 1970; None if none waits."""
        while self._heap and self.due_at.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def clear(self) -> None:
        """Empty the index, because this worker owns other partitions now."""
        self.due_at.clear()
        self._published.clear()
        self._heap.clear()


def republish(plan: Plan, outputs: Outputs, due: Due) -> None:
    """Send a delayed request to its own topic again, keyed by its saga."""
    step = plan.step_named(due.step)
    if step is None:  # the plan has changed
        log.error("delayed request of an unknown step not published", saga=due.place[1], step=due.step)
        return
    value, headers = record_of(due.waiting)
    log.info("delayed request published", saga=due.place[1], step=due.step, attempt=due.waiting.attempt)
    outputs.send(step.topic, due.place[1].encode(), value, headers)


class Republisher(Service):
    """Publishes delayed requests. After each rebalance it rebuilds the schedule from the table in the background."""

    def __init__(
        self,
        app: AppT,
        plan: Plan,
        table: Table,
        row_of: Callable[[int, str], Effects],
        schedule: Schedule,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.app, self.plan, self.table, self.row_of, self.schedule = app, plan, table, row_of, schedule
        self.stale = False
        table.on_recover(self._on_recovered)
        metrics.WAITING.set_function(lambda: len(schedule.due_at))
        metrics.NEXT_DUE.set_function(self._seconds_to_next)

    def _seconds_to_next(self) -> float:
        at = self.schedule.next_at
        return math.nan if at is None else at - self.schedule.clock()

    async def _on_recovered(self) -> None:
        """Called after a rebalance, when the table is recovered."""
        self.schedule.clear()
        self.stale = True

    @Service.task
    async def _run(self) -> None:
        while not self.should_stop:
            if self.stale:
                await self._rebuild()
            due = self.schedule.take_due(self._row)
            await self._publish(due)
            await self.sleep(0 if len(due) >= MAX_BATCH else TICK_S)

    async def _rebuild(self) -> None:
        self.stale = False
        for number, (partition, key, value) in enumerate(self.table.rows()):
            if DELAYED_ROW_BYTES in value and (partition, key.decode()) not in self.schedule.due_at:
                self.schedule.row_written(partition, self._decode(key.decode(), value))
            if number % ROWS_PER_TURN == 0:
                await asyncio.sleep(0)
            if self.stale or self.should_stop:
                return
        log.info("watching delayed requests", waiting=len(self.schedule.due_at))

    def _row(self, partition: int, id: str) -> Effects:
        try:
            return self.row_of(partition, id)
        except BadMessage:
            return Effects(v=1, id=id)  # the step loop parks the next request that needs this row

    def _decode(self, id: str, value: bytes) -> Effects:
        try:
            return decode(Effects, value)
        except BadMessage as error:
            log.error("row with a delayed request unreadable", saga=id, problem=str(error))
            return Effects(v=1, id=id)

    async def _publish(self, due: list[Due]) -> None:
        """Publish requests and wait for the acknowledgements. A failed publication is repeated later.

        A request that the broker refuses is published again until the topic accepts it; its saga becomes overdue.
        """
        if not due:
            return
        outputs = cast(Transport, self.app.transport).new_outputs()
        for number, each in enumerate(due):
            outputs.origin = number
            republish(self.plan, outputs, each)
        try:
            await outputs.acknowledged()
        except Exception as error:
            log.warning("could not publish delayed requests", requests=len(due), error=type(error).__name__)
            failed = due
        else:
            failed = [due[number] for number in outputs.refusals]
        for (refusal,) in outputs.refusals.values():
            log.error("delayed request refused by the broker", reason=str(refusal))
        for each in failed:
            self.schedule.watch(each.place, self.schedule.clock() + RESEND_AFTER_S)
