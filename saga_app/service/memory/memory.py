"""What a step loop remembers of its sagas, behind one interface.

`InitiatorMemory` keeps the saga rows of the service that starts the sagas, `EffectsMemory` the table `effects` of the
other services. Both decide what to do with a request; both write what has to survive a crash.
"""

from datetime import datetime

from saga_app.saga.decisions import Decision, End, Next
from saga_app.saga.messages import Answer
from saga_app.saga.plan import Done
from saga_app.service.job import Job
from saga_app.service.request_reader import RequestReader
from saga_app.stream import RetryLater


class Memory:
    """The memory of one step. Methods that only one kind of service needs do nothing by default."""

    #: Whether the results of the step are recorded, because a second call would repeat its effect.
    is_recorded = False
    #: Whether an intent record is written before the first attempt, for the compensation of the step.
    needs_intent = False

    def decide(self, job: Job) -> Decision:
        """What to do with a request, by what is known of its saga. Raises `BadMessage` if that is unreadable."""
        raise NotImplementedError

    async def begin_compensation(self, job: Job) -> None:
        """Write what keeps the compensated steps from acting later, and wait for its acknowledgement."""
        raise NotImplementedError

    def waits(self, job: Job) -> None:
        """Write that the saga waits for this step. Not called if the result is written at once."""

    async def correct_start(self, job: Job, reader: RequestReader) -> None:
        """Determine the start of a saga while the difference to the broker's clock is unknown."""

    def unneeded(self, job: Job) -> Done | None:
        """The result of a compensation that has nothing to compensate; None if its step has to act."""
        return None

    async def record_intent(self, job: Job) -> None:
        """Record that the attempts of a step begin, and wait until the broker has acknowledged the record."""

    async def record_result(self, job: Job, answer: Answer) -> None:
        """Record the result of a step, and wait for its acknowledgement."""

    def can_delay(self, job: Job) -> bool:
        """Whether to store the request until its next attempt, so that its record holds back no commit."""
        return False

    async def delay(self, job: Job, later: RetryLater) -> None:
        """Store a request until its next attempt is due."""

    def has_delayed_request(self, job: Job) -> bool:
        """Whether the request is stored until its next attempt."""
        return False

    async def remove_delayed_request(self, job: Job, had_no_effect: bool = False) -> None:
        """Remove the stored request, if any, after all other outputs are acknowledged."""

    def advance(self, job: Job, after: Next | End, at: datetime) -> bool:
        """Write where the saga is now; False if nothing may follow, because it was cancelled while the step acted."""
        raise NotImplementedError

    def known_next(self, job: Job) -> Next | None:
        """The next request of a saga whose row is one step past this request; None otherwise."""
        return None
