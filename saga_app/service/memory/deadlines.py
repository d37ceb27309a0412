"""Says when a saga is overdue: an index of what is due next, and a timer that sends a signal for each that has come.

The timer does not mark the row: it sends `overdue`, and the Observer marks it, as it does with every other signal.
"""

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from time import time
from typing import Any, cast

import structlog
from faust.types import AppT
from mode import Service

from saga_app.saga import deadline
from saga_app.saga.messages import SIGNALS, BadMessage, Row, Signal, decode, encode
from saga_app.saga.plan import Plan
from saga_app.service.headers import headers_for_signal
from saga_app.service.memory.rows import Rows
from saga_app.stream import Table, Transport

log = structlog.get_logger()

#: The timer's tick, and how soon a signal is sent again if no mark has followed it (seconds).
TICK_S, AGAIN_S = 0.2, 10.0

#: Signals sent together, and rows looked at between two awaits when the index is made.
TOGETHER, PORTION = 2_000, 500

#: A row that may have to be watched has these bytes; so most of a large table is not decoded.
OPEN = b'"ended_at":null'

Place = tuple[int, str]


class Deadlines:
    """Which saga is due when; one entry a saga, looked at again when its time has come."""

    def __init__(self, plan: Plan, seconds: float, clock: Callable[[], float] = time) -> None:
        self.plan, self.seconds, self.clock = plan, seconds, clock
        self.heap: list[tuple[float, Place]] = []
        self.known: dict[Place, float] = {}

    def wrote(self, partition: int, row: Row, _value: bytes) -> None:
        """A row was written: watch it, unless that is done already."""
        if not (row.ended or row.overdue):
            self.watch((partition, row.id), deadline.due(self.plan, row, self.seconds))

    def watch(self, place: Place, at: float) -> None:
        """Look at this saga then (seconds since 1970), or earlier."""
        if at < self.known.get(place, at + 1):
            self.known[place] = at
            heappush(self.heap, (at, place))

    def come(self, row_of: Callable[[int, str], Row | None]) -> list[Signal]:
        """The signals for those whose time has come, at most `TOGETHER`; each is looked at again after `AGAIN_S`."""
        now, found = self.clock(), list[Signal]()
        while self.heap and self.heap[0][0] <= now and len(found) < TOGETHER:
            at, place = heappop(self.heap)
            if self.known.get(place) != at:
                continue  # there is an earlier entry
            del self.known[place]
            row = row_of(*place)
            if row is None or row.ended or row.overdue:
                continue
            due = deadline.due(self.plan, row, self.seconds)
            if due <= now:
                found.append(deadline.missed(self.plan, row, due, now))
            self.watch(place, max(due, now + AGAIN_S) if due <= now else due)
        return found

    def forget(self) -> None:
        """Other partitions are ours now."""
        self.heap.clear()
        self.known.clear()


class Timer(Service):
    """Sends what is due. After each rebalance it makes the index anew from the table, in the background."""

    def __init__(self, app: AppT, table: Table, rows: Rows, deadlines: Deadlines, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app, self.table, self.rows, self.deadlines = app, table, rows, deadlines
        self.stale = False
        table.on_recover(self._recovered)

    async def _recovered(self) -> None:
        """Other partitions, and their rows are complete; while they are being looked at, the streams go on."""
        self.deadlines.forget()
        self.stale = True

    @Service.task
    async def _run(self) -> None:
        while not self.should_stop:
            if self.stale:
                await self._rebuild()
            sent = await self._send(self.deadlines.come(self.rows.get))
            await self.sleep(0 if sent == TOGETHER else TICK_S)

    async def _rebuild(self) -> None:
        self.stale = False
        for number, (partition, _key, value) in enumerate(self.table.rows()):
            if OPEN in value:
                self._watch(partition, value)
            if number % PORTION == 0:
                await asyncio.sleep(0)
            if self.stale or self.should_stop:
                return
        log.info("watching deadlines", open=len(self.deadlines.known))

    def _watch(self, partition: int, value: bytes) -> None:
        try:
            self.deadlines.wrote(partition, decode(Row, value), value)
        except BadMessage:
            return  # whoever reads it next says so

    async def _send(self, signals: list[Signal]) -> int:
        """Acknowledged, or sent again later."""
        if not signals:
            return 0
        outputs = cast(Transport, self.app.transport).new_outputs()
        for signal in signals:
            headers = headers_for_signal(signal, self.deadlines.plan.steps[0].service)
            outputs.send(SIGNALS, signal.id.encode(), encode(signal), headers)
        try:
            await outputs.acknowledged()
        except Exception as error:
            log.warning("deadlines were missed and could not be said", sagas=len(signals), error=type(error).__name__)
        else:
            log.warning("overdue", sagas=len(signals), first=signals[0].id, step=signals[0].step)
        return len(signals)
