"""The attempts of a step: timeout, limit on concurrency, and a signal for each failed attempt that is retried."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import structlog

from saga_app.saga.codec import encode
from saga_app.saga.messages import SIGNALS, Message, Signal
from saga_app.saga.plan import Outcome, Step
from saga_app.saga.retry import Deferred
from saga_app.service import metrics
from saga_app.service.dead_letters import GaveUp
from saga_app.service.headers import headers_for_signal
from saga_app.service.job import Job
from saga_app.service.memory.effects import Effects
from saga_app.service.world import World
from saga_app.stream import Fenced, RetryLater
from saga_app.stream.consume.eager import Eager

log = structlog.get_logger()


class Attempts:
    """Makes one attempt per call; `step.retry` decides whether and when the next one follows.

    `effects`: for a step whose result is recorded; it is asked before each attempt whether this worker still owns the
    partition.
    """

    def __init__(self, step: Step, world: World, effects: Effects | None) -> None:
        self.step, self.world = step, world
        self.effects = effects
        self.slots = asyncio.Semaphore(step.at_once) if step.at_once else None

    def lag(self, job: Job) -> float:
        """How long the attempt has to wait before it acts, in seconds."""
        return 0.0

    async def act(self, job: Job) -> Outcome | GaveUp | RetryLater:
        """Make one attempt, when the lease and the limit on concurrency allow it.

        Returns the outcome; a `RetryLater` with the progress for the next attempt, after publishing a signal of the
        failure; or a `GaveUp` if no attempt follows. Raises `Fenced` if another worker owns the partition by now.
        """
        if self.slots is not None:
            await self.slots.acquire()
        try:
            if self.effects is not None:
                await self.effects.wait_until_owned()
            acting = self.start(job.request, job.progress.attempt)
            return await self.within_timeout(acting) if acting.waits else acting.result
        except Fenced:
            raise
        except Exception as error:  # a bug in a step parks its saga, and must not stop others
            return self.failed(job, error)
        finally:
            if self.slots is not None:
                self.slots.release()

    def start(self, request: Message, number: int) -> Eager[Outcome]:
        """Call the step, which runs until it has to wait. Raises what it raises until then."""
        return Eager(self.step.act(request, self.world))

    async def within_timeout(self, acting: Eager[Outcome]) -> Outcome:
        """Wait for the result of a step. Raises what the step raises, or `TimeoutError`."""
        try:
            async with asyncio.timeout(self.step.retry.timeout):
                return await acting
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"no answer within {self.step.retry.timeout:g} s") from None

    def failed(self, job: Job, error: Exception) -> GaveUp | RetryLater:
        """Decide what follows a failed attempt, and publish a signal if it is another attempt."""
        now, key = job.progress, job.request.key(self.step.name)
        metrics.FAILURES.labels(self.step.name, type(error).__name__).inc()
        delay = self.step.retry.delay(now.attempt, error, self.world.dice(key, "retry", now.attempt))
        if delay is None:
            return GaveUp(error, now.attempt)
        self.publish_failure(job, delay, error)
        certain = now.certain and isinstance(error, Deferred)
        return RetryLater(delay, replace(now, attempt=now.attempt + 1, ready=False, certain=certain))

    def publish_failure(self, job: Job, delay: float, error: BaseException) -> None:
        """Publish and log that an attempt failed, and that the next one is due in `delay` seconds."""
        at, request, attempt = self.world.now(), job.request, job.progress.attempt
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
        job.outputs.send(SIGNALS, request.id.encode(), encode(signal), headers_for_signal(signal, self.step.service))
