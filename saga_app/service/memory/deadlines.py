"""Detects overdue sagas: an index of deadlines, and a timer that publishes a signal for each missed one.

The timer does not write saga rows. It publishes `overdue`, and the Observer flags the row when it reads that signal.
"""

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from time import time
from typing import Any, cast

import structlog
from faust.types import AppT
from mode import Service

from saga_app.saga import deadline
from saga_app.saga.codec import BadMessage, decode, encode, state_of
from saga_app.saga.messages import SIGNALS, Row, Signal
from saga_app.saga.plan import Plan
from saga_app.saga.states import ENDED_STATES
from saga_app.service.headers import headers_for_signal
from saga_app.service.memory.rows import Rows
from saga_app.stream import Table, Transport

log = structlog.get_logger()

#: The period of the timer (seconds).
TICK_S = 0.2

#: A signal is published again if the row is not flagged after this time (seconds).
RESEND_AFTER_S = 10.0

#: The maximum number of signals in a batch, and the number of rows read between two awaits when the index is rebuilt.
MAX_BATCH, ROWS_PER_TURN = 2_000, 500

#: The number of outdated entries that the index of deadlines keeps at least before it is rebuilt.
MIN_OUTDATED = 1_000

Place = tuple[int, str]


class Deadlines:
    """An index of open sagas by deadline, with one entry per saga.

    `seconds`: how long a whole saga may take. `clock`: returns seconds since 1970 (UTC).
    """

    def __init__(self, plan: Plan, seconds: float, clock: Callable[[], float] = time) -> None:
        self.plan, self.seconds, self.clock = plan, seconds, clock
        self.heap: list[tuple[float, Place]] = []
        self.known: dict[Place, float] = {}

    def row_written(self, partition: int, row: Row, _value: bytes) -> None:
        """Update the index after a row was written."""
        if row.ended:
            self.known.pop((partition, row.id), None)
            self._remove_outdated()
        elif not row.overdue:
            self.watch((partition, row.id), deadline.due(self.plan, row, self.seconds))

    def watch(self, place: Place, at: float) -> None:
        """Check this saga at this time (seconds since 1970) at the latest."""
        if at < self.known.get(place, at + 1):
            self.known[place] = at
            heappush(self.heap, (at, place))

    def _remove_outdated(self) -> None:
        """Rebuild the heap when most of its entries are outdated: their sagas have ended, or have another entry."""
        if len(self.heap) > 2 * len(self.known) + MIN_OUTDATED:
            self.heap = [(at, place) for place, at in self.known.items()]
            heapify(self.heap)

    def take_due(self, row_of: Callable[[int, str], Row | None]) -> list[Signal]:
        """The signals for overdue sagas, at most `MAX_BATCH`. Each saga is checked again after `RESEND_AFTER_S`.

        `row_of`: returns the current row by partition and saga id.
        """
        now, found = self.clock(), list[Signal]()
        while self.heap and self.heap[0][0] <= now and len(found) < MAX_BATCH:
            at, place = heappop(self.heap)
            if self.known.get(place) != at:
                continue  # outdated: the saga has ended, or has another entry
            del self.known[place]
            row = row_of(*place)
            if row is None or row.ended or row.overdue:
                continue
            due = deadline.due(self.plan, row, self.seconds)
            if due <= now:
                found.append(deadline.overdue_signal(self.plan, row, due, now))
            self.watch(place, max(due, now + RESEND_AFTER_S) if due <= now else due)
        return found

    def clear(self) -> None:
        """Empty the index, because this worker owns other partitions now."""
        self.heap.clear()
        self.known.clear()


class Timer(Service):
    """Publishes signals for overdue sagas. It rebuilds the index in the background after each rebalance."""

    def __init__(self, app: AppT, table: Table, rows: Rows, deadlines: Deadlines, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app, self.table, self.rows, self.deadlines = app, table, rows, deadlines
        self.stale = False
        table.on_recover(self._on_recovered)

    async def _on_recovered(self) -> None:
        """Called after a rebalance, when the tables are recovered. The index is rebuilt while streams continue."""
        self.deadlines.clear()
        self.stale = True

    @Service.task
    async def _run(self) -> None:
        while not self.should_stop:
            if self.stale:
                await self._rebuild()
            sent = await self._publish(self.deadlines.take_due(self.rows.get))
            await self.sleep(0 if sent == MAX_BATCH else TICK_S)

    async def _rebuild(self) -> None:
        self.stale = False
        for number, (partition, _key, value) in enumerate(self.table.rows()):
            self._watch(partition, value)
            if number % ROWS_PER_TURN == 0:
                await asyncio.sleep(0)
            if self.stale or self.should_stop:
                return
        log.info("watching deadlines", open=len(self.deadlines.known))

    def _watch(self, partition: int, value: bytes) -> None:
        try:
            if state_of(value) not in ENDED_STATES:  # most rows of a large table have ended, and are not decoded
                self.deadlines.row_written(partition, decode(Row, value), value)
        except BadMessage:
            return  # logged by the next reader of this row

    async def _publish(self, signals: list[Signal]) -> int:
        """Publish signals and wait for their acknowledgement; returns how many. A failure is repeated later."""
        if not signals:
            return 0
        outputs = cast(Transport, self.app.transport).new_outputs()
        for signal in signals:
            headers = headers_for_signal(signal, self.deadlines.plan.steps[0].service)
            outputs.send(SIGNALS, signal.id.encode(), encode(signal), headers)
        try:
            await outputs.acknowledged()
        except Exception as error:
            log.warning("could not publish overdue signals", sagas=len(signals), error=type(error).__name__)
        else:
            log.warning("sagas overdue", sagas=len(signals), first=signals[0].id, step=signals[0].step)
        return len(signals)
