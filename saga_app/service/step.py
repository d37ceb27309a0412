"""The loop of a step: decode, act, retry, dead-letter, send.

It knows no saga and no Kafka: a record comes in, and what follows is sent by the receipt, which the stream layer waits
for before the record counts as done. What it raises crashes the worker, so that the record comes again: everything that
can be wrong with a message or with the outside world is met here.
"""

import asyncio
from typing import Any

import structlog

from saga_app.saga import machine
from saga_app.saga.messages import SIGNALS, BadMessage, Message, Signal, Visit, decode, encode
from saga_app.saga.steps import Denied, Outcome, Plan, Step
from saga_app.saga.times import epoch, iso
from saga_app.service import metrics
from saga_app.service.deadletters import GaveUp, park
from saga_app.service.headers import headers_for
from saga_app.service.placement import misplaced
from saga_app.service.record import Receipt, Record
from saga_app.service.rows import Rows
from saga_app.service.world import World

log = structlog.get_logger()

#: How long one attempt at a step may take, the mock world's lag not counted (seconds).
ATTEMPT_S = 30.0


class StepLoop:
    """One step of a saga, run for every request on its topic."""

    def __init__(self, plan: Plan, step: Step, world: World, partitions: int, rows: Rows | None = None) -> None:
        self.plan, self.step, self.world, self.partitions, self.rows = plan, step, world, partitions, rows
        self.begins = step is plan.steps[0]

    async def handle(self, receipt: Receipt, _batch: Any, record: Record) -> None:
        """One record, from its bytes to everything that it leads to."""
        received_at = self.world.now()
        try:
            request = self.read(record)
        except BadMessage as error:
            return park(receipt, record, None, self.step, GaveUp(error, 1), received_at, self.world.now())
        if misplaced(receipt, record, request.id, self.partitions):
            return None
        if self.rows is not None and not self.take(receipt, record, request, self.rows):
            metrics.DUPLICATES.labels(record.topic).inc()
            return None
        started_at = self.world.now()
        answer, attempts = await self.act(receipt, request)
        if failed := isinstance(answer, GaveUp):
            if not (request.slip and request.slip.undoing):
                return park(receipt, record, request, self.step, answer, received_at, self.world.now())
            answer = Denied(f"{type(answer.error).__name__}: {answer.error}")  # the other undos must go on
        done = machine.visit(self.step, answer, attempts, received_at, started_at, self.world.now(), failed)
        self.proceed(receipt, record, request, answer, done)
        return None

    def read(self, record: Record) -> Message:
        """The request, or `BadMessage`."""
        message = decode(Message, record.value)
        return machine.admit(self.plan, record.topic, message, iso(record.timestamp / 1000))

    def take(self, receipt: Receipt, record: Record, request: Message, rows: Rows) -> bool:
        """Note that this request is here; False if it is a duplicate, or if what it leads to has been seen already."""
        origin = (record.partition, record.offset) if self.begins else None
        row = rows.get(record.partition, request.id)
        if row is not None:
            if origin and row.origin and origin != row.origin and request.attempt <= row.attempt:
                log.info("duplicate absorbed", saga=request.id, step=self.step.name, offset=record.offset)
                return False
            if machine.passed(row, request):
                return False
        if self.step.lag:  # a step that takes no time has its outcome noted at once
            news = machine.asked(self.plan, record.topic, request, self.world.now())
            news.origin = origin
            rows.note(receipt, record.partition, news)
        return True

    async def act(self, receipt: Receipt, request: Message) -> tuple[Outcome | GaveUp, int]:
        """The outcome and the number of attempts; every failed attempt that is tried again is a signal."""
        attempt = 0
        while True:
            attempt += 1
            try:
                denied = await self.world.pretend(self.step, request, attempt)
                async with asyncio.timeout(ATTEMPT_S):
                    return denied or await self.step.act(request, self.world), attempt
            except Exception as error:  # a bug in a step parks its saga, it does not stop the others
                metrics.FAILURES.labels(self.step.name, type(error).__name__).inc()
                dice = self.world.dice(request.key(self.step.name), "retry", attempt)
                delay = self.step.retry.delay(attempt, error, dice)
                if delay is None:
                    return GaveUp(error, attempt), attempt
                self.signal(receipt, request, attempt, delay, error)
            await self.world.sleep(delay)

    def signal(self, receipt: Receipt, request: Message, attempt: int, delay: float, error: BaseException) -> None:
        """Say that an attempt failed, and when the next one is."""
        at = self.world.now()
        signal = Signal(
            v=1,
            id=request.id,
            saga=request.saga,
            kind="failed",
            step=self.step.name,
            service=self.step.service,
            at=at,
            attempt=attempt,
            attempts=self.step.retry.attempts,
            next_at=iso(epoch(at) + delay),
            reason=GaveUp(error, attempt).reason,
        )
        log.warning("attempt failed", saga=request.id, step=self.step.name, attempt=attempt, next_in_s=round(delay, 3))
        receipt.send(SIGNALS, request.id.encode(), encode(signal))

    def proceed(self, receipt: Receipt, record: Record, request: Message, outcome: Outcome, done: Visit) -> None:
        """Send the saga where it goes next, or note how it has ended."""
        metrics.STEPS.labels(self.step.name, done.outcome).inc()
        metrics.SECONDS.labels(self.step.name).observe(epoch(done.ended_at) - epoch(done.received_at))
        after = machine.following(request, self.step, outcome, done)
        if isinstance(after, machine.Next):
            headers = headers_for(after.message, after.topic, self.step.service, done.ended_at, record.headers)
            receipt.send(after.topic, request.id.encode(), encode(after.message), headers)
            news = machine.asked(self.plan, after.topic, after.message, done.ended_at)
        else:
            news = machine.ended(after, done.ended_at)
        if self.rows is not None:
            self.rows.note(receipt, record.partition, news)
        log.debug("step", saga=request.id, step=self.step.name, outcome=done.outcome, attempts=done.attempts)
