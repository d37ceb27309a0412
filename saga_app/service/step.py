"""The loop of a step: decode a request, recall its saga, decide, act, publish what follows.

    record ── read ──▶ job ── memory.decide ──▶ ACT ── attempts.act ──▶ outcome ── conclude ──▶ next request, row
                │                   │                        │
           dead letter     nothing, or what was         RetryLater: the same again, when the next attempt is due
                           published before             GaveUp: dead letter, or the next compensation

The loop is independent of the plan and of Kafka. Everything it publishes goes through `Outputs`, and the stream layer
finishes a record only when all of its outputs are acknowledged. An exception that leaves the loop crashes the worker,
and the record is read again; therefore invalid messages and errors of external systems are handled here.
"""

from collections.abc import Awaitable, Container
from datetime import datetime
from typing import Any

import structlog

from saga_app.saga import machine
from saga_app.saga.codec import BadMessage, encode
from saga_app.saga.decisions import ACT, Decision, End, Next, Repeat, Resume
from saga_app.saga.messages import Answer
from saga_app.saga.plan import Denied, Outcome, Plan, Step
from saga_app.saga.retry import Deferred
from saga_app.saga.times import between
from saga_app.service import metrics, step_metrics
from saga_app.service.attempts import Attempts
from saga_app.service.dead_letters import PROGRAMMING_ERRORS, GaveUp, Refusals, park
from saga_app.service.fault_injection import FaultInjection, FaultyAttempts
from saga_app.service.headers import headers_for
from saga_app.service.job import Found, Job, Progress
from saga_app.service.kafka.broker_clock import BrokerClock
from saga_app.service.kafka.repartition import forward_if_misplaced
from saga_app.service.memory.effects import Effects
from saga_app.service.memory.effects_memory import EffectsMemory
from saga_app.service.memory.initiator_memory import InitiatorMemory
from saga_app.service.memory.memory import Memory
from saga_app.service.memory.rows import Rows
from saga_app.service.record import Outputs, Record
from saga_app.service.refused_requests import RefusedRequests
from saga_app.service.request_reader import RequestReader
from saga_app.service.step_run import StepRun
from saga_app.service.world import World
from saga_app.stream import RetryLater
from saga_app.stream.consume.eager import Eager
from saga_app.stream.consume.run import Run
from saga_app.stream.table.key_lock import KeyLock

log = structlog.get_logger()


class StepLoop:
    """Runs one step of a saga for every request on its topic.

    `kept`: the saga rows, at the initiator; the rows of the table `effects`, at the other services.
    `other_topics`: the topics of the cluster, for sagas that began with another plan.
    `broker_clock`: the offset between the broker's clock and the local one; without it, the offset is taken to be 0.
    """

    def __init__(
        self,
        plan: Plan,
        step: Step,
        world: World,
        partitions: int,
        kept: Rows | Effects,
        refusals: Refusals | None = None,
        broker_clock: BrokerClock | None = None,
        faults: FaultInjection | None = None,
        other_topics: Container[str] = (),
    ) -> None:
        self.plan, self.step, self.world, self.partitions = plan, step, world, partitions
        self.refusals = refusals or Refusals()
        self.kept, self.is_initiator = kept, isinstance(kept, Rows)
        self.memory: Memory = (
            InitiatorMemory(plan, step, kept, world)
            if isinstance(kept, Rows)
            else EffectsMemory(plan, step, kept, world)
        )
        self.reader = RequestReader(
            plan,
            is_first_step=step is plan.steps[0],
            is_initiator=self.is_initiator,
            broker_clock=broker_clock,
            other_topics=other_topics,
        )
        self.compensates = bool(plan.compensated_by(step.topic))
        recorded_by = kept if isinstance(kept, Effects) and self.memory.is_recorded else None
        self.attempts = (
            FaultyAttempts(step, world, recorded_by, faults) if faults else Attempts(step, world, recorded_by)
        )
        self.counts = step_metrics.STEPS.of(step.name)
        self.acknowledgement_seconds = metrics.ACKNOWLEDGEMENT_SECONDS.labels(step.name)
        self.on_refusal = RefusedRequests(self).on_refusal
        self.log = log.bind()  # bound once: structlog would otherwise bind it for each event
        self._run: Outputs | None = None
        self._run_at = world.now()

    async def handle(
        self, outputs: Outputs, _batch: Any, record: Record, progress: Progress | None = None
    ) -> RetryLater | None:
        """Process one record until its outputs are sent, or until it has to wait for its next attempt.

        `progress`: the state of earlier attempts; None for a new record. Returns None when all outputs were handed
        over, and a `RetryLater` with the state for the next call otherwise. Each call checks again whether there is
        work to do, because the saga may have been cancelled in the meantime.
        """
        job = self.read(outputs, record, progress)
        if job is None or self.is_forwarded(job):
            return None
        lock = self.lock(job)
        if not lock.take():
            job.waits()
            await lock.wait()
        try:
            return await self.guarded(job, self.work(job))
        finally:
            lock.release()

    async def handle_run(self, run: Run) -> None:
        """Process the records of a run that need not wait, stage by stage. The others are left to `handle`."""
        await StepRun(self, run).handle()

    @property
    def may_run(self) -> bool:
        """Whether requests can be processed as a run: no compensation, no recorded result, and the clock of the broker
        is known if the step starts sagas.
        """
        return not self.compensates and not self.memory.is_recorded and self.reader.knows_start

    async def guarded(self, job: Job, work: Awaitable[RetryLater | None]) -> RetryLater | None:
        """Wait for work on a job. A bug parks the record."""
        try:
            return await work
        except PROGRAMMING_ERRORS as error:
            self.park_after_bug(job, error)
            return None

    def park_after_bug(self, job: Job, error: Exception) -> None:
        """Park the record of a job that raised an error which only bugs raise."""
        place = {"saga": job.request.id, "step": self.step.name, "offset": job.record.offset}
        log.error("record failed", **place, exc_info=error)
        self.park(job, GaveUp(error, job.progress.attempt))

    def read(self, outputs: Outputs, record: Record, progress: Progress | None, number: int = 0) -> Job | None:
        """Decode a record. None if it is unreadable, and sent to the `dlq`: no content may stop its partition.

        `number`: of the record in its run.
        """
        run_at = self.run_time(outputs)
        progress = progress or Progress(1, False, run_at, None)
        try:
            return self.job(outputs, record, progress, run_at, number)
        except Exception as error:
            park(outputs, record, None, self.step, GaveUp(error, 1), progress.received_at, run_at)
            return None

    def job(self, outputs: Outputs, record: Record, progress: Progress, run_at: datetime, number: int = 0) -> Job:
        """Decode a record. Raises `BadMessage`."""
        headers = record.headers
        request = self.reader.read(record, headers, progress.received_at)
        return Job(outputs, record, headers, request, progress, run_at, number)

    def run_time(self, outputs: Outputs) -> datetime:
        """When the run began to which these outputs belong: one reading of the clock for all of its records."""
        if outputs is not self._run:
            self._run, self._run_at = outputs, self.world.now()
        return self._run_at

    def now(self, job: Job) -> datetime:
        """The current time; that of its run, as long as a job has not had to wait."""
        return job.run_at or self.world.now()

    def is_forwarded(self, job: Job) -> bool:
        """Whether its record is on another partition than that of its saga, and was therefore forwarded."""
        return forward_if_misplaced(job.outputs, job.record, job.request.id, self.partitions)

    def lock(self, job: Job) -> KeyLock:
        """The lock of its saga."""
        return self.kept.lock(*job.place)

    async def work(self, job: Job) -> RetryLater | None:
        """Recall, decide, act, conclude. The caller holds the lock of the saga."""
        if not self.must_act(job):
            return None
        if self.compensates:
            job.waits()
            await self.memory.begin_compensation(job)
        if not self.reader.knows_start:
            job.waits()
            await self.memory.correct_start(job, self.reader)
        if lag := self.lag(job):
            return lag
        if self.memory.needs_intent and not job.progress.begun:
            job.waits()
            await self.memory.record_intent(job)
        if done := self.memory.unneeded(job):
            return await self.finish(job, done)
        return await self.finish_attempt(job, self.act(job))

    def must_act(self, job: Job) -> bool:
        """Whether the step must act. Otherwise the request is finished: absorbed, repeated, resumed or parked."""
        try:
            decision = self.memory.decide(job)
        except BadMessage as error:
            self.give_up(job, GaveUp(error, 1))
            return False
        if decision is ACT:
            return True
        self.carry_out(job, decision)
        return False

    def carry_out(self, job: Job, decision: Decision) -> None:
        """Finish a request for which the step must not act: absorb it, or publish again what follows from it."""
        if isinstance(decision, Repeat):
            return self.proceed(job, decision.answer)
        if isinstance(decision, Resume):
            self.send(job, decision.onward, decision.at)
        return self.count_duplicate(job)

    def lag(self, job: Job) -> RetryLater | None:
        """The injected lag before the attempt, if any. The row is written first, because the saga waits."""
        if job.progress.started_at is None:
            job.progress.started_at = self.now(job)
        if lag := self.attempts.lag(job):
            self.memory.waits(job)
            job.progress.ready = True
            return RetryLater(lag, job.progress)
        return None

    def act(self, job: Job) -> Eager[Found]:
        """Begin an attempt, and complete it if it need not wait."""
        return Eager(self.attempts.act(job))

    async def finish_attempt(self, job: Job, attempt: Eager[Found]) -> RetryLater | None:
        """Wait for the result of an attempt, and do what follows from it."""
        if attempt.waits:
            job.waits()
            self.memory.waits(job)
        return await self.finish(job, await attempt)

    async def finish_waiting(
        self, job: Job, attempt: Eager[Found], lock: KeyLock, outputs: Outputs
    ) -> RetryLater | None:
        """Finish an attempt of a run that has to wait, with outputs of its own; then unlock its saga."""
        try:
            job.outputs, job.number = outputs, 0
            return await self.guarded(job, self.finish_attempt(job, attempt))
        finally:
            lock.release()

    async def finish(self, job: Job, found: Found) -> RetryLater | None:
        """Publish what follows from the result of a step, return or store its next attempt, or give up; then remove the
        stored request, if any.
        """
        had_no_effect = False
        if isinstance(found, RetryLater):
            self.memory.waits(job)
            if not self.memory.can_delay(job):
                return found
            await self.memory.delay(job, found)
            return None
        if isinstance(found, GaveUp):
            had_no_effect = job.progress.begun and job.progress.certain and isinstance(found.error, Deferred)
            self.give_up(job, found)
        else:
            answer = self.answer(job, found)
            if self.memory.is_recorded:
                with self.acknowledgement_seconds.time():
                    await self.memory.record_result(job, answer)
            self.proceed(job, answer)
        await self.memory.remove_delayed_request(job, had_no_effect)
        return None

    def answer(self, job: Job, outcome: Outcome) -> Answer:
        """The outcome of a step as an entry of the history."""
        progress = job.progress
        return machine.answer_of(
            self.step, outcome, progress.attempt, progress.received_at, job.began_at, self.now(job)
        )

    def give_up(self, job: Job, gave_up: GaveUp) -> None:
        """Park the request. For a compensation, record the failure and continue with the remaining compensations."""
        if not machine.is_compensating(job.request):
            self.memory.waits(job)
            return self.park(job, gave_up)
        denied = Denied(f"{type(gave_up.error).__name__}: {gave_up.error}")
        received_at, now = job.progress.received_at, self.now(job)
        answer = machine.answer_of(self.step, denied, gave_up.attempts, received_at, job.began_at, now, failed=True)
        return self.proceed(job, answer)

    def park(self, job: Job, gave_up: GaveUp) -> None:
        """Send the record to the `dlq`."""
        park(job.outputs, job.record, job.request, self.step, gave_up, job.progress.received_at, self.now(job))

    def proceed(self, job: Job, answer: Answer) -> None:
        """Publish the request for the next step and write the row, or write how the saga ended."""
        if self.conclude(job, answer) and self.advance(job):
            self.send_on(job)

    def conclude(self, job: Job, answer: Answer) -> bool:
        """Decide where the saga goes. False if the request is parked, because nothing follows."""
        visit = answer.visit
        self.counts.add(visit.outcome, between(visit.received_at, visit.ended_at))
        job.answer, job.after = answer, machine.next_after(job.request, self.step, answer)
        if isinstance(job.after, End) and not self.is_initiator:  # a slip that another client has written
            problem = f"nothing follows {self.step.name}, and only {self.plan.initiator} ends a saga"
            self.park(job, GaveUp(BadMessage(f"slip: {problem}"), 1))
            return False
        return True

    def advance(self, job: Job) -> bool:
        """Write where the saga is. False if it was cancelled in the meantime, so that nothing may follow."""
        assert job.answer is not None
        assert job.after is not None
        if self.memory.advance(job, job.after, job.answer.visit.ended_at):
            return True
        self.count_duplicate(job)
        return False

    def send_on(self, job: Job) -> bool:
        """Publish the request for the next step, if any. Returns False: no stage follows (see `StepRun`)."""
        assert job.answer is not None
        visit = job.answer.visit
        if isinstance(job.after, Next):
            self.send(job, job.after, visit.ended_at)
        self.log.debug(
            "step finished", saga=job.request.id, step=self.step.name, outcome=visit.outcome, attempts=visit.attempts
        )
        return False

    def send(self, job: Job, onward: Next, at: datetime) -> None:
        """Publish a request."""
        headers = headers_for(onward.message, onward.topic, self.step.service, at, job.headers)
        key, partition = onward.message.id.encode(), job.record.partition  # the same in all topics
        job.outputs.send(onward.topic, key, encode(onward.message), headers, partition)

    def count_duplicate(self, job: Job) -> None:
        """Count a request that is ignored, because it is a duplicate or its step must not act any more."""
        metrics.DUPLICATES.labels(job.record.topic).inc()
        log.debug("duplicate absorbed", saga=job.request.id, step=self.step.name, offset=job.record.offset)
