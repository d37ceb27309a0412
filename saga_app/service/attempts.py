"""The attempts of a step: each in its time, so many at once, each failed one told with the time of the next."""

import asyncio

import structlog

from saga_app.saga.messages import SIGNALS, Message, Signal, encode
from saga_app.saga.steps import Outcome, Step
from saga_app.saga.times import epoch, iso
from saga_app.service import metrics
from saga_app.service.deadletters import GaveUp
from saga_app.service.eager import Eager
from saga_app.service.effects import Effects
from saga_app.service.record import Receipt
from saga_app.service.world import World
from saga_app.stream import Fenced

log = structlog.get_logger()


class Attempts:
    """Asks the outside world until it has answered, or until `step.retry` gives up.

    `effects` tells whether the saga is still ours before something is done that cannot be unmade.
    """

    def __init__(self, step: Step, world: World, effects: Effects | None) -> None:
        self.step, self.world = step, world
        self.effects = effects if step.noted else None
        self.room = asyncio.Semaphore(step.at_once) if step.at_once else None

    async def act(self, receipt: Receipt, request: Message) -> tuple[Outcome | GaveUp, int]:
        """The outcome and the number of attempts; every failed attempt that is tried again is a signal."""
        attempt = 0
        while True:
            attempt += 1
            try:
                denied = await self.world.pretend(self.step, request, attempt)
                return denied or await self.attempt(request), attempt
            except Fenced:
                raise
            except Exception as error:  # a bug in a step parks its saga, it does not stop the others
                metrics.FAILURES.labels(self.step.name, type(error).__name__).inc()
                dice = self.world.dice(request.key(self.step.name), "retry", attempt)
                delay = self.step.retry.delay(attempt, error, dice)
                if delay is None:
                    return GaveUp(error, attempt), attempt
                self.signal(receipt, request, attempt, delay, error)
            await self.world.sleep(delay)

    async def attempt(self, request: Message) -> Outcome:
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
