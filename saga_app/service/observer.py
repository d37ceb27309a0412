"""Updates the saga rows from dead letters and signals, and decides on operator actions.

An operator action is an event as well. It is decided here, where the saga row is, so that only the first of two
redrives applies, and a saga that is being rolled back is not redriven.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import time
from typing import Any

import structlog

from saga_app.active_plan import ROWS_CHANGELOG
from saga_app.saga import admission, operator_signals, saga_row
from saga_app.saga.codec import BadMessage, encode, parse, replace_fields
from saga_app.saga.messages import DLQ, Body, Parked, Row, Signal
from saga_app.saga.plan import Plan
from saga_app.saga.times import utc
from saga_app.service.dead_letters import PROGRAMMING_ERRORS, GaveUp, Reader, Refusals, park, with_letter
from saga_app.service.headers import headers_for
from saga_app.service.kafka.repartition import forward_if_misplaced
from saga_app.service.memory.rows import Rows
from saga_app.service.record import Outputs, Record
from saga_app.stream import Refused

log = structlog.get_logger()

#: The kinds of operator signals.
OPERATOR_KINDS = ("redriven", "cancelled")

#: How long an operator signal waits for the row of its saga, and how often the row is polled (seconds).
ROW_TIMEOUT_S, POLL_INTERVAL_S = 10.0, 0.1


class Observer:
    """Consumes `dlq` and `saga-signals`, and records in the saga rows what is parked, overdue or retried."""

    def __init__(self, plan: Plan, rows: Rows, partitions: int, refusals: Refusals | None = None) -> None:
        self.plan, self.rows, self.partitions = plan, rows, partitions
        self.clock: Callable[[], float] = time
        self.refusals = refusals or Refusals()

    async def handle(self, outputs: Outputs, _batch: Any, record: Record) -> None:
        """Process one record of either topic. A record that cannot be processed becomes a dead letter without saga."""
        try:
            await self.work(outputs, record, parse(record.topic, record.value, record.headers))
        except PROGRAMMING_ERRORS as error:
            if not isinstance(error, BadMessage):
                log.exception("record failed", topic=record.topic, offset=record.offset)
            at = utc(self.clock())
            reader = Reader(record.topic, self.plan.steps[0].service)
            park(outputs, record, None, reader, GaveUp(error, 1), at, at)

    async def work(self, outputs: Outputs, record: Record, body: Body) -> None:
        """Update the row, and send the next request of the saga if an operator action requires one.

        Operator actions are decided before the first await after the row is known, and so in the order of the
        partition. The request is sent only after the row is acknowledged: otherwise a restart could decide differently.
        """
        decision = None
        carried = record.headers if isinstance(body, Parked) else ()
        if isinstance(body, Parked):
            decision = self.apply_dead_letter(outputs, record, body)
        elif isinstance(body, Signal):
            if forward_if_misplaced(outputs, record, body.id, self.partitions):
                return
            if body.kind in OPERATOR_KINDS:
                await self.wait_for_row(record, body)
            decision = self.apply_signal(outputs, record, body)
        if decision is not None and decision.onward is not None:
            await outputs.acknowledged()
            topic, message = decision.onward.topic, decision.onward.message
            headers = headers_for(message, topic, self.plan.steps[0].service, decision.row.updated_at, carried)
            outputs.send(topic, message.id.encode(), encode(message), headers)

    def apply_dead_letter(
        self, outputs: Outputs, record: Record, letter: Parked
    ) -> operator_signals.OperatorDecision | None:
        """Park the saga of a dead letter, and apply its redrive if that was read before the letter."""
        id = letter.letter.id
        if id is None or forward_if_misplaced(outputs, record, id, self.partitions):
            return None
        if letter.message is not None:
            letter.message = admission.with_plausible_start(letter.message, utc(self.clock()))
        news = saga_row.row_parked(self.plan, letter, self.rows.get(record.partition, id))
        if news is None:
            return None
        row = self.rows.join(outputs, record.partition, news)
        early = operator_signals.awaited_redrive(row)
        return self.apply_operator_signal(outputs, record, row, early) if early else None

    async def wait_for_row(self, record: Record, signal: Signal) -> None:
        """Wait until the saga of an operator signal has a row, because its first request may not have been read yet."""
        for _ in range(int(ROW_TIMEOUT_S / POLL_INTERVAL_S)):
            if self.rows.get(record.partition, signal.id) is not None:
                return
            await asyncio.sleep(POLL_INTERVAL_S)
        log.warning("operator signal for an unknown saga", saga=signal.id, kind=signal.kind)

    def apply_signal(
        self, outputs: Outputs, record: Record, signal: Signal
    ) -> operator_signals.OperatorDecision | None:
        """Record a signal in the row of its saga, or apply it if it is an operator action. Ignored without a row."""
        row = self.rows.get(record.partition, signal.id)
        if row is None:
            return None
        decision = self.apply_operator_signal(outputs, record, row, signal)
        if decision is None:
            self.rows.write_if_changed(outputs, record.partition, row, operator_signals.mark_signal(row, signal))
        return decision

    def apply_operator_signal(
        self, outputs: Outputs, record: Record, row: Row, signal: Signal
    ) -> operator_signals.OperatorDecision | None:
        """Decide on an operator signal and write the new row; None if the signal does not apply."""
        decision = operator_signals.apply_operator_signal(self.plan, row, signal)
        if decision is not None:
            if decision.row is row:  # an earlier delivery wrote it, perhaps without an acknowledgement so far
                self.rows.rewrite(outputs, record.partition, row)
            else:
                self.rows.join(outputs, record.partition, decision.row)
            log.info("operator action applied", saga=row.id, step=row.step, kind=signal.kind, attempt=signal.attempt)
        return decision

    async def on_refusal(self, outputs: Outputs, record: Record, refusals: Sequence[Refused], tries: int) -> bool:
        """Handle outputs that the broker refused, so that the partition continues. See `stream.Pool`.

        `tries`: how often it was called for this record before. Returns whether the refusals needed handling.
        """
        lost = self.refusals.without_signals(refusals)
        by_topic = {refusal.topic: refusal for refusal in lost}
        if DLQ in by_topic:
            await self.refusals.resend_shortened(outputs, by_topic[DLQ], tries)
        elif ROWS_CHANGELOG in by_topic and tries == 0:
            self.write_row_without_facts(outputs, record, by_topic[ROWS_CHANGELOG])
        elif ROWS_CHANGELOG in by_topic:
            log.error(
                "saga row refused by the broker again, without facts",
                saga=(record.key or b"").decode("utf-8", "replace"),
                reason=str(lost[0]),
            )
        elif lost:
            self.park_onward(outputs, record, lost[0])
        return bool(lost)

    def write_row_without_facts(self, outputs: Outputs, record: Record, refusal: Refused) -> None:
        """Write a parked row that the changelog refused with the facts that it had before.

        The dead letter is published again with the reason. Its redrive resends the original, which has all facts.
        """
        body = parse(record.topic, record.value, record.headers)
        if not isinstance(body, Parked) or (news := saga_row.row_parked(self.plan, body)) is None:
            return
        row = self.rows.get(record.partition, news.id)
        self.rows.join(outputs, record.partition, replace_fields(news, facts=row.facts if row else {}))
        if body.letter.refused_by != ROWS_CHANGELOG:
            reason = GaveUp(refusal, 1).reason
            letter = replace_fields(body.letter, refused_by=ROWS_CHANGELOG, error=type(refusal).__name__, reason=reason)
            outputs.send(DLQ, record.key, record.value, with_letter(record.headers, letter))

    def park_onward(self, outputs: Outputs, record: Record, refusal: Refused) -> None:
        """Park a saga again after an operator action, because the broker refused the request that resulted from it."""
        body = parse(record.topic, record.value, record.headers)
        id = body.letter.id if isinstance(body, Parked) else body.id
        row = self.rows.get(record.partition, id) if id else None
        step = self.plan.step_named(row.step) if row else None
        if row is None or step is None:
            log.error("record refused by the broker", saga=id, reason=str(refusal))
            return
        request, at = saga_row.request_of(row), utc(self.clock())
        gave_up = GaveUp(refusal, 1)
        park(outputs, record, request, step, gave_up, at, at, unsent=encode(request), refused_by=refusal.topic)
