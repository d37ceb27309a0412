"""The shapes of what the console answers, for `/openapi.json` and for those who write clients."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from saga_app.active_plan import PLAN
from saga_app.saga.messages import State, User, Visit


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
    step: str = Field(description="the step that is waited for or worked on, or the last one")
    attempt: int
    facts: dict[str, Any] = Field(
        description="all that the steps have found out; those of the plan also by their names"
    )
    started_at: str
    updated_at: str
    ended_at: str | None
    duration: float | None
    overdue: bool
    due_at: str | None = Field(None, description="the deadline that was missed, if one was")
    reason: str | None
    why: str = Field(description="what it waits for or how it ended, in a sentence")
    overtook: int | None = Field(
        description="sagas that had started earlier and were running or rolling back (not parked) when this one ended"
    )
    trouble: Trouble | None
    history: list[Visit]


#: By how it is shown.
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
            fact.name: (_FACT_TYPES[fact.shown_as], Field(description=f"{fact.label}, once it is known"))
            for fact in PLAN.facts
        },
    )


class SagaNow(Saga):
    """A saga, and where the event stream has to be resumed to miss nothing that follows."""

    model_config = ConfigDict(title="SagaNow")

    cursor_event: str


class SagaPage(BaseModel):
    """A page of sagas."""

    items: list[Saga]
    next: str | None = Field(description="the cursor of the next page")
    total: int
    cursor_event: str = Field(description="resume the stream here (last_event_id) and nothing is missed")


class Accepted(BaseModel):
    """The broker has acknowledged the saga."""

    id: str
    url: str


class AcceptedList(BaseModel):
    """The broker has acknowledged all of them."""

    accepted: int
    ids: list[str]
    encoding: str | None = Field(None, description="of a CSV file: the encoding in which it was read")


class TraceEntry(BaseModel):
    """A line of a timeline, with its place in Kafka as the proof."""

    at: str
    topic: str
    partition: int
    offset: int
    service: str
    step: str
    kind: str = Field(
        description="requested, done, denied, failed, parked, overdue, redriven, cancelled, or the state at the end"
    )
    attempt: int
    data: dict[str, Any]
    raw: dict[str, Any] | None = Field(None, description="the record itself, with ?raw=true")


class Searched(BaseModel):
    """What was read to find a saga's records."""

    around_s: float | None = Field(description="seconds around the saga's times; null: its partition of every topic")
    records: int = Field(description="how many were read")
    missing: list[str] = Field(description="topics on which a record of it was expected and not found")


class Timeline(BaseModel):
    """One saga's timeline, in causal order, read from Kafka."""

    id: str
    entries: list[TraceEntry]
    searched: Searched


class DeadLetterItem(BaseModel):
    """A dead letter; topic, partition and offset are those of the original."""

    name: str = Field(description="the place of the original, such as authorize[3]@42")
    id: str | None
    saga: str | None
    department: str | None
    service: str
    step: str
    error: str
    reason: str
    attempts: int
    attempt: int = Field(description="how often it has been tried, redrives included; a redrive is the next")
    at: str
    topic: str
    partition: int
    offset: int
    open: bool = Field(description="whether somebody has to deal with it")
    readable: bool = Field(description="whether its saga is known; others are sent again as they are")
    dlq_partition: int
    dlq_offset: int
    refused_by: str | None = Field(description="the topic that refused what the record led to")
    original_bytes: int | None = Field(description="size of the original's value and headers, if it is stored cut")
    kept_bytes: int | None = Field(description="how much of it is stored, if it is stored cut")


class DeadLetterGroup(BaseModel):
    """Dead letters of one kind (group=true)."""

    service: str
    step: str
    error: str
    count: int
    first_at: str
    last_at: str
    reason: str = Field(description="of the example")
    example: str = Field(description="the name of the newest")


class DeadLetterWhole(DeadLetterItem):
    """A dead letter with what stands in the dlq: the original's bytes and headers, and the header dead-letter."""

    key: str | None
    value: str | None = Field(description="if it is UTF-8")
    value_base64: str | None = Field(description="the bytes; null if the record has no value")
    headers: dict[str, str | None]


class Ordered(BaseModel):
    """What the broker has acknowledged, or what it would be."""

    count: int
    dry_run: bool
    left_out: dict[str, int] = Field({}, description="what does not apply, by the reason; absent if there is nothing")


class DeadLetterPage(BaseModel):
    """A page of dead letters, or of their groups."""

    items: list[DeadLetterItem | DeadLetterGroup]
    next: str | None
    total: int


class Percentiles(BaseModel):
    """In seconds."""

    p50: float | None
    p99: float | None


class StepFigures(BaseModel):
    """How one step is doing."""

    waiting: int
    rate: float
    slowest: float = Field(description="seconds that the first in line has been waiting")


class ServiceFigures(BaseModel):
    """How one service is doing."""

    up: bool
    workers: int | None
    lag: int | None = Field(description="records that it has not dealt with")
    reason: str | None


class BrokerFigures(BaseModel):
    """The broker, and how full it is if it is the embedded one."""

    embedded: bool
    up: bool
    fill: float | None
    bootstrap: str | None = Field(None, description="HOST:PORT, several separated by commas: where this console reads")


class Stats(BaseModel):
    """The figures of this second; also the `stats` event of the stream."""

    counts: dict[State, int]
    overdue: int
    trouble: int = Field(description="parked, not rolled back completely, or overdue and under way; each counted once")
    in_flight: int
    rate: float = Field(description="sagas that ended, a second, over the last 10 s")
    duration: Percentiles
    delay: Percentiles = Field(description="from the broker's log to this console")
    errors: int
    steps: dict[str, StepFigures]
    services: dict[str, ServiceFigures]
    broker: BrokerFigures
    departments: list[str]
    lag: str
    not_ready: str | None = Field(description="why the index is not up to date, if it is not")


class StepWords(BaseModel):
    """How a step is shown in timelines."""

    requested: str
    done: str
    compensated: str | None = Field(description="when its compensation is done; null if it has none")


class PlanStep(BaseModel):
    """A step of the plan."""

    name: str
    topic: str
    service: str
    label: str = Field(description="the service's name as people write it")
    icon: str
    summary: str = Field(description="what it does, in a verb phrase")
    words: StepWords
    fact: str | None = Field(description="the key of what it finds out in the facts of a saga")
    fact_label: str | None
    fact_shown_as: Literal["text", "list", "time"] | None
    compensation: str | None = Field(description="the name of its compensation")


class CompensationWords(BaseModel):
    """How a compensation is shown in timelines."""

    requested: str
    done: str
    not_needed: str | None = Field(description="instead of `done` when there was nothing to compensate")


class PlanCompensation(BaseModel):
    """A compensation of the plan."""

    name: str
    topic: str
    service: str
    label: str
    icon: str
    summary: str
    words: CompensationWords
    compensates: list[str] = Field(description="the names of the steps")


class PlanView(BaseModel):
    """The plan that the services work by."""

    name: str
    services: list[str]
    steps: list[PlanStep]
    compensations: list[PlanCompensation]


class ProblemBody(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[dict[str, Any]] | None = Field(
        None, description="index, field and message of each mistake; line, too, if it is in a CSV file"
    )
    accepted: int | None = Field(None, description="503: users that the broker has acknowledged; their ids are in ids")
    ids: list[str] | None = None
    unknown: list[str] | None = Field(None, description="503: ids of users who may have arrived or not")
    url: str | None = Field(None, description="409: where the saga is that has the id; state and reason are its own")
    state: State | None = None
    reason: str | None = None
    outcome: Literal["none", "unknown"] | None = Field(
        None, description="of a change that failed with a 503: none, or not known until the request is repeated"
    )
