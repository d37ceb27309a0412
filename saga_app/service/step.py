"""The loop of a step: decode a request, act, publish what follows, or park the request as a dead letter.

The loop is independent of the plan and of Kafka. Everything it publishes goes through `Outputs`, and the stream layer
finishes a record only when all of its outputs are acknowledged. An exception that leaves the loop crashes the worker,
and the record is read again; therefore invalid messages and errors of external systems are handled here.
"""

from collections.abc import Container, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime
from typing import Any

import structlog

from saga_app.saga import machine
from saga_app.saga.codec import BadMessage, decode_request, encode, replace_fields
from saga_app.saga.messages import DLQ, Answer, Message, Row
from saga_app.saga.messages import Effects as Remembered
from saga_app.saga.plan import Denied, Done, Outcome, Plan, Step
from saga_app.saga.retry import Deferred
from saga_app.saga.times import between, record_time, utc
from saga_app.service import metrics
from saga_app.service.attempts import Attempts, Progress
from saga_app.service.dead_letters import PROGRAMMING_ERRORS, GaveUp, Refusals, park
from saga_app.service.fault_injection import FaultInjection, FaultyAttempts
from saga_app.service.headers import headers_for
from saga_app.service.kafka.broker_clock import BrokerClock
from saga_app.service.kafka.repartition import forward_if_misplaced
from saga_app.service.memory import delayed_requests
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.rows import Rows
from saga_app.service.record import LOG_APPEND_TIME, Outputs, Record
from saga_app.service.world import World
from saga_app.stream import Refused, RetryLater
from saga_app.stream.consume.eager import Eager

log = structlog.get_logger()

#: The possible outcomes of a step.
OUTCOMES = ("done", "denied", "failed")

#: The row of a service without a table `effects`.
NO_EFFECTS = Remembered(v=1, id="-")


class StepLoop:
    """Runs one step of a saga for every request on its topic.

    `rows`: the saga rows, at the initiator only. `effects`: the rows of the table `effects`, at the other services.
    `other_topics`: the topics of the cluster, for sagas that began with another plan.
    `broker_clock`: the offset between the broker's clock and the local one; without it, the offset is taken to be 0.
    """

    def __init__(
        self,
        plan: Plan,
        step: Step,
        world: World,
        partitions: int,
        rows: Rows | None = None,
        effects: Effects | None = None,
        refusals: Refusals | None = None,
        broker_clock: BrokerClock | None = None,
        faults: FaultInjection | None = None,
        other_topics: Container[str] = (),
    ) -> None:
        self.plan, self.step, self.world, self.partitions = plan, step, world, partitions
        self.refusals = refusals or Refusals()
        self.rows, self.effects, self.broker_clock = rows, effects, broker_clock
        self.other_topics = other_topics
        self.is_first_step = step is plan.steps[0]
        self.compensated_steps = plan.compensated_by(step.topic)
        self.is_recorded = effects is not None and step.noted and not world.is_idempotent(step.name)
        self.recorded_steps = [
            compensated.name
            for compensated in self.compensated_steps
            if compensated.noted and not world.is_idempotent(compensated.name)
        ]
        self.needs_intent = self.is_recorded and step.undo is not None
        recorded_by = effects if self.is_recorded else None
        self.attempts = (
            FaultyAttempts(step, world, recorded_by, faults) if faults else Attempts(step, world, recorded_by)
        )
        self.step_seconds = metrics.STEP_SECONDS.labels(step.name)
        self.acknowledgement_seconds = metrics.ACKNOWLEDGEMENT_SECONDS.labels(step.name)
        self.outcomes = {outcome: metrics.STEPS.labels(step.name, outcome) for outcome in OUTCOMES}
        self.log = log.bind()  # bound once: structlog would otherwise bind it for each event

    async def handle(
        self, outputs: Outputs, _batch: Any, record: Record, progress: Progress | None = None
    ) -> RetryLater | None:
        """Process one record until its outputs are sent, or until it has to wait for its next attempt.

        `progress`: the state of earlier attempts; None for a new record. Returns None when the record is finished, or a
        `RetryLater` with the state for the next call. Each call checks again whether there is work to do, because the
        saga may have been cancelled in the meantime.
        """
        now = progress or Progress(1, False, self.world.now(), None)
        try:
            request = self.read(record, now.received_at)
        except Exception as error:  # no content of a record may stop its partition
            park(outputs, record, None, self.step, GaveUp(error, 1), now.received_at, self.world.now())
            return None
        if forward_if_misplaced(outputs, record, request.id, self.partitions):
            return None
        memory = self.rows or self.effects
        try:
            async with memory.lock(record.partition, request.id) if memory else nullcontext():
                return await self.work(outputs, record, request, now)
        except PROGRAMMING_ERRORS as error:  # a bug that one record triggers must not stop its partition
            log.exception("record failed", saga=request.id, step=self.step.name, offset=record.offset)
            park(outputs, record, request, self.step, GaveUp(error, now.attempt), now.received_at, self.world.now())
            return None

    async def work(self, outputs: Outputs, record: Record, request: Message, now: Progress) -> RetryLater | None:
        """Process one request. The caller holds the lock of its saga."""
        remembered = self.recall(outputs, record, request, now)
        if remembered is None:
            return None
        if self.compensated_steps:
            await self.record_tombstones(outputs, record, request)
        if self.is_first_step and self.broker_clock is not None and not self.broker_clock.known:
            await self.start_by_broker_clock(outputs, record, request, now)
        now = now if now.started_at else self.begin(record, request, remembered, now)
        if lag := self.attempts.lag(request, now):
            self.write_waiting_row(outputs, record, request)
            return RetryLater(lag, now._replace(ready=True))
        if self.needs_intent and not now.begun:
            await self.record_intent(outputs, record, request)
            now = now._replace(begun=True)
        acting = Eager(self.act(outputs, request, remembered, now))
        if acting.waits:
            self.write_waiting_row(outputs, record, request)
        found = await acting
        if isinstance(found, RetryLater):
            self.write_waiting_row(outputs, record, request)
            if self.effects is None or not self.step.retry.leaves(now.attempt):
                return found
            await self.delay(outputs, record, request, found)
        else:
            await self.conclude(outputs, record, request, found, now)
        return None

    def recall(self, outputs: Outputs, record: Record, request: Message, now: Progress) -> Remembered | None:
        """The effects recorded for the saga, if there is work to do for this request; otherwise None.

        A duplicate is absorbed here. If its result is recorded already, the next request is sent again.
        """
        row = self.rows.get(record.partition, request.id) if self.rows else None
        if row is not None:
            if not self.is_new_work(outputs, record, request, row):
                self.count_duplicate(record, request)
                return None
            if self.is_first_step:
                request.started_at = row.started_at  # the start does not change when the record is redelivered
        try:
            remembered = self.effects.get(record.partition, request.id) if self.effects else NO_EFFECTS
        except BadMessage as error:
            self.give_up(outputs, record, request, GaveUp(error, 1), now)
            return None
        if self.step.name in remembered.undone:
            self.count_duplicate(record, request)
            return None
        if answer := remembered.answers.get(self.step.name):  # the next request may not have been sent
            self.proceed(outputs, record, request, answer)
            return None
        if (
            delayed_requests.decide(remembered.waiting.get(self.step.name), record, request)
            is delayed_requests.Decision.ABSORB
        ):
            self.count_duplicate(record, request)
            return None
        return remembered

    def begin(self, record: Record, request: Message, remembered: Remembered, now: Progress) -> Progress:
        """The state for the first attempt of a new request, or for the attempt that a delayed request waited for."""
        entry = remembered.waiting.get(self.step.name)
        if entry is not None and delayed_requests.decide(entry, record, request) is delayed_requests.Decision.RESUME:
            return delayed_requests.progress(entry)
        return now._replace(started_at=self.world.now())

    async def delay(self, outputs: Outputs, record: Record, request: Message, later: RetryLater) -> None:
        """Store a request in the table `effects` until its next attempt is due, so that its record is finished.

        The signal of the failed attempt must be acknowledged first, because a redelivery that finds the stored request
        is absorbed and sends no signal. If the broker refuses the signal, the request is delayed nevertheless; if the
        changelog refuses the row, the request is parked.
        """
        progress: Progress = later.state
        with suppress(Refused):
            await outputs.acknowledged()
        if self.effects is not None:
            entry = delayed_requests.entry(record, request, progress, self.world.clock() + later.seconds)
            place = record.partition, request.id, self.step.name
            self.effects.record_delayed_request(
                outputs, *place, entry, had_no_effect=progress.begun and progress.certain
            )

    async def conclude(
        self, outputs: Outputs, record: Record, request: Message, found: Outcome | GaveUp, now: Progress
    ) -> None:
        """Publish the result of a step, or give up; then remove the stored request if it was delayed."""
        if isinstance(found, GaveUp):
            self.give_up(outputs, record, request, found, now)
            certain = now.begun and now.certain and isinstance(found.error, Deferred)
            return await self.remove_delayed_request(outputs, record, request, certain)
        began_at = now.started_at or now.received_at
        answer = machine.answer_of(self.step, found, now.attempt, now.received_at, began_at, self.world.now())
        if self.is_recorded and self.effects is not None:
            self.effects.record_result(outputs, record.partition, request.id, self.step.name, answer)
            with self.acknowledgement_seconds.time():
                await outputs.acknowledged()  # a repeated call could have another result
        self.proceed(outputs, record, request, answer)
        return await self.remove_delayed_request(outputs, record, request)

    async def remove_delayed_request(
        self, outputs: Outputs, record: Record, request: Message, had_no_effect: bool = False
    ) -> None:
        """Remove the stored request, if any, after all other outputs are acknowledged.

        Until then a redelivery of the request needs it. `had_no_effect`: the attempts certainly had no effect, so that
        the intent record is removed as well.
        """
        if self.effects is None:
            return
        if had_no_effect or self.step.name in self.effects.get(record.partition, request.id).waiting:
            await outputs.acknowledged()
            self.effects.remove_delayed_request(outputs, record.partition, request.id, self.step.name, had_no_effect)

    def give_up(self, outputs: Outputs, record: Record, request: Message, gave_up: GaveUp, since: Progress) -> None:
        """Park the request. For a compensation, record the failure and continue with the remaining compensations."""
        now = self.world.now()
        if not machine.is_compensating(request):
            self.write_waiting_row(outputs, record, request)
            return park(outputs, record, request, self.step, gave_up, since.received_at, now)
        denied = Denied(f"{type(gave_up.error).__name__}: {gave_up.error}")
        began_at = since.started_at or since.received_at
        answer = machine.answer_of(self.step, denied, gave_up.attempts, since.received_at, began_at, now, failed=True)
        return self.proceed(outputs, record, request, answer)

    async def on_refusal(self, outputs: Outputs, record: Record, refusals: Sequence[Refused], tries: int) -> bool:
        """Park a record whose outputs the broker refused, so that its partition continues. See `stream.Pool`.

        `tries`: how often it was called for this record before. Returns whether the record was parked.
        """
        lost = self.refusals.without_signals(refusals)
        if letter := next((refusal for refusal in lost if refusal.topic == DLQ), None):
            await self.refusals.resend_shortened(outputs, letter, tries)
        elif lost:
            self.park_refused(outputs, record, lost[0])
        if lost:
            with suppress(BadMessage, Refused):  # unreadable; or refused again, then the pool calls again
                await self.remove_delayed_request(outputs, record, self.read(record, self.world.now()))
        return bool(lost)

    def park_refused(self, outputs: Outputs, record: Record, refusal: Refused) -> None:
        """Park the saga: at the next step if its row waits for that step already, otherwise at this one."""
        now, step, unsent = self.world.now(), self.step, None
        try:
            request = self.read(record, now)
        except BadMessage:
            request = None
        row = self.rows.get(record.partition, request.id) if self.rows and request else None
        if row and request and (onward := machine.resume_after(self.plan, row, request)):
            step, unsent = self.plan.on(onward.topic) or step, encode(onward.message)
        gave_up = GaveUp(refusal, 1)
        park(outputs, record, request, step, gave_up, now, now, unsent=unsent, refused_by=refusal.topic)

    def count_duplicate(self, record: Record, request: Message) -> None:
        """Count a request that is ignored, because it is a duplicate or its step must not act any more."""
        metrics.DUPLICATES.labels(record.topic).inc()
        log.debug("duplicate absorbed", saga=request.id, step=self.step.name, offset=record.offset)

    async def record_tombstones(self, outputs: Outputs, record: Record, request: Message) -> None:
        """Keep the compensated steps from acting later.

        The tombstones are acknowledged before the compensation acts, because the request of a step may be read after
        that of its compensation. The initiator has no tombstones: its saga row shows the rollback.
        """
        if self.effects is not None:
            for step in self.compensated_steps:
                self.effects.record_tombstone(outputs, record.partition, request.id, step.name)
        self.write_waiting_row(outputs, record, request)
        await outputs.acknowledged()

    async def record_intent(self, outputs: Outputs, record: Record, request: Message) -> None:
        """Record that a step begins whose effect cannot be reversed.

        If the worker crashes during the step, the intent record shows its compensation that the step may have acted.
        """
        if self.effects is not None:
            self.effects.record_intent(outputs, record.partition, request.id, self.step.name)
        await outputs.acknowledged()

    def read(self, record: Record, now: datetime) -> Message:
        """Decode and validate the request. `now`: when this worker received it. Raises `BadMessage`."""
        message = decode_request(record.value, record.headers)
        requested_at = self.requested_at(record, now) if self.is_first_step else now
        request = machine.admit(self.plan, record.topic, message, requested_at, self.other_topics)
        return request if self.rows is None else machine.with_plausible_start(request, now)

    def requested_at(self, record: Record, now: datetime) -> datetime:
        """When a client requested the saga: the record's timestamp, converted to the local clock, at most `now`.

        The duration of a saga therefore includes the time that its request waited in the topic.
        """
        clock = self.broker_clock
        if clock is None or record.timestamp_type != LOG_APPEND_TIME:
            return utc(record_time(record.timestamp, now.timestamp()))
        return utc(record_time(record.timestamp, now.timestamp(), clock.ahead_s)) if clock.known else now

    async def start_by_broker_clock(self, outputs: Outputs, record: Record, request: Message, now: Progress) -> None:
        """Set the start of a saga while the offset of the broker's clock is unknown, as it is when a worker starts.

        The acknowledgement of the row measures the offset. Until then the saga starts now, so that it cannot be
        overdue; afterwards its start is corrected to include the time that its request waited in the topic.
        """
        self.write_waiting_row(outputs, record, request)
        await outputs.acknowledged()
        row = self.rows.get(record.partition, request.id) if self.rows else None
        started_at = self.requested_at(record, now.received_at)
        if self.rows and row and started_at < row.started_at:
            self.rows.write_if_changed(outputs, record.partition, row, replace_fields(row, started_at=started_at))
            request.started_at = started_at

    def is_new_work(self, outputs: Outputs, record: Record, request: Message, row: Row) -> bool:
        """Whether the step has to act for this request, judged by the saga row.

        If the row is one step further, its next request may not have been sent, and is sent again.
        """
        if self.is_first_step and is_second_request(row, request, record):
            same = (request.user, request.idempotency) == (row.user, row.idempotency)
            reason = "repeated" if same else "id-taken"
            metrics.SECOND_REQUESTS.labels(reason).inc()
            place = {"partition": record.partition, "offset": record.offset}
            # Producers without idempotence repeat many requests; only a request after a rollback needs attention.
            report = log.debug if same and row.state in ("running", "completed") else log.info
            report("second request ignored", saga=row.id, reason=reason, state=row.state, **place)
            return False
        if machine.is_past(row, request):
            return False
        if onward := machine.resume_after(self.plan, row, request):
            self.send_on(outputs, record, onward, row.updated_at)
            return False
        return True

    def write_waiting_row(self, outputs: Outputs, record: Record, request: Message) -> None:
        """Write that the saga waits for this step. Not needed if the result is written at once."""
        if self.rows is not None:
            news = machine.row_waiting_for(self.plan, record.topic, request, self.world.now())
            self.rows.join(outputs, record.partition, self.with_origin(news, record))

    def with_origin(self, news: Row, record: Record) -> Row:
        """The row, with the position of this record as its origin if the record started the saga."""
        if self.is_first_step:
            news.origin = origin(record)
        return news

    async def act(
        self, outputs: Outputs, request: Message, remembered: Remembered, now: Progress
    ) -> Outcome | GaveUp | RetryLater:
        """Make one attempt. A compensation is skipped if the effects show that none of its steps has acted."""
        if self.recorded_steps and not any(may_have_acted(remembered, name) for name in self.recorded_steps):
            return Done(remark=f"nothing to compensate: {', '.join(self.recorded_steps)} was not done")
        return await self.attempts.act(outputs, request, now)

    def proceed(self, outputs: Outputs, record: Record, request: Message, answer: Answer) -> None:
        """Publish the request for the next step and write the row, or write how the saga ended."""
        done = answer.visit
        self.outcomes[done.outcome].inc()
        self.step_seconds.observe(between(done.received_at, done.ended_at))
        row = self.rows.get(record.partition, request.id) if self.rows else None
        if row is not None and self.was_cancelled(row, request):
            return self.count_duplicate(record, request)
        after = machine.next_after(request, self.step, answer)
        if isinstance(after, machine.Next):
            self.send_on(outputs, record, after, done.ended_at)
        elif self.rows is None:  # a slip that another client has written
            error = BadMessage(
                f"slip: nothing follows {self.step.name}, and only {self.plan.steps[0].service} ends a saga"
            )
            return park(outputs, record, request, self.step, GaveUp(error, 1), done.received_at, done.ended_at)
        if self.rows is not None:
            news = self.with_origin(self.row_after(after, done.ended_at), record)
            self.rows.advance(outputs, record.partition, row, news)
        self.log.debug(
            "step finished", saga=request.id, step=self.step.name, outcome=done.outcome, attempts=done.attempts
        )
        return None

    def row_after(self, after: machine.Next | machine.End, at: datetime) -> Row:
        """The row of a saga that waits for its next step, or has ended; `at`: the current time."""
        if isinstance(after, machine.Next):
            return machine.row_waiting_for(self.plan, after.topic, after.message, at)
        return machine.row_ended(after, at)

    def send_on(self, outputs: Outputs, record: Record, onward: machine.Next, at: datetime) -> None:
        """Publish the request for the next step."""
        headers = headers_for(onward.message, onward.topic, self.step.service, at, record.headers)
        outputs.send(onward.topic, onward.message.id.encode(), encode(onward.message), headers)

    def was_cancelled(self, row: Row, request: Message) -> bool:
        """Whether an operator cancelled the saga while the step acted. Its compensation is requested already."""
        return machine.is_rolling_back(row) and not machine.is_compensating(request)


def origin(record: Record) -> tuple[int, int]:
    """Partition and offset of the record that started a saga."""
    return record.partition, record.offset


def is_second_request(row: Row, request: Message, record: Record) -> bool:
    """Whether a request on the first topic is a second one for an existing saga, which is ignored.

    It is if the user differs, or if it is a first attempt in another record than the saga's origin. A row created from
    a dead letter has no origin. A later attempt is a redrive of the same saga.
    """
    if request.user != row.user:
        return True
    return request.attempt == 1 and row.origin is not None and row.origin != origin(record)


def may_have_acted(remembered: Remembered, step: str) -> bool:
    """Whether a step with recorded results was done, or began without a recorded result."""
    answer = remembered.answers.get(step)
    return step in remembered.begun if answer is None else answer.visit.outcome == "done"
