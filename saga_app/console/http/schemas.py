"""The response models of the console's API, for `/openapi.json`."""

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from msgspec.structs import fields
from pydantic import BaseModel, ConfigDict, Field, create_model

from saga_app.active_plan import PLAN
from saga_app.saga import messages
from saga_app.saga.states import State


def _model_of(struct: type[Struct]) -> type[BaseModel]:
    """A response model with the fields of a record on the wire."""
    types: dict[str, Any] = {
        field.name: (field.type, ... if field.required else field.default) for field in fields(struct)
    }
    return create_model(struct.__name__, __doc__=struct.__doc__, **types)


if TYPE_CHECKING:
    from saga_app.saga.messages import User, Visit
else:
    User, Visit = _model_of(messages.User), _model_of(messages.Visit)


class Trouble(BaseModel):
    """The latest signal about a saga."""

    kind: Literal["failed", "overdue", "redriven", "cancelled"]
    step: str
    service: str
    at: str
    attempt: int
    attempts: int
    next_at: str | None
    reason: str | None


class SagaFields(BaseModel):
    """One saga. Times are ISO 8601 in UTC with milliseconds, durations are seconds."""

    model_config = ConfigDict(title="Saga")

    id: str
    saga: str
    user: User
    state: State
    step: str = Field(description="the current step, or the last one if the saga has ended")
    attempt: int
    facts: dict[str, Any] = Field(description="results of the steps; facts of the plan are also fields of the saga")
    started_at: str
    updated_at: str
    ended_at: str | None
    duration: float | None
    overdue: bool
    due_at: str | None = Field(None, description="the deadline that was missed, if any")
    reason: str | None
    why: str = Field(description="what the saga waits for or how it ended, in a sentence")
    overtook: int | None = Field(
        description="number of sagas that started earlier and were running or rolling back when this one ended"
    )
    trouble: Trouble | None
    history: list[Visit]


#: Field type by the display format of a fact.
_FACT_TYPES: dict[str, Any] = {"text": str | None, "list": list[str] | None, "time": str | None}

if TYPE_CHECKING:

    class Saga(SagaFields):
        """A saga with a field for each fact of the plan."""

else:
    Saga = create_model(
        "Saga",
        __base__=SagaFields,
        __doc__=SagaFields.__doc__,
        **{
            fact.name: (_FACT_TYPES[fact.shown_as], Field(description=f"{fact.label}; null until it is known"))
            for fact in PLAN.facts
        },
    )


class SagaNow(Saga):
    """A saga, and the event id from which the event stream continues without a gap."""

    model_config = ConfigDict(title="SagaNow")

    cursor_event: str


class SagaPage(BaseModel):
    """A page of sagas."""

    items: list[Saga]
    next: str | None = Field(description="cursor of the next page; null on the last one")
    total: int
    cursor_event: str = Field(description="event id (last_event_id) from which the stream continues without a gap")


class Accepted(BaseModel):
    """A new saga that the broker has acknowledged."""

    id: str
    url: str


class AcceptedList(BaseModel):
    """New sagas that the broker has acknowledged."""

    accepted: int
    ids: list[str]
    encoding: str | None = Field(None, description="detected encoding of a CSV file")


class TraceEntry(BaseModel):
    """An entry of a timeline, with the position of its record in Kafka."""

    at: str
    topic: str
    partition: int
    offset: int
    service: str
    step: str
    kind: str = Field(
        description="requested, done, denied, failed, parked, overdue, redriven, cancelled, or the final state"
    )
    attempt: int
    data: dict[str, Any]
    raw: dict[str, Any] | None = Field(None, description="the Kafka record, with ?raw=true")


class Searched(BaseModel):
    """The extent of the search for the records of a saga."""

    around_s: float | None = Field(
        description="seconds around the times of the saga; null: the whole partition of every topic"
    )
    records: int = Field(description="number of records read")
    missing: list[str] = Field(description="topics on which an expected record was not found")


class Timeline(BaseModel):
    """The timeline of one saga, in causal order, read from Kafka."""

    id: str
    entries: list[TraceEntry]
    searched: Searched


class DeadLetterItem(BaseModel):
    """A dead letter. Topic, partition and offset are those of the original record."""

    name: str = Field(description="position of the original record, such as authorize[3]@42")
    id: str | None
    saga: str | None
    department: str | None
    service: str
    step: str
    error: str
    reason: str
    attempts: int
    attempt: int = Field(description="number of the last attempt, redrives included; a redrive starts the next one")
    at: str
    topic: str
    partition: int
    offset: int
    open: bool = Field(description="whether an operator has to resolve it")
    readable: bool = Field(
        description="whether its message can be decoded; if not, a redrive resends the record unchanged"
    )
    dlq_partition: int
    dlq_offset: int
    refused_by: str | None = Field(description="topic that rejected an output of the step")
    original_bytes: int | None = Field(
        description="size of the original's value and headers, if it is stored truncated"
    )
    kept_bytes: int | None = Field(description="stored size, if it is stored truncated")


class DeadLetterGroup(BaseModel):
    """Number of dead letters with the same service, step and error (group=true)."""

    service: str
    step: str
    error: str
    count: int
    first_at: str
    last_at: str
    reason: str = Field(description="reason of the example")
    example: str = Field(description="name of the newest dead letter")


class DeadLetterWhole(DeadLetterItem):
    """A dead letter with its record in the dlq: the original bytes and headers, and the header dead-letter."""

    key: str | None
    value: str | None = Field(description="the value as text; null if it is not UTF-8")
    value_base64: str | None = Field(description="the value in base64; null if the record has none")
    headers: dict[str, str | None]


class ActionResult(BaseModel):
    """Number of actions that the broker has acknowledged, or that a dry run would send."""

    count: int
    dry_run: bool
    left_out: dict[str, int] = Field({}, description="number of items left out, by reason; absent if there are none")


class DeadLetterPage(BaseModel):
    """A page of dead letters, or of their groups."""

    items: list[DeadLetterItem | DeadLetterGroup]
    next: str | None
    total: int


class Percentiles(BaseModel):
    """Percentiles in seconds."""

    p50: float | None
    p99: float | None


class StepFigures(BaseModel):
    """Statistics of one step."""

    waiting: int
    rate: float
    slowest: float = Field(description="waiting time of the longest waiting saga, in seconds")


class ServiceFigures(BaseModel):
    """State of one service."""

    up: bool
    workers: int | None
    lag: int | None = Field(description="consumer lag, in records")
    reason: str | None


class BrokerFigures(BaseModel):
    """State of the broker; `fill` (0 to 1) only for the embedded broker."""

    embedded: bool
    up: bool
    fill: float | None
    bootstrap: str | None = Field(
        None, description="bootstrap servers of this console: HOST:PORT, several separated by commas"
    )


class Stats(BaseModel):
    """Current statistics; also the `stats` event of the stream."""

    counts: dict[State, int]
    overdue: int
    trouble: int = Field(description="number of sagas that are parked, rollback-incomplete, or unfinished and overdue")
    in_flight: int
    rate: float = Field(description="sagas ended per second, average of the last 10 s")
    duration: Percentiles
    delay: Percentiles = Field(description="time from the broker's log to this console")
    errors: int
    steps: dict[str, StepFigures]
    services: dict[str, ServiceFigures]
    broker: BrokerFigures
    departments: list[str]
    lag: str
    not_ready: str | None = Field(description="why the index is not up to date; null if it is")


class StepWords(BaseModel):
    """Texts for a step in timelines."""

    requested: str
    done: str
    compensated: str | None = Field(description="text for its completed compensation; null if it has none")


class PlanStep(BaseModel):
    """A step of the plan."""

    name: str
    topic: str
    service: str
    label: str = Field(description="display name of the service")
    icon: str
    summary: str = Field(description="what the step does, as a verb phrase")
    words: StepWords
    fact: str | None = Field(description="key of its result in the facts of a saga")
    fact_label: str | None
    fact_shown_as: Literal["text", "list", "time"] | None
    compensation: str | None = Field(description="name of its compensation")


class CompensationWords(BaseModel):
    """Texts for a compensation in timelines."""

    requested: str
    done: str
    not_needed: str | None = Field(description="used instead of `done` if there was nothing to compensate")


class PlanCompensation(BaseModel):
    """A compensation of the plan."""

    name: str
    topic: str
    service: str
    label: str
    icon: str
    summary: str
    words: CompensationWords
    compensates: list[str] = Field(description="names of the compensated steps")


class PlanView(BaseModel):
    """The plan of the sagas."""

    name: str
    services: list[str]
    steps: list[PlanStep]
    compensations: list[PlanCompensation]


class ProblemBody(BaseModel):
    """A problem (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[dict[str, Any]] | None = Field(
        None, description="index, field and message of each error; in a CSV file also the line"
    )
    accepted: int | None = Field(
        None, description="503: number of users that the broker has acknowledged; `ids` has their ids"
    )
    ids: list[str] | None = None
    unknown: list[str] | None = Field(None, description="503: ids of users whose outcome is unknown")
    url: str | None = Field(
        None, description="409: URL of the saga that has the id; state and reason are those of that saga"
    )
    state: State | None = None
    reason: str | None = None
    outcome: Literal["none", "unknown"] | None = Field(
        None, description="effect of a change that failed with 503: none, or unknown until the request is repeated"
    )
