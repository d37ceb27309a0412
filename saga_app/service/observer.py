"""Keeps the rows true when something is wrong: what stands in the `dlq` and the `saga-signals` is noted.

What an operator wants is an event, too: it is decided here, where each saga's row is, whether it still applies. So of
two who redrive the same saga the first is heard, and nobody redrives what somebody has rolled back.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import time
from typing import Any

import structlog

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga import machine
from saga_app.saga.messages import DLQ, BadMessage, Body, Parked, Row, Signal, changed, encode, parse
from saga_app.saga.plan import Plan
from saga_app.saga.times import iso
from saga_app.service.dead_letters import FAULTS, GaveUp, Reader, Refusals, park, with_letter
from saga_app.service.headers import headers_for
from saga_app.service.kafka.repartition import misplaced
from saga_app.service.memory.rows import Rows
from saga_app.service.record import Outputs, Record
from saga_app.stream import Refused

log = structlog.get_logger()

#: What an operator says, and how long a saga has to be begun until it counts (seconds).
ORDERS, SOON_S, TICK_S = ("redriven", "cancelled"), 10.0, 0.1


class Observer:
    """Reads the `dlq` and the `saga-signals` for the rows: what is parked, overdue or tried again is marked."""

    def __init__(self, plan: Plan, rows: Rows, partitions: int, refusals: Refusals | None = None) -> None:
        self.plan, self.rows, self.partitions = plan, rows, partitions
        self.clock: Callable[[], float] = time
        self.refusals = refusals or Refusals()

    async def handle(self, outputs: Outputs, _batch: Any, record: Record) -> None:
        """One record of either topic; one that cannot be handled becomes a dead letter, and concerns no row.

        What an operator wants is decided before the first await, so in the order of the partition. The saga is sent on
        when the row that says so is acknowledged: without it, a restart would decide anew, and perhaps otherwise.
        """
        try:
            await self.work(outputs, record, parse(record.topic, record.value, record.headers))
        except FAULTS as error:
            if not isinstance(error, BadMessage):
                log.exception("record not handled", topic=record.topic, offset=record.offset)
            at = iso(self.clock())
            reader = Reader(record.topic, self.plan.steps[0].service)
            park(outputs, record, None, reader, GaveUp(error, 1), at, at)

    async def work(self, outputs: Outputs, record: Record, body: Body) -> None:
        """Note what a record says, and send its saga on if an operator wants that."""
        turn = None
        carried = record.headers if isinstance(body, Parked) else ()
        if isinstance(body, Parked):
            turn = self.parked(outputs, record, body)
        elif isinstance(body, Signal):
            if misplaced(outputs, record, body.id, self.partitions):
                return
            if body.kind in ORDERS:
                await self.begun(record, body)
            turn = self.signalled(outputs, record, body)
        if turn is not None and turn.onward is not None:
            await outputs.acknowledged()
            topic, message = turn.onward.topic, turn.onward.message
            headers = headers_for(message, topic, self.plan.steps[0].service, turn.row.updated_at, carried)
            outputs.send(topic, message.id.encode(), encode(message), headers)

    def parked(self, outputs: Outputs, record: Record, letter: Parked) -> machine.Turn | None:
        """A saga waits for somebody; who redrove it may have been read before."""
        id = letter.letter.id
        if id is None or misplaced(outputs, record, id, self.partitions):
            return None
        if letter.message is not None:
            letter.message = machine.with_believable_start(letter.message, iso(self.clock()))
        news = machine.row_parked(self.plan, letter, self.rows.get(record.partition, id))
        if news is None:
            return None
        row = self.rows.note(outputs, record.partition, news)
        early = machine.awaited_redrive(row)
        return self.direct(outputs, record, row, early) if early else None

    async def begun(self, record: Record, signal: Signal) -> None:
        """Give a saga that somebody wants to turn round the time to be begun: its request may not have been read."""
        for _ in range(int(SOON_S / TICK_S)):
            if self.rows.get(record.partition, signal.id) is not None:
                return
            await asyncio.sleep(TICK_S)
        log.warning("an operator's signal for a saga that nobody knows", saga=signal.id, kind=signal.kind)

    def signalled(self, outputs: Outputs, record: Record, signal: Signal) -> machine.Turn | None:
        """Something was said about a saga; one that is not known yet is not made by it."""
        row = self.rows.get(record.partition, signal.id)
        if row is None:
            return None
        turn = self.direct(outputs, record, row, signal)
        if turn is None:
            self.rows.mark(outputs, record.partition, row, machine.mark_signal(row, signal))
        return turn

    def direct(self, outputs: Outputs, record: Record, row: Row, signal: Signal) -> machine.Turn | None:
        """What an operator wants, if it applies: the row says so from now on."""
        turn = machine.apply_operator_signal(self.plan, row, signal)
        if turn is not None:
            if turn.row is row:  # whoever wrote it may not have its acknowledgement yet
                self.rows.again(outputs, record.partition, row)
            else:
                self.rows.note(outputs, record.partition, turn.row)
            log.info("turned", saga=row.id, step=row.step, kind=signal.kind, attempt=signal.attempt)
        return turn

    async def on_refusal(self, outputs: Outputs, record: Record, refusals: Sequence[Refused], tries: int) -> bool:
        """The broker refused what this record led to; nothing of it may stop the partition. See `stream.Pool`."""
        lost = self.refusals.lost(refusals)
        by_topic = {refusal.topic: refusal for refusal in lost}
        if DLQ in by_topic:
            await self.refusals.shorten(outputs, by_topic[DLQ], tries)
        elif ROWS_CHANGELOG in by_topic and tries == 0:
            self.note_less(outputs, record, by_topic[ROWS_CHANGELOG])
        elif ROWS_CHANGELOG in by_topic:
            log.error(
                "row refused by the broker", saga=(record.key or b"").decode("utf-8", "replace"), reason=str(lost[0])
            )
        elif lost:
            self.park_onward(outputs, record, lost[0])
        return bool(lost)

    def note_less(self, outputs: Outputs, record: Record, refusal: Refused) -> None:
        """A row that the changelog refuses is noted with the facts that it had before; the dead letter says why.

        Such a letter is redriven by sending its original again, which still has all facts.
        """
        body = parse(record.topic, record.value, record.headers)
        if not isinstance(body, Parked) or (news := machine.row_parked(self.plan, body)) is None:
            return
        row = self.rows.get(record.partition, news.id)
        self.rows.note(outputs, record.partition, changed(news, facts=row.facts if row else {}))
        if body.letter.refused_by != ROWS_CHANGELOG:
            reason = GaveUp(refusal, 1).reason
            letter = changed(body.letter, refused_by=ROWS_CHANGELOG, error=type(refusal).__name__, reason=reason)
            outputs.send(DLQ, record.key, record.value, with_letter(record.headers, letter))

    def park_onward(self, outputs: Outputs, record: Record, refusal: Refused) -> None:
        """A saga that an operator has sent on, and the broker refused its message: it waits for somebody again."""
        body = parse(record.topic, record.value, record.headers)
        id = body.letter.id if isinstance(body, Parked) else body.id
        row = self.rows.get(record.partition, id) if id else None
        step = self.plan.named(row.step) if row else None
        if row is None or step is None:
            log.error("record refused by the broker", saga=id, reason=str(refusal))
            return
        request, at = machine.request_of(row), iso(self.clock())
        gave_up = GaveUp(refusal, 1)
        park(outputs, record, request, step, gave_up, at, at, instead=encode(request), refused_by=refusal.topic)
