"""What a step does about a record whose outputs the broker refused: the saga is parked, and its partition continues."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from saga_app.saga.codec import BadMessage, encode
from saga_app.saga.messages import DLQ
from saga_app.service.dead_letters import GaveUp, park
from saga_app.service.job import Job, Progress
from saga_app.service.record import Outputs, Record
from saga_app.stream import Refused

if TYPE_CHECKING:
    from saga_app.service.step import StepLoop


class RefusedRequests:
    """Parks the records of one step whose outputs were refused."""

    def __init__(self, loop: "StepLoop") -> None:
        self.loop = loop

    async def on_refusal(self, outputs: Outputs, record: Record, refusals: Sequence[Refused], tries: int) -> bool:
        """Park a record whose outputs the broker refused, so that its partition continues. See `stream.Pool`.

        `tries`: how often it was called for this record before. Returns whether the record was parked.
        """
        lost = self.loop.refusals.without_signals(refusals)
        if not lost:
            return False
        job = self.read_again(outputs, record)
        if letter := next((refusal for refusal in lost if refusal.topic == DLQ), None):
            await self.loop.refusals.resend_shortened(outputs, letter, tries)
        else:
            self.park_refused(outputs, record, job, lost[0])
        if job is not None:
            with suppress(BadMessage, Refused):  # unreadable; or refused again, then the pool calls again
                await self.loop.memory.remove_delayed_request(job)
        return True

    def read_again(self, outputs: Outputs, record: Record) -> Job | None:
        """Decode a record whose outputs were refused; None if it is unreadable."""
        now = self.loop.world.now()
        with suppress(BadMessage):
            return self.loop.job(outputs, record, Progress(1, False, now, None), now)
        return None

    def park_refused(self, outputs: Outputs, record: Record, job: Job | None, refusal: Refused) -> None:
        """Park the saga: at the next step if its row waits for that step already, otherwise at this one."""
        now, step, unsent = self.loop.world.now(), self.loop.step, None
        if job and (onward := self.loop.memory.known_next(job)):
            step, unsent = self.loop.plan.on(onward.topic) or step, encode(onward.message)
        request = job.request if job else None
        gave_up = GaveUp(refusal, 1)
        park(outputs, record, request, step, gave_up, now, now, unsent=unsent, refused_by=refusal.topic)
