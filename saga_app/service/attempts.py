"""The attempts of a step: timeout, limit on concurrency, and a signal for each failed attempt that is retried."""

import asyncio
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from saga_app.saga.codec import encode
from saga_app.saga.messages import SIGNALS, Message, Signal
from saga_app.saga.plan import Outcome, Step
from saga_app.saga.retry import Deferred
from saga_app.service import metrics
from saga_app.service.dead_letters import GaveUp
from saga_app.service.headers import headers_for_signal
from saga_app.service.memory.effects import Effects
from saga_app.service.record import Outputs
from saga_app.service.world import World
from saga_app.stream import Fenced, RetryLater
from saga_app.stream.consume.eager import Eager

log = structlog.get_logger()


class Progress(NamedTuple):
    """The state of a request between attempts. It is kept in memory only, and lost in a crash."""

    attempt: int  #: the number of the next attempt
    ready: bool  #: whether the injected lag of this attempt has passed
    received_at: datetime
    started_at: datetime | None
    begun: bool = False  #: whether this run of attempts has written its intent record
    certain: bool = True  #: whether all failed attempts of this run certainly had no effect


class Attempts:
    """Makes one attempt per call; `step.retry` decides whether and when the next one follows.

    `effects`: for a step whose result is recorded; it is asked before each attempt whether this worker still owns the
    partition.
    """

    def __init__(self, step: Step, world: World, effects: Effects | None) -> None:
        self.step, self.world = step, world
        self.effects = effects
        self.slots = asyncio.Semaphore(step.at_once) if step.at_once else None

    def lag(self, request: Message, now: Progress) -> float:
        """How long the attempt has to wait before it acts, in seconds."""
        return 0.0

    async def act(self, outputs: Outputs, request: Message, now: Progress) -> Outcome | GaveUp | RetryLater:
        """Make one attempt.

        Returns the outcome; a `RetryLater` with the progress for the next attempt, after publishing a signal of the
        failure; or a `GaveUp` if no attempt follows. Raises `Fenced` if another worker owns the partition by now.
        """
        try:
            return await self.attempt(request, now.attempt)
        except Fenced:
            raise
        except Exception as error:  # a bug in a step parks its saga, and must not stop others
            metrics.FAILURES.labels(self.step.name, type(error).__name__).inc()
            dice = self.world.dice(request.key(self.step.name), "retry", now.attempt)
            delay = self.step.retry.delay(now.attempt, error, dice)
            if delay is None:
                return GaveUp(error, now.attempt)
            self.publish_failure(outputs, request, now.attempt, delay, error)
            certain = now.certain and isinstance(error, Deferred)
            return RetryLater(delay, now._replace(attempt=now.attempt + 1, ready=False, certain=certain))

    async def attempt(self, request: Message, number: int) -> Outcome:
        """One attempt, within the limit on concurrency. Raises what the step raises, `TimeoutError`, or `Fenced`."""
        if self.slots is None:
            return await self.call_with_timeout(request)
        async with self.slots:
            return await self.call_with_timeout(request)

    async def call_with_timeout(self, request: Message) -> Outcome:
        """Call the step with its timeout. A step that finishes without waiting does not need a timer."""
        if self.effects is not None:
            await self.effects.wait_until_owned()
        try:
            acting = Eager(self.step.act(request, self.world))
            if not acting.waits:
                return await acting
            async with asyncio.timeout(self.step.retry.timeout):
                return await acting
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"no answer within {self.step.retry.timeout:g} s") from None

    def publish_failure(
        self, outputs: Outputs, request: Message, attempt: int, delay: float, error: BaseException
    ) -> None:
        """Publish and log that an attempt failed, and that the next one is due in `delay` seconds."""
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
            next_at=at + timedelta(seconds=delay),
            reason=GaveUp(error, attempt).reason,
        )
        place = {"saga": request.id, "step": self.step.name, "attempt": attempt}
        log.warning("attempt failed", **place, next_attempt_in_s=round(delay, 3))
        outputs.send(SIGNALS, request.id.encode(), encode(signal), headers_for_signal(signal, self.step.service))
