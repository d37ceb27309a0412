"""The attempts of a step: each in its time, so many at once, each failed one told with the time of the next."""

import asyncio
from typing import NamedTuple

import structlog

from saga_app.saga.messages import SIGNALS, Message, Signal, encode
from saga_app.saga.plan import Outcome, Step
from saga_app.saga.retry import Deferred
from saga_app.saga.times import epoch, iso
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
    """What a record has been through when its time comes again; not known to anybody else, and forgotten in a crash."""

    attempt: int  #: the one that is next
    ready: bool  #: whether the mock world has taken its time for it
    received_at: str
    started_at: str
    begun: bool = False  #: whether this run has recorded in the table that the step begins
    certain: bool = True  #: whether its failed attempts certainly had no effect


class Attempts:
    """Asks the outside world: one attempt each time; `step.retry` says when the next one is, or that there is none.

    `effects` tells whether the saga is still ours before something is done that cannot be unmade.
    """

    def __init__(self, step: Step, world: World, effects: Effects | None) -> None:
        self.step, self.world = step, world
        self.effects = effects if step.noted else None
        self.room = asyncio.Semaphore(step.at_once) if step.at_once else None

    def lag(self, request: Message, now: Progress) -> float:
        """How long the attempt has to wait before it acts, in seconds."""
        return 0.0

    async def act(self, outputs: Outputs, request: Message, now: Progress) -> Outcome | GaveUp | RetryLater:
        """The outcome; or when to go on with what `Progress`. A failed attempt that is followed by one is a signal."""
        try:
            return await self.attempt(request, now.attempt)
        except Fenced:
            raise
        except Exception as error:  # a bug in a step parks its saga, it does not stop the others
            metrics.FAILURES.labels(self.step.name, type(error).__name__).inc()
            dice = self.world.dice(request.key(self.step.name), "retry", now.attempt)
            delay = self.step.retry.delay(now.attempt, error, dice)
            if delay is None:
                return GaveUp(error, now.attempt)
            self.signal(outputs, request, now.attempt, delay, error)
            certain = now.certain and isinstance(error, Deferred)
            return RetryLater(delay, now._replace(attempt=now.attempt + 1, ready=False, certain=certain))

    async def attempt(self, request: Message, number: int) -> Outcome:
        """One attempt. Raises what the step raises, TimeoutError, and Fenced: the saga is another worker's by now."""
        if self.room is None:
            return await self.in_time(request)
        async with self.room:
            return await self.in_time(request)

    async def in_time(self, request: Message) -> Outcome:
        """The step, for as long as it may take; what does not wait needs no timer."""
        if self.effects is not None:
            await self.effects.owned()
        try:
            acting = Eager(self.step.act(request, self.world))
            if not acting.waits:
                return await acting
            async with asyncio.timeout(self.step.retry.timeout):
                return await acting
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"no answer within {self.step.retry.timeout:g} s") from None

    def signal(self, outputs: Outputs, request: Message, attempt: int, delay: float, error: BaseException) -> None:
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
        outputs.send(SIGNALS, request.id.encode(), encode(signal), headers_for_signal(signal, self.step.service))
