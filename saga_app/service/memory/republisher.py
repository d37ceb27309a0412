"""Publishes requests that wait outside their partition (waiting.py) when their next attempt is due.

A timer writes no rows: it publishes the request again, and the step loop removes the entry when the request is handled.
If a worker dies in between, the next owner of the partition publishes it once more, and the duplicate is absorbed.
"""

import asyncio
import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, NamedTuple, cast

import structlog
from faust.types import AppT
from mode import Service

from saga_app.saga.messages import BadMessage, Effects, Waiting, decode
from saga_app.saga.plan import Plan
from saga_app.saga.times import epoch
from saga_app.service import metrics
from saga_app.service.memory.delayed_requests import record_of
from saga_app.service.record import Outputs
from saga_app.stream import Table, Transport

log = structlog.get_logger()

#: The timer's tick, and the pause after a publication that was not acknowledged or refused (seconds).
TICK_S, RESEND_AFTER_S = 0.5, 30.0

#: Requests published together, and rows read between two awaits when the schedule is rebuilt.
BATCH, ROWS_PER_TURN = 500, 500

#: The bytes of a row in which something waits; others are not decoded.
WAITS = b'"waiting":{"'

#: Partition and saga id.
Place = tuple[int, str]


class Due(NamedTuple):
    """A request whose attempt is due."""

    place: Place
    step: str
    waiting: Waiting


class Schedule:
    """When each saga's waiting request is due. `clock` returns seconds since 1970.

    Only an index: whether a request still waits is decided by its row.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.due_at: dict[Place, float] = {}  #: infinite if nothing is to be published until the row changes
        self._published: dict[Place, float] = {}  #: when; what was due by then is not due again
        self._heap: list[tuple[float, Place]] = []

    def row_written(self, partition: int, row: Effects) -> None:
        """Follow a row of the table."""
        place = (partition, row.id)
        if row.waiting:
            published = self._published.get(place, -math.inf)
            times = (epoch(waiting.next_at) for waiting in row.waiting.values())
            self.watch(place, min((at for at in times if at > published), default=math.inf))
        else:
            self.due_at.pop(place, None)
            self._published.pop(place, None)

    def watch(self, place: Place, at: float) -> None:
        """Look at this saga's row at this time (seconds since 1970), and not before."""
        self.due_at[place] = at
        if at < math.inf:
            heappush(self._heap, (at, place))

    def take_due(self, row_of: Callable[[int, str], Effects]) -> list[Due]:
        """The requests that are due by their rows, of about `BATCH` sagas; they are not due again."""
        now, found = self.clock(), list[Due]()
        while len(found) < BATCH and (at := self.next_at) is not None and at <= now:
            _, place = heappop(self._heap)
            row = row_of(*place)
            found += [Due(place, step, each) for step, each in row.waiting.items() if epoch(each.next_at) <= now]
            self._published[place] = now
            self.row_written(place[0], row)
        return found

    @property
    def next_at(self) -> float | None:
        """When the next request is due, in seconds since 1970; None if none is."""
        while self._heap and self.due_at.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def clear(self) -> None:
        """Forget everything: this worker has other partitions now."""
        self.due_at.clear()
        self._published.clear()
        self._heap.clear()


def republish(plan: Plan, outputs: Outputs, due: Due) -> None:
    """Send a request to its own topic again, under the key of its saga."""
    step = plan.named(due.step)
    if step is None:  # the plan has changed since
        log.error("no such step, its waiting request stays in the table", saga=due.place[1], step=due.step)
        return
    value, headers = record_of(due.waiting)
    log.info("attempt due", saga=due.place[1], step=due.step, attempt=due.waiting.attempt)
    outputs.send(step.topic, due.place[1].encode(), value, headers)


class Republisher(Service):
    """The timer of a service. After each rebalance it rebuilds the schedule from the table, in the background."""

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
        table.on_recover(self._recovered)
        metrics.WAITING.set_function(lambda: len(schedule.due_at))
        metrics.NEXT_DUE.set_function(self._seconds_to_next)

    def _seconds_to_next(self) -> float:
        at = self.schedule.next_at
        return math.nan if at is None else at - self.schedule.clock()

    async def _recovered(self) -> None:
        """Other partitions, and their rows are complete."""
        self.schedule.clear()
        self.stale = True

    @Service.task
    async def _run(self) -> None:
        while not self.should_stop:
            if self.stale:
                await self._rebuild()
            due = self.schedule.take_due(self._row)
            await self._publish(due)
            await self.sleep(0 if len(due) >= BATCH else TICK_S)

    async def _rebuild(self) -> None:
        self.stale = False
        for number, (partition, key, value) in enumerate(self.table.rows()):
            if WAITS in value and (partition, key.decode()) not in self.schedule.due_at:
                self.schedule.row_written(partition, self._decoded(key.decode(), value))
            if number % ROWS_PER_TURN == 0:
                await asyncio.sleep(0)
            if self.stale or self.should_stop:
                return
        log.info("watching waiting requests", waiting=len(self.schedule.due_at))

    def _row(self, partition: int, id: str) -> Effects:
        try:
            return self.row_of(partition, id)
        except BadMessage:
            return Effects(1, id)  # the step loop parks the next request that needs this row

    def _decoded(self, id: str, value: bytes) -> Effects:
        try:
            return decode(Effects, value)
        except BadMessage as error:
            log.error("a row with a waiting request cannot be read", saga=id, problem=str(error))
            return Effects(1, id)

    async def _publish(self, due: list[Due]) -> None:
        """Publish and wait for the acknowledgements; what was not acknowledged is published again later.

        A request that the broker refuses waits until its topic takes it; its saga is overdue then.
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
            log.warning("could not publish requests that are due", requests=len(due), error=type(error).__name__)
            again = due
        else:
            again = [due[number] for number in outputs.refusals]
        for (refusal,) in outputs.refusals.values():
            log.error("request that is due was refused by the broker", reason=str(refusal))
        for each in again:
            self.schedule.watch(each.place, self.schedule.clock() + RESEND_AFTER_S)
