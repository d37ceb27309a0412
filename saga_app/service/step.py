"""The loop of a step: decode, act, dead-letter, send.

It knows no saga and no Kafka: a record comes in, and what follows is sent by the receipt, which the stream layer waits
for before the record counts as done. What it raises crashes the worker, so that the record comes again: everything that
can be wrong with a message or with the outside world is met here.
"""

from collections.abc import Container, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import structlog

from saga_app.saga import machine
from saga_app.saga.messages import DLQ, Answer, BadMessage, Message, Row, changed, decode_request, encode
from saga_app.saga.messages import Effects as Remembered
from saga_app.saga.plan import Denied, Done, Outcome, Plan, Step
from saga_app.saga.retry import Deferred
from saga_app.saga.times import between, epoch, iso, record_time
from saga_app.service import metrics
from saga_app.service.attempts import Attempts, Progress
from saga_app.service.dead_letters import FAULTS, GaveUp, Refusals, park
from saga_app.service.fault_injection import FaultInjection, FaultyAttempts
from saga_app.service.headers import headers_for
from saga_app.service.kafka.broker_clock import BrokerClock
from saga_app.service.kafka.repartition import misplaced
from saga_app.service.memory import delayed_requests
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.rows import Rows
from saga_app.service.record import LOG_APPEND_TIME, Outputs, Record
from saga_app.service.world import World
from saga_app.stream import Refused, RetryLater
from saga_app.stream.consume.eager import Eager

log = structlog.get_logger()

#: How a step can end.
OUTCOMES = ("done", "denied", "failed")

#: Where nothing is kept.
NOTHING = Remembered(1, "-")


class StepLoop:
    """One step of a saga, run for every request on its topic.

    `rows`: the Provisioner's table, which knows what each saga has come to. `effects`: what another service remembers.
    `other_topics`: the topics of the cluster, for sagas that began by another plan.
    `broker_clock`: how far the clock that stamps the requests is from ours; without one they are taken to agree.
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
        self.begins = step is plan.steps[0]
        self.undoes = plan.compensated_by(step.topic)
        self.unmakes = [undone.name for undone in self.undoes if undone.noted]
        self.intends = effects is not None and step.noted and step.undo is not None
        self.attempts = FaultyAttempts(step, world, effects, faults) if faults else Attempts(step, world, effects)
        self.seconds, self.noted = metrics.SECONDS.labels(step.name), metrics.NOTED.labels(step.name)
        self.outcomes = {outcome: metrics.STEPS.labels(step.name, outcome) for outcome in OUTCOMES}
        self.log = log.bind()  # else it is bound anew for every line, said or not

    async def handle(
        self, outputs: Outputs, _batch: Any, record: Record, progress: Progress | None = None
    ) -> RetryLater | None:
        """One record, from its bytes to everything that it leads to; or until it has to wait for its next attempt.

        Each time it is looked anew whether there is still anything to do: what has come meanwhile counts.
        """
        now = progress or Progress(1, False, self.world.now(), "")
        try:
            request = self.read(record, now.received_at)
        except Exception as error:  # whatever a record holds, it must not stop its partition
            park(outputs, record, None, self.step, GaveUp(error, 1), now.received_at, self.world.now())
            return None
        if misplaced(outputs, record, request.id, self.partitions):
            return None
        memory = self.rows or self.effects
        try:
            async with memory.locked(record.partition, request.id) if memory else nullcontext():
                return await self.work(outputs, record, request, now)
        except FAULTS as error:  # a fault of ours on this record must not stop the others of its partition
            log.exception("record not handled", saga=request.id, step=self.step.name, offset=record.offset)
            park(outputs, record, request, self.step, GaveUp(error, now.attempt), now.received_at, self.world.now())
            return None

    async def work(self, outputs: Outputs, record: Record, request: Message, now: Progress) -> RetryLater | None:
        """One request, while no other of the same saga is worked on here."""
        remembered = self.to_do(outputs, record, request, now)
        if remembered is None:
            return None
        if self.undoes:
            await self.bury(outputs, record, request)
        if self.begins and self.broker_clock is not None and not self.broker_clock.known:
            await self.start_by_broker_clock(outputs, record, request, now)
        now = now if now.started_at else self.begin(record, request, remembered, now)
        if lag := self.attempts.lag(request, now):
            self.note_asked(outputs, record, request)
            return RetryLater(lag, now._replace(ready=True))
        if self.intends and not now.begun:
            await self.intend(outputs, record, request)
            now = now._replace(begun=True)
        finding = Eager(self.find_out(outputs, request, remembered, now))
        if finding.waits:
            self.note_asked(outputs, record, request)
        found = await finding
        if isinstance(found, RetryLater):
            self.note_asked(outputs, record, request)
            if self.effects is None or not self.step.retry.leaves(now.attempt):
                return found
            await self.leave(outputs, record, request, found)
        else:
            await self.conclude(outputs, record, request, found, now)
        return None

    def to_do(self, outputs: Outputs, record: Record, request: Message, now: Progress) -> Remembered | None:
        """What is remembered of the saga, if there is anything to do for this request."""
        row = self.rows.get(record.partition, request.id) if self.rows else None
        if row is not None:
            if not self.take(outputs, record, request, row):
                self.absorbed(record, request)
                return None
            if self.begins:
                request.started_at = row.started_at  # one start, however often this record is read
        try:
            remembered = self.effects.get(record.partition, request.id) if self.effects else NOTHING
        except BadMessage as error:
            self.give_up(outputs, record, request, GaveUp(error, 1), now)
            return None
        if self.step.name in remembered.undone:
            self.absorbed(record, request)
            return None
        if answer := remembered.answers.get(self.step.name):  # it may not have been sent on
            self.proceed(outputs, record, request, answer)
            return None
        if (
            delayed_requests.decide(remembered.waiting.get(self.step.name), record, request)
            is delayed_requests.Decision.ABSORB
        ):
            self.absorbed(record, request)
            return None
        return remembered

    def begin(self, record: Record, request: Message, remembered: Remembered, now: Progress) -> Progress:
        """With which attempt to begin: the first, or the one for which the request has waited."""
        entry = remembered.waiting.get(self.step.name)
        if entry is not None and delayed_requests.decide(entry, record, request) is delayed_requests.Decision.RESUME:
            return delayed_requests.progress(entry)
        return now._replace(started_at=self.world.now())

    async def leave(self, outputs: Outputs, record: Record, request: Message, later: RetryLater) -> None:
        """Let a request wait outside its partition: its row keeps it, and its record is done.

        The signal of the failed attempt is acknowledged before: a redelivery that finds the row is absorbed. Without
        the signal, if the broker refuses it, the request waits all the same. A row that is refused parks the request.
        """
        progress: Progress = later.state
        with suppress(Refused):
            await outputs.acknowledged()
        if self.effects is not None:
            entry = delayed_requests.entry(record, request, progress, self.world.clock() + later.seconds)
            place = record.partition, request.id, self.step.name
            self.effects.waits(outputs, *place, entry, had_no_effect=progress.begun and progress.certain)

    async def conclude(
        self, outputs: Outputs, record: Record, request: Message, found: Outcome | GaveUp, now: Progress
    ) -> None:
        """Answer, or give up. A request that has waited outside its partition does not wait any more."""
        if isinstance(found, GaveUp):
            self.give_up(outputs, record, request, found, now)
            certain = now.begun and now.certain and isinstance(found.error, Deferred)
            return await self.stop_waiting(outputs, record, request, certain)
        answer = machine.answer_of(self.step, found, now.attempt, now.received_at, now.started_at, self.world.now())
        if self.step.noted and self.effects is not None:
            self.effects.answered(outputs, record.partition, request.id, self.step.name, answer)
            with self.noted.time():
                await outputs.acknowledged()  # the world may answer otherwise when it is asked again
        self.proceed(outputs, record, request, answer)
        return await self.stop_waiting(outputs, record, request)

    async def stop_waiting(
        self, outputs: Outputs, record: Record, request: Message, had_no_effect: bool = False
    ) -> None:
        """Remove the entry of a request, if any, after all that follows from it is acknowledged.

        Until then a redelivery of the request needs it. `had_no_effect`: the attempts certainly had no effect.
        """
        if self.effects is None:
            return
        if had_no_effect or self.step.name in self.effects.get(record.partition, request.id).waiting:
            await outputs.acknowledged()
            self.effects.stop_waiting(outputs, record.partition, request.id, self.step.name, had_no_effect)

    def give_up(self, outputs: Outputs, record: Record, request: Message, gave_up: GaveUp, since: Progress) -> None:
        """Park it for somebody to look at; but on the way back the other undos must go on."""
        now = self.world.now()
        if not machine.is_compensating(request):
            self.note_asked(outputs, record, request)
            return park(outputs, record, request, self.step, gave_up, since.received_at, now)
        no = Denied(f"{type(gave_up.error).__name__}: {gave_up.error}")
        began_at = since.started_at or since.received_at
        answer = machine.answer_of(self.step, no, gave_up.attempts, since.received_at, began_at, now, failed=True)
        return self.proceed(outputs, record, request, answer)

    async def on_refusal(self, outputs: Outputs, record: Record, refusals: Sequence[Refused], tries: int) -> bool:
        """The broker refused what this record led to: park it, so that its partition goes on. See `stream.Pool`."""
        lost = self.refusals.lost(refusals)
        if letter := next((refusal for refusal in lost if refusal.topic == DLQ), None):
            await self.refusals.shorten(outputs, letter, tries)
        elif lost:
            self.park_refused(outputs, record, lost[0])
        if lost:
            with suppress(BadMessage, Refused):  # no request; or refused once more, then the pool calls again
                await self.stop_waiting(outputs, record, self.read(record, self.world.now()))
        return bool(lost)

    def park_refused(self, outputs: Outputs, record: Record, refusal: Refused) -> None:
        """The saga waits for somebody; where its row waits for the next step already, it waits there."""
        now, step, instead = self.world.now(), self.step, None
        try:
            request = self.read(record, now)
        except BadMessage:
            request = None
        row = self.rows.get(record.partition, request.id) if self.rows and request else None
        if row and request and (onward := machine.resume_after(self.plan, row, request)):
            step, instead = self.plan.on(onward.topic) or step, encode(onward.message)
        gave_up = GaveUp(refusal, 1)
        park(outputs, record, request, step, gave_up, now, now, instead=instead, refused_by=refusal.topic)

    def absorbed(self, record: Record, request: Message) -> None:
        """A request whose effect is there already, or must not be any more: there is nothing to do."""
        metrics.DUPLICATES.labels(record.topic).inc()
        log.debug("absorbed", saga=request.id, step=self.step.name, offset=record.offset)

    async def bury(self, outputs: Outputs, record: Record, request: Message) -> None:
        """Before an undo: the steps that it undoes must not act any more, though they may come later.

        Acknowledged before anything is taken back: after a restart the step may be read before its undo. Who keeps the
        rows has the saga's own to say so.
        """
        if self.effects is not None:
            for step in self.undoes:
                self.effects.undone(outputs, record.partition, request.id, step.name)
        self.note_asked(outputs, record, request)
        await outputs.acknowledged()

    async def intend(self, outputs: Outputs, record: Record, request: Message) -> None:
        """Note that a step which cannot be unmade begins: if we die in it, its undo must not take it for never done."""
        if self.effects is not None:
            self.effects.begun(outputs, record.partition, request.id, self.step.name)
        await outputs.acknowledged()

    def read(self, record: Record, now: str) -> Message:
        """The request, or `BadMessage`. `now` is when this worker took it (ISO)."""
        message = decode_request(record.value, record.headers)
        asked_at = self.asked_at(record, now) if self.begins else now
        request = machine.admit(self.plan, record.topic, message, asked_at, self.other_topics)
        return request if self.rows is None else machine.with_believable_start(request, now)

    def asked_at(self, record: Record, now: str) -> str:
        """When a client asked for a saga, on our clock and never later than `now`: the wait in the topic counts."""
        clock = self.broker_clock
        if clock is None or record.timestamp_type != LOG_APPEND_TIME:
            return iso(record_time(record.timestamp, epoch(now)))
        return iso(record_time(record.timestamp, epoch(now), clock.ahead_s)) if clock.known else now

    async def start_by_broker_clock(self, outputs: Outputs, record: Record, request: Message, now: Progress) -> None:
        """Set the start of a saga whose request is among the first of a worker, that does not know the broker's clock.

        The acknowledgement of the row tells the broker's time. Until then the saga starts now, so that nothing makes it
        overdue; afterwards with its wait in the topic.
        """
        self.note_asked(outputs, record, request)
        await outputs.acknowledged()
        row = self.rows.get(record.partition, request.id) if self.rows else None
        started_at = self.asked_at(record, now.received_at)
        if self.rows and row and started_at < row.started_at:
            self.rows.mark(outputs, record.partition, row, changed(row, started_at=started_at))
            request.started_at = started_at

    def take(self, outputs: Outputs, record: Record, request: Message, row: Row) -> bool:
        """Whether there is anything to do; not if it is a duplicate, or if what it leads to has been seen already."""
        if self.begins and is_second(row, request, record):
            same = (request.user, request.idempotency) == (row.user, row.idempotency)
            reason = "repeated" if same else "id-taken"
            metrics.SECOND_REQUESTS.labels(reason).inc()
            place = {"partition": record.partition, "offset": record.offset}
            # Producers without idempotence repeat many requests; only one after a rollback needs attention.
            report = log.debug if same and row.state in ("running", "completed") else log.info
            report("second request for a saga ignored", saga=row.id, reason=reason, state=row.state, **place)
            return False
        if machine.is_past(row, request):
            return False
        if onward := machine.resume_after(self.plan, row, request):
            self.send_on(outputs, record, onward, row.updated_at)
            return False
        return True

    def note_asked(self, outputs: Outputs, record: Record, request: Message) -> None:
        """Note that this request is here, and what its saga waits for; needless when the outcome is noted at once."""
        if self.rows is not None:
            news = machine.row_waiting_for(self.plan, record.topic, request, self.world.now())
            self.rows.note(outputs, record.partition, self.stamped(news, record))

    def stamped(self, news: Row, record: Record) -> Row:
        """A row with the place of the record with which its saga began, if this is the one."""
        if self.begins:
            news.origin = origin(record)
        return news

    async def find_out(
        self, outputs: Outputs, request: Message, remembered: Remembered, now: Progress
    ) -> Outcome | GaveUp | RetryLater:
        """What comes of an attempt; an undo of what certainly has not been done need not act."""
        if self.unmakes and not any(may_be_done(remembered, name) for name in self.unmakes):
            return Done(remark=f"nothing to take back: {', '.join(self.unmakes)} was not done")
        return await self.attempts.act(outputs, request, now)

    def proceed(self, outputs: Outputs, record: Record, request: Message, answer: Answer) -> None:
        """Send the saga where it goes next, or note how it has ended."""
        done = answer.visit
        self.outcomes[done.outcome].inc()
        self.seconds.observe(between(done.received_at, done.ended_at))
        row = self.rows.get(record.partition, request.id) if self.rows else None
        if row is not None and self.turned(row, request):
            return self.absorbed(record, request)
        after = machine.next_after(request, self.step, answer)
        if isinstance(after, machine.Next):
            self.send_on(outputs, record, after, done.ended_at)
        elif self.rows is None:  # a slip that nobody of ours has written
            error = BadMessage(
                f"slip: nothing follows {self.step.name}, and only {self.plan.steps[0].service} ends a saga"
            )
            return park(outputs, record, request, self.step, GaveUp(error, 1), done.received_at, done.ended_at)
        if self.rows is not None:
            news = self.stamped(self.news(after, done.ended_at), record)
            self.rows.advance(outputs, record.partition, row, news)
        self.log.debug("step", saga=request.id, step=self.step.name, outcome=done.outcome, attempts=done.attempts)
        return None

    def news(self, after: machine.Next | machine.End, at: str) -> Row:
        """The row of a saga that goes on, or has ended."""
        if isinstance(after, machine.Next):
            return machine.row_waiting_for(self.plan, after.topic, after.message, at)
        return machine.row_ended(after, at)

    def send_on(self, outputs: Outputs, record: Record, onward: machine.Next, at: str) -> None:
        """Ask for the next step."""
        headers = headers_for(onward.message, onward.topic, self.step.service, at, record.headers)
        outputs.send(onward.topic, onward.message.id.encode(), encode(onward.message), headers)

    def turned(self, row: Row, request: Message) -> bool:
        """Whether an operator has turned the saga round while the step acted: its undo is on the way."""
        return machine.is_turned(row) and not machine.is_compensating(request)


def origin(record: Record) -> tuple[int, int]:
    """The place of the record with which a saga began."""
    return record.partition, record.offset


def is_second(row: Row, request: Message, record: Record) -> bool:
    """Whether somebody else's request, or a second one, has the id of a saga that is known: the first one counts.

    A row that was made from a dead letter does not know its origin. A later attempt is the same saga, redriven.
    """
    if request.user != row.user:
        return True
    return request.attempt == 1 and row.origin is not None and row.origin != origin(record)


def may_be_done(remembered: Remembered, step: str) -> bool:
    """Whether a noted step has been done, or has been begun and nobody knows."""
    answer = remembered.answers.get(step)
    return step in remembered.begun if answer is None else answer.visit.outcome == "done"
