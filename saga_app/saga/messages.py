"""The records on the wire, which are also the rows of the tables. `codec` encodes and decodes them.

Every field is checked by type when a record is decoded; unknown fields are ignored, so that newer services can add
some. The rules for the text of new users are in `new_user`, and apply where a user is accepted. Fields that have their
default value are left out of the JSON; readers accept both forms.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from saga_app.saga.states import ENDED_STATES, State
from saga_app.saga.text import clean, clean_department

#: The version of the wire format that this code writes and reads.
VERSION = 1

#: Limits that fit the integer types of every service and database.
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Partition = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Time = Annotated[datetime, Meta(tz=True)]
Id = Annotated[str, Meta(min_length=1, max_length=128)]
#: Topics that do not belong to a step.
DLQ, SIGNALS = "dlq", "saga-signals"


class WireRecord(Struct, omit_defaults=True, gc=False):
    """The base of all records. `gc=False`: they contain no cycles, and very many are in memory."""


class User(WireRecord):
    """The user to be onboarded. Personal data: never logged above debug level."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    email: Annotated[str, Meta(min_length=1, max_length=254, description="an e-mail address")]
    department: Annotated[str, Meta(min_length=1, max_length=100)]

    def cleaned(self) -> "User":
        """The user with normalised text, as it is stored and compared."""
        return User(name=clean(self.name), email=clean(self.email), department=clean_department(self.department))


class Slip(WireRecord):
    """The routing slip: the topics ahead, and the compensation topics of the completed steps, newest first."""

    ahead: list[str]
    back: list[str]
    undoing: bool = False


class Visit(WireRecord, kw_only=True):
    """A history entry: the result of one step, carried in the message."""

    step: str
    service: str
    attempts: Count
    received_at: Time
    started_at: Time
    ended_at: Time
    #: failed: all attempts were used up; cancelled: an operator cancelled the saga at this step.
    outcome: Literal["done", "denied", "failed", "cancelled"]
    reason: str | None = None


class Message(WireRecord, kw_only=True):
    """A request to a step. Clients on `new-user` provide `v`, `id` and `user`; the services add the rest."""

    v: Literal[1]
    id: Id
    user: User
    saga: Annotated[str, Meta(min_length=1, max_length=64)] = "onboarding"
    attempt: Count = 1
    started_at: Time | None = None
    facts: dict[str, Any] = {}
    slip: Slip | None = None
    history: list[Visit] = []
    #: Identifies the HTTP request that started the saga, if it had an Idempotency-Key.
    idempotency: str | None = None

    def key(self, step: str) -> str:
        """The idempotency key for the external calls of a step."""
        return f"{self.saga}:{self.id}:{step}"


class Signal(WireRecord, kw_only=True):
    """A report outside the normal flow: a failed attempt, a missed deadline, or an operator action."""

    v: Literal[1]
    id: Id
    saga: str
    kind: Literal["failed", "overdue", "redriven", "cancelled"]
    step: str
    service: str
    at: Time
    attempt: Count = 1
    attempts: Count = 1
    next_at: Time | None = None
    reason: str | None = None
    by: str | None = None
    #: The missed deadline (kind `overdue` only).
    due_at: Time | None = None


class Row(WireRecord, kw_only=True):
    """The state of a saga, as stored in the Provisioner's table and published in its changelog."""

    v: Literal[1]
    id: Id
    saga: str
    user: User
    state: State
    step: str
    attempt: Count
    started_at: Time
    updated_at: Time
    ended_at: Time | None = None
    overdue: bool = False
    #: The missed deadline, if any.
    due_at: Time | None = None
    reason: str | None = None
    facts: dict[str, Any] = {}
    slip: Slip | None = None
    history: list[Visit] = []
    #: The latest signal for this saga, if any.
    trouble: Signal | None = None
    #: The operator's signal that led to this row, if any.
    order: Signal | None = None
    #: Redrives that were read before their dead letters, one per step: a duplicate message can park a saga at two
    #: steps.
    awaited: list[Signal] | None = None
    #: Partition and offset of the `new-user` record that started the saga. Tells a redelivery from a second request.
    origin: tuple[Partition, Offset] | None = None
    #: Identifies the HTTP request that started the saga, if it had an Idempotency-Key. Tells a repeated request from
    #: another.
    idempotency: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.state in ENDED_STATES


class Answer(WireRecord):
    """The recorded result of a step: history entry and facts. A duplicate request resends it without acting again."""

    visit: Visit
    facts: dict[str, Any] = {}


class Waiting(WireRecord, kw_only=True):
    """A request that waits outside its partition for its next attempt, with everything needed to publish it again."""

    #: The number of the next attempt, and when it is due.
    attempt: Count
    next_at: Time
    received_at: Time
    started_at: Time
    #: `Message.attempt` of the request, which a redrive increments.
    request_attempt: Count
    #: Value and headers of the original record. Header values are decoded as Latin-1, which preserves every byte.
    value: str
    headers: list[tuple[str, str | None]]


class Effects(WireRecord):
    """A row of the table `effects`: recorded results, intent records, tombstones and delayed requests of one saga."""

    v: Literal[1]
    id: Id
    answers: dict[str, Answer] = {}
    #: Intent records: the name of a step, once for each run of attempts that may have had an effect.
    begun: list[str] = []
    #: Tombstones: steps that must not act any more, because their compensation was requested.
    undone: list[str] = []
    #: Requests that wait for their next attempt, by step.
    waiting: dict[str, Waiting] = {}


class DeadLetter(WireRecord, kw_only=True):
    """The `dead-letter` header of a record in the `dlq`; the record's value is the original's, byte for byte."""

    v: Literal[1]
    topic: str
    partition: Partition
    offset: Offset
    service: str
    step: str
    error: str
    reason: str
    attempts: Count
    received_at: Time
    at: Time
    id: str | None = None
    saga: str | None = None
    #: The topic, or changelog, that refused an output of the record.
    refused_by: str | None = None
    #: Only in a shortened letter, stored because the `dlq` refused the complete one: the size of the original's value
    #: and headers in bytes, and how many of them are kept. The original is at topic[partition]@offset until retention
    #: deletes it.
    original_bytes: Offset | None = None
    kept_bytes: Offset | None = None


#: The header with the details of a dead letter, and the header with the media type of a value.
DEAD_LETTER, CONTENT_TYPE = "dead-letter", "content-type"


class Parked(Struct):
    """A record of the `dlq`: the details, and the message if it is readable."""

    letter: DeadLetter
    message: Message | None
    value: bytes | None


Body = Message | Row | Signal | Parked
