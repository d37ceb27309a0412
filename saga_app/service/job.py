"""One request that a step loop is processing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from saga_app.saga.decisions import End, Next
from saga_app.saga.messages import Answer, Message
from saga_app.saga.plan import Outcome
from saga_app.service.dead_letters import GaveUp
from saga_app.service.record import Headers, Outputs, Record
from saga_app.stream import RetryLater

#: The result of an attempt.
Found = Outcome | GaveUp | RetryLater


@dataclass(slots=True)
class Progress:
    """The state of a request between attempts. It is kept in memory only, and lost in a crash."""

    attempt: int  #: the number of the next attempt
    ready: bool  #: whether the injected lag of this attempt has passed
    received_at: datetime
    started_at: datetime | None
    begun: bool = False  #: whether this run of attempts has written its intent record
    certain: bool = True  #: whether all failed attempts of this run certainly had no effect


@dataclass(slots=True, eq=False)
class Job:
    """A record, its decoded request, where its outputs go, and how far its attempts are.

    `found`, `answer` and `after` are set when its step has acted.
    """

    outputs: Outputs
    record: Record
    headers: Headers  #: of the record, whose property builds a list at each access
    request: Message
    progress: Progress
    run_at: datetime | None  #: the time that all records with the same outputs share; None once it had to wait
    number: int = 0  #: of its record in its run
    recalled: Any = None  #: the stored row of its saga; None if there is none, or once the job had to wait
    found: Found | None = None  #: the result of its attempt
    answer: Answer | None = None
    after: Next | End | None = None  #: where its saga goes

    def waits(self) -> None:
        """Forget the shared time and the recalled row: while this job waits, other tasks may change its saga."""
        self.run_at = self.recalled = None

    @property
    def place(self) -> tuple[int, str]:
        """Partition and saga id, by which the tables find what they have of this saga."""
        return self.record.partition, self.request.id

    @property
    def began_at(self) -> datetime:
        """When its attempts began; when it was received, if none has begun."""
        return self.progress.started_at or self.progress.received_at
