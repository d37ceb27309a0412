"""Every record on the wire: encode, decode, validate.

A message that does not fit raises `BadMessage` with a sentence for the person who finds it in the `dlq`.
Fields that we do not know are ignored, so that a newer service may add some. The records have no `__slots__`: orjson
writes them several times as fast from a `__dict__`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from saga_app.saga import cloudevents
from saga_app.saga.email_address import mailbox
from saga_app.saga.text import clean, clean_department

#: The version of the wire that this code writes and reads.
VERSION = 1

#: Names go into the header of a mail and onto the page: no line breaks, nothing that controls, or turns text round.
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"

#: Somewhere a letter or a digit: an id is part of a URL, where "." and ".." mean something else.
Id = Annotated[str, Field(pattern=r"^[.:@+~-]*\w[\w.:@+~-]*$", max_length=128)]
#: What every service, and every database behind it, can hold.
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Offset = Annotated[int, Field(ge=0, le=2**63 - 1)]
Partition = Annotated[int, Field(ge=0, le=2**31 - 1)]
#: In UTC. Days that their month lacks are told apart by nobody: `times.epoch` reads them as the days after its end.
Time = Annotated[
    str,
    Field(
        pattern=r"^[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
        r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z$"
    ),
]
#: Of an HTTP request: the digests of its Idempotency-Key and of its body, with a dot between.
Idempotency = Annotated[str, Field(pattern=r"^[0-9a-z]+[.][0-9a-z]+$", max_length=64)]
TopicName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]+$", max_length=249)]
State = Literal["running", "completed", "rolling-back", "rolled-back", "parked", "rollback-incomplete"]
#: Topics that are no step's.
DLQ, SIGNALS = "dlq", "saga-signals"
#: The states in which nothing more will happen by itself or by anybody.
ENDED: frozenset[str] = frozenset({"completed", "rolled-back", "rollback-incomplete"})


class BadMessage(ValueError):
    """This record is not a message of ours; the text says what is wrong with it."""


def _text(cleaned: Callable[[str], str]) -> BeforeValidator:
    return BeforeValidator(lambda value: cleaned(value) if isinstance(value, str) else value)


def _has_the_form_of_an_address(text: str) -> str:
    """All that is asked of an address on the wire; `new_user.check` asks for more, and `mailbox` knows the reason."""
    if not _ADDRESS.fullmatch(text):
        mailbox(text)
        raise ValueError("is not an e-mail address")
    return text


_ADDRESS = re.compile(r"[^@\s\0]+@[^@\s\0]+")

Name = Annotated[str, Field(pattern=ONE_LINE, min_length=1, max_length=200), _text(clean)]
Email = Annotated[
    str,
    Field(min_length=1, max_length=254, description="an e-mail address"),
    AfterValidator(_has_the_form_of_an_address),
    _text(clean),
]
Department = Annotated[str, Field(pattern=ONE_LINE, min_length=1, max_length=100), _text(clean_department)]


@dataclass
class User:
    """Who is onboarded, in a clean form whoever wrote it. Personal data: never logged above debug level.

    These are the rules of every topic. What is asked of a new user besides: `new_user`.
    """

    name: Name
    email: Email
    department: Department


@dataclass
class Slip:
    """The routing slip: the topics ahead, and those that undo what is done, newest first."""

    ahead: list[TopicName]
    back: list[TopicName]
    undoing: bool = False


@dataclass
class Visit:
    """What one step did, as the saga carries it along."""

    step: str
    service: str
    attempts: Count
    received_at: Time
    started_at: Time
    ended_at: Time
    #: failed: we gave up; cancelled: an operator turned the saga round while it was here.
    outcome: Literal["done", "denied", "failed", "cancelled"]
    reason: str | None = None


@dataclass
class Message:
    """A request to a step. What a client must say on `new-user` is `v`, `id` and `user`; the rest is ours."""

    v: Literal[1]
    id: Id
    user: User
    saga: Annotated[str, Field(min_length=1, max_length=64)] = "onboarding"
    attempt: Count = 1
    started_at: Time | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    slip: Slip | None = None
    history: list[Visit] = field(default_factory=list)
    #: Of the HTTP request that started the saga, if it had an Idempotency-Key.
    idempotency: Idempotency | None = None

    def key(self, step: str) -> str:
        """The idempotency key of a step's effect on the outside world."""
        return f"{self.saga}:{self.id}:{step}"


@dataclass
class Signal:
    """What the happy path does not say; sent only when something is wrong, or when somebody intervened."""

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
    #: The deadline that was missed (kind overdue).
    due_at: Time | None = None


@dataclass
class Row:
    """A saga as the Provisioner's table holds it, and as its changelog shows it to everybody."""

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
    #: The deadline that was missed, if one was.
    due_at: Time | None = None
    reason: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    slip: Slip | None = None
    history: list[Visit] = field(default_factory=list)
    #: The latest signal about it, if any.
    trouble: Signal | None = None
    #: The operator's signal that it follows, if any; and redrives that were read before the dead letters that they are
    #: for, one a step: a message that came twice may have the saga parked at two steps.
    order: Signal | None = None
    awaited: list[Signal] | None = None
    #: Partition and offset of the `new-user` record that began it: tells a redelivery from a second request.
    origin: tuple[Partition, Offset] | None = None
    #: Of the HTTP request that started it, if that had an Idempotency-Key: tells the same request from another one.
    idempotency: Idempotency | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED


@dataclass
class Answer:
    """What a step has answered: the line of history and what it found out. Sent again as it is, not found out again."""

    visit: Visit
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Waiting:
    """A request that waits outside its partition for its next attempt, with all that is needed to publish it again."""

    #: The number of the next attempt, and when it is due.
    attempt: Count
    next_at: Time
    received_at: Time
    started_at: Time
    #: `Message.attempt` of the request, which a redrive increments.
    request_attempt: Count
    #: The record as it was; header values as Latin-1, which keeps every byte.
    value: str
    headers: list[tuple[str, str | None]]


@dataclass
class Effects:
    """What a service remembers of a saga: the answers that must not be found out twice, and what has been undone."""

    v: Literal[1]
    id: Id
    answers: dict[str, Answer] = field(default_factory=dict)
    #: Steps of which a run of attempts began, once for each run that is not known to have had no effect.
    begun: list[str] = field(default_factory=list)
    #: Steps that must not act any more (tombstones): their undo has come.
    undone: list[str] = field(default_factory=list)
    #: Requests that wait for an attempt, by step.
    waiting: dict[str, Waiting] = field(default_factory=dict)


@dataclass
class DeadLetter:
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
    #: The topic that refused what the record led to, or the table's changelog.
    refused_by: str | None = None
    #: Only in a letter that is stored cut, because the `dlq` refused all of it: the bytes of the original's value and
    #: headers, and how many of them are here. The original is at topic[partition]@offset for as long as that keeps it.
    original_bytes: Offset | None = None
    kept_bytes: Offset | None = None


#: The header in which a dead letter says what happened, and the one that names the format of a value.
DEAD_LETTER, CONTENT_TYPE = "dead-letter", "content-type"


@dataclass
class Parked:
    """A record of the `dlq`: what happened, and the message if it can be read."""

    letter: DeadLetter
    message: Message | None
    value: bytes | None


Headers = Sequence[tuple[str, bytes]]
Body = Message | Row | Signal | Parked

T = TypeVar("T", Message, Row, Signal, Effects, DeadLetter)
_KINDS = (Message, Row, Signal, Effects, DeadLetter)
_READERS: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in _KINDS}
_ID: TypeAdapter[Any] = TypeAdapter(Id)


def changed(record: T, **changes: Any) -> T:
    """Another one, with these fields changed: `dataclasses.replace`, quicker and without its checks."""
    other = object.__new__(type(record))
    other.__dict__.update(record.__dict__, **changes)
    return other


def encode(record: Message | Row | Signal | Effects | DeadLetter) -> bytes:
    """JSON as UTF-8."""
    return orjson.dumps(record)


def decode(kind: type[T], value: bytes | None) -> T:
    """A record of this kind, or `BadMessage`."""
    if value is None:
        raise BadMessage("the record has no value (null)")
    try:
        record: T = _READERS[kind].validate_json(value)
    except ValidationError as error:
        raise BadMessage(_sentence(error)) from None
    if isinstance(record, Message | Row) and record.facts:
        _check_facts(record.facts)
    return record


def decode_request(value: bytes | None, headers: Headers) -> Message:
    """A request: JSON, or a CloudEvent in structured mode with the request as its data. Raises `BadMessage`.

    A value that is a request is read whatever content type its client's library has given it.
    """
    kind = cloudevents.content_type(headers)
    if kind == cloudevents.JSON:
        return decode(Message, value)
    try:
        return decode(Message, value if kind is None else cloudevents.request_in(kind, value))
    except cloudevents.NotReadable as error:
        raise BadMessage(f"{CONTENT_TYPE}: {error}") from None
    except BadMessage as error:
        if kind is None and cloudevents.is_event(value):
            raise BadMessage(f"{CONTENT_TYPE}: missing; this CloudEvent needs {cloudevents.STRUCTURED}") from None
        if kind is None or cloudevents.is_json(kind) or kind.lower().startswith(cloudevents.STRUCTURED):
            raise
        raise BadMessage(
            f"{CONTENT_TYPE}: {ascii(kind)[1:-1][:60]} is not read; send {cloudevents.JSON}: {error}"
        ) from None


def _check_facts(facts: dict[str, Any]) -> None:
    """They are whatever the steps found out, but they must be able to travel on."""
    try:
        orjson.dumps(facts)
    except TypeError as error:
        raise BadMessage(f"facts: cannot be sent on: {error}") from None


def saga_id(value: bytes | None, key: bytes | None) -> str | None:
    """The saga that an unreadable record names: the `id` of its JSON object if that is valid, else its key, or none."""
    try:
        found = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict) and "specversion" in found:  # the id of a CloudEvent is not that of its saga
        found = found.get("data")
    return (_valid_id(found.get("id")) if isinstance(found, dict) else None) or _valid_id(key)


def _valid_id(given: Any) -> str | None:
    try:
        found: str = _ID.validate_python(given.decode() if isinstance(given, bytes) else given)
    except (ValidationError, UnicodeDecodeError):
        return None
    return found


def parse(topic: str, value: bytes | None, headers: Headers, rows_topic: str | None = None) -> Body:
    """Decode a record of one of our topics; `rows_topic` is the changelog of the saga rows. Raises `BadMessage`."""
    if topic == DLQ:
        return _parked(value, headers)
    if topic == SIGNALS:
        return decode(Signal, value)
    return decode(Row, value) if topic == rows_topic else decode_request(value, headers)


def _parked(value: bytes | None, headers: Headers) -> Parked:
    letter = decode(DeadLetter, dict(headers).get(DEAD_LETTER))
    try:
        message = decode_request(value, headers) if letter.id else None
    except BadMessage:
        message = None
    return Parked(letter, message, value)


def _sentence(error: ValidationError) -> str:
    """The first few problems, each with its place; never the input, which may hold personal data."""
    problems = error.errors(include_url=False, include_input=False)
    if problems[0]["type"] == "json_invalid":
        return problems[0]["msg"].replace("Invalid JSON", "not JSON")
    places = [(".".join(map(str, p["loc"])) or "message", _said(p)) for p in problems[:3]]
    if any(place == "v" and msg.startswith("Input should be") for place, msg in places):
        return f"unknown version: this service reads v {VERSION}"
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(f"{place}: {msg}" for place, msg in places) + more


def _said(problem: Mapping[str, Any]) -> str:
    of_a_user = problem["loc"][0] == "user" if problem["loc"] else False
    return words(problem) if of_a_user else str(problem["msg"])


def words(problem: Mapping[str, Any]) -> str:
    """What is wrong with a field of a user, the same by HTTP and by Kafka; `problem`: one of pydantic's errors."""
    kind = problem["type"]
    if kind == "string_too_long":
        return f"is longer than {problem['ctx']['max_length']} characters"
    return _WORDS.get(kind) or str(problem["msg"]).removeprefix("Value error, ")


_WORDS = {
    "missing": "is missing",
    "string_too_short": "is empty",
    "string_pattern_mismatch": "has a control character: a line break, or one that changes the direction of text",
    "string_type": "is not a string",
}
