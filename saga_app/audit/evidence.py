"""Data about the records of one saga, compact because more than a hundred thousand sagas are in memory at once."""

from dataclasses import dataclass, field
from typing import NamedTuple

from saga_app.saga.record_id import RecordId

#: The completed steps in a record, each with its outcome; equal histories share one object.
#: A compensation that found nothing to compensate has the outcome `nothing`.
History = tuple[tuple[str, str], ...]


class SlipSeen(NamedTuple):
    """The routing slip of a message or row; equal slips share one object."""

    ahead: tuple[str, ...]
    back: tuple[str, ...]
    undoing: bool


@dataclass(slots=True)
class SeenRequest:
    """A message on the topic of a step. `at`: milliseconds since 1970; `user` is a hash."""

    topic: str
    partition: int
    offset: int
    at: int
    attempt: int = 1
    history: History = ()
    user: int = 0
    #: The fact of the first step, and facts of other steps that do not change when a step is repeated.
    device: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    slip: SlipSeen | None = None

    @property
    def place(self) -> RecordId:
        """The position of the record."""
        return RecordId(self.topic, self.partition, self.offset)


@dataclass(slots=True)
class SeenRow:
    """A row of the changelog."""

    topic: str
    partition: int
    offset: int
    at: int
    state: str
    ended: bool
    step: str
    attempt: int = 1
    history: History = ()
    user: int = 0
    #: The fact of the first step, and facts of other steps that do not change when a step is repeated.
    device: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    slip: SlipSeen | None = None
    updated_at: int = 0
    overdue: bool = False

    @property
    def place(self) -> RecordId:
        """The position of the record."""
        return RecordId(self.topic, self.partition, self.offset)

    @property
    def rank(self) -> tuple[bool, bool, int, int, bool]:
        """How far along it is: ended, rolling back, number of completed steps, attempt, parked."""
        return self.ended, self.turned, len(self.history), self.attempt, self.state == "parked"

    @property
    def turned(self) -> bool:
        """Whether it is rolling back, or parked during a rollback."""
        parked = self.state == "parked" and any(outcome not in ("done", "nothing") for _, outcome in self.history)
        return parked or self.state == "rolling-back"


@dataclass(slots=True)
class Letter:
    """A dead letter whose message belongs to this saga."""

    place: RecordId
    original: RecordId
    at: int
    step: str
    error: str
    attempt: int
    history: History


@dataclass(slots=True)
class SeenAction:
    """An operator action: `redriven` or `cancelled`."""

    kind: str
    place: RecordId
    at: int
    attempt: int


class Planned(NamedTuple):
    """An attempt that a service planned after a failed one; its request waits outside the partition until then.

    `at`, `next_at`: milliseconds since 1970.
    """

    step: str
    at: int
    next_at: int


@dataclass(slots=True)
class Evidence:
    """The evidence of one saga in the order of reading. `began`, `newest`: milliseconds since 1970."""

    id: str
    began: int
    newest: int
    requests: list[SeenRequest] = field(default_factory=list)
    rows: list[SeenRow] = field(default_factory=list)
    #: Partition and offset of its first request, if a row names it.
    origin: tuple[int, int] | None = None
    letters: tuple[Letter, ...] = ()
    #: Dead letters that name it, with an unreadable message: its row may be parked because of one.
    unreadable_letters: tuple[RecordId, ...] = ()
    actions: tuple[SeenAction, ...] = ()
    planned: tuple[Planned, ...] = ()
    #: Latest time of completion by step (clock of the service), without steps of the Provisioner.
    acted: dict[str, int] = field(default_factory=dict)
    #: Start times of steps whose effect is repeated with each execution (an e-mail): two times are two effects.
    mails: tuple[int, ...] = ()
