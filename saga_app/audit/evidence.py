"""What the records say of one saga. Compact: a hundred thousand sagas and more are held at once."""

from dataclasses import dataclass, field
from typing import NamedTuple

#: The steps that a record says are behind it, each with its outcome; equal histories are one object.
#: An undo that found nothing to take back has the outcome `nothing`.
History = tuple[tuple[str, str], ...]


class SlipSeen(NamedTuple):
    """The routing slip of a message or row; equal slips are one object."""

    ahead: tuple[str, ...]
    back: tuple[str, ...]
    undoing: bool


class Place(NamedTuple):
    """Where a record stands: the proof."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(slots=True)
class Asked:
    """A message on the topic of a step. `at`: milliseconds since 1970; `user` is a hash."""

    topic: str
    partition: int
    offset: int
    at: int
    attempt: int = 1
    history: History = ()
    user: int = 0
    #: The fact of the first step, and those of others that stay the same when a step is repeated.
    device: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    slip: SlipSeen | None = None

    @property
    def place(self) -> Place:
        """Its topic, partition and offset."""
        return Place(self.topic, self.partition, self.offset)


@dataclass(slots=True)
class Noted:
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
    #: The fact of the first step, and those of others that stay the same when a step is repeated.
    device: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    slip: SlipSeen | None = None
    updated_at: str = ""
    overdue: bool = False

    @property
    def place(self) -> Place:
        """Its topic, partition and offset."""
        return Place(self.topic, self.partition, self.offset)

    @property
    def rank(self) -> tuple[bool, bool, int, int, bool]:
        """How far along: ended, on its way back, steps behind it, attempts, parked."""
        return self.ended, self.turned, len(self.history), self.attempt, self.state == "parked"

    @property
    def turned(self) -> bool:
        """Whether it is on its way back, also when it is parked there."""
        parked = self.state == "parked" and any(outcome not in ("done", "nothing") for _, outcome in self.history)
        return parked or self.state == "rolling-back"


@dataclass(slots=True)
class Letter:
    """A dead letter that names this saga, and its message."""

    place: Place
    original: Place
    at: int
    step: str
    error: str
    attempt: int
    history: History


@dataclass(slots=True)
class Told:
    """What an operator wanted: `redriven` or `cancelled`."""

    kind: str
    place: Place
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
    """All of it, in the order in which it was read. `began`, `newest`: milliseconds since 1970."""

    id: str
    began: int
    newest: int
    asked: list[Asked] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)
    #: Partition and offset of the request that began it, if a row says so.
    origin: tuple[int, int] | None = None
    letters: tuple[Letter, ...] = ()
    #: Dead letters that name it and whose message cannot be read: its row may be parked because of one.
    unreadable_letters: tuple[Place, ...] = ()
    told: tuple[Told, ...] = ()
    planned: tuple[Planned, ...] = ()
    #: When a step was done last, by the service's clock, of those that only their own service can hold back.
    acted: dict[str, str] = field(default_factory=dict)
    #: When a step was done whose effect the outside world repeats (an e-mail): two times are two effects.
    mails: tuple[str, ...] = ()
