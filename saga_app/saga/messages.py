"""The format of every record on the wire: encode, decode, validate.

An invalid message raises `BadMessage` with a sentence for the operator who finds it in the `dlq`. Unknown fields are
ignored, so that newer services can add some. The records have no `__slots__`: orjson serializes them several times as
fast from a `__dict__`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from saga_app.saga import cloudevents
from saga_app.saga.email_address import mailbox
from saga_app.saga.record import Headers
from saga_app.saga.states import ENDED_STATES, State
from saga_app.saga.text import clean, clean_department

#: The version of the wire format that this code writes and reads.
VERSION = 1

#: Names appear in mail headers and on the page: no line breaks, control characters or characters that change text
#: direction.
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"

#: At least one letter or digit: an id is part of a URL, where "." and ".." have a special meaning.
Id = Annotated[str, Field(pattern=r"^[.:@+~-]*\w[\w.:@+~-]*$", max_length=128)]
#: Limits that fit the integer types of every service and database.
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Offset = Annotated[int, Field(ge=0, le=2**63 - 1)]
Partition = Annotated[int, Field(ge=0, le=2**31 - 1)]
#: In UTC. The day is not checked against the month: `times.epoch` converts February 30 to March 2.
Time = Annotated[
    str,
    Field(
        pattern=r"^[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
        r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z$"
    ),
]
#: Identifies an HTTP request: the digest of its Idempotency-Key, a dot, and the digest of its body.
Idempotency = Annotated[str, Field(pattern=r"^[0-9a-z]+[.][0-9a-z]+$", max_length=64)]
TopicName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]+$", max_length=249)]
#: Topics that do not belong to a step.
DLQ, SIGNALS = "dlq", "saga-signals"


class BadMessage(ValueError):
    """The record is not a valid message; the text says what is wrong."""


def _cleaned_by(clean: Callable[[str], str]) -> BeforeValidator:
    return BeforeValidator(lambda value: clean(value) if isinstance(value, str) else value)


def _has_the_form_of_an_address(text: str) -> str:
    """The minimal check for addresses on the wire; `new_user.check` is stricter, and `mailbox` provides the reason."""
    if not _ADDRESS.fullmatch(text):
        mailbox(text)
        raise ValueError("is not an e-mail address")
    return text


_ADDRESS = re.compile(r"[^@\s\0]+@[^@\s\0]+")

Name = Annotated[str, Field(pattern=ONE_LINE, min_length=1, max_length=200), _cleaned_by(clean)]
Email = Annotated[
    str,
    Field(min_length=1, max_length=254, description="an e-mail address"),
    AfterValidator(_has_the_form_of_an_address),
    _cleaned_by(clean),
]
Department = Annotated[str, Field(pattern=ONE_LINE, min_length=1, max_length=100), _cleaned_by(clean_department)]


@dataclass
class User:
    """The user to be onboarded, with normalised text. Personal data: never logged above debug level.

    These rules apply on every topic; the additional rules for new users are in `new_user`.
    """

    name: Name
    email: Email
    department: Department


@dataclass
class Slip:
    """The routing slip: the topics ahead, and the compensation topics of the completed steps, newest first."""

    ahead: list[TopicName]
    back: list[TopicName]
    undoing: bool = False


@dataclass
class Visit:
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


@dataclass
class Message:
    """A request to a step. Clients on `new-user` provide `v`, `id` and `user`; the services add the rest."""

    v: Literal[1]
    id: Id
    user: User
    saga: Annotated[str, Field(min_length=1, max_length=64)] = "onboarding"
    attempt: Count = 1
    started_at: Time | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    slip: Slip | None = None
    history: list[Visit] = field(default_factory=list)
    #: Identifies the HTTP request that started the saga, if it had an Idempotency-Key.
    idempotency: Idempotency | None = None

    def key(self, step: str) -> str:
        """The idempotency key for the external calls of a step."""
        return f"{self.saga}:{self.id}:{step}"


@dataclass
class Signal:
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


@dataclass
class Row:
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
    facts: dict[str, Any] = field(default_factory=dict)
    slip: Slip | None = None
    history: list[Visit] = field(default_factory=list)
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
    idempotency: Idempotency | None = None

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.state in ENDED_STATES


@dataclass
class Answer:
    """The recorded result of a step: history entry and facts. A duplicate request resends it without acting again."""

    visit: Visit
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Waiting:
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


@dataclass
class Effects:
    """A row of the table `effects`: recorded results, intent records, tombstones and delayed requests of one saga."""

    v: Literal[1]
    id: Id
    answers: dict[str, Answer] = field(default_factory=dict)
    #: Intent records: the name of a step, once for each run of attempts that may have had an effect.
    begun: list[str] = field(default_factory=list)
    #: Tombstones: steps that must not act any more, because their compensation was requested.
    undone: list[str] = field(default_factory=list)
    #: Requests that wait for their next attempt, by step.
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
    #: The topic, or changelog, that refused an output of the record.
    refused_by: str | None = None
    #: Only in a shortened letter, stored because the `dlq` refused the complete one: the size of the original's value
    #: and headers in bytes, and how many of them are kept. The original is at topic[partition]@offset until retention
    #: deletes it.
    original_bytes: Offset | None = None
    kept_bytes: Offset | None = None


#: The header with the details of a dead letter, and the header with the media type of a value.
DEAD_LETTER, CONTENT_TYPE = "dead-letter", "content-type"


@dataclass
class Parked:
    """A record of the `dlq`: the details, and the message if it is readable."""

    letter: DeadLetter
    message: Message | None
    value: bytes | None


Body = Message | Row | Signal | Parked

T = TypeVar("T", Message, Row, Signal, Effects, DeadLetter)
_KINDS = (Message, Row, Signal, Effects, DeadLetter)
_READERS: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in _KINDS}
_ID: TypeAdapter[Any] = TypeAdapter(Id)


def replace_fields(record: T, **changes: Any) -> T:
    """A copy with these fields changed: like `dataclasses.replace`, but faster and without its checks."""
    other = object.__new__(type(record))
    other.__dict__.update(record.__dict__, **changes)
    return other


def encode(record: Message | Row | Signal | Effects | DeadLetter) -> bytes:
    """JSON as UTF-8."""
    return orjson.dumps(record)


def decode(kind: type[T], value: bytes | None) -> T:
    """Decode and validate a record of this kind. Raises `BadMessage`."""
    if value is None:
        raise BadMessage("the record has no value (null)")
    try:
        record: T = _READERS[kind].validate_json(value)
    except ValidationError as error:
        raise BadMessage(_describe(error)) from None
    if isinstance(record, Message | Row) and record.facts:
        _check_facts(record.facts)
    return record


def decode_request(value: bytes | None, headers: Headers) -> Message:
    """Decode a request: plain JSON, or a CloudEvent in structured mode with the request as its data.

    A value that is a valid request is accepted with any content type, because some client libraries set a wrong one.
    Raises `BadMessage`.
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
            f"{CONTENT_TYPE}: {ascii(kind)[1:-1][:60]} is not supported; send {cloudevents.JSON}: {error}"
        ) from None


def _check_facts(facts: dict[str, Any]) -> None:
    """Raises `BadMessage` if the facts cannot be serialized again, such as integers beyond 64 bits."""
    try:
        orjson.dumps(facts)
    except TypeError as error:
        raise BadMessage(f"facts: cannot be serialized: {error}") from None


def saga_id(value: bytes | None, key: bytes | None) -> str | None:
    """The saga id of an unreadable record: the `id` of its JSON object if valid, else its key if valid, else None."""
    try:
        found = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict) and "specversion" in found:  # the id of a CloudEvent is not the saga id
        found = found.get("data")
    return (_valid_id(found.get("id")) if isinstance(found, dict) else None) or _valid_id(key)


def _valid_id(given: Any) -> str | None:
    try:
        found: str = _ID.validate_python(given.decode() if isinstance(given, bytes) else given)
    except (ValidationError, UnicodeDecodeError):
        return None
    return found


def parse(topic: str, value: bytes | None, headers: Headers, rows_topic: str | None = None) -> Body:
    """Decode a record of any topic of the plan; `rows_topic` is the changelog of the saga rows. Raises `BadMessage`."""
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


def _describe(error: ValidationError) -> str:
    """The first three problems, each with its field; never the input, which may be personal data."""
    problems = error.errors(include_url=False, include_input=False)
    if problems[0]["type"] == "json_invalid":
        return problems[0]["msg"].replace("Invalid JSON", "not JSON")
    places = [(".".join(map(str, p["loc"])) or "message", _problem_text(p)) for p in problems[:3]]
    if any(place == "v" and msg.startswith("Input should be") for place, msg in places):
        return f"unknown version: this service supports v {VERSION}"
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(f"{place}: {msg}" for place, msg in places) + more


def _problem_text(problem: Mapping[str, Any]) -> str:
    of_a_user = problem["loc"][0] == "user" if problem["loc"] else False
    return words(problem) if of_a_user else str(problem["msg"])


def words(problem: Mapping[str, Any]) -> str:
    """The problem with a field of a user, in the same words over HTTP and Kafka; `problem` is an error of pydantic."""
    kind = problem["type"]
    if kind == "string_too_long":
        return f"is longer than {problem['ctx']['max_length']} characters"
    return _WORDS.get(kind) or str(problem["msg"]).removeprefix("Value error, ")


_WORDS = {
    "missing": "is missing",
    "string_too_short": "is empty",
    "string_pattern_mismatch": "has a control character, such as a line break or one that changes text direction",
    "string_type": "is not a string",
}
